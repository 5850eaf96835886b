"""From a config to objects and to a study: what the command line, demo and reproduce share."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from .command import CommandLine
from .configured import Configured, quiet
from .study import Record, StudySettings, finish
from .theory import TheorySettings

LINKS = ("inputs", "outputs", "loss", "seeds", "dim", "count")  # a model is told those that it asks for


class StudyCommandLine(CommandLine):
    """LightningCLI whose models are told the sizes of the data, and whose configs may say what a study covers."""

    def add_arguments_to_parser(self, parser):
        for name in LINKS:
            parser.link_arguments(f"data.{name}", f"model.init_args.{name}", apply_on="instantiate")
        parser.add_class_arguments(StudySettings, "study")
        parser.add_class_arguments(TheorySettings, "theory")


class Experiment(Configured):
    """The model, data, trainer and settings of one or more configs, the later over the earlier."""

    command_line = StudyCommandLine

    def __init__(self, configs: Sequence[str], overrides: Sequence[str] = ()):
        quiet(
            ".*no `val_dataloader`.*", ".*run with no optimizer.*"
        )  # a study judges after training, a closed form too
        super().__init__(configs, overrides)
        self.settings = self.section("study", StudySettings)
        self.theory = self.section("theory", TheorySettings)

    def described(self) -> dict[str, Any]:
        """All that decides a learner's result, as JSON."""
        return super().described() | {
            "study": {k: v for k, v in asdict(self.settings).items() if k not in ("learners", "workers")}
        }

    def finish(self, learner: str, out: Path) -> list[Record]:
        """The records of one learner, trained now or before."""
        return finish(learner, self.model, self.data, self.settings, self.trainer, out, self.fingerprint())

    def finish_all(self, out: Path, title: str) -> list[Record]:
        """The records of all learners with a progress bar, the costly ones first."""
        learners = [(name, out) for name in self.settings.learners]
        found = self.each("finish", learners, self.settings.workers, title, "learner")
        return [record for records in found for record in records]
