"""From a config to objects and to a study: what the command line, demo and reproduce share."""

from __future__ import annotations

import json
import logging
import multiprocessing
import os
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from pytorch_lightning import LightningDataModule
from tqdm import tqdm

from .command import CommandLine, config_path
from .fitted import TheoremSettings
from .study import RunRecord, StudySettings, finish
from .training import Training


class StudyCommandLine(CommandLine):
    """LightningCLI whose model is told the sizes of the data, and whose configs may describe a study."""

    def add_arguments_to_parser(self, parser):
        parser.link_arguments("data.sizes", "model.init_args.sizes", apply_on="instantiate")
        parser.add_class_arguments(StudySettings, "study")
        parser.add_class_arguments(TheoremSettings, "theorem")


CLASSES = {
    "model_class": Training,
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
        overrides: command-line arguments over them, such as `--model.init_args.optimizer=adam`.
    """

    def __init__(self, configs: Sequence[str], overrides: Sequence[str] = ()):
        self.configs, self.overrides = list(configs), list(overrides)
        args = [f"--config={config_path(name)}" for name in configs] + list(overrides)
        quiet()
        self._cli = StudyCommandLine(run=False, args=args, save_config_callback=None, **CLASSES)
        self.training: Training = self._cli.model
        self.data: LightningDataModule = self._cli.datamodule
        self.settings = self._cli.config_init.study
        self.theorem = self._cli.config_init.theorem

    def trainer(self, callbacks: list):
        """A new trainer with the config's settings."""
        return self._cli.instantiate_trainer(callbacks=callbacks)

    def with_settings(self, changed: Mapping[str, Any]) -> Experiment:
        """The same experiment with some settings changed, by their dotted names."""
        more = [f"--{name}={value if isinstance(value, str) else json.dumps(value)}" for name, value in changed.items()]
        return Experiment(self.configs, [*self.overrides, *more])

    def described(self) -> dict[str, Any]:
        """All that decides a result, as JSON."""
        config = self._cli.config.as_dict()
        study = {k: v for k, v in config["study"].items() if k not in ("cells", "factors", "plane_points", "workers")}
        return {"model": config["model"], "data": config["data"], "trainer": config["trainer"], "study": study}

    def finish(self, cell: str, out: Path) -> list[RunRecord]:
        """The records of one cell, made now or before."""
        changed = self.with_settings(self.settings.all_cells()[cell])
        return finish(cell, changed.training, changed.data, self.settings, changed.trainer, changed.described(), out)

    def study(self, out: Path, title: str) -> list[RunRecord]:
        """Finish all cells, with a progress bar.

        Raises:
            ValueError: the config has no cells.
        """
        cells = list(self.settings.all_cells())
        if not cells:
            raise ValueError(f"{' + '.join(self.configs)}: the study section has no cells")
        if self.settings.workers > 1:
            jobs = [(self.configs, self.overrides, cell, out) for cell in cells]
            context = multiprocessing.get_context("spawn")
            with one_thread_each(), context.Pool(min(self.settings.workers, len(jobs))) as pool:
                done = pool.imap_unordered(finish_elsewhere, jobs)
                list(tqdm(done, desc=title, unit="stack", total=len(jobs)))
            todo = cells  # all are on disk now
        else:
            todo = tqdm(cells, desc=title, unit="stack")
        return [record for cell in todo for record in self.finish(cell, out)]


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
    """Compute with one thread for a while: small matrix products are slower with more, much so on a busy machine."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def finish_elsewhere(job: tuple[list[str], list[str], str, Path]) -> None:
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
    warnings.filterwarnings("ignore", message="these runs diverged")  # a study expects it of some, and records it
