"""The pictures of demo, sweep and reproduce: from tables and records to figures; the caller saves them."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from .evidence import NAMES, where
from .study import Record, mean_over_seeds, select
from .theory import PolynomialExample, Row, least_squares_line

WIDTH, DPI = 6.4, 150
NOTE = {"fontsize": 7, "color": "0.4"}
BLUE, ORANGE, GREEN, RED, PURPLE, GREY, SKY = (  # Okabe and Ito's palette
    "#0072B2",
    "#E69F00",
    "#009E73",
    "#D55E00",
    "#CC79A7",
    "#999999",
    "#56B4E9",
)
ESTIMATOR_STYLE = {
    "map": ("MAP", RED, "*"),
    "plug_in": ("plug-in empirical Bayes", PURPLE, "v"),
    "gradient_steps": ("5 gradient steps from μ_τ", BLUE, "o"),
    "prior_mean": ("μ_τ, not adapted", GREEN, "s"),
    "pooled": ("pooled least squares", GREY, "D"),
    "ridge": ("ridge to zero, novel task alone", ORANGE, "P"),
}
LEARNER_STYLE = {
    "maml": (BLUE, "o"),
    "anil": (SKY, "s"),
    "fine_tuned": (GREEN, "D"),
    "pooled": (GREY, "v"),
    "single_task": (ORANGE, "P"),
    "basis_map": (RED, "*"),
    "principal_map": (RED, "*"),
}


def new_figure(height: float) -> Figure:
    """A figure of the house's width."""
    return Figure(figsize=(WIDTH, height), dpi=DPI, layout="constrained")


def polynomial_figure(example: PolynomialExample) -> Figure:
    """Figure 1: least squares through five points, and the MAP that has seen three other tasks."""
    figure, axes = one_panel(3.4)
    for i, (x, y) in enumerate(example.training):
        axes.plot(x, y, ".", color="0.75", markersize=4, label="three training tasks" if i == 0 else None)
    axes.fill_between(
        example.x, example.map - 2 * example.band, example.map + 2 * example.band, color=RED, alpha=0.15, lw=0
    )
    axes.plot(example.x, example.truth, color="0.3", linestyle="--", linewidth=1.2, label="novel task, true")
    axes.plot(example.x, example.least_squares, color=BLUE, linewidth=1.5, label="least squares")
    axes.plot(example.x, example.map, color=RED, linewidth=1.8, label="MAP ± 2 posterior standard deviations")
    axes.plot(*example.novel, "o", color="k", markersize=5, label="its five samples")
    seen = np.concatenate([np.asarray(y) for _, y in example.training])
    axes.set(xlabel="x", ylabel="y", ylim=(seen.min() - 1.5, seen.max() + 1.5))
    return legend_below(figure, axes, 3)


def noise_figure(rows: Sequence[Row]) -> Figure:
    """Figure 2A: exact risk of the MAP against the novel noise, a simulated draw per design beside it."""
    figure, axes = one_panel(3.6)
    for (n, k), colour in {(20, 5): BLUE, (20, 1000): ORANGE, (200, 5): GREEN}.items():
        curve = where(rows, n=n, k=k)
        x, y, error = (np.array([row[c] for row in curve]) for c in ("novel_variance", "risk", "risk_stderr"))
        axes.plot(x, y, color=colour, linewidth=1.6, label=f"M = 50, n = {n}, k = {k}")
        axes.fill_between(x, y - 2 * error, y + 2 * error, color=colour, alpha=0.25, linewidth=0)
        dots, spread = (np.array([row[c] for row in curve]) for c in ("simulated", "simulated_stderr"))
        axes.errorbar(x, dots, yerr=2 * spread, fmt=".", color=colour, markersize=4, linewidth=0.8)
    line = np.array([1e-8, 1e-1])
    limit = [least_squares_line(v, 1000) for v in line]
    axes.plot(line, limit, color="0.4", linestyle="--", linewidth=1, label="least squares, k = 1000")
    axes.text(
        0.99, 0.03, "dots: one simulated draw per design", transform=axes.transAxes, ha="right", va="bottom", **NOTE
    )
    axes.set(xscale="log", yscale="log", xlabel="novel noise, variance", ylabel="risk of the MAP, |θ error|²")
    return legend_below(figure, axes, 2)


def samples_figure(rows: Sequence[Row]) -> Figure:
    """Figure 2B: the same number of samples, spent on shots or on training tasks."""
    figure, axes = one_panel(3.6)
    labels = {"k": ("more shots k (M = 2, n = 20)", BLUE), "M": ("more training tasks M (n = 20, k = 20)", RED)}
    for line, (label, colour) in labels.items():
        curve = where(rows, line=line)
        x, y, error = (np.array([row[c] for row in curve]) for c in ("samples", "risk", "risk_stderr"))
        axes.errorbar(
            x, y, yerr=2 * error, color=colour, marker="o", markersize=4, linewidth=1.6, capsize=2, label=label
        )
        bayes = [row["bayes_risk"] for row in curve]
        axes.plot(x, bayes, color=colour, linewidth=1, linestyle=":", label=f"averaged over tasks (tr Σ), more {line}")
    axes.axhline(curve[0]["plateau"], color="0.4", linestyle="--", linewidth=1)
    axes.text(1.6e4, curve[0]["plateau"] * 0.92, "limit for M, n → ∞ at k = 20", ha="right", va="top", **NOTE)
    axes.set(xscale="log", yscale="log", xlabel="samples in all, Mn + k", ylabel="risk of the MAP, |θ error|²")
    return legend_below(figure, axes, 2)


def chain_figure(rows: Sequence[Row]) -> Figure:
    """Bayes risk and the lower bounds below it, against n and against k, on the hexagon."""
    figure = new_figure(3.8)
    panels = figure.subplots(1, 2, sharey=True)
    styles = {
        "bayes_risk": ("Bayes risk", "k", "o"),
        "decoder": ("δ² P(best decoder errs)", PURPLE, "s"),
        "theorem_1": ("Theorem 1", BLUE, "D"),
        "iid": ("Theorem 2 (no training data)", GREY, "v"),
        "corollary_1": ("Corollary 1", ORANGE, "^"),
        "corollary_2": ("Corollary 2", GREEN, "x"),
    }
    fixed = {"n": "k = 1, M = 2", "k": "n = 5, M = 2"}
    for axes, axis in zip(panels, ("n", "k"), strict=True):
        curve = where(rows, axis=axis)
        x = np.array([row[axis] for row in curve])
        for name, (label, colour, marker) in styles.items():
            y = np.array([row[name] for row in curve])
            y = np.where(y > 0, y, np.nan)  # a vacuous bound is not drawn
            spread = np.array([row.get(f"{name}_stderr", 0.0) for row in curve])
            style = {"color": colour, "marker": marker, "markersize": 4, "linewidth": 1.4}
            axes.errorbar(x, y, yerr=2 * spread, label=label, linestyle="--" if name == "iid" else "-", **style)
        unit = "samples per training task n" if axis == "n" else "novel samples k"
        axes.set(xscale="log", yscale="log", xlabel=f"{unit} ({fixed[axis]})", ylim=(2e-3, 0.4))
    panels[0].set_ylabel("squared error")
    return legend_below(figure, panels[0], 3)


def packings_figure(rows: Sequence[Row]) -> Figure:
    """Best of the corollaries against M: training tasks weigh the less, the larger the packing."""
    figure, axes = one_panel(3.5)
    for (d, colour), marker in zip({2: BLUE, 3: GREEN, 4: ORANGE, 5: RED}.items(), "osD^", strict=True):
        curve = where(rows, d=d)
        alone, rest = curve[0], curve[1:]
        label = f"d = {d}, J = {alone['J']}"
        axes.plot(
            [r["M"] for r in rest], [r["bound"] for r in rest], color=colour, marker=marker, markersize=3, label=label
        )
        axes.axhline(alone["bound"], color=colour, linestyle=":", linewidth=1)
    axes.set(xscale="log", yscale="log", xlabel=f"training tasks M (n = {curve[0]['n']}, k = {curve[0]['k']}, σ = 1)")
    axes.set_ylabel("lower bound, squared error")
    axes.text(0.01, 0.03, "dotted: no training data", transform=axes.transAxes, ha="left", va="bottom", **NOTE)
    return legend_below(figure, axes, 4)


def shots_figure(rows: Sequence[Row]) -> Figure:
    """Shots for an error: what Theorem 3 says is necessary, and what suffices for the MAP."""
    figure, axes = one_panel(3.5)
    for M, colour in {1: BLUE, 8: GREEN, 32: RED}.items():
        curve = where(rows, M=M)
        x = [row["error"] for row in curve]
        axes.plot(x, [row["necessary"] for row in curve], color=colour, linewidth=1.6, label=f"necessary, M = {M}")
    enough = [np.nan if row["sufficient"] is None else row["sufficient"] for row in curve]
    axes.plot(x, enough, color="0.3", linestyle="--", linewidth=1.4, label=f"sufficient for the MAP, M = {M}")
    axes.set(xscale="log", yscale="log", xlabel="worst-case squared error to reach (d = 5, n = 20, σ = 1)")
    axes.set_ylabel("shots k")
    return legend_below(figure, axes, 2)


def estimators_figure(rows: Sequence[Row]) -> Figure:
    """Risk over the hierarchy of every estimator against the novel noise, and the floor that none can get below."""
    figure, axes = one_panel(3.9)
    for name, (label, colour, marker) in ESTIMATOR_STYLE.items():
        curve = where(rows, estimator=name)
        x, y = ([row[c] for row in curve] for c in ("novel_variance", "risk"))
        axes.plot(x, y, color=colour, marker=marker, markersize=5, linewidth=1.4, label=label)
        dots, spread = (np.array([row[c] for row in curve]) for c in ("simulated", "simulated_stderr"))
        axes.errorbar(x, dots, yerr=2 * spread, fmt=".", color=colour, markersize=3, linewidth=0.7, alpha=0.7)
    axes.plot(x, [row["floor"] for row in curve], color="k", linestyle="--", linewidth=1.2, label="floor tr Σ")
    axes.set(xscale="log", yscale="log", xlabel="novel noise, variance", ylabel="risk over the hierarchy, |θ error|²")
    return legend_below(figure, axes, 3)


def instances_figure(rows: Sequence[Row]) -> Figure:
    """How far above their bounds the best estimators are, over random settings."""
    figure, axes = one_panel(3.3)
    labels = {
        "floor": ("average risk / tr Σ", "k"),
        "upper": ("explicit upper bound / worst case of the MAP", GREEN),
        "packing": ("packing risk / best corollary", ORANGE),
        "theorem_3": ("packing risk / Theorem 3", BLUE),
    }
    for name, (label, colour) in labels.items():
        ratio = np.sort([row[name] for row in rows])
        axes.plot(ratio, np.arange(1, len(ratio) + 1) / len(ratio), color=colour, linewidth=1.6, label=label)
    axes.axvline(1, color="0.4", linestyle="--", linewidth=1)
    axes.set(
        xscale="log",
        xlim=(0.5, 1e5),
        xlabel="ratio (below 1 a bound would be broken)",
        ylabel="share of random settings",
    )
    return legend_below(figure, axes, 2)


def learners_figure(
    records: Sequence[Record], tasks: Sequence[int], shots: Sequence[int], noise: float, few: int, what: str
) -> Figure:
    """Error against shots at the most tasks, and against tasks at `few` shots; mean ± standard error over seeds.

    Squared errors on a log scale up to ten times their median, shares of wrong answers on a linear one.
    """
    figure = new_figure(3.7)
    left, right = figure.subplots(1, 2, sharey=True)
    for learner in (name for name in LEARNER_STYLE if select(records, learner=name)):
        colour, marker = LEARNER_STYLE[learner]
        style = {"color": colour, "marker": marker, "markersize": 8 if marker == "*" else 4, "linewidth": 1.4}
        measured = [mean_over_seeds(records, learner=learner, tasks=max(tasks), shots=k, noise=noise) for k in shots]
        points(left, shots, measured, label=NAMES[learner], **style)
        known = [M for M in tasks if select(records, learner=learner, tasks=M)]
        measured = [mean_over_seeds(records, learner=learner, tasks=M, shots=few, noise=noise) for M in known]
        if len(known) == 1:  # it sees no training tasks
            right.axhline(measured[0][0], color=colour, linestyle=":", linewidth=1.4)
        else:
            points(right, known, measured, **style)
    left.set(xscale="log", yscale="log", xlabel=f"shots k (M = {max(tasks)} training tasks)", ylabel=what)
    right.set(xscale="log", xlabel=f"training tasks M (k = {few})")
    errors = np.array([r.error for r in records if r.noise == noise])
    if errors.max() <= 1:
        left.set(yscale="linear", ylim=(0, 1))
    else:
        left.set_ylim(max(errors.min() / 1.5, 1e-4), 10 * np.median(errors))
    return legend_below(figure, left, 3)


def novel_noise_figure(records: Sequence[Record], learner: str, shots: Sequence[int]) -> Figure:
    """Figure 3: error against the novel noise, without and with that noise on the queries."""
    figure = new_figure(3.6)
    left, right = figure.subplots(1, 2, sharey=True)
    samples = sorted({r.samples for r in records})
    cells = [(n, k) for n in samples for k in shots]
    floor = 1e-3  # where zero noise is drawn
    for (n, k), colour, marker in zip(cells, (BLUE, ORANGE, GREEN, RED), "osD^", strict=False):
        noises = sorted({r.noise for r in records})
        found = [mean_over_seeds(records, learner=learner, samples=n, shots=k, noise=noise) for noise in noises]
        x = [max(noise, floor) for noise in noises]
        style = {"color": colour, "marker": marker, "markersize": 4, "linewidth": 1.4, "label": f"n = {n}, k = {k}"}
        points(left, x, found, **style)
        points(right, x, [(m + s**2, e) for (m, e), s in zip(found, noises, strict=True)], **style)
    line = np.geomspace(0.05, 2, 20)
    right.plot(line, line**2, color="0.4", linestyle="--", linewidth=1, label="noise of the queries alone")
    for axes, title in ((left, "clean queries"), (right, "noisy queries, as in the paper")):
        axes.set(xscale="log", yscale="log", xlabel="novel noise, standard deviation", title=title)
        axes.title.set_size(10)
    left.set_ylabel("squared error")
    return legend_below(figure, right, 3)


def one_panel(height: float) -> tuple[Figure, Axes]:
    figure = new_figure(height)
    return figure, figure.subplots()


def points(axes: Axes, x: Sequence[float], measured: Sequence[tuple[float, float]], **style) -> None:
    """Means with their standard errors; an error bar that would reach zero ends short of it."""
    y, error = (np.array(part) for part in zip(*measured, strict=True))
    axes.errorbar(x, y, yerr=[np.minimum(error, 0.9 * y), error], capsize=2, **style)


def legend_below(figure: Figure, axes: Axes, columns: int) -> Figure:
    handles, labels = axes.get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=columns, fontsize=8, frameon=False)
    return figure
