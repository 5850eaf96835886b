"""Methods, conditions and seeds: train each, judge all on the same frozen episodes, keep what was measured."""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from .cache import cached
from .episodes import Episodes
from .episodic import EpisodicLearner, FinetuneEpisodes
from .evaluation import Standardizer, evaluate, rounded
from .features import extract
from .readouts import LogisticReadout, NearestCentroid, NearestNeighbor
from .results import read_json, whole

if TYPE_CHECKING:
    from .experiment import Experiment


@dataclass(frozen=True)
class Record:
    """Accuracies (per cent) of a method on the frozen episodes of a group of attributes, episode by episode.

    readout: lr, nc, nn, or own for the map of an episodic learner.
    """

    condition: str
    seed: int
    method: str
    group: str
    shots: int
    readout: str
    accuracies: list[float]
    seconds: float = 0.0


@dataclass
class StudySettings:
    """What a study compares.

    Args:
        methods: dotted settings by method; `after` names the method whose encoder it starts from, `features:
            attributes` takes the true attributes for features (GT).
        conditions: dotted settings by condition.
        only: methods of a condition, where not all.
        seeds: of data, episodes and training alike.
        shots: sizes of the support at which all are judged; neighbours and centroids at the largest.
        groups: attributes that episodes of the test pool are about.
        lam: λ of logistic regression on features.
        lam_attributes: λ on true attributes.
        workers: processes.
    """

    methods: dict[str, dict[str, Any]] = field(default_factory=dict)
    conditions: dict[str, dict[str, Any]] = field(default_factory=dict)
    only: dict[str, list[str]] = field(default_factory=dict)
    seeds: list[int] = field(default_factory=lambda: [0])
    shots: list[int] = field(default_factory=lambda: [20])
    groups: list[str] = field(default_factory=lambda: ["train", "test"])
    lam: float = 1e-3
    lam_attributes: float = 1e-2
    workers: int = 1

    def chains(self) -> list[list[tuple[str, int, str]]]:
        """Cells (condition, seed, method) in lists that one process finishes in order, roots before what follows them.

        Raises:
            ValueError: there is nothing to do, or a method starts from one that is not there.
        """
        if not self.methods or not self.conditions:
            raise ValueError("the study section names no methods or no conditions")
        chains: dict[tuple[str, int, str], list[tuple[str, int, str]]] = {}
        for condition in self.conditions:
            for seed in self.seeds:
                for method in self.only.get(condition, list(self.methods)):
                    line = self.line(method)
                    chain = chains.setdefault((condition, seed, line[0]), [])
                    chain += [(condition, seed, m) for m in line if (condition, seed, m) not in chain]
        return sorted(chains.values(), key=len, reverse=True)

    def check(self, condition: str, method: str) -> None:
        """Raises ValueError unless the study has the method and the condition."""
        for kind, name, known in (("method", method, self.methods), ("condition", condition, self.conditions)):
            if name not in known:
                raise ValueError(f"unknown {kind} {name!r}, choose from {', '.join(known)}")

    def line(self, method: str) -> list[str]:
        """The methods that one starts from, by `after`, and itself.

        Raises:
            ValueError: unknown method.
        """
        if method not in self.methods:
            raise ValueError(f"unknown method {method!r}, choose from {', '.join(self.methods)}")
        after = self.methods[method].get("after")
        return [*(self.line(after) if after else []), method]


def finish(experiment: Experiment, condition: str, seed: int, method: str, out: Path) -> list[Record]:
    """Train and judge one method, or read what an equal run left in `out`.

    Records whose checkpoint is gone are made again with it: methods that start from it need the file.

    Raises:
        FileNotFoundError: the checkpoint of the method that this one starts from is missing.
        ValueError: the config has no such method or condition.
    """
    settings = experiment.settings
    settings.check(condition, method)
    own = settings.methods[method]
    parent = checkpoint_path(out, condition, seed, own["after"]) if own.get("after") else None
    if parent and not parent.is_file():
        raise FileNotFoundError(f"{parent}: no such file; {method} starts from it, so {own['after']} comes first")
    cell = experiment.cell(condition, seed, method, parent)
    known = fingerprint(cell, settings, own, parent)
    records, weights = records_path(out, condition, seed, method), checkpoint_path(out, condition, seed, method)
    featureless = own.get("features") == "attributes"
    if not featureless and not weights.is_file():
        records.unlink(missing_ok=True)

    def make() -> list[dict]:
        start = time.perf_counter()
        if featureless:
            judged = judge_attributes(cell, settings)
        else:
            trainer = cell.trainer()
            if trainer.max_steps != 0:
                trainer.fit(cell.model, datamodule=cell.data)
            save_checkpoint(cell.model, weights)
            judged = judge(cell, settings)
        seconds = round(time.perf_counter() - start, 1)
        return [
            asdict(Record(condition, seed, method, group, shots, readout, rounded(accuracies, 2), seconds))
            for group, shots, readout, accuracies in judged
        ]

    found = cached(records, known, make)
    return [Record(**record) for record in found]


Judged = list[tuple[str, int, str, np.ndarray]]


def judge(cell: Experiment, settings: StudySettings) -> Judged:
    """A trained method on all groups, at all shots."""
    model = cell.model.eval().cpu()
    pool = cell.data.pool("test")
    raw = extract(model.encoder, pool.images)
    features = Standardizer.of(extract(model.encoder, cell.data.pool("train").images))(raw)
    judged: Judged = []
    for group in settings.groups:
        episodes = cell.data.episodes("test", group)
        own = isinstance(model, EpisodicLearner) and not isinstance(model, FinetuneEpisodes)
        for shots in settings.shots:
            fewer = episodes.with_shots(shots)
            if own:
                judged.append((group, shots, "own", model.judge(pool.images, fewer, raw).per_episode))
            if not own or shots == max(settings.shots):
                found = evaluate(features, fewer, LogisticReadout(settings.lam))
                judged.append((group, shots, "lr", found.per_episode))
        judged += others(features, episodes.with_shots(max(settings.shots)), group)
    return judged


def others(features: torch.Tensor, episodes: Episodes, group: str) -> Judged:
    """Nearest neighbour and centroid."""
    readouts = {"nn": NearestNeighbor(), "nc": NearestCentroid()}
    return [(group, episodes.shots, k, evaluate(features, episodes, r).per_episode) for k, r in readouts.items()]


def judge_attributes(cell: Experiment, settings: StudySettings) -> Judged:
    """GT: an image's features are its true attributes of the group in question; no pixel is looked at."""
    judged: Judged = []
    for group in settings.groups:
        features = torch.from_numpy(cell.data.table("test").of(cell.data.split.group(group))).float()
        episodes = cell.data.episodes("test", group)
        for shots in settings.shots:
            found = evaluate(features, episodes.with_shots(shots), LogisticReadout(settings.lam_attributes))
            judged.append((group, shots, "lr", found.per_episode))
    return judged


def save_checkpoint(model, path: Path) -> None:
    """What `load_encoder` reads."""
    content = {"state_dict": model.state_dict()}
    content["hyper_parameters"] = dict(model.hparams)
    model.on_save_checkpoint(content)
    with whole(path) as temporary:
        torch.save(content, temporary)


def checkpoint_path(out: Path, condition: str, seed: int, method: str) -> Path:
    """Where a method's weights are."""
    return out / f"{file_name(condition, seed, method)}.ckpt"


def records_path(out: Path, condition: str, seed: int, method: str) -> Path:
    """Where a method's records are."""
    return out / f"{file_name(condition, seed, method)}.json"


def read_records(out: Path, condition: str, seed: int, method: str) -> list[Record]:
    """What `finish` left."""
    return [Record(**record) for record in read_json(records_path(out, condition, seed, method))["made"]]


def file_name(condition: str, seed: int, method: str) -> str:
    return f"{condition}-{seed}-{method}".replace("*", "star")


def fingerprint(cell: Experiment, settings: StudySettings, own: dict[str, Any], parent: Path | None) -> str:
    """Of all that decides the records."""
    data = cell.data
    judged = [settings.shots, settings.groups, settings.lam, settings.lam_attributes]
    frozen = [data.n_episodes, data.shots, data.queries, data.episodes_file]
    before = hashlib.sha256(parent.read_bytes()).hexdigest() if parent else ""
    described = cell.described()
    if parent:  # its content counts, wherever it is
        described["model"]["init_args"]["pretrained"] = ""
    return json.dumps([described, own, judged, frozen, before], sort_keys=True, default=str)


def select(records: Sequence[Record], **wanted: Any) -> list[Record]:
    """Those whose fields have the values."""
    return [r for r in records if all(getattr(r, key) == value for key, value in wanted.items())]
