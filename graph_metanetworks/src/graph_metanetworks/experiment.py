"""From a config to objects and to a study: what the command line, demo and reproduce share."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from pytorch_lightning import LightningDataModule

from .cache import cached
from .command import CommandLine
from .configured import Configured, in_processes, quiet
from .study import EXPERIMENTS, Record, StudySettings, measure, trained


class StudyCommandLine(CommandLine):
    """LightningCLI whose configs may describe a study."""

    def add_arguments_to_parser(self, parser):
        parser.add_class_arguments(StudySettings, "study")


class Experiment(Configured):
    """The model, data, trainer and study of one or more configs, the later over the earlier."""

    command_line = StudyCommandLine

    def __init__(self, configs: Sequence[str], overrides: Sequence[str] = ()):
        quiet(".*lr_scheduler.step.*", ".*dispatch.*", ".*Checkpoint directory.*")
        super().__init__(configs, overrides)
        self.settings = self.section("study", StudySettings)

    def described(self) -> dict[str, Any]:
        """All that decides a result, as JSON; where files are kept is not part of it."""
        parts = super().described()
        for name in ("folder", "data_dir"):
            parts["data"]["init_args"].pop(name, None)
        return parts

    def jobs(self, experiments: Sequence[str] = EXPERIMENTS) -> list[tuple[str, str, int]]:
        """(experiment, cell, seed) of the study."""
        settings = self.settings
        return [
            (name, cell, seed)
            for name in experiments
            for cell in settings.section(name).cells
            for seed in settings.seeds
        ]

    def cell(self, name: str, cell: str, more: Mapping[str, Any], out: Path) -> Experiment:
        """The experiment of one cell, its data kept below `out`."""
        section = self.settings.section(name)
        always = {"data.init_args.folder": str(out / "data"), "trainer.barebones": True}
        return self.with_settings({**section.settings, **section.cells[cell], **section.fast, **more, **always})

    def prepare(self, out: Path, title: str, experiments: Sequence[str] = EXPERIMENTS) -> None:
        """Train zoos and fit SIRENs of all cells, each once."""
        chores = {}
        for name in experiments:
            for cell in self.settings.section(name).cells:
                for chore in self.cell(name, cell, {}, out).data.chores():
                    key = repr(chore) if not isinstance(chore.args[0], LightningDataModule) else name
                    chores.setdefault(key, chore)
        in_processes(call, list(chores.values()), self.settings.workers, title)

    def train(self, out: Path) -> float:
        """Train the model, or read its weights below `out` if it was trained before; the seconds that it took."""
        return trained(self.model, self.data, self.trainer(), out / "trained", self.described())

    def finish(self, name: str, cell: str, seed: int, out: Path) -> Record:
        """The record of one cell of an experiment and one seed, made now or before."""
        changed = self.cell(name, cell, seeds(seed), out)

        def make() -> dict:
            return asdict(measure(name, cell, seed, changed.model, changed.data, changed.train(out)))

        return Record(**cached(out / "cells" / f"{name}-{cell}-{seed}.json", changed.described(), make))

    def finish_all(self, out: Path, title: str, experiments: Sequence[str] = EXPERIMENTS) -> list[Record]:
        """Finish all cells of some experiments, with a progress bar.

        Raises:
            ValueError: the config has no cells.
        """
        jobs = self.jobs(experiments)
        if not jobs:
            raise ValueError(f"{' + '.join(self.configs)}: the study section has no cells")
        return self.each("finish", [(*job, out) for job in jobs], self.settings.workers, title, "cell")


def seeds(seed: int) -> dict[str, int]:
    """Changes of a config that start initial weights and the order of batches from a seed."""
    return {"model.init_args.seed": seed, "data.init_args.order_seed": seed}


def call(chore) -> None:
    chore()
