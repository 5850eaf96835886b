"""The experiments of the README: three seeds, 600 shared episodes, all methods, a correlation sweep, real drawings."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from . import figures
from .bins import binned, paired_differences, scores_of
from .claims import Claim, claims_table
from .configured import one_thread
from .demo import study_figures
from .evidence import (
    NONE,
    STRONG,
    accuracies,
    bin_claims,
    by_seed,
    difference,
    face_claims,
    sweep_claims,
    toy_claims,
)
from .experiment import Experiment
from .intervals import over_episodes, pooled
from .results import save_figure, write_result
from .study import Record
from .tables import markdown
from .toy import closed_forms, toy_result, toy_world, train_toy
from .transferability import bin_of, equal_width_edges

PACKAGES = ("scipy", "scikit-learn")  # of whose versions measurements depend too
PAIRS = (("U", "SA"), ("UFTA", "SA"), ("UFTA", "U"), ("UFTE", "U"), ("SA*", "UFTA"))


def reproduce(
    experiment: str = "all", *, out: str = "runs/flexible_fewshot-reproduce", omniglot_dir: str = "data/omniglot"
) -> int:
    """Measure what the README quotes; a run that was stopped goes on where it was.

    Args:
        experiment: faces, sweep, toy, digits, omniglot (needs omniglot_dir), or all (the first four).
        out: Folder for results and figures.
        omniglot_dir: Folder with images_background_small1.zip and strokes_background_small1.zip.
    """
    chosen = ["faces", "sweep", "toy", "digits"] if experiment == "all" else [experiment]
    for name in chosen:
        if name not in EXPERIMENTS:
            raise ValueError(f"unknown experiment {name!r}, choose from all, {', '.join(EXPERIMENTS)}")
    folder = Path(out)
    folder.mkdir(parents=True, exist_ok=True)
    for name in chosen:
        EXPERIMENTS[name](folder, omniglot_dir)
    return 0


def faces(out: Path, _: str) -> None:
    """The main table on correlated attributes, and finetuning on independent ones."""
    experiment = Experiment(["demo", "reproduce_faces"])
    records = experiment.finish_all(out / "cells", "faces")
    write(out, "faces", experiment, records, face_claims(records), [STRONG, NONE])
    study_figures(experiment, records, out, out / "cells", experiment.settings.seeds[0], "faces_")


def sweep(out: Path, _: str) -> None:
    """The gain of finetuning against ρ and against the T-score of episodes; ρ = 0 and 2.5 are those of `faces`."""
    main, more = Experiment(["demo", "reproduce_faces"]), Experiment(["demo", "reproduce_sweep"])
    records = [r for r in main.finish_all(out / "cells", "faces") if r.condition in (STRONG, NONE)]
    records += more.finish_all(out / "cells", "sweep")
    conditions = {**main.settings.conditions, **more.settings.conditions}
    rhos = sorted(((c, float(s["data.init_args.rho"])) for c, s in conditions.items()), key=lambda pair: pair[1])
    source = {c: (main if c in main.settings.conditions else more) for c, _ in rhos}
    scores = {
        (condition, k): scores_of(source[condition].cell(condition, seed, "U").data)
        for condition, _ in rhos
        for k, seed in enumerate(source[condition].settings.seeds)
    }
    means = [float(np.mean([v for (c, _), v in scores.items() if c == condition])) for condition, _ in rhos]
    save_figure(out / "sweep.png", figures.sweep_figure(records, rhos, means))
    gains, t_scores = {}, {}
    for method in ("SA", "UFTA"):
        measured = {r.condition for r in records if r.method == method}
        cells = [cell for cell in scores if cell[0] in measured]
        gains[method] = paired_differences(records, cells, method, "U")
        t_scores[method] = np.concatenate([scores[cell] for cell in cells])
    edges = equal_width_edges(t_scores["UFTA"])
    bins = {m: binned(gains[m], t_scores[m], edges) for m in gains}
    counts = bins["UFTA"][1]
    save_figure(
        out / "sweep_t_score.png", figures.bins_figure({m: found for m, (found, _) in bins.items()}, edges, counts)
    )
    claims = [*sweep_claims(records, rhos), *bin_claims(gains["UFTA"], bin_of(t_scores["UFTA"], edges))]
    content = {
        "mean_t_score": dict(zip([c for c, _ in rhos], means, strict=True)),
        "bins": {"edges": edges.tolist(), "episodes": counts, **{m: found for m, (found, _) in bins.items()}},
    }
    write(out, "sweep", more, records, claims, [c for c, _ in rhos], content)


def toy(out: Path, _: str) -> None:
    """The paper's 30,000 episodes, ours of 5,000 with five seeds, and the usual few-shot problem for control."""
    experiment = Experiment(["demo"])
    with one_thread():
        long = train_toy(replace(experiment.toy, steps=30_000), experiment.toy_trainer)
        control = train_toy(replace(experiment.toy, flexible=False), experiment.toy_trainer)
        short = [train_toy(replace(experiment.toy, seed=seed), experiment.toy_trainer) for seed in range(5)]
    world = toy_world(experiment.toy)
    references = {name: toy_result(W, world, experiment.toy) for name, W in closed_forms(world).items()}
    named = {"30000 episodes": long, "control, one-hot": control, **references}
    named |= {f"5000 episodes, seed {seed}": found for seed, found in enumerate(short)}
    rows = {name: {"train": r.train, "test": r.test, "ratio": r.ratio} for name, r in named.items()}
    save_figure(out / "toy.png", figures.toy_figure(long, references))
    claims = toy_claims(long)
    write_result(out / "toy.json", "flexible-fewshot reproduce toy", claims, PACKAGES, table=rows)
    print("| W | train attributes, % | test attributes, % | ratio of column norms |\n|---|---|---|---|")
    for name, row in rows.items():
        print(f"| {name} | {row['train']:.1f} | {row['test']:.1f} | {row['ratio']:.1f} |")
    print(claims_table(claims))


def digits(out: Path, _: str) -> None:
    """The same methods on scikit-learn's digits, with nothing tuned."""
    experiment = Experiment(["demo", "reproduce_digits"])
    records = experiment.finish_all(out / "cells", "digits")
    write(out, "digits", experiment, records, [], ["digits"])
    save_figure(out / "digits_bars.png", figures.bars_figure(records, "digits"))


def omniglot(out: Path, omniglot_dir: str) -> None:
    """The same methods on real drawings with attributes of their strokes, with nothing tuned."""
    experiment = Experiment(["demo", "reproduce_omniglot"], [f"--data.init_args.data_dir={omniglot_dir}"])
    records = experiment.finish_all(out / "cells", "omniglot")
    write(out, "omniglot", experiment, records, [], ["omniglot"])
    save_figure(out / "omniglot_bars.png", figures.bars_figure(records, "omniglot"))
    data = experiment.cell("omniglot", experiment.settings.seeds[0], "U").data
    frozen = data.episodes("test")
    shown = [next(i for i, c in enumerate(frozen.contexts) if len(c) == n) for n in (1, 2)]
    save_figure(
        out / "omniglot_episodes.png", figures.episodes_figure(data.pool("test"), frozen, [*shown, shown[-1] + 1])
    )


EXPERIMENTS: dict[str, Callable[[Path, str], None]] = {
    "faces": faces,
    "sweep": sweep,
    "toy": toy,
    "digits": digits,
    "omniglot": omniglot,
}


def write(
    out: Path,
    name: str,
    experiment: Experiment,
    records: Sequence[Record],
    claims: Sequence[Claim],
    conditions: Sequence[str],
    more: dict | None = None,
) -> None:
    """`out`/NAME.json and the tables on the terminal: means with intervals, by seed, paired differences, claims."""
    data = experiment.data
    content = {
        "seeds": experiment.settings.seeds,
        "episodes": data.n_episodes,
        "queries": data.queries,
        "table": [row for condition in conditions for row in table(records, condition)],
        "paired": {condition: paired_rows(records, condition) for condition in conditions},
        **(more or {}),
    }
    command = f"flexible-fewshot reproduce {name}" + " --omniglot_dir DIR" * (name == "omniglot")
    write_result(out / f"{name}.json", command, claims, PACKAGES, indent=None, **content)
    for condition in conditions:
        print(f"\n{condition}\n{markdown(records, condition)}")
        for pair, row in content["paired"][condition].items():
            print(
                f"{pair}: {row['mean']:+.2f} ± {row['over_episodes']:.2f} over episodes, "
                f"± {row['over_seeds']:.2f} over seeds"
            )
    print(claims_table(claims))


def table(records: Sequence[Record], condition: str) -> list[dict]:
    """Mean and 95 % interval of every method, group, number of shots and readout, with the mean of each seed."""
    cells = dict.fromkeys((r.method, r.group, r.shots, r.readout) for r in records if r.condition == condition)
    rows = []
    for method, group, shots, readout in cells:
        values = accuracies(records, condition, method, group, shots, readout)
        found = pooled(values)
        rows.append(
            {"condition": condition, "method": method, "group": group, "shots": shots, "readout": readout,
             "mean": found.mean, "ci95": found.half_width, "by_seed": [over_episodes(v).mean for v in values]}
        )  # fmt: skip
    return rows


def paired_rows(records: Sequence[Record], condition: str) -> dict[str, dict[str, float]]:
    """Differences on the same episodes of test attributes: pooled over episodes, and over the means of seeds."""
    present = {r.method for r in records if r.condition == condition}
    rows = {}
    for first, second in PAIRS:
        if {first, second} <= present:
            found = difference(records, condition, first, second)
            seeds = by_seed(records, condition, first, second)
            rows[f"{first} - {second}"] = {
                "mean": found.mean, "over_episodes": found.half_width, "over_seeds": seeds.half_width,
            }  # fmt: skip
    return rows
