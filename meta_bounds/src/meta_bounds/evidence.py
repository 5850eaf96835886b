"""The claims of the paper, and ours, each computed from the tables of `theory` and the records of a study."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise

import numpy as np

from .claims import Claim, mean_and_error, two_errors
from .study import Record, mean_over_seeds, select
from .theory import Row, least_squares_line

NAMES = {
    "maml": "MAML",
    "anil": "ANIL",
    "fine_tuned": "pooled, fine-tuned",
    "pooled": "pooled",
    "single_task": "single task",
    "basis_map": "hierarchical MAP",
    "principal_map": "hierarchical MAP",
}


def theory_claims(tables: dict[str, list[Row]], map_distance: float) -> list[Claim]:
    """What the closed forms say; `map_distance` is that of the gradient MAP from the closed form."""
    return [
        *noise_claims(tables["noise"]),
        *samples_claims(tables["samples"]),
        *chain_claims(tables["chain"]),
        *instance_claims(tables["instances"]),
        gradient_map_claim(map_distance),
        exchange_claim(tables["exchange"]),
    ]


def where(rows: Sequence[Row], **wanted) -> list[Row]:
    """Rows whose columns have the wanted values."""
    return [row for row in rows if all(row[key] == value for key, value in wanted.items())]


def slope(x: Sequence[float], y: Sequence[float]) -> float:
    """Of log y against log x."""
    return float(np.polyfit(np.log(x), np.log(y), 1)[0])


def noise_claims(rows: Sequence[Row]) -> list[Claim]:
    """Figure 2A."""
    few, shots, samples = (where(rows, M=50, n=n, k=k) for n, k in ((20, 5), (20, 1000), (200, 5)))
    start, limit = shots[0], least_squares_line(shots[0]["novel_variance"], 1000)
    low = [row for row in shots if row["novel_variance"] <= 1e-4]
    steep = slope([row["novel_variance"] for row in low], [row["risk"] for row in low])
    noisy = [(a["risk"] / b["risk"], a) for a, b in zip(few, samples, strict=True) if a["novel_variance"] >= 1]
    gain = min(noisy, key=lambda pair: pair[0])[0]
    crossing = next(
        (b["novel_variance"] for a, b in zip(shots, samples, strict=True) if a["risk"] > b["risk"]), math.inf
    )
    return [
        Claim(
            "noise-limit",
            f"With k = 1000 and little noise the MAP is as good as least squares (risk at 1e-8, slope {steep:.3f})",
            "1.02e-07, slope 1 (Fig. 2A)",
            start["risk"],
            f"within 5% of {limit:.3g}, slope 1 within 0.02",
            abs(start["risk"] / limit - 1) < 0.05 and abs(steep - 1) < 0.02,
            start["risk_stderr"],
        ),
        Claim(
            "samples-help-under-noise",
            "With a noisy novel task more training samples help (n = 20 over n = 200, k = 5, least from variance 1 on)",
            "up to 1e5 (Fig. 2A; no matched prior can give that)",
            gain,
            "at least 4",
            gain >= 4,
        ),
        Claim(
            "shots-against-samples",
            "Shots win while the novel task is clean, training samples when it is noisy (novel variance from which "
            "(n, k) = (200, 5) beats (20, 1000))",
            "1e-3 to 1e-2 (Fig. 2A)",
            crossing,
            "between 0.01 and 1",
            0.01 <= crossing <= 1,
        ),
    ]


def samples_claims(rows: Sequence[Row]) -> list[Claim]:
    """Figure 2B."""
    shots, tasks = where(rows, line="k"), where(rows, line="M")
    late = [row for row in shots if row["k"] >= 1000]
    steep, end = slope([row["k"] for row in late], [row["risk"] for row in late]), shots[-1]
    limit = least_squares_line(0.005, end["k"])
    last, gap = tasks[-1], tasks[-1]["bayes_risk"] / tasks[-1]["plateau"] - 1
    return [
        Claim(
            "shots-decay",
            f"With more shots the risk vanishes like 1/k (risk at k = {end['k']}; slope from k = 1000: {steep:.3f})",
            "0.006 (Fig. 2B)",
            end["risk"],
            f"within 3% of {limit:.3g}, slope -1 within 0.02",
            abs(end["risk"] / limit - 1) < 0.03 and abs(steep + 1) < 0.02,
            end["risk_stderr"],
        ),
        Claim(
            "tasks-plateau",
            f"With more tasks it does not: at M = {last['M']}, k = 20 the average risk is at its limit for M and n to "
            f"infinity, {last['plateau']:.3g} (relative distance)",
            "flattens at 0.085 (Fig. 2B)",
            gap,
            "between 0 and 5%",
            0 <= gap < 0.05,
            last["bayes_risk_stderr"] / last["plateau"],
        ),
    ]


def chain_claims(rows: Sequence[Row]) -> list[Claim]:
    """The hexagon."""
    links = [("bayes_risk", "decoder"), ("decoder", "theorem_1"), ("theorem_1", "corollary")]
    smallest = math.inf
    for row in rows:
        full = {**row, "corollary": max(row["corollary_1"], row["corollary_2"]), "corollary_stderr": 0.0}
        for upper, lower in links:
            error = math.hypot(full[f"{upper}_stderr"], full[f"{lower}_stderr"])
            smallest = min(smallest, (full[upper] - full[lower]) / error)
    (row,) = [r for r in rows if r["axis"] == "n" and r["n"] == 5]
    (far,) = [r for r in rows if r["axis"] == "n" and r["n"] == 1000]
    chain = " > ".join(
        f"{row[name]:.3g}" for name in ("bayes_risk", "decoder", "theorem_1", "corollary_2", "corollary_1")
    )
    return [
        Claim(
            "chain-of-bounds",
            "Bayes risk > δ² P(decoder errs) > Theorem 1 > corollaries on a hexagon, n to 1000, k to 20 (here n = 5, "
            "k = 1, M = 2)",
            None,
            chain,
            f"every link by 4 standard errors (smallest: {smallest:.0f})",
            smallest > 4,
        ),
        Claim(
            "known-tasks-are-not-enough",
            f"With n = 1000 the training tasks are known ({far['training_bits']:.3f} bits of the novel one), but the "
            "Bayes risk stays (times that at n = 5)",
            "k is needed when M + 1 < J (Corollary 2)",
            far["bayes_risk"] / row["bayes_risk"],
            "above 0.9, bits within 1%",
            far["bayes_risk"] / row["bayes_risk"] > 0.9 and abs(far["training_bits"] / math.log2(7 / 5) - 1) < 0.01,
            far["bayes_risk_stderr"] / row["bayes_risk"],
        ),
    ]


def instance_claims(rows: Sequence[Row]) -> list[Claim]:
    """Random settings."""
    least = {name: min(row[name] for row in rows) for name in ("theorem_3", "packing", "floor", "upper", "worst")}
    return [
        Claim(
            "nothing-beats-the-bounds",
            f"In {len(rows)} random settings no estimator is below Theorem 3, the corollaries on a packing, or tr Σ "
            "(smallest risk / bound of each)",
            "no meta-learner can (Theorems 1 to 3)",
            " · ".join(f"{least[name]:.3g}" for name in ("theorem_3", "packing", "floor")),
            "all at least 1 (the MAP attains tr Σ)",
            min(least["theorem_3"], least["packing"]) >= 1 and least["floor"] >= 1 - 1e-9,
        ),
        Claim(
            "upper-bound",
            "The explicit form of Theorem 4 is above the MAP's worst case over unit balls, that above Theorem 3 "
            "(smallest ratios)",
            "sup of the risk <= O(d σ² C^-2 D) (Theorem 4)",
            f"{least['upper']:.3g} · {least['worst']:.3g}",
            "both at least 1",
            min(least["upper"], least["worst"]) >= 1,
        ),
    ]


def gradient_map_claim(distance: float) -> Claim:
    return Claim(
        "gradient-map",
        "Gradients of the joint log-posterior of all θ and τ lead to the closed form (largest difference)",
        None,
        distance,
        "below 1e-8",
        distance < 1e-8,
    )


def exchange_claim(rows: Sequence[Row]) -> Claim:
    steep = float(np.polyfit([row["d"] for row in rows], [row["bits"] for row in rows], 1)[0])
    return Claim(
        "exchange-rate",
        "The training samples worth one novel sample double with every dimension (slope of log2(J - 1) in d, greedy "
        f"packings, d = {rows[0]['d']} to {rows[-1]['d']})",
        "2^d (Theorem 3)",
        steep,
        "at least 1, and J > 2^d",
        steep >= 1 and all(row["J"] > 2 ** row["d"] for row in rows),
    )


@np.errstate(divide="ignore", invalid="ignore")  # an error of 0, or shots that gain nothing: no claim holds by them
def learner_claims(
    records: Sequence[Record],
    tasks: Sequence[int],
    shots: Sequence[int],
    noise: float,
    learners: Sequence[str],
    baseline: str,
) -> list[Claim]:
    """The same predictions on trained learners: decay in k at the most tasks, little gain from more than a few tasks.

    Every gain is a ratio of two errors of one seed, with its standard error over seeds.

    Args:
        records: of the study.
        tasks, shots: numbers of training tasks (at least 2) and of shots that were tried.
        noise: standard deviation of the support's noise at which to look.
        learners: which must show it.
        baseline: a learner without training tasks, held against the first of them.
    """
    most, least, many = max(tasks), min(shots), max(shots)
    some = sorted(tasks)[1] if len(tasks) > 2 else min(tasks)

    def errors(learner: str, M: int, k: int) -> np.ndarray:
        return by_seed(records, learner=learner, tasks=M, shots=k, noise=noise)

    claims = []
    for learner in learners:
        prefix, name = learner.replace("_", "-"), NAMES[learner][0].upper() + NAMES[learner][1:]
        decay = errors(learner, most, least) / errors(learner, most, many)
        more = errors(learner, some, least) / errors(learner, most, least)
        gained = mean_and_error(np.log(more) / np.log(decay))
        decayed = mean_and_error(decay)
        claims += [
            Claim(
                f"{prefix}-decay",
                f"{name} gains from shots (error at k = {least} over that at {many}, M = {most})",
                "decays in k",
                decayed[0],
                "above 2 by two standard errors",
                two_errors(decayed)[0] > 2,
                decayed[1],
            ),
            Claim(
                f"{prefix}-plateau",
                f"{name} gains little from {most / some:g} times the tasks, M = {some} to {most}, k = {least} (log "
                f"error, as a share of what {many / least:g} times the shots gain)",
                "flat in M",
                gained[0],
                "below 0.5 by two standard errors",
                two_errors(gained)[1] < 0.5,
                gained[1],
            ),
        ]
    few, enough = (mean_and_error(errors(baseline, most, k) / errors(learners[0], most, k)) for k in (least, many))
    return [
        *claims,
        Claim(
            "tasks-stand-in-for-shots",
            f"Training tasks matter when shots are few ({NAMES[baseline]} over {NAMES[learners[0]]} at k = {least} "
            f"and at k = {many})",
            None,
            f"{with_error(few)} · {with_error(enough)}",
            "first above 1 by two standard errors, second half of it at most",
            two_errors(few)[0] > 1 and enough[0] <= few[0] / 2,
        ),
    ]


def closed_form_claim(records: Sequence[Record], tasks: Sequence[int], shots: Sequence[int], noise: float) -> Claim:
    """The hierarchical model against MAML where it has tasks enough to learn its covariance."""
    cells = [{"tasks": M, "shots": k, "noise": noise} for M in sorted(tasks)[1:] for k in shots]
    ratios = [by_seed(records, learner="maml", **c) / by_seed(records, learner="basis_map", **c) for c in cells]
    smallest, error = min((mean_and_error(ratio) for ratio in ratios), key=lambda measured: measured[0])
    return Claim(
        "hierarchy-beats-maml",
        "The hierarchical model on 20 bumps beats MAML at every k and all M but the smallest (MAML's error over its "
        "own, smallest)",
        None,
        smallest,
        "above 1 by two standard errors",
        two_errors((smallest, error))[0] > 1,
        error,
    )


def by_seed(records: Sequence[Record], **wanted) -> np.ndarray:
    """Errors in the order of the seeds, (seeds,)."""
    return np.array([record.error for record in sorted(select(records, **wanted), key=lambda record: record.seed)])


def with_error(measured: tuple[float, float | None]) -> str:
    """Mean ± standard error."""
    mean, error = measured
    return f"{mean:.3g}" if error is None else f"{mean:.3g} ± {error:.2g}"


def noise_study_claims(records: Sequence[Record], shots: Sequence[int]) -> list[Claim]:
    """Figure 3: MAML at (n, k) = (20, 100), (20, 1000), (200, 1000) against the novel noise."""
    few, many = min(shots), max(shots)

    def at(n: int, k: int, noise: float) -> tuple[float, float]:
        return mean_over_seeds(records, learner="maml", samples=n, shots=k, noise=noise)

    noises = sorted({record.noise for record in records})
    clean, loud = noises[0], noises[-1]
    small = [noise for noise in noises if noise <= 0.01]
    drift = max(abs(at(n, k, noise)[0] / at(n, k, clean)[0] - 1) for n in (20, 200) for k in shots for noise in small)
    order = [at(20, few, clean), at(20, many, clean), at(200, many, clean)]
    seeds = [by_seed(records, samples=n, shots=k, noise=clean) for n, k in ((20, few), (20, many), (200, many))]
    steps = [mean_and_error(before - after) for before, after in pairwise(seeds)]  # the same seed in both
    shown = ", ".join(map(with_error, steps))
    total = at(20, few, loud)[0] + loud**2
    return [
        Claim(
            "noise-free-until-0.1",
            "MAML's error does not depend on the novel noise up to 0.01, a standard deviation (largest change)",
            "flat until about 0.1 (Fig. 3)",
            drift,
            "below 0.02",
            drift < 0.02,
        ),
        Claim(
            "more-k-and-more-n-help",
            f"Without noise the order is (n, k) = (20, {few}), (20, {many}), (200, {many})",
            ".020 · .015 · .0097 (Fig. 3)",
            " · ".join(f"{error:.3g} ± {stderr:.1g}" for error, stderr in order),
            f"both steps above 0 by 2 standard errors over seeds ({shown})",
            all(two_errors(step)[0] > 0 for step in steps),
        ),
        Claim(
            "noise-floor",
            f"At noise {loud:g} the error on noisy queries is little more than that noise (excess over {loud**2:g} of "
            f"n = 20, k = {few})",
            "about 2.3 in all (Fig. 3)",
            total - loud**2,
            f"below {0.5 * loud**2:.3g}",
            total - loud**2 < 0.5 * loud**2,
            at(20, few, loud)[1],
        ),
    ]
