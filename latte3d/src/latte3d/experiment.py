"""From configs to a model, its data and a trainer: what the command line, demo and reproduce share."""

from __future__ import annotations

import hashlib
import json
import multiprocessing
from collections.abc import Sequence
from concurrent.futures import FIRST_COMPLETED, ProcessPoolExecutor, wait
from pathlib import Path
from typing import Any

from pytorch_lightning import LightningDataModule
from tqdm import tqdm

from .command import CommandLine
from .configured import Configured, one_thread, one_thread_each, quiet
from .prior_files import prior_path
from .study import CellResult, StudySettings, finish


class StudyCommandLine(CommandLine):
    """LightningCLI whose model is told the words of the data, and whose configs may say what a study measures."""

    def add_arguments_to_parser(self, parser):
        parser.add_class_arguments(StudySettings, "study")
        parser.link_arguments("data.words", "model.init_args.words", apply_on="instantiate")


class Experiment(Configured):
    """The model, data, trainer and study of one or more configs, the later over the earlier."""

    command_line = StudyCommandLine

    def __init__(self, configs: Sequence[str], overrides: Sequence[str] = ()):
        quiet(".*module.s. in eval mode.*")
        super().__init__(configs, overrides)
        self.settings = self.section("study", StudySettings)

    def finish(self, cell: str, out: Path) -> CellResult:
        """A cell's checkpoint and scores in `out`, made now or before; cells that it starts from are finished first.

        Raises:
            ValueError: no such cell, or cells that start from one another.
        """
        start = None
        for name in self.settings.chain(cell):
            changed = dict(self.settings.cells[name])
            changed.pop("after", None)
            if self.settings.share != 1:
                steps = changed.get("trainer.max_steps", self.described()["trainer"]["max_steps"])
                changed["trainer.max_steps"] = max(1, round(self.settings.share * steps))
            if self.settings.most_steps is not None:
                changed["trainer.max_steps"] = self.settings.most_steps
            if start is not None:
                changed["model.init_args.start"] = str(start.checkpoint)
            one = self.with_settings(changed)
            about = {**one.described(), "after": None if start is None else start.fingerprint}
            about["model"]["init_args"].pop("start", None)
            same = about["data"] == self.described()["data"]  # shapes that were drawn once serve all cells
            data = self.drawn() if same else one.data
            start = finish(name, one.model, data, one.trainer, about, out, self.settings)
        return start

    def drawn(self) -> LightningDataModule:
        """The data; a process draws the same shapes once."""
        key = json.dumps(self.described()["data"], sort_keys=True, default=str)
        return _DRAWN.setdefault(key, self.data)

    def finish_all(self, out: Path, title: str) -> dict[str, CellResult]:
        """Every cell, each as soon as the one that it starts from is finished, in worker processes."""
        cells, workers = list(self.settings.cells), self.settings.workers
        if workers < 2:
            with one_thread():
                return {cell: self.finish(cell, out) for cell in tqdm(cells, desc=title, unit="training")}
        waiting, done, running = list(cells), {}, {}
        context = multiprocessing.get_context("spawn")
        with (
            one_thread_each(),
            ProcessPoolExecutor(workers, context) as pool,
            tqdm(desc=title, unit="training", total=len(cells)) as bar,
        ):
            while waiting or running:
                ready = [cell for cell in waiting if self.settings.cells[cell].get("after") in (None, *done)]
                for cell in ready[: workers - len(running)]:
                    waiting.remove(cell)
                    running[pool.submit(finish_elsewhere, self.configs, self.overrides, cell, out)] = cell
                if not running:
                    self.settings.chain(waiting[0])  # says what is wrong with it
                for future in wait(running, return_when=FIRST_COMPLETED).done:
                    done[running.pop(future)] = future.result()
                    bar.update()
        return {cell: done[cell] for cell in cells}

    def described(self) -> dict[str, Any]:
        """All that decides a result, as JSON; of a prior that is named, the file's content too."""
        about = super().described()
        about.pop("seed_everything")  # every module draws from a seed of its own
        prior = about["model"]["init_args"].get("prior")
        if isinstance(prior, str):
            about["prior"] = hashlib.sha256(prior_path(prior).read_bytes()).hexdigest()
        return about


_DRAWN: dict[str, LightningDataModule] = {}


def finish_elsewhere(configs: list[str], overrides: list[str], cell: str, out: Path) -> CellResult:
    """One cell in a process that has only the names of the configs."""
    return Experiment(configs, overrides).finish(cell, out)
