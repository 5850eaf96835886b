"""The paper's claim on a laptop: vectors in, manifold polygon meshes out; fitted, learned, repaired and generated."""

from __future__ import annotations

import shlex
import time
from collections.abc import Sequence
from pathlib import Path

import torch

from . import figures
from . import study as measure
from .claims import claims_table, exit_status, write_claims
from .cliques import clique_faces
from .configured import one_thread
from .data import ProceduralMeshes
from .errors import NotRepresentable
from .evidence import (
    distance_claims,
    fit_claims,
    generated_claims,
    learned_claims,
    random_claims,
    repair_claims,
)
from .experiment import Experiment
from .files import write_polygons
from .halfedge import HalfedgeMesh
from .repair import repair_mesh
from .results import save_figure
from .study import punctured
from .training import ConnectivityTraining


def demo(*, out: str = "runs/spacemesh", seed: int = 0, fast: bool = False, strict: bool = False) -> int:
    """Show the paper's claim end to end: figures, meshes, trained models and claims.json in OUT.

    Args:
        out: Folder for what it makes.
        seed: Of the weights, of the training and test meshes and of the fits.
        fast: Seconds instead of minutes; the numbers then mean nothing.
        strict: Exit with status 1 when a claim does not hold.
    """
    start = time.perf_counter()
    folder = Path(out)
    folder.mkdir(parents=True, exist_ok=True)
    experiment = seeded(["demo", *(["fast"] if fast else [])], seed)
    cells = folder / "cells"
    experiment.finish_all(cells, "models trained and meshes fitted")
    with one_thread():
        records = all_records(experiment, cells)
        model = experiment.cell("connectivity").trained(cells / "connectivity.pt")
        drawn = {
            "fits.png": figures.fits_figure(records["fits"]),
            "distances.png": figures.distances_figure(records["distances"], experiment.settings.dims),
            "scores.png": figures.scores_figure(records["learned"]),
            "learned.png": figures.learned_figure(learned_rows(model, experiment.data)),
            "repair.png": figures.repairs_figure(repair_rows(model, experiment.data.meshes(experiment.settings.split))),
            "generated.png": figures.generated_figure(records["generated"]),
        }
        write_examples(model, experiment.data, folder / "meshes")
    claims = all_claims(records, experiment)
    for name, figure in drawn.items():
        save_figure(folder / name, figure)
    command = f"spacemesh demo --seed {seed}" + " --fast" * fast
    write_claims(folder, "spacemesh", seed, time.perf_counter() - start, fast, command, claims, list(drawn))
    print(claims_table(claims, fast))
    print(f"figures, meshes and claims.json: {shlex.quote(str(folder))}")
    return exit_status(claims, strict)


def seeded(configs: Sequence[str], seed: int) -> Experiment:
    """The experiment with other weights, meshes and fits; `distance_seeds` and `random_meshes` stay what they are."""
    experiment = Experiment(configs)
    if not seed:
        return experiment
    shifted = [s + 1000 * seed for s in experiment.settings.fit_seeds]
    return experiment.with_settings({"seed_everything": seed, "data.init_args.seed": seed, "study.fit_seeds": shifted})


def all_records(experiment: Experiment, cells: Path) -> dict[str, list[dict]]:
    """What was measured, by kind."""
    model = experiment.cell("connectivity").trained(cells / "connectivity.pt")
    soup = experiment.cell("soup").trained(cells / "soup.pt")
    generation = experiment.cell("vertices")
    vertices = generation.trained(cells / "vertices.pt")
    settings, data = experiment.settings, experiment.data
    return {
        "fits": experiment.untrained("fits", cells),
        "distances": experiment.untrained("distances", cells),
        "random": experiment.untrained("random", cells),
        "learned": experiment.records(
            "learned", cells, lambda: measure.learned_records(model, data, soup, settings.split)
        ),
        "repair": experiment.records(
            "repair", cells, lambda: measure.repair_records(model, data.meshes(settings.split), settings)
        ),
        "generated": experiment.records(
            "generated", cells, lambda: measure.generated_records(vertices, model, generation.data, settings)
        ),
    }


def all_claims(records: dict[str, list[dict]], experiment: Experiment) -> list:
    """The claims of all records."""
    return [
        *fit_claims(records["fits"]),
        *distance_claims(records["distances"], experiment.settings.dims),
        *random_claims(records["random"]),
        *learned_claims(records["learned"]),
        *repair_claims(records["repair"]),
        *generated_claims(records["generated"]),
    ]


def learned_rows(model: ConnectivityTraining, data: ProceduralMeshes) -> list[tuple]:
    """One test mesh a family: what the model and the clique decoder make of it."""
    batch = next(iter(data.test_dataloader()))
    with torch.no_grad():
        evaluated = model.evaluated(batch)
    rows = []
    for family, (found, mesh, _) in zip(data.families, evaluated, strict=False):
        rings = clique_faces(found.source[found.mesh.edges], quads=True)
        rows.append((family, mesh.vertices, found.polygons(), rings, mesh.to_polygons()))
    return rows


def repair_rows(model: ConnectivityTraining, meshes: Sequence[HalfedgeMesh], shown: int = 3) -> list[tuple]:
    """The first meshes with a hole, repaired: vertices (V, 3), faces left, new faces and true faces of each."""
    rows: list[tuple] = []
    for number, mesh in enumerate(meshes):
        if len(rows) == shown:
            break
        left, _ = punctured(mesh, torch.Generator().manual_seed(number))
        try:
            repaired = repair_mesh(mesh.vertices, left, *model.embedding_of(mesh.vertices))
        except NotRepresentable:  # removal left a pinched vertex: no mesh to repair
            continue
        rows.append((mesh.vertices, left, repaired.new_faces, mesh.to_polygons()))
    return rows


def write_examples(model: ConnectivityTraining, data: ProceduralMeshes, folder: Path) -> None:
    """A test mesh of each family as OBJ, as decoded and as it is."""
    for family, vertices, decoded, _, true in learned_rows(model, data):
        write_polygons(folder / f"{family}_predicted.obj", vertices, decoded)
        write_polygons(folder / f"{family}_true.obj", vertices, true)
