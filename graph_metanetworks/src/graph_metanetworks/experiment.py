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

from pytorch_lightning import LightningDataModule, LightningModule
from tqdm import tqdm

from .command import CommandLine, config_path
from .study import EXPERIMENTS, Record, StudySettings, measure, read_record, trained, write_record


class StudyCommandLine(CommandLine):
    """LightningCLI whose configs may describe a study."""

    def add_arguments_to_parser(self, parser):
        parser.add_class_arguments(StudySettings, "study")


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
        overrides: command-line arguments over them, such as `--model.init_args.width=32`.
    """

    def __init__(self, configs: Sequence[str], overrides: Sequence[str] = ()):
        self.configs, self.overrides = list(configs), list(overrides)
        args = [f"--config={config_path(name)}" for name in configs] + list(overrides)
        quiet()
        self._cli = StudyCommandLine(run=False, args=args, save_config_callback=None, **CLASSES)
        self.model: LightningModule = self._cli.model
        self.data: LightningDataModule = self._cli.datamodule
        self.settings: StudySettings = self._cli.config_init.study

    def trainer(self):
        """A new trainer with the config's settings."""
        return self._cli.instantiate_trainer()

    def with_settings(self, changed: Mapping[str, Any]) -> Experiment:
        """The same experiment with some settings changed, by their dotted names."""
        more = [f"--{name}={value if isinstance(value, str) else json.dumps(value)}" for name, value in changed.items()]
        return Experiment(self.configs, [*self.overrides, *more])

    def described(self) -> dict[str, Any]:
        """All that decides a result, as JSON; where files are kept is not part of it."""
        config = self._cli.config.as_dict()
        data = json.loads(json.dumps(config["data"], default=str))
        for name in ("folder", "data_dir"):
            data["init_args"].pop(name, None)
        parts = {"model": config["model"], "data": data, "trainer": config["trainer"]}
        return json.loads(json.dumps(parts, default=str))

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
        in_parallel(call, list(chores.values()), self.settings.workers, title)

    def train(self, out: Path) -> float:
        """Train the model, or read its weights below `out` if it was trained before; the seconds that it took."""
        return trained(self.model, self.data, self.trainer(), out / "trained", self.described())

    def finish(self, job: tuple[str, str, int], out: Path) -> Record:
        """The record of one cell and seed, made now or before."""
        name, cell, seed = job
        changed = self.cell(name, cell, seeds(seed), out)
        path, made_with = out / "cells" / f"{name}-{cell}-{seed}.json", changed.described()
        record = read_record(path, made_with)
        if record is None:
            record = measure(name, cell, seed, changed.model, changed.data, changed.train(out))
            write_record(path, record, made_with)
        return record

    def study(self, out: Path, title: str, experiments: Sequence[str] = EXPERIMENTS) -> list[Record]:
        """Finish all cells of some experiments, with a progress bar.

        Raises:
            ValueError: the config has no cells.
        """
        jobs = self.jobs(experiments)
        if not jobs:
            raise ValueError(f"{' + '.join(self.configs)}: the study section has no cells")
        workers = self.settings.workers
        if workers > 1:
            packed = [(self.configs, self.overrides, job, out) for job in jobs]
            in_parallel(finish_elsewhere, packed, workers, title)
            bar = jobs  # all are on disk now
        else:
            bar = tqdm(jobs, desc=title, unit="cell")
        return [self.finish(job, out) for job in bar]


def seeds(seed: int) -> dict[str, int]:
    """Changes of a config that start initial weights and the order of batches from a seed."""
    return {"model.init_args.seed": seed, "data.init_args.order_seed": seed}


def call(chore) -> None:
    chore()


def in_parallel(function, jobs: Sequence, workers: int, title: str) -> None:
    """`function(job)` for each, in processes of one thread; with one worker, here."""
    if workers < 2 or len(jobs) < 2:
        for job in tqdm(jobs, desc=title):
            function(job)
        return
    context = multiprocessing.get_context("spawn")
    with one_thread_each(), context.Pool(min(workers, len(jobs))) as pool:
        list(tqdm(pool.imap_unordered(function, jobs), desc=title, total=len(jobs)))


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


def finish_elsewhere(job: tuple[list[str], list[str], tuple[str, str, int], Path]) -> None:
    """`Experiment.finish` in a process that has only the names of the configs; the result is on disk."""
    configs, overrides, cell, out = job
    Experiment(configs, overrides).finish(cell, out)


def quiet() -> None:
    """Keep Lightning from announcing its devices once for each of many small trainings."""
    for name in ("pytorch_lightning", "lightning_fabric", "pytorch_lightning.utilities.rank_zero"):
        logging.getLogger(name).setLevel(logging.ERROR)
    for message in (
        ".*does not have many workers.*", ".*barebones.*", ".*LeafSpec.*", ".*lr_scheduler.step.*", ".*dispatch.*",
        ".*Checkpoint directory.*",
    ):  # fmt: skip
        warnings.filterwarnings("ignore", message=message)
