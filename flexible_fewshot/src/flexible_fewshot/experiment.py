"""From configs to objects and to a study: what the command line, demo and reproduce share."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from pytorch_lightning import Trainer

from . import episodic  # noqa: F401 its classes are found by name
from .command import CommandLine
from .configured import CLASSES, Configured, quiet
from .data import FFSLDataModule
from .learning import Representation
from .study import Record, StudySettings, finish, read_records
from .toy import ToySettings


class StudyCommandLine(CommandLine):
    """LightningCLI whose models are told how many labels there are, and whose configs may describe a study."""

    def add_arguments_to_parser(self, parser):
        parser.link_arguments("data.labels", "model.init_args.labels", apply_on="instantiate")
        parser.add_class_arguments(StudySettings, "study")
        parser.add_class_arguments(ToySettings, "toy")


class Experiment(Configured):
    """The model, data, trainer and study of some configs, the later over the earlier; `a+b` is a, and b over it."""

    command_line = StudyCommandLine
    classes = CLASSES | {"model_class": Representation}
    model: Representation
    data: FFSLDataModule

    def __init__(self, configs: Sequence[str], overrides: Sequence[str] = ()):
        os.environ.setdefault("PL_DISABLE_FORK", "1")
        quiet(".*no `val_dataloader`.*", ".*init_args.*", ".*fork.*", ".*lr_scheduler.step.*")
        super().__init__([name for joined in configs for name in joined.split("+")], overrides)
        self.settings = self.section("study", StudySettings)
        self.toy = self.section("toy", ToySettings)

    def toy_trainer(self, steps: int) -> Trainer:
        """A new trainer for the toy problem."""
        return self.trainer(max_steps=steps)

    def described(self) -> dict[str, Any]:
        """All that decides what is trained, as JSON."""
        config = self._cli.config.as_dict()
        kept = ("episodes_file", "n_episodes", "shots", "queries")
        data = {k: v for k, v in config["data"]["init_args"].items() if k not in kept}
        steps = config["trainer"]["max_steps"], config["trainer"]["max_epochs"]
        return {"model": config["model"], "data": [config["data"]["class_path"], data], "steps": steps}

    def cell(self, condition: str, seed: int, method: str, pretrained: Path | None = None) -> Experiment:
        """The experiment of one method under one condition, from the encoder of a checkpoint if one is given.

        Raises:
            ValueError: the config has no such method or condition.
        """
        settings = self.settings
        settings.check(condition, method)
        own = {k: v for k, v in settings.methods[method].items() if k not in ("after", "features")}
        seeds = {"seed_everything": seed, "data.init_args.seed": seed, "model.init_args.seed": seed}
        start = {"model.init_args.pretrained": str(pretrained)} if pretrained else {}
        return self.with_settings({**own, **settings.conditions[condition], **seeds, **start})

    def finish(self, condition: str, seed: int, method: str, out: Path) -> list[Record]:
        """The records of one method, made now or before; what it starts from must be there."""
        return finish(self, condition, seed, method, out)

    def finish_all(self, out: Path, title: str) -> list[Record]:
        """The records of all cells with a progress bar; methods that start from another's encoder follow it."""
        chains = self.settings.chains()
        self.each("finish_chain", [(chain, out) for chain in chains], self.settings.workers, title, "chain")
        return [record for chain in chains for cell in chain for record in read_records(out, *cell)]

    def finish_chain(self, chain: Sequence[tuple[str, int, str]], out: Path) -> None:
        """`finish` for cells that start from one another, in their order."""
        for cell in chain:
            self.finish(*cell, out)
