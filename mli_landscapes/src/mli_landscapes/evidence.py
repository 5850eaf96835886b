"""From measurements to claims: the paper's sentences, each with the number that decides it."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from .cache import load_state
from .claims import Claim
from .interpolation import interpolate
from .losses import cross_entropy
from .monotonicity import barrier, min_delta
from .plane import Plane, grid_around, loss_plane, plane
from .stack import NetworkStack
from .study import RunRecord, StudySettings
from .tables import converged, log_correlation, rising
from .theorem1 import Theorem1

GRID = ("sgd", "sgd_bn", "adam", "adam_bn")
FAMILIES = {"SGD": ("sgd", "sgd_bn"), "Adam": ("adam", "adam_bn")}
NAMES = {"sgd": "SGD", "adam": "Adam"}
SMALL_SGD, LARGE_ADAM = 0.3, 0.03  # rates: up to, from
FAR_RADIUS = 20  # of the outward pull


def of_cells(records: Sequence[RunRecord], *cells: str) -> list[RunRecord]:
    """The runs of some cells."""
    return [r for r in records if r.cell in cells]


def share_words(count: int, total: int) -> str:
    """A count as the table shows it."""
    return f"{count} of {total}"


def grid_claims(records: Sequence[RunRecord], settings: StudySettings) -> list[Claim]:
    """Which optimizers and rates break the property, and what that has to do with distance and bending."""
    runs = converged(of_cells(records, *GRID), settings.converged)
    gentle = [r for r in of_cells(runs, "sgd", "sgd_bn") if r.rate <= SMALL_SGD]
    strong = [r for r in of_cells(runs, "adam", "adam_bn") if r.rate >= LARGE_ADAM]
    delta = settings.delta
    up_gentle, up_strong = rising(gentle, delta), rising(strong, delta)
    much = len(rising(strong, 1e-3))
    largest = max((r.min_delta for r in strong), default=0.0)
    return [
        Claim(
            "sgd-keeps-mli",
            f"SGD at rates up to {SMALL_SGD:g} keeps the loss monotone (runs with a rise above {delta:g} nats)",
            "nearly always",
            share_words(len(up_gentle), len(gentle)),
            "at most 5 %",
            bool(gentle) and len(up_gentle) <= 0.05 * len(gentle),
        ),
        Claim(
            "adam-breaks-mli",
            f"Adam at rates from {LARGE_ADAM:g} often breaks it",
            "more often than SGD",
            f"{share_words(len(up_strong), len(strong))} ({much} above 1e-3)",
            "at least 25 %",
            bool(strong) and len(up_strong) >= 0.25 * len(strong),
        ),
        Claim("adam-rise", "The largest rise among them, nats", None, largest, "at least 0.005", largest >= 0.005),
        batchnorm_claim(runs, delta),
        distance_claim(runs, delta),
        *bending_claims(runs),
    ]


def batchnorm_claim(runs: Sequence[RunRecord], delta: float) -> Claim:
    """Whether batch norm raises the share of non-monotone runs, for both optimizers."""
    shares = {}
    for cell in GRID:
        mine = of_cells(runs, cell)
        shares[cell] = len(rising(mine, delta)) / len(mine) if mine else math.nan
    higher = [shares[f"{name}_bn"] - shares[name] for name in NAMES]
    words = ", ".join(f"{NAMES[name]} {100 * shares[name]:.0f} to {100 * shares[name + '_bn']:.0f} %" for name in NAMES)
    return Claim(
        "batchnorm-breaks-mli",
        "Batch norm makes rises more frequent, over all rates that converge",
        "more often with BN",
        words,
        "higher for both",
        all(h > 0 for h in higher),
    )


def distance_claim(runs: Sequence[RunRecord], delta: float) -> Claim:
    """Whether non-monotone runs moved farther."""
    up = [r.distance for r in rising(runs, delta)]
    down = [r.distance for r in runs if r.min_delta <= delta]
    ratio = float(np.median(up) / np.median(down)) if up and down else math.nan
    return Claim(
        "far-from-init",
        "Non-monotone runs end farther from initialisation (ratio of median relative distances)",
        "farther",
        ratio,
        "at least 3",
        ratio >= 3,
    )


def bending_claims(runs: Sequence[RunRecord]) -> list[Claim]:
    """Whether the output path bends more the farther the weights moved."""
    claims = []
    for name, cells, wanted in (("no batch norm", ("sgd", "adam"), 0.5), ("batch norm", ("sgd_bn", "adam_bn"), 0.5)):
        mine = [r for r in of_cells(runs, *cells) if r.gauss_length]
        r, error = (math.nan, math.nan)
        if len(mine) >= 4:
            r, error = log_correlation([m.distance for m in mine], [m.gauss_length for m in mine])
        claims.append(
            Claim(
                "distance-bends" + ("" if name == "no batch norm" else "-bn"),
                f"The farther the weights, the longer the Gauss length, {name} (correlation of the logarithms)",
                "line in log-log",
                r,
                f"at least {wanted:g}",
                r >= wanted,
                stderr=error,
            )
        )
    return claims


def outward_claims(records: Sequence[RunRecord], settings: StudySettings) -> list[Claim]:
    """What the outward regulariser does at each radius; cells are named outward_RADIUS."""
    radii = sorted({int(r.cell.removeprefix("outward_")) for r in records if r.cell.startswith("outward_")})
    groups = {radius: of_cells(records, f"outward_{radius}") for radius in radii}
    near, far = groups[radii[0]], [r for radius in radii if radius >= FAR_RADIUS for r in groups[radius]]
    up_near, up_far = len(rising(near, settings.delta)), len(rising(far, settings.delta))
    distances = [float(np.median([r.distance or math.nan for r in groups[radius]])) for radius in radii]
    grows = distances == sorted(set(distances))
    return [
        Claim(
            "outward-near",
            f"Pulled to norms of {radii[0]}, near where training ends anyway, the loss stays monotone",
            None,
            share_words(up_near, len(near)),
            "none rises",
            bool(near) and up_near == 0,
        ),
        Claim(
            "outward-far",
            f"Pulled out to norms of {FAR_RADIUS} and more it does not, under SGD",
            "breaks",
            share_words(up_far, len(far)),
            "at least 90 %",
            bool(far) and up_far >= 0.9 * len(far),
        ),
        Claim(
            "outward-distance",
            "The pull moves the weights as far as it says (relative distances)",
            None,
            ", ".join(f"{d:.2g}" for d in distances),
            "grow with the radius",
            grows,
        ),
    ]


@dataclass(frozen=True)
class Optima:
    """Curves between initialisations and optima of J runs that differ in their seed alone.

    own: from each run's initialisation to its optimum, (A, J). unrelated: from every other run's, (A, J (J - 1)).
    initialisations, optima: between every two of a kind, (A, J (J - 1) / 2).
    """

    alphas: Tensor
    own: Tensor
    unrelated: Tensor
    initialisations: Tensor
    optima: Tensor


def read_states(path: Path) -> list[dict[str, Tensor]]:
    """Snapshots of a stack on its way, first to last.

    Raises:
        ValueError: the file of the cell is missing or damaged.
    """
    kept = load_state(path, path.stem)
    if kept is None:
        raise ValueError(f"{path}: no snapshots; remove {path.with_suffix('.json')} to train that cell again")
    return kept["states"]


def optima_curves(stack: NetworkStack, states: Sequence[dict[str, Tensor]], data: Sequence) -> Optima:
    """Interpolate between the ends of a stack's runs; one stack of all pairs of a kind at a time."""
    first, last, size = states[0], states[-1], stack.size
    pairs = torch.combinations(torch.arange(size))

    def curves(start: dict[str, Tensor], end: dict[str, Tensor], i: Tensor, j: Tensor):
        ends = ({name: value[index] for name, value in state.items()} for state, index in ((start, i), (end, j)))
        return interpolate(*ends, model=stack.select(i.tolist()), data=data, metric=cross_entropy)

    runs = torch.arange(size)
    own = curves(first, last, runs, runs)
    others = torch.where(~torch.eye(size, dtype=torch.bool))
    return Optima(
        own.alphas,
        own.values,
        curves(first, last, *others).values,
        curves(first, first, *pairs.T).values,
        curves(last, last, *pairs.T).values,
    )


def optima_claims(found: Optima) -> list[Claim]:
    """Monotone from any initialisation, a barrier between optima."""
    claims = []
    for name, whose, curves in (
        ("own-init", "its own", found.own),
        ("unrelated-init", "an unrelated", found.unrelated),
    ):
        rises = min_delta(curves)
        small = int((rises <= 1e-3).sum())
        claims.append(
            Claim(
                name,
                f"From {whose} initialisation to an optimum the loss never rises by more than 1e-3 nats",
                "monotone",
                f"{share_words(small, len(rises))} (worst {float(rises.max()):.2g})",
                "all",
                small == len(rises),
            )
        )
    lowest = float(barrier(found.optima).min())
    statement = "Between two optima there is a barrier: the lowest over all pairs, nats"
    return [*claims, Claim("barrier", statement, "a barrier", lowest, "at least 0.2", lowest >= 0.2)]


@dataclass(frozen=True)
class Slice:
    """Losses (X, Y) on a plane through three networks, their coordinates (3, 2), and a path in it, (n, 2)."""

    x: Tensor
    y: Tensor
    losses: Tensor
    corners: Tensor
    trajectory: Tensor | None = None


def plane_slice(stack: NetworkStack, states: Sequence[dict[str, Tensor]], data: Sequence, points: int) -> Slice:
    """The slice that holds the first run's initialisation and optimum and the second's initialisation."""

    def member(state: dict[str, Tensor], index: int) -> dict[str, Tensor]:
        return {name.removeprefix("networks."): value[index] for name, value in state.items()}

    ends = [member(states[0], 0), member(states[0], 1), member(states[-1], 0)]
    around: Plane = plane(*ends)
    corners = around.project(ends)
    trajectory = around.project([member(state, 0) for state in states])
    x, y = grid_around(torch.cat([corners, trajectory]), points)
    losses = loss_plane(stack.network(0), around, x, y, data=data, metric=cross_entropy)
    return Slice(x, y, losses, corners, trajectory)


def theorem_claims(found: Theorem1, tolerance: float = 1e-9) -> list[Claim]:
    """No example that turns by less than a right angle rises; some that turn more do."""
    applies = found.applies
    worst = float(found.final_loss.max())
    rises = int((found.rise[applies] > tolerance).sum())
    above = int((found.rise[~applies] > 1e-6).sum())
    return [
        Claim("theorem-fit", "Tanh networks are fitted to zero loss, as the theorem asks: the worst example's", "0",
              worst, "below 1e-9", worst < 1e-9),
        Claim("theorem", "No example whose output path turns by less than π/2 rises", "none (Theorem 1)",
              share_words(rises, int(applies.sum())), "none", rises == 0 and bool(applies.any())),
        Claim("theorem-converse", "Some that turn more do", None, share_words(above, int((~applies).sum())),
              "at least one", above > 0),
    ]  # fmt: skip


def variant_claims(records: Sequence[RunRecord], settings: StudySettings) -> list[Claim]:
    """Residual networks: SGD against Adam, and without against with batch norm, over all variants that converge."""
    runs = converged(records, settings.converged)
    adam = {False: [r for r in runs if "_sgd_" in r.cell], True: [r for r in runs if "_adam_" in r.cell]}
    normed = {kind: [r for r in runs if r.cell.startswith(("bn_", "bn-i_")) == kind] for kind in (False, True)}

    def claim(identifier: str, statement: str, names: tuple[str, str], groups: dict[bool, list[RunRecord]]) -> Claim:
        up = {kind: len(rising(group, settings.delta)) for kind, group in groups.items()}
        words = [f"{name} {share_words(up[kind], len(groups[kind]))}" for kind, name in enumerate(names)]
        shares = [up[kind] / len(group) if group else math.nan for kind, group in groups.items()]
        return Claim(identifier, statement, "more often", ", ".join(words), "higher share", shares[1] > shares[0])

    return [
        claim("resnet-adam", "Residual networks rise more often under Adam than under SGD", ("SGD", "Adam"), adam),
        claim(
            "resnet-batchnorm",
            "Residual networks rise more often with batch norm than without",
            ("without", "with"),
            normed,
        ),
    ]


def grafting_claims(records: Sequence[RunRecord], settings: StudySettings) -> list[Claim]:
    """Whether the length of the steps or their direction breaks the property, at one learning rate."""
    counts = {}
    for cell in ("adam_direction_sgd_length", "sgd_direction_adam_length"):
        runs = converged(of_cells(records, cell), settings.converged)
        counts[cell] = len(rising(runs, settings.delta)), len(runs)
    (up_short, short), (up_long, long) = counts.values()
    return [
        Claim(
            "graft-short",
            "With Adam's direction but steps as short as SGD's the loss stays monotone",
            None,
            share_words(up_short, short),
            "at most 5 %",
            short > 0 and up_short <= 0.05 * short,
        ),
        Claim(
            "graft-long",
            "With SGD's direction but steps as long as Adam's it often does not",
            None,
            share_words(up_long, long),
            "at least 25 %",
            long > 0 and up_long >= 0.25 * long,
        ),
    ]
