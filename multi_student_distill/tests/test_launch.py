"""Students are independent jobs: one that fails does not stop the rest, processes overlap, and a relaunch resumes."""

import json
import os
import subprocess
import sys

import pytest
import torch

from multi_student_distill.cli import main
from multi_student_distill.denoisers import load_denoiser
from multi_student_distill.launch import BACKENDS, Job, launch_all, run_slurm

SLEEP = "import time; time.sleep(0.5)"


def jobs(folder, *codes):
    return [Job(k, [sys.executable, "-c", code], str(folder / f"{k}.log")) for k, code in enumerate(codes)]


def intervals(done):
    return [(job.started, job.ended) for job in done]


@pytest.mark.parametrize("backend", ["serial", "process"])
def test_a_failed_student_does_not_stop_the_rest_and_is_on_record(tmp_path, backend):
    codes = ("print('fine')", "raise SystemExit(3)", "print('also')")
    done = launch_all(jobs(tmp_path, *codes), backend, 2, tmp_path / "manifest.json")
    assert [job.status for job in done] == ["done", "failed", "done"] and done[1].returncode == 3
    manifest = json.loads((tmp_path / "manifest.json").read_text())
    assert manifest["backend"] == backend and [j["status"] for j in manifest["jobs"]] == ["done", "failed", "done"]
    assert (tmp_path / "2.log").read_text() == "also\n"


def test_processes_overlap_and_serial_jobs_do_not(tmp_path):
    (a, b), (c, d) = (
        intervals(launch_all(jobs(tmp_path, SLEEP, SLEEP), backend, 2, tmp_path / "manifest.json"))
        for backend in ("process", "serial")
    )
    assert max(a[0], b[0]) < min(a[1], b[1])
    assert d[0] >= c[1]


def test_slurm_jobs_go_through_submitit(tmp_path):
    finished = []
    run_slurm(jobs(tmp_path, "print('fine')", "raise SystemExit(2)"), finished.append, 2, cluster="local")
    assert [job.status for job in finished] == ["done", "failed"] and (tmp_path / "0.log").read_text() == "fine\n"


def test_a_command_that_is_not_there_is_a_failed_job(tmp_path):
    (job,) = launch_all([Job(0, ["/no/such/program"], str(tmp_path / "0.log"))], "serial", 1, tmp_path / "m.json")
    assert job.status == "failed" and job.returncode == 127


def test_backends_and_workers_are_checked(tmp_path):
    with pytest.raises(ValueError, match="unknown backend 'cloud', choose from serial, process, slurm"):
        launch_all([], "cloud", 1, tmp_path / "m.json")
    with pytest.raises(ValueError, match="at least one worker"):
        launch_all([], "serial", 0, tmp_path / "m.json")
    assert set(BACKENDS) == {"serial", "process", "slurm"}


def run(*args):
    with pytest.raises(SystemExit) as stopped:
        main(list(map(str, args)))
    return stopped.value.code


@pytest.fixture(scope="module")
def teacher(tmp_path_factory):
    folder = tmp_path_factory.mktemp("teacher")
    small = ["model.init_args.network=mlp-16x1", "trainer.max_steps=3", "data.init_args.batch_size=8"]
    quiet = ["trainer.enable_progress_bar=false", "trainer.enable_model_summary=false"]
    assert run("distill", "digits_teacher", "--out", folder, f"--overrides={json.dumps(small + quiet)}") == 0
    path = folder / "0_digits_teacher" / "student_0.safetensors"
    assert run("pairs", path, "--count", 40, "--steps", 3, "--out", folder / "pairs.safetensors") == 0
    return path


def settings(teacher, *more):
    own = [
        f"model.init_args.teacher={teacher}",
        "model.init_args.network=mlp-8x1",
        "data.init_args.batch_size=4",
        "data.init_args.parts=2",
        "trainer.max_steps=4",
        "trainer.enable_progress_bar=false",
        "trainer.enable_model_summary=false",
        *more,
    ]
    return f"--overrides={json.dumps(own)}"


def test_every_student_is_trained_through_its_stages_and_a_relaunch_finds_them(teacher, tmp_path, capsys):
    pairs = f"data.init_args.pairs={teacher.parent.parent / 'pairs.safetensors'}"
    args = ("launch", "digits_tsm,digits", "--out", tmp_path, "--backend", "serial", settings(teacher, pairs))
    assert run(*args) == 0
    for k in range(2):
        assert load_denoiser(tmp_path / "1_digits" / f"student_{k}.safetensors")[1].network == "mlp-8x1"
        assert (tmp_path / "1_digits" / "fakes" / f"student_{k}.safetensors").is_file()
    before = (tmp_path / "1_digits" / "student_0.safetensors").stat().st_mtime_ns
    (tmp_path / "1_digits" / "student_1.safetensors").unlink()
    assert run(*args, "--students=[1]") == 0
    assert (tmp_path / "1_digits" / "student_0.safetensors").stat().st_mtime_ns == before
    assert (tmp_path / "1_digits" / "student_1.safetensors").is_file()
    assert "student 1: done after" in capsys.readouterr().out


def test_a_students_failure_is_the_launchs_status_and_the_others_are_there(teacher, tmp_path):
    args = ("launch", "digits_tsm", "--out", tmp_path, "--backend", "process", settings(teacher))
    (tmp_path / "0_digits_tsm").mkdir()
    (tmp_path / "0_digits_tsm" / "runs").mkdir()
    (tmp_path / "0_digits_tsm" / "runs" / "0").mkdir()
    (tmp_path / "0_digits_tsm" / "runs" / "0" / "last.ckpt").write_bytes(b"damaged")
    assert run(*args) == 1
    states = [j["status"] for j in json.loads((tmp_path / "manifest.json").read_text())["jobs"]]
    assert states == ["failed", "done"]


def test_a_stopped_student_goes_on_to_the_same_weights(teacher, tmp_path):
    long = settings(teacher, "trainer.max_steps=8")
    assert run("distill", "digits_tsm", "--student", 1, "--out", tmp_path / "whole", long) == 0
    half = settings(teacher, "trainer.max_steps=8", "trainer.limit_train_batches=5", "trainer.max_epochs=1")
    assert run("distill", "digits_tsm", "--student", 1, "--every", 5, "--out", tmp_path / "parts", half) == 0
    (tmp_path / "parts" / "0_digits_tsm" / "student_1.safetensors").unlink()
    (saved,) = (tmp_path / "parts").rglob("*.ckpt")
    assert saved.name == "epoch=0-step=5.ckpt"  # of --every
    assert run("distill", "digits_tsm", "--student", 1, "--out", tmp_path / "parts", long) == 0
    a, b = (load_denoiser(tmp_path / name / "0_digits_tsm" / "student_1.safetensors")[0] for name in ("whole", "parts"))
    assert all(torch.equal(p, q) for p, q in zip(a.parameters(), b.parameters(), strict=True))


def test_a_student_scales_with_ddp(teacher, tmp_path):
    """Two processes on the CPU, the adversarial stage: other draws in each, the same weights in both."""
    pairs = f"data.init_args.pairs={teacher.parent.parent / 'pairs.safetensors'}"
    adversarial = ["data.init_args.real=true", "model.init_args.stage=adm", "model.init_args.ratio=2"]
    ddp = ["trainer.devices=2", "trainer.strategy=ddp_find_unused_parameters_true", "data.init_args.students=[0]"]
    own = settings(teacher, pairs, *adversarial, *ddp, "data.init_args.parts=1")
    command = [sys.executable, "-m", "multi_student_distill", "distill", "digits", "--out", str(tmp_path), own]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, env=environment)
    assert done.returncode == 0, done.stderr
    denoiser, _ = load_denoiser(tmp_path / "0_digits" / "student_0.safetensors")
    assert all(bool(p.isfinite().all()) for p in denoiser.parameters())
    assert done.stdout.count("students of digits") == 2  # both processes came to their end
