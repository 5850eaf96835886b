"""From measurements to claims: the paper's sentences, each with the number that decides it."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from .claims import Claim
from .intervals import Interval, over_seeds, pooled
from .study import Record, select
from .toy import ToyResult

STRONG, NONE = "rho2.5", "rho0"  # conditions: attributes correlated as strongly as CelebA's, and independent ones


def accuracies(
    records: Sequence[Record], condition: str, method: str, group: str = "test", shots: int = 0, readout: str = ""
) -> list[np.ndarray]:
    """Of a method's episodes, by seed; by logistic regression, or by its own map if it is an episodic learner.

    Raises:
        ValueError: nothing was measured there.
    """
    found = select(records, condition=condition, method=method, group=group)
    if not found:
        raise ValueError(f"no records of {method} under {condition} on {group} attributes")
    shots = shots or max(r.shots for r in found)
    kinds = {r.readout for r in found}
    readout = readout or ("own" if "own" in kinds else "lr")
    found = sorted(select(found, shots=shots, readout=readout), key=lambda r: r.seed)
    return [np.array(r.accuracies) for r in found]


def difference(records: Sequence[Record], condition: str, first: str, second: str, group: str = "test") -> Interval:
    """first - second in points, paired by episode, over the episodes of all seeds."""
    pairs = zip(
        accuracies(records, condition, first, group), accuracies(records, condition, second, group), strict=True
    )
    return pooled([a - b for a, b in pairs])


def mean(records: Sequence[Record], condition: str, method: str, group: str = "test") -> float:
    """In per cent, over all episodes and seeds."""
    return pooled(accuracies(records, condition, method, group)).mean


def gap(records: Sequence[Record], condition: str, method: str) -> Interval:
    """Train minus test accuracy: they are different episodes, so their errors add."""
    train, test = (pooled(accuracies(records, condition, method, group)) for group in ("train", "test"))
    return Interval(train.mean - test.mean, float(np.hypot(train.half_width, test.half_width)))


def words(interval: Interval) -> str:
    """A difference with its 95 % interval."""
    return f"{interval.mean:+.2f} ({interval.low:+.2f} to {interval.high:+.2f})"


def face_claims(records: Sequence[Record]) -> list[Claim]:
    """The comparison of the main table, on correlated attributes."""
    sa_gap, u_gap = gap(records, STRONG, "SA"), gap(records, STRONG, "U")
    over_sa, over_u = difference(records, STRONG, "UFTA", "SA"), difference(records, STRONG, "UFTA", "U")
    u_over_sa, oracle = difference(records, STRONG, "U", "SA"), difference(records, STRONG, "SA*", "UFTA")
    gt, rnd = mean(records, STRONG, "GT"), mean(records, STRONG, "RND")
    trained = mean(records, STRONG, "SA", "train")
    return [
        Claim("sa-gap", "Supervised attributes (SA) fall from train to test attributes (points)", "9.4 on CelebA",
              sa_gap.mean, "at least 12", sa_gap.mean >= 12),
        Claim("u-gap", "Unsupervised features (U) do not (points)", "-0.5 on CelebA", u_gap.mean, "within ± 5",
              abs(u_gap.mean) <= 5),
        Claim("u-over-sa", "On test attributes U is ahead of SA (paired, points)", 1.1, words(u_over_sa),
              "interval above 0", u_over_sa.low > 0),
        Claim("ufta-over-sa", "U finetuned behind a discarded head (U-FT-A) is ahead of SA (paired, points)", 5.3,
              words(over_sa), "at least 3, interval above 0", over_sa.mean >= 3 and over_sa.low > 0),
        Claim("ufta-over-u", "U-FT-A is ahead of U where test attributes can be told from train ones (paired, points)",
              4.2, words(over_u), "interval above 0", over_u.low > 0),
        *independent_claims(records),
        Claim("oracle", "Labels of the test attributes (SA*) are worth more than any of it (SA* - U-FT-A, points)", 5.0,
              words(oracle), "at least 0", oracle.mean >= 0),
        Claim("gt", "The true attributes as features solve the problem (GT, %)", "99.84 on Zappos", gt,
              "at least 98", gt >= 98),
        Claim("rnd", "Random weights do not (RND, %)", None, rnd, "at most 62", rnd <= 62),
        Claim("sa-train", "SA was trained enough: its accuracy on train attributes, %", 88.25, trained,
              "at least 85", trained >= 85),
    ]  # fmt: skip


def independent_claims(records: Sequence[Record]) -> list[Claim]:
    """Finetuning must not help where the labels of training say nothing about the test attributes."""
    over_u = difference(records, NONE, "UFTA", "U")
    statement = "U-FT-A is not ahead of U where attributes are independent (ρ = 0, paired, points)"
    return [Claim("ufta-over-u-rho0", statement, "falls with the T-score", words(over_u), "interval not above 0",
                  not over_u.low > 0)]  # fmt: skip


def toy_claims(found: ToyResult) -> list[Claim]:
    """A linear ProtoNet unlearns what training does not use."""
    return [
        Claim("toy-train", "Toy problem: a linear ProtoNet on training attributes, %", 100.0, found.train,
              "at least 93", found.train >= 93),
        Claim("toy-test", "Toy problem: the same on attributes that it never met, %", 51.0, found.test, "at most 56",
              found.test <= 56),
        Claim("toy-norms", "Toy problem: it projects these away, |WA| of train columns over that of test ones",
              "projected off", found.ratio, "at least 5", found.ratio >= 5),
    ]  # fmt: skip


def sweep_claims(records: Sequence[Record], rhos: Sequence[tuple[str, float]]) -> list[Claim]:
    """How the gain of finetuning follows the correlation; rhos: conditions with their ρ, ascending."""
    gains = [difference(records, condition, "UFTA", "U") for condition, _ in rhos]
    shown = ", ".join(f"ρ={rho:g}: {g.mean:+.2f}" for (_, rho), g in zip(rhos, gains, strict=True))
    first, last = gains[0], gains[-1]
    rise = Interval(last.mean - first.mean, float(np.hypot(first.half_width, last.half_width)))
    statement = "The gain of U-FT-A over U grows with correlation, from the weakest to the strongest (points)"
    return [
        Claim("sweep", statement, "rises with the T-score", f"{words(rise)}; {shown}", "interval above 0", rise.low > 0)
    ]


def bin_claims(differences: np.ndarray, bins: np.ndarray) -> list[Claim]:
    """Whether U-FT-A gains more on U in the episodes of the highest T-score bin than in those of the lowest."""
    low, high = (differences[bins == b] for b in (bins.min(), bins.max()))
    rise = Interval(
        float(high.mean() - low.mean()),
        float(1.96 * np.sqrt(high.var(ddof=1) / len(high) + low.var(ddof=1) / len(low))),
    )
    statement = "U-FT-A gains more on U in episodes of a high T-score than of a low one (points)"
    return [Claim("t-score-bins", statement, "rises with the T-score", words(rise), "interval above 0", rise.low > 0)]


def by_seed(records: Sequence[Record], condition: str, first: str, second: str) -> Interval:
    """first - second with Student's interval over the means of seeds."""
    pairs = zip(accuracies(records, condition, first), accuracies(records, condition, second), strict=True)
    return over_seeds([a - b for a, b in pairs])
