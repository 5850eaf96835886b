"""Whole fits from the command line: two processes are one, and a killed fit resumes to the same bits."""

import os
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
import torch

from regularized_lae.cli import main

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


def arguments(samples, folder, *more):
    folder.mkdir(exist_ok=True)
    return [*BASE, f"--data.init_args.path={samples}", f"--trainer.default_root_dir={folder}", *more]


def run(samples, folder, *more):
    """A fit in this process; the weights that it saved last."""
    main(arguments(samples, folder, *more))
    return weights(folder)


def start(samples, folder, *more):
    """A fit in a process of its own."""
    command = [sys.executable, "-m", "regularized_lae", *arguments(samples, folder, *more)]
    variables = {**os.environ, "OMP_NUM_THREADS": "1"}
    return subprocess.Popen(command, env=variables, cwd=folder, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)


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
    distributed = ("--data.init_args.batch_size=20", "--trainer.devices=2", "--trainer.strategy=ddp")
    process = start(samples, tmp_path / "two", *common, *distributed)
    _, errors = process.communicate(timeout=170)
    assert process.returncode == 0, errors.decode()[-2000:]
    two = weights(tmp_path / "two")
    assert one[0].dtype == torch.float64
    assert one[0].abs().max() > 1e-3  # it moved: the initial weights are 1e-4
    for alone, together in zip(one[:2], two[:2], strict=True):
        assert torch.allclose(alone, together, atol=1e-12, rtol=1e-9)


def test_accumulated_batches_fit_as_one_batch_of_their_size(samples, tmp_path):
    """Gradients and G of the parts are averaged alike."""
    common = ("--trainer.precision=64-true", "--trainer.max_epochs=3")
    whole = run(samples, tmp_path / "whole", *common, "--data.init_args.batch_size=60")
    parts = run(
        samples, tmp_path / "parts", *common, "--data.init_args.batch_size=20", "--trainer.accumulate_grad_batches=3"
    )
    for one, many in zip(whole[:2], parts[:2], strict=True):
        assert torch.allclose(one, many, atol=1e-12, rtol=1e-9)


def test_mixed_precision_keeps_weights_and_turns_in_float32(samples, tmp_path):
    options = ("--trainer.max_epochs=40", "--data.init_args.batch_size=40")
    full = run(samples, tmp_path / "full", *options)
    mixed = run(samples, tmp_path / "mixed", *options, "--trainer.precision=bf16-mixed")
    assert mixed[1].dtype == torch.float32
    assert torch.allclose(mixed[1], full[1], atol=0.05)  # bfloat16 has three digits


def test_a_fit_killed_half_way_resumes_to_the_same_bits(samples, tmp_path):
    options = ("--data.init_args.batch_size=50", "--trainer.max_epochs=120", "--model.init_args.optimizer=adam")
    whole = run(samples, tmp_path / "whole", *options)

    folder = tmp_path / "killed"
    process = start(samples, folder, *options)
    try:
        deadline = time.monotonic() + 120
        while last_checkpoint(folder) is None and time.monotonic() < deadline:
            assert process.poll() is None
            time.sleep(0.002)
    finally:
        process.send_signal(signal.SIGKILL)
        process.communicate()
    assert weights(folder)[2] < 119  # it was half-way

    resumed = run(samples, folder, *options, f"--ckpt_path={last_checkpoint(folder)}")
    assert resumed[2] == whole[2] == 119
    assert torch.equal(resumed[0], whole[0]) and torch.equal(resumed[1], whole[1])


def test_a_fit_that_ends_within_an_epoch_goes_on_there_to_the_same_bits(samples, tmp_path):
    options = ("--data.init_args.batch_size=50", "--model.init_args.optimizer=adam", "--trainer.max_epochs=-1")
    every = "--trainer.callbacks.init_args.every_n_train_steps=1"
    whole = run(samples, tmp_path / "whole", *options, every, "--trainer.max_steps=13")
    run(samples, tmp_path / "half", *options, every, "--trainer.max_steps=7")  # of five batches an epoch
    path = f"--ckpt_path={last_checkpoint(tmp_path / 'half')}"
    resumed = run(samples, tmp_path / "half", *options, every, "--trainer.max_steps=13", path)
    assert torch.equal(resumed[0], whole[0]) and torch.equal(resumed[1], whole[1])
