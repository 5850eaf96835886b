"""From a config to objects and to a sweep: what the command line, demo and reproduce share."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from .command import CommandLine
from .configured import CLASSES, Configured, quiet
from .data import PrincipalData
from .recorder import Record
from .stack import Stack
from .sweep import Cell, SweepSettings, cells, finish


class StudyCommandLine(CommandLine):
    """LightningCLI for stacks: the model is told the data's spectrum, and a config may say what a sweep varies."""

    def add_arguments_to_parser(self, parser):
        parser.link_arguments("data.eigenvalues", "model.init_args.eigenvalues", apply_on="instantiate")
        parser.add_class_arguments(SweepSettings, "sweep")


class Experiment(Configured):
    """The model, data, trainer and sweep of one or more configs, the later over the earlier."""

    command_line = StudyCommandLine
    classes = CLASSES | {"model_class": Stack, "datamodule_class": PrincipalData}
    model: Stack
    data: PrincipalData

    def __init__(self, configs: Sequence[str], overrides: Sequence[str] = ()):
        quiet("these runs diverged")  # a sweep expects it of some, and records it
        super().__init__(configs, overrides)
        self.settings = self.section("sweep", SweepSettings)

    def finish(self, cell: Cell, out: Path) -> list[Record]:
        """The records of one cell, trained now or before."""
        return finish(cell, self.model, self.data, self.settings, self.trainer, self.shared_by_cells(), out)

    def shared_by_cells(self) -> dict[str, Any]:
        """All that decides the records of a cell besides its k and optimizer, as JSON.

        The spectrum to six digits, as more depend on the threads that decompose the covariance.
        """
        found = self.described()
        found["model"]["init_args"] = {
            name: value for name, value in found["model"]["init_args"].items() if name not in ("latents", "optimizer")
        }
        found["eigenvalues"] = [round(value, 6) for value in self.data.eigenvalues]
        others = ("latents", "optimizers", "workers")
        return found | {"sweep": {k: v for k, v in asdict(self.settings).items() if k not in others}}

    def finish_all(self, out: Path, title: str) -> list[Record]:
        """The records of all cells, in their order; the largest are trained first."""
        largest_first = sorted(cells(self.settings), key=lambda cell: -cell.latents)
        self.each("finish", [(cell, out) for cell in largest_first], self.settings.workers, title, "stack")
        return [record for cell in cells(self.settings) for record in self.finish(cell, out)]
