"""Python imports this at its start in every process that `tools/run.py` starts for demos and tests: they run offline.

Connecting to another machine, or looking up its name, raises OfflineError and is written to the file that OFFLINE_LOG
names, so that a library that swallows the error is found out as well. Sockets within this machine work as ever.
"""

import os
import socket
import sys

HERE = {None, "", b"", "localhost", b"localhost", "ip6-localhost", socket.gethostname()}


class OfflineError(OSError):
    """Something reached for the network in a demo or a test."""


def is_here(host) -> bool:
    """Whether an address is one of this machine's: only those can be bound."""
    if host in HERE:
        return True
    host = host.decode() if isinstance(host, bytes) else str(host)
    try:
        with socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET, socket.SOCK_DGRAM) as probe:
            probe.bind((_numeric(host), 0))
    except OSError:
        return False
    return True


def _numeric(host: str) -> str:
    """The address itself; OSError for a name, which is not looked up."""
    socket.inet_pton(socket.AF_INET6 if ":" in host else socket.AF_INET, host.partition("%")[0])
    return host


def refuse(host, port) -> None:
    line = f"{' '.join(sys.argv[:3])} (process {os.getpid()}) reached for {host}:{port}"
    if log := os.environ.get("OFFLINE_LOG"):
        with open(log, "a", encoding="utf-8") as file:
            file.write(line + "\n")
    raise OfflineError(f"{line}; demos and tests must not need a network")


def guarded(method):
    def connect(self, address, *args):
        # connecting a datagram socket sends nothing: it is how a machine finds its own address
        if self.family in (socket.AF_INET, socket.AF_INET6) and self.type != socket.SOCK_DGRAM:
            host, port = address[:2]
            if not is_here(host):
                refuse(host, port)
        return method(self, address, *args)

    return connect


def guarded_lookup(function):
    def lookup(host, port=None, *args, **kwargs):
        if not is_here(host):
            refuse(host, port)
        return function(host, port, *args, **kwargs)

    return lookup


socket.socket.connect = guarded(socket.socket.connect)
socket.socket.connect_ex = guarded(socket.socket.connect_ex)
socket.getaddrinfo = guarded_lookup(socket.getaddrinfo)
