"""The experiments of the README: the paper's figures with more designs, tasks, seeds and steps than the demo."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import torch

from . import figures
from .claims import Claim, claims_table
from .configured import quiet
from .demo import NOISE, gradient_map_distance, sinusoid_claims
from .evidence import NAMES, learner_claims, noise_study_claims, theory_claims
from .experiment import Experiment
from .results import save_figure, write_result
from .study import Record, mean_over_seeds, select
from .sweep import TABLES, table
from .task_tables import diabetes_tasks
from .theory import Row, TheorySettings, polynomial_example
from .tidy import write_csv
from .verbs import adapt_to, learn_from_others

SEEDS = (0, 1, 2, 3, 4)


def reproduce(
    experiment: str = "all", *, out: str = "runs/meta_bounds-reproduce", omniglot_dir: str = "data/omniglot"
) -> int:
    """Measure what the README quotes; a run that was stopped goes on where it was.

    Args:
        experiment: theory, sinusoids, noise, diabetes, omniglot (needs omniglot_dir), or all (the first four).
        out: Folder for results, tables and figures.
        omniglot_dir: Folder with images_background_small1.zip and images_background_small2.zip.
    """
    chosen = ["theory", "sinusoids", "noise", "diabetes"] if experiment == "all" else [experiment]
    for name in chosen:
        if name not in EXPERIMENTS:
            raise ValueError(f"unknown experiment {name!r}, choose from all, {', '.join(EXPERIMENTS)}")
    folder = Path(out)
    folder.mkdir(parents=True, exist_ok=True)
    quiet()
    for name in chosen:
        EXPERIMENTS[name](folder, omniglot_dir)
    return 0


def theory(out: Path, _: str) -> None:
    """Figures 1 and 2 and the bounds with 400 designs; the claims again for five seeds of 100."""
    settings = TheorySettings(designs=400, draws=100_000, instances=2000)
    save_figure(out / "polynomials.png", figures.polynomial_figure(polynomial_example(settings)))
    tables = {name: table(name, settings, out)[0] for name in TABLES}
    claims = theory_claims(tables, gradient_map_distance(0))
    by_seed = {}
    for seed in SEEDS:
        again = {name: compute(TheorySettings(seed=seed)) for name, (compute, _) in TABLES.items()}
        by_seed[seed] = theory_claims(again, gradient_map_distance(seed))
    repeated = {
        claim.id: {
            "holds": sum(of_seed[i].holds for of_seed in by_seed.values()),
            "measured": [of_seed[i].measured for of_seed in by_seed.values()],
        }
        for i, claim in enumerate(claims)
    }
    shown = {name: tables[name] for name in ("noise", "samples", "chain", "exchange")}
    write_result(
        out / "theory.json", "meta-bounds reproduce theory", claims, seeds=list(SEEDS), by_seed=repeated, tables=shown
    )
    print(claims_table(claims))
    print(f"of {len(SEEDS)} seeds: " + ", ".join(f"{name} {found['holds']}" for name, found in repeated.items()))


def sinusoids(out: Path, _: str) -> None:
    """Error against M and k on sinusoids, five seeds."""
    experiment = Experiment(["reproduce_sinusoids"])
    records = experiment.finish_all(out / "cells" / "sinusoids", "sinusoids")
    claims = sinusoid_claims(records, experiment)
    write(out, "sinusoids", experiment, records, claims, NOISE, f"squared error, support noise {NOISE:g}")


def noise(out: Path, _: str) -> None:
    """Figure 3: MAML against the novel noise, for n = 20 and n = 200."""
    records = []
    for samples in (20, 200):
        experiment = Experiment(["reproduce_noise"], [f"--data.init_args.samples={samples}"])
        records += experiment.finish_all(out / "cells" / f"noise-n{samples}", f"novel noise, n = {samples}")
    shots = experiment.data.shots
    claims = noise_study_claims(records, shots)
    save_figure(out / "novel_noise.png", figures.novel_noise_figure(records, "maml", shots))
    rows = means(records, ("samples", "shots", "noise"))
    write_csv(out / "novel_noise.csv", rows)
    write_result(
        out / "novel_noise.json",
        "meta-bounds reproduce noise",
        claims,
        seeds=list(dict.fromkeys(experiment.data.seeds)),
        table=rows,
    )
    print(claims_table(claims))


def omniglot(out: Path, omniglot_dir: str) -> None:
    """The same measurements on handwritten characters of novel alphabets."""
    experiment = Experiment(["reproduce_omniglot"], [f"--data.init_args.data_dir={omniglot_dir}"])
    records = experiment.finish_all(out / "cells" / "omniglot", "omniglot")
    data = experiment.data
    claims = learner_claims(records, data.tasks, data.shots, 0.0, ["maml", "principal_map"], "single_task")
    write(out, "omniglot", experiment, records, claims, 0.0, "share of wrong characters, 5 ways")


def diabetes(out: Path, _: str) -> None:
    """Each of six patient groups once the novel task, 20 choices of its k rows: held-out error by estimator."""
    table_, rows = diabetes_tasks().standardised(), []
    learnt = {task: learn_from_others(table_, task) for task in table_.names}
    for k in (2, 5, 10, 20, 40):
        found: dict[str, list[float]] = {}
        for task in table_.names:
            for seed in range(20):
                generator = torch.Generator().manual_seed(seed)
                for name, error in adapt_to(learnt[task], table_, task, k, generator).errors.items():
                    found.setdefault(name, []).append(error)
        for name, errors in found.items():
            values = torch.tensor(errors, dtype=torch.float64)
            by_task = values.reshape(len(table_.names), 20).mean(1)
            spread = float(by_task.std() / len(by_task) ** 0.5)
            rows.append({"k": k, "estimator": name, "error": float(values.mean()), "stderr": spread})
    write_result(out / "diabetes.json", "meta-bounds reproduce diabetes", [], seeds=list(range(20)), table=rows)
    print("| k | estimator | held-out mean squared error |\n|---|---|---|")
    for row in rows:
        print(f"| {row['k']} | {row['estimator']} | {row['error']:.0f} ± {row['stderr']:.0f} |")


EXPERIMENTS: dict[str, Callable[[Path, str], None]] = {
    "theory": theory,
    "sinusoids": sinusoids,
    "noise": noise,
    "diabetes": diabetes,
    "omniglot": omniglot,
}


def write(
    out: Path,
    name: str,
    experiment: Experiment,
    records: Sequence[Record],
    claims: Sequence[Claim],
    at_noise: float,
    what: str,
) -> None:
    """JSON, CSV, figure and the README's table of a study."""
    data = experiment.data
    rows = means(records, ("learner", "tasks", "shots", "noise"))
    write_csv(out / f"{name}.csv", rows)
    command = f"meta-bounds reproduce {name}" + " --omniglot_dir DIR" * (name == "omniglot")
    write_result(out / f"{name}.json", command, claims, seeds=list(dict.fromkeys(data.seeds)), table=rows)
    middle = data.shots[1]
    save_figure(out / f"{name}.png", figures.learners_figure(records, data.tasks, data.shots, at_noise, middle, what))
    print(markdown(records, data.tasks, data.shots, at_noise))
    print(claims_table(claims))


def means(records: Sequence[Record], keys: Sequence[str]) -> list[Row]:
    """Mean over seeds and its standard error, for every combination of `keys` that was measured."""
    cells = dict.fromkeys(tuple(getattr(record, key) for key in keys) for record in records)
    rows = []
    for cell in cells:
        wanted = dict(zip(keys, cell, strict=True))
        error, stderr = mean_over_seeds(records, **wanted)
        rows.append({**wanted, "error": error, "stderr": stderr})
    return rows


def markdown(records: Sequence[Record], tasks: Sequence[int], shots: Sequence[int], at_noise: float) -> str:
    """Errors by learner, M and k."""
    lines = ["| learner | M | " + " | ".join(f"k = {k}" for k in shots) + " |", "|---" * (2 + len(shots)) + "|"]
    for learner in dict.fromkeys(record.learner for record in records):
        for M in (M for M in tasks if select(records, learner=learner, tasks=M)):
            found = [mean_over_seeds(records, learner=learner, tasks=M, shots=k, noise=at_noise) for k in shots]
            cells = " | ".join(f"{error:.3g} ± {stderr:.1g}" for error, stderr in found)
            lines.append(f"| {NAMES[learner]} | {'–' if learner == 'single_task' else M} | {cells} |")
    return "\n".join(lines)
