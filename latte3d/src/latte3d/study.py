"""A study: cells that train one stage each, perhaps from another cell's weights, and are scored alike.

A cell is the config's model, data and trainer with some settings changed. Its checkpoint and scores are kept under a
fingerprint of all that decides them, so that a study that was stopped goes on where it was.
"""

from __future__ import annotations

import hashlib
import json
import os
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pytorch_lightning import LightningDataModule, LightningModule, Trainer

from .scores import held_out_scores
from .stages import Stage


@dataclass(frozen=True)
class StudySettings:
    """cells: name -> settings that it changes by their dotted names; `after` names the cell that it starts from.

    A class is changed by `model: its.path`, and its arguments by `model.init_args.NAME`: of a nested class_path the
    parser would make an object at once.
    """

    cells: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)

    def chain(self, cell: str) -> list[str]:
        """The cell and those that it starts from, the first one first."""
        names: list[str] = []
        following: str | None = cell
        while following is not None:
            if following not in self.cells:
                raise ValueError(f"no cell {following!r} in this study: it has {', '.join(self.cells) or 'none'}")
            if following in names:
                raise ValueError(f"cells that start from one another: {' <- '.join([*names, following])}")
            names.append(following)
            following = self.cells[following].get("after")
        return names[::-1]


@dataclass(frozen=True)
class CellResult:
    """checkpoint: of the trained cell. scores: name -> a number for each held-out shape. seconds: of the training."""

    name: str
    fingerprint: str
    checkpoint: Path
    scores: dict[str, list[float]]
    seconds: float


def finish(
    name: str,
    model: LightningModule,
    data: LightningDataModule,
    trainer: Callable[[], Trainer],
    about: Mapping[str, Any],
    folder: Path,
) -> CellResult:
    """Train and score a cell, or read what was made before under the same fingerprint.

    Args:
        trainer: makes one. about: all that decides the result, as JSON.
    """
    fingerprint = hashlib.sha256(json.dumps(about, sort_keys=True, default=str).encode()).hexdigest()[:16]
    folder.mkdir(parents=True, exist_ok=True)
    record, checkpoint = (folder / f"{name}-{fingerprint}.{end}" for end in ("json", "ckpt"))
    if not record.exists():
        start = time.perf_counter()
        run = trainer()
        run.fit(model, datamodule=data)
        seconds = time.perf_counter() - start
        run.save_checkpoint(checkpoint, weights_only=True)
        scores = {}
        if isinstance(model, Stage):
            arguments = (data.held_out, data.shapes.held_out, model.sizes.points)
            scores = held_out_scores(model.networks.cpu().eval(), model.text.cpu(), *arguments)
        content = {"scores": {key: value.tolist() for key, value in scores.items()}, "seconds": seconds}
        temporary = record.with_suffix(".tmp")
        temporary.write_text(json.dumps(content))
        os.replace(temporary, record)
    content = json.loads(record.read_text())
    return CellResult(name, fingerprint, checkpoint, content["scores"], content["seconds"])
