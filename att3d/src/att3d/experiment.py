"""From configs to models, trained cells and records: what the command line, demo and reproduce share."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import torch
from pytorch_lightning import LightningModule

from .cache import cached, load_state, save_state
from .checkpoints import model_content
from .command import CommandLine
from .configured import Configured, one_thread, quiet
from .per_prompt import PerPromptBaseline
from .retrieval import ShapeRetrieval, train_retrieval
from .study import StudySettings, scene_records


class StudyCommandLine(CommandLine):
    """LightningCLI whose configs may say what a study measures."""

    def add_arguments_to_parser(self, parser):
        parser.add_class_arguments(StudySettings, "study")


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


class Experiment(Configured):
    """The model, data, trainer and study settings of one or more configs, the later over the earlier."""

    command_line = StudyCommandLine

    def __init__(self, configs: Sequence[str], overrides: Sequence[str] = ()):
        quiet(".*lr_scheduler.step.*", ".*ended before the epoch.*")
        super().__init__(configs, overrides)
        self.settings = self.section("study", StudySettings)

    def cells(self) -> list[Cell]:
        """All trainings: methods × budgets × seeds, at the rates chosen for each.

        Raises:
            ValueError: not one rate for each budget.
        """
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

    def trained(self, path: Path) -> LightningModule:
        """The model with the weights at `path`, which are trained first if they are not there."""
        content = load_state(path, self.fingerprint())
        if content is None:
            trainer = self.trainer()
            with one_thread():
                trainer.fit(self.model, self.data)
            content = model_content(self.model)
            save_state(path, self.fingerprint(), content)
        if isinstance(self.model, PerPromptBaseline) and not self.model.prompts:
            self.model.prompts = list(self.data.train_prompts)
            self.model.build()
        self.model.load_state_dict(content["state_dict"])
        return self.model.eval()

    def retrieval(self, out: Path) -> ShapeRetrieval:
        """The retrieval network for this experiment's shapes and images, kept in `out` beside the cells."""
        prior = self.model.guidance
        each = 4 if len(self.data.library.prompts) > 27 else 3
        key = {"each": each, "steps": self.settings.retrieval_steps, "resolution": self.settings.resolution}
        key["views"] = getattr(prior, "views", 96)
        path = out / f"retrieval-{each}-{key['views']}-{key['resolution']}.pt"
        content = load_state(path, json.dumps(key))
        if content is None:
            with one_thread():
                network, accuracy = train_retrieval(each, key["views"], key["resolution"], key["steps"])
            content = {"state_dict": network.state_dict(), "accuracy": accuracy}
            save_state(path, json.dumps(key), content)
        network = ShapeRetrieval(each)
        network(torch.zeros(1, 3, key["resolution"], key["resolution"]))
        network.load_state_dict(content["state_dict"])
        network.accuracy = content["accuracy"]
        return network.eval()

    def records(self, name: str, out: Path, take: Callable[[], list[dict]], marks: Any = None) -> list[dict]:
        """The records in `out`/NAME.json, taken first if they are not there or belong to other settings.

        Args:
            marks: what decides them beside the config and how scenes are evaluated.
        """
        s = self.settings
        measured = [s.views, s.resolution, s.cells, s.retrieval_steps]
        mark = {"config": self.fingerprint(), "measured": measured, "marks": marks}
        with one_thread():
            return cached(out / f"{name}.json", mark, take)

    def finish(self, cell: Cell, out: Path, changed: Mapping[str, Any] | None = None, name: str = "") -> list[dict]:
        """Train one cell and measure every prompt that it has a scene for; both are kept in `out`."""
        own, name = self.cell(cell, changed), name or cell.name
        library = own.data.library
        alone = isinstance(own.model, PerPromptBaseline)
        prompts = library.train if alone else library.prompts

        def take() -> list[dict]:
            model, retrieval = own.trained(out / f"{name}.pt"), own.retrieval(out)
            rows = scene_records(model.scenes, prompts, retrieval, own.settings)
            seen = {"method": cell.method, "budget": cell.budget, "seed": cell.seed, "rate": own.model.lr}
            return [seen | {"unseen": row["prompt"] in library.unseen} | row for row in rows]

        return own.records(name, out, take)

    def finish_all(self, cells: Sequence[Cell], out: Path, title: str) -> list[dict]:
        """Train and measure cells in worker processes, with a progress bar; all their records."""
        with one_thread():
            self.retrieval(out)
        found = self.each("finish", [(cell, out) for cell in cells], self.settings.workers, title, "training")
        return [record for records in found for record in records]
