"""Shares of non-monotone runs with intervals, and how they depend on the distance that the weights moved."""

from __future__ import annotations

import math
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from scipy import stats
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression

from .monotonicity import min_delta
from .study import RunRecord

RESAMPLES = 2000
LEVEL = 0.95


class Interval(NamedTuple):
    """A value and the ends of its 95 % interval, NaN where there is none."""

    value: float
    low: float
    high: float


def converged(records: Sequence[RunRecord], below: float) -> list[RunRecord]:
    """Runs that count: finite, and with a final training loss below a bound, as in the paper's tables."""
    return [r for r in records if r.final_loss < below]


def rising(records: Sequence[RunRecord], delta: float) -> list[RunRecord]:
    """Non-monotone runs: min_delta above delta."""
    return [r for r in records if r.min_delta is not None and r.min_delta > delta]


def share_interval(count: int, total: int) -> Interval:
    """A share with the percentile bootstrap over runs; Wilson's interval where all runs agree.

    Bootstrapping a share is drawing from a binomial, so it is done exactly.
    """
    if total == 0:
        return Interval(math.nan, math.nan, math.nan)
    share = count / total
    if count in (0, total):
        wilson = stats.binomtest(count, total).proportion_ci(LEVEL, method="wilson")
        return Interval(share, wilson.low, wilson.high)
    low, high = stats.binom.interval(LEVEL, total, share)
    return Interval(share, low / total, high / total)


def mean_interval(values: Sequence[float]) -> Interval:
    """The mean with its percentile bootstrap interval; a single value has none."""
    if not len(values):
        return Interval(math.nan, math.nan, math.nan)
    mean = float(np.mean(values))
    if len(set(values)) < 2:
        return Interval(mean, math.nan, math.nan)
    random = np.random.default_rng(0)
    found = stats.bootstrap(
        (np.asarray(values),), np.mean, n_resamples=RESAMPLES, confidence_level=LEVEL, method="percentile", rng=random
    )
    return Interval(mean, *(float(end) for end in found.confidence_interval))


@dataclass(frozen=True)
class Row:
    """One cell of the paper's tables: all runs of a group at one learning rate (or at all of them, rate None).

    runs: how many. converged, diverged: how many of them. nonmonotone: how many of the converged. share: theirs.
    rise: mean min_delta of the non-monotone. held_out: how many converged runs rise by more on held-out data.
    """

    group: str
    rate: float | None
    runs: int
    diverged: int
    converged: int
    nonmonotone: int
    share: Interval
    rise: Interval
    held_out: int


def row(group: str, rate: float | None, records: Sequence[RunRecord], below: float, delta: float) -> Row:
    """The statistics of some runs."""
    counted = converged(records, below)
    up = rising(counted, delta)
    held_out = [float(min_delta(r.held_out)) > delta for r in counted]
    return Row(
        group,
        rate,
        len(records),
        sum(r.diverged for r in records),
        len(counted),
        len(up),
        share_interval(len(up), len(counted)),
        mean_interval([r.min_delta for r in up]),
        sum(held_out),
    )


def table(records: Sequence[RunRecord], below: float, delta: float) -> list[Row]:
    """A row for every group and rate, and one for each group as a whole, in the order of the records."""
    rows = []
    for cell in dict.fromkeys(group_of(r) for r in records):
        mine = [r for r in records if group_of(r) == cell]
        rates = sorted({r.rate for r in mine})
        rows += [row(cell, rate, [r for r in mine if r.rate == rate], below, delta) for rate in rates]
        if len(rates) > 1:
            rows.append(row(cell, None, mine, below, delta))
    return rows


def group_of(record: RunRecord) -> str:
    """The cell's name, without the rate where each rate is a cell of its own."""
    return record.cell.removesuffix(f"_{record.rate:g}")


def markdown(rows: Sequence[Row]) -> str:
    """The rows as a table; shares in per cent with their intervals."""
    lines = [
        "| runs | rate | converged | non-monotone | share, % | mean min Δ of those | non-monotone on held-out data |",
        "|---|---|---|---|---|---|---|",
    ]
    for r in rows:
        rate = "all" if r.rate is None else f"{r.rate:g}"
        share = (
            ""
            if not r.converged
            else f"{100 * r.share.value:.0f} ({100 * r.share.low:.0f} to {100 * r.share.high:.0f})"
        )
        lines.append(
            f"| {r.group} | {rate} | {r.converged} of {r.runs} | {r.nonmonotone} | {share} | {with_interval(r.rise)} "
            f"| {r.held_out} |"
        )
    return "\n".join(lines)


def with_interval(value: Interval) -> str:
    """Two digits, the interval in brackets if there is one; nothing for no value."""
    if math.isnan(value.value):
        return ""
    return f"{value.value:.2g}" + ("" if math.isnan(value.low) else f" ({value.low:.2g} to {value.high:.2g})")


@dataclass(frozen=True)
class LogisticFit:
    """P(non-monotone) = 1 / (1 + exp(-(slope log10 distance + intercept))), by maximum likelihood.

    slope: with its bootstrap interval. even_odds: the distance at which P = 1/2, alike. runs: how many were fitted.
    """

    slope: Interval
    intercept: float
    even_odds: Interval
    runs: int


def logistic_fit(records: Sequence[RunRecord], delta: float, resamples: int = 500) -> LogisticFit | None:
    """Whether a run is non-monotone against the log of its relative weight distance.

    Args:
        records: runs that count. delta: above it a run is non-monotone. resamples: of the bootstrap over runs.
    Returns:
        None when all runs are alike, or distance tells the two kinds apart without error: then no finite fit exists.
    """
    x = np.log10([r.distance for r in records])
    y = np.array([r.min_delta > delta for r in records], dtype=int)
    fit = maximum_likelihood(x, y)
    if fit is None:
        return None
    random = np.random.default_rng(0)
    drawn = (random.integers(len(x), size=len(x)) for _ in range(resamples))
    fits = [f for f in (maximum_likelihood(x[i], y[i]) for i in drawn) if f is not None]
    slopes, thresholds = zip(*((slope, 10 ** (-intercept / slope)) for slope, intercept in fits), strict=True)
    ends = [np.quantile(v, [0.5 - LEVEL / 2, 0.5 + LEVEL / 2]).tolist() for v in (slopes, thresholds)]
    slope, intercept = fit
    return LogisticFit(
        Interval(slope, *ends[0]), intercept, Interval(10 ** (-intercept / slope), *ends[1]), len(records)
    )


def maximum_likelihood(x: np.ndarray, y: np.ndarray) -> tuple[float, float] | None:
    """Slope and intercept of an unpenalised logistic regression, None where the likelihood has no maximum."""
    if len(set(y.tolist())) < 2 or x[y == 1].min() >= x[y == 0].max() or x[y == 1].max() <= x[y == 0].min():
        return None
    model = LogisticRegression(C=np.inf, max_iter=1000)
    with warnings.catch_warnings():
        warnings.simplefilter("error", ConvergenceWarning)
        model.fit(x[:, None], y)
    return float(model.coef_[0, 0]), float(model.intercept_[0])


def log_correlation(first: Sequence[float], second: Sequence[float]) -> tuple[float, float]:
    """Pearson correlation of two positive quantities on log axes, and its standard error by Fisher's transformation.

    Raises:
        ValueError: fewer than four pairs, which say nothing.
    """
    if len(first) < 4:
        raise ValueError(f"a correlation needs at least four runs, got {len(first)}")
    r = float(stats.pearsonr(np.log(first), np.log(second)).statistic)
    return r, (1 - r**2) / math.sqrt(len(first) - 3)
