"""The paper's figures as tables: their known ends, and the claims made of them."""

import math

import pytest

from meta_bounds.evidence import learner_claims, noise_study_claims, theory_claims, where
from meta_bounds.study import Record
from meta_bounds.sweep import TABLES, table
from meta_bounds.theory import (
    TheorySettings,
    chain_table,
    exchange_table,
    instances_table,
    least_squares_line,
    noise_table,
    packings_table,
    polynomial_example,
    samples_table,
    shots_table,
)

SMALL = TheorySettings(designs=30, draws=4000, instances=20)


def test_a_clean_novel_task_is_solved_by_least_squares():
    """10,248.8 σ²/k for x ~ U[-1, 1] and d = 7; the MAP with k = 1000 lies on that line."""
    assert least_squares_line(1.0, 1) == pytest.approx(10_248.8, abs=0.1)
    curve = where(noise_table(SMALL), n=20, k=1000)
    assert curve[0]["risk"] == pytest.approx(1.03e-7, rel=0.03)
    for row in curve:
        assert abs(row["simulated"] - row["risk"]) < 5 * row["simulated_stderr"]


def test_shots_decay_and_tasks_flatten():
    rows = samples_table(SMALL)
    assert where(rows, line="k", k=8000)[0]["risk"] == pytest.approx(0.0064, rel=0.02)
    (last,) = where(rows, line="M", M=800)
    assert last["plateau"] == pytest.approx(0.242, rel=0.05)
    assert last["plateau"] < last["bayes_risk"] < 1.05 * last["plateau"]


def test_the_chain_falls_in_n_and_k():
    rows = chain_table(TheorySettings(draws=2000))
    for axis in ("n", "k"):
        bayes = [row["bayes_risk"] for row in where(rows, axis=axis)]
        assert bayes == sorted(bayes, reverse=True)
    assert {row["corollary_2"] for row in where(rows, axis="n")} == {where(rows, axis="n", n=1)[0]["corollary_2"]}


def test_larger_packings_need_more_tasks():
    rows = packings_table(SMALL)
    for d in (2, 3, 4, 5):
        curve = [row["bound"] for row in where(rows, d=d)]
        assert curve == sorted(curve, reverse=True) and curve[-1] > 0
    assert [row["J"] > 2 ** row["d"] for row in exchange_table(SMALL, (2, 3, 4))] == [True] * 3


def test_what_suffices_is_more_than_what_is_necessary():
    for row in shots_table(SMALL):
        assert row["sufficient"] >= row["necessary"]
    once = where(shots_table(SMALL), M=1, error=1e-4)[0]
    assert once["necessary"] < 5 / 1e-4 / 92  # 92 to 369 times below least squares


def test_no_random_setting_breaks_a_bound():
    for row in instances_table(SMALL):
        assert min(row["theorem_3"], row["packing"], row["upper"], row["worst"]) >= 1 and row["floor"] >= 1 - 1e-9


def test_five_points_mislead_least_squares_but_not_the_map():
    example = polynomial_example(SMALL)
    assert (example.map - example.truth).abs().mean() < (example.least_squares - example.truth).abs().mean()
    assert ((example.map - example.truth).abs() < 3 * example.band).all()


def test_a_table_is_written_with_its_figure(tmp_path):
    rows, names = table("samples", TheorySettings(designs=3), tmp_path)
    header, first, *_ = (tmp_path / "samples.csv").read_text().splitlines()
    assert header.startswith("line,M,n,k,samples,risk,risk_stderr") and len(first.split(",")) == len(header.split(","))
    assert names == ["samples.png"] and len(rows) == 22
    assert {p.name for p in tmp_path.iterdir()} == {"samples.csv", "samples.png"}


def test_claims_are_computed_and_can_fail():
    tables = {
        name: compute(TheorySettings(designs=20, draws=3000, instances=5)) for name, (compute, _) in TABLES.items()
    }
    claims = {claim.id: claim for claim in theory_claims(tables, 1e-3)}
    assert not claims["gradient-map"].holds and claims["gradient-map"].measured == 1e-3
    assert claims["shots-decay"].holds and claims["chain-of-bounds"].holds
    tables["instances"][0]["theorem_3"] = 0.99
    assert not {claim.id: claim for claim in theory_claims(tables, 0.0)}["nothing-beats-the-bounds"].holds


def records(error):
    return [
        Record("maml", M, n, seed, k, noise, error(M, n, k, noise) * (1 + 0.01 * seed), 0.01)
        for M in (2, 8, 64)
        for n in (20, 200)
        for seed in (0, 1)
        for k in (5, 100)
        for noise in (0.0, 1.5)
    ]


def test_decay_and_plateau_are_told_from_their_opposites():
    falls_with_k = learner_claims(records(lambda M, n, k, noise: 5 / k), [2, 8, 64], [5, 100], 0.0, ["maml"], "maml")
    assert [claim.holds for claim in falls_with_k] == [True, True, False]  # nobody beats itself
    assert falls_with_k[0].measured == pytest.approx(20) and abs(falls_with_k[1].measured) < 1e-9
    falls_with_M = learner_claims(
        records(lambda M, n, k, noise: 1 / M + 1e-3 / k), [2, 8, 64], [5, 100], 0.0, ["maml"], "maml"
    )
    assert [claim.holds for claim in falls_with_M] == [False, False, False]


def test_the_noise_study_wants_gains_from_k_and_n_that_noise_does_not_touch():
    good = records(lambda M, n, k, noise: 1 / k + 1 / n + 0.01 * noise)
    assert [claim.holds for claim in noise_study_claims(good, [5, 100])] == [True, True, True]
    bad = records(lambda M, n, k, noise: 1 / k + 0.0 * n + 10 * noise)
    assert [claim.holds for claim in noise_study_claims(bad, [5, 100])] == [True, False, False]


def test_too_few_draws_for_an_error_are_refused():
    with pytest.raises(ValueError, match="at least 2 for a standard error, got 1, 2, 3"):
        TheorySettings(designs=1, draws=2, instances=3)
    assert math.isfinite(TheorySettings().seed)
