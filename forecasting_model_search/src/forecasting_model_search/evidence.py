"""From records to claims: what is held against which number. Differences are paired over seeds, with 95 % t
intervals."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from scipy import stats

from .claims import Claim
from .replay import LABELS

GAIN, WITHIN, AT = 0.05, 0.05, "next/1"  # τ: what weights must add, what shuffled ones may; the column that decides
NAMES = {"none": "DyHPO", "none start id": "DyHPO + start id", "flat": "FMS-FLAT", "stat": "FMS-STAT"}
NAMES |= {"nfn": "FMS-NFN", "gmn": "FMS-GMN", "gmn shuffled": "FMS-GMN, shuffled checkpoints"}


class Difference(NamedTuple):
    """Mean of paired differences, its standard error, and the ends of its 95 % interval (NaN with one pair)."""

    mean: float
    stderr: float
    low: float
    high: float

    def __str__(self) -> str:
        return f"{self.mean:+.3f} ({self.low:+.3f} to {self.high:+.3f})"


def paired(first: Sequence[float], second: Sequence[float]) -> Difference:
    """first − second over seeds."""
    d = np.asarray(first, dtype=float) - np.asarray(second, dtype=float)
    if len(d) < 2:
        return Difference(float(d.mean()), math.nan, math.nan, math.nan)
    error = float(d.std(ddof=1) / math.sqrt(len(d)))
    reach = float(stats.t.ppf(0.975, len(d) - 1)) * error
    return Difference(float(d.mean()), error, float(d.mean()) - reach, float(d.mean()) + reach)


def column(records: Sequence[dict], method: str, key: str) -> list[float]:
    """One number of all seeds of a method, in the order of the seeds."""
    return [r[key] for r in sorted(records, key=lambda r: r["seed"]) if r["method"] == method]


def columns(records: Sequence[dict], first: str, second: str, key: str) -> tuple[list[float], list[float]]:
    """One number of two methods on the seeds where both were measured, in the order of the seeds."""
    own = {r["seed"]: r[key] for r in records if r["method"] == first}
    other = {r["seed"]: r[key] for r in records if r["method"] == second}
    seeds = sorted(own.keys() & other.keys())
    return [own[seed] for seed in seeds], [other[seed] for seed in seeds]


def final_regret(records: Sequence[dict], method: str, epoch: int | None = None) -> list[float]:
    own = sorted((r for r in records if r["method"] == method), key=lambda r: r["seed"])
    return [r["regret"][-1 if epoch is None else epoch - 1] for r in own]


def forecast_claims(records: Sequence[dict]) -> list[Claim]:
    """Checkpoints help to rank what is to come, and it is their content that does."""
    gmn, none = columns(records, "gmn", "none", AT)
    gain, n = paired(gmn, none), len(none)
    claims = [
        better(
            "forecast-gmn",
            f"A graph network on checkpoints adds to DyHPO's Kendall τ for the next epoch, one epoch in ({n} hubs)",
            gmn,
            none,
        ),
        Claim(
            "forecast-gmn-size",
            "It adds as much as was set beforehand",
            None,
            gain.mean,
            f"at least {GAIN}, interval above 0",
            bool(gain.mean >= GAIN and gain.low > 0),
            gain.stderr,
        ),
    ]
    shuffled, plain = columns(records, "gmn shuffled", "none", AT)
    if shuffled:
        found = paired(shuffled, plain)
        claims.append(
            Claim(
                "forecast-shuffled",
                f"Shown another configuration's checkpoints, the graph network is near DyHPO ({len(plain)} hubs)",
                None,
                str(found),
                f"within {WITHIN}",
                bool(abs(found.mean) <= WITHIN),
                found.stderr,
            )
        )
    named = {
        "forecast-content": ("gmn", "gmn shuffled", "The graph network ranks better than with shuffled checkpoints"),
        "forecast-flat": ("gmn", "flat", "The graph network ranks better than flattened weights"),
        "forecast-stat": ("stat", "none", "Seven statistics of each tensor already add to DyHPO's τ"),
    }
    for name, (first, second, statement) in named.items():
        own, other = columns(records, first, second, AT)
        if own:
            claims.append(better(name, f"{statement} ({len(own)} hubs)", own, other))
    return claims


def better(name: str, statement: str, own: Sequence[float], other: Sequence[float]) -> Claim:
    """A higher τ, if the interval of the paired difference is above 0."""
    gain = paired(own, other)
    measured = f"{np.mean(own):.3f} against {np.mean(other):.3f}: {gain}"
    return Claim(name, statement, None, measured, "interval above 0", bool(gain.low > 0), gain.stderr)


def replay_claims(records: Sequence[dict], repeats: str = "hubs") -> list[Claim]:
    """Regret when the budget is spent; a win is claimed only where the paired interval excludes 0.

    Args:
        repeats: what the records of a method differ by: `hubs`, or `seeds` of searches on one.
    """
    methods = list(dict.fromkeys(r["method"] for r in records))
    claims, budget = [], len(records[0]["regret"])
    for own in [m for m in ("none", "stat", "gmn") if m in methods]:
        for baseline in [m for m in ("random", "asha") if m in methods]:
            claims.append(regret_claim(records, own, baseline, budget, repeats))
    for own in [m for m in ("stat", "gmn") if m in methods]:
        for baseline in [m for m in ("none", "tpe", "optuna-gp", "gp-ei") if m in methods]:
            claims.append(regret_claim(records, own, baseline, budget, repeats))
    return claims


def regret_claim(records: Sequence[dict], own: str, baseline: str, budget: int, repeats: str) -> Claim:
    mine, theirs = final_regret(records, own), final_regret(records, baseline)
    difference = paired(mine, theirs)
    return Claim(
        f"replay-{own}-{baseline}",
        f"{LABELS[own]} has less regret than {LABELS[baseline]} after {budget} epochs ({len(mine)} {repeats})",
        None,
        f"{np.mean(mine):.4f} against {np.mean(theirs):.4f}: {difference.mean:+.4f} "
        f"({difference.low:+.4f} to {difference.high:+.4f})",
        "interval below 0",
        bool(difference.high < 0),
        difference.stderr,
    )


def transfer_claims(records: Sequence[dict]) -> list[Claim]:
    """Fitted on one hub, asked about another."""
    statement = "Fitted on one hub, the graph network ranks another zoo's runs better than DyHPO fitted alike"
    gmn, none = columns(records, "gmn", "none", AT)
    return [better("transfer-gmn", f"{statement} ({len(none)} hubs)", gmn, none)]


def live_claims(records: Sequence[dict]) -> list[Claim]:
    """Real trainings that stop and go on."""
    if not records:
        return []
    (record,) = records
    best = max(max(scores) for scores in record["whole"])
    found = max(record["scores"])
    total = sum(map(len, record["whole"]))
    return [
        Claim(
            "live-exact",
            f"{len(record['whole'])} trainings, stopped {record['switches']} times, give what they give unstopped",
            None,
            "to the bit" if record["same"] else "not the same",
            "every score equal",
            bool(record["same"]),
        ),
        Claim(
            "live-budget",
            "The budget adds up to the epoch",
            None,
            f"{record['spent']} of {record['budget']}",
            "equal, each epoch once",
            bool(
                record["spent"] == record["budget"] == len(set(zip(record["configs"], record["epochs"], strict=True)))
            ),
        ),
        Claim(
            "live-regret",
            f"With {record['budget']} of {total} epochs the race finds nearly the best of all",
            None,
            f"{found:.3f} of {best:.3f}",
            "within 0.02",
            bool(best - found <= 0.02),
        ),
    ]
