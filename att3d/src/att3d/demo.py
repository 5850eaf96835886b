"""The paper's claims on a laptop: one network for all prompts, against one optimisation for each."""

from __future__ import annotations

import shlex
import time
from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor

from . import evidence, figures
from .cameras import ring
from .claims import claims_table, exit_status, write_claims
from .configured import one_thread
from .experiment import Cell, Experiment
from .mesh import to_mesh
from .pictures import save_contact_sheet, save_gif, tiles
from .results import save_figure, whole
from .scenes import Scenes
from .shapes import render_truth
from .training import ATT3D, SceneTraining
from .tuning import finetune_records, interpolation_record

SHOWN = 32  # pixels of pictures


def demo(*, out: str = "runs/att3d", seed: int = 0, fast: bool = False, strict: bool = False) -> int:
    """Show the paper's claims end to end: figures, meshes, a turntable, trained models and claims.json in OUT.

    Args:
        out: Folder for what it makes.
        seed: Of weights, cameras, noise and order.
        fast: Seconds instead of minutes; the numbers then mean nothing.
        strict: Exit with status 1 when a claim does not hold.
    """
    start = time.perf_counter()
    folder = Path(out)
    folder.mkdir(parents=True, exist_ok=True)
    experiment = seeded(["demo", *(["fast"] if fast else [])], seed)
    cells = folder / "cells"
    records = experiment.finish_all(experiment.cells(), cells, "trainings")
    with one_thread():
        model = trained_model(experiment, cells)
        library, settings = experiment.data.library, experiment.settings
        tuned = finetune_records(model, library.train, library.unseen, settings)
        between = [interpolation_record(model, pairs_of(settings.pairs), None)]
        claims = [
            *evidence.budget_claims(records),
            *evidence.unseen_claims(records, seconds_of_a_prompt(model, library.unseen[0])),
            evidence.lipschitz_claim(*lipschitz_ratio(model, library.prompts)),
            *evidence.finetune_claims(tuned),
            evidence.crossfade_claim(between),
        ]
        baseline = trained_model(experiment, cells, "per_prompt")
        drawn = {
            "budgets.png": figures.budgets_figure(records),
            "grid.png": figures.grid_figure(*grid_images(model, baseline, library.prompts), set(library.unseen)),
            "interpolation.png": figures.strips_figure(strips(model, pairs_of(settings.pairs))),
            "finetune.png": figures.finetune_figure(tuned),
        }
        write_assets(model, library.unseen, folder, settings.cells)
    for name, figure in drawn.items():
        save_figure(folder / name, figure)
    command = f"att3d demo --seed {seed}" + " --fast" * fast
    names = [*drawn, "turntable.gif"]
    write_claims(folder, "att3d", seed, time.perf_counter() - start, fast, command, claims, names)
    print(claims_table(claims, fast))
    print(f"figures, meshes, contact sheet and claims.json: {shlex.quote(str(folder))}")
    return exit_status(claims, strict)


def seeded(configs: Sequence[str], seed: int) -> Experiment:
    """The experiment with other weights, cameras, noise and order; prompts, prior and retrieval stay what they are."""
    return Experiment(configs, [f"--study.seeds=[{seed}]"])


def trained_model(experiment: Experiment, cells: Path, method: str = "amortised") -> SceneTraining:
    """The first seed's model of the largest budget up to 100 frames."""
    first = experiment.settings.seeds[0]
    own = [cell for cell in experiment.cells() if cell.method == method and cell.seed == first]
    cell: Cell = max((c for c in own if c.budget <= 100), key=lambda c: c.budget, default=own[0])
    return experiment.cell(cell).trained(cells / f"{cell.name}.pt")


def pairs_of(pairs: Sequence[str]) -> list[tuple[str, str]]:
    """ "one | another" as pairs."""
    return [tuple(part.strip() for part in pair.split("|")) for pair in pairs]


def seconds_of_a_prompt(model: ATT3D, prompt: str) -> float:
    """From text to one image of 64 pixels, the best of three."""
    times = []
    for _ in range(3):
        begin = time.perf_counter()
        model.generate(prompt).images(ring(1, 1), 64, 64)
        times.append(time.perf_counter() - begin)
    return min(times)


@torch.no_grad()
def lipschitz_ratio(model: ATT3D, prompts: Sequence[str]) -> tuple[float, float]:
    """The largest ‖w₁ − w₂‖ / ‖c₁ − c₂‖ of all pairs of prompts, and the bound."""
    c, w = model.embeddings(prompts).flatten(1), model.generate(prompts).w
    apart = torch.cdist(c, c) + torch.eye(len(c)) * 1e9
    return float((torch.cdist(w, w) / apart).max()), model.mapping.lipschitz_bound()


def grid_images(model: ATT3D, baseline, prompts: Sequence[str]) -> tuple[Sequence[str], Tensor, Tensor, Tensor]:
    """One view of each prompt: by the network, by its own optimisation (NaN where there is none), and the truth."""
    camera = ring(len(prompts), 1)
    made = model.generate(prompts).images(camera, SHOWN, 48).rgb[:, 0]
    alone = torch.full_like(made, torch.nan)
    for number, prompt in enumerate(prompts):
        if prompt in baseline.prompts:
            alone[number] = baseline.scenes([prompt]).images(ring(1, 1), SHOWN, 48).rgb[0, 0]
    return prompts, made, alone, render_truth(list(prompts), camera, SHOWN)[:, 0]


def strips(model: ATT3D, pairs: Sequence[tuple[str, str]], steps: int = 7) -> list[tuple[str, Tensor]]:
    """Titles and images (steps, 3, H, W) of interpolations."""
    return [
        (f"{one} → {other}", model.interpolate(one, other, steps).images(ring(steps, 1), SHOWN, 48).rgb[:, 0])
        for one, other in pairs
    ]


def write_assets(model: ATT3D, prompts: Sequence[str], folder: Path, resolution: int) -> None:
    """A turntable of unseen prompts, their contact sheet, and meshes of two; an empty one is left out."""

    def enlarged(image: Tensor) -> Tensor:
        return image.repeat_interleave(2, 1).repeat_interleave(2, 2)

    scenes = model.generate(list(prompts))
    views = scenes.turntable(12, SHOWN)
    save_gif(folder / "turntable.gif", torch.stack([enlarged(tiles(frame, 3)) for frame in views.transpose(0, 1)]), 120)
    save_contact_sheet(folder / "contact_sheet.html", list(prompts), views[:, ::3])
    for number, prompt in enumerate(prompts[:2]):
        own = Scenes(scenes.field, scenes.w[number : number + 1], scenes.background)
        try:
            mesh = to_mesh(own, resolution)
        except ValueError as error:
            print(f"no mesh of {prompt!r}: {error}")
            continue
        with whole(folder / "meshes" / f"{prompt.replace(' ', '_')}.glb") as temporary:
            mesh.export(temporary, file_type="glb")
