"""The paper's claims on a laptop: all stages, what their parts are good for, and meshes in one pass."""

from __future__ import annotations

import shlex
import time
from collections.abc import Sequence
from pathlib import Path

from . import evidence, figures
from .baselines import constant_iou, nearest_caption_iou
from .claims import claims_table, exit_status, write_claims
from .configured import one_thread
from .evidence import Run
from .experiment import Experiment
from .gallery import crop_rows, gallery_rows, largest_change
from .pipeline import Latte3DPipeline
from .results import save_figure
from .shapes import Shape
from .study import CellResult

COLUMNS = ("truth", "stage 1, text", "stage 2, text", "stage 2, own cloud")


def demo(*, out: str = "runs/latte3d", seed: int = 0, fast: bool = False, strict: bool = False) -> int:
    """Show the paper's claims end to end: figures, meshes, trained weights of all stages and claims.json in OUT.

    Args:
        out: Folder for what it makes.
        seed: Of shapes, weights, cameras and noise.
        fast: Seconds instead of minutes; the numbers then mean nothing.
        strict: Exit with status 1 when a claim does not hold.
    """
    start = time.perf_counter()
    folder = Path(out)
    folder.mkdir(parents=True, exist_ok=True)
    experiment = seeded(["demo", *(["fast"] if fast else [])], seed)
    cells = experiment.finish_all(folder / "cells", "trainings")
    with one_thread():
        runs = [run_of(experiment, cells)]
        seconds = latency(cells["surface"], folder)
        claims = [
            *evidence.learning_claims(runs),
            *evidence.surface_claims(runs),
            evidence.frozen_claim(largest_change(cells["full"].checkpoint, cells["surface"].checkpoint)),
            evidence.latency_claim(seconds),
        ]
        both = cells["full"].checkpoint, cells["surface"].checkpoint
        shapes = experiment.drawn().shapes.held_out
        drawn = {
            "arms.png": figures.arms_figure(runs),
            "gallery.png": figures.gallery_figure(gallery_rows(*both, one_of_each(shapes)[:6]), COLUMNS),
            "detail.png": figures.gallery_figure(
                crop_rows(*both, patterned(shapes)[:3]), ("truth", "stage 1", "stage 2"), 1.5
            ),
        }
        write_meshes(cells["surface"], one_of_each(shapes)[:4], folder)
    for name, figure in drawn.items():
        save_figure(folder / name, figure)
    command = f"latte3d demo --seed {seed}" + " --fast" * fast
    write_claims(folder, "latte3d", seed, time.perf_counter() - start, fast, command, claims, list(drawn))
    print(claims_table(claims, fast))
    print(f"figures, meshes, weights and claims.json: {shlex.quote(str(folder))}")
    return exit_status(claims, strict)


def seeded(configs: Sequence[str], seed: int) -> Experiment:
    """The experiment with other shapes, weights, cameras and noise; priors and judge stay what they are."""
    sections = ("seed_everything", "model.init_args.seed", "data.init_args.seed")
    return Experiment(configs, [f"--{section}={seed}" for section in sections])


def run_of(experiment: Experiment, cells: dict[str, CellResult]) -> Run:
    """Cells beside the baselines on the same held-out shapes."""
    data = experiment.drawn()
    data.setup()
    constant = constant_iou(data.train, data.held_out).tolist()
    nearest = nearest_caption_iou(data.train, data.held_out, experiment.model.text).tolist()
    return Run(cells, constant, nearest)


def one_of_each(shapes: Sequence[Shape]) -> list[Shape]:
    """The first shape of every kind."""
    return list({shape.triple: shape for shape in reversed(shapes)}.values())[::-1]


def patterned(shapes: Sequence[Shape]) -> list[Shape]:
    """The first shape of every kind that has a pattern."""
    return one_of_each([shape for shape in shapes if shape.pattern != "plain"])


def latency(cell: CellResult, folder: Path) -> dict[str, float]:
    """What the parts of one pass take, the best of three after the first."""
    pipeline, taken = Latte3DPipeline.from_pretrained(cell.checkpoint), []
    for _ in range(4):
        (mesh,) = pipeline(["a tall striped red cylinder with a blue ball on top"])
        begin = time.perf_counter()
        mesh.export(folder / "one_pass.glb")
        taken.append(pipeline.seconds | {"export": time.perf_counter() - begin})
    return min(taken[1:], key=lambda seconds: sum(seconds.values()))


def write_meshes(cell: CellResult, shapes: Sequence[Shape], folder: Path) -> None:
    """Meshes of unseen prompts; one that is empty is said and left out."""
    pipeline = Latte3DPipeline.from_pretrained(cell.checkpoint)
    for prompt in (shape.caption() for shape in shapes):
        try:
            (mesh,) = pipeline([prompt])
        except ValueError as error:
            print(f"no mesh of {prompt!r}: {error}")
            continue
        mesh.export(folder / "meshes" / f"{prompt.replace(' ', '_')}.glb")
