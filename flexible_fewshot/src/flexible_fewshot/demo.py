"""The paper's claim on a laptop: supervised features fail on new attributes, unsupervised ones do not."""

from __future__ import annotations

import shlex
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch

from . import figures
from .bins import binned, paired_differences, scores_of
from .cam import cam, unstandardised
from .claims import claims_table, exit_status, write_claims
from .configured import one_thread
from .encoders import load_encoder
from .evaluation import Standardizer
from .evidence import STRONG, face_claims, toy_claims
from .experiment import Experiment
from .features import extract
from .results import save_figure
from .sparse_logistic import SparseLogisticRegression
from .study import Record, checkpoint_path
from .tables import markdown
from .toy import closed_forms, toy_result, toy_world, train_toy
from .transferability import equal_width_edges

CAM_ATTRIBUTE, CAM_METHODS, CAM_SHOTS = "Wearing_Hat", ("SA", "U", "UFTA"), 200


def demo(*, out: str = "runs/flexible_fewshot", seed: int = 0, fast: bool = False, strict: bool = False) -> int:
    """Show the paper's claim end to end: figures, weights of all methods and claims.json in OUT.

    Args:
        out: Folder for what it makes.
        seed: Of faces, episodes and training.
        fast: Seconds instead of minutes; the numbers then mean nothing.
        strict: Exit with status 1 when a claim does not hold.
    """
    start = time.perf_counter()
    folder = Path(out)
    folder.mkdir(parents=True, exist_ok=True)
    experiment = seeded(["demo", *(["fast"] if fast else [])], seed)
    records = experiment.finish_all(folder / "cells", "methods trained and judged")

    drawn = study_figures(experiment, records, folder, folder / "cells", seed)
    with one_thread():
        toy, toy_figures = toy_part(experiment, folder)
    claims = [*face_claims(records), *toy]
    command = f"flexible-fewshot demo --seed {seed}" + " --fast" * fast
    names = [*drawn, *toy_figures]
    write_claims(folder, "flexible_fewshot", seed, time.perf_counter() - start, fast, command, claims, names)
    print(markdown(records, STRONG))
    print(claims_table(claims, fast))
    print(f"figures and claims.json: {shlex.quote(str(folder))}")
    return exit_status(claims, strict)


def seeded(configs: Sequence[str], seed: int) -> Experiment:
    """The experiment with one seed, for the study and for the toy problem."""
    return Experiment(configs, [f"--study.seeds=[{seed}]", f"--toy.seed={seed}"])


def study_figures(
    experiment: Experiment, records: Sequence[Record], folder: Path, cells: Path, seed: int, prefix: str = ""
) -> list[str]:
    """Episode grid, bars, shots curve, T-score bins and CAM, with the weights in `cells`; their names."""
    data = experiment.cell(STRONG, seed, "U").data
    episodes = data.episodes("test")
    pairs = [i for i, context in enumerate(episodes.contexts) if len(context) == 2][:2]
    single = [i for i, context in enumerate(episodes.contexts) if len(context) == 1][:1]
    scores = scores_of(data)
    edges = equal_width_edges(scores)
    bins = {m: binned(paired_differences(records, [(STRONG, 0)], m, "U"), scores, edges) for m in ("SA", "UFTA")}
    counts = bins["SA"][1]
    drawn = {
        "bars.png": figures.bars_figure(records, STRONG),
        "episodes.png": figures.episodes_figure(data.pool("test"), episodes, single + pairs),
        "shots.png": figures.shots_figure(records, STRONG),
        "readouts.png": figures.readouts_figure(records, STRONG),
        "t_score.png": figures.bins_figure({m: found for m, (found, _) in bins.items()}, edges, counts),
        "cam.png": cam_part(experiment, cells, seed),
    }
    for name, figure in drawn.items():
        save_figure(folder / f"{prefix}{name}", figure)
    return [f"{prefix}{name}" for name in drawn]


def cam_part(experiment: Experiment, cells: Path, seed: int):
    """Where rules for one test attribute, fitted to CAM_SHOTS training images of each class, see their evidence."""
    data = experiment.cell(STRONG, seed, "U").data
    train, test = data.pool("train"), data.pool("test")
    (labels,) = train.table.of([CAM_ATTRIBUTE]).T
    rows = np.concatenate([np.flatnonzero(labels == k)[:CAM_SHOTS] for k in (1, 0)])
    (shown,) = test.table.of([CAM_ATTRIBUTE]).T
    picked = np.concatenate([np.flatnonzero(shown == k)[:4] for k in (1, 0)])
    images = test.images[picked]
    maps, logits = {}, {}
    for method in CAM_METHODS:
        encoder = load_encoder(checkpoint_path(cells, STRONG, seed, method))
        features = extract(encoder, train.images)
        standard = Standardizer.of(features)
        x, y = standard(features[rows])[None], torch.from_numpy(labels[rows]).long()[None]
        rule = SparseLogisticRegression(1e-2).fit(x, y)
        weight, bias = unstandardised(rule.weight[0], rule.bias[0], standard.mean, standard.scale)
        maps[method], logits[method] = cam(encoder, weight, bias, images.float() / 255)
    name = CAM_ATTRIBUTE.replace("_", " ")
    return figures.cam_figure(images, maps, logits, f"evidence for {name}: four with, four without; logits below")


def toy_part(experiment: Experiment, folder: Path):
    """The toy problem: its claims and the name of its figure."""
    found = train_toy(experiment.toy, experiment.toy_trainer)
    world = toy_world(experiment.toy)
    references = {name: toy_result(W, world, experiment.toy) for name, W in closed_forms(world).items()}
    save_figure(folder / "toy.png", figures.toy_figure(found, references))
    return toy_claims(found), ["toy.png"]
