"""The set-up: it makes the environment, reuses it at once, and mends it when it broke. pip is a stub."""

import os
import shutil
import signal
import subprocess
import sys

import pytest

import setup_env
from conftest import STUBS, Umbrella

BASE = "install -c constraints.txt"


def test_an_empty_umbrella_has_nothing_to_install_and_sets_up(umbrella):
    assert umbrella.make("setup").returncode == 0
    assert umbrella.calls("pip") == []


def test_all_projects_are_installed_editable_by_one_call_of_pip(umbrella):
    umbrella.add("alpha")
    umbrella.add("beta_two")
    assert umbrella.make("setup").returncode == 0
    assert umbrella.calls("pip") == [f"{BASE} -e ./alpha -e ./beta_two"]


def test_a_right_environment_is_reused_without_pip(umbrella):
    umbrella.add("alpha")
    umbrella.make("setup-test")
    umbrella.calls("pip")
    for target in ("setup", "setup-test"):  # the test set-up holds the base
        assert umbrella.make(target).returncode == 0
    assert umbrella.calls("pip") == []


def test_the_base_set_up_never_waits_for_what_is_compiled(umbrella):
    umbrella.add("alpha", extras="{'test': ['pytest'], 'compiled': ['torch-scatter']}")
    umbrella.make("setup")
    assert "compiled" not in " ".join(umbrella.calls("pip"))


def test_the_test_set_up_compiles_last_and_without_isolation(umbrella):
    umbrella.add("alpha", extras="{'test': ['pytest'], 'compiled': ['torch-scatter']}")
    umbrella.add("beta")
    assert umbrella.make("setup-test").returncode == 0
    assert umbrella.calls("pip") == [
        f"{BASE} -e ./alpha[test] -e ./beta[test] pytest ruff pdoc setuptools wheel",
        f"{BASE} --no-build-isolation -e ./alpha[compiled]",
    ]


def test_pip_args_reach_pip(umbrella):
    umbrella.add("alpha")
    umbrella.make("setup", "PIP_ARGS=--no-index --find-links 'my wheels'")
    assert umbrella.calls("pip") == ["install --no-index --find-links my wheels -c constraints.txt -e ./alpha"]


@pytest.mark.parametrize("changed", ["constraints.txt", "alpha/setup.py", "alpha/pyproject.toml"])
def test_a_changed_requirement_calls_pip_again(umbrella, changed):
    umbrella.add("alpha")
    umbrella.make("setup")
    with open(umbrella.root / changed, "a") as file:
        file.write("# changed\n")
    umbrella.calls("pip")
    umbrella.make("setup")
    assert umbrella.calls("pip") == [f"{BASE} -e ./alpha"]


def test_a_new_project_needs_no_edit_of_the_makefile(umbrella):
    umbrella.add("alpha")
    umbrella.make("setup")
    umbrella.add("gamma")
    umbrella.calls("pip")
    umbrella.make("setup")
    assert umbrella.calls("pip") == [f"{BASE} -e ./alpha -e ./gamma"]


def test_a_moved_umbrella_installs_its_own_projects(umbrella):
    umbrella.add("alpha")
    umbrella.make("setup")
    umbrella.calls("pip")
    moved = Umbrella(shutil.copytree(umbrella.root, umbrella.root.with_name("moved"), symlinks=True))
    assert moved.make("setup").returncode == 0
    assert moved.calls("pip") == [f"{BASE} -e ./alpha"]


def test_a_missing_interpreter_is_mended(umbrella):
    umbrella.add("alpha")
    umbrella.make("setup")
    python = umbrella.venv / "bin" / "python"
    python.unlink()
    python.symlink_to("a-python-that-was-removed")
    assert umbrella.make("setup").returncode == 0
    assert subprocess.run([python, "-c", ""]).returncode == 0


def test_a_lost_pip_is_added_and_the_packages_stay(umbrella):
    umbrella.add("alpha")
    umbrella.make("setup")
    (site,) = umbrella.venv.glob("lib/python*/site-packages")
    shutil.rmtree(site / "pip")
    (site / "kept.py").touch()
    assert umbrella.make("setup").returncode == 0
    assert (site / "pip").is_dir()
    assert (site / "kept.py").is_file()


def test_without_ensurepip_the_pip_of_the_interpreter_serves(umbrella):
    both = f"{STUBS / 'modules'}{os.pathsep}{STUBS / 'installed'}"
    assert umbrella.make("setup", PYTHONPATH=both, NO_ENSUREPIP="1").returncode == 0
    assert umbrella.calls("pip") == [f"--python {umbrella.venv}/bin/python install pip"]


def test_after_a_killed_pip_the_next_call_starts_from_nothing(umbrella):
    umbrella.add("alpha")
    killed = umbrella.make("setup", PIP_KILLED_AT="alpha")
    (site,) = umbrella.venv.glob("lib/python*/site-packages")
    (site / "half_a_package").mkdir()
    assert killed.returncode != 0
    assert f"pip was killed by signal {signal.SIGKILL.value}" in killed.stderr

    assert umbrella.make("setup").returncode == 0
    assert not (site / "half_a_package").exists()
    assert len(umbrella.calls("pip")) == 2


def test_after_a_kill_even_a_right_stamp_is_not_believed(umbrella):
    umbrella.add("alpha")
    umbrella.make("setup")
    umbrella.make("setup-test", PIP_KILLED_AT="alpha")
    umbrella.calls("pip")
    umbrella.make("setup")
    assert umbrella.calls("pip") == [f"{BASE} -e ./alpha"]


def test_after_a_failing_pip_the_next_call_goes_on_with_what_is_there(umbrella):
    umbrella.add("alpha")
    failed = umbrella.make("setup", PIP_FAILS_AT="alpha")
    (site,) = umbrella.venv.glob("lib/python*/site-packages")
    (site / "kept.py").touch()
    assert failed.returncode != 0
    assert "pip ended with exit status 1" in failed.stderr
    assert "Traceback" not in failed.stderr

    assert umbrella.make("setup").returncode == 0
    assert (site / "kept.py").is_file()


def test_where_compiling_fails_the_demos_are_set_up_and_the_tests_are_not(umbrella):
    umbrella.add("alpha", extras="{'compiled': ['torch-scatter']}")
    assert umbrella.make("setup-test", PIP_FAILS_AT="compiled").returncode != 0
    umbrella.calls("pip")
    umbrella.make("setup")
    assert umbrella.calls("pip") == []
    umbrella.make("setup-test")
    assert len(umbrella.calls("pip")) == 2


def test_somebodys_other_folder_is_left_alone(umbrella):
    umbrella.venv.mkdir()
    (umbrella.venv / "thesis.tex").touch()
    refused = umbrella.make("setup")
    assert refused.returncode != 0
    assert "is no virtual environment" in refused.stderr
    assert (umbrella.venv / "thesis.tex").is_file()


def test_an_old_python_is_refused_by_its_version(tmp_path, monkeypatch):
    monkeypatch.setattr(setup_env, "OLDEST_PYTHON", (4, 0))
    (tmp_path / "constraints.txt").touch()
    found = ".".join(map(str, sys.version_info[:3]))
    with pytest.raises(setup_env.SetupError, match=rf"Python 4\.0 or newer is needed, .* is {found}"):
        setup_env.prepare(tmp_path, tmp_path / ".venv")


def test_a_venv_that_cannot_be_made_names_the_command(tmp_path, monkeypatch):
    monkeypatch.setattr(setup_env.sys, "executable", "/bin/false")
    with pytest.raises(setup_env.SetupError, match="exit status 1: /bin/false -m venv"):
        setup_env.create_fresh(tmp_path / ".venv")


def test_a_setup_file_that_cannot_be_read_is_named(umbrella):
    umbrella.add("alpha", extras="dict(test=[])")
    failed = umbrella.make("setup-test")
    assert failed.returncode != 0
    assert "alpha/setup.py, line 2: write the requirements as literals, got dict(test=[])" in failed.stderr
    assert "Traceback" not in failed.stderr
