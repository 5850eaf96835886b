"""From a config to objects and trained students: what the command line, demo and reproduce share."""

from __future__ import annotations

import hashlib
import json
import logging
import multiprocessing
import os
import re
import time
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from pytorch_lightning import Callback
from tqdm import tqdm

from .command import CommandLine, config_path
from .data import PartitionedDataModule
from .denoisers import load_denoiser, student_path
from .edm import edm_sampler
from .exporting import export
from .files import write_json
from .ledger import Ledger
from .pairs import fingerprint, sample_pairs, write_pairs
from .study import StudySettings, chain, seeded, seeds_of
from .training import StudentTraining

LINKS = {"shape": "shape", "classes": "classes", "sigma_data": "sigma_data", "chosen": "students", "seed": "seed"}


class StudyCommandLine(CommandLine):
    """LightningCLI whose model is told the sizes of the data, and whose configs may describe a study."""

    def add_arguments_to_parser(self, parser):
        for of_data, of_model in LINKS.items():
            parser.link_arguments(f"data.{of_data}", f"model.init_args.{of_model}", apply_on="instantiate")
        parser.add_class_arguments(StudySettings, "study")


CLASSES = {
    "model_class": StudentTraining,
    "datamodule_class": PartitionedDataModule,
    "subclass_mode_model": True,
    "subclass_mode_data": True,
    "auto_configure_optimizers": False,
    "seed_everything_default": 0,
    "save_config_kwargs": {"overwrite": True},
}


class LossCurve(Callback):
    """The terms of the loss, averaged over stretches of steps; read once at the end."""

    def __init__(self, points: int = 40):
        self.points, self.taken = points, []

    def on_train_batch_end(self, trainer, module, outputs, *_):
        terms = outputs if isinstance(outputs, Mapping) else {"loss": outputs}
        share = module.count if "loss" in terms else 1  # the sum over students, or their mean
        self.taken.append({name: value.detach() / share for name, value in terms.items()})

    def curve(self) -> dict[str, list[tuple[int, float]]]:
        """Term -> (step, mean loss) in order."""
        names = dict.fromkeys(name for terms in self.taken for name in terms)
        width = max(1, len(self.taken) // self.points)
        found: dict[str, list[tuple[int, float]]] = {}
        for name in names:
            for start in range(0, len(self.taken) - width + 1, width):
                own = [terms[name] for terms in self.taken[start : start + width] if name in terms]
                if own:
                    found.setdefault(name, []).append((start + width, float(torch.stack(own).mean())))
        return found


class Experiment:
    """The model, data, trainer and study of one or more configs, the later over the earlier.

    Args:
        configs: names of packaged configs, or paths.
        overrides: command-line arguments over them, such as `--trainer.max_steps=100`.
    """

    def __init__(self, configs: Sequence[str], overrides: Sequence[str] = ()):
        self.configs, self.overrides = list(configs), list(overrides)
        args = [f"--config={config_path(name)}" for name in configs] + list(overrides)
        quiet()
        self._cli = StudyCommandLine(run=False, args=args, save_config_callback=None, **CLASSES)
        self.model: StudentTraining = self._cli.model
        self.data: PartitionedDataModule = self._cli.datamodule
        self.settings: StudySettings = self._cli.config_init.study

    def trainer(self, callbacks: Sequence = ()):
        """A new trainer with the config's settings."""
        return self._cli.instantiate_trainer(callbacks=list(callbacks))

    def with_settings(self, changed: Mapping[str, Any]) -> Experiment:
        """The same experiment with some settings changed, by their dotted names; whole models and data come first."""
        order = sorted(changed, key=lambda name: name not in ("model", "data"))
        more = [f"--{n}={changed[n] if isinstance(changed[n], str) else json.dumps(changed[n])}" for n in order]
        return Experiment(self.configs, [*self.overrides, *more])

    def fingerprint(self) -> str:
        """A hash of all that decides the trained students."""
        config = self._cli.config.as_dict()
        decided = {key: config[key] for key in ("model", "data", "trainer", "seed_everything")}
        return hashlib.sha256(json.dumps(decided, default=str, sort_keys=True).encode()).hexdigest()[:12]

    # stages

    def trained(self, stage: str, out: Path) -> Path:
        """The folder of this experiment's students, trained first if they are not there."""
        folder = out / "stages" / f"{stage}-{self.fingerprint()}"
        if not (folder / "result.json").is_file():
            curve, start = LossCurve(), time.perf_counter()
            with one_thread():
                self.trainer([curve]).fit(self.model, self.data)
            export(self.model, folder)
            content = {
                "stage": stage,
                "seconds": round(time.perf_counter() - start, 1),
                "ledger": self.model.ledger.state(),
                "curve": curve.curve(),
            }
            write_json(folder / "result.json", content)
        return folder

    def shared(self, stage: str, out: Path) -> Path:
        """The folder of a stage that cells share, such as the teacher."""
        if stage not in self.settings.stages:
            raise ValueError(f"no stage {stage!r} in the study: it has {', '.join(self.settings.stages)}")
        return self.with_settings(self.resolved(self.settings.stages[stage], None, out)).trained(stage, out)

    def pairs_of(self, stage: str, out: Path) -> Path:
        """The pairs of a shared stage's teacher, sampled first if they are not there; `exact` is the data's own."""
        count, steps, labels_seed = self.settings.pairs, self.settings.sampler_steps, 1
        if stage.endswith(".exact"):
            data = self.with_settings(self.settings.stages[stage.removesuffix(".exact")]).data
            teacher, shape, classes = data.exact_teacher(), data.shape, data.classes
        else:
            teacher, spec = load_denoiser(student_path(self.shared(stage, out), 0))
            shape, classes = spec.shape, spec.classes
        path = out / "pairs" / f"{fingerprint(teacher)}-{count}-{steps}.safetensors"
        if not path.is_file():
            labels = torch.arange(count) % classes
            with one_thread():
                z, x, nfe = sample_pairs(lambda z, y: edm_sampler(teacher, z, y, steps), labels, shape, labels_seed)
            write_pairs(path, z, x, labels, fingerprint(teacher), nfe)
        return path

    def resolved(self, changed: Mapping[str, Any], previous: Path | None, out: Path) -> dict[str, Any]:
        """The settings with the paths that their placeholders stand for."""

        def path_of(found: re.Match) -> str:
            kind, _, name = found[1].partition(":")
            if kind == "previous":
                return str(previous)
            return str(self.shared(name, out) if kind == "stage" else self.pairs_of(name, out))

        text = json.dumps(dict(changed))
        return json.loads(re.sub(r"\{(previous|stage:[\w.]+|pairs:[\w.]+)\}", path_of, text))

    def cell(self, name: str, seed: int, out: Path) -> list[tuple[Experiment, Path]]:
        """Train a cell's stages in turn: each stage's experiment and folder."""
        done: list[tuple[Experiment, Path]] = []
        for stage, changed in chain(self.settings, name):
            previous = done[-1][1] if done else None
            own = self.with_settings(seeded(self.resolved(changed, previous, out), seed))
            done.append((own, own.trained(stage, out)))
        return done

    def finish(self, out: Path, title: str, cells: Sequence[str] | None = None) -> None:
        """Train all cells at all seeds, in worker processes where the study says so, with a progress bar.

        What cells share comes first, so that no two of them train it.
        """
        chosen = list(self.settings.cells) if cells is None else list(cells)
        shared = [(self.configs, self.overrides, names, out) for names in self.shared_by(chosen)]
        jobs = [
            (self.configs, self.overrides, name, seed, out) for name in chosen for seed in seeds_of(self.settings, name)
        ]
        if self.settings.workers > 1:
            context = multiprocessing.get_context("spawn")
            with one_thread_each(), context.Pool(min(self.settings.workers, len(jobs))) as pool:
                pool.map(share_elsewhere, shared, chunksize=1)
                list(tqdm(pool.imap_unordered(finish_elsewhere, jobs), desc=title, unit="cell", total=len(jobs)))
        else:
            for job in shared:
                share_elsewhere(job)
            for job in tqdm(jobs, desc=title, unit="cell"):
                finish_elsewhere(job)

    def shared_by(self, cells: Sequence[str]) -> list[list[str]]:
        """The placeholders in the cells' settings, those that need one teacher together, the teacher first."""
        text = json.dumps([chain(self.settings, name) for name in cells])
        groups: dict[str, list[str]] = {}
        for found in sorted(set(re.findall(r"\{((?:stage|pairs):[\w.]+)\}", text)), reverse=True):  # stage before pairs
            groups.setdefault(found.partition(":")[2], []).append(f"{{{found}}}")
        return list(groups.values())

    def record(self, kind: str, name: str, seed: int, out: Path, take: Callable[..., dict]) -> dict:
        """The record of one trained cell, cached beside it: what `take(experiment, folder)` measures, and its cost."""
        done = self.cell(name, seed, out)
        experiment, folder = done[-1]
        path = folder / f"{kind}-{self.settings.samples}.json"
        if not path.is_file():
            with one_thread():
                write_json(path, take(experiment, folder))
        results = [json.loads((own / "result.json").read_text()) for _, own in done]
        cost = Ledger()
        for result in results:
            cost = cost + Ledger(**result["ledger"])
        return {
            "cell": name,
            "seed": seed,
            **json.loads(path.read_text()),
            "cost": cost.row(),
            "seconds": sum(result["seconds"] for result in results),
            "curves": {result["stage"]: result["curve"] for result in results},
        }


def share_elsewhere(job: tuple[list[str], list[str], list[str], Path]) -> None:
    """What some placeholders stand for, in a process that has only the names of the configs."""
    configs, overrides, placeholders, out = job
    Experiment(configs, overrides).resolved({"wanted": placeholders}, None, out)


def finish_elsewhere(job: tuple[list[str], list[str], str, int, Path]) -> None:
    """One cell in a process that has only the names of the configs; the result is on disk."""
    configs, overrides, name, seed, out = job
    Experiment(configs, overrides).cell(name, seed, out)


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
    """Keep Lightning from announcing its devices once for each of many small trainings."""
    for name in ("pytorch_lightning", "lightning_fabric", "pytorch_lightning.utilities.rank_zero"):
        logging.getLogger(name).setLevel(logging.ERROR)
    for message in (".*does not have many workers.*", ".*barebones.*", ".*LeafSpec.*", ".*lr_scheduler.step.*"):
        warnings.filterwarnings("ignore", message=message)
    warnings.filterwarnings("ignore", message=".*in eval mode at the start of training.*")
