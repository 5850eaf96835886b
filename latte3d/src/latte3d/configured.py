"""From configs to a model, its data and a trainer, and many trainings in processes. The same text in every project."""

from __future__ import annotations

import json
import logging
import multiprocessing
import os
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, ClassVar, TypeVar

import torch
from pytorch_lightning import LightningDataModule, LightningModule, Trainer
from tqdm import tqdm

from .command import CommandLine, config_path

if TYPE_CHECKING:
    from typing import Self

Settings = TypeVar("Settings")
Job = TypeVar("Job")
Result = TypeVar("Result")

CLASSES: dict[str, Any] = {  # how every command line of the house reads a config
    "model_class": LightningModule,
    "datamodule_class": LightningDataModule,
    "subclass_mode_model": True,
    "subclass_mode_data": True,
    "auto_configure_optimizers": False,
    "seed_everything_default": 0,
    "save_config_kwargs": {"overwrite": True},
}


class Configured:
    """The model, data and trainer of one or more configs, the later over the earlier; a project's `Experiment` is one.

    Args:
        configs: names of packaged configs, or paths.
        overrides: command-line arguments over them, such as `--trainer.max_steps=100`.
    """

    command_line: ClassVar[type[CommandLine]]  # a project's own, with its links and sections
    classes: ClassVar[dict[str, Any]] = CLASSES
    model: LightningModule
    data: LightningDataModule

    def __init__(self, configs: Sequence[str], overrides: Sequence[str] = ()):
        self.configs, self.overrides = list(configs), list(overrides)
        args = [f"--config={config_path(name)}" for name in self.configs] + self.overrides
        quiet()
        self._cli = self.command_line(run=False, args=args, save_config_callback=None, **self.classes)
        self.model, self.data = self._cli.model, self._cli.datamodule

    def section(self, name: str, kind: type[Settings]) -> Settings:
        """The settings of a section of the configs, such as `study`."""
        found = self._cli.config_init[name]
        if isinstance(found, kind):
            return found
        return kind(**(found if isinstance(found, dict) else vars(found)))

    def trainer(self, callbacks: Sequence = (), **changed: Any) -> Trainer:
        """A new trainer with the configs' settings, and these callbacks instead of theirs, which watch a `fit`."""
        return self._cli.instantiate_trainer(callbacks=list(callbacks), **changed)

    def with_settings(self, changed: Mapping[str, Any]) -> Self:
        """The same experiment with some settings changed, by their dotted names; whole models and data come first."""
        order = sorted(changed, key=lambda name: name not in ("model", "data"))
        more = [f"--{n}={changed[n] if isinstance(changed[n], str) else json.dumps(changed[n])}" for n in order]
        return type(self)(self.configs, [*self.overrides, *more])

    def described(self) -> dict[str, Any]:
        """All that decides what is trained, as JSON: model, data, trainer (but not where it writes) and the seed."""
        config = self._cli.config.as_dict()
        decided = {key: config[key] for key in ("model", "data", "trainer", "seed_everything")}
        decided["trainer"] = {k: v for k, v in decided["trainer"].items() if k != "default_root_dir"}
        return json.loads(json.dumps(decided, default=str))

    def fingerprint(self) -> str:
        """`described` as text."""
        return json.dumps(self.described(), sort_keys=True)

    def each(self, method: str, arguments: Sequence[tuple], workers: int, title: str, unit: str = "part") -> list:
        """`self.METHOD(*arguments)` for each, with a progress bar, in the order of the arguments.

        Worker processes build the experiment anew from its configs: what the method made must be on disk, or returned.
        """
        if not arguments:
            return []
        jobs = [(type(self), self.configs, self.overrides, method, own) for own in arguments]
        if min(workers, len(jobs)) < 2:
            return [getattr(self, method)(*own) for own in tqdm(arguments, desc=title, unit=unit)]
        return in_processes(_elsewhere, jobs, workers, title, unit)


def _elsewhere(job: tuple[type[Configured], list[str], list[str], str, tuple]) -> Any:
    kind, configs, overrides, method, arguments = job
    return getattr(kind(configs, overrides), method)(*arguments)


def in_processes(
    function: Callable[[Job], Result], jobs: Sequence[Job], workers: int, title: str, unit: str = "part"
) -> list[Result]:
    """`function(job)` for each, in processes of one thread with a progress bar; here, where one process is enough."""
    if min(workers, len(jobs)) < 2:
        return [function(job) for job in tqdm(jobs, desc=title, unit=unit)]
    context = multiprocessing.get_context("spawn")
    with one_thread_each(), context.Pool(min(workers, len(jobs))) as pool:
        return list(tqdm(pool.imap(function, jobs), desc=title, unit=unit, total=len(jobs)))


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
    """Compute with one thread for a while: small matrix products are slower with more, much so beside other work."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def quiet(*messages: str) -> None:
    """Keep Lightning from announcing its devices once for each of many trainings, and warnings of these patterns."""
    for name in ("pytorch_lightning", "lightning_fabric", "pytorch_lightning.utilities.rank_zero"):
        logging.getLogger(name).setLevel(logging.ERROR)
    for message in (".*does not have many workers.*", ".*barebones.*", ".*LeafSpec.*", *messages):
        warnings.filterwarnings("ignore", message=message)
