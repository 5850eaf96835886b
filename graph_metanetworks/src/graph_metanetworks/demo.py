"""The paper's claim on a laptop: any network is read by one graph network, and its symmetries are kept."""

from __future__ import annotations

import shlex
import time
from collections.abc import Sequence
from pathlib import Path

from matplotlib.figure import Figure

from . import figures
from .claims import Claim, claims_table, exit_status, write_claims
from .evidence import (
    accuracy_claims,
    certificate_claims,
    certificates,
    contrastive_claims,
    editing_claims,
    permuted_outputs,
)
from .experiment import Experiment
from .results import save_figure
from .study import Record
from .tables import accuracy_table
from .zoo_data import family_graph


def demo(*, out: str = "runs/graph_metanetworks", seed: int = 0, fast: bool = False, strict: bool = False) -> int:
    """Show the paper's claim end to end: figures, a zoo, symmetry certificates and claims.json in OUT.

    Args:
        out: Folder for what it makes.
        seed: Of initial weights, orders and the zoo.
        fast: Seconds instead of minutes; the numbers then mean nothing.
        strict: Exit with status 1 when a claim does not hold.
    """
    start = time.perf_counter()
    folder = Path(out)
    folder.mkdir(parents=True, exist_ok=True)
    experiment = seeded(["demo", *["fast"] * fast], seed)
    experiment.prepare(folder, "zoos and SIRENs")
    records = experiment.finish_all(folder, "metanets trained and judged")
    outputs = permuted_outputs(seed=seed)
    spread = {name: float((output - output.mean(0)).abs().max()) for name, output in outputs.items()}
    claims = [
        *certificate_claims(certificates(), spread),
        *accuracy_claims(records),
        *editing_claims(records),
        *contrastive_claims(records),
    ]
    drawn = all_figures(records, side=8) | {
        "invariance.png": figures.invariance_figure(outputs),
        "graph.png": figures.graph_figure(family_graph("vit", 4)),
    }
    for name, figure in drawn.items():
        save_figure(folder / name, figure)
    command = f"graph-metanetworks demo --seed {seed}" + " --fast" * fast
    write_claims(folder, "graph_metanetworks", seed, time.perf_counter() - start, fast, command, claims, list(drawn))
    print(accuracy_table(records))
    print(claims_table(claims, fast))
    print(f"figures and claims.json: {shlex.quote(str(folder))}")
    return exit_status(claims, strict)


def seeded(configs: Sequence[str], seed: int) -> Experiment:
    """The experiment with its seeds shifted."""
    experiment = Experiment(configs)
    shifted = [s + 1000 * seed for s in experiment.settings.seeds]
    return experiment.with_settings({"study.seeds": shifted, "data.init_args.zoo_seed": seed}) if seed else experiment


def all_figures(records: Sequence[Record], side: int) -> dict[str, Figure]:
    """File name -> figure, for the experiments that were run; images are of side x side pixels."""
    found: dict[str, Figure] = {}
    ran = {record.experiment for record in records}
    if "accuracy" in ran:
        found["accuracy.png"] = figures.accuracy_figure(records)
        found["comparison.png"] = figures.comparison_figure(records)
    if "editing" in ran:
        found["editing.png"] = figures.editing_figure(records, side)
    if "contrastive" in ran:
        found["embedding.png"] = figures.embedding_figure(records)
    return found


def all_claims(records: Sequence[Record]) -> list[Claim]:
    """The claims of the experiments that were run."""
    ran = {record.experiment for record in records}
    claims = accuracy_claims(records) if "accuracy" in ran else []
    claims += editing_claims(records) if "editing" in ran else []
    return claims + (contrastive_claims(records) if "contrastive" in ran else [])
