"""The pictures of the demo and of `reproduce`: from records and meshes to matplotlib figures; the caller saves them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

import numpy as np
import torch
from matplotlib.figure import Figure
from torch import Tensor

from .claims import mean_and_error
from .evidence import best_rate, column
from .render import BAD, FACE, NEW, draw_mesh, draw_points, view
from .shapes import SHAPES

WIDTH, DPI = 6.4, 150
COLOURS = {"spacetime": "#D55E00", "Euclidean": "#0072B2", "hyperbolic": "#009E73", "inner product": "#999999"}
MARKERS = {"spacetime": "o", "Euclidean": "s", "hyperbolic": "^", "inner product": "D"}


def new_figure(height: float) -> Figure:
    """A figure of the house's width."""
    return Figure(figsize=(WIDTH, height), dpi=DPI, layout="constrained")


def fits_figure(records: Sequence[dict]) -> Figure:
    """The shapes as their fitted embeddings decode, with the steps that it took."""
    figure = new_figure(4.6)
    panels = figure.subplots(2, 3)
    for axes, (name, make) in zip(panels.flat, SHAPES.items(), strict=True):
        own = [r for r in records if r["shape"] == name and r["start"] == "noise"]
        first = next(r for r in own if r["decoded"])
        draw_mesh(axes, make().vertices, first["decoded"], rotation=view(30, 30))
        steps = f"{min(column(own, 'steps'))} to {max(column(own, 'steps'))} steps"
        exact = sum(column(own, "exact"))
        axes.set_title(f"{name}\n{exact} of {len(own)} exact, {steps}", fontsize=8)
    return figure


def distances_figure(records: Sequence[dict], dims: int) -> Figure:
    """Edge F1 against steps by distance, each at its best rate: mean over seeds, and their range."""
    figure = new_figure(3.3)
    shapes = list(dict.fromkeys(column(records, "shape")))
    panels = figure.subplots(1, len(shapes), sharey=True)
    for axes, shape in zip(panels, shapes, strict=True):
        for distance, colour in COLOURS.items():
            record = best_rate(records, shape, distance)
            steps = [step for step, _ in record["curve"]]
            f1 = np.array([values for _, values in record["curve"]])
            axes.fill_between(steps, f1.min(1), f1.max(1), color=colour, alpha=0.15, linewidth=0)
            axes.plot(
                steps, f1.mean(1), color=colour, marker=MARKERS[distance], markersize=3, markevery=3, label=distance
            )
        axes.set(title=shape, xlabel="steps of Adam")
        axes.title.set_fontsize(9)
    panels[0].set_ylabel(f"edge F1, {dims} numbers a vertex")
    figure.legend(*panels[0].get_legend_handles_labels(), loc="outside lower center", ncols=4, fontsize=8)
    return figure


def learned_figure(rows: Sequence[tuple[str, Tensor, list[list[int]], list[list[int]], list[list[int]]]]) -> Figure:
    """Vertices, what the model decodes, cliques on the same edges, and the truth, one row a mesh.

    Args:
        rows: name, vertices, decoded faces, clique faces, true faces. Faces that are not in the truth are orange.
    """
    figure = new_figure(1.65 * len(rows))
    panels = figure.subplots(len(rows), 4, squeeze=False)
    for own, (name, vertices, decoded, cliques, true) in zip(panels, rows, strict=True):
        known = {frozenset(face) for face in true}
        draw_points(own[0], vertices)
        for axes, faces in zip(own[1:3], (decoded, cliques), strict=True):
            draw_mesh(axes, vertices, faces, [FACE if frozenset(face) in known else BAD for face in faces])
        draw_mesh(own[3], vertices, true)
        own[0].set_title(name, fontsize=8, loc="left")
    for axes, title in zip(panels[0], ("", "predicted", "cliques of its edges", "truth"), strict=True):
        if title:
            axes.set_title(title, fontsize=8)
    return figure


def scores_figure(records: Sequence[dict]) -> Figure:
    """Edge and face F1 by family with standard errors over meshes, beside the baselines."""
    figure = new_figure(3.4)
    left, right = figure.subplots(1, 2, sharey=True)
    families = list(dict.fromkeys(column(records, "family")))
    edge = {"predicted": "edge_f1", "best radius (oracle)": "oracle_f1"}
    face = {"predicted": "unoriented_f1", "triangles and rings of its edges": "ring_f1", "triangle soup": "soup_f1"}
    colours = {
        "predicted": "#D55E00",
        "best radius (oracle)": "#0072B2",
        "triangles and rings of its edges": "#56B4E9",
        "triangle soup": "#999999",
    }
    for axes, shown in ((left, edge), (right, face)):
        width = 0.8 / len(shown)
        for number, (label, name) in enumerate(shown.items()):
            stats = [mean_and_error([r[name] for r in records if r["family"] == f]) for f in families]
            at = np.arange(len(families)) + (number - (len(shown) - 1) / 2) * width
            means, errors = np.array(stats).T
            shown_error = np.nan_to_num(np.array(errors, dtype=float))
            axes.bar(at, means, width, yerr=shown_error, color=colours[label], label=label, capsize=2)
        axes.set_xticks(range(len(families)), [f.replace(" ", "\n") for f in families], fontsize=8)
    left.set(ylabel="F1 on unseen meshes", title="edges", ylim=(0, 1.02))
    right.set_title("faces")
    handles = {label: h for axes in (left, right) for h, label in zip(*axes.get_legend_handles_labels(), strict=True)}
    figure.legend(handles.values(), handles.keys(), loc="outside lower center", ncols=4, fontsize=8)
    return figure


def repairs_figure(rows: Sequence[tuple[Tensor, list[list[int]], list[list[int]], list[list[int]]]]) -> Figure:
    """Meshes with a hole, repaired, and as they were; new faces are orange.

    Args:
        rows: vertices, faces left, new faces, true faces.
    """
    figure = new_figure(2.0 * len(rows))
    panels = figure.subplots(len(rows), 3, squeeze=False)
    for own, (vertices, left, new, true) in zip(panels, rows, strict=True):
        removed = {frozenset(f) for f in true} - {frozenset(f) for f in left}
        middle = torch.cat([vertices[sorted(face)] for face in removed]).mean(0) - vertices.mean(0)
        turn = facing(middle)
        draw_mesh(own[0], vertices, left, rotation=turn)
        draw_mesh(own[1], vertices, [*left, *new], [FACE] * len(left) + [NEW] * len(new), rotation=turn)
        draw_mesh(own[2], vertices, true, rotation=turn)
    for axes, title in zip(panels[0], ("input", "repaired", "before removal"), strict=True):
        axes.set_title(title, fontsize=9)
    return figure


def facing(direction: Tensor) -> np.ndarray:
    """A view from which the direction comes towards the viewer, a little from the side."""
    x, y, z = direction.tolist()
    azimuth = np.degrees(np.arctan2(y, x)) + 25
    elevation = np.degrees(np.arctan2(z, np.hypot(x, y)))
    return view(azimuth, float(np.clip(elevation, -75, 75)))


def generated_figure(records: Sequence[dict], shown: int = 4) -> Figure:
    """Generated meshes above the meshes whose clouds they were given, and the Euler characteristics of all."""
    figure = new_figure(4.2)
    grid = figure.add_gridspec(2, shown + 1, width_ratios=[1] * shown + [1.25])
    for number, record in enumerate(records[:shown]):
        for row, (positions, faces) in enumerate(
            ((record["positions"], record["polygons"]), (record["true_positions"], record["true_polygons"]))
        ):
            axes = figure.add_subplot(grid[row, number])
            draw_mesh(axes, torch.tensor(positions).reshape(-1, 3), faces)
            if number == 0:
                axes.set_title(("generated", "given as a cloud of points")[row], fontsize=8, loc="left")
    axes = figure.add_subplot(grid[:, shown])
    counts = Counter(column(records, "euler"))
    keys = sorted(counts)
    axes.barh([str(k) for k in keys], [counts[k] for k in keys], color="#0072B2")
    axes.set(xlabel="meshes", ylabel="Euler characteristic (a torus: 0)")
    return figure
