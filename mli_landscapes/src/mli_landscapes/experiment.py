"""From a config to objects and to a study: what the command line, demo and reproduce share."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from .command import CommandLine
from .configured import CLASSES, Configured, quiet
from .fitted import TheoremSettings
from .study import RunRecord, StudySettings, finish
from .training import Training


class StudyCommandLine(CommandLine):
    """LightningCLI whose model is told the sizes of the data, and whose configs may describe a study and a theorem."""

    def add_arguments_to_parser(self, parser):
        parser.link_arguments("data.sizes", "model.init_args.sizes", apply_on="instantiate")
        parser.add_class_arguments(StudySettings, "study")
        parser.add_class_arguments(TheoremSettings, "theorem")


class Experiment(Configured):
    """The model, data, trainer and study of one or more configs, the later over the earlier."""

    command_line = StudyCommandLine
    classes = CLASSES | {"model_class": Training}
    model: Training

    def __init__(self, configs: Sequence[str], overrides: Sequence[str] = ()):
        quiet("these runs diverged")  # a study expects it of some, and records it
        super().__init__(configs, overrides)
        self.settings = self.section("study", StudySettings)
        self.theorem = self.section("theorem", TheoremSettings)

    def described(self) -> dict[str, Any]:
        """All that decides a result, as JSON."""
        others = ("cells", "factors", "plane_points", "workers")
        return super().described() | {"study": {k: v for k, v in asdict(self.settings).items() if k not in others}}

    def finish(self, cell: str, out: Path) -> list[RunRecord]:
        """The records of one cell, made now or before.

        Raises:
            ValueError: the config has no such cell.
        """
        cells = self.settings.all_cells()
        if cell not in cells:
            raise ValueError(f"unknown cell {cell!r}, choose from {', '.join(cells)}")
        own = self.with_settings(cells[cell])
        return finish(cell, own.model, own.data, self.settings, own.trainer, own.described(), out)

    def finish_all(self, out: Path, title: str) -> list[RunRecord]:
        """The records of all cells, with a progress bar.

        Raises:
            ValueError: the config has no cells.
        """
        cells = [(cell, out) for cell in self.settings.all_cells()]
        if not cells:
            raise ValueError(f"{' + '.join(self.configs)}: the study section has no cells")
        found = self.each("finish", cells, self.settings.workers, title, "stack")
        return [record for records in found for record in records]
