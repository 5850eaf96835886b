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


def final_regret(records: Sequence[dict], method: str, epoch: int | None = None) -> list[float]:
    own = sorted((r for r in records if r["method"] == method), key=lambda r: r["seed"])
    return [r["regret"][-1 if epoch is None else epoch - 1] for r in own]


def forecast_claims(records: Sequence[dict]) -> list[Claim]:
    """Checkpoints help to rank what is to come, and it is their content that does."""
    gmn, none = column(records, "gmn", AT), column(records, "none", AT)
    gain = paired(gmn, none)
    shuffled = paired(column(records, "gmn shuffled", AT), none)
    stat, flat = paired(column(records, "stat", AT), none), paired(gmn, column(records, "flat", AT))
    n = len(none)
    return [
        Claim(
            "forecast-gmn",
            f"A graph network on checkpoints adds to DyHPO's Kendall τ for the next epoch, one epoch in ({n} hubs)",
            None,
            f"{np.mean(gmn):.3f} against {np.mean(none):.3f}: {gain}",
            "interval above 0",
            bool(gain.low > 0),
            gain.stderr,
        ),
        Claim(
            "forecast-gmn-size",
            "and by as much as was set beforehand",
            None,
            gain.mean,
            f"at least {GAIN}, interval above 0",
            bool(gain.mean >= GAIN and gain.low > 0),
            gain.stderr,
        ),
        Claim(
            "forecast-shuffled",
            "Shown another configuration's checkpoints, the graph network is as good as DyHPO and no better",
            None,
            str(shuffled),
            f"within {WITHIN} of DyHPO",
            bool(abs(shuffled.mean) <= WITHIN),
            shuffled.stderr,
        ),
        Claim(
            "forecast-flat",
            "The graph network ranks better than flattened weights",
            None,
            f"{np.mean(gmn):.3f} against {np.mean(column(records, 'flat', AT)):.3f}: {flat}",
            "interval above 0",
            bool(flat.low > 0),
            flat.stderr,
        ),
        Claim(
            "forecast-stat",
            "Seven statistics of each tensor already add to DyHPO's τ",
            None,
            f"{np.mean(column(records, 'stat', AT)):.3f} against {np.mean(none):.3f}: {stat}",
            "interval above 0",
            bool(stat.low > 0),
            stat.stderr,
        ),
    ]


def replay_claims(records: Sequence[dict]) -> list[Claim]:
    """Regret when the budget is spent; a win is claimed only where the paired interval excludes 0."""
    methods = list(dict.fromkeys(r["method"] for r in records))
    claims, budget = [], len(records[0]["regret"])
    for own in [m for m in ("none", "stat", "gmn") if m in methods]:
        for baseline in [m for m in ("random", "asha") if m in methods]:
            claims.append(regret_claim(records, own, baseline, budget))
    for own in [m for m in ("stat", "gmn") if m in methods]:
        for baseline in [m for m in ("none", "tpe", "optuna-gp", "gp-ei") if m in methods]:
            claims.append(regret_claim(records, own, baseline, budget))
    return claims


def regret_claim(records: Sequence[dict], own: str, baseline: str, budget: int) -> Claim:
    mine, theirs = final_regret(records, own), final_regret(records, baseline)
    difference = paired(mine, theirs)
    return Claim(
        f"replay-{own}-{baseline}",
        f"{LABELS[own]} has less regret than {LABELS[baseline]} after {budget} epochs ({len(mine)} hubs)",
        None,
        f"{np.mean(mine):.4f} against {np.mean(theirs):.4f}: {difference.mean:+.4f} "
        f"({difference.low:+.4f} to {difference.high:+.4f})",
        "interval below 0",
        bool(difference.high < 0),
        difference.stderr,
    )


def transfer_claims(records: Sequence[dict]) -> list[Claim]:
    """Fitted on one hub, asked about another."""
    gain = paired(column(records, "gmn", AT), column(records, "none", AT))
    mean = float(np.mean(column(records, "gmn", AT)))
    return [
        Claim(
            "transfer-gmn",
            "Fitted on one hub, the graph network ranks another zoo's runs better than DyHPO fitted alike",
            None,
            f"{mean:.3f} against {np.mean(column(records, 'none', AT)):.3f}: {gain}",
            "interval above 0",
            bool(gain.low > 0),
            gain.stderr,
        )
    ]


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
