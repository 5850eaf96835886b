"""A study: cells that train one stage each, perhaps from another cell's weights, and are scored alike.

A cell is the config's model, data and trainer with some settings changed. Its checkpoint and scores are kept under a
fingerprint of all that decides them, so that a study that was stopped goes on where it was.
"""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pytorch_lightning import Callback, LightningDataModule, LightningModule, Trainer

from .cache import cached
from .judge_training import read_judge
from .scores import held_out_prompts, held_out_scores, retrieval_hits, surface_scores
from .stages import Stage


@dataclass(frozen=True)
class StudySettings:
    """What a study trains and measures.

    cells: name -> settings that it changes by their dotted names; `after` names the cell that it starts from.
        A class is changed by `model: its.path`, and its arguments by `model.init_args.NAME`: of a nested class_path the
        parser would make an object at once.
    more: further cells, for a config over another that has some.
    share: of every cell's steps that is taken, so that all shrink alike. most_steps: at which all stop, for quick runs.
    drawn: cells whose surfaces are drawn and judged too. prompts: of every held-out triple, for the judge.
    curve_every: steps between the scores of a cell's curve, null: at its end alone.
    alphas: weights at which cells with an amortised alpha are scored. seeds: of `reproduce`.
    optimised: prompts of each seed that are optimised at test time, for so many optimised_steps.
    workers: processes that train cells at the same time, with one thread each.
    """

    cells: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    more: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    share: float = 1.0
    most_steps: int | None = None
    drawn: Sequence[str] = ()
    prompts: int = 8
    curve_every: int | None = None
    alphas: Sequence[float] = (0.0, 0.25, 0.5, 0.75, 1.0)
    seeds: Sequence[int] = (0, 1, 2)
    optimised: int = 3
    optimised_steps: int = 60
    workers: int = 2

    def __post_init__(self):
        object.__setattr__(self, "cells", {**self.cells, **self.more})

    def chain(self, cell: str) -> list[str]:
        """The cell and those that it starts from, the first one first.

        Raises:
            ValueError: an unknown cell, or cells that start from one another.
        """
        names: list[str] = []
        following: str | None = cell
        while following is not None:
            if following not in self.cells:
                raise ValueError(f"unknown cell {following!r}, choose from {', '.join(self.cells)}")
            if following in names:
                raise ValueError(f"cells that start from one another: {' <- '.join([*names, following])}")
            names.append(following)
            following = self.cells[following].get("after")
        return names[::-1]


@dataclass(frozen=True)
class CellResult:
    """checkpoint: of the trained cell. scores: name -> a number for each held-out shape. seconds: of a processor, for
    the training alone. curve: scores on the way, their means beside "step" and "seconds"."""

    name: str
    fingerprint: str
    checkpoint: Path
    scores: dict[str, list[float]]
    seconds: float
    curve: list[dict[str, float]]


class Curve(Callback):
    """Scores every few steps; what it takes is not counted as training."""

    def __init__(self, every: int | None, score: Callable[[], dict[str, Any]]):
        self.every, self.score = every, score
        self.points: list[dict[str, float]] = []
        self.seconds, self._since = 0.0, 0.0

    def on_train_start(self, trainer, model):
        self._since = time.process_time()

    def on_train_batch_end(self, trainer, model, *_):
        if self.every and trainer.global_step % self.every == 0:
            self.seconds += time.process_time() - self._since
            means = {name: float(values.mean()) for name, values in self.score().items()}
            self.points.append({"step": trainer.global_step, "seconds": self.seconds, **means})
            self._since = time.process_time()

    def on_train_end(self, trainer, model):
        self.seconds += time.process_time() - self._since


def finish(
    name: str,
    model: LightningModule,
    data: LightningDataModule,
    trainer: Callable[[Sequence[Callback]], Trainer],
    about: Mapping[str, Any],
    out: Path,
    settings: StudySettings,
) -> CellResult:
    """Train and score a cell, or read what was made before under the same fingerprint and measured as now.

    Args:
        trainer: makes one with callbacks. about: all that decides the training, as JSON.
    """
    fingerprint = hashlib.sha256(json.dumps(about, sort_keys=True, default=str).encode()).hexdigest()[:16]
    out.mkdir(parents=True, exist_ok=True)
    record, checkpoint = (out / f"{name}-{fingerprint}.{end}" for end in ("json", "ckpt"))

    def make() -> dict:
        curve = Curve(settings.curve_every if isinstance(model, Stage) else None, lambda: field_scores(model, data))
        run = trainer([curve])
        run.fit(model, datamodule=data)
        run.save_checkpoint(checkpoint, weights_only=True)
        scores = all_scores(name, model, data, settings) if isinstance(model, Stage) else {}
        named = {key: value.tolist() for key, value in scores.items()}
        return {"scores": named, "seconds": curve.seconds, "curve": curve.points}

    if not checkpoint.is_file():  # scores alone are of no use to the cells that start from this one
        record.unlink(missing_ok=True)
    mark = {"trained": fingerprint, "measured": measured(name, model, settings)}
    return CellResult(name, fingerprint, checkpoint, **cached(record, mark, make))


def measured(name: str, model: LightningModule, settings: StudySettings) -> dict[str, Any]:
    """The settings that decide a cell's scores and curve; None where they do not matter to it."""
    if not isinstance(model, Stage):
        return {}
    return {
        "curve_every": settings.curve_every,
        "alphas": list(settings.alphas) if getattr(model, "amortise_alpha", False) else None,
        "prompts": settings.prompts if name in settings.drawn else None,
    }


def field_scores(model: Stage, data: LightningDataModule, alpha: float | None = None) -> dict[str, Any]:
    """IoU and colours of the model as it stands."""
    networks = model.networks
    training = networks.training
    scores = held_out_scores(
        networks.cpu().eval(), model.text.cpu(), data.held_out, data.shapes.held_out, model.sizes.points, alpha
    )
    networks.to(model.device).train(training)
    return scores


def all_scores(name: str, model: Stage, data: LightningDataModule, settings: StudySettings) -> dict[str, Any]:
    """What is measured of a finished cell."""
    scores = field_scores(model, data)
    if getattr(model, "amortise_alpha", False):
        for alpha in settings.alphas:
            scores |= {f"{key}@{alpha:g}": value for key, value in field_scores(model, data, alpha).items()}
    if name in settings.drawn:
        networks, text, points = model.networks.cpu().eval(), model.text.cpu(), model.sizes.points
        scores |= surface_scores(networks, text, data.held_out, data.shapes.held_out, points)
        prompts = [shape.caption() for shape in held_out_prompts(settings.prompts, data.seed)]
        scores["retrieval"] = retrieval_hits(networks, text, prompts, points, read_judge())
    return scores
