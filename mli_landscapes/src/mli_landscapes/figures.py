"""The pictures of the demo and of `reproduce`: from measurements to matplotlib figures; the caller saves them."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib import colormaps
from matplotlib.cm import ScalarMappable
from matplotlib.colors import LogNorm
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from .evidence import Optima, Slice
from .monotonicity import barrier, min_delta
from .study import RunRecord
from .tables import LogisticFit, Row, converged
from .theorem1 import Theorem1

WIDTH, DPI = 6.4, 150
NOTE = {"fontsize": 7, "color": "0.4"}
NAMES = {"sgd": "SGD", "sgd_bn": "SGD, batch norm", "adam": "Adam", "adam_bn": "Adam, batch norm"}
COLOURS = {"sgd": "#0072B2", "sgd_bn": "#56B4E9", "adam": "#D55E00", "adam_bn": "#E69F00"}  # Okabe and Ito's palette
MARKERS = {"sgd": "o", "sgd_bn": "s", "adam": "^", "adam_bn": "D"}
OPTIMA = {
    "own": ("own initialisation to optimum", "#0072B2"),
    "unrelated": ("unrelated initialisation to optimum", "#56B4E9"),
    "initialisations": ("initialisation to initialisation", "#999999"),
    "optima": ("optimum to optimum", "#D55E00"),
}


def new_figure(height: float) -> Figure:
    """A figure of the house's width."""
    return Figure(figsize=(WIDTH, height), dpi=DPI, layout="constrained")


def curves_figure(records: Sequence[RunRecord], cells: Sequence[str], below: float, delta: float) -> Figure:
    """Training loss on the line, every converged run, by learning rate; logarithmic, or small rises would not show."""
    figure = new_figure(5.0)
    panels = figure.subplots(2, 2, sharex=True, sharey=True)
    rates = [r.rate for r in records if r.cell in cells]
    norm = LogNorm(min(rates), max(rates))
    for axes, cell in zip(panels.flat, cells, strict=True):
        runs = sorted(converged([r for r in records if r.cell == cell], below), key=lambda r: r.rate)
        for run in runs:
            rises = run.min_delta > delta
            axes.plot(
                run.alphas,
                run.losses,
                color=colormaps["viridis"](norm(run.rate)),
                linewidth=1.2 if rises else 0.7,
                alpha=1.0 if rises else 0.5,
                linestyle="-" if rises else (0, (4, 2)),
            )
        up = sum(r.min_delta > delta for r in runs)
        axes.set_title(f"{NAMES.get(cell, cell)}: {up} of {len(runs)} rise", fontsize=10)
    panels[0, 0].set_yscale("log")
    for axes in panels[-1]:
        axes.set_xlabel("α (0: initialisation, 1: trained)")
    for axes in panels[:, 0]:
        axes.set_ylabel("training loss, nats")
    bar = figure.colorbar(ScalarMappable(norm, "viridis"), ax=panels, shrink=0.85)
    bar.set_label("learning rate")
    kinds = [
        Line2D([], [], color="0.2", linewidth=1.2),
        Line2D([], [], color="0.2", linewidth=0.8, linestyle=(0, (4, 2))),
    ]
    labels = [f"rises by more than {delta:g} nats", "monotone"]
    figure.legend(kinds, labels, loc="outside lower center", ncols=2, fontsize=8, frameon=False)
    return figure


def heatmap_figure(rows: Sequence[Row], families: Mapping[str, Sequence[str]]) -> Figure:
    """Share of non-monotone runs by learning rate; one panel a family of cells. Grey: no run converged."""
    figure = new_figure(2.0 + 0.32 * max(len(cells) for cells in families.values()))
    panels = figure.subplots(1, len(families), squeeze=False)[0]
    colours = colormaps["OrRd"].with_extremes(bad="0.85")
    for axes, (title, cells) in zip(panels, families.items(), strict=True):
        found = {(r.group, r.rate): r for r in rows if r.group in cells and r.rate is not None}
        rates = sorted({rate for _, rate in found})
        shares = np.array([[found[c, r].share.value if (c, r) in found else math.nan for r in rates] for c in cells])
        image = axes.imshow(np.ma.masked_invalid(shares), cmap=colours, vmin=0, vmax=1, aspect="auto")
        for i, cell in enumerate(cells):
            for j, rate in enumerate(rates):
                if (cell, rate) in found:
                    r = found[cell, rate]
                    dark = r.converged and r.share.value > 0.6
                    words = f"{r.nonmonotone}\nof {r.converged}" if r.converged else "–"
                    axes.text(
                        j,
                        i,
                        words,
                        ha="center",
                        va="center",
                        fontsize=6.5,
                        linespacing=0.95,
                        color="white" if dark else "0.15",
                    )
        axes.set_xticks(range(len(rates)), [f"{rate:g}" for rate in rates], fontsize=7, rotation=45)
        axes.set_yticks(range(len(cells)), [short(cell) for cell in cells], fontsize=8)
        axes.set_xlabel("learning rate")
        axes.set_title(title, fontsize=10)
    figure.colorbar(image, ax=panels, label="non-monotone share", fraction=0.05)
    return figure


def short(cell: str) -> str:
    """A cell's name beside a heat map."""
    return {"sgd": "no BN", "adam": "no BN", "sgd_bn": "BN", "adam_bn": "BN"}.get(cell, cell)


def distance_figure(
    records: Sequence[RunRecord], cells: Sequence[str], delta: float, fit: LogisticFit | None = None
) -> Figure:
    """Gauss length against weight distance, and the largest rise against it; filled: non-monotone."""
    figure = new_figure(3.5)
    left, right = figure.subplots(1, 2)
    floor = 1e-6
    for cell in cells:
        runs = [r for r in records if r.cell == cell]
        for rises in (False, True):
            mine = [r for r in runs if (r.min_delta > delta) == rises]
            style = {
                "s": 18,
                "marker": MARKERS[cell],
                "facecolors": COLOURS[cell] if rises else "none",
                "edgecolors": COLOURS[cell],
                "linewidths": 0.8,
            }
            distances = [r.distance for r in mine]
            left.scatter(distances, [r.gauss_length for r in mine], **style)
            right.scatter(distances, [max(r.min_delta, floor) for r in mine], **style)
    plain = [r for r in records if r.cell in ("sgd", "adam")]
    if len(plain) > 2:
        x, y = np.log([r.distance for r in plain]), np.log([r.gauss_length for r in plain])
        slope, offset = np.polyfit(x, y, 1)
        ends = np.array([x.min(), x.max()])
        left.plot(np.exp(ends), np.exp(slope * ends + offset), color="0.4", linewidth=1)
        left.text(0.04, 0.96, f"line: no batch norm, slope {slope:.2f}", transform=left.transAxes, va="top", **NOTE)
    left.axhline(math.pi / 2, color="0.5", linestyle="--", linewidth=0.8)
    left.text(0.98, math.pi / 2, "π/2 ", transform=left.get_yaxis_transform(), ha="right", va="bottom", **NOTE)
    left.set(xscale="log", yscale="log", xlabel="relative weight distance", ylabel="Gauss length, radians")
    lengths = [r.gauss_length for r in records]
    ticks = [t for t in (0.2, 0.3, 0.5, 0.7, 1, 1.5, 2, 3, 5, 10, 20, 50) if min(lengths) <= t <= max(lengths)]
    left.minorticks_off()
    left.set_yticks(ticks, [f"{t:g}" for t in ticks])
    right.axhline(delta, color="0.5", linestyle="--", linewidth=0.8)
    right.text(0.02, delta, " threshold", transform=right.get_yaxis_transform(), va="bottom", **NOTE)
    right.text(0.98, 1.5 * floor, "monotone ", transform=right.get_yaxis_transform(), ha="right", **NOTE)
    right.set(xscale="log", yscale="log", xlabel="relative weight distance", ylabel="largest rise min Δ, nats")
    if fit is not None:
        right.axvline(fit.even_odds.value, color="0.4", linewidth=1)
        right.text(fit.even_odds.value, 0.98, " even odds", transform=right.get_xaxis_transform(), va="top", **NOTE)
    handles = [Line2D([], [], linestyle="", marker=MARKERS[c], color=COLOURS[c], markersize=5) for c in cells]
    handles.append(Line2D([], [], linestyle="", marker="o", markerfacecolor="none", color="0.3", markersize=5))
    labels = [NAMES[c] for c in cells] + ["open: monotone"]
    figure.legend(handles, labels, loc="outside lower center", ncols=5, fontsize=7.5, frameon=False, columnspacing=1)
    return figure


def outward_figure(records: Sequence[RunRecord]) -> Figure:
    """Training loss on the line under an outward pull, a panel for each radius."""
    cells = sorted({r.cell for r in records if r.cell.startswith("outward_")}, key=lambda c: int(c.split("_")[1]))
    figure = new_figure(2.6)
    for axes, cell in zip(figure.subplots(1, len(cells), squeeze=False)[0], cells, strict=True):
        runs = [r for r in records if r.cell == cell and not r.diverged]
        for run in runs:
            axes.plot(run.alphas, run.losses, color="#0072B2", linewidth=1)
            axes.plot(run.alphas, run.held_out, color="#D55E00", linewidth=0.8, linestyle="--")
        distance = np.median([r.distance for r in runs]) if runs else math.nan
        axes.set_title(f"R = {cell.split('_')[1]}\ndistance {distance:.2g}", fontsize=9)
        axes.set_xlabel("α")
    figure.axes[0].set_ylabel("loss, nats")
    handles = [Line2D([], [], color="#0072B2"), Line2D([], [], color="#D55E00", linestyle="--")]
    figure.legend(handles, ["training", "held-out"], loc="outside lower center", ncols=2, fontsize=8, frameon=False)
    return figure


def optima_figure(found: Optima) -> Figure:
    """Losses between initialisations and optima, every pair."""
    figure = new_figure(3.4)
    axes = figure.subplots()
    for name, (label, colour) in OPTIMA.items():
        lines = axes.plot(found.alphas, getattr(found, name), color=colour, linewidth=0.9, alpha=0.8)
        lines[0].set_label(label)
    worst = max(float(min_delta(found.own).max()), float(min_delta(found.unrelated).max()))
    height = float(barrier(found.optima).min())
    words = f"worst rise from an initialisation: {worst:.1g} nats\nlowest barrier between optima: {height:.2g} nats"
    axes.text(0.98, 0.6, words, transform=axes.transAxes, ha="right", **NOTE)
    axes.set(xlabel="α", ylabel="training loss, nats")
    figure.legend(loc="outside lower center", ncols=2, fontsize=8, frameon=False)
    return figure


def plane_figure(found: Slice, names: Sequence[str] = ("initialisation", "another one", "optimum")) -> Figure:
    """Loss on the plane of three named networks, the lines to the last and, where there is one, the training path."""
    figure = new_figure(4.2)
    axes = figure.subplots()
    losses = found.losses.numpy().T
    finite = losses[np.isfinite(losses)]
    low, high = max(float(finite.min()), 1e-3), float(np.quantile(finite, 0.98))
    levels = np.geomspace(low, max(high, 2 * low), 24)
    filled = axes.contourf(
        found.x, found.y, np.clip(losses, low, high), levels, norm=LogNorm(), cmap="viridis_r", extend="both"
    )
    axes.contour(found.x, found.y, np.clip(losses, low, high), levels[::3], colors="white", linewidths=0.4)
    bar = figure.colorbar(filled, ax=axes, label="training loss, nats")
    ticks = [t for t in (0.001, 0.003, 0.01, 0.03, 0.1, 0.3, 1, 3, 10, 30) if low <= t <= high]
    bar.set_ticks(ticks, labels=[f"{t:g}" for t in ticks])
    corners = found.corners.numpy()
    if found.trajectory is not None:
        axes.plot(*found.trajectory.numpy().T, "-", color="black", linewidth=1.2, label="training path, projected")
    axes.plot(*corners[[0, 2]].T, "--", color="#D55E00", linewidth=1.2, label=f"{names[0]} to {names[2]}")
    axes.plot(*corners[[1, 2]].T, "--", color="#E69F00", linewidth=1.2, label=f"{names[1]} to {names[2]}")
    for point, label in zip(corners, names, strict=True):
        axes.plot(*point, "o", color="black", markersize=4)
        box = {"boxstyle": "round,pad=0.15", "facecolor": "white", "alpha": 0.75, "linewidth": 0}
        axes.annotate(label, point, xytext=(6, 7), textcoords="offset points", fontsize=8, bbox=box)
    axes.set(xlabel="weight distance along the first line", ylabel="weight distance across it")
    axes.set_aspect("equal")
    figure.legend(loc="outside lower center", ncols=3, fontsize=7.5, frameon=False)
    return figure


def theorem_figure(found: Theorem1, tolerance: float = 1e-9) -> Figure:
    """How much each example's loss rises, against how much its output path turns."""
    figure = new_figure(3.2)
    axes = figure.subplots()
    turning, rise = found.turning.numpy(), np.maximum(found.rise.numpy(), tolerance)
    up = found.rise.numpy() > tolerance
    axes.scatter(turning[~up], rise[~up], s=16, facecolors="none", edgecolors="#0072B2", label="monotone")
    axes.scatter(turning[up], rise[up], s=16, color="#D55E00", label="rises")
    axes.axvspan(0, math.pi / 2, color="#0072B2", alpha=0.08)
    axes.axvline(math.pi / 2, color="0.5", linestyle="--", linewidth=0.8)
    axes.text(0.02, 0.95, "below π/2:\nno rise (Theorem 1)", transform=axes.transAxes, va="top", **NOTE)
    axes.set(yscale="log", xlabel="total turning of an example's outputs, radians", ylabel="largest rise of its loss")
    axes.set_xlim(left=0)
    figure.legend(loc="outside lower center", ncols=2, fontsize=8, frameon=False)
    return figure


def variants_figure(records: Sequence[RunRecord], below: float, delta: float) -> Figure:
    """Training loss on the line of residual networks, a panel for each variant and optimizer."""
    variants = [v for v in ("bn", "bn-i", "nbn-i", "fixup") if any(r.cell.startswith(f"{v}_") for r in records)]
    names = {"bn": "BN", "bn-i": "BN-I", "nbn-i": "NBN-I", "fixup": "Fixup"}
    figure = new_figure(3.8)
    panels = figure.subplots(2, len(variants), sharex=True, sharey=True, squeeze=False)
    for line, (optimizer, label) in enumerate((("sgd", "SGD"), ("adam", "Adam"))):
        for column, variant in enumerate(variants):
            axes = panels[line, column]
            runs = [r for r in records if r.cell.startswith(f"{variant}_{optimizer}_") and not r.diverged]
            rates = sorted({r.rate for r in runs})
            for run in runs:
                colour = colormaps["viridis"](0.85 * rates.index(run.rate) / max(1, len(rates) - 1))
                counts = run.final_loss < below
                style = "-" if counts else ":"
                mark = " *" if counts and run.min_delta > delta else ""
                axes.plot(run.alphas, run.losses, style, color=colour, linewidth=1.1, label=f"{run.rate:g}{mark}")
            axes.set_yscale("log")
            if runs:
                axes.legend(fontsize=6, frameon=False, title="rate", title_fontsize=6, loc="lower left")
            if line == 0:
                axes.set_title(names[variant], fontsize=10)
            else:
                axes.set_xlabel("α")
        panels[line, 0].set_ylabel(f"{label}: loss, nats")
    words = f"* rises; dotted: final loss not below {below:g}, not counted"
    figure.supxlabel(words, **NOTE)
    return figure


def mechanisms_figure(rows: Sequence[Row], records: Sequence[RunRecord]) -> Figure:
    """Share of non-monotone runs with its interval, and the median distance, for each change of one setting."""
    whole = [r for r in rows if r.rate is None or sum(o.group == r.group for o in rows) == 1]
    figure = new_figure(0.9 + 0.24 * len(whole))
    left, right = figure.subplots(1, 2, sharey=True)
    places = np.arange(len(whole))[::-1]
    for place, r in zip(places, whole, strict=True):
        if r.converged:
            spread = [[r.share.value - r.share.low], [r.share.high - r.share.value]]
            left.errorbar(
                r.share.value, place, xerr=np.maximum(spread, 0), fmt="o", color="#0072B2", capsize=2, markersize=4
            )
            left.text(
                1.03, place, f"{r.nonmonotone}/{r.converged}", va="center", transform=left.get_yaxis_transform(), **NOTE
            )
        distances = [m.distance for m in records if m.cell == r.group and m.distance is not None]
        right.plot(distances, [place] * len(distances), "|", color="#D55E00", markersize=7, alpha=0.6)
    left.set_yticks(places, [r.group.replace("_", " ") for r in whole], fontsize=8)
    left.set(xlabel="non-monotone share of converged runs", xlim=(-0.03, 1.03))
    right.set(xscale="log", xlabel="relative weight distance")
    return figure


def line_figure(alphas, losses, held_out, title: str) -> Figure:
    """One curve, with the held-out one beside it."""
    figure = new_figure(3.2)
    axes = figure.subplots()
    axes.plot(alphas, losses, color="#0072B2", marker=".", markersize=3, linewidth=1.2, label="training")
    if held_out is not None:
        axes.plot(alphas, held_out, color="#D55E00", linestyle="--", linewidth=1.2, label="held-out")
    axes.set(xlabel="α", ylabel="loss")
    axes.set_title(title, fontsize=10)
    figure.legend(loc="outside lower center", ncols=2, fontsize=8, frameon=False)
    return figure
