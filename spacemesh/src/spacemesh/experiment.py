"""From a config to objects, trained models and records: what the command line, demo and reproduce share."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path

import torch
from pytorch_lightning import LightningModule

from . import study as measure
from .command import CommandLine
from .configured import Configured, one_thread
from .results import whole, write_json
from .study import StudySettings

UNTRAINED = ("fits", "distances", "random")  # records that need no trained model


class StudyCommandLine(CommandLine):
    """LightningCLI whose configs may say what a study measures."""

    def add_arguments_to_parser(self, parser):
        parser.add_class_arguments(StudySettings, "study")


class Experiment(Configured):
    """The model, data, trainer and study settings of one or more configs, the later over the earlier."""

    command_line = StudyCommandLine

    def __init__(self, configs: Sequence[str], overrides: Sequence[str] = ()):
        super().__init__(configs, overrides)
        self.settings = self.section("study", StudySettings)

    def cell(self, name: str) -> Experiment:
        """The experiment of one cell."""
        return self.with_settings(self.settings.cells[name])

    def trained(self, path: Path) -> LightningModule:
        """The model with the weights at `path`, which are trained first if they are not there."""
        if not self._stored(path):
            trainer = self.trainer()
            with one_thread():
                trainer.fit(self.model, self.data)
            content = {"fingerprint": self.fingerprint(), "state_dict": self.model.state_dict()}
            self.model.on_save_checkpoint(content)
            with whole(path) as temporary:
                torch.save(content, temporary)
        content = torch.load(path, weights_only=True)
        self.model.load_state_dict(content["state_dict"])
        self.model.on_load_checkpoint(content)
        return self.model.eval()

    def finish(self, out: Path, title: str, untrained: Sequence[str] = UNTRAINED) -> None:
        """Train all cells and take those records that need none, in worker processes, with a progress bar."""
        parts = [(name, out) for name in [*self.settings.cells, *untrained]]
        self.each("part", parts, self.settings.workers, title)

    def part(self, name: str, out: Path) -> None:
        """One cell or kind of records, kept in `out`."""
        if name in UNTRAINED:
            self.untrained(name, out)
        else:
            self.cell(name).trained(out / f"{name}.pt")

    def records(self, name: str, out: Path, take: Callable[[], list[dict]]) -> list[dict]:
        """The records in `out`/NAME.json, taken first if they are not there or belong to other settings."""
        path = out / f"{name}.json"
        settings = {k: v for k, v in asdict(self.settings).items() if k != "workers"}
        mark = json.dumps({"study": settings, "config": self.fingerprint()}, sort_keys=True, default=str)
        if path.is_file():
            content = json.loads(path.read_text())
            if content["mark"] == mark:
                return content["records"]
        with one_thread():
            taken = take()
        write_json(path, {"mark": mark, "records": taken})
        return json.loads(path.read_text())["records"]

    def untrained(self, name: str, out: Path) -> list[dict]:
        """Records of fits, distances or random embeddings."""
        take = {
            "fits": measure.fit_records,
            "distances": measure.distance_records,
            "random": measure.random_records,
        }[name]
        return self.records(name, out, lambda: take(self.settings))

    def _stored(self, path: Path) -> bool:
        return path.is_file() and torch.load(path, weights_only=True)["fingerprint"] == self.fingerprint()
