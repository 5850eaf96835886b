"""The pictures of the demo and of `reproduce`: from records to matplotlib figures; the caller saves them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.figure import Figure
from scipy import stats

from .evidence import NAMES, column
from .replay import LABELS

WIDTH, DPI = 6.4, 150
COLOURS = {
    "gmn": "#D55E00",
    "stat": "#E69F00",
    "flat": "#CC79A7",
    "nfn": "#F0E442",
    "none": "#0072B2",
    "none start id": "#56B4E9",
    "gmn shuffled": "0.6",
    "gp-ei": "#56B4E9",
    "random": "0.6",
    "asha": "#009E73",
    "tpe": "0.25",
    "optuna-gp": "#882255",
}
MARKERS = {"gmn": "o", "stat": "s", "flat": "^", "none": "D", "gmn shuffled": "x", "none start id": "v", "nfn": "P"}


def new_figure(height: float) -> Figure:
    """A figure of the house's width."""
    return Figure(figsize=(WIDTH, height), dpi=DPI, layout="constrained")


def reach(values: np.ndarray) -> float:
    """Half of a 95 % t interval of the mean."""
    if len(values) < 2:
        return 0.0
    return float(stats.t.ppf(0.975, len(values) - 1) * values.std(ddof=1) / np.sqrt(len(values)))


def forecast_figure(records: Sequence[dict], methods: Sequence[str], states: Sequence[int]) -> Figure:
    """τ by state: of the next epoch and of the last; mean over hubs and its 95 % interval."""
    figure = new_figure(3.6)
    panels = figure.subplots(1, 2, sharey=True)
    for axes, target, title in zip(panels, ("next", "final"), ("next epoch", "last epoch"), strict=True):
        for k, method in enumerate(methods):
            values = [np.array(column(records, method, f"{target}/{state}")) for state in states]
            x = np.arange(len(states)) + 0.12 * (k - (len(methods) - 1) / 2)
            axes.errorbar(
                x,
                [v.mean() for v in values],
                [reach(v) for v in values],
                color=COLOURS[method],
                marker=MARKERS[method],
                markersize=4,
                linestyle="none",
                capsize=2,
                linewidth=1,
                label=NAMES[method],
            )
        axes.set_xticks(range(len(states)), [str(s) for s in states])
        axes.set(xlabel="epochs trained so far", title=f"ranking by the {title}")
        axes.title.set_fontsize(10)
        axes.axhline(0, color="0.8", linewidth=0.8, zorder=0)
    panels[0].set_ylabel("Kendall τ, predicted against true")
    figure.legend(
        *panels[0].get_legend_handles_labels(), loc="outside lower center", ncols=3, fontsize=8, frameon=False
    )
    return figure


def regret_figure(records: Sequence[dict], repeats: str = "hubs") -> Figure:
    """Regret over epochs spent: mean over hubs (or `repeats`), band of one standard error, no smoothing."""
    figure = new_figure(4.0)
    axes = figure.subplots()
    methods = [m for m in LABELS if any(r["method"] == m for r in records)]
    ends = [np.mean([r["regret"][-1] for r in records if r["method"] == m]) for m in methods]
    floor = max(1e-4, 0.4 * min(ends))
    for method in methods:
        curves = np.array([r["regret"] for r in records if r["method"] == method])
        mean, error = curves.mean(0), curves.std(0, ddof=min(1, len(curves) - 1)) / np.sqrt(len(curves))
        spent = np.arange(1, curves.shape[1] + 1)
        own = method in ("gmn", "stat", "flat", "nfn", "none")
        axes.plot(
            spent,
            np.maximum(mean, floor),
            color=COLOURS[method],
            label=LABELS[method],
            linewidth=1.8 if own else 1.2,
            linestyle="-" if own else (0, (4, 1.5)),
        )
        axes.fill_between(
            spent,
            np.maximum(mean - error, floor),
            np.maximum(mean + error, floor),
            color=COLOURS[method],
            alpha=0.12,
            linewidth=0,
        )
    axes.set(yscale="log", xlabel="epochs spent, all configurations together", ylabel="regret of the validation score")
    axes.set_ylim(bottom=floor)
    axes.set_title(f"mean ± standard error over {len({r['seed'] for r in records})} {repeats}", fontsize=9)
    figure.legend(*axes.get_legend_handles_labels(), loc="outside lower center", ncols=3, fontsize=8, frameon=False)
    return figure


def tau_figure(records: Sequence[dict]) -> Figure:
    """τ of the searcher's own forecast of final scores, over epochs spent; mean over hubs and 95 % interval."""
    figure = new_figure(3.2)
    axes = figure.subplots()
    methods = [m for m in LABELS if any(r["method"] == m and r["tau"] for r in records)]
    for k, method in enumerate(methods):
        own = [r["tau"] for r in records if r["method"] == method]
        epochs = sorted({int(e) for taus in own for e in taus})
        values = [np.array([taus[str(e)] for taus in own if str(e) in taus]) for e in epochs]
        x = np.array(epochs) + 0.8 * (k - (len(methods) - 1) / 2)
        axes.errorbar(
            x,
            [v.mean() for v in values],
            [reach(v) for v in values],
            color=COLOURS[method],
            marker=MARKERS[method],
            markersize=4,
            capsize=2,
            linewidth=1,
            label=LABELS[method],
        )
    axes.axhline(0, color="0.8", linewidth=0.8, zorder=0)
    axes.set(xlabel="epochs spent", ylabel="Kendall τ of final scores")
    figure.legend(*axes.get_legend_handles_labels(), loc="outside lower center", ncols=4, fontsize=8, frameon=False)
    return figure


def predictions_figure(predicted: Mapping[str, Mapping[str, Sequence[float]]]) -> Figure:
    """Predicted against true score of the next epoch, with 95 % intervals; a panel a method."""
    figure = new_figure(3.4)
    panels = figure.subplots(1, len(predicted), sharex=True, sharey=True, squeeze=False)[0]
    for axes, (method, p) in zip(panels, predicted.items(), strict=True):
        true, mean, std = (np.array(p[k]) for k in ("true", "mean", "std"))
        axes.errorbar(
            true, mean, 1.96 * std, fmt="o", markersize=2.5, linewidth=0.4, color=COLOURS[method], ecolor="0.75"
        )
        ends = [min(true.min(), mean.min()), max(true.max(), mean.max())]
        axes.plot(ends, ends, color="0.3", linewidth=0.8, linestyle="--")
        inside = np.mean(np.abs(true - mean) <= 1.96 * std)
        axes.set_title(f"{NAMES[method]}\n{100 * inside:.0f} % inside their intervals", fontsize=9)
        axes.set_xlabel("true accuracy after 2 epochs")
    panels[0].set_ylabel("predicted after 1 epoch")
    return figure


def embedding_figure(embeddings: Mapping[str, Mapping]) -> Figure:
    """Checkpoints after one epoch as the encoders see them: two principal components, coloured by the final score."""
    figure = new_figure(3.2)
    panels = figure.subplots(1, len(embeddings), squeeze=False)[0]
    for axes, (method, e) in zip(panels, embeddings.items(), strict=True):
        places = np.array(e["places"])
        shown = axes.scatter(*places.T, c=e["final"], s=9, cmap="viridis", vmin=0, vmax=1)
        first, second = (100 * s for s in e["share"])
        axes.set(xlabel=f"component 1 ({first:.0f} %)", ylabel=f"component 2 ({second:.0f} %)", title=NAMES[method])
        axes.title.set_fontsize(9)
    figure.colorbar(shown, ax=panels, label="accuracy after the last epoch")
    return figure


def race_figure(record: Mapping) -> Figure:
    """Which of the trainings ran when, and the accuracy that each epoch reached."""
    figure = new_figure(3.8)
    axes = figure.subplots()
    shown = axes.scatter(
        np.arange(1, len(record["configs"]) + 1),
        record["configs"],
        c=record["scores"],
        s=16,
        marker="s",
        cmap="viridis",
        vmin=0,
        vmax=1,
    )
    best = [max(scores) for scores in record["whole"]]
    labels = [f"{i} ({best[i]:.2f})" for i in range(len(best))]
    axes.set_yticks(range(len(best)), labels, fontsize=7)
    axes.set(xlabel="epochs spent", ylabel="training (best accuracy, if it ran to the end)")
    axes.set_title(f"{record['switches']} stops and resumptions, {record['spent']} epochs", fontsize=9)
    figure.colorbar(shown, ax=axes, label="validation accuracy")
    return figure
