"""The experiments of the README: three seeds with curves, the alpha slider, and more steps on single prompts."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path

import torch

from . import evidence, figures
from .cameras import Cameras
from .claims import Claim, claims_table, mean_and_error
from .configured import one_thread
from .demo import COLUMNS, latency, one_of_each, patterned, run_of, seeded
from .evidence import Run, over_seeds
from .experiment import Experiment
from .gallery import crop_rows, gallery_rows
from .judge import AttributeJudge, agreement, attributes_of
from .judge_training import read_judge
from .optimization import optimise
from .pipeline import Latte3DPipeline
from .results import save_figure, write_result
from .scores import CELLS, SIZE, VIEWS, held_out_prompts, hits
from .study import CellResult


def reproduce(experiment: str = "all", *, out: str = "runs/latte3d-reproduce") -> int:
    """Measure what the README quotes; a run that was stopped goes on where it was.

    Args:
        experiment: arms, alpha, optimisation, or all of them.
        out: Folder for results and figures.
    """
    chosen = list(EXPERIMENTS) if experiment == "all" else [experiment]
    if chosen[0] not in EXPERIMENTS:
        raise ValueError(f"unknown experiment {experiment!r}, choose from all, {', '.join(EXPERIMENTS)}")
    Path(out).mkdir(parents=True, exist_ok=True)
    for name in chosen:
        EXPERIMENTS[name](Path(out))
    return 0


def trained(out: Path, cells: Sequence[str] = (), more: Sequence[str] = ()) -> tuple[Experiment, list[Run]]:
    """Every seed's cells, or those that are named and what they start from; `more`: configs over the usual ones."""
    configs = ["demo", "reproduce", *more]
    first = Experiment(configs)
    runs = []
    for seed in first.settings.seeds:
        one = seeded(configs, seed)
        with one_thread():
            if cells:
                done = {cell: one.finish(cell, out / "cells") for cell in cells}
            else:
                done = one.finish_all(out / "cells", f"seed {seed}")
            runs.append(run_of(one, done))
        print(
            f"seed {seed}: {', '.join(f'{cell} {result.seconds:.0f} s' for cell, result in done.items())}", flush=True
        )
    return first, runs


def arms(out: Path) -> None:
    """All stages, and training without the initialisation, the shapes or the prior, with curves over steps."""
    experiment, runs = trained(out)
    claims = [*evidence.learning_claims(runs), *evidence.surface_claims(runs)]
    with one_thread():
        ceiling = judge_ceiling(experiment)
        shapes = experiment.drawn().shapes.held_out
        both = runs[0].cells["full"].checkpoint, runs[0].cells["surface"].checkpoint
        gallery = figures.gallery_figure(gallery_rows(*both, one_of_each(shapes)), COLUMNS)
        details = crop_rows(*both, patterned(shapes)[:4])
    write(out, "arms", experiment, claims, table=arms_table(runs), curves=curves(runs), judge=ceiling)
    save_figure(out / "gallery.png", gallery)
    save_figure(out / "detail.png", figures.gallery_figure(details, ("truth", "stage 1", "stage 2"), 1.5))
    save_figure(out / "arms.png", figures.arms_figure(runs))
    save_figure(out / "curves.png", figures.curves_figure(runs))
    print(markdown(arms_table(runs)))


def alpha(out: Path) -> None:
    """One network that is told alpha, at several alphas, beside networks with one each."""
    experiment, runs = trained(out, ("amortised", "full", "no_shape", "no_prior"), ["reproduce_alpha"])
    alphas = experiment.settings.alphas
    table = [
        {"alpha": weight} | {name: over_seeds(runs, "amortised", f"{name}@{weight:g}")
                             for name in ("iou_text", "iou_cloud", "color_text", "color_cloud")}
        for weight in alphas
    ]  # fmt: skip
    write(out, "alpha", experiment, [evidence.alpha_claim(runs, alphas)], table=table)
    save_figure(out / "alpha.png", figures.alpha_figure(runs, alphas))


def optimisation(out: Path) -> None:
    """What more steps on one unseen prompt change, in the eyes of the judge."""
    experiment, runs = trained(out, ("full",))
    settings, judge, records = experiment.settings, read_judge(), []
    for seed, run in zip(settings.seeds, runs, strict=True):
        prompts = [shape.caption() for shape in held_out_prompts(1, 1000 + seed)][: settings.optimised]
        for prompt in prompts:
            records.append({"seed": seed, "prompt": prompt, **optimised(run.cells["full"], prompt, judge, settings)})
            print(json.dumps(records[-1]), flush=True)
    with one_thread():
        one_pass = latency(runs[0].cells["full"], out)
    claims = [evidence.optimisation_claim(records), evidence.latency_claim(one_pass)]
    write(out, "optimisation", experiment, claims, records=records, one_pass=one_pass)
    step = mean_and_error([r["seconds"] for r in records])[0] / settings.optimised_steps
    save_figure(out / "latency.png", figures.latency_figure(one_pass, step, 600))


def optimised(cell: CellResult, prompt: str, judge: AttributeJudge, settings) -> dict[str, float]:
    """The judge's log-probability of the prompt's attributes before and after, and processor seconds."""
    with one_thread():
        before = Latte3DPipeline.from_pretrained(cell.checkpoint, CELLS)
        start = time.process_time()
        after = optimise(str(cell.checkpoint), prompt, steps=settings.optimised_steps, progress=False)
        seconds = time.process_time() - start
        after.cells = CELLS
        fits = {name: fit_of(pipeline, prompt, judge) for name, pipeline in (("before", before), ("after", after))}
        return fits | {"seconds": seconds}


def fit_of(pipeline: Latte3DPipeline, prompt: str, judge: AttributeJudge, cameras: Cameras = VIEWS) -> float:
    """Log-probability of a prompt's attributes in renders of its mesh; of white pictures where there is none."""
    try:
        (mesh,) = pipeline([prompt])
        pictures = mesh.render(cameras, SIZE).color
    except ValueError:
        pictures = torch.ones(len(cameras.fov), SIZE, SIZE, 3)
    with torch.no_grad():
        return float(agreement(judge(pictures), torch.tensor([attributes_of(prompt)]), len(pictures)))


def judge_ceiling(experiment: Experiment) -> dict[str, float]:
    """R@1 of the same prompts' true renders, and how often the judge names single views rightly."""
    judge, seed = read_judge(), experiment.data.seed
    shapes = held_out_prompts(experiment.settings.prompts, seed)
    drawn = [shape.render(VIEWS, SIZE).color for shape in shapes]
    found = float(hits(judge, drawn, [shape.caption() for shape in shapes]).mean())
    told = judge(torch.cat(drawn))
    attributes = torch.tensor([attributes_of(shape.caption()) for shape in shapes]).repeat_interleave(len(VIEWS.fov), 0)
    names = ("body", "proportion", "attachment", "color", "second", "pattern")
    right = {}
    for name, part, own in zip(names, told, attributes.T, strict=True):
        right[name] = float((part.argmax(-1) == own)[own >= 0].float().mean())
    return {"retrieval_of_true_renders": found, **right}


EXPERIMENTS: dict[str, Callable[[Path], None]] = {"arms": arms, "alpha": alpha, "optimisation": optimisation}


def arms_table(runs: Sequence[Run]) -> list[dict]:
    """Mean and standard error over seeds of all scores of all cells and baselines."""
    table = []
    for cell, result in runs[0].cells.items():
        names = [name for name, values in result.scores.items() if values and "@" not in name]
        row = {"cell": cell, "seconds": mean_and_error([run.cells[cell].seconds for run in runs])}
        table.append(row | {name: over_seeds(runs, cell, name) for name in names})
    table += [{"cell": name, "iou_text": over_seeds(runs, name, "iou")} for name in ("constant", "nearest")]
    return table


def curves(runs: Sequence[Run]) -> list[dict]:
    """Scores over steps, by cell and seed."""
    return [
        {"cell": cell, "seed": number, **point}
        for number, run in enumerate(runs)
        for cell, result in run.cells.items()
        for point in result.curve
    ]


def markdown(table: Sequence[dict]) -> str:
    """The table as the README shows it."""
    names = ("iou_text", "iou_cloud", "color_text", "color_cloud")
    lines = [
        "| trained | IoU, text alone | IoU, own cloud | colour, text | colour, cloud | processor s, last stage |",
        "|---" * 6 + "|",
    ]
    for row in table:
        shown = [*((name, 3) for name in names), ("seconds", 0)]
        cells = [with_error(row[name], digits) if name in row else "" for name, digits in shown]
        lines.append("| " + " | ".join([row["cell"], *cells]) + " |")
    return "\n".join(lines)


def with_error(value: tuple[float, float | None], digits: int) -> str:
    """0.71 ± 0.02, or 0.71 for one seed."""
    mean, error = value
    return f"{mean:.{digits}f}" + ("" if error is None else f" ± {error:.{digits}f}")


def write(out: Path, name: str, experiment: Experiment, claims: Sequence[Claim], **tables) -> None:
    """`out`/NAME.json with the command, the versions and the settings, and the claims on the terminal."""
    settings = experiment.described() | {"study": asdict(experiment.settings)}
    settings["trainer"] = {k: v for k, v in settings["trainer"].items() if v is not None}
    command = f"latte3d reproduce {name}"
    write_result(out / f"{name}.json", command, claims, ("diffusers",), settings=settings, **tables)
    print(claims_table(claims))
