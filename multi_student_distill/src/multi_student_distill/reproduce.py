"""The experiments of the README: more seeds, longer training and baselines, with the demo's classes and loop."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

from . import figures
from .claims import Claim, claims_table
from .configured import one_thread
from .demo import ENERGY, FD, densities, features_path, records, sample_rows, speed_record
from .denoisers import load_denoiser, student_path
from .evidence import (
    consistency_claims,
    digit_claims,
    markdown,
    speed_claims,
    study_claims,
    table,
    toy_claims,
    values,
)
from .experiment import Experiment
from .measure import teacher_record
from .results import rounded, save_figure, write_result

DIGITS = {
    "digits_k1": "1 small student",
    "digits_k2": "2 small students",
    "digits_k5": "5 small students",
    "digits_k5_equal": "5, equal compute (B / 5)",
    "digits_k5_random": "5, random parts",
    "digits_k5_shared": "5, pairs of all classes",
    "digits_k1_wide": "1 as large as 5 together",
    "digits_k1_plain": "1, no TSM",
    "digits_k5_plain": "5, no TSM",
    "same_k1": "1 of the teacher's size",
    "same_k2": "2 of the teacher's size",
    "adm_k1": "1, adversarial",
    "adm_k5": "5, adversarial",
}
NO_PAIRS = {"gan_tsm": "TSM", "gan_plain": "no TSM", "gan_post": "post-distillation"}


def reproduce(
    experiment: str = "all", *, out: str = "runs/multi_student_distill-reproduce", cifar_path: str | None = None
) -> int:
    """Measure what the README quotes; a run that was stopped goes on where it was.

    Args:
        experiment: digits, toy, pairs, cifar, or all of them (cifar only if its path is given).
        out: Folder for results and figures.
        cifar_path: Folder or zip file with train/CLASS/*.jpg of CIFAR-10, for cifar.
    """
    chosen = [n for n in EXPERIMENTS if n != "cifar" or cifar_path] if experiment == "all" else [experiment]
    for name in chosen:
        if name not in EXPERIMENTS:
            raise ValueError(f"unknown experiment {name!r}, choose from all, {', '.join(EXPERIMENTS)}")
        if name == "cifar" and not cifar_path:
            raise ValueError("cifar needs --cifar_path: a folder or zip file with train/CLASS/*.jpg of CIFAR-10")
        if name == "cifar" and not Path(cifar_path).exists():
            raise FileNotFoundError(f"{cifar_path}: no such file or folder")
    Path(out).mkdir(parents=True, exist_ok=True)
    for name in chosen:
        EXPERIMENTS[name](Path(out), cifar_path)
    return 0


def digits(out: Path, _: str | None) -> None:
    """Small students and students of the teacher's size on digits."""
    experiment = Experiment(["demo", "reproduce_digits"])
    experiment.finish_all(out, "digits")
    with one_thread():
        found = records(experiment, "images", out)
        teacher = load_denoiser(student_path(experiment.shared("teacher", out), 0))[0]
        settings = experiment.settings
        features = features_path(experiment, out)
        of_teacher = teacher_record(teacher, experiment.data, features, settings.samples, settings.feature_steps)
        speed = {
            cell: speed_record(experiment, teacher, cell, out)
            for cell in ("digits_k1", "digits_k5", "digits_k1_wide", "same_k1", "same_k2")
        }
        rows = sample_rows(experiment, teacher, {c: DIGITS[c] for c in ("digits_k1", "digits_k5", "adm_k5")}, out)
    claims = [*digit_claims(found), *study_claims(found), *speed_claims(speed["digits_k5"]), *same_size_speed(speed)]
    rows_of_table = table(found, ("fd", "cfd", "precision", "recall", "accuracy"))
    more = {"teacher": of_teacher, "latency": speed, "seconds": {r["cell"]: r["seconds"] for r in found}}
    write(out, "digits", experiment, claims, rows_of_table, **more, curves=loss_curves(found))
    lines = {
        "small, equal steps": {1: "digits_k1", 2: "digits_k2", 5: "digits_k5"},
        "small, equal compute": {1: "digits_k1", 2: "digits_k2_equal", 5: "digits_k5_equal"},
        "teacher's size": {1: "same_k1", 2: "same_k2"},
    }
    save_figure(out / "samples.png", figures.grid_figure(rows))
    save_figure(out / "digits.png", figures.compared_figure(found, DIGITS, "fd", FD))
    save_figure(out / "no_pairs.png", figures.compared_figure(found, NO_PAIRS, "fd", FD))
    save_figure(out / "students.png", figures.students_figure(found, lines, "fd", FD))
    chance = {c: DIGITS[c] for c in ("digits_k5", "digits_k5_random")}
    save_figure(out / "per_student.png", figures.per_student_figure(found, chance))
    fewer = {c: DIGITS[c] for c in ("digits_k1", "digits_k2", "digits_k5")}
    save_figure(out / "tsm.png", figures.curves_figure(found, fewer, "tsm", "loss", "TSM loss"))
    points = [("teacher, Heun-18", speed["digits_k1"]["teacher_ms"], of_teacher["fd"])]
    points += [(DIGITS[c], s["routed_ms"], float(values(found, c, "fd").mean())) for c, s in speed.items()]
    save_figure(out / "latency.png", figures.quality_latency_figure(points, FD))


def same_size_speed(speed: dict[str, dict]) -> list[Claim]:
    """The same speed claim for students of the teacher's size."""
    (claim,) = speed_claims(speed["same_k2"])
    return [replace(claim, id="same-size-speed", statement=f"Of the teacher's size: {claim.statement}")]


def loss_curves(found: Sequence[dict]) -> dict[str, dict]:
    """Reference loss curves of the first seed, by cell and stage."""
    first = min(r["seed"] for r in found)
    return {r["cell"]: r["curves"] for r in found if r["seed"] == first}


def toy(out: Path, _: str | None) -> None:
    """The two-dimensional toy, and consistency distillation on it."""
    experiment = Experiment(["demo", "reproduce_toy"])
    experiment.finish_all(out, "toy")
    with one_thread():
        found = records(experiment, "toy", out)
        shown = [r for r in found if r["cell"] in ("toy_k1", "toy_k4", "toy_k8")]
        panels = densities(experiment, shown, out)
    matched = [r for r in found if r["cell"].startswith("toy_k") and not r["cell"].endswith("equal")]
    claims = [*toy_claims(matched), *consistency_claims(found)]
    write(out, "toy", experiment, claims, table(found, ("energy", "histogram")), data=found[0]["histogram_of_data"])
    save_figure(out / "densities.png", figures.densities_figure(panels))
    lines = {
        "distribution matching": {k: f"toy_k{k}" for k in (1, 2, 4, 8)},
        "equal compute": {1: "toy_k1", 8: "toy_k8_equal"},
        "consistency distillation": {1: "cd_k1", 8: "cd_k8"},
    }
    save_figure(out / "toy.png", figures.students_figure(found, lines, "energy", ENERGY))


def pairs(out: Path, _: str | None) -> None:
    """How many pairs, how heavy, and whose: where the paper's remark on filtering them turns."""
    experiment = Experiment(["demo", "reproduce_pairs"])
    experiment.finish_all(out, "pairs")
    with one_thread():
        found = records(experiment, "images", out)
    cells = list(experiment.settings.cells)
    lines: dict[str, dict[int, str]] = {}
    for cell in cells:
        kind, count, weight = cell.split("_")[1:]
        lines.setdefault(f"{'all pairs' if kind == 'shared' else 'own pairs'}, λ = {weight}", {})[int(count)] = cell
    write(out, "pairs", experiment, [], table(found, ("fd", "cfd", "recall")))
    save_figure(out / "pairs.png", figures.sweep_figure(found, lines, FD))


def cifar(out: Path, path: str | None) -> None:
    """CIFAR-10 with small U-Nets: that the whole path works on photographs, not that the samples are good."""
    experiment = Experiment(["reproduce_cifar"], [f"--data.init_args.path={path}"])
    experiment.finish_all(out, "cifar")
    with one_thread():
        found = records(experiment, "images", out)
        teacher = load_denoiser(student_path(experiment.shared("teacher", out), 0))[0]
        settings = experiment.settings
        where = features_path(experiment, out)
        of_teacher = teacher_record(teacher, experiment.data, where, settings.samples, settings.feature_steps)
    rows = table(found, ("fd", "cfd", "precision", "recall"))
    write(out, "cifar", experiment, [], rows, teacher=of_teacher)


EXPERIMENTS: dict[str, Callable[[Path, str | None], None]] = {
    "digits": digits,
    "toy": toy,
    "pairs": pairs,
    "cifar": cifar,
}


def write(out: Path, name: str, experiment: Experiment, claims: Sequence[Claim], rows: Sequence[dict], **more) -> None:
    """`out`/NAME.json and the tables on the terminal: what was measured, at which seeds."""
    command = f"multi-student-distill reproduce {name}" + " --cifar_path PATH" * (name == "cifar")
    content = rounded({"seeds": experiment.settings.seeds, "table": rows, **more}, 4)
    write_result(out / f"{name}.json", command, claims, ("diffusers",), indent=None, **content)
    print(markdown(rows))
    print(claims_table(claims))
