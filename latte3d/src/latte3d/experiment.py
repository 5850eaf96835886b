"""From configs to a model, its data and a trainer: what the command line, demo and reproduce share."""

from __future__ import annotations

import hashlib
import json
import logging
import multiprocessing
import os
import warnings
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, ProcessPoolExecutor, wait
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from pytorch_lightning import LightningDataModule, LightningModule
from tqdm import tqdm

from .command import CommandLine, config_path
from .prior_files import prior_path
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
            start = finish(name, one.model, data, one.trainer, about, folder, self.settings)
        return start

    def drawn(self) -> LightningDataModule:
        """The data; a process draws the same shapes once."""
        key = json.dumps(self.described()["data"], sort_keys=True, default=str)
        return _DRAWN.setdefault(key, self.data)

    def finish_all(self, folder: Path, title: str) -> dict[str, CellResult]:
        """Every cell, each as soon as the one that it starts from is finished, in worker processes."""
        cells, workers = list(self.settings.cells), self.settings.workers
        if workers < 2:
            with one_thread():
                return {cell: self.finish(cell, folder) for cell in tqdm(cells, desc=title, unit="training")}
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
                    running[pool.submit(finish_elsewhere, self.configs, self.overrides, cell, folder)] = cell
                if not running:
                    self.settings.chain(waiting[0])  # says what is wrong with it
                for future in wait(running, return_when=FIRST_COMPLETED).done:
                    done[running.pop(future)] = future.result()
                    bar.update()
        return {cell: done[cell] for cell in cells}

    def described(self) -> dict[str, Any]:
        """All that decides a result, as JSON; of a prior that is named, the file's content too."""
        config = self._cli.config.as_dict()
        about = {part: config[part] for part in ("model", "data", "trainer")}
        prior = about["model"]["init_args"].get("prior")
        if isinstance(prior, str):
            about["prior"] = hashlib.sha256(prior_path(prior).read_bytes()).hexdigest()
        return about


_DRAWN: dict[str, LightningDataModule] = {}


def finish_elsewhere(configs: list[str], overrides: list[str], cell: str, folder: Path) -> CellResult:
    """One cell in a process that has only the names of the configs."""
    return Experiment(configs, overrides).finish(cell, folder)


@contextmanager
def one_thread_each() -> Iterator[None]:
    """Processes started here compute with one thread; only their environment can say so before torch is loaded."""
    before = os.environ.get("OMP_NUM_THREADS")
    os.environ["OMP_NUM_THREADS"] = "1"
    try:
        yield
    finally:
        if before is None:
            del os.environ["OMP_NUM_THREADS"]
        else:
            os.environ["OMP_NUM_THREADS"] = before


@contextmanager
def one_thread() -> Iterator[None]:
    """Compute with one thread for a while: these tensors are too small to share."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def quiet() -> None:
    """Keep Lightning from announcing its devices once for each of many small trainings."""
    for name in ("pytorch_lightning", "lightning_fabric"):
        logging.getLogger(name).setLevel(logging.ERROR)
    for message in (".*does not have many workers.*", ".*barebones.*", ".*LeafSpec.*", ".*module.s. in eval mode.*"):
        warnings.filterwarnings("ignore", message=message)
