"""From records to claims: what is held against which number. Lower is better for all distances."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from itertools import pairwise

import numpy as np

from .claims import Claim, mean_and_error

FEWER = 0.75  # several students' distance, as a share of one's
TSM_SHARE = 0.8
FASTER = 20


def values(records: Sequence[dict], cell: str, name: str) -> np.ndarray:
    """One number of a cell, a value for each seed; empty if the cell was not run."""
    own = sorted((r for r in records if r["cell"] == cell), key=lambda r: r["seed"])
    return np.array([r[name] for r in own], dtype=float)


def paired(records: Sequence[dict], cells: tuple[str, str], name: str) -> tuple[np.ndarray, np.ndarray]:
    """One number of two cells, at the seeds that both have."""
    seeds = set.intersection(*({r["seed"] for r in records if r["cell"] == cell} for cell in cells))
    both = [r for r in records if r["seed"] in seeds]
    return values(both, cells[0], name), values(both, cells[1], name)


def ratio_claim(
    records: Sequence[dict],
    claim: str,
    statement: str,
    paper: str | float | None,
    cells: tuple[str, str],
    metric: str,
    limit: float,
    strict: bool = False,
) -> Claim:
    """Mean of one cell over mean of another, held at most at a limit; the error by the spread of the seeds' own ratios.

    A strict limit is held by two standard errors, where there are several seeds.
    """
    first, second = paired(records, cells, metric)
    with np.errstate(divide="ignore", invalid="ignore"):  # a recall of 0 makes no ratio: no claim on it holds
        measured = float(first.mean() / second.mean())
        _, error = mean_and_error(first / second)
    means = f"{first.mean():.3g} against {second.mean():.3g}"
    worst = measured + 2 * (error or 0.0) * strict
    words = f"below {limit:g}" + " by two standard errors" * (error is not None) if strict else f"at most {limit:g}"
    holds = bool(worst < limit if strict else measured <= limit)
    return Claim(claim, f"{statement} ({means})", paper, measured, words, holds, error)


def digit_claims(records: Sequence[dict]) -> list[Claim]:
    """Several small students against one: of the demo and of reproduce."""
    recall = ratio_claim(
        records, "digits-recall", "Not bought by collapse: recall of five students over that of one", None,
        ("digits_k5", "digits_k1"), "recall", 0,
    )  # fmt: skip
    return [
        ratio_claim(
            records, "digits-k5", "Five small students instead of one, equal steps each: FD on digits as a share",
            "ImageNet-64 FID 1.20 / 1.28 (K = 4)", ("digits_k5", "digits_k1"), "fd", FEWER,
        ),
        replace(recall, threshold="at least 0.9", holds=bool(recall.measured >= 0.9)),
    ]  # fmt: skip


def toy_claims(records: Sequence[dict]) -> list[Claim]:
    """The distance to the teacher falls with K."""
    cells = sorted({r["cell"] for r in records if r["cell"].startswith("toy_k")}, key=lambda c: int(c[5:]))
    seeds = set.intersection(*({r["seed"] for r in records if r["cell"] == c} for c in cells))
    histogram = [float(values([r for r in records if r["seed"] in seeds], c, "histogram").mean()) for c in cells]
    words = " > ".join(f"{h:.3g}" for h in histogram)
    falls = all(a > b for a, b in pairwise(histogram))
    names = ", ".join(c[5:] for c in cells)
    return [
        ratio_claim(
            records, "toy-k8", "Eight students instead of one on the 2-D toy: energy distance by class, as a share",
            "falls with K", ("toy_k8", "toy_k1"), "energy", FEWER,
        ),
        Claim("toy-falls", f"L1 of histograms falls with K = {names}", "falls with K", words, "in this order", falls),
    ]  # fmt: skip


def speed_claims(record: dict) -> list[Claim]:
    """One step through the router against the teacher's sampler, at an equal batch."""
    faster = record["teacher_ms"] / record["routed_ms"]
    return [
        Claim(
            "one-step-speed",
            f"One step, mixed labels routed to {record['students']} students, against the teacher's Heun-18 at batch "
            f"{record['batch']}: times as fast ({record['routed_ms']:.2f} ms; one alone {record['student_ms']:.2f} ms)",
            "511 evaluations against 1",
            float(faster),
            f"at least {FASTER}",
            bool(faster >= FASTER),
        )
    ]


def cost_claim(records: Sequence[dict], cells: tuple[str, str] = ("digits_k5", "digits_k1")) -> Claim:
    """What the gain costs: said, not hidden."""
    first, second = (next(r for r in records if r["cell"] == c)["cost"] for c in cells)
    measured = first["teraflops"] / second["teraflops"]
    return Claim(
        "digits-cost",
        "Training cost of five students over that of one at equal steps and batch each, in floating-point operations",
        "K times",
        float(measured),
        "within 1 % of 5",
        bool(abs(measured / 5 - 1) <= 0.01),
    )


def study_claims(records: Sequence[dict]) -> list[Claim]:
    """What only reproduce runs on digits: equal compute, same size, TSM, and the paper's ablations."""
    one = "one student of the same recipe"
    return [
        ratio_claim(
            records, "equal-batch", f"Five students at a fifth of the batch each, so equal compute, against {one}: FD",
            "2.53 / 2.60 (K = 4, B 32)", ("digits_k5_equal", "digits_k1"), "fd", 1, strict=True,
        ),
        ratio_claim(
            records, "same-size", f"Two students of the teacher's size against {one}: FD within classes",
            "ImageNet-64 FID 2.37 / 2.62 (K = 4)", ("same_k2", "same_k1"), "cfd", 1, strict=True,
        ),
        ratio_claim(
            records, "tsm", "Without pairs, a small student with TSM against one without: FD",
            "small students need TSM", ("gan_tsm", "gan_plain"), "fd", TSM_SHARE,
        ),
        ratio_claim(
            records, "post-distillation", "Without pairs, TSM against regression on a one-step student's samples: FD",
            "2.88 / 11.67", ("gan_tsm", "gan_post"), "fd", 1, strict=True,
        ),
        ratio_claim(
            records, "tsm-with-pairs", "With pairs, a small student with TSM against one without: FD",
            "small students need TSM", ("digits_k1", "digits_k1_plain"), "fd", 1, strict=True,
        ),
        ratio_claim(
            records, "unfiltered-pairs", "Pairs of all classes for every student against those of its part: FD",
            "filtering the pairs hurts", ("digits_k5_shared", "digits_k5"), "fd", 1, strict=True,
        ),
        ratio_claim(
            records, "partition", "Parts of consecutive classes against parts drawn at random: FD",
            "2.37 / 2.45", ("digits_k5", "digits_k5_random"), "fd", 1, strict=True,
        ),
        ratio_claim(
            records, "wider", "Five small students against one of as many parameters in all: FD",
            None, ("digits_k5", "digits_k1_wide"), "fd", 1, strict=True,
        ),
        ratio_claim(
            records, "adversarial", "Five small students with the adversarial term against without: FD",
            "1.20 / 2.37", ("adm_k5", "digits_k5"), "fd", 1, strict=True,
        ),
    ]  # fmt: skip


def consistency_claims(records: Sequence[dict]) -> list[Claim]:
    """The second distiller gains as well."""
    return [
        ratio_claim(
            records, "consistency", "Consistency distillation, eight students instead of one: energy distance, a share",
            "any distiller fits", ("cd_k8", "cd_k1"), "energy", 1, strict=True,
        )
    ]  # fmt: skip


def table(records: Sequence[dict], metrics: Sequence[str]) -> list[dict]:
    """One row a cell: means and standard errors over seeds, and what it cost."""
    rows = []
    for cell in dict.fromkeys(r["cell"] for r in records):
        own = [r for r in records if r["cell"] == cell]
        row: dict[str, object] = {"cell": cell, "seeds": len(own), "students": own[0]["students"]}
        row["parameters"] = own[0]["parameters"]
        for name in metrics:
            mean, error = mean_and_error(values(records, cell, name))
            row[name] = f"{mean:.3g}" + (f" ± {error:.2g}" if error is not None else "")
        row["steps"] = own[0]["cost"]["steps"]
        row["generated"] = own[0]["cost"]["generated"]
        row["teraflops"] = f"{own[0]['cost']['teraflops']:.3g}"
        rows.append(row)
    return rows


def markdown(rows: Sequence[dict]) -> str:
    """The rows as a table."""
    names = list(rows[0])
    lines = ["| " + " | ".join(names) + " |", "|---" * len(names) + "|"]
    return "\n".join(
        [
            *lines,
            *(
                "| " + " | ".join(f"{row[n]:,}" if isinstance(row[n], int) else str(row[n]) for n in names) + " |"
                for row in rows
            ),
        ]
    )
