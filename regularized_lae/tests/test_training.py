"""Whole fits from the command line: two processes are one, and a killed fit resumes to the same bits."""

import os
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
import torch

BASE = [
    *(
        "fit",
        "--config",
        "stream",
        "--trainer.accelerator=cpu",
        "--trainer.enable_progress_bar=false",
        "--trainer.logger=false",
    ),
    *("--trainer.enable_model_summary=false", "--model.init_args.latents=3", "--model.init_args.rates=[0.05]"),
]


@pytest.fixture
def samples(tmp_path):
    generator = np.random.default_rng(0)
    path = tmp_path / "samples.npy"
    np.save(path, generator.normal(size=(240, 6)) * np.linspace(3, 0.5, 6))
    return path


def command(samples, folder, *more):
    folder.mkdir(exist_ok=True)
    checkpoints = f"--trainer.default_root_dir={folder}"
    return [sys.executable, "-m", "regularized_lae", *BASE, f"--data.init_args.path={samples}", checkpoints, *more]


def environment():
    return {**os.environ, "OMP_NUM_THREADS": "1"}


def run(samples, folder, *more):
    done = subprocess.run(
        command(samples, folder, *more), env=environment(), capture_output=True, text=True, timeout=170, cwd=folder
    )
    assert done.returncode == 0, done.stderr[-2000:]
    return weights(folder)


def last_checkpoint(folder):
    return next(folder.rglob("last.ckpt"), None)


def weights(folder):
    checkpoint = torch.load(last_checkpoint(folder), weights_only=True)
    return checkpoint["state_dict"]["encoder"], checkpoint["state_dict"]["decoder"], checkpoint["epoch"]


@pytest.mark.parametrize("method", ["rag_balanced", "nonuniform"])
def test_two_processes_with_half_batches_fit_as_one_process_with_whole_ones(samples, tmp_path, method):
    """The mean gradient is the whole batch's, and RAG turns by the mean G; only the order of float64 sums differs."""
    common = (f"--model.init_args.methods=[{method}]", "--trainer.precision=64-true", "--trainer.max_epochs=3")
    one = run(samples, tmp_path / "one", *common, "--data.init_args.batch_size=40")
    two = run(
        samples,
        tmp_path / "two",
        *common,
        *("--data.init_args.batch_size=20", "--trainer.devices=2", "--trainer.strategy=ddp", "--trainer.num_nodes=1"),
    )
    assert one[0].dtype == torch.float64
    assert one[0].abs().max() > 1e-3  # it moved: the initial weights are 1e-4
    for alone, together in zip(one[:2], two[:2], strict=True):
        assert torch.allclose(alone, together, atol=1e-12, rtol=1e-9)


def test_a_fit_killed_half_way_resumes_to_the_same_bits(samples, tmp_path):
    options = ("--data.init_args.batch_size=50", "--trainer.max_epochs=60", "--model.init_args.optimizer=adam")
    whole = run(samples, tmp_path / "whole", *options)

    folder = tmp_path / "killed"
    process = subprocess.Popen(
        command(samples, folder, *options),
        env=environment(),
        cwd=folder,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        deadline = time.monotonic() + 120
        while last_checkpoint(folder) is None and time.monotonic() < deadline:
            assert process.poll() is None
            time.sleep(0.002)
    finally:
        process.send_signal(signal.SIGKILL)
        process.wait()
    assert weights(folder)[2] < 59  # it was half-way

    resumed = run(samples, folder, *options, f"--ckpt_path={last_checkpoint(folder)}")
    assert resumed[2] == whole[2] == 59
    assert torch.equal(resumed[0], whole[0]) and torch.equal(resumed[1], whole[1])
