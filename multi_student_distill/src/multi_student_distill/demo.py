"""The paper's claim on a laptop: several one-step students, each for its part, against one by the same recipe."""

from __future__ import annotations

import shlex
import time
from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor

from . import figures, measure
from .claims import claims_table, exit_status, write_claims
from .configured import one_thread
from .denoisers import load_denoiser, student_path
from .edm import edm_sampler
from .evidence import cost_claim, digit_claims, speed_claims, toy_claims
from .experiment import Experiment
from .results import save_figure
from .step_noise import StepNoise
from .study import seeds_of

NAMES = {"digits_k1": "one student", "digits_k5": "five students"}


def demo(*, out: str = "runs/multi_student_distill", seed: int = 0, fast: bool = False, strict: bool = False) -> int:
    """Show the paper's claim end to end: figures, trained students and claims.json in OUT.

    Args:
        out: Folder for what it makes.
        seed: Of teacher, students and noise.
        fast: Seconds instead of minutes; the numbers then mean nothing.
        strict: Exit with status 1 when a claim does not hold.
    """
    start = time.perf_counter()
    folder = Path(out)
    folder.mkdir(parents=True, exist_ok=True)
    experiment = seeded(["demo", *["fast"] * fast], seed)
    experiment.finish_all(folder, "students")
    with one_thread():
        toys = records(experiment, "toy", folder)
        digits = records(experiment, "images", folder)
        teacher = load_denoiser(student_path(experiment.shared("teacher", folder), 0))[0]
        speed = speed_record(experiment, teacher, "digits_k5", folder)
        drawn = {
            "densities.png": figures.densities_figure(densities(experiment, toys, folder)),
            "samples.png": figures.grid_figure(sample_rows(experiment, teacher, NAMES, folder)),
            "toy.png": figures.students_figure(
                toys, {"toy": {r["students"]: r["cell"] for r in toys}}, "energy", ENERGY
            ),
            "digits.png": figures.compared_figure(digits, NAMES, "fd", FD),
            "per_student.png": figures.per_student_figure(digits, {"digits_k5": NAMES["digits_k5"]}),
            "tsm.png": figures.curves_figure(digits, NAMES, "tsm", "loss", "TSM loss"),
        }
    claims = [*toy_claims(toys), *digit_claims(digits), cost_claim(digits), *speed_claims(speed)]
    for name, figure in drawn.items():
        save_figure(folder / name, figure)
    command = f"multi-student-distill demo --seed {seed}" + " --fast" * fast
    seconds = time.perf_counter() - start
    write_claims(folder, "multi_student_distill", seed, seconds, fast, command, claims, list(drawn))
    print(claims_table(claims, fast))
    print(f"figures, students and claims.json: {shlex.quote(str(folder))}")
    return exit_status(claims, strict)


def seeded(configs: Sequence[str], seed: int) -> Experiment:
    """The experiment of the configs at one seed, of the teacher too."""
    return Experiment(configs, [f"--seed_everything={seed}", f"--study.seeds=[{seed}]"])


ENERGY = "energy distance × 1000"
FD = "Fréchet distance to digits"


def records(experiment: Experiment, kind: str, out: Path) -> list[dict]:
    """The records of all cells whose data is a mixture (`toy`) or `images`, at all seeds."""
    settings, found = experiment.settings, []
    for cell in [c for c in settings.cells if is_toy(c) == (kind == "toy")]:
        for seed in seeds_of(settings, cell):
            found.append(experiment.record(kind, cell, seed, out, taker(experiment, kind, out)))
    return found


def is_toy(cell: str) -> bool:
    """Whether a cell trains on a mixture."""
    return cell.startswith(("toy_", "cd_"))


def taker(experiment: Experiment, kind: str, out: Path):
    """What measures one cell's students."""
    settings = experiment.settings
    if kind == "toy":
        return lambda own, folder: measure.toy_record(own, folder, settings.samples)
    features = features_path(experiment, out)
    return lambda own, folder: measure.image_record(own, folder, features, settings.samples, settings.feature_steps)


def features_path(experiment: Experiment, out: Path) -> Path:
    """Where the feature network of the experiment's images is, which all cells share."""
    return out / f"features-{type(experiment.data).__name__}-{experiment.settings.feature_steps}.pt"


def students_of(experiment: Experiment, cell: str, out: Path):
    """The trained students of a cell at the first seed, and their data."""
    own, folder = experiment.cell(cell, experiment.settings.seeds[0], out)[-1]
    return measure.loaded(folder, own.data.partition), own.data


def speed_record(experiment: Experiment, teacher: torch.nn.Module, cell: str, out: Path) -> dict:
    """Latencies of a cell's students."""
    students, data = students_of(experiment, cell, out)
    return measure.latency_record(teacher, students, data.partition, data.shape)


def densities(experiment: Experiment, toys: Sequence[dict], out: Path, count: int = 40000) -> dict[str, Tensor]:
    """Samples of the teacher and of each toy cell."""
    panels: dict[str, Tensor] = {}
    for record in [r for r in toys if r["seed"] == experiment.settings.seeds[0]]:
        students, data = students_of(experiment, record["cell"], out)
        if not panels:
            panels["teacher"] = data.load("test").x[:count]
        made, _ = measure.routed_samples(students, data.partition, data.shape, count)
        word = "student" if len(students) == 1 else "students"
        panels[f"{len(students)} {word}"] = made
    return panels


def sample_rows(
    experiment: Experiment, teacher: torch.nn.Module, names: dict[str, str], out: Path
) -> dict[str, Tensor]:
    """Digits of the data, of the teacher's sampler and of students, from the same noise and labels."""
    labels = torch.arange(10).repeat_interleave(2)
    rows: dict[str, Tensor] = {}
    for cell, name in names.items():
        students, data = students_of(experiment, cell, out)
        z = StepNoise([1], 0, measure.SAMPLE_STREAM).normal(len(labels), *data.shape)
        if not rows:
            source = data.load("train")
            first = torch.cat([(source.labels == c).nonzero().flatten()[:2] for c in range(10)])
            rows = {"data": source.x[first], "teacher, 35 evaluations": edm_sampler(teacher, z, labels)[0]}
        with torch.no_grad():
            chosen = data.partition.assignment[labels]
            rows[name] = measure.route(measure.generators(students), chosen, z, labels)
    return rows
