"""From a config to objects and to a study: what demo, reproduce and sweep share."""

from __future__ import annotations

import json
import logging
import multiprocessing
import os
import warnings
from collections.abc import Sequence
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path

from pytorch_lightning import LightningDataModule, LightningModule
from tqdm import tqdm

from .command import CommandLine, config_path
from .study import Record, StudySettings, finish
from .theory import TheorySettings

LINKS = ("inputs", "outputs", "loss", "seeds", "dim", "count")  # a model is told those that it asks for


class ExperimentCommandLine(CommandLine):
    """LightningCLI whose models are told the sizes of the data, and whose configs may say what a study compares."""

    def add_arguments_to_parser(self, parser):
        for name in LINKS:
            parser.link_arguments(f"data.{name}", f"model.init_args.{name}", apply_on="instantiate")
        parser.add_class_arguments(StudySettings, "study")
        parser.add_class_arguments(TheorySettings, "theory")


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
    """The model, data, trainer and settings of one or more configs, the later over the earlier.

    Args:
        configs: names of packaged configs, or paths.
        overrides: command-line arguments over them, such as `--data.init_args.samples=200`.
    """

    def __init__(self, configs: Sequence[str], overrides: Sequence[str] = ()):
        self.configs, self.overrides = list(configs), list(overrides)
        args = [f"--config={config_path(name)}" for name in configs] + list(overrides)
        quiet()
        self._cli = ExperimentCommandLine(run=False, args=args, save_config_callback=None, **CLASSES)
        self.model, self.data = self._cli.model, self._cli.datamodule
        self.study = StudySettings(**self._section("study"))
        self.theory = TheorySettings(**self._section("theory"))

    def trainer(self, callbacks: list):
        """A new trainer with the config's settings."""
        return self._cli.instantiate_trainer(callbacks=callbacks)

    def finish(self, learner: str, out: Path) -> list[Record]:
        """The records of one learner, trained now or before."""
        return finish(learner, self.model, self.data, self.study, self.trainer, out, self.fingerprint())

    def fingerprint(self) -> str:
        """All that decides a learner's result, as text."""
        config = self._cli.config
        study = {key: value for key, value in asdict(self.study).items() if key not in ("learners", "workers")}
        parts = {"model": config["model"].as_dict(), "data": config["data"].as_dict(), "study": study}
        parts["model"].pop("class_path")
        return json.dumps({**parts, "steps": self.trainer([]).max_steps}, default=str, sort_keys=True)

    def records(self, out: Path, title: str) -> list[Record]:
        """The study of all learners with a progress bar, the costly ones first."""
        names = list(self.study.learners)
        if self.study.workers > 1:
            jobs = [(self.configs, self.overrides, name, out) for name in names]
            context = multiprocessing.get_context("spawn")
            with one_thread_each(), context.Pool(min(self.study.workers, len(jobs))) as pool:
                done = pool.imap_unordered(finish_elsewhere, jobs)
                list(tqdm(done, desc=title, unit="learner", total=len(jobs)))
            bar = names  # all are on disk now
        else:
            bar = tqdm(names, desc=title, unit="learner")
        return [record for name in bar for record in self.finish(name, out)]

    def _section(self, name: str) -> dict:
        settings = self._cli.config_init[name]
        return settings if isinstance(settings, dict) else vars(settings)


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


def finish_elsewhere(job: tuple[list[str], list[str], str, Path]) -> None:
    """`Experiment.finish` in a process that has only the names of the configs; the result is on disk."""
    configs, overrides, learner, out = job
    Experiment(configs, overrides).finish(learner, out)


def quiet() -> None:
    """Keep Lightning from announcing its devices once for each of many small trainings."""
    for name in ("pytorch_lightning", "lightning_fabric"):
        logging.getLogger(name).setLevel(logging.ERROR)
    ours = (
        ".*no `val_dataloader`.*",
        ".*run with no optimizer.*",
    )  # a study judges after training; a closed form has none
    for message in (".*does not have many workers.*", ".*barebones.*", ".*LeafSpec.*", *ours):
        warnings.filterwarnings("ignore", message=message)
