"""Stacks, the recorder and the protocol: many runs at once are the same runs alone."""

import pytest
import torch
from pytorch_lightning import Trainer

from regularized_lae import PerRunRate, axis_alignment, vae_optimum
from regularized_lae.data import DigitsData, SpectrumData
from regularized_lae.experiment import Experiment
from regularized_lae.recorder import Record, Recorder
from regularized_lae.stack import AutoencoderStack, NestedDropoutStack, ReferenceStack, Run, VAEStack
from regularized_lae.sweep import Cell, SweepSettings, best_rate, cells, finish, records_of


@pytest.fixture
def data():
    return SpectrumData(dim=8, bottom=0.1)


def fit(stack, data, steps, *callbacks):
    torch.use_deterministic_algorithms(True)
    Trainer(accelerator="cpu", barebones=True, max_steps=steps, callbacks=list(callbacks)).fit(stack, datamodule=data)
    torch.use_deterministic_algorithms(False)
    return stack


METHODS = ["uniform", "nonuniform", "nested", "rag", "rag_balanced"]


@pytest.mark.parametrize("optimizer", ["gd", "nesterov", "adam"])
def test_a_stack_of_all_methods_rates_and_seeds_trains_like_each_run_alone(data, optimizer):
    options = {"eigenvalues": data.eigenvalues, "latents": 3, "optimizer": optimizer, "init_scale": 0.1}
    together = fit(AutoencoderStack(methods=METHODS, rates=[0.02, 0.1], seeds=[4, 5], **options), data, 25)
    for i, run in enumerate(together.runs):
        alone = fit(AutoencoderStack(methods=[run.method], rates=[run.rate], seeds=[run.seed], **options), data, 25)
        assert torch.allclose(together.decoder[i], alone.decoder[0], atol=1e-5), run


@pytest.mark.parametrize("torch_optimizer", [torch.optim.SGD, torch.optim.Adam])
def test_a_rate_per_run_is_what_torch_does_at_that_rate(torch_optimizer):
    start = torch.randn(2, 3, dtype=torch.float64)
    stacked = torch.nn.Parameter(start.clone())
    singles = [torch.nn.Parameter(row.clone()) for row in start]
    rates = [0.005, 0.03]
    together = PerRunRate(torch_optimizer([stacked], lr=1.0), torch.tensor(rates, dtype=torch.float64))
    alone = [torch_optimizer([p], lr=rate) for p, rate in zip(singles, rates, strict=True)]
    for _ in range(10):
        for optimizer, parameters in ((together, [stacked]), *((o, [p]) for o, p in zip(alone, singles, strict=True))):
            optimizer.zero_grad()
            sum(p.pow(4).sum() for p in parameters).backward()
            optimizer.step()
    assert torch.allclose(stacked, torch.stack(singles), atol=1e-12)


def test_a_rate_for_each_run_or_none():
    with pytest.raises(ValueError, match=r"3 rates for a parameter of shape \(2, 4\)"):
        PerRunRate(torch.optim.SGD([torch.nn.Parameter(torch.zeros(2, 4))], lr=1.0), torch.ones(3))


def test_dropping_runs_changes_nothing_for_the_others(data):
    options = {
        "eigenvalues": data.eigenvalues,
        "latents": 3,
        "methods": ["rag", "nested"],
        "seeds": [0, 1],
        "optimizer": "adam",
    }
    kept = fit(AutoencoderStack(rates=[0.01], **options), data, 40)
    # 1e30 diverges at once and is dropped
    recorder = Recorder([1e-9], every=5)
    mixed = fit(AutoencoderStack(rates=[0.01, 1e30], **options), data, 40, recorder)
    assert mixed.runs == kept.runs
    assert torch.allclose(mixed.decoder, kept.decoder, atol=1e-6)
    lost = [r for r in recorder.records.values() if r.run.rate == 1e30]
    assert len(lost) == 4 and all(r.diverged_at == 5 for r in lost)


def test_a_fit_that_diverged_says_so(data):
    stack = AutoencoderStack(data.eigenvalues, 2, ["rag", "nested"], [0.1, 1e9], [0], "nesterov")
    with pytest.warns(UserWarning, match="diverged, lower their rates: rag at rate 1e.09, nested at rate 1e.09$"):
        fit(stack, data, 30)


def test_a_method_whose_seeds_have_all_arrived_is_dropped_and_training_ends_with_the_last(data):
    recorder = Recorder([0.3, 0.01], every=5)
    stack = AutoencoderStack(data.eigenvalues, 2, ["rag_balanced"], [0.001, 0.1], [0, 1], "nesterov")
    fit(stack, data, 3000, recorder)
    fast = [r for r in recorder.records.values() if r.run.rate == 0.1]
    slow = [r for r in recorder.records.values() if r.run.rate == 0.001]
    assert max(r.steps_to[0.01] for r in fast) == max(r.last_step for r in fast) < 3000
    assert all(r.last_step <= max(f.last_step for f in fast) and r.steps_to[0.01] is None for r in slow)
    axes = data.truth.axes.float()
    assert all(axis_alignment(r.decoder, axes) <= 0.01 for r in fast)


@pytest.mark.parametrize("thresholds, every", [([0.1, 0.3], 10), ([], 10), ([0.3], 0)])
def test_thresholds_must_fall(thresholds, every):
    with pytest.raises(ValueError, match="thresholds must fall and every be >= 1"):
        Recorder(thresholds, every)


def test_fit_never_decomposes_a_matrix(data, monkeypatch):
    """The components are learnt: no eigen- or singular value decomposition from the first step to the last."""
    stack = AutoencoderStack(data.eigenvalues, 3, METHODS, [0.1], [0], "nesterov")
    data.setup("fit")  # the ground truth for the metrics is made here

    def forbidden(*_, **__):
        raise AssertionError("decomposed")

    for name in ("svd", "eigh", "eig", "svdvals", "eigvalsh"):
        monkeypatch.setattr(torch.linalg, name, forbidden)
    fit(stack, data, 20)


def test_references_keep_their_manifolds(data):
    stack = ReferenceStack(data.eigenvalues, 3, ["gha", "eigengame"], [0.1], [0], "nesterov")
    fit(stack, data, 2000)
    lengths = stack.weights.norm(dim=-1)
    assert torch.allclose(lengths[1], torch.ones(3), atol=1e-6)
    assert (axis_alignment(stack.decoders, data.truth.axes.float()) < 1e-4).all()
    with pytest.raises(ValueError, match="unknown reference 'oja', choose from gha, eigengame"):
        ReferenceStack(data.eigenvalues, 3, ["oja"])


def test_the_vae_reaches_the_likelihood_of_ppca(data):
    stack = VAEStack(data.eigenvalues, 2, rates=[0.02], optimizer="adam", init_scale=0.1)
    fit(stack, data, 3000)
    optimum = vae_optimum(data.truth.eigenvalues, data.truth.axes, 2)
    assert stack.losses(data.covariance.to(torch.float32)).item() == pytest.approx(float(optimum.value), abs=1e-3)
    assert axis_alignment(stack.decoders, data.truth.axes.float()).item() < 1e-2


def test_sampled_nested_dropout_learns_from_minibatches_and_refuses_a_bare_covariance(data):
    digits = DigitsData(batch_size=256)
    stack = NestedDropoutStack(digits.eigenvalues, 2, rates=[0.03], optimizer="adam")
    fit(stack, digits, 600)
    assert axis_alignment(stack.decoders, digits.truth.axes.float()).item() < 0.1
    with pytest.raises(ValueError, match="set the data's batch_size"):
        fit(NestedDropoutStack(data.eigenvalues, 2), data, 1)


@pytest.mark.parametrize(
    "options, message",
    [
        ({"latents": 9}, "between 1 and the data dimension 8, got 9"),
        ({"methods": ["pca"]}, "unknown method 'pca', choose from uniform"),
        ({"optimizer": "lamb"}, "unknown optimizer 'lamb', choose from gd, nesterov, adam"),
        ({"rates": [0.1, -1]}, "rates be positive"),
        ({"seeds": []}, "must not be empty"),
        ({"penalty_rule": "square"}, "unknown penalty_rule 'square', choose from relative, repo"),
        ({"penalty_low": 0.9, "penalty_high": 0.1, "methods": ["nonuniform"]}, "strictly increasing"),
    ],
)
def test_bad_settings_are_refused_before_training(data, options, message):
    with pytest.raises(ValueError, match=message):
        AutoencoderStack(**{"eigenvalues": data.eigenvalues, "latents": 3, **options})


def test_more_latents_than_directions_with_variance_are_refused():
    with pytest.raises(ValueError, match="latents is 3, but the data have only 2 directions"):
        AutoencoderStack([2.0, 1.0, 0.0, 0.0], 3)


def test_the_papers_penalties_warn_where_units_collapse():
    with pytest.warns(UserWarning, match=r"1 \(lam 0.81 >= s 0.5\)"):
        AutoencoderStack([2.0, 0.5, 0.1], 2, ["nonuniform"], penalty_rule="repo")


def test_the_grid_is_the_same_for_every_method_and_adam_is_not_for_references():
    names = [cell.name for cell in cells(SweepSettings(latents=[2], optimizers=["gd", "adam"]))]
    assert names == ["k2-gd", "k2-adam", "k2-gd-references"]
    assert Cell(5, "adam", False).name == "k5-adam"


def record(rate, steps, seed, optimizer="gd"):
    return Record(Run("rag", optimizer, rate, seed), 4, {0.1: steps}, last_step=100)


def test_the_best_rate_needs_all_seeds_and_says_when_it_lies_on_the_edge():
    records = [
        record(0.1, 50, 0),
        record(0.1, 70, 1),
        record(1.0, 10, 0),
        record(1.0, None, 1),
        record(0.01, 90, 0),
        record(0.01, 90, 1),
    ]
    best = best_rate(records, "rag", 4, 0.1)
    assert (best.rate, best.steps, best.stderr, best.on_edge, best.seeds) == (0.1, 60, 10, False, 2)
    assert best_rate([r for r in records if r.run.rate < 1], "rag", 4, 0.1).on_edge
    assert best_rate([record(0.1, None, 0)], "rag", 4, 0.1) is None
    assert best_rate(records, "rag", 4, 0.1, ["adam"]) is None
    assert len(records_of(records, "rag", 4, "gd", 1.0)) == 2


def test_a_sweep_that_was_stopped_goes_on_with_what_it_has(data, tmp_path):
    settings = SweepSettings(latents=[2, 3], optimizers=["nesterov"], references=["gha"], thresholds=[0.3, 0.05])
    template = AutoencoderStack(data.eigenvalues, 2, ["rag", "nested"], [0.1, 0.2], [0], "nesterov")
    made = []

    def all_cells(steps=200):
        def make_trainer(callbacks):
            made.extend(callbacks)
            return Trainer(accelerator="cpu", barebones=True, max_steps=steps, callbacks=callbacks)

        return [
            r
            for cell in cells(settings)
            for r in finish(cell, template, data, settings, make_trainer, {"steps": steps}, tmp_path)
        ]

    first = all_cells()
    assert len(made) == 4
    (tmp_path / "k3-nesterov.pt").unlink()
    again = all_cells()
    assert len(made) == 5
    assert [(r.run, r.steps_to) for r in again] == [(r.run, r.steps_to) for r in first]
    all_cells(steps=100)
    assert len(made) == 9  # another budget: nothing that was saved fits


def test_the_last_bits_of_the_spectrum_do_not_make_a_sweep_start_anew():
    """They depend on how many threads decomposed the covariance."""
    experiment = Experiment(["demo", "fast"])
    mark, truth = experiment.shared_by_cells(), experiment.data.truth
    for shift, same in ((1e-15, True), (1e-3, False)):
        experiment.data._truth = truth._replace(eigenvalues=truth.eigenvalues + shift)
        assert (experiment.shared_by_cells() == mark) == same


@pytest.mark.parametrize(
    ("setting", "same"),
    [
        ("data.init_args.basis_seed=1", False),
        ("data.init_args.top=2", False),
        ("trainer.precision=64", False),
        ("trainer.max_steps=9", False),
        ("model.init_args.rates=[0.5]", False),
        ("sweep.thresholds=[0.1]", False),
        ("model.init_args.latents=2", True),  # the cell has its own
        ("model.init_args.optimizer=adam", True),
        ("sweep.workers=2", True),
    ],
)
def test_records_are_kept_for_the_settings_that_made_them(setting, same):
    mark = Experiment(["demo", "fast"]).shared_by_cells()
    assert (Experiment(["demo", "fast"], [f"--{setting}"]).shared_by_cells() == mark) == same


def test_another_basis_is_another_sweep(tmp_path):
    options = ["--trainer.max_steps=20", "--data.init_args.dim=8", "--model.init_args.latents=2"]
    cell = Cell(2, "gd", False)
    first, other = (
        Experiment(["demo", "fast"], [*options, f"--data.init_args.basis_seed={seed}"]).finish(cell, tmp_path)
        for seed in (0, 1)
    )
    assert not any(torch.equal(a.decoder, b.decoder) for a, b in zip(first, other, strict=True))


def test_cells_trained_in_other_processes_are_the_same(tmp_path):
    options = ["--sweep.latents=[2]", "--sweep.references=[]", "--trainer.max_steps=60", "--data.init_args.dim=8"]
    options += ["--model.init_args.latents=2", "--sweep.optimizers=[gd,adam]"]
    here = Experiment(["demo"], [*options, "--sweep.workers=1"]).finish_all(tmp_path / "here", "here")
    elsewhere = Experiment(["demo"], [*options, "--sweep.workers=2"]).finish_all(tmp_path / "elsewhere", "elsewhere")
    assert [(r.run, r.steps_to) for r in elsewhere] == [(r.run, r.steps_to) for r in here]
