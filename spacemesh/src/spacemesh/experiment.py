"""From a config to objects, trained models and records: what the command line, demo and reproduce share."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path

from pytorch_lightning import LightningModule

from . import study as measure
from .cache import cached, load_state, save_state
from .command import CommandLine
from .configured import Configured, one_thread, quiet
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
        quiet(".*no `validation_step`.*")
        super().__init__(configs, overrides)
        self.settings = self.section("study", StudySettings)

    def cell(self, name: str) -> Experiment:
        """The experiment of one cell.

        Raises:
            ValueError: the settings have no such cell.
        """
        if name not in self.settings.cells:
            raise ValueError(f"unknown cell {name!r}, choose from {', '.join(self.settings.cells)}")
        return self.with_settings(self.settings.cells[name])

    def trained(self, path: Path) -> LightningModule:
        """The model with the weights at `path`, which are trained first if they are not there."""
        content = load_state(path, self.fingerprint())
        if content is None:
            trainer = self.trainer()
            with one_thread():
                trainer.fit(self.model, self.data)
            content = {"state_dict": self.model.state_dict()}
            self.model.on_save_checkpoint(content)
            save_state(path, self.fingerprint(), content)
        self.model.load_state_dict(content["state_dict"])
        self.model.on_load_checkpoint(content)
        return self.model.eval()

    def finish_all(self, out: Path, title: str, untrained: Sequence[str] = UNTRAINED) -> None:
        """Train all cells and take those records that need none, in worker processes, with a progress bar."""
        parts = [(name, out) for name in [*self.settings.cells, *untrained]]
        self.each("finish", parts, self.settings.workers, title)

    def finish(self, name: str, out: Path) -> None:
        """One cell or kind of records, kept in `out`."""
        if name in UNTRAINED:
            self.untrained(name, out)
        else:
            self.cell(name).trained(out / f"{name}.pt")

    def records(self, name: str, out: Path, take: Callable[[], list[dict]]) -> list[dict]:
        """The records in `out`/NAME.json, taken first if they are not there or belong to other settings."""
        settings = {k: v for k, v in asdict(self.settings).items() if k != "workers"}
        mark = {"study": settings, "config": self.fingerprint()}
        with one_thread():
            return cached(out / f"{name}.json", mark, take)

    def untrained(self, name: str, out: Path) -> list[dict]:
        """Records of fits, distances or random embeddings."""
        take = {
            "fits": measure.fit_records,
            "distances": measure.distance_records,
            "random": measure.random_records,
        }[name]
        return self.records(name, out, lambda: take(self.settings))
