import contextlib
import os
import socket
import sys
from pathlib import Path

with open(Path(os.environ["CALLS"]) / "pytest", "a") as calls:
    print(Path.cwd().name, *sys.argv[1:], file=calls)
if Path("reach").exists():
    with contextlib.suppress(OSError):
        socket.create_connection(("192.0.2.1", 80), timeout=5)
outcome = Path("outcome")
sys.exit(int(outcome.read_text()) if outcome.exists() else 0)
