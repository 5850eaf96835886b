"""From configs to a model, its data and a trainer: what the command line, demo and reproduce share."""

from __future__ import annotations

import json
import logging
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from pytorch_lightning import LightningDataModule, LightningModule

from .command import CommandLine, config_path
from .study import CellResult, StudySettings, finish


class StageCommandLine(CommandLine):
    """LightningCLI whose model is told the words of the data."""

    def add_arguments_to_parser(self, parser):
        parser.add_class_arguments(StudySettings, "study")
        parser.link_arguments("data.words", "model.init_args.words", apply_on="instantiate")


CLASSES = {
    "model_class": LightningModule,
    "datamodule_class": LightningDataModule,
    "subclass_mode_model": True,
    "subclass_mode_data": True,
    "auto_configure_optimizers": False,
    "seed_everything_default": 0,
    "save_config_kwargs": {"overwrite": True},
}


class Experiment:
    """The model, data and trainer of one or more configs, the later over the earlier.

    Args:
        configs: names of packaged configs, or paths.
        overrides: command-line arguments over them, such as `--model.init_args.alpha=0`.
    """

    def __init__(self, configs: Sequence[str], overrides: Sequence[str] = ()):
        self.configs, self.overrides = list(configs), list(overrides)
        args = [f"--config={config_path(name)}" for name in configs] + list(overrides)
        quiet()
        self._cli = StageCommandLine(run=False, args=args, save_config_callback=None, **CLASSES)
        self.model: LightningModule = self._cli.model
        self.data: LightningDataModule = self._cli.datamodule
        self.settings: StudySettings = self._cli.config_init.study

    def trainer(self, callbacks: Sequence = ()):
        """A new trainer with the config's settings."""
        return self._cli.instantiate_trainer(callbacks=list(callbacks))

    def with_settings(self, changed: Mapping[str, Any]) -> Experiment:
        """The same experiment with some settings changed, by their dotted names."""
        more = [f"--{name}={value if isinstance(value, str) else json.dumps(value)}" for name, value in changed.items()]
        return Experiment(self.configs, [*self.overrides, *more])

    def finish(self, cell: str, folder: Path) -> CellResult:
        """A cell's checkpoint and scores, made now or before; cells that it starts from are finished first.

        Raises:
            ValueError: no such cell, or cells that start from one another.
        """
        chain = self.settings.chain(cell)
        start = None
        for name in chain:
            changed = dict(self.settings.cells[name])
            changed.pop("after", None)
            if start is not None:
                changed["model.init_args.start"] = str(start.checkpoint)
            one = self.with_settings(changed)
            about = {**one.described(), "after": None if start is None else start.fingerprint}
            about["model"]["init_args"].pop("start", None)
            same = about["data"] == self.described()["data"]  # shapes that were drawn once serve all cells
            start = finish(name, one.model, self.data if same else one.data, one.trainer, about, folder)
        return start

    def described(self) -> dict[str, Any]:
        """All that decides a result, as JSON."""
        config = self._cli.config.as_dict()
        return {part: config[part] for part in ("model", "data", "trainer")}


def quiet() -> None:
    """Keep Lightning from announcing its devices once for each of many small trainings."""
    for name in ("pytorch_lightning", "lightning_fabric"):
        logging.getLogger(name).setLevel(logging.ERROR)
    for message in (".*does not have many workers.*", ".*barebones.*", ".*LeafSpec.*", ".*module.s. in eval mode.*"):
        warnings.filterwarnings("ignore", message=message)
