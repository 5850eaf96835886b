"""From trained cells to claims: what is held against which number."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from .claims import Claim, mean_and_error
from .study import CellResult

OVER_CONSTANT = 0.03  # IoU by text alone, over the best constant shape's
SHAPE_GAP, INIT_GAP = 0.04, 0.03  # IoU with a cloud, over training without the shapes and without stage 0
COLOR, COLOR_WITHOUT_PRIOR = 0.75, 0.35
DETAIL_GAP = 0.1  # high-pass correlation of stage 2 over stage 1
CHANCES = 10  # retrieval, in units of chance
SILHOUETTE = 0.85
SECONDS = 0.4  # of the paper's one pass


class Run(NamedTuple):
    """One seed: its cells, and what two guesses that learn nothing reach on its held-out shapes."""

    cells: dict[str, CellResult]
    constant: list[float]
    nearest: list[float]


def score(run: Run, cell: str, name: str) -> float:
    """The mean over held-out shapes; of the baselines too."""
    values = {"constant": run.constant, "nearest": run.nearest}.get(cell) or run.cells[cell].scores[name]
    return float(np.mean(values))


def over_seeds(runs: Sequence[Run], cell: str, name: str) -> tuple[float, float | None]:
    return mean_and_error([score(run, cell, name) for run in runs])


def gap_claim(
    id: str, statement: str, paper: str | None, runs: Sequence[Run], first: tuple, second: tuple, least: float
) -> Claim:
    """That `first` (cell, score) is ahead of `second` by `least`."""
    gaps = [score(run, *first) - score(run, *second) for run in runs]
    value, error = mean_and_error(gaps)
    shown = " against ".join(f"{over_seeds(runs, *which)[0]:.3f}" for which in (first, second))
    return Claim(id, f"{statement} ({shown})", paper, value, f"at least {least}", value >= least, error)


def learning_claims(runs: Sequence[Run]) -> list[Claim]:
    """What the parts of training are good for, on shapes of kinds that were never seen."""
    nearest = over_seeds(runs, "nearest", "iou")[0]
    color, color_error = over_seeds(runs, "full", "color_text")
    plain, plain_error = over_seeds(runs, "no_prior", "color_text")
    return [
        gap_claim(
            "text-iou",
            f"Unseen kinds of shapes by text alone, in one pass: IoU over that of the best constant shape; the nearest "
            f"caption's training shape has {nearest:.3f}",
            "one network for unseen prompts", runs, ("full", "iou_text"), ("constant", "iou"), OVER_CONSTANT,
        ),
        gap_claim(
            "regularisation",
            "The shapes' opacity beside the prior (alpha 0.5 instead of 0): IoU of unseen kinds with their own cloud",
            "Mask-FID 274 to 176", runs, ("full", "iou_cloud"), ("no_shape", "iou_cloud"), SHAPE_GAP,
        ),
        gap_claim(
            "initialisation",
            "Reconstruction before distillation, at equal time: IoU of unseen kinds with their own cloud",
            "stage 0 helps", runs, ("full", "iou_cloud"), ("no_init", "iou_cloud"), INIT_GAP,
        ),
        Claim(
            "colour", "Share of unseen kinds whose body has the colour that the text says, after stage 1 (chance 0.17)",
            None, color, f"at least {COLOR}", color >= COLOR, color_error,
        ),
        Claim(
            "no-prior", "The same without the 3D-aware prior (alpha 1): nothing tells it colours",
            None, plain, f"at most {COLOR_WITHOUT_PRIOR}", plain <= COLOR_WITHOUT_PRIOR, plain_error,
        ),
    ]  # fmt: skip


def surface_claims(runs: Sequence[Run]) -> list[Claim]:
    """What drawn surfaces show."""
    prompts = len(runs[0].cells["surface"].scores["retrieval"])
    found, error = over_seeds(runs, "surface", "retrieval")
    before = over_seeds(runs, "full", "retrieval")[0]
    silhouette, spread = over_seeds(runs, "full", "silhouette")
    color, color_error = over_seeds(runs, "surface", "color_text")
    return [
        Claim(
            "colour-surface", "The colour that the text says, after stage 2 (chance 0.17)",
            None, color, f"at least {COLOR}", color >= COLOR, color_error,
        ),
        gap_claim(
            "detail",
            "Stage 2 adds detail: high-pass correlation with the true patterns at 64 pixels, with the shape's cloud, "
            "over stage 1",
            "Render-FID 104 to 97", runs, ("surface", "detail_cloud"), ("full", "detail_cloud"), DETAIL_GAP,
        ),
        Claim(
            "retrieval",
            f"Renders of {prompts} unseen prompts are matched with their own prompt among all (R@1; chance "
            f"{1 / prompts:.3f}, after stage 1 {before:.3f})",
            None, found, f"at least {CHANCES} times chance, {CHANCES / prompts:.3f}", found >= CHANCES / prompts, error,
        ),
        Claim(
            "no-fog", "Surfaces are where the volumes are opaque: IoU of their silhouettes after stage 1",
            None, silhouette, f"at least {SILHOUETTE}", silhouette >= SILHOUETTE, spread,
        ),
    ]  # fmt: skip


def latency_claim(seconds: dict[str, float]) -> Claim:
    """From a prompt to a file."""
    total = sum(seconds.values())
    parts = ", ".join(f"{name} {1000 * value:.0f}" for name, value in seconds.items())
    return Claim(
        "one-pass", f"Seconds from a prompt to a coloured mesh in a file, one CPU thread (milliseconds: {parts})",
        "0.4 on a GPU", total, f"below {SECONDS}", total < SECONDS,
    )  # fmt: skip


def frozen_claim(difference: float) -> Claim:
    """Stage 2 leaves the geometry alone."""
    return Claim(
        "frozen", "Stage 2 trains texture alone: largest change of any weight of the geometry network",
        "G is frozen", difference, "at most 0", difference == 0,
    )  # fmt: skip


def alpha_claim(runs: Sequence[Run], alphas: Sequence[float]) -> Claim:
    """The slider between text and shape."""
    low, high = (f"iou_cloud@{alpha:g}" for alpha in (alphas[0], alphas[-1]))
    means = ", ".join(f"{over_seeds(runs, 'amortised', f'iou_cloud@{alpha:g}')[0]:.3f}" for alpha in alphas)
    gaps = [score(run, "amortised", high) - score(run, "amortised", low) for run in runs]
    value, error = mean_and_error(gaps)
    told = ", ".join(f"{alpha:g}" for alpha in alphas)
    return Claim(
        "alpha-slider",
        f"One network with alpha as an input slides from text to shape: IoU with the given shape at alpha "
        f"{alphas[-1]:g} over alpha {alphas[0]:g} (at {told}: {means})",
        "a user's slider", value, "above 0", value > 0, error,
    )  # fmt: skip


def optimisation_claim(records: Sequence[dict]) -> Claim:
    """More steps on one prompt."""
    gains = [float(np.mean([r["after"] - r["before"] for r in records if r["seed"] == seed]))
             for seed in sorted({r["seed"] for r in records})]  # fmt: skip
    value, error = mean_and_error(gains)
    before, after = (float(np.mean([r[name] for r in records])) for name in ("before", "after"))
    return Claim(
        "test-time",
        f"More steps on one unseen prompt raise the judge's log-probability of its attributes ({before:.2f} to "
        f"{after:.2f})",
        "FID falls by 11.6 on unseen prompts", value, "above 0", value > 0, error,
    )  # fmt: skip
