"""A study of learners: the same tasks, trials and budget for all, and one record for each run and trial."""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
from pytorch_lightning import Trainer
from torch.utils.data import DataLoader

from .cache import cached
from .data import MetaData
from .feature_map import FeatureMAP
from .learner import Learner
from .learners import LEARNERS, NetworkLearner, SingleTask


@dataclass(frozen=True)
class StudySettings:
    """What is compared around the model, data and trainer of a config.

    learners: names of `learners.LEARNERS`. alone_tasks: novel tasks on which `single_task` is judged, for it is trained
    anew on each. alone_steps: its steps. workers: learners trained at once, each in a process with one thread; 1 trains
    them here, one after the other, with all threads (or on a GPU).
    """

    learners: Sequence[str] = ("maml", "anil", "fine_tuned", "pooled", "single_task", "basis_map")
    alone_tasks: int = 25
    alone_steps: int = 300
    workers: int = 1


@dataclass(frozen=True)
class Record:
    """What one run did on one trial.

    error: mean over novel tasks, without the noise of queries. stderr: its standard error over novel tasks.
    """

    learner: str
    tasks: int
    samples: int
    seed: int
    shots: int
    noise: float
    error: float
    stderr: float


def train_and_judge(
    name: str, template: Learner, data: MetaData, settings: StudySettings, make_trainer: Callable[..., Trainer]
) -> list[Record]:
    """Fit one learner of the study on all runs and try it on every k and noise.

    Raises:
        ValueError: unknown learner.
    """
    if name not in LEARNERS:
        raise ValueError(f"unknown learner {name!r}, choose from {', '.join(LEARNERS)}")
    runs = list(range(len(data.runs)))
    if LEARNERS[name] is SingleTask:  # it sees no training tasks: one run a seed
        runs = [i for i in runs if data.runs[i].tasks == max(data.tasks)]
    learner = build(name, template, data, [data.runs[i].seed for i in runs], settings)
    if isinstance(learner, FeatureMAP):
        trainer = Trainer(accelerator="cpu", barebones=True, max_epochs=1)
        trainer.fit(learner, train_dataloaders=DataLoader([data.all_tasks()], batch_size=None))
    elif not isinstance(learner, SingleTask):
        make_trainer(callbacks=[]).fit(learner, train_dataloaders=data.train_dataloader())
    records = []
    for trial in data.test_dataloader():
        tensors = [part[runs] for part in trial[2:]]
        if isinstance(learner, SingleTask):
            tensors = [part[:, : settings.alone_tasks] for part in tensors]
        errors = learner.errors(trial._replace(**dict(zip(trial._fields[2:], tensors, strict=True)))).double()  # (R, T)
        spread = errors.std(1) / math.sqrt(errors.shape[1])
        for i, error, stderr in zip(runs, errors.mean(1).tolist(), spread.tolist(), strict=True):
            run = data.runs[i]
            records.append(Record(name, run.tasks, data.samples, run.seed, trial.shots, trial.noise, error, stderr))
    return records


def build(name: str, template: Learner, data: MetaData, seeds: list[int], settings: StudySettings) -> Learner:
    """A learner with the settings of the template as far as it takes them."""
    known = {key: value for key, value in template.hparams.items() if not key.startswith("_")}
    known |= {"inputs": data.inputs, "outputs": data.outputs, "loss": data.loss, "seeds": seeds}
    known["alone_steps"] = settings.alone_steps
    taken = inspect.signature(LEARNERS[name]).parameters
    return LEARNERS[name](**{key: value for key, value in known.items() if key in taken})


def finish(
    name: str,
    template: NetworkLearner,
    data: MetaData,
    settings: StudySettings,
    make_trainer: Callable[..., Trainer],
    out: Path,
    made_with: str,
) -> list[Record]:
    """The records of one learner: read back from `out` if trained before with the same settings, else trained now.

    Args:
        made_with: all that decides the result, as text.
        out: folder of the learners' files; a killed study goes on where it stopped.
    """

    def make() -> list[dict]:
        return [asdict(record) for record in train_and_judge(name, template, data, settings, make_trainer)]

    return [Record(**record) for record in cached(out / f"{name}.json", made_with, make)]


def select(records: Sequence[Record], **wanted) -> list[Record]:
    """Those whose fields have the wanted values."""
    return [record for record in records if all(getattr(record, key) == value for key, value in wanted.items())]


def mean_over_seeds(records: Sequence[Record], **wanted) -> tuple[float, float]:
    """Mean error and its standard error over seeds (over novel tasks where there is one seed).

    Raises:
        ValueError: nothing was measured there.
    """
    chosen = select(records, **wanted)
    if not chosen:
        raise ValueError(f"no record with {wanted}")
    errors = torch.tensor([record.error for record in chosen], dtype=torch.float64)
    if len(chosen) == 1:
        return float(errors[0]), chosen[0].stderr
    return float(errors.mean()), float(errors.std() / math.sqrt(len(chosen)))
