"""The targets of the Makefile, and .ci/run, on toy projects. pip and pytest are stubs; the demos are real processes."""

import os
import re
import shutil
import subprocess

import pytest

from conftest import ROOT

CLAIMS = """
import json
claim = {"id": "c", "statement": "It holds", "paper": None, "measured": 1, "threshold": 0, "holds": True}
content = {"project": "x", "seed": 0, "seconds": 1, "fast": False, "command": "x", "claims": [claim], "figures": []}
(out / "claims.json").write_text(json.dumps(content))
"""


def test_help_lists_every_target(umbrella):
    umbrella.add("alpha")
    makefile = (ROOT / "Makefile").read_text()
    targets = set(re.findall(r"^([a-z][a-z-]*):", makefile, re.MULTILINE)) - {"setup-test"}  # an inner step
    targets |= {verb.replace("%", "X") for verb in re.findall(r"[a-z]+-%(?=:? )", makefile)}
    shown = umbrella.make("help").stdout
    assert targets >= {"setup", "demo", "test-all", "lint", "demo-X", "test-X", "bench-X", "build-X", "isolated-X"}
    assert [target for target in sorted(targets) if f"make {target} " not in shown] == []
    assert "X is one of: alpha" in shown


@pytest.mark.parametrize("verb", ["demo", "reproduce", "test", "bench", "build", "isolated"])
def test_an_unknown_project_is_refused_before_any_set_up(umbrella, verb):
    umbrella.add("alpha")
    refused = umbrella.make(f"{verb}-nonsense")
    assert refused.returncode != 0
    assert "There is no project nonsense; there are: alpha" in refused.stderr
    assert not umbrella.venv.exists()


def test_demo_counts_shows_all_claims_and_writes_the_page(umbrella):
    umbrella.add("alpha", CLAIMS)
    umbrella.add("beta_two", CLAIMS)
    done = umbrella.make("demo")
    assert done.returncode == 0
    assert "[1/2] alpha" in done.stdout
    assert "[2/2] beta_two" in done.stdout
    assert "2 of 2 projects finished · 2 claims hold · 0 do not" in done.stdout
    assert (umbrella.root / "runs" / "index.html").is_file()


def test_a_crashed_demo_stops_no_other_and_is_told_at_the_end(umbrella):
    umbrella.add("alpha", "sys.exit(3)")
    umbrella.add("beta", CLAIMS)
    done = umbrella.make("demo")
    assert done.returncode != 0
    assert "alpha · did not finish" in done.stdout
    assert "1 of 2 projects finished · 1 claim holds" in done.stdout
    assert "alpha ended with exit status 3" in done.stderr


def test_a_claim_that_does_not_hold_is_no_crash(umbrella):
    umbrella.add("alpha", CLAIMS.replace("True", "False"))
    done = umbrella.make("demo")
    assert done.returncode == 0
    assert "FAILS" in done.stdout


def test_one_demo_empties_its_own_folder_and_keeps_the_other_runs(umbrella):
    umbrella.add("alpha", CLAIMS)
    umbrella.add("beta", CLAIMS)
    umbrella.add("gamma", CLAIMS)
    umbrella.make("demo-beta")
    stale = umbrella.root / "runs" / "alpha" / "stale.png"
    stale.parent.mkdir()
    stale.touch()
    done = umbrella.make("demo-alpha")
    assert done.returncode == 0
    assert not stale.exists()
    assert "2 of 3 projects finished" in done.stdout
    assert "gamma · not run" in done.stdout


def test_demo_args_reach_the_demo(umbrella):
    umbrella.add("alpha", "print('called with', sys.argv[1:])")
    done = umbrella.make("demo-alpha", "DEMO_ARGS=--fast --seed 3")
    assert "called with ['demo', '--out', 'runs/alpha', '--fast', '--seed', '3']" in done.stdout


def test_a_missing_console_script_is_named(umbrella):
    umbrella.add("alpha")
    umbrella.make("setup")
    (umbrella.venv / "bin" / "alpha").unlink()
    done = umbrella.make("demo")
    assert done.returncode != 0
    assert "does alpha/setup.py declare the console script?" in done.stderr


def test_reproduce_goes_on_in_its_own_folder(umbrella):
    umbrella.add("alpha", "print('called with', sys.argv[1:])")
    done = umbrella.make("reproduce-alpha", "REPRODUCE_ARGS=sweep")
    assert done.returncode == 0
    assert "called with ['reproduce', '--out', 'runs/alpha-reproduce', 'sweep']" in done.stdout


def test_test_all_runs_one_pytest_per_suite_and_goes_on_after_a_failure(umbrella):
    (umbrella.add("alpha") / "outcome").write_text("1")
    (umbrella.add("beta") / "outcome").write_text("5")
    umbrella.add("gamma")
    done = umbrella.make("test-all", "TEST_ARGS=-q")
    assert done.returncode != 0
    assert umbrella.calls("pytest") == ["the umbrella tests -q", "alpha -q", "beta -q", "gamma -q"]
    assert done.stdout.splitlines()[-4:] == [
        "umbrella  passed",
        "alpha     FAILED (pytest exit status 1)",
        "beta      FAILED (no tests were found)",
        "gamma     passed",
    ]


def test_test_all_passes_where_every_suite_does(umbrella):
    umbrella.add("alpha")
    assert umbrella.make("test-all").returncode == 0


def test_the_tests_of_one_project_run_in_its_folder(umbrella):
    umbrella.add("alpha")
    umbrella.add("beta")
    assert umbrella.make("test-beta", "TEST_ARGS=tests/test_one.py").returncode == 0
    assert umbrella.calls("pytest") == ["beta tests/test_one.py"]


def test_every_benchmark_runs_though_one_fails(umbrella):
    benchmarks = umbrella.add("alpha") / "benchmarks"
    benchmarks.mkdir()
    (benchmarks / "bench_a.py").write_text("raise SystemExit(1)")
    (benchmarks / "bench_b.py").write_text("import sys; print('ran', sys.argv[1:])")
    done = umbrella.make("bench-alpha", "BENCH_ARGS=--repeats 2")
    assert done.returncode != 0
    assert "ran ['--repeats', '2']" in done.stdout


def test_a_project_without_benchmarks_says_so(umbrella):
    umbrella.add("alpha")
    done = umbrella.make("bench-alpha")
    assert done.returncode != 0
    assert "alpha has no benchmarks/bench_*.py" in done.stderr


@pytest.mark.parametrize("verb", ["build", "isolated"])
def test_a_wheel_that_cannot_be_built_names_the_command(umbrella, verb):
    umbrella.add("alpha")
    failed = umbrella.make(f"{verb}-alpha", PIP_FAILS_AT="^wheel")
    assert failed.returncode != 0
    assert re.search(r"exit status 1: .* -m pip wheel --no-deps", failed.stderr)
    assert "Traceback" not in failed.stderr


def test_clean_keeps_runs_and_the_environment(umbrella):
    folder = umbrella.add("alpha", CLAIMS)
    umbrella.make("demo")
    (folder / "dist").mkdir()
    assert umbrella.make("clean").returncode == 0
    assert not (folder / "dist").exists()
    assert (umbrella.root / "runs" / "alpha" / "claims.json").is_file()
    assert umbrella.venv.is_dir()


@pytest.fixture
def checkout(tmp_path):
    """.ci/run beside a stub of make that writes down its target and PAPERS_DATA, and fails at $FAILS_AT."""
    root = tmp_path / "checkout"
    (root / ".ci").mkdir(parents=True)
    shutil.copy(ROOT / ".ci" / "run", root / ".ci")
    (tmp_path / "bin").mkdir()
    stub = tmp_path / "bin" / "make"
    stub.write_text('#!/bin/sh\necho "$1 ${PAPERS_DATA:-unset} $(pwd)"\n[ "$1" != "$FAILS_AT" ] || exit 2\n')
    stub.chmod(0o755)
    return root


def run_ci(checkout, fails_at=""):
    environment = {"PATH": f"{checkout.parent / 'bin'}:{os.environ['PATH']}", "FAILS_AT": fails_at}
    elsewhere = checkout.parent / "bin"
    return subprocess.run([checkout / ".ci" / "run"], cwd=elsewhere, env=environment, capture_output=True, text=True)


def test_ci_names_the_real_data_by_an_absolute_path(checkout):
    data = checkout.parent / "shared" / "data"
    data.mkdir(parents=True)
    done = run_ci(checkout)
    assert done.returncode == 0
    assert done.stdout.splitlines() == [f"test-all {data} {checkout}", f"lint {data} {checkout}"]


def test_ci_runs_without_real_data(checkout):
    assert run_ci(checkout).stdout.startswith("test-all unset")


@pytest.mark.parametrize("fails_at", ["test-all", "lint"])
def test_ci_runs_both_and_fails_if_either_does(checkout, fails_at):
    done = run_ci(checkout, fails_at)
    assert done.returncode == 2
    assert len(done.stdout.splitlines()) == 2


REACHING = """
import socket
from pathlib import Path

server = socket.create_server(("127.0.0.1", 0))
socket.create_connection(server.getsockname(), timeout=5).close()  # within the machine all is well
probe = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
probe.connect(("192.0.2.1", 80))  # sends nothing
try:
    REACH
except OSError as error:
    print("swallowed:", type(error).__name__)
"""


@pytest.mark.parametrize(
    ("reach", "told"),
    [
        ('socket.create_connection(("192.0.2.1", 80), timeout=5)', "192.0.2.1:80"),
        ('socket.getaddrinfo("example.invalid", 443)', "example.invalid:443"),
        ('socket.socket().connect_ex(("192.0.2.1", 81))', "192.0.2.1:81"),
        ("import urllib.request; urllib.request.urlopen('http://example.invalid', timeout=5)", "example.invalid:80"),
    ],
)
def test_a_demo_that_reaches_for_the_network_is_told_even_if_it_swallows_the_error(umbrella, reach, told):
    umbrella.add("alpha", REACHING.replace("REACH", reach))
    done = umbrella.make("demo")
    assert done.returncode != 0
    assert "swallowed:" in done.stdout and f"reached for {told}" in done.stderr


def test_tests_that_reach_for_the_network_fail_their_suite(umbrella):
    (umbrella.add("alpha") / "reach").touch()
    umbrella.add("beta")
    done = umbrella.make("test-all")
    assert done.returncode != 0
    assert "alpha     FAILED (something reached for the network, see above)" in done.stdout
    assert "reached for 192.0.2.1:80" in done.stdout and "beta      passed" in done.stdout
