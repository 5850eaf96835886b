"""From configs to objects and to a study: what the command line, demo and reproduce share."""

from __future__ import annotations

import json
import logging
import multiprocessing
import os
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from pytorch_lightning import LightningDataModule, Trainer
from tqdm import tqdm

from . import episodic  # noqa: F401 its classes are found by name
from .command import CommandLine, config_path
from .data import FFSLDataModule
from .learning import Representation
from .study import Record, StudySettings, finish, read_records
from .toy import ToySettings


class StudyCommandLine(CommandLine):
    """LightningCLI whose models are told how many labels there are, and whose configs may describe a study."""

    def add_arguments_to_parser(self, parser):
        parser.link_arguments("data.labels", "model.init_args.labels", apply_on="instantiate")
        parser.add_class_arguments(StudySettings, "study")
        parser.add_class_arguments(ToySettings, "toy")


class _WithoutTrainer(StudyCommandLine):
    """Makes no trainer until one is asked for: labels of a config for GPUs can be read without a GPU."""

    def instantiate_trainer(self, **kwargs):
        return super().instantiate_trainer(**kwargs) if kwargs else None


CLASSES = {
    "model_class": Representation,
    "datamodule_class": LightningDataModule,
    "subclass_mode_model": True,
    "subclass_mode_data": True,
    "auto_configure_optimizers": False,
    "seed_everything_default": 0,
    "save_config_kwargs": {"overwrite": True},
}


class Experiment:
    """The model, data, trainer and study of one or more configs, the later over the earlier.

    Args:
        configs: names of packaged configs, or paths; `a+b` is a, and b over it.
        overrides: command-line arguments over them, such as `--data.init_args.rho=1`.
    """

    def __init__(self, configs: Sequence[str], overrides: Sequence[str] = ()):
        self.configs, self.overrides = [name for joined in configs for name in joined.split("+")], list(overrides)
        args = [f"--config={config_path(name)}" for name in self.configs] + list(overrides)
        with quietly():
            self._cli = _WithoutTrainer(run=False, args=args, save_config_callback=None, **CLASSES)
        self.model: Representation = self._cli.model
        self.data: FFSLDataModule = self._cli.datamodule
        self.study: StudySettings = self._section("study", StudySettings)
        self.toy: ToySettings = self._section("toy", ToySettings)

    def trainer(self, **changed: Any) -> Trainer:
        """A new trainer with the config's settings."""
        with quietly():
            return self._cli.instantiate_trainer(**{"callbacks": None, **changed})

    def toy_trainer(self, steps: int) -> Trainer:
        """A new trainer for the toy problem."""
        return self.trainer(max_steps=steps)

    def with_settings(self, changed: dict[str, Any]) -> Experiment:
        """The same experiment with some settings changed, by their dotted names."""
        more = [f"--{name}={v if isinstance(v, str) else json.dumps(v)}" for name, v in changed.items()]
        return Experiment(self.configs, [*self.overrides, *more])

    def described(self) -> dict[str, Any]:
        """All that decides what is trained, as JSON."""
        config = self._cli.config.as_dict()
        kept = ("episodes_file", "n_episodes", "shots", "queries")
        data = {k: v for k, v in config["data"]["init_args"].items() if k not in kept}
        steps = config["trainer"]["max_steps"], config["trainer"]["max_epochs"]
        return {"model": config["model"], "data": [config["data"]["class_path"], data], "steps": steps}

    def cell(self, condition: str, seed: int, method: str, pretrained: Path | None = None) -> Experiment:
        """The experiment of one method under one condition, from the encoder of a checkpoint if one is given.

        Raises:
            ValueError: the config has no such method or condition.
        """
        study = self.study
        if method not in study.methods or condition not in study.conditions:
            raise ValueError(
                f"no method {method!r} or condition {condition!r}; the study has methods {', '.join(study.methods)} "
                f"and conditions {', '.join(study.conditions)}"
            )
        own = {k: v for k, v in study.methods[method].items() if k not in ("after", "features")}
        seeds = {"seed_everything": seed, "data.init_args.seed": seed, "model.init_args.seed": seed}
        start = {"model.init_args.pretrained": str(pretrained)} if pretrained else {}
        return self.with_settings({**own, **study.conditions[condition], **seeds, **start})

    def finish(self, condition: str, seed: int, method: str, out: Path) -> list[Record]:
        """The records of one method, made now or before; what it starts from must be there."""
        with quietly():
            return finish(self, condition, seed, method, out)

    def records(self, out: Path, title: str) -> list[Record]:
        """The whole study with a progress bar; methods that start from another's encoder follow it."""
        chains = self.study.chains()
        if self.study.workers > 1:
            jobs = [(self.configs, self.overrides, chain, out) for chain in chains]
            context = multiprocessing.get_context("spawn")
            with one_thread_each(), context.Pool(min(self.study.workers, len(jobs))) as pool:
                list(tqdm(pool.imap_unordered(finish_elsewhere, jobs), desc=title, unit="chain", total=len(jobs)))
            return [record for chain in chains for cell in chain for record in read_records(out, *cell)]
        bar = tqdm(chains, desc=title, unit="chain")
        return [record for chain in bar for cell in chain for record in self.finish(*cell, out)]

    def _section(self, name: str, kind: type):
        settings = self._cli.config_init[name]
        if isinstance(settings, kind):
            return settings
        return kind(**(settings if isinstance(settings, dict) else vars(settings)))


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
    """Compute with one thread for a while: small products are slower with more, much so on a busy machine."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def finish_elsewhere(job: tuple[list[str], list[str], list[tuple[str, int, str]], Path]) -> None:
    """`Experiment.finish` for the cells of a chain, in a process that has only the names of the configs."""
    configs, overrides, chain, out = job
    experiment = Experiment(configs, overrides)
    for cell in chain:
        experiment.finish(*cell, out)


@contextmanager
def quietly() -> Iterator[None]:
    """Keep Lightning from announcing devices, seeds and ends once for each of many small trainings."""
    loggers = [logging.getLogger(name) for name in ("pytorch_lightning", "lightning_fabric", "lightning")]
    before = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.ERROR)
    os.environ.setdefault("PL_DISABLE_FORK", "1")
    with warnings.catch_warnings():
        for message in (".*does not have many workers.*", ".*barebones.*", ".*LeafSpec.*", ".*no `val_dataloader`.*",
                        ".*init_args.*", ".*fork.*", ".*lr_scheduler.step.*"):  # fmt: skip
            warnings.filterwarnings("ignore", message=message)
        yield
    for logger, level in zip(loggers, before, strict=True):
        logger.setLevel(level)
