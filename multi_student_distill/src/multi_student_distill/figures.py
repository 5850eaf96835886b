"""The pictures of the demo and of `reproduce`: from records and samples to figures; the caller saves them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator
from torch import Tensor

from .claims import mean_and_error
from .evidence import values

WIDTH, DPI = 6.4, 150
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000", "#999999", "#F0E442")
MARKERS = "os^Dv<>P*"


def new_figure(height: float) -> Figure:
    """A figure of the house's width."""
    return Figure(figsize=(WIDTH, height), dpi=DPI, layout="constrained")


def densities_figure(panels: Mapping[str, Tensor], extent: float = 0.75, bins: int = 150) -> Figure:
    """Two-dimensional histograms of samples (N, 2), one panel each."""
    figure = new_figure(WIDTH / len(panels) + 0.45)
    for axes, (title, points) in zip(figure.subplots(1, len(panels), squeeze=False)[0], panels.items(), strict=True):
        counts, *_ = np.histogram2d(*points.numpy().T, bins=bins, range=[[-extent, extent]] * 2)
        axes.imshow(np.sqrt(counts.T), origin="lower", extent=[-extent, extent] * 2, cmap="magma")
        axes.set_title(title, fontsize=8)
        axes.set(xticks=[], yticks=[])
    return figure


def grid_figure(rows: Mapping[str, Tensor]) -> Figure:
    """Images (n, C, S, S) in [-1, 1], one row of n for each name."""
    shown = max(len(images) for images in rows.values())
    figure = new_figure(len(rows) * (WIDTH / shown + 0.2))
    panels = figure.subplots(len(rows), 1, squeeze=False)[:, 0]
    for axes, (name, images) in zip(panels, rows.items(), strict=True):
        strip = (images.clamp(-1, 1) / 2 + 0.5).permute(2, 0, 3, 1).flatten(1, 2).numpy()
        axes.imshow(strip if strip.shape[-1] == 3 else strip[..., 0], cmap="gray", vmin=0, vmax=1)
        axes.set(xticks=[], yticks=[])
        axes.set_title(name, fontsize=8, loc="left", pad=2)
    return figure


def compared_figure(records: Sequence[dict], names: Mapping[str, str], metric: str, label: str) -> Figure:
    """Bars of one metric by cell, with standard errors over seeds and the seeds themselves."""
    figure = new_figure(0.34 * len(names) + 0.9)
    axes = figure.subplots()
    for y, cell in enumerate(names):
        own = values(records, cell, metric)
        mean, error = mean_and_error(own)
        colour = COLOURS[1] if records_of(records, cell)[0]["students"] > 1 else COLOURS[0]
        axes.barh(y, mean, xerr=error, color=colour, height=0.65, capsize=2)
        axes.plot(own, np.full(len(own), y), "k.", markersize=3)
        axes.annotate(
            f"{mean:.3g}", (mean + (error or 0), y), (5, 0), textcoords="offset points", fontsize=7, va="center"
        )
    axes.set(yticks=range(len(names)), xlabel=label)
    axes.set_yticklabels(names.values(), fontsize=8)
    axes.invert_yaxis()
    axes.margins(x=0.12)
    return figure


def records_of(records: Sequence[dict], cell: str) -> list[dict]:
    """The records of one cell."""
    return [r for r in records if r["cell"] == cell]


def students_figure(records: Sequence[dict], lines: Mapping[str, Mapping[int, str]], metric: str, label: str) -> Figure:
    """A metric against K and against compute, one line for each name of cells by K."""
    figure = new_figure(2.8)
    left, right = figure.subplots(1, 2, sharey=True)
    for (name, cells), colour, marker in zip(lines.items(), COLOURS, MARKERS, strict=False):
        found = {k: values(records, cell, metric) for k, cell in cells.items()}
        means = [mean_and_error(v) for v in found.values()]
        y, error = [m for m, _ in means], [e or 0 for _, e in means]
        cost = [records_of(records, cell)[0]["cost"]["teraflops"] for cell in cells.values()]
        style = {"color": colour, "marker": marker, "markersize": 5, "capsize": 2, "label": name}
        left.errorbar(list(cells), y, error, **style)
        right.errorbar(cost, y, error, **style)
    ks = sorted({k for cells in lines.values() for k in cells})
    left.set(xlabel="students K", ylabel=label, xscale="log")
    left.set_xticks(ks, [str(k) for k in ks])
    left.minorticks_off()
    right.set(xlabel="training, teraflops", xscale="log")
    right.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    right.xaxis.set_major_formatter(FuncFormatter(lambda x, _: f"{x:g}"))
    right.minorticks_off()
    if len(lines) > 1:
        figure.legend(*left.get_legend_handles_labels(), loc="outside lower center", ncols=3, fontsize=8)
    return figure


def per_student_figure(records: Sequence[dict], cells: Mapping[str, str]) -> Figure:
    """Each student's distance to its own part, mean over seeds, and the pooled distance, which is no mean of them."""
    figure = new_figure(2.6)
    panels = figure.subplots(1, len(cells), sharey=True, squeeze=False)[0]
    for axes, (cell, name) in zip(panels, cells.items(), strict=True):
        own = records_of(records, cell)
        each = np.mean([r["fd_of_student"] for r in own], axis=0)
        axes.bar(range(len(each)), each, color=COLOURS[1])
        pooled = float(np.mean([r["fd"] for r in own]))
        axes.axhline(pooled, color="k", linestyle="--", linewidth=1, label=f"pooled {pooled:.3g}")
        axes.set(title=name, xlabel="student", xticks=range(len(each)))
        axes.title.set_fontsize(8)
        axes.legend(fontsize=7, loc="upper right")
    panels[0].set_ylabel("FD to its own part")
    return figure


def curves_figure(records: Sequence[dict], cells: Mapping[str, str], stage: str, term: str, label: str) -> Figure:
    """A term of a stage's loss against steps, of the first seed of each cell."""
    figure = new_figure(2.7)
    axes = figure.subplots()
    for (cell, name), colour, marker in zip(cells.items(), COLOURS, MARKERS, strict=False):
        curve = records_of(records, cell)[0]["curves"][stage][term]
        axes.plot(*np.array(curve).T, color=colour, marker=marker, markersize=3, markevery=4, label=name)
    axes.set(xlabel="step", ylabel=label, yscale="log")
    axes.legend(fontsize=8)
    return figure


def quality_latency_figure(points: Sequence[tuple[str, float, float]], label: str) -> Figure:
    """Distance against milliseconds for a batch: (name, ms, distance)."""
    figure = new_figure(2.8)
    axes = figure.subplots()
    for (name, ms, distance), colour, marker in zip(points, COLOURS, MARKERS, strict=False):
        axes.plot(ms, distance, marker, color=colour, markersize=7, label=name)
    axes.set(xlabel="milliseconds for a batch of 64, routed", ylabel=label, xscale="log", yscale="log")
    figure.legend(*axes.get_legend_handles_labels(), loc="outside right center", fontsize=7)
    return figure


def sweep_figure(records: Sequence[dict], lines: Mapping[str, Mapping[int, str]], label: str) -> Figure:
    """FD against the number of pairs, one line for each λ and kind of pairs."""
    figure = new_figure(2.9)
    axes = figure.subplots()
    for (name, cells), colour, marker in zip(lines.items(), COLOURS, MARKERS, strict=False):
        y = [float(values(records, cell, "fd").mean()) for cell in cells.values()]
        axes.plot(list(cells), y, color=colour, marker=marker, markersize=5, label=name)
    ticks = list(next(iter(lines.values())))
    axes.set(xlabel="pairs in all", ylabel=label, xscale="log", yscale="log")
    axes.set_xticks(ticks, [str(t) for t in ticks])
    axes.minorticks_off()
    figure.legend(*axes.get_legend_handles_labels(), loc="outside right center", fontsize=8)
    return figure
