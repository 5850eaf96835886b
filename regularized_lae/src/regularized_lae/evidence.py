"""The claims of the paper, and ours, each computed from the records of a sweep.

Every comparison is between best rates on one grid, within one budget of steps. Who did not arrive counts with the
budget, so a ratio or slope against it is a bound that favours it.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from sklearn.decomposition import PCA
from torch import Tensor

from .claims import Claim, mean_and_error
from .data import PrincipalData
from .figures import NAMES
from .hessian import conditions, shrinking_spectrum
from .metrics import haar_alignment
from .recorder import Record
from .sweep import Best, SweepSettings, best_rate, budget, records_of

SGD = ("gd", "nesterov")
ANY = ("gd", "nesterov", "adam")
REGULARISED = ("nonuniform", "nested")


def scaling_claims(records: Sequence[Record], settings: SweepSettings) -> list[Claim]:
    """What a sweep over k with three thresholds says of speed; `subspace_only` wants several seeds."""
    _, middle, tight = settings.thresholds
    several = [k for k in settings.latents if k >= 5] or settings.latents
    low, high = min(several), max(several)
    return [
        eventually(records, low, middle),
        ill_conditioned(low, high),
        rag_scaling(records, low, high, middle),
        ratio_claim("rag-sgd", records, "rag", high, middle, SGD, 1 / 2),
        ratio_claim("rag-any", records, "rag", high, middle, ANY, 1 / 2),
        ratio_claim("balance-sgd", records, "rag_balanced", high, middle, SGD, 1 / 8),
        ratio_claim("balance-any", records, "rag_balanced", high, middle, ANY, 1 / 8),
        balance_scaling(records, low, high, tight),
        balance_ordered(records, settings.latents, tight),
        small_k(records, min(settings.latents), middle),
        classics(records, high, middle),
    ]


def subspace_only(records: Sequence[Record], latents: Sequence[int]) -> Claim:
    """Uniform L2, at the rate whose subspace is best: its alignment is that of a random rotation."""
    gaps, distances = [], []
    for k in latents:
        runs = [r for r in records if r.run.method == "uniform" and r.latents == k]
        best = min((r for r in runs if r.subspace and r.diverged_at is None), key=lambda r: r.subspace[-1])
        seeds = records_of(records, "uniform", k, best.run.optimizer, best.run.rate)
        gaps.append(sum(last(r.alignment) for r in seeds) / len(seeds) - haar_alignment(k))
        distances.append(best.subspace[-1])
    worst = max(gaps, key=abs)
    return Claim(
        "uniform-subspace",
        "Uniform L2 learns the subspace but not the axes: its alignment is that of a random rotation "
        f"(largest difference over k = {', '.join(map(str, latents))})",
        "0.735 against 0.755 (Fig. 2a)",
        worst,
        "within 0.06, subspace distance below 1e-3",
        abs(worst) <= 0.06 and max(distances) < 1e-3,
    )


def eventually(records: Sequence[Record], k: int, threshold: float) -> Claim:
    """All three of the paper's remedies reach the axes, in order."""
    bests = {m: best_rate(records, m, k, threshold) for m in (*REGULARISED, "rag")}
    worst = 0.0
    for best in filter(None, bests.values()):
        runs = records_of(records, best.method, k, best.optimizer, best.rate)
        worst = max(worst, *(min(r.ordered) for r in runs))
    return Claim(
        "axes-eventually",
        f"Non-uniform L2, nested dropout and RAG all recover the ordered axes (steps to {threshold:g} at k = {k})",
        None,
        " · ".join(steps(best, records) for best in bests.values()),
        f"in the budget, ordered alignment {threshold:g} too",
        all(bests.values()) and worst <= threshold,
    )


def ill_conditioned(low: int, high: int) -> Claim:
    """Exact condition numbers when the spectrum's gaps shrink with k."""
    ends = [conditions(shrinking_spectrum(k), k) for k in (low, high)]
    growth = {m: math.log(ends[1][m] / ends[0][m]) / math.log(high / low) for m in ends[0]}
    return Claim(
        "conditioning",
        "The condition number at the optimum grows faster with k for non-uniform L2 and nested dropout than for RAG "
        f"(exact; log-log slopes from k = {low} to {high}, d = 2k)",
        "it worsens with k (theorems)",
        " · ".join(f"{growth[m]:.2f}" for m in (*REGULARISED, "rag")),
        "first two above 1.8, last below 1.2",
        min(growth[m] for m in REGULARISED) > 1.8 and growth["rag"] < 1.2,
    )


def rag_scaling(records: Sequence[Record], low: int, high: int, threshold: float) -> Claim:
    """The paper's headline: the steps of the regularised losses grow with k, those of RAG hardly."""
    slopes = {m: slope(records, m, low, high, threshold) for m in ("rag", *REGULARISED)}
    arrived = best_rate(records, "rag", high, threshold, SGD) is not None
    comparable = arrived and all(s is not None for s in slopes.values())
    return Claim(
        "rag-scaling",
        "By SGD, the steps of RAG grow less with k than those of non-uniform L2 and nested dropout "
        f"(log-log slopes from k = {low} to {high}, to {threshold:g})",
        "flat from k = 5 to 50 (Fig. 4)",
        " · ".join("none" if s is None else f"{s:.2f}" for s in slopes.values()),
        "the first is the smallest",
        comparable and slopes["rag"] < min(slopes[m] for m in REGULARISED),
    )


def ratio_claim(
    id: str,
    records: Sequence[Record],
    method: str,
    k: int,
    threshold: float,
    optimizers: Sequence[str],
    at_most: float,
) -> Claim:
    """Steps of a method over those of the faster regularised loss."""
    own = best_rate(records, method, k, threshold, optimizers)
    rivals = [best_rate(records, m, k, threshold, optimizers) for m in REGULARISED]
    fastest = min(filter(None, rivals), key=lambda best: best.steps, default=None)
    ratio = own.steps / (fastest.steps if fastest else budget(records)) if own else math.inf
    return Claim(
        id,
        f"{NAMES[method]} needs at most {at_most:g} of the steps of the faster regularised loss at k = {k} "
        f"(to {threshold:g}, best of {'GD and Nesterov' if optimizers == SGD else 'GD, Nesterov and Adam'})",
        "about 3500 / 30000 at k = 50 (Fig. 4)" if method == "rag" and optimizers == SGD else None,
        f"{ratio:.2f} ({steps(own, records)} / {steps(fastest, records)})",
        f"at most {at_most:g}",
        ratio <= at_most,
    )


def balance_scaling(records: Sequence[Record], low: int, high: int, threshold: float) -> Claim:
    """With balance the steps hardly grow even to a tight threshold."""
    arrived = best_rate(records, "rag_balanced", high, threshold, SGD) is not None
    measured = slope(records, "rag_balanced", low, high, threshold)
    return Claim(
        "balance-scaling",
        "By SGD, the steps of RAG + balance hardly grow with k "
        f"(log-log slope from k = {low} to {high}, to {threshold:g})",
        None,
        measured if arrived and measured is not None else "not reached",
        "below 0.4",
        arrived and measured is not None and measured < 0.4,
    )


def balance_ordered(records: Sequence[Record], latents: Sequence[int], threshold: float) -> Claim:
    """RAG + balance ends with column i on axis i, for every seed."""
    worst = 0.0
    for k in latents:
        best = best_rate(records, "rag_balanced", k, threshold, SGD)
        runs = records_of(records, "rag_balanced", k, best.optimizer, best.rate) if best else []
        worst = max([worst, *(last(r.ordered) for r in runs)]) if runs else math.inf
    return Claim(
        "balance-ordered",
        f"RAG + balance puts column i on axis i (ordered alignment, worst over k = {', '.join(map(str, latents))})",
        None,
        worst,
        f"at most {threshold:g}",
        worst <= threshold,
    )


def small_k(records: Sequence[Record], k: int, threshold: float) -> Claim:
    """Where the paper's method is not the best: few latents."""
    own = best_rate(records, "rag", k, threshold, SGD)
    rivals = [best_rate(records, m, k, threshold, SGD) for m in REGULARISED]
    fastest = min(filter(None, rivals), key=lambda best: best.steps, default=None)
    return Claim(
        "small-k",
        f"At k = {k} a regularised loss beats plain RAG (steps to {threshold:g}, SGD)",
        "RAG 850 steps (Fig. 4, to 0.3)",
        f"{steps(fastest, records)} / {steps(own, records)}",
        "fewer steps than RAG",
        fastest is not None and (own is None or fastest.steps < own.steps),
    )


def classics(records: Sequence[Record], k: int, threshold: float) -> Claim:
    """What an honest comparison shows beside the paper: an algorithm made for PCA alone takes fewer steps."""
    gha, *ours = (best_rate(records, m, k, threshold) for m in ("gha", "rag", "rag_balanced"))
    return Claim(
        "gha-is-faster",
        f"Sanger's GHA, which does PCA alone, needs fewer steps than RAG and RAG + balance (k = {k}, to {threshold:g})",
        None,
        " · ".join(steps(best, records) for best in (gha, *ours)),
        "the first is the smallest",
        gha is not None and all(best is None or gha.steps < best.steps for best in ours),
    )


def digits_claims(records: Sequence[Record], data: PrincipalData) -> list[Claim]:
    """Stall, diagnosis and cure at the largest rate and k of a sweep on samples, and agreement with scikit-learn."""
    rate, k = max(r.run.rate for r in records), max(r.latents for r in records)
    plain, cured = (records_of(records, method, k, "nesterov", rate) for method in ("rag", "rag_balanced"))
    alignment, error = mean_and_error([last(r.alignment) for r in plain])
    cured_alignment, cured_error = mean_and_error([last(r.alignment) for r in cured])
    imbalance, _ = mean_and_error([last(r.imbalance) for r in plain])
    subspace = max(last(r.subspace) for r in plain)
    components = sklearn_components(data, k)
    cosine = min(smallest_cosine(r.decoder, components) for r in cured)
    return [
        Claim(
            "rag-stalls",
            f"On digits (k = {k}, Nesterov, rate {rate:g}) plain RAG rests in the subspace but off the axes: "
            f"momentum made its imbalance {imbalance:.2g} (axis alignment)",
            None,
            alignment,
            "above 0.05, imbalance above 0.5, subspace below 1e-5",
            alignment > 0.05 and imbalance > 0.5 and subspace < 1e-5,
            error,
        ),
        Claim(
            "balance-cures",
            "The balance term cures the stall, at the same rate and from the same weights (axis alignment)",
            None,
            cured_alignment,
            "below 0.001",
            cured_alignment < 1e-3,
            cured_error,
        ),
        Claim(
            "agrees-with-sklearn",
            f"Its {k} units are the components of scikit-learn's PCA, in order (smallest |cosine| of the two)",
            None,
            cosine,
            "above 0.999",
            cosine > 0.999,
        ),
    ]


def slope(records: Sequence[Record], method: str, low: int, high: int, threshold: float) -> float | None:
    """Log-log slope of steps by SGD against k; None where the method does not arrive even at `low`."""
    first, final = (best_rate(records, method, k, threshold, SGD) for k in (low, high))
    if first is None or high == low:
        return None
    return math.log((final.steps if final else budget(records)) / first.steps) / math.log(high / low)


def steps(best: Best | None, records: Sequence[Record]) -> str:
    """Steps at the best rate, or that the budget was not enough."""
    return f"{best.steps:.0f}" if best else f"> {budget(records)}"


def last(curve: Sequence[float]) -> float:
    """The end of a curve; nothing was measured where the run diverged at once."""
    return curve[-1] if curve else math.inf


def smallest_cosine(decoder: Tensor, components: Tensor) -> float:
    """Smallest |cosine| between column i and component i, both (d, k)."""
    units = torch.nn.functional.normalize(decoder.double(), dim=0)
    return float((components * units).sum(0).abs().min())


def sklearn_components(data: PrincipalData, latents: int) -> Tensor:
    """Components in columns, (d, k), by scikit-learn's PCA of the same samples."""
    return torch.as_tensor(PCA(latents).fit(data.rows(slice(None)).numpy()).components_.T.copy())
