"""A wheel holds the package, its configs and other data, and nothing else."""

import shutil
import subprocess
import sys
import zipfile

import pytest

from conftest import ROOT
from projects import discover

PROJECTS = discover(ROOT)


@pytest.mark.parametrize("project", PROJECTS, ids=lambda project: project.name)
def test_a_wheel_holds_all_of_the_package_and_nothing_else(project, tmp_path):
    left_behind = shutil.ignore_patterns("__pycache__", "*.egg-info", "build", "dist", "results", "tests", "benchmarks")
    source = shutil.copytree(project.folder, tmp_path / project.name, ignore=left_behind)
    (source / "tests").mkdir()  # as in a clone, where it lies beside src
    (source / "tests" / "test_nothing.py").write_text("")
    build = [sys.executable, "-m", "pip", "wheel", "--no-deps", "--no-build-isolation", "--no-index", "-q"]
    done = subprocess.run([*build, "-w", tmp_path, source], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    (wheel,) = tmp_path.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        held = {name for name in archive.namelist() if ".dist-info/" not in name}
    package = source / "src"
    assert held == {
        path.relative_to(package).as_posix()
        for path in (package / project.name).rglob("*")
        if path.is_file() and path.suffix not in (".pyc",)
    }
    assert {f"{project.name}/configs/demo.yaml", f"{project.name}/configs/fast.yaml"} <= held
