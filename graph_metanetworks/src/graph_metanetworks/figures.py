"""The pictures of demo and reproduce: from records to figures; the caller saves them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from torch import Tensor

from .parameter_graph import ParameterGraph
from .study import Record, select
from .vocabulary import EDGE_TYPES, NODE_TYPES

WIDTH, DPI = 6.4, 150
COLOURS = {  # Okabe and Ito's palette
    "mlp": "#0072B2", "cnn": "#E69F00", "cnn_norm": "#009E73", "residual": "#D55E00", "deep_sets": "#CC79A7",
    "vit": "#56B4E9",
}  # fmt: skip
FAMILY_NAMES = {
    "mlp": "MLP", "cnn": "CNN", "cnn_norm": "CNN with norm", "residual": "residual CNN", "deep_sets": "DeepSets",
    "vit": "ViT",
}  # fmt: skip
READERS = {"gmn": "GMN", "deepsets": "DeepSets", "dmc": "DMC", "statnn": "StatNN"}


def new_figure(height: float) -> Figure:
    """A figure of the house's width."""
    return Figure(figsize=(WIDTH, height), dpi=DPI, layout="constrained")


def accuracy_figure(records: Sequence[Record]) -> Figure:
    """Predicted against true accuracy of the first seed: nets like those trained on, and wider ones."""
    figure = new_figure(3.9)
    record = select(records, "accuracy", "gmn")[0]
    titles = {"test": "widths seen in training", "ood": "wider than any seen"}
    for axes, (part, title) in zip(figure.subplots(1, 2, sharey=True), titles.items(), strict=True):
        predicted, true, family = (np.array(record.arrays[f"{part}_{key}"]) for key in ("predicted", "true", "family"))
        for name, colour in COLOURS.items():
            chosen = family == name
            axes.plot(true[chosen], predicted[chosen], ".", color=colour, markersize=5, label=FAMILY_NAMES[name])
        axes.plot([0, 1], [0, 1], color="0.5", linestyle="--", linewidth=1)
        axes.set(xlabel="true accuracy", title=f"{title}\nR² = {record.numbers[f'{part}_r2']:.2f}, "
                 f"τ = {record.numbers[f'{part}_tau']:.2f}", aspect="equal", xlim=(0, 1), ylim=(0, 1))  # fmt: skip
        axes.title.set_fontsize(9)
        handles = axes.get_legend_handles_labels()
    figure.axes[0].set_ylabel("predicted accuracy")
    figure.legend(
        *handles, loc="outside lower center", ncols=6, fontsize=7, frameon=False, handletextpad=0.1, columnspacing=1
    )
    return figure


def comparison_figure(records: Sequence[Record]) -> Figure:
    """R² of all readers on the three splits, mean and standard error over seeds."""
    figure = new_figure(3.2)
    axes = figure.subplots()
    splits = {"all data": ("", "test_r2"), "a tenth of the data": ("_tenth", "test_r2"), "wider nets": ("", "ood_r2")}
    colours = ("#0072B2", "#E69F00", "#009E73", "#CC79A7")
    for i, (name, colour) in enumerate(zip(READERS, colours, strict=True)):
        values = [
            np.array([r.numbers[number] for r in select(records, "accuracy", name + suffix)])
            for suffix, number in splits.values()
        ]
        error = [v.std(ddof=1) / len(v) ** 0.5 if len(v) > 1 else 0 for v in values]
        mean = [max(v.mean(), -0.5) for v in values]
        axes.bar(np.arange(3) + 0.2 * i - 0.3, mean, 0.18, yerr=error, color=colour, label=READERS[name])
    base = [
        np.mean([r.numbers[f"{p}_mean_r2"] for r in select(records, "accuracy", "gmn")])
        for p in ("test", "test", "ood")
    ]
    for i, value in enumerate(base):
        label = "family mean" if i == 0 else None
        axes.plot([i - 0.45, i + 0.45], [max(value, -0.5)] * 2, color="k", linestyle="--", linewidth=1, label=label)
    axes.axhline(0, color="0.5", linewidth=0.8)
    axes.set(xticks=range(3), xticklabels=list(splits), ylabel="R² (cut at -0.5)", ylim=(-0.55, 1))
    return legend_below(figure, axes, 5)


def invariance_figure(outputs: Mapping[str, Tensor]) -> Figure:
    """Two outputs of each reader on permuted copies of one network, about their mean."""
    figure = new_figure(3.0)
    names = {"gmn": "graph metanet", "flat": "MLP on flat weights"}
    limit = max(float((o - o.mean(0)).abs().max()) for o in outputs.values()) * 1.1
    for axes, (name, title) in zip(figure.subplots(1, 2, sharey=True), names.items(), strict=True):
        centred = outputs[name] - outputs[name].mean(0)
        axes.plot(*centred.T.numpy(), "o", color="#0072B2", markersize=4, alpha=0.6)
        axes.set(xlabel="first output, from its mean", xlim=(-limit, limit), ylim=(-limit, limit))
        axes.set_title(f"{title}: spread {float(centred.std()):.1g}", fontsize=9)
    figure.axes[0].set_ylabel("second output")
    return figure


def editing_figure(records: Sequence[Record], side: int) -> Figure:
    """Six test images: as the SIREN held them, as edited SIRENs draw them, and the target."""
    rows = {"SIREN": ("gmn", "before")}
    names = {"gmn": "GMN", "npnfn": "NP-NFN", "flat": "flat MLP"}
    rows |= {name: (cell, "edited") for cell, name in names.items() if select(records, "editing", cell)}
    rows["target"] = ("gmn", "target")
    figure = new_figure(0.95 * len(rows) + 0.2)
    grid = figure.subplots(len(rows), 6)
    for line, (title, (cell, key)) in zip(grid, rows.items(), strict=True):
        images = select(records, "editing", cell)[0].arrays[key]
        for axes, image in zip(line, images, strict=False):
            pixels = np.reshape(image, (side, side, -1))
            axes.imshow(pixels.clip(0, 1) if pixels.shape[2] == 3 else pixels[..., 0], cmap="gray", vmin=0, vmax=1)
            axes.set(xticks=[], yticks=[])
        line[0].set_ylabel(title, fontsize=8)
    return figure


def embedding_figure(records: Sequence[Record]) -> Figure:
    """Embeddings of sine waves on their two principal directions, coloured by amplitude and by frequency."""
    figure = new_figure(5.2)
    cells = {"untrained": "untrained GMN", "gmn": "trained GMN"}
    for line, (cell, title) in zip(figure.subplots(2, 2), cells.items(), strict=True):
        record = select(records, "contrastive", cell)[0]
        plane, wave = np.array(record.arrays["plane"]), np.array(record.arrays["wave"])
        for axes, column, name in zip(line, (0, 1), ("amplitude a", "frequency b"), strict=True):
            dots = axes.scatter(*plane.T, c=wave[:, column], s=9, cmap="viridis")
            axes.set_title(f"{title}, probe's error {record.numbers['probe_mse']:.2f}", fontsize=8)
            axes.set(xlabel="first principal direction", ylabel="second")
            figure.colorbar(dots, ax=axes, label=name)
    return figure


def graph_figure(graph: ParameterGraph) -> Figure:
    """A parameter graph: layers from left to right, nodes coloured by type, edges by type."""
    figure = new_figure(4.2)
    axes = figure.subplots()
    place = _places(graph)
    kinds = sorted(set(graph.edge_type.tolist()))
    palette = [colormaps["tab20"](i % 20) for i in range(len(kinds))]
    for kind, colour in zip(kinds, palette, strict=True):
        chosen = (graph.edge_type == kind).nonzero()[:, 0].tolist()
        for n, edge in enumerate(chosen):
            ends = place[[int(graph.edge_src[edge]), int(graph.edge_dst[edge])]]
            axes.plot(*ends.T, color=colour, linewidth=0.6, alpha=0.7, label=EDGE_TYPES[kind] if n == 0 else None)
    markers = "os^Dv*PXhp<>d"
    for n, kind in enumerate(sorted(set(graph.node_type.tolist()))):
        chosen = (graph.node_type == kind).numpy()
        label = f"[{NODE_TYPES[kind]}]"
        axes.plot(*place[chosen].T, markers[n % len(markers)], color="k", markersize=3.5, label=label, linestyle="")
    axes.set(xlabel="layer", yticks=[])
    axes.spines[["top", "right", "left"]].set_visible(False)
    return legend_below(figure, axes, 5)


def _places(graph: ParameterGraph) -> np.ndarray:
    """(N, 2): by layer, then in creation's order, kinds side by side."""
    layer = graph.node_layer.numpy()
    place = np.zeros((graph.num_nodes, 2))
    for value in np.unique(layer):
        ids = np.flatnonzero(layer == value)
        place[ids, 1] = np.linspace(-1, 1, len(ids) + 2)[1:-1] if len(ids) > 1 else 0.0
        place[ids, 0] = value + 0.3 * np.linspace(-1, 1, len(ids)) if len(ids) > 1 else value
    return place


def legend_below(figure: Figure, axes: Axes, columns: int) -> Figure:
    figure.legend(
        *axes.get_legend_handles_labels(), loc="outside lower center", ncols=columns, fontsize=7, frameon=False
    )
    return figure
