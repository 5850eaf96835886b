"""The figures of the demo and of `reproduce`: scores and images to matplotlib figures; the caller saves them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.figure import Figure
from torch import Tensor

from .evidence import Run, over_seeds

WIDTH, DPI = 6.4, 150
LABELS = {
    "full": "full",
    "no_init": "no initialisation",
    "no_shape": "no shapes (alpha 0)",
    "no_prior": "no prior (alpha 1)",
    "stage0": "stage 0 alone",
}
COLOURS = {"full": "#D55E00", "no_init": "#0072B2", "no_shape": "#009E73", "no_prior": "#CC79A7", "stage0": "#999999"}
MARKERS = {"full": "o", "no_init": "s", "no_shape": "^", "no_prior": "D", "stage0": "v"}
SCORES = {"iou_text": "IoU, text alone", "iou_cloud": "IoU, own cloud", "color_text": "colour, text alone"}


def new_figure(height: float) -> Figure:
    """A figure of the house's width."""
    return Figure(figsize=(WIDTH, height), dpi=DPI, layout="constrained")


def arms_figure(runs: Sequence[Run]) -> Figure:
    """Scores on held-out shapes by what training lacked, mean and standard error over seeds, beside the baselines."""
    figure = new_figure(2.9)
    panels = figure.subplots(1, len(SCORES), sharey=True)
    arms = [cell for cell in LABELS if cell in runs[0].cells]
    for axes, (name, title) in zip(panels, SCORES.items(), strict=True):
        for place, cell in enumerate(arms):
            value, error = over_seeds(runs, cell, name)
            axes.bar(place, value, yerr=error, color=COLOURS[cell], capsize=2, width=0.7, label=LABELS[cell])
            axes.text(place, value + 0.02 + (error or 0), f"{value:.2f}", ha="center", fontsize=6)
        if name.startswith("iou"):
            for baseline, style in (("constant", "--"), ("nearest", ":")):
                label = "best constant shape" if baseline == "constant" else "nearest caption's shape"
                axes.axhline(over_seeds(runs, baseline, name)[0], ls=style, color="black", lw=1, label=label)
        else:
            axes.axhline(1 / 6, ls="-.", color="grey", lw=1, label="chance of six")
        axes.set_title(title, fontsize=9)
        axes.set_xticks([])
        axes.set_ylim(0, 1.08)
    panels[0].set_ylabel("mean over unseen shapes")
    handles = {}
    for axes in panels:
        handles |= {label: handle for handle, label in zip(*axes.get_legend_handles_labels(), strict=True)}
    figure.legend(handles.values(), handles.keys(), loc="outside lower center", ncols=4, fontsize=7)
    return figure


def curves_figure(runs: Sequence[Run]) -> Figure:
    """The same scores against processor seconds of training, those of stage 0 included."""
    figure = new_figure(2.9)
    panels = figure.subplots(1, len(SCORES))
    for axes, (name, title) in zip(panels, SCORES.items(), strict=True):
        for cell in (cell for cell in LABELS if cell != "stage0" and cell in runs[0].cells):
            start = [0.0 if cell == "no_init" else run.cells["stage0"].seconds for run in runs]
            count = min(len(run.cells[cell].curve) for run in runs)
            at = [[run.cells[cell].curve[i]["seconds"] + s for run, s in zip(runs, start, strict=True)]
                  for i in range(count)]  # fmt: skip
            values = np.array([[run.cells[cell].curve[i][name] for run in runs] for i in range(count)])
            error = values.std(1, ddof=1) / np.sqrt(len(runs)) if len(runs) > 1 else None
            look = {"color": COLOURS[cell], "marker": MARKERS[cell], "markersize": 3, "capsize": 2, "lw": 1}
            axes.errorbar(np.mean(at, 1), values.mean(1), error, label=LABELS[cell], **look)
        if name.startswith("iou"):
            axes.axhline(over_seeds(runs, "constant", name)[0], ls="--", color="black", lw=1, label="constant shape")
        axes.set_title(title, fontsize=9)
        axes.set_xlabel("processor seconds", fontsize=8)
        axes.tick_params(labelsize=7)
    figure.legend(*panels[0].get_legend_handles_labels(), loc="outside lower center", ncols=5, fontsize=7)
    return figure


def alpha_figure(runs: Sequence[Run], alphas: Sequence[float]) -> Figure:
    """One network told alpha, and networks trained with one each: fidelity to the shape against that to the text."""
    figure = new_figure(2.8)
    axes = figure.subplots()
    points = [[over_seeds(runs, "amortised", f"{name}@{alpha:g}") for alpha in alphas]
              for name in ("iou_cloud", "color_cloud")]  # fmt: skip
    x, y = ([value for value, _ in part] for part in points)
    xerr, yerr = ([error or 0 for _, error in part] for part in points)
    axes.errorbar(
        x, y, yerr, xerr, color="#E69F00", marker="o", markersize=4, capsize=2, label="one network, told alpha"
    )
    for cell, alpha in (("no_shape", 0), ("full", 0.5), ("no_prior", 1)):
        (u, du), (v, dv) = (over_seeds(runs, cell, name) for name in ("iou_cloud", "color_cloud"))
        label = f"trained with alpha {alpha:g}"
        axes.errorbar(
            u, v, dv, du, color=COLOURS[cell], marker=MARKERS[cell], markersize=5, capsize=2, label=label, ls=""
        )
    axes.set(xlabel="IoU with the given shape", ylabel="share of colours as told")
    figure.legend(loc="outside right center", fontsize=7)
    return figure


def gallery_figure(rows: Mapping[str, Sequence[Tensor]], titles: Sequence[str], height: float = 0.95) -> Figure:
    """Rows of pictures (H, W, 3), each with its prompt, under the columns' titles."""
    figure = new_figure(0.3 + height * len(rows))
    grid = figure.subplots(len(rows), len(titles), squeeze=False)
    for line, (prompt, pictures) in zip(grid, rows.items(), strict=True):
        for axes, picture in zip(line, pictures, strict=True):
            axes.imshow(picture.clamp(0, 1).numpy(), interpolation="nearest")
            axes.set(xticks=[], yticks=[])
            axes.spines[:].set_visible(False)
        line[0].set_ylabel(prompt.replace(" with ", "\nwith "), fontsize=6, rotation=0, ha="right", va="center")
    for axes, title in zip(grid[0], titles, strict=True):
        axes.set_title(title, fontsize=8)
    return figure


def latency_figure(seconds: Mapping[str, float], step: float, steps: int) -> Figure:
    """Parts of one pass, and beside it the optimisation of one prompt that it replaces."""
    figure = new_figure(1.9)
    parts, other = figure.subplots(1, 2, width_ratios=(3, 2))
    left = 0.0
    palette = ("#56B4E9", "#0072B2", "#009E73", "#E69F00", "#D55E00")
    for (name, value), color in zip(seconds.items(), palette, strict=False):
        parts.barh(0, 1000 * value, left=left, color=color, label=f"{name}, {1000 * value:.0f}", height=0.5)
        left += 1000 * value
    parts.set(yticks=[], xlabel="milliseconds from prompt to file", ylim=(-0.5, 1.4))
    parts.legend(fontsize=7, ncols=3, loc="upper center")
    total = sum(seconds.values())
    other.barh([1, 0], [total, step * steps], color=["#0072B2", "#999999"], height=0.5)
    other.set_yticks([1, 0], ["one pass", f"{steps} steps"], fontsize=8)
    other.set(xscale="log", xlabel="seconds for one prompt")
    return figure
