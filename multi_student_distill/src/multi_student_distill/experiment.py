"""From a config to objects and trained students: what the command line, demo and reproduce share."""

from __future__ import annotations

import hashlib
import json
import re
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from pytorch_lightning import Callback

from .cache import cached
from .command import CommandLine
from .configured import CLASSES, Configured, one_thread, quiet
from .denoisers import load_denoiser, student_path
from .edm import edm_sampler
from .exporting import export, exported
from .ledger import Ledger
from .pairs import fingerprint, sample_pairs, write_pairs
from .partitioned import PartitionedDataModule
from .results import read_json
from .study import StudySettings, chain, seeds_of, with_seed
from .training import StudentTraining

LINKS = {"shape": "shape", "classes": "classes", "sigma_data": "sigma_data", "chosen": "students", "seed": "seed"}


class StudyCommandLine(CommandLine):
    """LightningCLI whose model is told the sizes of the data, and whose configs may describe a study."""

    def add_arguments_to_parser(self, parser):
        for of_data, of_model in LINKS.items():
            parser.link_arguments(f"data.{of_data}", f"model.init_args.{of_model}", apply_on="instantiate")
        parser.add_class_arguments(StudySettings, "study")


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


class Experiment(Configured):
    """The model, data, trainer and study of one or more configs, the later over the earlier."""

    command_line = StudyCommandLine
    classes = CLASSES | {"model_class": StudentTraining, "datamodule_class": PartitionedDataModule}
    model: StudentTraining
    data: PartitionedDataModule

    def __init__(self, configs: Sequence[str], overrides: Sequence[str] = ()):
        quiet(".*lr_scheduler.step.*", ".*in eval mode at the start of training.*")
        super().__init__(configs, overrides)
        self.settings = self.section("study", StudySettings)

    def fingerprint(self) -> str:
        """A hash of all that decides the trained students."""
        return hashlib.sha256(super().fingerprint().encode()).hexdigest()[:12]

    # stages

    def trained(self, stage: str, out: Path) -> Path:
        """The folder of this experiment's students, trained first if they are not there.

        It lies in OUT/stages and is named by all that decides it, as cells may have a stage in common.
        """
        folder = out / "stages" / f"{stage}-{self.fingerprint()}"

        def make() -> dict:
            curve, start = LossCurve(), time.perf_counter()
            with one_thread():
                self.trainer([curve]).fit(self.model, self.data)
            export(self.model, folder)
            seconds, ledger = round(time.perf_counter() - start, 1), self.model.ledger.state()
            return {"stage": stage, "seconds": seconds, "ledger": ledger, "curve": curve.curve()}

        if not exported(folder, self.data.chosen):
            (folder / "result.json").unlink(missing_ok=True)  # a record without its students is none
        cached(folder / "result.json", self.fingerprint(), make)
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
            own = self.with_settings(with_seed(self.resolved(changed, previous, out), seed))
            done.append((own, own.trained(stage, out)))
        return done

    def finish_all(self, out: Path, title: str) -> None:
        """Train all cells at all seeds, in worker processes where the study says so, with a progress bar.

        What cells share, in OUT/stages and OUT/pairs, comes first, so that no two of them make it.
        """
        chosen, workers = list(self.settings.cells), self.settings.workers
        shared = [({"wanted": names}, None, out) for names in self.shared_by(chosen)]
        self.each("resolved", shared, workers, f"{title}: what they share", "teacher")
        jobs = [(name, seed, out) for name in chosen for seed in seeds_of(self.settings, name)]
        self.each("train_cell", jobs, workers, title, "cell")

    def train_cell(self, name: str, seed: int, out: Path) -> None:
        """`cell`, whose result is on disk."""
        self.cell(name, seed, out)

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
        mark = [self.settings.samples, self.settings.feature_steps]
        with one_thread():
            taken = cached(folder / f"{kind}.json", mark, lambda: take(experiment, folder))
        results = [read_json(own / "result.json")["made"] for _, own in done]
        cost = Ledger()
        for result in results:
            cost = cost + Ledger(**result["ledger"])
        return {
            "cell": name,
            "seed": seed,
            **taken,
            "cost": cost.row(),
            "seconds": sum(result["seconds"] for result in results),
            "curves": {result["stage"]: result["curve"] for result in results},
        }
