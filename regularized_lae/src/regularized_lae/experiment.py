"""From a config to objects and to a sweep: what demo and reproduce share."""

from __future__ import annotations

import logging
import multiprocessing
import os
import warnings
from collections.abc import Sequence
from contextlib import contextmanager
from pathlib import Path

from tqdm import tqdm

from .command import CommandLine, config_path
from .data import PrincipalData
from .recorder import Record
from .stack import Stack
from .sweep import Cell, SweepSettings, cells, finish


class ExperimentCommandLine(CommandLine):
    """LightningCLI for stacks: the model is told the data's spectrum, and a config may say what a sweep varies."""

    def add_arguments_to_parser(self, parser):
        parser.link_arguments("data.eigenvalues", "model.init_args.eigenvalues", apply_on="instantiate")
        parser.add_class_arguments(SweepSettings, "sweep")


CLASSES = {
    "model_class": Stack,
    "datamodule_class": PrincipalData,
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
        overrides: command-line arguments over them, such as `--model.init_args.latents=5`.
    """

    def __init__(self, configs: Sequence[str], overrides: Sequence[str] = ()):
        self.configs, self.overrides = list(configs), list(overrides)
        args = [f"--config={config_path(name)}" for name in configs] + list(overrides)
        quiet()
        self._cli = ExperimentCommandLine(run=False, args=args, save_config_callback=None, **CLASSES)
        self.stack: Stack = self._cli.model
        self.data: PrincipalData = self._cli.datamodule
        settings = self._cli.config_init["sweep"]
        self.settings = SweepSettings(**(settings if isinstance(settings, dict) else vars(settings)))

    def trainer(self, callbacks: list):
        """A new trainer with the config's settings."""
        return self._cli.instantiate_trainer(callbacks=callbacks)

    def finish(self, cell: Cell, out: Path) -> list[Record]:
        """The records of one cell, trained now or before."""
        return finish(cell, self.stack, self.data, self.settings, self.trainer, out)

    def sweep(self, out: Path, title: str) -> list[Record]:
        """Finish all cells with a progress bar, the largest first."""
        todo = sorted(cells(self.settings), key=lambda cell: -cell.latents)
        if self.settings.workers > 1:
            jobs = [(self.configs, self.overrides, cell, out) for cell in todo]
            context = multiprocessing.get_context("spawn")
            with one_thread_each(), context.Pool(min(self.settings.workers, len(jobs))) as pool:
                done = pool.imap_unordered(finish_elsewhere, jobs)
                list(tqdm(done, desc=title, unit="stack", total=len(jobs)))
            todo = cells(self.settings)  # all are on disk now
        else:
            todo = tqdm(todo, desc=title, unit="stack")
        return [record for cell in todo for record in self.finish(cell, out)]


@contextmanager
def one_thread_each():
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


def finish_elsewhere(job: tuple[list[str], list[str], Cell, Path]) -> None:
    """`Experiment.finish` in a process that has only the names of the configs; the result is on disk."""
    configs, overrides, cell, out = job
    Experiment(configs, overrides).finish(cell, out)


def quiet() -> None:
    """Keep Lightning from announcing its devices once for each of many small trainings."""
    for name in ("pytorch_lightning", "lightning_fabric"):
        logging.getLogger(name).setLevel(logging.ERROR)
    warnings.filterwarnings("ignore", message=".*does not have many workers.*")
    warnings.filterwarnings("ignore", message=".*barebones.*")
    warnings.filterwarnings("ignore", message=".*LeafSpec.*")
    warnings.filterwarnings("ignore", message="these runs diverged")  # a sweep expects it of some, and records it
