"""Studies: what is measured of each run, the tables, and a study that goes on where it was stopped."""

import json
import math

import numpy as np
import pytest
import torch

from mli_landscapes import interpolate, min_delta, stacked_weight_distance
from mli_landscapes.data import DigitsData
from mli_landscapes.evidence import (
    grid_claims,
    optima_claims,
    optima_curves,
    outward_claims,
    read_states,
    theorem_claims,
    variant_claims,
)
from mli_landscapes.experiment import Experiment
from mli_landscapes.fitted import TheoremSettings, theorem_check
from mli_landscapes.losses import cross_entropy
from mli_landscapes.study import RunRecord, StudySettings, measure
from mli_landscapes.tables import (
    converged,
    group_of,
    log_correlation,
    logistic_fit,
    markdown,
    mean_interval,
    share_interval,
    table,
)
from mli_landscapes.training import MLPTraining


def record(cell="sgd", rate=0.1, seed=0, losses=(2.0, 1.0, 0.01), distance=1.0, held_out=None, **more):
    losses = list(losses)
    grid = np.linspace(0, 1, len(losses)).tolist()
    options = {"gauss_length": 1.0, "turning": 1.0, "linearity": 0.1, **more}
    rises = float(min_delta(losses))
    return RunRecord(cell, rate, seed, False, grid, losses, held_out or losses, rises, distance, **options)


RISES = (2.0, 0.005, 0.01)  # by 0.005


@pytest.fixture(scope="module")
def measured():
    """Three untrained stacks' worth of runs: weights moved by hand, one of them to NaN."""
    data = DigitsData(train_size=60)
    training = MLPTraining(sizes=data.sizes, hidden=[8], rates=[0.1, 0.2], seeds=[0, 1])
    with torch.no_grad():
        for parameter in training.network.parameters():
            parameter += 0.3 * torch.randn(parameter.shape, generator=torch.Generator().manual_seed(0))
        next(training.network.parameters())[2] = math.nan
    settings = StudySettings(alphas=7, gauss_examples=5, gauss_points=9)
    return data, training, settings, measure("cell", training, data, settings)


def test_a_diverged_run_is_reported_as_such_and_does_not_touch_the_others(measured):
    data, training, _, records = measured
    assert [r.diverged for r in records] == [False, False, True, False]
    assert records[2].final_loss == math.inf and records[2].min_delta is None and records[2].losses == []
    assert [(r.rate, r.seed) for r in records] == [(0.1, 0), (0.1, 1), (0.2, 0), (0.2, 1)]
    for j in (0, 1, 3):
        start = {name.removeprefix("networks."): value[j] for name, value in training.initial.items()}
        alone = interpolate(
            start, training.network.network(j), data=data.training_batches(), metric=cross_entropy, alphas=7
        )
        assert records[j].losses == pytest.approx(alone.values.tolist(), abs=1e-5)
        assert records[j].min_delta == pytest.approx(float(alone.min_delta), abs=1e-5)


def test_held_out_curves_and_distances_are_those_of_each_run(measured):
    data, training, _, records = measured
    single = training.network.network(1)
    start = {name.removeprefix("networks."): value[1] for name, value in training.initial.items()}
    held = interpolate(start, single, data=data.held_out_batches(), metric=cross_entropy, alphas=7)
    assert records[1].held_out == pytest.approx(held.values.tolist(), abs=1e-5)
    state = dict(training.network.named_parameters())
    assert records[1].distance == pytest.approx(
        float(
            stacked_weight_distance(
                {n: v[[1]] for n, v in training.initial.items()}, {n: v.detach()[[1]] for n, v in state.items()}
            )
        )
    )
    assert records[1].gauss_length > 0 and records[1].turning > 0 and records[1].linearity > 0


def test_a_single_run_is_measured_like_a_stack_of_it():
    data = DigitsData(train_size=60)
    settings = StudySettings(alphas=5, gauss_examples=4, gauss_points=6)
    found = []
    for rates in ([0.1], [0.1, 0.2]):
        training = MLPTraining(sizes=data.sizes, hidden=[8], rates=rates, batchnorm=True)
        with torch.no_grad():
            for name, parameter in training.network.named_parameters():
                generator = torch.Generator().manual_seed(len(name.removeprefix("networks.")))
                shape = parameter.shape if len(rates) == 1 else parameter.shape[1:]
                parameter += 0.3 * torch.randn(shape, generator=generator)
        found.append(measure("cell", training, data, settings)[0])
    one, of_two = found
    assert one.losses == pytest.approx(of_two.losses, abs=1e-5)
    assert one.gauss_length == pytest.approx(of_two.gauss_length, rel=1e-4)
    assert one.distance == pytest.approx(of_two.distance)


def test_the_loss_filter_comes_before_the_share():
    """A run that stays at a high loss is no evidence: only converged ones are counted, diverged ones never."""
    records = [record(), record(losses=RISES), record(losses=(2.0, 3.0, 2.5)), RunRecord("sgd", 0.1, 3, diverged=True)]
    assert len(converged(records, 0.1)) == 2
    (row,) = table(records, below=0.1, delta=1e-3)
    assert (row.runs, row.converged, row.nonmonotone, row.diverged) == (4, 2, 1, 1)
    assert row.share.value == 0.5 and row.rise.value == pytest.approx(0.005)
    assert row.held_out == 1


def test_tables_have_a_row_a_rate_and_one_for_all_of_a_group():
    records = [record(rate=0.1), record(rate=0.3, losses=RISES), record(cell="adam", rate=0.3)]
    rows = table(records, 0.1, 1e-3)
    assert [(r.group, r.rate) for r in rows] == [("sgd", 0.1), ("sgd", 0.3), ("sgd", None), ("adam", 0.3)]
    text = markdown(rows)
    assert "| sgd | 0.3 | 1 of 1 | 1 | 100 (21 to 100) | 0.005 | 1 |" in text
    assert group_of(record(cell="bn_sgd_0.1", rate=0.1)) == "bn_sgd"


def test_share_intervals_are_those_of_a_binomial():
    share, low, high = share_interval(5, 20)
    assert share == 0.25 and low == 0.1 and high == 0.45  # 2.5 % and 97.5 % quantiles of Binomial(20, 1/4): 2 and 9
    resampled = np.random.default_rng(0).binomial(20, 0.25, 100_000) / 20
    assert np.quantile(resampled, [0.025, 0.975]).tolist() == [low, high]
    assert share_interval(0, 10).high == pytest.approx(0.2775, abs=1e-3)  # Wilson: nothing seen is not nothing
    assert math.isnan(share_interval(0, 0).value)


def test_mean_intervals_hold_the_mean_and_shrink_with_more_runs():
    random = np.random.default_rng(0)
    few, many = (mean_interval(random.normal(1, 1, n).tolist()) for n in (10, 1000))
    assert few.low < few.value < few.high
    assert many.high - many.low < 0.3 * (few.high - few.low)
    assert math.isnan(mean_interval([2.0]).low) and math.isnan(mean_interval([]).value)


def test_the_logistic_fit_finds_the_distance_of_even_odds():
    random = np.random.default_rng(0)
    records = []
    for distance in 10 ** random.uniform(-1, 2, 400):
        chance = 1 / (1 + math.exp(-4 * (math.log10(distance) - 0.5)))
        records.append(record(distance=distance, losses=RISES if random.random() < chance else (2.0, 1.0, 0.01)))
    fit = logistic_fit(records, 1e-3, resamples=100)
    assert fit.slope.low < 4 < fit.slope.high
    assert fit.even_odds.low < 10**0.5 < fit.even_odds.high
    assert fit.runs == 400


def test_a_logistic_fit_without_an_optimum_is_none():
    assert logistic_fit([record(distance=d) for d in (1, 2, 3)], 1e-3) is None  # all alike
    apart = [record(distance=1.0), record(distance=9.0, losses=RISES)]
    assert logistic_fit(apart, 1e-3) is None  # told apart without error


def test_log_correlation_of_a_power_law_is_one():
    x = [1.0, 2.0, 5.0, 9.0]
    assert log_correlation(x, [3 * v**0.7 for v in x])[0] == pytest.approx(1)
    with pytest.raises(ValueError, match="at least four runs"):
        log_correlation([1.0], [1.0])


def test_grid_claims_hold_and_fail_by_their_numbers():
    settings = StudySettings(delta=1e-4)
    gentle = [record("sgd", 0.1, s, distance=1 + 0.1 * s, gauss_length=1 + 0.1 * s) for s in range(6)]
    strong = [record("adam", 0.1, s, RISES, distance=9 + s, gauss_length=3 + 0.3 * s) for s in range(3)]
    normed = [record("sgd_bn", 1.0, s, RISES, distance=5.0 + s, gauss_length=2.0 + s) for s in range(3)]
    normed += [record("adam_bn", 0.1, s, RISES, distance=9.0 + s, gauss_length=3.0 + s) for s in range(3)]
    tame = [record("adam", 0.001, s, distance=2.0, gauss_length=1.5) for s in range(3)]
    claims = {c.id: c for c in grid_claims([*gentle, *strong, *normed, *tame], settings)}
    assert claims["sgd-keeps-mli"].measured == "0 of 6" and claims["sgd-keeps-mli"].holds
    assert claims["adam-breaks-mli"].measured == "6 of 6 (6 above 1e-3)" and claims["adam-breaks-mli"].holds
    assert claims["adam-rise"].measured == pytest.approx(0.005) and claims["adam-rise"].holds
    assert claims["batchnorm-breaks-mli"].measured == "SGD 0 to 100 %, Adam 50 to 100 %"
    assert claims["batchnorm-breaks-mli"].holds and claims["far-from-init"].holds
    assert claims["distance-bends"].holds and claims["distance-bends"].stderr is not None

    opposite = [record("sgd", 0.1, 0, RISES), record("adam", 0.1, 0, distance=7.0)]
    claims = {c.id: c for c in grid_claims(opposite, settings)}
    assert not any(claims[name].holds for name in ("sgd-keeps-mli", "adam-breaks-mli", "adam-rise", "far-from-init"))
    assert not any(claim.holds for claim in grid_claims([], settings))  # no evidence holds nothing


def test_outward_claims_count_each_radius():
    settings = StudySettings()
    records = [record("outward_5", distance=1.0), record("outward_20", losses=RISES, distance=6.0)]
    assert [c.holds for c in outward_claims(records, settings)] == [True, True, True]
    swapped = [record("outward_5", losses=RISES, distance=6.0), record("outward_20", distance=1.0)]
    assert [c.holds for c in outward_claims(swapped, settings)] == [False, False, False]


def test_variant_claims_compare_shares():
    settings = StudySettings(converged=1.0, delta=0.0)
    records = [record("bn_adam_0.1", losses=RISES), record("bn_sgd_0.1"), record("fixup_sgd_0.1")]
    assert [c.holds for c in variant_claims(records, settings)] == [True, True]
    records = [record("bn_adam_0.1"), record("bn-i_sgd_0.1"), record("fixup_sgd_0.1", losses=RISES)]
    assert [c.holds for c in variant_claims(records, settings)] == [False, False]


def test_optima_are_compared_pair_by_pair():
    data = DigitsData(train_size=80)
    training = MLPTraining(sizes=data.sizes, hidden=[6], rates=[0.1], seeds=[0, 1, 2])
    states = [training.initial, {n: v + torch.randn(v.shape) for n, v in training.initial.items()}]
    batches = data.training_batches()
    curves = optima_curves(training.network, states, batches)
    assert [c.shape[1] for c in (curves.own, curves.unrelated, curves.initialisations, curves.optima)] == [3, 6, 3, 3]

    def member(state, j):
        return {name.removeprefix("networks."): value[j] for name, value in state.items()}

    network = training.network.network(0)
    alone = interpolate(member(states[0], 0), member(states[1], 1), model=network, data=batches, metric=cross_entropy)
    assert torch.allclose(curves.unrelated[:, 0], alone.values, atol=1e-5)
    assert {c.id for c in optima_claims(curves)} == {"own-init", "unrelated-init", "barrier"}


def test_the_theorem_is_checked_on_fitted_networks():
    found = theorem_check(TheoremSettings(hidden=(20, 20), examples=8, seeds=(0,), points=40, steps=1500))
    assert found.turning.shape == (8,) and float(found.final_loss.max()) < 1e-9
    claims = {c.id: c for c in theorem_claims(found)}
    assert claims["theorem-fit"].holds and claims["theorem"].holds


def test_factors_multiply_to_cells():
    settings = StudySettings(
        cells={"base": {}}, factors={"a": {"x": {"k": 1}, "y": {"k": 2}}, "b": {"p": {"m": 3}, "q": {"m": 4}}}
    )
    assert settings.all_cells() == {
        "base": {},
        "x_p": {"k": 1, "m": 3},
        "x_q": {"k": 1, "m": 4},
        "y_p": {"k": 2, "m": 3},
        "y_q": {"k": 2, "m": 4},
    }


def test_a_study_goes_on_where_it_was_and_starts_anew_when_settings_change(tmp_path):
    experiment = Experiment(["demo", "fast"])
    first = experiment.finish("sgd", tmp_path)
    stamp = (tmp_path / "sgd.json").stat().st_mtime_ns
    again = Experiment(["demo", "fast"]).finish("sgd", tmp_path)
    assert again == first and (tmp_path / "sgd.json").stat().st_mtime_ns == stamp
    changed = Experiment(["demo", "fast"], ["--trainer.max_epochs=3"]).finish("sgd", tmp_path)
    assert changed != first
    assert json.loads((tmp_path / "sgd.json").read_text())["mark"]["trainer"]["max_epochs"] == 3


def test_records_are_made_again_where_their_kept_weights_are_gone_or_damaged(tmp_path):
    experiment, weights = Experiment(["demo", "fast"]), tmp_path / "optima.pt"
    first = experiment.finish("optima", tmp_path)
    states = read_states(weights)
    weights.unlink()
    assert experiment.finish("optima", tmp_path) == first
    assert all(torch.equal(states[-1][name], value) for name, value in read_states(weights)[-1].items())
    weights.write_bytes(b"nothing")
    with pytest.warns(UserWarning, match=r"optima\.pt: damaged"):
        assert experiment.finish("optima", tmp_path) == first
    assert len(read_states(weights)) == len(states)


def test_unknown_cells_are_named(tmp_path):
    with pytest.raises(ValueError, match="unknown cell 'lion', choose from sgd, "):
        Experiment(["demo", "fast"]).finish("lion", tmp_path)


def test_worker_processes_make_the_same_records(tmp_path):
    cells = ["--study.cells={sgd: {model.init_args.rates: [0.1, 1.0]}, adam: {model.init_args.optimizer: adam}}"]
    here = Experiment(["demo", "fast"], cells).finish_all(tmp_path / "here", "here")
    there = Experiment(["demo", "fast"], [*cells, "--study.workers=2"]).finish_all(tmp_path / "there", "there")
    assert [(r.cell, r.rate) for r in here] == [("sgd", 0.1), ("sgd", 1.0), ("adam", 0.1)]
    assert here == there


def test_a_config_without_cells_is_no_study(tmp_path):
    with pytest.raises(ValueError, match="digits: the study section has no cells"):
        Experiment(["digits"]).finish_all(tmp_path, "none")
