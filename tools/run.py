"""Runs one project, or one after the other, with the environment that `make setup` made.

    python tools/run.py [--project X] [--venv .venv] VERB [-- ARGUMENTS]
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import gallery
from claims import read_runs
from claims_table import table
from projects import Project, discover
from setup_env import create_fresh

ROOT = Path(__file__).resolve().parent.parent
OFFLINE = Path(__file__).resolve().parent / "offline"
BUILT = ("build", "dist", "*.egg-info", "__pycache__", ".*_cache")  # an old build/ would end up in a new wheel
PYTEST_OUTCOMES = {0: "passed", 5: "FAILED (no tests were found)"}


@dataclass(frozen=True)
class Job:
    """What to run: which projects of the umbrella at `root`, with what environment and extra arguments."""

    root: Path
    venv: Path
    projects: list[Project]
    arguments: list[str]

    @property
    def python(self) -> Path:
        return self.venv / "bin" / "python"


@contextmanager
def offline() -> Iterator[list[str]]:
    """Processes started here cannot reach another machine. Gives a list, filled at the end with what tried to."""
    found: list[str] = []
    before = dict(os.environ)
    with tempfile.TemporaryDirectory(prefix="offline-") as folder:
        log = Path(folder) / "log"
        paths = [str(OFFLINE), *filter(None, [before.get("PYTHONPATH")])]
        os.environ.update(PYTHONPATH=os.pathsep.join(paths), OFFLINE_LOG=str(log))
        try:
            yield found
        finally:
            os.environ.clear()
            os.environ.update(before)
            if log.is_file():
                found += log.read_text(encoding="utf-8").splitlines()


def demo(job: Job) -> int:
    """Each demo, offline, into an emptied runs/X; then the table of claims and runs/index.html. A crash fails."""
    runs = job.root / "runs"
    crashed = []
    for number, project in enumerate(job.projects, start=1):
        print(f"\n[{number}/{len(job.projects)}] {project.name}", flush=True)
        out = runs / project.name
        shutil.rmtree(out, ignore_errors=True)
        out.mkdir(parents=True)
        with offline() as reached:
            status = console(job, project, "demo", "--out", f"runs/{project.name}")
        if status:
            crashed.append(f"{project.name} ended with exit status {status}")
        crashed += reached
    runs.mkdir(exist_ok=True)
    results = read_runs(runs, [project.name for project in discover(job.root)])
    page = gallery.write(results, runs / "index.html")
    print(f"\n{table(results, shutil.get_terminal_size((100, 24)).columns)}\n\nThe figures: {page}", flush=True)
    for line in crashed:
        print(line, file=sys.stderr)
    return int(bool(crashed))


def reproduce(job: Job) -> int:
    """The long run behind a README's numbers, into runs/X-reproduce; it resumes, so nothing is emptied."""
    return max(console(job, each, "reproduce", "--out", f"runs/{each.name}-reproduce") for each in job.projects)


def test(job: Job) -> int:
    """The tests of the named project from its own folder."""
    return _test(job, {project.name: project.folder for project in job.projects})


def test_all(job: Job) -> int:
    """The umbrella's own tests, then each project's: a process each, the rest goes on after a failure."""
    return _test(job, {"umbrella": job.root, **{project.name: project.folder for project in job.projects}})


def _test(job: Job, suites: dict[str, Path]) -> int:
    outcomes = {}
    for name, folder in suites.items():
        print(f"\n── {name}", flush=True)
        where = ["tests"] if folder == job.root else []  # from the root pytest would find the projects' tests too
        with offline() as reached:
            status = subprocess.run([job.python, "-m", "pytest", *where, *job.arguments], cwd=folder).returncode
        outcomes[name] = PYTEST_OUTCOMES.get(status, f"FAILED (pytest exit status {status})")
        if reached:
            print("\n".join(reached))
            outcomes[name] = "FAILED (something reached for the network, see above)"
    print()
    for name, outcome in outcomes.items():
        print(f"{name:<{max(map(len, outcomes))}}  {outcome}", flush=True)
    return int(any(outcome != "passed" for outcome in outcomes.values()))


def bench(job: Job) -> int:
    """Every benchmarks/bench_*.py from the project's folder; the rest goes on after a failure."""
    status = 0
    for project in job.projects:
        scripts = sorted(project.folder.glob("benchmarks/bench_*.py"))
        if not scripts:
            print(f"{project.name} has no benchmarks/bench_*.py", file=sys.stderr)
            status = 1
        for script in scripts:
            print(f"\n── {script.relative_to(job.root)}", flush=True)
            command = [job.python, script.relative_to(project.folder), *job.arguments]
            status = max(status, abs(subprocess.run(command, cwd=project.folder).returncode))
    return status


def build(job: Job) -> int:
    """The wheel, into X/dist."""
    for project in job.projects:
        wheel = _wheel(project, job.python, job.arguments, project.folder / "dist")
        print(wheel.relative_to(job.root))
    return 0


def isolated(job: Job) -> int:
    """The wheel alone in a fresh environment, its tests far from the sources: setup.py declares all that it needs."""
    for project in job.projects:
        with tempfile.TemporaryDirectory(prefix=f"{project.command}-") as name:
            folder = Path(name)
            create_fresh(folder / "venv")
            python = folder / "venv" / "bin" / "python"
            wheel = _wheel(project, python, job.arguments, folder / "dist")
            install = [python, "-m", "pip", "install", *job.arguments, "-c", job.root / "constraints.txt"]
            subprocess.run([*install, f"{wheel}[test]"], check=True)
            shutil.copytree(project.folder / "tests", folder / "away" / "tests", ignore=shutil.ignore_patterns(*BUILT))
            shutil.copy(project.folder / "pyproject.toml", folder / "away")
            status = subprocess.run([python, "-m", "pytest", "tests"], cwd=folder / "away").returncode
            print(f"{project.name} alone: {PYTEST_OUTCOMES.get(status, f'FAILED (pytest exit status {status})')}")
            if status:
                return status
    return 0


def console(job: Job, project: Project, *arguments: str) -> int:
    """The project's console script, from the root; its exit status, or 127 where setup.py declares none."""
    script = job.venv / "bin" / project.command
    if not script.is_file():
        print(f"{script} is missing: does {project.name}/setup.py declare the console script?", file=sys.stderr)
        return 127
    return abs(subprocess.run([script, *arguments, *job.arguments], cwd=job.root).returncode)


def _wheel(project: Project, python: Path, pip_args: list[str], into: Path) -> Path:
    """Builds from a clean copy: setuptools packs what an earlier build left behind."""
    with tempfile.TemporaryDirectory() as name:
        clean = Path(name) / project.name
        shutil.copytree(project.folder, clean, ignore=shutil.ignore_patterns(*BUILT))
        packed = Path(name) / "dist"
        command = [python, "-m", "pip", "wheel", *pip_args, "--no-deps", "--wheel-dir", packed, clean]
        subprocess.run(command, check=True)
        (wheel,) = packed.glob("*.whl")
        into.mkdir(parents=True, exist_ok=True)
        return Path(shutil.copy(wheel, into))


VERBS = {
    "demo": demo,
    "reproduce": reproduce,
    "test": test,
    "test-all": test_all,
    "bench": bench,
    "build": build,
    "isolated": isolated,
}


def main() -> int:
    projects = {project.name: project for project in discover(ROOT)}
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--project", choices=projects, help="one of them instead of all")
    parser.add_argument("--venv", type=Path, default=Path(".venv"))
    parser.add_argument("verb", choices=VERBS)
    parser.add_argument("arguments", nargs="*", help="after `--`, handed on")
    chosen = parser.parse_args()
    sys.stdout.reconfigure(errors="replace")  # a statement may hold symbols that the terminal has not
    wanted = [projects[chosen.project]] if chosen.project else list(projects.values())
    job = Job(ROOT, Path(os.path.abspath(chosen.venv)), wanted, chosen.arguments)
    try:
        return VERBS[chosen.verb](job)
    except subprocess.CalledProcessError as error:
        print(f"exit status {error.returncode}: {' '.join(map(str, error.cmd))}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130


if __name__ == "__main__":
    sys.exit(main())
