"""The paper's claim on a laptop: bounds below every estimator, and learners whose error falls with k but not with M."""

from __future__ import annotations

import shlex
import time
from collections.abc import Sequence
from pathlib import Path

from pytorch_lightning import Trainer
from tqdm import tqdm

from . import figures
from .claims import Claim, claims_table, exit_status, write_claims
from .evidence import closed_form_claim, learner_claims, theory_claims
from .experiment import Experiment
from .gradient_map import GradientMAP, PolynomialHierarchy
from .results import save_figure
from .study import Record
from .sweep import TABLES, table
from .theory import TheorySettings, polynomial_example
from .tidy import write_csv

NOISE = 1.0  # of the novel task, at which the learners are compared


def demo(*, out: str = "runs/meta_bounds", seed: int = 0, fast: bool = False, strict: bool = False) -> int:
    """Show the paper's claim end to end: tables (CSV), figures and claims.json in OUT.

    Args:
        out: Folder for what it makes.
        seed: Shifts all seeds.
        fast: Seconds instead of minutes; the numbers then mean nothing.
        strict: Exit with status 1 when a claim does not hold.
    """
    start = time.perf_counter()
    folder = Path(out)
    folder.mkdir(parents=True, exist_ok=True)
    experiment = seeded(["demo", *(["fast"] if fast else [])], seed)

    theory, names = theory_part(experiment.theory, folder)
    records = experiment.finish_all(folder / "cells", "learners on sinusoids")
    claims = [*theory, *sinusoid_claims(records, experiment)]
    names = [*names, learners_part(records, experiment, folder)]
    command = f"meta-bounds demo --seed {seed}" + " --fast" * fast
    write_claims(folder, "meta_bounds", seed, time.perf_counter() - start, fast, command, claims, names)
    print(claims_table(claims, fast))
    print(f"figures, tables and claims.json: {shlex.quote(str(folder))}")
    return exit_status(claims, strict)


def seeded(configs: Sequence[str], seed: int) -> Experiment:
    """The experiment with the seeds of tasks and learners, and that of the theory's draws, shifted."""
    experiment = Experiment(configs)
    if not seed:
        return experiment
    seeds = [own + 100 * seed for own in dict.fromkeys(experiment.data.seeds)]
    return experiment.with_settings({"data.init_args.seeds": seeds, "theory.seed": experiment.theory.seed + seed})


def theory_part(settings: TheorySettings, folder: Path) -> tuple[list[Claim], list[str]]:
    """All tables of the theory with their figures; their claims and the figures' names."""
    save_figure(folder / "polynomials.png", figures.polynomial_figure(polynomial_example(settings)))
    names, tables = ["polynomials.png"], {}
    for name in tqdm(TABLES, desc="bounds and exact risks", unit="table"):
        tables[name], drawn = table(name, settings, folder)
        names += drawn
    return theory_claims(tables, gradient_map_distance(settings.seed)), names


def gradient_map_distance(seed: int) -> float:
    """How far the gradient MAP of the paper's polynomials ends from the closed form."""
    data = PolynomialHierarchy(seed=seed)
    model = GradientMAP(data.dim, data.count)
    Trainer(accelerator="cpu", barebones=True, max_steps=1).fit(model, train_dataloaders=data.train_dataloader())
    return float(model.distance(data.hierarchy).detach())


def sinusoid_claims(records: list[Record], experiment: Experiment) -> list[Claim]:
    """What the learners say of the theory's predictions."""
    data = experiment.data
    return [
        *learner_claims(records, data.tasks, data.shots, NOISE, ["maml", "basis_map"], "single_task"),
        closed_form_claim(records, data.tasks, data.shots, NOISE),
    ]


def learners_part(records: list[Record], experiment: Experiment, folder: Path) -> str:
    """The records as CSV and their figure; its name."""
    data = experiment.data
    write_csv(folder / "learners.csv", [vars(record) for record in records])
    what = f"squared error, support noise {NOISE:g}"
    figure = figures.learners_figure(records, data.tasks, data.shots, NOISE, data.shots[1], what)
    save_figure(folder / "learners.png", figure)
    return "learners.png"
