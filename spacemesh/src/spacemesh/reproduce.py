"""The experiments of the README: more seeds, longer training and real meshes, with the demo's classes and loop."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path

from . import figures
from . import study as measure
from .claims import Claim, claims_table, mean_and_error
from .collection import CollectionTraining
from .configured import one_thread
from .demo import learned_rows, repair_rows
from .embedding import EmbeddingSizes
from .evidence import (
    collection_claims,
    column,
    distance_claims,
    fit_claims,
    generated_claims,
    learned_claims,
    random_claims,
    repair_claims,
    seeds_claims,
)
from .experiment import Experiment
from .files import read_mesh
from .fit import FitSettings, fit_mesh
from .results import save_figure, write_result


def reproduce(experiment: str = "all", *, out: str = "runs/spacemesh-reproduce", meshes_dir: str | None = None) -> int:
    """Measure what the README quotes; a run that was stopped goes on where it was.

    Args:
        experiment: fit, learn, generate, collection, meshes, or all of them (meshes only if its folder is given).
        out: Folder for results and figures.
        meshes_dir: Folder of mesh files that `meshes` fits.
    """
    chosen = [name for name in EXPERIMENTS if name != "meshes" or meshes_dir] if experiment == "all" else [experiment]
    for name in chosen:
        if name not in EXPERIMENTS:
            raise ValueError(f"unknown experiment {name!r}, choose from all, {', '.join(EXPERIMENTS)}")
    if "meshes" in chosen:
        mesh_files(meshes_dir)
    Path(out).mkdir(parents=True, exist_ok=True)
    for name in chosen:
        EXPERIMENTS[name](Path(out), meshes_dir)
    return 0


def fit(out: Path, _: str | None) -> None:
    """Single meshes, distances and random embeddings, with more seeds."""
    experiment, cells = Experiment(["demo", "reproduce_fit"]), out / "cells" / "fit"
    experiment.finish_all(cells, "fit")
    fits, distances, random = (experiment.untrained(name, cells) for name in ("fits", "distances", "random"))
    claims = [
        *fit_claims(fits),
        *distance_claims(distances, experiment.settings.dims),
        *random_claims(random),
    ]
    table, ends = [drop(r, "history", "decoded") for r in fits], [drop(r, "curve") for r in distances]
    write(out, "fit", experiment, claims, fits=table, distances=ends)
    save_figure(out / "fits.png", figures.fits_figure(fits))
    save_figure(out / "distances.png", figures.distances_figure(distances, experiment.settings.dims))


def learn(out: Path, _: str | None) -> None:
    """Connectivity of unseen vertices, three seeds, with a family that training never shows, and repair."""
    experiment, cells = Experiment(["demo", "reproduce_learn"]), out / "cells" / "learn"
    experiment.finish_all(cells, "learn", ())
    of_seed, repairs, wide = [], [], []
    for seed in (cell.removeprefix("connectivity_") for cell in experiment.settings.cells if "connectivity" in cell):
        learned, unseen, repaired = seed_records(experiment, seed, cells)
        of_seed.append(learned)
        wide.append(unseen)
        repairs.append(repaired)
    learned = [record for records in of_seed for record in records]
    claims = [
        *seeds_claims(of_seed),
        *learned_claims(learned),
        *repair_claims([record for records in repairs for record in records]),
    ]
    table = rows_by_family(learned + [record for records in wide for record in records])
    write(out, "learn", experiment, claims, by_family=table)
    save_figure(out / "scores.png", figures.scores_figure(learned + [record for records in wide for record in records]))
    first = experiment.cell("connectivity_0")
    with one_thread():
        model = first.trained(cells / "connectivity_0.pt")
        save_figure(out / "learned.png", figures.learned_figure(learned_rows(model, first.data)))
        save_figure(out / "repair.png", figures.repairs_figure(repair_rows(model, first.data.meshes("test"))))
    print(markdown(table))


def seed_records(experiment: Experiment, seed: str, cells: Path) -> tuple[list[dict], list[dict], list[dict]]:
    """One seed's records: unseen meshes, the family held out, and repair."""
    own = experiment.cell(f"connectivity_{seed}")
    model = own.trained(cells / f"connectivity_{seed}.pt")
    soup = experiment.cell(f"soup_{seed}").trained(cells / f"soup_{seed}.pt")
    held_out = own.with_settings({"data.init_args.families": ["wide prisms"]})
    return (
        own.records(f"learned_{seed}", cells, lambda: measure.learned_records(model, own.data, soup, "test")),
        held_out.records(f"wide_{seed}", cells, lambda: measure.learned_records(model, held_out.data, soup, "test")),
        own.records(
            f"repair_{seed}", cells, lambda: measure.repair_records(model, own.data.meshes("test"), own.settings)
        ),
    )


def generate(out: Path, _: str | None) -> None:
    """Tori from clouds of points: a longer training of the toy model."""
    experiment, cells = Experiment(["demo", "reproduce_generate"]), out / "cells" / "generate"
    experiment.finish_all(cells, "generate", ())
    model = experiment.cell("connectivity").trained(cells / "connectivity.pt")
    generation = experiment.cell("vertices")
    vertices = generation.trained(cells / "vertices.pt")
    records = experiment.records(
        "generated",
        cells,
        lambda: measure.generated_records(vertices, model, generation.data, experiment.settings),
    )
    kept = [drop(r, "positions", "polygons", "true_positions", "true_polygons") for r in records]
    write(out, "generate", experiment, generated_claims(records), generated=kept)
    save_figure(out / "generated.png", figures.generated_figure(records))


def collection(out: Path, _: str | None) -> None:
    """A collection of meshes, each from its code."""
    experiment, cells = Experiment(["collection"]), out / "cells" / "collection"
    model = experiment.trained(cells / "collection.pt")
    if not isinstance(model, CollectionTraining):
        raise ValueError("the config collection must have a CollectionTraining")
    records = experiment.records("collection", cells, lambda: measure.collection_records(model, experiment.data))
    write(out, "collection", experiment, collection_claims(records), meshes=records)


def meshes(out: Path, meshes_dir: str | None) -> None:
    """Real meshes from files, fitted until they decode exactly."""
    records = []
    with one_thread():
        for path in mesh_files(meshes_dir):
            mesh = read_mesh(path)
            sizes = EmbeddingSizes(hole=4 if bool(mesh.is_hole.any()) else 0)
            for spectral in (False, True):
                result = fit_mesh(mesh, FitSettings(sizes, steps=2000, spectral=spectral))
                records.append(
                    {
                        "shape": path.name,
                        "vertices": len(mesh.vertices),
                        "genus": mesh.genus,
                        "start": "spectral" if spectral else "noise",
                        "exact": result.exact,
                        "steps": result.steps,
                    }
                )
    write(out, "meshes", None, fit_claims(records), fits=records)


def mesh_files(meshes_dir: str | None) -> list[Path]:
    """The OBJ, PLY and OFF files of a folder, by name.

    Raises:
        ValueError: no folder is given, or there are none in it. FileNotFoundError: no such folder.
    """
    if not meshes_dir:
        raise ValueError("meshes needs a folder: --meshes_dir DIR")
    if not Path(meshes_dir).is_dir():
        raise FileNotFoundError(f"{meshes_dir}: no such folder")
    paths = sorted(p for p in Path(meshes_dir).iterdir() if p.suffix.lower() in (".obj", ".ply", ".off"))
    if not paths:
        raise ValueError(f"{meshes_dir}: no OBJ, PLY or OFF files")
    return paths


EXPERIMENTS: dict[str, Callable[[Path, str | None], None]] = {
    "fit": fit,
    "learn": learn,
    "generate": generate,
    "collection": collection,
    "meshes": meshes,
}


def drop(record: dict, *names: str) -> dict:
    """A record without some fields."""
    return {key: value for key, value in record.items() if key not in names}


def rows_by_family(records: Sequence[dict]) -> list[dict]:
    """Means and standard errors over meshes of all seeds, a row a family."""
    shown = ("edge_f1", "oracle_f1", "face_f1", "unoriented_f1", "ring_f1", "soup_f1", "exact", "simple")
    rows = []
    for family in dict.fromkeys(column(records, "family")):
        own = [r for r in records if r["family"] == family]
        rows.append(
            {"family": family, "meshes": len(own)} | {name: mean_and_error(column(own, name)) for name in shown}
        )
    return rows


def markdown(rows: Sequence[dict]) -> str:
    """The table of the README."""
    heads = {
        "edge_f1": "edge F1",
        "oracle_f1": "best radius",
        "face_f1": "face F1",
        "ring_f1": "triangles and rings",
        "soup_f1": "triangle soup",
        "exact": "exact meshes",
    }
    lines = [" | ".join(["| family", "meshes", *heads.values()]) + " |", "|---" * (2 + len(heads)) + "|"]
    for row in rows:
        cells = [f"{row[name][0]:.3f} ± {row[name][1]:.3f}" for name in heads]
        lines.append(f"| {row['family']} | {row['meshes']} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def write(out: Path, name: str, experiment: Experiment | None, claims: Sequence[Claim], **tables) -> None:
    """`out`/NAME.json, and the claims on the terminal."""
    command = f"spacemesh reproduce {name}" + " --meshes_dir DIR" * (name == "meshes")
    settings = experiment.described() | {"study": asdict(experiment.settings)} if experiment else {}
    write_result(out / f"{name}.json", command, claims, ("diffusers", "scipy"), settings=settings, **tables)
    print(claims_table(claims))
