"""The pictures of the demo and of `reproduce`: from measurements to matplotlib figures; the caller saves them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import torch
from matplotlib.figure import Figure
from torch import Tensor

from .data import AttributeDataset
from .episodes import Episodes
from .evidence import accuracies, difference
from .intervals import Interval, over_episodes, pooled
from .study import Record, select
from .toy import ATTRIBUTES, TRAIN, ToyResult

WIDTH, DPI = 6.4, 150
ORDER = ("RND", "ID", "MatchingNet", "ANIL", "TAFENet", "ProtoNet", "TADAM", "SA", "U", "UFTE", "UFTA", "SA*", "GT")
NAMES = {"UFTE": "U-FT-E", "UFTA": "U-FT-A"}
COLOURS = {"SA": "#D55E00", "U": "#0072B2", "UFTA": "#009E73", "UFTE": "#56B4E9", "SA*": "#CC79A7", "GT": "#000000",
           "RND": "#999999", "ProtoNet": "#E69F00", "ID": "#882255", "MatchingNet": "#F0E442", "ANIL": "#661100",
           "TAFENet": "#AA4499", "TADAM": "#44AA99"}  # fmt: skip
GROUPS = {"train": ("train attributes", "#56B4E9"), "test": ("test attributes", "#D55E00")}


def new_figure(height: float) -> Figure:
    """A figure of the house's width."""
    return Figure(figsize=(WIDTH, height), dpi=DPI, layout="constrained")


def in_order(methods: Sequence[str]) -> list[str]:
    """Methods as the paper's table has them; unknown ones at the end."""
    return sorted(methods, key=lambda m: (ORDER.index(m) if m in ORDER else len(ORDER), m))


def episodes_figure(data: AttributeDataset, episodes: Episodes, which: Sequence[int], shown: int = 5) -> Figure:
    """The first support images of some episodes: the same picture may be positive in one and negative in another."""
    figure = new_figure(0.82 * len(which) + 0.2)
    for axes, i in zip(np.atleast_1d(figure.subplots(len(which), 1)), which, strict=True):
        episode, shots = episodes[i], episodes.shots
        rows = torch.cat([episode.support[:shown], episode.support[shots : shots + shown]])
        images = data.images[rows]  # (2 shown, 3, H, W)
        size = images.shape[-1]
        strip = np.full((size, (2 * shown + 1) * size, 3), 255, np.uint8)
        for k, image in enumerate(images):
            left = (k + (k >= shown)) * size
            strip[:, left : left + size] = image.permute(1, 2, 0).numpy()
        axes.imshow(strip, interpolation="nearest")
        axes.set_axis_off()
        context = " and ".join(name.replace("_", " ") for name in episode.context)
        axes.set_title(f"{context}: positives left, negatives right", fontsize=9)
    return figure


def bars_figure(records: Sequence[Record], condition: str) -> Figure:
    """Accuracy on train and on test attributes, with 95 % intervals over episodes."""
    methods = in_order(list(dict.fromkeys(r.method for r in select(records, condition=condition))))
    figure = new_figure(3.4)
    axes = figure.subplots()
    x = np.arange(len(methods))
    digits = ".1f" if len(methods) < 10 else ".0f"  # there is no room for more
    for k, (group, (label, colour)) in enumerate(GROUPS.items()):
        found = [pooled(accuracies(records, condition, method, group)) for method in methods]
        axes.bar(x + 0.4 * (k - 0.5), [f.mean for f in found], 0.38, yerr=[f.half_width for f in found], label=label,
                 color=colour, error_kw={"elinewidth": 1})  # fmt: skip
        for at, f in zip(x, found, strict=True):
            axes.text(at + 0.4 * (k - 0.5), f.mean + f.half_width + 0.4, f"{f.mean:{digits}}", ha="center", fontsize=6)
    axes.set_xticks(x, [NAMES.get(m, m) for m in methods], fontsize=8, rotation=30 if len(methods) > 9 else 0)
    axes.set(ylim=(48, 104), ylabel="accuracy on episodes, %")
    axes.axhline(50, color="0.5", linestyle="--", linewidth=0.8)
    figure.legend(loc="outside lower center", ncols=2, fontsize=8, frameon=False)
    return figure


def shots_figure(records: Sequence[Record], condition: str) -> Figure:
    """Accuracy on test attributes against the number of support images of each class."""
    found = select(records, condition=condition, group="test")
    methods = in_order(list(dict.fromkeys(r.method for r in found)))
    figure = new_figure(3.6)
    axes = figure.subplots()
    for k, method in enumerate(methods):
        own = [r for r in found if r.method == method and r.readout in ("lr", "own")]
        readout = "own" if any(r.readout == "own" for r in own) else "lr"
        shots = sorted({r.shots for r in own if r.readout == readout})
        values = [pooled(accuracies(records, condition, method, "test", n, readout)) for n in shots]
        x = np.array(shots) * (1 + 0.012 * (k - len(methods) / 2))  # so that intervals do not hide one another
        axes.errorbar(x, [v.mean for v in values], [v.half_width for v in values], marker="o", markersize=3,
                      linewidth=1.2, label=NAMES.get(method, method), color=COLOURS.get(method),
                      linestyle="--" if method == "GT" else "-")  # fmt: skip
    axes.set_xscale("log")
    axes.set_xticks(shots, [str(n) for n in shots])
    axes.minorticks_off()
    axes.set(xlabel="shots: support images of each class", ylabel="accuracy on test attributes, %")
    figure.legend(loc="outside lower center", ncols=min(len(methods), 7), fontsize=8, frameon=False)
    return figure


def bins_figure(bins: Mapping[str, list[Interval]], edges: np.ndarray, counts: Sequence[int]) -> Figure:
    """Differences to U in bins of the episodes' T-score."""
    figure = new_figure(3.2)
    axes = figure.subplots()
    x = np.arange(len(edges) - 1)
    for k, (method, values) in enumerate(bins.items()):
        axes.bar(x + 0.4 * (k - 0.5), [v.mean for v in values], 0.36, yerr=[v.half_width for v in values],
                 label=f"{NAMES.get(method, method)} - U", color=COLOURS[method],
                 error_kw={"elinewidth": 1})  # fmt: skip
    axes.axhline(0, color="0.3", linewidth=0.8)
    labels = [f"{a:.2f} to {b:.2f}\n{n} episodes" for a, b, n in zip(edges, edges[1:], counts, strict=False)]
    axes.set_xticks(x, labels, fontsize=8)
    axes.set(xlabel="T-score of the episode", ylabel="difference to U, points")
    figure.legend(loc="outside lower center", ncols=len(bins), fontsize=8, frameon=False)
    return figure


def sweep_figure(records: Sequence[Record], rhos: Sequence[tuple[str, float]], scores: Sequence[float]) -> Figure:
    """Accuracy on test attributes, and the gains over U, against ρ; scores: mean T-score at each."""
    figure = new_figure(3.4)
    left, right = figure.subplots(1, 2)
    x = [rho for _, rho in rhos]
    swept = {condition for condition, _ in rhos}
    where = {m: {r.condition for r in records if r.method == m} & swept for m in COLOURS}
    for method in in_order([m for m, conditions in where.items() if len(conditions) > 2]):
        at = [(condition, rho) for condition, rho in rhos if condition in where[method]]
        style = {"marker": "o", "markersize": 3, "color": COLOURS[method]}
        values = [pooled(accuracies(records, condition, method)) for condition, _ in at]
        own = [rho for _, rho in at]
        left.errorbar(
            own, [v.mean for v in values], [v.half_width for v in values], label=NAMES.get(method, method), **style
        )
        if method != "U":
            gains = [difference(records, condition, method, "U") for condition, _ in at]
            right.errorbar(own, [g.mean for g in gains], [g.half_width for g in gains], **style)
    right.axhline(0, color="0.3", linewidth=0.8)
    left.set(ylabel="accuracy on test attributes, %")
    right.set(ylabel="paired difference to U, points")
    labels = [f"{rho:g}\n(T {score:.2f})" for rho, score in zip(x, scores, strict=True)]
    for axes in (left, right):
        axes.set_xticks(x, labels, fontsize=7)
        axes.set_xlabel("correlation ρ (mean T-score)")
    figure.legend(loc="outside lower center", ncols=6, fontsize=8, frameon=False)
    return figure


def readouts_figure(records: Sequence[Record], condition: str) -> Figure:
    """Nearest neighbour, nearest centroid and logistic regression on test attributes."""
    kinds = {"nn": "nearest neighbour", "nc": "nearest centroid", "lr": "sparse logistic regression"}
    methods = in_order(list({r.method for r in select(records, condition=condition, readout="nn")}))
    figure = new_figure(3.2)
    axes = figure.subplots()
    x = np.arange(len(methods))
    for k, (kind, label) in enumerate(kinds.items()):
        values = [pooled(accuracies(records, condition, method, "test", 0, kind)) for method in methods]
        axes.bar(x + 0.27 * (k - 1), [v.mean for v in values], 0.25, yerr=[v.half_width for v in values], label=label,
                 color=("#999999", "#56B4E9", "#0072B2")[k], error_kw={"elinewidth": 1})  # fmt: skip
    axes.set_xticks(x, [NAMES.get(m, m) for m in methods], fontsize=8, rotation=30 if len(methods) > 9 else 0)
    lowest = min(over_episodes(r.accuracies).mean for r in select(records, condition=condition, readout="nn"))
    axes.set(ylim=(min(50, lowest - 3), None), ylabel="accuracy on test attributes, %")
    figure.legend(loc="outside lower center", ncols=3, fontsize=8, frameon=False)
    return figure


def toy_figure(found: ToyResult, references: Mapping[str, ToyResult]) -> Figure:
    """W A of the trained projection, the norms of its columns, and accuracies beside closed forms."""
    figure = new_figure(3.0)
    left, middle, right = figure.subplots(1, 3, width_ratios=(1.1, 1, 1.2))
    largest = float(found.WA.abs().max())
    image = left.imshow(found.WA, cmap="RdBu_r", vmin=-largest, vmax=largest)
    left.axvline(TRAIN - 0.5, color="0.2", linewidth=0.8)
    left.set(xlabel="attribute", ylabel="output", title="W A", xticks=range(ATTRIBUTES))
    left.tick_params(labelsize=7)
    figure.colorbar(image, ax=left, fraction=0.046)
    colours = [GROUPS["train"][1]] * TRAIN + [GROUPS["test"][1]] * (ATTRIBUTES - TRAIN)
    middle.bar(range(ATTRIBUTES), found.norms, color=colours)
    middle.set(xlabel="attribute (5 train, 5 test)", title="|WA| by column", xticks=range(ATTRIBUTES))
    middle.tick_params(labelsize=7)
    rows = {"trained W": found, **references}
    y = np.arange(len(rows))
    for k, (group, (label, colour)) in enumerate(GROUPS.items()):
        values = [getattr(r, group) for r in rows.values()]
        right.barh(y + 0.4 * (k - 0.5), values, 0.38, color=colour, label=label)
    right.set_yticks(y, [name.replace(" ", "\n", 1) for name in rows], fontsize=7)
    right.invert_yaxis()
    right.set(xlim=(45, 100), xlabel="accuracy, %")
    figure.legend(loc="outside lower center", ncols=2, fontsize=8, frameon=False)
    return figure


def cam_figure(images: Tensor, maps: Mapping[str, Tensor], logits: Mapping[str, Tensor], title: str) -> Figure:
    """Pictures (n, 3, H, W), uint8, and where each method's linear rule sees evidence for (red) or against."""
    n = len(images)
    figure = new_figure(0.95 * (1 + len(maps)) + 0.5)
    rows = figure.subplots(1 + len(maps), n, squeeze=False)
    for axes, image in zip(rows[0], images, strict=True):
        axes.imshow(image.permute(1, 2, 0))
    for line, (method, activation) in zip(rows[1:], maps.items(), strict=True):
        largest = float(activation.abs().max())
        for axes, image, map_, logit in zip(line, images, activation, logits[method], strict=True):
            extent = (-0.5, image.shape[-1] - 0.5, image.shape[-2] - 0.5, -0.5)
            axes.imshow(image.float().mean(0), cmap="gray")
            axes.imshow(map_, cmap="RdBu_r", vmin=-largest, vmax=largest, alpha=0.6, extent=extent,
                        interpolation="bilinear")  # fmt: skip
            axes.set_xlabel(f"{float(logit):+.1f}", fontsize=7, labelpad=1)
    for axes in rows.flat:
        axes.set(xticks=[], yticks=[])
    for line, name in zip(rows, ["image", *maps], strict=True):
        line[0].set_ylabel(NAMES.get(name, name), fontsize=8)
    figure.suptitle(title, fontsize=10)
    return figure
