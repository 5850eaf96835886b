"""From configs to models, trained cells and records: what the command line, demo and reproduce share."""

from __future__ import annotations

import json
import multiprocessing
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import torch
from pytorch_lightning import LightningDataModule, LightningModule
from tqdm import tqdm

from .checkpoints import save_model
from .command import CommandLine, config_path
from .per_prompt import PerPromptBaseline
from .quiet import quiet
from .retrieval import ShapeRetrieval, train_retrieval
from .study import StudySettings, scene_records


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


class Cell(NamedTuple):
    """One training: a method, a budget in frames for each prompt, a learning rate and a seed."""

    method: str
    budget: float
    rate: float | None
    seed: int

    @property
    def name(self) -> str:
        rate = "" if self.rate is None else f"-lr{self.rate:g}"
        return f"{self.method}-{self.budget:g}{rate}-s{self.seed}"


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

    def trainer(self):
        """A new trainer with the config's settings."""
        return self._cli.instantiate_trainer()

    def with_settings(self, changed: Mapping[str, Any]) -> Experiment:
        """The same experiment with some settings changed, by their dotted names."""
        more = [f"--{name}={value if isinstance(value, str) else json.dumps(value)}" for name, value in changed.items()]
        return Experiment(self.configs, [*self.overrides, *more])

    def cells(self) -> list[Cell]:
        """All trainings: methods × budgets × seeds, at the rates chosen for each."""
        settings = self.settings
        found = []
        for method in settings.methods:
            rates = settings.rates.get(method) or [None] * len(settings.budgets)
            if len(rates) != len(settings.budgets):
                raise ValueError(f"study.rates.{method} has {len(rates)} rates for {len(settings.budgets)} budgets")
            for budget, rate in zip(settings.budgets, rates, strict=True):
                found += [Cell(method, budget, rate, seed) for seed in settings.seeds]
        return sorted(found, key=lambda cell: cell.seed)

    def cell(self, cell: Cell, changed: Mapping[str, Any] | None = None) -> Experiment:
        """The experiment of one training: equal frames for each training prompt, whatever the batch."""
        own = {"seed_everything": cell.seed, "data.init_args.seed": cell.seed}
        own |= {**self.settings.methods[cell.method], **(changed or {}), "model.init_args.seed": cell.seed}
        if cell.rate is not None:
            own["model.init_args.lr"] = cell.rate
        experiment = self.with_settings(own)
        steps = experiment.steps_for(cell.budget)
        experiment = experiment.with_settings({"trainer.max_steps": steps})
        return experiment

    def steps_for(self, budget: float) -> int:
        """Optimiser steps in which each training prompt is rendered `budget` times."""
        prompts = len(self.data.train_prompts)
        per_step = (self.data.prompts_per_step or prompts) * self.model.views
        return max(1, round(budget * prompts / per_step))

    def fingerprint(self) -> str:
        """All that decides a trained model, as text."""
        config = self._cli.config.as_dict()
        return json.dumps({key: config[key] for key in ("model", "data", "trainer", "seed_everything")}, default=str)

    def trained(self, path: Path) -> LightningModule:
        """The model with the weights at `path`, which are trained first if they are not there."""
        if not path.is_file() or torch.load(path, weights_only=True)["fingerprint"] != self.fingerprint():
            trainer = self.trainer()
            with one_thread():
                trainer.fit(self.model, self.data)
            save_model(path, self.model, self.fingerprint())
        content = torch.load(path, weights_only=True)
        if isinstance(self.model, PerPromptBaseline) and not self.model.prompts:
            self.model.prompts = list(self.data.train_prompts)
            self.model.build()
        self.model.load_state_dict(content["state_dict"])
        return self.model.eval()

    def retrieval(self, path: Path) -> ShapeRetrieval:
        """The retrieval network for this experiment's shapes, cached beside the cells."""
        prior = self.model.guidance
        each = 4 if len(self.data.library.prompts) > 27 else 3
        key = {"each": each, "steps": self.settings.retrieval_steps, "resolution": self.settings.resolution}
        key["views"] = getattr(prior, "views", 96)
        if not path.is_file() or json.loads(torch.load(path, weights_only=True)["key"]) != key:
            with one_thread():
                network, accuracy = train_retrieval(each, key["views"], key["resolution"], key["steps"])
            write(path, {"key": json.dumps(key), "state_dict": network.state_dict(), "accuracy": accuracy})
        content = torch.load(path, weights_only=True)
        network = ShapeRetrieval(each)
        network(torch.zeros(1, 3, key["resolution"], key["resolution"]))
        network.load_state_dict(content["state_dict"])
        network.accuracy = content["accuracy"]
        return network.eval()

    def records(self, name: str, out: Path, take: Callable[[], list[dict]]) -> list[dict]:
        """The records in `out`/NAME.json, taken first if they are not there or belong to other settings."""
        path = out / f"{name}.json"
        s = self.settings
        measured = [s.views, s.resolution, s.cells, s.retrieval_steps]
        mark = json.dumps({"config": self.fingerprint(), "measured": measured}, sort_keys=True)
        if path.is_file() and (content := json.loads(path.read_text()))["mark"] == mark:
            return content["records"]
        with one_thread():
            taken = take()
        out.mkdir(parents=True, exist_ok=True)
        path.with_suffix(".tmp").write_text(json.dumps({"mark": mark, "records": taken}))
        os.replace(path.with_suffix(".tmp"), path)
        return json.loads(path.read_text())["records"]

    def measured(self, cell: Cell, out: Path, changed: Mapping[str, Any] | None = None, name: str = "") -> list[dict]:
        """Train one cell and measure every prompt that it has a scene for; both are kept in `out`."""
        own, name = self.cell(cell, changed), name or cell.name
        library = own.data.library
        alone = isinstance(own.model, PerPromptBaseline)
        prompts = library.train if alone else library.prompts

        def take() -> list[dict]:
            model, retrieval = own.trained(out / f"{name}.pt"), own.retrieval(out / "retrieval.pt")
            rows = scene_records(model.scenes, prompts, retrieval, own.settings)
            seen = {"method": cell.method, "budget": cell.budget, "seed": cell.seed, "rate": own.model.lr}
            return [seen | {"unseen": row["prompt"] in library.unseen} | row for row in rows]

        return own.records(name, out, take)

    def finish(self, cells: Sequence[Cell], out: Path, title: str) -> list[dict]:
        """Train and measure cells in worker processes, with a progress bar; all their records."""
        with one_thread():
            self.retrieval(out / "retrieval.pt")
        jobs = [(self.configs, self.overrides, cell, out) for cell in cells]
        if self.settings.workers > 1 and len(jobs) > 1:
            context = multiprocessing.get_context("spawn")
            with one_thread_each(), context.Pool(min(self.settings.workers, len(jobs))) as pool:
                found = list(tqdm(pool.imap(finish_elsewhere, jobs), desc=title, unit="training", total=len(jobs)))
        else:
            found = [finish_elsewhere(job) for job in tqdm(jobs, desc=title, unit="training")]
        return [record for records in found for record in records]


def finish_elsewhere(job: tuple[list[str], list[str], Cell, Path]) -> list[dict]:
    """One cell, possibly in a process that has only the names of the configs; its records, which are also on disk."""
    configs, overrides, cell, out = job
    return Experiment(configs, overrides).measured(cell, out)


def write(path: Path, content: dict) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    torch.save(content, path.with_suffix(".tmp"))
    os.replace(path.with_suffix(".tmp"), path)


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
    """Compute with one thread for a while: these products are too small to share, on a busy machine much slower."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)
