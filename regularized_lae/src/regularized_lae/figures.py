"""The pictures of the demo and of `reproduce`: from records to matplotlib figures; the caller saves them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from torch import Tensor

from .hessian import conditions, shrinking_spectrum
from .metrics import haar_alignment, unit_columns
from .recorder import Record
from .sweep import Best, best_rate

WIDTH, DPI = 6.4, 150
NOTE = {"fontsize": 7, "color": "0.4"}
NAMES = {
    "uniform": "uniform L2",
    "nonuniform": "non-uniform L2",
    "nested": "nested dropout",
    "nested_sampled": "nested dropout, sampled",
    "vae": "linear VAE",
    "rag": "RAG",
    "rag_balanced": "RAG + balance",
    "gha": "GHA",
    "eigengame": "EigenGame",
}
COLOURS = {  # Okabe and Ito's palette
    "uniform": "#999999",
    "nonuniform": "#E69F00",
    "nested": "#009E73",
    "nested_sampled": "#8FCFB9",
    "vae": "#CC79A7",
    "rag": "#0072B2",
    "rag_balanced": "#D55E00",
    "gha": "#56B4E9",
    "eigengame": "#B8A000",
}
MARKERS = {
    "uniform": "v",
    "nonuniform": "s",
    "nested": "D",
    "rag": "o",
    "rag_balanced": "*",
    "gha": "P",
    "eigengame": "X",
}


def new_figure(height: float) -> Figure:
    """A figure of the house's width."""
    return Figure(figsize=(WIDTH, height), dpi=DPI, layout="constrained")


def steps_figure(
    records: Sequence[Record], latents: Sequence[int], methods: Sequence[str], threshold: float, budget: int
) -> Figure:
    """Steps to an alignment against k, SGD beside Adam, each method at its best rate; ✕: not in the budget."""
    figure = new_figure(3.6)
    panels = figure.subplots(1, 2, sharey=True)
    families = {"SGD, with or without momentum": ("gd", "nesterov"), "Adam": ("adam",)}
    for axes, (title, optimizers) in zip(panels, families.items(), strict=True):
        shown = [m for m in methods if any(r.run.method == m and r.run.optimizer in optimizers for r in records)]
        never = 0
        for method in shown:
            found = {k: best_rate(records, method, k, threshold, optimizers) for k in latents}
            reached = [best for best in found.values() if best]
            axes.errorbar(
                [b.latents for b in reached],
                [b.steps for b in reached],
                yerr=[b.stderr for b in reached],
                color=COLOURS[method],
                marker=MARKERS[method],
                markersize=8 if method == "rag_balanced" else 5,
                capsize=2,
                linewidth=1.5,
                label=NAMES[method],
            )
            missed = [k for k, best in found.items() if best is None]
            lift = 1.25 * 1.16**never
            axes.plot(missed, [budget * lift] * len(missed), "x", color=COLOURS[method], markersize=6, mew=1.8)
            never += bool(missed)
        axes.axhline(budget, color="0.6", linewidth=0.8, linestyle=":")
        axes.set(xscale="log", yscale="log", xlabel="latent size k", title=title)
        axes.set_xlim(min(latents) / 1.2, max(latents) * 1.2)
        axes.set_xticks(list(latents), [str(k) for k in latents])
        axes.minorticks_off()
        axes.title.set_size(10)
    panels[0].set_ylabel(f"steps to axis alignment ≤ {threshold:g}")
    panels[1].text(latents[0], budget * 0.93, "budget; ✕: not reached", va="top", ha="left", **NOTE)
    handles, labels = panels[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=4, fontsize=8, frameon=False)
    return figure


def curves_figure(records: Mapping[str, Record]) -> Figure:
    """Axis alignment and subspace distance of one run of each method, against steps."""
    figure = new_figure(3.6)
    left, right = figure.subplots(1, 2)
    latents = next(iter(records.values())).latents
    for method, record in records.items():
        style = {"color": COLOURS[method], "linewidth": 1.5, "label": NAMES[method]}
        left.plot(record.steps, record.alignment, **style)
        right.plot(record.subspace_steps, np.maximum(record.subspace, 1e-7), **style)
    left.axhline(haar_alignment(latents), color="0.5", linestyle="--", linewidth=1)
    place = {"transform": left.get_yaxis_transform(), "ha": "right", "va": "bottom"}
    left.text(0.98, 1.08 * haar_alignment(latents), "random rotation", **place, **NOTE)
    left.set(xscale="log", yscale="log", xlabel="steps", ylabel=f"axis alignment, k = {latents} (0: the axes)")
    left.set_ylim(top=2)
    right.set(xscale="log", yscale="log", xlabel="steps", ylabel="subspace distance (0: the subspace)")
    handles, labels = left.get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=4, fontsize=8, frameon=False)
    return figure


def condition_figure(eigenvalues: Tensor, latents: Sequence[int]) -> Figure:
    """Exact condition numbers against k, on this spectrum and on one whose gaps shrink with k."""
    figure = new_figure(3.3)
    panels = figure.subplots(1, 2, sharey=True)
    spectra = {
        f"this spectrum: d = {len(eigenvalues)}": lambda k: eigenvalues,
        "gaps shrinking with k: d = 2k": shrinking_spectrum,
    }
    for axes, (title, spectrum) in zip(panels, spectra.items(), strict=True):
        values = {k: conditions(spectrum(k), k) for k in latents}
        for method in ("nonuniform", "nested", "rag"):
            axes.plot(
                latents,
                [values[k][method] for k in latents],
                color=COLOURS[method],
                marker=MARKERS[method],
                markersize=4,
                label=NAMES[method],
            )
        axes.set(xscale="log", yscale="log", xlabel="latent size k", title=title)
        axes.set_xticks(list(latents), [str(k) for k in latents])
        axes.minorticks_off()
        axes.title.set_size(10)
    panels[0].set_ylabel("condition number at the optimum")
    panels[0].legend(fontsize=8, frameon=False)
    return figure


def stall_figure(records: Sequence[Record]) -> Figure:
    """Imbalance ‖Q‖ against axis alignment at the end of every RAG run, with and without balance."""
    figure = new_figure(3.6)
    axes = figure.subplots()
    rates = sorted({r.run.rate for r in records})
    sizes = {rate: 30 + 40 * i for i, rate in enumerate(rates)}
    floor = 1e-7
    for method in ("rag", "rag_balanced"):
        for rate in rates:
            runs = [r for r in records if r.run.method == method and r.run.rate == rate and r.alignment]
            axes.scatter(
                [max(r.imbalance[-1], floor) for r in runs],
                [max(r.alignment[-1], floor) for r in runs],
                s=sizes[rate],
                marker="*" if method == "rag_balanced" else "o",
                color=COLOURS[method],
                alpha=0.75,
                linewidth=0,
                label=f"{NAMES[method]}, rate {rate:g}",
            )
    axes.set(
        xscale="log", yscale="log", xlabel="imbalance ‖W₁W₁ᵀ − W₂ᵀW₂‖ at the end", ylabel="axis alignment at the end"
    )
    axes.legend(fontsize=8, frameon=False)
    return figure


def decoder_figure(decoders: Mapping[str, Tensor], image_shape: tuple[int, int]) -> Figure:
    """Unit decoder columns as images, one method a row, in the order of the units; signs are free."""
    columns = next(iter(decoders.values())).shape[1]
    figure = new_figure(0.62 * len(decoders) + 0.3)
    grid = figure.subplots(len(decoders), columns, squeeze=False)
    for row, (name, decoder) in zip(grid, decoders.items(), strict=True):
        for i, axes in enumerate(row):
            column = unit_columns(decoder)[:, i].numpy()
            column = column * np.sign(column[np.abs(column).argmax()] or 1)
            image(axes, column.reshape(image_shape))
        row[0].set_ylabel(name, rotation=0, ha="right", va="center", fontsize=8)
    for i, axes in enumerate(grid[0]):
        axes.set_title(f"unit {i + 1}" if i == 0 else str(i + 1), fontsize=8)
    return figure


def image(axes: Axes, pixels: np.ndarray) -> None:
    """One component, zero in the middle of the colours, without ticks."""
    limit = np.abs(pixels).max() or 1
    axes.imshow(pixels, cmap="RdBu_r", vmin=-limit, vmax=limit)
    axes.set(xticks=[], yticks=[])


def best_label(best: Best | None, budget: int) -> str:
    """`410 (nesterov, 0.316)`, with ! for a rate on the edge of the grid, or `> budget`."""
    if best is None:
        return f"> {budget}"
    spread = f" ± {best.stderr:.0f}" if best.seeds > 1 else ""
    return f"{best.steps:.0f}{spread} ({best.optimizer}, {best.rate:g}{'!' if best.on_edge else ''})"


def protocol_figure(records: Sequence[Record], methods: Sequence[str], random_rotation: float) -> Figure:
    """Alignment against steps, Nesterov beside Adam, at the rate that ends closest: mean ± standard error."""
    figure = new_figure(3.9)
    panels = figure.subplots(1, 2, sharey=True)
    for axes, (title, optimizer) in zip(panels, {"SGD, momentum 0.9": "nesterov", "Adam": "adam"}.items(), strict=True):
        for method in methods:
            runs = [
                r for r in records if r.run.method == method and r.run.optimizer == optimizer and r.diverged_at is None
            ]
            rates = {r.run.rate for r in runs}
            if not rates:
                continue
            curve = "subspace" if method == "uniform" else "alignment"
            rate = min(rates, key=lambda rate: np.mean([getattr(r, curve)[-1] for r in runs if r.run.rate == rate]))
            seeds = [r for r in runs if r.run.rate == rate]
            length = min(len(r.steps) for r in seeds)
            values = np.array([r.alignment[:length] for r in seeds])
            mean, error = values.mean(0), values.std(0, ddof=min(1, len(seeds) - 1)) / len(seeds) ** 0.5
            steps = seeds[0].steps[:length]
            axes.plot(steps, mean, color=COLOURS[method], linewidth=1.4, label=NAMES[method])
            axes.fill_between(
                steps, np.maximum(mean - error, 1e-5), mean + error, color=COLOURS[method], alpha=0.25, linewidth=0
            )
        axes.axhline(random_rotation, color="0.5", linestyle="--", linewidth=1)
        axes.set(xscale="log", yscale="log", xlabel="steps", title=title)
        axes.title.set_size(10)
    panels[0].set_ylabel("axis alignment (0: the axes)")
    panels[1].text(
        0.98,
        random_rotation,
        "random rotation",
        va="bottom",
        ha="right",
        transform=panels[1].get_yaxis_transform(),
        **NOTE,
    )
    handles = {
        label: handle for axes in panels for handle, label in zip(*axes.get_legend_handles_labels(), strict=True)
    }
    figure.legend(handles.values(), handles.keys(), loc="outside lower center", ncols=4, fontsize=8, frameon=False)
    return figure
