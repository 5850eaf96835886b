"""Whole fits by Lightning: a stack is its runs alone, two processes are one, a killed fit resumes to the same bits."""

import copy
import json
import math
import os
import signal
import subprocess
import sys
import time
import warnings

import pytest
import torch
import yaml
from pytorch_lightning import LightningModule, Trainer, seed_everything
from pytorch_lightning.callbacks import ModelCheckpoint
from torch import nn
from torch.nn import functional as F
from torch.utils.data import DataLoader, TensorDataset

from mli_landscapes import (
    interpolate,
    parameters_of,
    recalibrate_batchnorm,
    snapshot,
    stacked_weight_distance,
    weight_distance,
)
from mli_landscapes.callbacks import MLICallback, Snapshots
from mli_landscapes.cli import main
from mli_landscapes.data import MarkovText, SyntheticImages
from mli_landscapes.resnet import VARIANTS
from mli_landscapes.training import (
    AutoencoderTraining,
    LSTMTraining,
    MLPTraining,
    ResNetTraining,
    TransformerTraining,
)


def images(**options):
    return SyntheticImages(**{"examples": 64, "channels": 1, "size": 8, "classes": 3, "batch_size": 16, **options})


def mlp(data=None, **options):
    return MLPTraining((data or images()).sizes, **{"hidden": (8,), **options})


def trainer(**options):
    quiet = {
        "logger": False,
        "enable_checkpointing": False,
        "enable_progress_bar": False,
        "enable_model_summary": False,
    }
    return Trainer(**{"accelerator": "cpu", "max_epochs": 2, **quiet, **options})


def fitted(training, data=None, **options):
    trainer(**options).fit(training, datamodule=data or images())
    return training


# ---- what a fit does


def test_one_run_is_a_plain_torch_loop_to_the_bit():
    data = images()
    training = mlp(data, rates=[0.1], seeds=[3], weight_decay=0.01)
    model = copy.deepcopy(training.network)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9, weight_decay=0.01)
    loader = data.train_dataloader()
    for epoch in range(2):
        loader.sampler.set_epoch(epoch)
        for x, y in loader:
            optimizer.zero_grad(), F.cross_entropy(model(x), y, reduction="none").mean().backward(), optimizer.step()
    fitted(training, data)
    assert all(torch.equal(p, q) for p, q in zip(training.network.parameters(), model.parameters(), strict=True))
    assert weight_distance(training.initial, training.network) > 0.01


@pytest.mark.parametrize(
    ("options", "noise"),
    [
        ({"optimizer": "sgd", "batchnorm": True, "milestones": [1], "weight_decay": 0.01}, 0.0),
        ({"optimizer": "adam", "weight_decay": 0.01}, 0.3),
        ({"optimizer": "adam", "step_length_of": "sgd", "milestones": [1]}, 0.0),
        ({"optimizer": "gd", "outward_radius": 20.0, "init_scale": 2.0}, 0.0),
    ],
)
def test_every_network_of_a_stack_is_its_run_alone(options, noise):
    """Weights, running statistics and where it started, in float64: what remains is the order of sums."""
    rates, seeds, data = [0.02, 0.1], [1, 5], images(label_noise=noise)
    together = fitted(mlp(rates=rates, seeds=seeds, **options), data, precision="64-true")
    assert [tuple(run) for run in together.runs] == [(0.02, 1), (0.02, 5), (0.1, 1), (0.1, 5)]
    for j, run in enumerate(together.runs):
        alone = fitted(mlp(rates=[run.rate], seeds=[run.seed], **options), data, precision="64-true")
        stacked = together.network.network(j).state_dict()
        for name, value in alone.network.state_dict().items():
            assert torch.allclose(stacked[name], value, rtol=0, atol=1e-11)
        for name, value in alone.initial.items():
            assert torch.equal(together.initial[f"networks.{name}"][j], value)
    assert stacked_weight_distance(together.initial, snapshot(together.network)).min() > 1e-3


def test_label_noise_changes_what_is_learned():
    clean, noisy = (fitted(mlp(), images(label_noise=noise)) for noise in (0.0, 0.5))
    assert weight_distance(clean.network, noisy.network) > 0.01


def test_the_rate_falls_at_its_milestones():
    training, rates = mlp(rates=[0.1, 0.2], milestones=[1, 3], gamma=0.5), []

    class Recorder(Snapshots):
        def on_train_epoch_start(self, trainer, module):
            rates.append(module.optimizers().param_groups[0]["lr"])

    fitted(training, max_epochs=5, callbacks=[Recorder()])
    assert rates == [1, 0.5, 0.5, 0.25, 0.25]  # of all; each network's own comes on top


def test_a_grafted_step_is_as_long_as_plain_gradient_descents():
    data = images(batch_size=64)
    plain = fitted(mlp(rates=[0.1], optimizer="gd"), data, max_steps=1)
    adam = fitted(mlp(rates=[0.1], optimizer="adam"), data, max_steps=1)
    grafted = fitted(mlp(rates=[0.1], optimizer="adam", step_length_of="gd"), data, max_steps=1)
    steps = [
        torch.cat([(p.detach() - t.initial[name]).flatten() for name, p in t.network.named_parameters()])
        for t in (plain, adam, grafted)
    ]
    assert float(steps[2].norm()) == pytest.approx(float(steps[0].norm()), rel=1e-5)
    assert float(F.cosine_similarity(steps[2], steps[1], dim=0)) == pytest.approx(1, abs=1e-5)
    assert float(steps[1].norm()) > 2 * float(steps[0].norm())


def test_the_outward_pull_drives_weights_away_the_farther_the_larger_its_radius():
    distances = []
    for radius in (None, 5.0, 20.0, 80.0):
        training = fitted(mlp(rates=[0.01, 0.02], outward_radius=radius, outward_strength=0.1), max_epochs=40)
        distances.append(stacked_weight_distance(training.initial, snapshot(training.network)))
        norms = torch.stack([p.detach().flatten(1).norm(dim=1) for p in training.network.parameters()])
    assert (torch.stack(distances).diff(dim=0) > 0.5).all()
    assert (norms / 80 - 1).abs().max() < 0.05  # drawn to the sphere


def test_mixed_precision_keeps_weights_in_float32_and_trains_alike():
    """Gradients are off by bfloat16's 2⁻⁸ or so, and weights in the end by a few times that over 16 steps."""
    for rates in ([0.1], [0.1, 0.05]):
        full, mixed = (fitted(mlp(rates=rates), max_epochs=4, precision=p) for p in ("32-true", "bf16-mixed"))
        for p, q in zip(full.network.parameters(), mixed.network.parameters(), strict=True):
            assert p.dtype == q.dtype == torch.float32
        assert weight_distance(full.initial, full.network) > 1
        assert 0 < weight_distance(full.network, mixed.network) < 0.04


def test_gradient_clipping_is_for_one_run_and_refused_for_a_stack():
    one = fitted(mlp(rates=[1.0], optimizer="gd"), max_steps=1, gradient_clip_val=1e-3)
    moved = torch.cat([(p.detach() - one.initial[name]).flatten() for name, p in one.network.named_parameters()])
    assert float(moved.norm()) == pytest.approx(1e-3, rel=1e-3)
    with pytest.raises(ValueError, match="gradient clipping would scale the networks of a stack by a common norm"):
        fitted(mlp(rates=[1.0, 0.1]), gradient_clip_val=1e-3)


def test_runs_that_diverge_are_named_and_leave_the_others_alone():
    with pytest.warns(UserWarning, match="these runs diverged: rate 1e[+]30, seed 0$"):
        training = fitted(mlp(rates=[0.1, 1e30], optimizer="gd", hidden=(8, 8)), precision="64-true")
    assert training.finite() == [True, False]
    alone = fitted(mlp(rates=[0.1], optimizer="gd", hidden=(8, 8)), precision="64-true")
    assert alone.finite() == [True]
    for p, q in zip(training.network.parameters(), alone.network.parameters(), strict=True):
        assert torch.allclose(p[0], q, rtol=1e-12)


def test_validation_and_test_report_means_over_rows_and_networks():
    data, training = images(examples=100), mlp(rates=[0.1, 0.2])  # 25 held out in batches of 16
    (measured,) = trainer().test(training, datamodule=data, verbose=False)
    (validated,) = trainer().validate(training, datamodule=data, verbose=False)
    ((x, y),) = data.held_out_batches()
    with torch.no_grad():
        logits = training.network(x)
    losses = torch.stack([F.cross_entropy(z, y) for z in logits])
    assert measured["test/loss"] == pytest.approx(float(losses.mean()), rel=1e-5)
    assert measured["test/error"] == pytest.approx(float((logits.argmax(-1) != y).double().mean()), rel=1e-5)
    assert validated == {name.replace("test", "val"): value for name, value in measured.items()}
    predicted = trainer().predict(training, datamodule=data)
    assert torch.allclose(torch.cat(predicted, 1), logits, atol=1e-6)


def test_the_same_seeds_start_alike_whatever_the_global_random_state():
    seed_everything(1)
    first = mlp(rates=[0.1, 0.2], seeds=[3, 4])
    seed_everything(2)
    second = mlp(rates=[0.5], seeds=[4])
    for name, value in second.initial.items():
        assert torch.equal(first.initial[f"networks.{name}"][1], value)
        assert torch.equal(first.initial[f"networks.{name}"][3], value)
    assert not torch.equal(first.initial["networks.layers.0.weight"][0], second.initial["layers.0.weight"])


# ---- every architecture

TEXT = {"vocabulary": 12, "tokens": 400, "window": 6, "batch_size": 16}
STACK = {"rates": [0.05, 0.1], "seeds": [0, 1]}


@pytest.mark.parametrize("batchnorm", [False, True])
@pytest.mark.parametrize("runs", [{}, STACK])
def test_autoencoders_train_and_interpolate(runs, batchnorm):
    data = images()
    check(AutoencoderTraining(data.sizes, hidden=16, bottleneck=3, batchnorm=batchnorm, **runs), data)


@pytest.mark.parametrize("variant", VARIANTS)
@pytest.mark.parametrize("runs", [{}, STACK])
def test_residual_networks_train_and_interpolate(runs, variant):
    data = images(channels=3, examples=32)
    check(ResNetTraining(data.sizes, depth=8, variant=variant, **runs), data)


@pytest.mark.parametrize("runs", [{}, STACK])
def test_transformers_train_and_interpolate(runs):
    data = MarkovText(**TEXT)
    check(TransformerTraining(data.sizes, width=8, layers=1, dropout=0.1, optimizer="adam", **runs), data)


@pytest.mark.parametrize("tied", [False, True])
def test_lstms_train_and_interpolate(tied):
    data = MarkovText(**TEXT)
    check(LSTMTraining(data.sizes, width=8, layers=2, dropout=0.1, tied=tied), data)


def check(training, data):
    """A few steps move every parameter tensor, and the curve joins the plain losses of both ends."""
    fitted(training, data, max_steps=4)
    network, batches = training.network, data.training_batches(32)
    still = [name for name, p in network.named_parameters() if torch.equal(p, training.initial[name])]
    assert not still
    result = interpolate(training.initial, network, data=batches, metric=training.metric, alphas=3)
    assert result.values.shape == (3,) + (4,) * (len(training.runs) > 1) and not result.diverged.any()
    for value, state in zip(result.values[[0, -1]], (training.initial, parameters_of(network)), strict=True):
        plain = copy.deepcopy(network).eval()
        plain.load_state_dict(state, strict=False)
        recalibrate_batchnorm(plain, batches)
        with torch.no_grad():
            expected = training.metric(plain(batches[0][0]), batches[0]).double().mean(-1)
        assert torch.allclose(value, expected, rtol=1e-5)


def test_lstms_are_refused_as_a_stack():
    with pytest.raises(ValueError, match="LSTMs cannot be stacked: give one rate and one seed"):
        LSTMTraining([12], width=8, **STACK)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"optimizer": "lion"}, "unknown optimizer 'lion', choose from sgd, gd, adam"),
        ({"step_length_of": "lion"}, "unknown optimizer 'lion', choose from sgd, gd, adam"),
        ({"rates": []}, "rates and seeds must not be empty"),
        ({"seeds": []}, "rates and seeds must not be empty"),
        ({"rates": [0.1, 0.0]}, "rates positive"),
    ],
)
def test_training_that_cannot_be_is_refused(options, said):
    with pytest.raises(ValueError, match=said):
        mlp(**options)


# ---- from the command line


@pytest.fixture
def config(tmp_path):
    """A stack of four runs that saves every epoch."""
    checkpoint = {
        "class_path": "ModelCheckpoint",
        "init_args": {"save_last": True, "enable_version_counter": False},
    }
    content = {
        "trainer": {
            **{"accelerator": "cpu", "logger": False, "enable_progress_bar": False, "enable_model_summary": False},
            "callbacks": [checkpoint],
        },
        "model": {
            "class_path": "mli_landscapes.training.MLPTraining",
            "init_args": {"hidden": [8], "rates": [0.01, 0.05], "seeds": [0, 1], "milestones": [2, 6]},
        },
        "data": {
            "class_path": "mli_landscapes.data.SyntheticImages",
            "init_args": {"examples": 64, "channels": 1, "size": 8, "classes": 3, "label_noise": 0.2},
        },
    }
    path = tmp_path / "stack.yaml"
    path.write_text(yaml.safe_dump(content))
    return path


def arguments(config, folder, *more):
    folder.mkdir(exist_ok=True)
    return ["fit", "--config", str(config), f"--trainer.default_root_dir={folder}", *more]


def start(config, folder, *more):
    """A fit in a process of its own."""
    command = [sys.executable, "-m", "mli_landscapes", *arguments(config, folder, *more)]
    variables = {**os.environ, "OMP_NUM_THREADS": "1"}
    return subprocess.Popen(command, env=variables, cwd=folder, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)


def last_checkpoint(folder):
    return next(folder.rglob("last.ckpt"), None)


def saved(folder):
    return torch.load(last_checkpoint(folder), weights_only=True)


@pytest.mark.parametrize(
    "options",
    [
        ("--model.init_args.optimizer=adam", "--model.init_args.batchnorm=true"),
        ("--model.init_args.optimizer=adam", "--model.init_args.step_length_of=sgd"),
    ],
)
def test_a_stopped_fit_resumes_to_the_same_bits_and_knows_where_it_started(config, tmp_path, options):
    """Weights, statistics and initial weights, of four epochs at once and of two and two."""
    batches = "--data.init_args.batch_size=16"
    main(arguments(config, tmp_path / "whole", batches, *options, "--trainer.max_epochs=4"))
    main(arguments(config, tmp_path / "half", batches, *options, "--trainer.max_epochs=2"))
    path = f"--ckpt_path={last_checkpoint(tmp_path / 'half')}"
    main(arguments(config, tmp_path / "half", batches, *options, "--trainer.max_epochs=4", path))
    whole, resumed = saved(tmp_path / "whole"), saved(tmp_path / "half")
    assert whole["epoch"] == resumed["epoch"] == 3
    for part in ("state_dict", "initial_parameters"):
        assert list(whole[part]) == list(resumed[part])
        assert all(torch.equal(value, resumed[part][name]) for name, value in whole[part].items())
    path = last_checkpoint(tmp_path / "half")
    fresh = MLPTraining(**MLPTraining.load_from_checkpoint(path, weights_only=True).hparams)
    training = MLPTraining.load_from_checkpoint(path, weights_only=True, seeds=[7, 8])  # which start elsewhere
    assert all(torch.equal(value, training.initial[name]) for name, value in fresh.initial.items())
    assert stacked_weight_distance(training.initial, snapshot(training.network)).min() > 1e-3


def test_a_killed_fit_resumes_to_the_same_bits(config, tmp_path):
    options = ("--data.init_args.batch_size=8", "--trainer.max_epochs=60", "--model.init_args.optimizer=adam")
    main(arguments(config, tmp_path / "whole", *options))
    folder = tmp_path / "killed"
    process = start(config, folder, *options)
    try:
        deadline = time.monotonic() + 120
        while last_checkpoint(folder) is None and time.monotonic() < deadline:
            assert process.poll() is None
            time.sleep(0.002)
    finally:
        process.send_signal(signal.SIGKILL)
        process.communicate()
    assert saved(folder)["epoch"] < 59  # it was half-way
    main(arguments(config, folder, *options, f"--ckpt_path={last_checkpoint(folder)}"))
    whole, resumed = saved(tmp_path / "whole"), saved(folder)
    assert whole["epoch"] == resumed["epoch"] == 59
    for part in ("state_dict", "initial_parameters"):
        assert all(torch.equal(value, resumed[part][name]) for name, value in whole[part].items())


def test_two_processes_with_half_batches_fit_as_one_process_with_whole_ones(config, tmp_path):
    """Every network's gradient is the mean of both halves'; only the order of float64 sums differs."""
    common = ("--trainer.precision=64-true", "--trainer.max_epochs=2")
    main(arguments(config, tmp_path / "one", *common, "--data.init_args.batch_size=16"))
    distributed = ("--data.init_args.batch_size=8", "--trainer.devices=2", "--trainer.strategy=ddp")
    process = start(config, tmp_path / "two", *common, *distributed)
    _, errors = process.communicate(timeout=170)
    assert process.returncode == 0, errors.decode()[-2000:]
    one, two = saved(tmp_path / "one"), saved(tmp_path / "two")
    for name, value in one["state_dict"].items():
        assert value.dtype == torch.float64
        assert torch.allclose(value, two["state_dict"][name], atol=1e-12, rtol=1e-9)
        assert (value - one["initial_parameters"][name.removeprefix("network.")]).abs().max() > 1e-3


# ---- callbacks


def test_a_fit_that_ends_within_an_epoch_goes_on_there_to_the_same_bits(config, tmp_path):
    options = ("--data.init_args.batch_size=16", "--model.init_args.optimizer=adam", "--trainer.max_epochs=-1")
    every = "--trainer.callbacks.init_args.every_n_train_steps=1"
    main(arguments(config, tmp_path / "whole", *options, every, "--trainer.max_steps=11"))
    main(arguments(config, tmp_path / "half", *options, every, "--trainer.max_steps=6"))  # of four batches an epoch
    path = f"--ckpt_path={last_checkpoint(tmp_path / 'half')}"
    main(arguments(config, tmp_path / "half", *options, every, "--trainer.max_steps=11", path))
    whole, resumed = saved(tmp_path / "whole")["state_dict"], saved(tmp_path / "half")["state_dict"]
    assert all(torch.equal(value, resumed[name]) for name, value in whole.items())


class Somebodys(LightningModule):
    """A module of another project: two inputs, batch norm, dropout, its own names and loss."""

    def __init__(self, seed=0):
        super().__init__()
        with torch.random.fork_rng():
            torch.manual_seed(seed)
            self.left, self.right = nn.Linear(4, 6), nn.Linear(3, 6)
            self.norm, self.drop, self.out = nn.BatchNorm1d(6), nn.Dropout(0.3), nn.Linear(6, 1)

    def forward(self, x, z):
        return self.out(self.drop(torch.tanh(self.norm(self.left(x) + self.right(z)))))

    def loss(self, batch):
        x, z, y = batch
        return F.l1_loss(self(x, z), y)

    def training_step(self, batch, batch_idx):
        loss = self.loss(batch)
        self.log("loss", loss, prog_bar=True)
        self.log_dict({"twice": 2 * loss, "epoch": float(self.current_epoch)})
        return {"loss": loss}

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), lr=0.1)


class WithoutIndex(Somebodys):
    def training_step(self, batch):
        return self.loss(batch)


def loader(rows=40, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return DataLoader(TensorDataset(*(torch.randn(rows, k, generator=generator) for k in (4, 3, 1))), 16)


def two_inputs(batch):
    return batch[0], batch[1]


@pytest.mark.parametrize("kind", [Somebodys, WithoutIndex])
@pytest.mark.parametrize("precision", ["32-true", "64-true"])
def test_the_curve_of_anybodys_training_is_that_of_its_loss(tmp_path, kind, precision):
    module, batches, other = kind(), loader(), loader(9, seed=1)
    callback = MLICallback(alphas=4, dirpath=str(tmp_path / "new"), held_out=other, inputs=two_inputs)
    before = copy.deepcopy(module)
    trainer(max_epochs=3, callbacks=[callback], precision=precision).fit(module, batches)

    def l1(output, batch):
        return (output - batch[2]).abs().mean(1)

    options = {"data": batches, "held_out": other, "inputs": two_inputs, "metric": l1, "alphas": 4}
    expected = interpolate(before.float(), copy.deepcopy(module).float(), **options)
    assert torch.allclose(callback.result.values, expected.values, rtol=1e-5)
    assert torch.allclose(callback.result.held_out, expected.held_out, rtol=1e-5)
    assert callback.result.values[-1] < callback.result.values[0]
    written = json.loads((tmp_path / "new" / "mli.json").read_text())
    assert written == {
        "alphas": pytest.approx([0, 1 / 3, 2 / 3, 1]),
        "losses": callback.result.values.tolist(),
        "held_out": callback.result.held_out.tolist(),
        "min_delta": float(callback.result.min_delta),
        "weight_distance": pytest.approx(weight_distance(before, module.float()), rel=1e-5),
    }
    assert not list(tmp_path.rglob("*.tmp"))


def test_the_callback_leaves_training_as_it_is():
    alone, watched = Somebodys(), Somebodys()
    seed_everything(0)
    trainer().fit(alone, loader())
    seed_everything(0)
    run = trainer(callbacks=[MLICallback(alphas=3, inputs=two_inputs)])
    run.fit(watched, loader())
    assert all(torch.equal(value, watched.state_dict()[name]) for name, value in alone.state_dict().items())
    assert watched.training and "log" not in vars(watched)
    assert set(run.callback_metrics) == {"loss", "twice", "epoch"}


def test_a_resumed_run_still_knows_its_initial_weights(tmp_path):
    first, second = Somebodys(seed=0), Somebodys(seed=1)
    initial = snapshot(first)

    def save():
        return ModelCheckpoint(tmp_path, save_last=True, save_top_k=0)

    trainer(callbacks=[MLICallback(3, inputs=two_inputs), save()], enable_checkpointing=True).fit(first, loader())
    resumed = MLICallback(3, inputs=two_inputs)
    run = trainer(callbacks=[resumed, save()], enable_checkpointing=True, max_epochs=4)
    run.fit(second, loader(), ckpt_path=tmp_path / "last.ckpt", weights_only=True)
    assert run.global_step == 12
    assert list(resumed.initial) == list(initial)
    assert all(torch.equal(value, resumed.initial[name]) for name, value in initial.items())


def test_an_objective_of_ones_own_may_give_a_curve_for_each_network_of_a_stack(tmp_path):
    data, training = images(), mlp(rates=[0.1, 0.2])
    callback = MLICallback(3, str(tmp_path), objective=lambda m, batch: m.metric(m(batch[0]), batch))
    fitted(training, data, callbacks=[callback])
    expected = interpolate(
        training.initial, training.network, data=data.training_batches(), metric=training.metric, alphas=3
    )
    assert torch.allclose(callback.result.values, expected.values, rtol=1e-5)
    written = json.loads((tmp_path / "mli.json").read_text())
    assert written["min_delta"] == callback.result.min_delta.tolist() and written["held_out"] is None


def test_a_run_that_diverged_has_no_curve_and_says_so(tmp_path):
    training = mlp(rates=[1e30], optimizer="gd", hidden=(8, 8))
    callback = MLICallback(3, str(tmp_path))
    with pytest.warns(UserWarning, match="the weights are not finite: there is no curve to measure"):
        fitted(training, callbacks=[callback])
    assert callback.result is None and not list(tmp_path.iterdir())


def test_callbacks_without_anything_to_take_are_refused():
    with pytest.raises(ValueError, match="a line needs at least two points, got alphas=1"):
        MLICallback(alphas=1)
    with pytest.raises(ValueError, match="every must be at least 1 epoch, got 0"):
        Snapshots(every=0)


def test_snapshots_are_copies_from_the_start_and_after_every_few_epochs():
    training, snapshots = mlp(rates=[0.1, 0.2]), Snapshots(every=2)
    with warnings.catch_warnings():
        warnings.simplefilter("error", ResourceWarning)
        fitted(training, callbacks=[snapshots], max_epochs=5)
    assert snapshots.steps == [0, 8, 16]  # four steps an epoch
    assert all(torch.equal(value, training.initial[name]) for name, value in snapshots.states[0].items())
    distances = [stacked_weight_distance(training.initial, state) for state in snapshots.states[1:]]
    assert (distances[1] > distances[0]).all() and (distances[0] > 0).all()
    assert math.isfinite(weight_distance(snapshots.states[-1], training.network))
