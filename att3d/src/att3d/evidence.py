"""From records to claims: what is held against which number."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from .claims import Claim, mean_and_error

IOU_GAP, IOU_GAP_ONE_SEED = 0.08, 0.05
PSNR_GAPS = {40.0: 1.0, 96.0: 0.5}  # dB, by frames for each prompt
UNSEEN_PRECISION = 0.75


def column(records: Sequence[dict], name: str) -> list:
    """One field of all records."""
    return [record[name] for record in records]


def rows(records: Sequence[dict], **wanted) -> list[dict]:
    """The records whose fields have these values."""
    return [r for r in records if all(r[name] == value for name, value in wanted.items())]


def by_seed(records: Sequence[dict], name: str, **wanted) -> list[float]:
    """The mean over prompts of one field, one number a seed."""
    chosen = rows(records, **wanted)
    return [float(np.mean(column(rows(chosen, seed=s), name))) for s in sorted(set(column(chosen, "seed")))]


def gap(records: Sequence[dict], name: str, budget: float) -> tuple[float, float]:
    """Amortised less per-prompt on the trained prompts, over seeds."""
    own = {m: by_seed(records, name, method=m, budget=budget, unseen=False) for m in ("amortised", "per_prompt")}
    return mean_and_error(np.array(own["amortised"]) - np.array(own["per_prompt"]))


def budget_claims(records: Sequence[dict]) -> list[Claim]:
    """Amortised beats per-prompt at equal frames."""
    seeds, budgets = len(set(column(records, "seed"))), sorted(set(column(records, "budget")))
    judged = [b for b in PSNR_GAPS if b in budgets] or budgets[-1:]
    least = IOU_GAP if seeds > 1 else IOU_GAP_ONE_SEED
    found = []
    for budget in judged:
        both = [by_seed(records, "iou", method=m, budget=budget, unseen=False) for m in ("amortised", "per_prompt")]
        value, error = gap(records, "iou", budget)
        shown = " against ".join(f"{np.mean(v):.3f}" for v in both)
        found.append(
            Claim(
                f"iou-{budget:g}",
                f"At {budget:g} frames for each prompt one network beats per-prompt optimisation: gap of IoU with the "
                f"true shapes on trained prompts ({shown})",
                "above per-prompt at every budget",
                value,
                f"at least {least}",
                value >= least,
                error,
            )
        )
    for budget in judged:
        both = [by_seed(records, "psnr", method=m, budget=budget, unseen=False) for m in ("amortised", "per_prompt")]
        value, error = gap(records, "psnr", budget)
        shown = " against ".join(f"{np.mean(v):.1f}" for v in both)
        least_db = PSNR_GAPS.get(budget, 0.5)
        found.append(
            Claim(
                f"psnr-{budget:g}",
                f"At {budget:g} frames the same for images: gap of PSNR in dB ({shown})",
                "above per-prompt at every budget",
                value,
                f"at least {least_db}",
                value >= least_db,
                error,
            )
        )
    return found


def unseen_claims(records: Sequence[dict], seconds: float | None = None) -> list[Claim]:
    """Prompts that no 3-D training saw."""
    budget = max(b for b in column(records, "budget") if b <= 100) if min(column(records, "budget")) <= 100 else None
    budget = budget or min(column(records, "budget"))
    value, error = mean_and_error(by_seed(records, "r_precision", method="amortised", budget=budget, unseen=True))
    probability, _ = mean_and_error(by_seed(records, "r_probability", method="amortised", budget=budget, unseen=True))
    candidates = len(set(column(rows(records, method="amortised"), "prompt")))
    unseen = by_seed(records, "iou", method="amortised", budget=budget, unseen=True)
    optimised = by_seed(records, "iou", method="per_prompt", budget=budget, unseen=False)
    ahead, ahead_error = mean_and_error(np.array(unseen) - np.array(optimised))
    found = [
        Claim(
            "unseen",
            f"Unseen prompts in one pass after {budget:g} frames for each trained one: R-precision among all "
            f"{candidates} prompts (chance {1 / candidates:.3f}, the nearest trained prompt's scene 0; R-probability "
            f"{probability:.3g})",
            "generalises (no number)",
            value,
            f"at least {UNSEEN_PRECISION}",
            value >= UNSEEN_PRECISION,
            error,
        ),
        Claim(
            "unseen-iou",
            f"Scenes of unseen prompts, without a step, are better than those that per-prompt optimisation spent "
            f"{budget:g} frames each on: gap of IoU ({np.mean(unseen):.3f} against {np.mean(optimised):.3f})",
            "unseen beats per-prompt",
            ahead,
            "above 0",
            ahead > 0,
            ahead_error,
        ),
    ]
    if seconds is not None:
        found.append(
            Claim(
                "one-pass",
                "Seconds from an unseen prompt to its modulations and one image of 64 pixels, on one CPU thread",
                "under 1 s on a GPU",
                seconds,
                "below 1",
                seconds < 1,
            )
        )
    return found


def lipschitz_claim(largest: float, bound: float) -> Claim:
    """The bound of the mapping network, on all pairs of prompts."""
    return Claim(
        "lipschitz",
        f"No pair of prompts moves the modulations by more than the Lipschitz bound {bound:.3g} allows: largest ratio",
        "bounded by spectral norm",
        largest,
        f"at most {bound:.4g}",
        largest <= bound * (1 + 1e-5),
    )


def best_start(records: Sequence[dict], start: str) -> dict:
    """The record of the rate with the largest PSNR at the end."""
    return max((r for r in records if r["start"] == start), key=lambda r: np.mean(r["curve"][-1][1]))


def finetune_claims(records: Sequence[dict]) -> list[Claim]:
    """An amortised scene is a good start."""
    of = {start: [r for r in records if r["start"] == start] for start in dict.fromkeys(column(records, "start"))}
    ends = {s: [float(np.mean(r["curve"][-1][1])) for r in found] for s, found in of.items()}
    other, random = np.array(ends["another prompt"]), np.array(ends["random"])
    value, error = mean_and_error(np.array(ends["amortised"]) - np.maximum(other, random))
    steps = records[0]["curve"][-1][0]
    first = float(np.mean([np.mean(r["curve"][0][1]) for r in of["amortised"]]))
    shown = ", ".join(f"{s} {np.mean(v):.1f}" for s, v in ends.items())
    return [
        Claim(
            "finetune",
            f"After {steps} steps on unseen prompts an amortised start ({first:.1f} dB before the first) is ahead of "
            f"a random one and of another prompt's scene: PSNR in dB over the better ({shown})",
            "a good start",
            value,
            "above 0",
            value > 0,
            error,
        )
    ]


def crossfade_claim(records: Sequence[dict]) -> Claim:
    """Interpolation is not done on images."""
    value = float(np.mean(column(records, "from_crossfade")))
    ratio = float(np.mean(column(records, "path_ratio")))
    return Claim(
        "crossfade",
        f"Halfway between two prompts lies a scene, not a cross-fade of images: root mean square difference from the "
        f"mean of the ends (path {ratio:.2f} times the straight line)",
        "continuous families of assets",
        value,
        "at least 0.02",
        value >= 0.02,
    )


def kappa_claims(records: Sequence[dict]) -> list[Claim]:
    """Large κ trades the ends for the middle."""
    kappas = sorted({r["kappa"] for r in records if r["kappa"] is not None})
    small, large = rows(records, kappa=kappas[0]), rows(records, kappa=kappas[-1])
    found = []
    for name, sign, words in (("middle", -1, "lowers the mixture loss halfway"), ("ends", 1, "raises it at the ends")):
        values = np.array(column(large, name)) - np.array(column(small, name))
        value, error = mean_and_error(values)
        means = " to ".join(f"{np.mean(column(r, name)):.4f}" for r in (small, large))
        found.append(
            Claim(
                f"kappa-{name}",
                f"Training between prompts with κ = {kappas[-1]:g} instead of {kappas[0]:g} {words} ({means})",
                "small κ keeps the ends, large κ the middle",
                value,
                "below 0" if sign < 0 else "above 0",
                sign * value > 0,
                error,
            )
        )
    return found
