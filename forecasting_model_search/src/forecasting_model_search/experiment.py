"""From a config to objects, fitted surrogates and records: what the command line, demo and reproduce share."""

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
from .data import HubDataModule
from .learning import SurrogateTraining
from .methods import SurrogateSettings
from .study import StudySettings

TRANSFER_SHIFT = 500  # between the seeds of the two hubs of a transfer


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
        self.model: SurrogateTraining = self._cli.model
        self.data: HubDataModule = self._cli.datamodule
        self.settings: StudySettings = self._cli.config_init.study

    def trainer(self, callbacks: Sequence = ()):
        """A new trainer with the config's settings."""
        return self._cli.instantiate_trainer(callbacks=list(callbacks))

    def with_settings(self, changed: Mapping[str, Any]) -> Experiment:
        """The same experiment with some settings changed, by their dotted names."""
        more = [f"--{name}={value if isinstance(value, str) else json.dumps(value)}" for name, value in changed.items()]
        return Experiment(self.configs, [*self.overrides, *more])

    def fingerprint(self) -> str:
        """All that decides a fitted surrogate, as text."""
        config = self._cli.config.as_dict()
        return json.dumps({key: config[key] for key in ("model", "data", "trainer", "seed_everything")}, default=str)

    def fitted(self) -> SurrogateTraining:
        """The surrogate, fitted on the observed part of the hub."""
        self.trainer().fit(self.model, self.data)
        return self.model.eval()

    # ── records, cached as JSON

    def records(self, kind: str, name: str, out: Path, take: Callable[[], dict], marks: Any = None) -> dict:
        """The record in `out`/KIND/NAME.json, taken first if it is not there or belongs to other settings."""
        path = out / kind / f"{name}.json"
        mark = json.dumps([self.fingerprint(), marks], sort_keys=True, default=str)
        if path.is_file():
            content = json.loads(path.read_text())
            if content["mark"] == mark:
                return content["record"]
        with one_thread():
            record = take()
        path.parent.mkdir(parents=True, exist_ok=True)
        path.with_suffix(".tmp").write_text(json.dumps({"mark": mark, "record": record}))
        os.replace(path.with_suffix(".tmp"), path)
        return json.loads(path.read_text())["record"]

    def of_seed(self, seed: int, method: str = "", **data: Any) -> Experiment:
        """The experiment of one seed and one method, such as 'gmn shuffled'."""
        changed: dict[str, Any] = {"seed_everything": seed, "model.init_args.seed": seed, "data.init_args.seed": seed}
        if method:
            encoder, _, control = method.partition(" ")
            changed |= {"model.init_args.encoder": encoder, "data.init_args.control": control}
        return self.with_settings(changed | {f"data.init_args.{k}": v for k, v in data.items()})

    @property
    def surrogate(self) -> SurrogateSettings:
        return self.model.surrogate

    def take(self, kind: str, seed: int, out: Path) -> list[dict]:
        """All records of a kind and a seed."""
        return {"forecast": self._forecasts, "replay": self._replays, "live": self._live}[kind](seed, out)

    def _forecasts(self, seed: int, out: Path) -> list[dict]:
        """Each method fitted once; where transfer is measured, it also ranks a hub of which it is told nothing."""
        found, settings = [], self.settings
        for method in settings.forecast_methods:
            own, shown = self.of_seed(seed, method), seed == settings.shown
            carried = seed in settings.transfer_seeds and method in settings.transfer_methods
            other = self.of_seed(seed + TRANSFER_SHIFT, method).data if carried else None

            def take(own=own, method=method, shown=shown, other=other):
                return measure.forecast_record(own.fitted(), own.data, method, seed, shown, other)

            name = f"{method.replace(' ', '_')}_{seed}" + "_and_transfer" * carried
            found.append(own.records("forecast", name, out, take, shown))
        return found

    def _replays(self, seed: int, out: Path) -> list[dict]:
        settings, found = self.settings, []
        for method in settings.replay_methods:
            own = self.of_seed(seed)

            def take(own=own, method=method):
                own.data.setup()
                return measure.replay_record(
                    own.data.hub, method, settings.replay, seed, self.surrogate, settings.tau_at
                )

            marks = [asdict(settings.replay), settings.tau_at]
            found.append(own.records("replay", f"{method}_{seed}", out, take, marks))
        return found

    def _live(self, seed: int, out: Path) -> list[dict]:
        settings = self.settings
        networks = getattr(self.data, "zoo", None)
        networks = networks.networks if networks else 120

        def take():
            return measure.live_record(settings, self.surrogate, networks)

        marks = [
            settings.live_configs,
            settings.live_budget,
            settings.live_seed,
            settings.live_encoder,
            asdict(settings.replay),
        ]
        return [self.records("live", f"race_{seed}", out, take, marks)]

    def jobs(self) -> list[tuple[str, int]]:
        """Kinds and seeds of all that the settings name, the longest first."""
        s = self.settings
        jobs = [("replay", seed) for seed in s.replay_seeds if s.replay_methods]
        jobs += [("forecast", seed) for seed in s.forecast_seeds]
        return jobs + [("live", s.live_seed)] * bool(s.live_budget)

    def finish(self, out: Path, title: str) -> dict[str, list[dict]]:
        """All records by kind, in worker processes where there are several, with a progress bar."""
        todo = self.jobs()
        if self.settings.workers > 1:
            jobs = [(self.configs, self.overrides, kind, seed, out) for kind, seed in todo]
            context = multiprocessing.get_context("spawn")
            with one_thread_each(), context.Pool(min(self.settings.workers, len(jobs))) as pool:
                list(tqdm(pool.imap_unordered(take_elsewhere, jobs), desc=title, unit="part", total=len(jobs)))
        found: dict[str, list[dict]] = {"forecast": [], "replay": [], "live": []}
        for kind, seed in tqdm(todo, desc=title, unit="part", disable=self.settings.workers > 1):
            found[kind] += self.take(kind, seed, out)
        return found | {"transfer": transfers(found["forecast"])}


def transfers(forecasts: Sequence[dict]) -> list[dict]:
    """What the fitted surrogates said of another hub, as records like their own."""
    return [{"method": r["method"], "seed": r["seed"], **r["transfer"]} for r in forecasts if r.get("transfer")]


def take_elsewhere(job: tuple[list[str], list[str], str, int, Path]) -> None:
    """Records in a process that has only the names of the configs; the result is on disk."""
    configs, overrides, kind, seed, out = job
    Experiment(configs, overrides).take(kind, seed, out)


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
    """Keep Lightning from announcing its devices once for each of many fits."""
    for name in ("pytorch_lightning", "lightning_fabric", "pytorch_lightning.utilities.rank_zero", "lightning.fabric"):
        logging.getLogger(name).setLevel(logging.ERROR)
    warnings.filterwarnings("ignore", message=".*does not have many workers.*")
    warnings.filterwarnings("ignore", message=".*barebones.*")
    warnings.filterwarnings("ignore", message=".*LeafSpec.*")
    warnings.filterwarnings("ignore", message=".*logging interval.*")
