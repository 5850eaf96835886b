"""From a config to objects, trained models and records: what the command line, demo and reproduce share."""

from __future__ import annotations

import json
import logging
import multiprocessing
import os
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from pytorch_lightning import LightningDataModule, LightningModule
from tqdm import tqdm

from . import study as measure
from .command import CommandLine, config_path
from .study import StudySettings


class StudyCommandLine(CommandLine):
    """LightningCLI whose configs may say what a study measures."""

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
UNTRAINED = ("fits", "distances", "random")  # records that need no trained model


class Experiment:
    """The model, data, trainer and study settings of one or more configs, the later over the earlier.

    Args:
        configs: names of packaged configs, or paths.
        overrides: command-line arguments over them, such as `--trainer.max_steps=100`.
    """

    def __init__(self, configs: Sequence[str], overrides: Sequence[str] = ()):
        self.configs, self.overrides = list(configs), list(overrides)
        args = [f"--config={config_path(name)}" for name in configs] + list(overrides)
        quiet()
        self._cli = StudyCommandLine(run=False, args=args, save_config_callback=None, **CLASSES)
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

    def cell(self, name: str) -> Experiment:
        """The experiment of one cell."""
        return self.with_settings(self.settings.cells[name])

    def fingerprint(self) -> str:
        """All that decides a trained model, as text."""
        config = self._cli.config.as_dict()
        return json.dumps({key: config[key] for key in ("model", "data", "trainer", "seed_everything")}, default=str)

    def trained(self, path: Path) -> LightningModule:
        """The model with the weights at `path`, which are trained first if they are not there."""
        if not self._stored(path):
            trainer = self.trainer()
            with one_thread():
                trainer.fit(self.model, self.data)
            path.parent.mkdir(parents=True, exist_ok=True)
            content = {"fingerprint": self.fingerprint(), "state_dict": self.model.state_dict()}
            self.model.on_save_checkpoint(content)
            torch.save(content, path.with_suffix(".tmp"))
            os.replace(path.with_suffix(".tmp"), path)
        content = torch.load(path, weights_only=True)
        self.model.load_state_dict(content["state_dict"])
        self.model.on_load_checkpoint(content)
        return self.model.eval()

    def finish(self, out: Path, title: str, untrained: Sequence[str] = UNTRAINED) -> None:
        """Train all cells and take those records that need none, in worker processes, with a progress bar."""
        jobs = [(self.configs, self.overrides, name, out) for name in [*self.settings.cells, *untrained]]
        if self.settings.workers > 1:
            context = multiprocessing.get_context("spawn")
            with one_thread_each(), context.Pool(min(self.settings.workers, len(jobs))) as pool:
                done = pool.imap_unordered(finish_elsewhere, jobs)
                list(tqdm(done, desc=title, unit="part", total=len(jobs)))
        else:
            for job in tqdm(jobs, desc=title, unit="part"):
                finish_elsewhere(job)

    def records(self, name: str, out: Path, take: Callable[[], list[dict]]) -> list[dict]:
        """The records in `out`/NAME.json, taken first if they are not there or belong to other settings."""
        path = out / f"{name}.json"
        settings = {k: v for k, v in asdict(self.settings).items() if k != "workers"}
        mark = json.dumps({"study": settings, "config": self.fingerprint()}, sort_keys=True, default=str)
        if path.is_file():
            content = json.loads(path.read_text())
            if content["mark"] == mark:
                return content["records"]
        with one_thread():
            taken = take()
        out.mkdir(parents=True, exist_ok=True)
        path.with_suffix(".tmp").write_text(json.dumps({"mark": mark, "records": taken}))
        os.replace(path.with_suffix(".tmp"), path)
        return json.loads(path.read_text())["records"]

    def untrained(self, name: str, out: Path) -> list[dict]:
        """Records of fits, distances or random embeddings."""
        take = {
            "fits": measure.fit_records,
            "distances": measure.distance_records,
            "random": measure.random_records,
        }[name]
        return self.records(name, out, lambda: take(self.settings))

    def _stored(self, path: Path) -> bool:
        return path.is_file() and torch.load(path, weights_only=True)["fingerprint"] == self.fingerprint()


def finish_elsewhere(job: tuple[list[str], list[str], str, Path]) -> None:
    """One cell or kind of records in a process that has only the names of the configs; the result is on disk."""
    configs, overrides, name, out = job
    experiment = Experiment(configs, overrides)
    if name in UNTRAINED:
        experiment.untrained(name, out)
    else:
        experiment.cell(name).trained(out / f"{name}.pt")


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


def quiet() -> None:
    """Keep Lightning from announcing its devices once for each of several trainings."""
    for name in ("pytorch_lightning", "lightning_fabric", "pytorch_lightning.utilities.rank_zero"):
        logging.getLogger(name).setLevel(logging.ERROR)
    warnings.filterwarnings("ignore", message=".*does not have many workers.*")
    warnings.filterwarnings("ignore", message=".*barebones.*")
    warnings.filterwarnings("ignore", message=".*LeafSpec.*")
    warnings.filterwarnings("ignore", message=".*lr_scheduler.step.*")
