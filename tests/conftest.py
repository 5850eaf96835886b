"""Makes the tools importable, and lays out a small umbrella of its own for the tests of set-up and make."""

import os
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "tools"))

STUBS = Path(__file__).parent / "stubs"


@dataclass(frozen=True)
class Umbrella:
    """A copy of Makefile and tools, with toy projects; pip and pytest are stubs that write down their calls."""

    root: Path

    @property
    def venv(self) -> Path:
        return self.root / ".venv"

    @property
    def environment(self) -> dict[str, str]:
        kept = {key: os.environ[key] for key in ("PATH", "HOME", "LANG", "TMPDIR") if key in os.environ}
        stubs = {"PYTHONPATH": str(STUBS / "modules"), "CALLS": str(self.root / "calls")}
        return {**kept, **stubs, "PYTHONDONTWRITEBYTECODE": "1"}

    def make(self, *arguments: str, **environment: str) -> subprocess.CompletedProcess:
        command = ["make", f"PYTHON={sys.executable}", *arguments]
        variables = {**self.environment, **environment}
        return subprocess.run(command, cwd=self.root, env=variables, capture_output=True, text=True, timeout=60)

    def calls(self, tool: str) -> list[str]:
        """The lines that a stub wrote since the last look."""
        path = self.root / "calls" / tool
        lines = path.read_text().splitlines() if path.exists() else []
        path.unlink(missing_ok=True)
        return lines

    def add(self, name: str, body: str = "", extras: str = "{}") -> Path:
        """A project whose console script runs `body`, with `out` the folder given as --out."""
        folder = self.root / name
        (folder / "tests").mkdir(parents=True)
        setup = f"setup(name={name!r}, extras_require={extras})"
        (folder / "setup.py").write_text(f"from setuptools import setup\n{setup}\n")
        (folder / "pyproject.toml").write_text("")
        (folder / "command.py").write_text(f"import sys\nfrom pathlib import Path\nout = Path(sys.argv[3])\n{body}\n")
        return folder


@pytest.fixture
def umbrella(tmp_path) -> Umbrella:
    root = tmp_path / "the umbrella"  # with a space, as in many a home folder
    root.mkdir()
    shutil.copytree(ROOT / "tools", root / "tools", ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(ROOT / "Makefile", root)
    (root / "constraints.txt").write_text("torch==0\n")
    (root / "tests").mkdir()
    (root / "calls").mkdir()
    return Umbrella(root)
