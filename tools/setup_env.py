"""Makes the one environment of the umbrella, mends it if it broke, reuses it at once if it is right.

    python tools/setup_env.py [--venv .venv] [--test] [-- PIP ARGUMENTS]

A stamp, written last, holds a hash of all that went in: the constraints, each project's setup.py and pyproject.toml,
and the two folders, for a moved environment runs the wrong files. The base set-up installs the projects; the test
set-up adds their extra `test`, the linter and pdoc, then the extra `compiled`, built from source against the installed
torch.

While packages are written, a marker stands beside the environment. Who finds it there knows that the set-up was killed,
that half a package may lie about, and starts from nothing.
"""

from __future__ import annotations

import argparse
import hashlib
import os
import shlex
import subprocess
import sys
from contextlib import contextmanager
from pathlib import Path

from projects import discover

ROOT = Path(__file__).resolve().parent.parent
OLDEST_PYTHON = (3, 11)  # what the numpy and scipy in constraints.txt need
TEST_TOOLS = ["pytest", "ruff", "pdoc", "setuptools", "wheel"]  # the last two build `compiled` extras without isolation


class SetupError(Exception):
    """The set-up cannot go on; the message says what to do."""


def prepare(root: Path, venv: Path, test: bool = False, pip_args: list[str] | None = None) -> None:
    """Brings `venv` to the state that the stamp describes.

    Raises:
        SetupError: Python is too old, `venv` is a folder of another kind, or a command failed.
    """
    fingerprint = _fingerprint(root, venv)
    base, tests = venv / "setup-base.stamp", venv / "setup-test.stamp"
    wanted = tests if test else base
    if _works(venv) and _holds(wanted, fingerprint):
        return
    print(f"Setting up {venv}", flush=True)
    if not _works(venv):
        _mend(venv)
    projects = discover(root)
    install = [_python(venv), "-m", "pip", "install", *(pip_args or []), "-c", "constraints.txt"]
    extra = "[test]" if test else ""
    editable = [argument for project in projects for argument in ("-e", f"./{project.name}{extra}")]
    tests.unlink(missing_ok=True)
    _install(venv, root, install, editable + (TEST_TOOLS if test else []))
    _write(base, fingerprint)
    if test:
        compiled = [project for project in projects if "compiled" in project.requirements().extras]
        for project in compiled:
            _install(venv, root, [*install, "--no-build-isolation"], ["-e", f"./{project.name}[compiled]"])
        _write(tests, fingerprint)


def create_fresh(venv: Path) -> None:
    """An environment with pip and nothing else. Where ensurepip is not installed, the pip of this Python serves."""
    _run([sys.executable, "-m", "venv", "--clear", "--without-pip", str(venv)])
    if not _add_pip(venv):
        _run([sys.executable, "-m", "pip", "--python", _python(venv), "install", "pip"])


def _mend(venv: Path) -> None:
    """Adds what is missing if that is pip alone, else starts from nothing. Somebody's other folder is left alone."""
    if sys.version_info < OLDEST_PYTHON:
        needed, found = (".".join(map(str, version)) for version in (OLDEST_PYTHON, sys.version_info[:3]))
        raise SetupError(f"Python {needed} or newer is needed, {sys.executable} is {found}: name another with PYTHON=")
    killed = _marker(venv).exists()
    empty = not venv.exists() or (venv.is_dir() and not any(venv.iterdir()))
    if not (killed or empty or (venv / "pyvenv.cfg").is_file()):
        raise SetupError(f"{venv} is there and is no virtual environment: move it away, or name another with VENV=")
    if not killed and _succeeds([_python(venv), "-c", ""]) and _add_pip(venv):
        return
    with _unfinished(venv):
        create_fresh(venv)


def _add_pip(venv: Path) -> bool:
    return _succeeds([_python(venv), "-m", "ensurepip", "--upgrade", "--default-pip"])


def _install(venv: Path, root: Path, install: list[str], requirements: list[str]) -> None:
    if not requirements:
        return
    command = install + requirements
    with _unfinished(venv):
        status = subprocess.run(command, cwd=root).returncode
        if status < 0:  # only a pip that ends by itself puts back what it had changed
            raise SetupError(f"pip was killed by signal {-status}: {shlex.join(command)}")
    if status:
        raise SetupError(f"pip ended with exit status {status}: {shlex.join(command)}")


@contextmanager
def _unfinished(venv: Path):
    marker = _marker(venv)
    marker.parent.mkdir(parents=True, exist_ok=True)
    marker.touch()
    yield
    marker.unlink()


def _marker(venv: Path) -> Path:
    return venv.with_name(venv.name + ".unfinished")


def _python(venv: Path) -> str:
    return str(venv / "bin" / "python")


def _works(venv: Path) -> bool:
    return not _marker(venv).exists() and _succeeds([_python(venv), "-c", "import pip"])


def _holds(stamp: Path, fingerprint: str) -> bool:
    return stamp.is_file() and stamp.read_text(encoding="utf-8") == fingerprint


def _write(stamp: Path, fingerprint: str) -> None:
    draft = stamp.with_suffix(".draft")
    draft.write_text(fingerprint, encoding="utf-8")
    os.replace(draft, stamp)


def _fingerprint(root: Path, venv: Path) -> str:
    files = [root / "constraints.txt", *sorted(root.glob("*/setup.py"))]
    files += [path for path in sorted(root.glob("*/pyproject.toml")) if path.with_name("setup.py").is_file()]
    digest = hashlib.sha256(f"{root}\n{venv}\n".encode())
    for path in files:
        digest.update(f"{path.relative_to(root)}\n{hashlib.sha256(path.read_bytes()).hexdigest()}\n".encode())
    return digest.hexdigest()


def _succeeds(command: list[str]) -> bool:
    try:
        return subprocess.run(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL).returncode == 0
    except OSError:
        return False


def _run(command: list[str]) -> None:
    status = subprocess.run(command).returncode
    if status:
        raise SetupError(f"exit status {status}: {shlex.join(command)}")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--venv", type=Path, default=Path(".venv"))
    parser.add_argument("--test", action="store_true", help="what the tests need, too")
    parser.add_argument("pip_args", nargs="*", help="after `--`, handed to pip install")
    arguments = parser.parse_args()
    try:
        prepare(ROOT, Path(os.path.abspath(arguments.venv)), arguments.test, arguments.pip_args)
    except (SetupError, ValueError) as error:
        print(f"set-up: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main())
