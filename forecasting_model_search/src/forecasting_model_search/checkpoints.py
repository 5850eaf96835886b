"""Stores of checkpoints: in memory, or one safetensors file each, with a limit on how many are kept.

A checkpoint is named by configuration and epoch. Files are written under another name and renamed, so a killed writer
leaves no half of one. `Retention` says which may go.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from .parameter_graph import ParameterGraph, model_to_graph
from .results import whole
from .weights import Checkpoint, State, fingerprint

Place = tuple[int, int]


class CheckpointStore:
    """Where checkpoints are looked up by (configuration, epoch); this one keeps them in memory.

    Args:
        architectures: name -> network whose graph its checkpoints share. One may be called ''.
        architecture_of: configuration -> name; '' for all if not given.
    """

    def __init__(self, architectures: Mapping[str, nn.Module], architecture_of: Mapping[int, str] | None = None):
        self.graphs: dict[str, ParameterGraph] = {name: model_to_graph(m) for name, m in architectures.items()}
        self.architecture_of = dict(architecture_of or {})
        self._states: dict[Place, State] = {}
        self._keys: dict[Place, str] = {}

    def graph(self, config_id: int) -> ParameterGraph:
        name = self.architecture_of.get(config_id, "")
        if name not in self.graphs:
            raise ValueError(
                f"configuration {config_id}: unknown architecture {name!r}, known: {', '.join(self.graphs)}"
            )
        return self.graphs[name]

    def put(self, config_id: int, epoch: int, weights: State) -> None:
        """Store weights. Tensors that are no edges of the graph (buffers) are stored and not looked at.

        Raises:
            ValueError: the shapes are not those of the architecture.
        """
        try:
            self.graph(config_id).check(dict(weights))
        except ValueError as error:
            raise ValueError(f"configuration {config_id}, epoch {epoch}: {error}") from error
        self._write((config_id, epoch), {k: v.detach().clone() for k, v in weights.items()})

    def get(self, config_id: int, epoch: int) -> Checkpoint:
        """The checkpoint of a configuration after so many epochs.

        Raises:
            ValueError: there is none.
        """
        weights = self.state(config_id, epoch)
        if (config_id, epoch) not in self._keys:
            self._keys[config_id, epoch] = fingerprint(weights)
        return Checkpoint(weights, self.graph(config_id), self._keys[config_id, epoch])

    def state(self, config_id: int, epoch: int) -> State:
        """All stored tensors."""
        if (config_id, epoch) not in self:
            raise ValueError(f"no checkpoint of configuration {config_id} after epoch {epoch} is stored")
        return self._read((config_id, epoch))

    def __contains__(self, place: Place) -> bool:
        return tuple(place) in self._states

    def places(self) -> list[Place]:
        return sorted(self._states)

    def drop(self, config_id: int, epoch: int) -> None:
        """Forget a checkpoint."""
        self._states.pop((config_id, epoch), None)

    def _write(self, place: Place, weights: State) -> None:
        self._states[place] = weights
        self._keys.pop(place, None)

    def _read(self, place: Place) -> State:
        return self._states[place]


class FolderStore(CheckpointStore):
    """One safetensors file a checkpoint, `CONFIG_EPOCH.safetensors` in a folder; several processes may share it.

    Args:
        folder: made if it is missing.
        half: store float32 tensors as float16, which halves the files. Trainings that resume exactly need False.
    """

    NAME = re.compile(r"(\d+)_(\d+)\.safetensors")

    def __init__(self, folder: str | Path, architectures, architecture_of=None, half: bool = False):
        super().__init__(architectures, architecture_of)
        self.folder, self.half = Path(folder), half
        self.folder.mkdir(parents=True, exist_ok=True)

    def path(self, config_id: int, epoch: int) -> Path:
        return self.folder / f"{config_id}_{epoch}.safetensors"

    def __contains__(self, place: Place) -> bool:
        return self.path(*place).is_file()

    def places(self) -> list[Place]:
        found = (self.NAME.fullmatch(path.name) for path in self.folder.iterdir())
        return sorted((int(m[1]), int(m[2])) for m in found if m)

    def drop(self, config_id: int, epoch: int) -> None:
        self.path(config_id, epoch).unlink(missing_ok=True)

    def _write(self, place: Place, weights: State) -> None:
        path = self.path(*place)
        narrow = {k: v.half() if self.half and v.dtype == torch.float32 else v for k, v in weights.items()}
        with whole(path) as temporary:
            save_file({k: v.contiguous() for k, v in narrow.items()}, temporary)
        self._keys.pop(place, None)

    def _read(self, place: Place) -> State:
        path = self.path(*place)
        try:
            return load_file(path)
        except Exception as error:  # safetensors raises what the header brings about
            raise ValueError(f"{path}: not a readable safetensors file ({error})") from error


def first_and_last(places: list[Place]) -> set[Place]:
    """Keep what a training needs to go on: of each configuration the last checkpoint, and the one that it
    starts from."""
    last: dict[int, int] = {}
    for config_id, epoch in places:
        last[config_id] = max(epoch, last.get(config_id, 0))
    return set(last.items()) | {place for place in places if place[1] == 0}


class Retention:
    """At most `limit` checkpoints beside those that must stay; the least promising go first.

    Args:
        limit: how many may be kept in all. What must stay is never dropped, even beyond it.
        must_stay: stored places -> those that may not go.
    """

    def __init__(self, limit: int, must_stay: Callable[[list[Place]], set[Place]] = first_and_last):
        if limit < 1:
            raise ValueError(f"the limit must be at least 1, got {limit}")
        self.limit, self.must_stay = limit, must_stay

    def apply(self, store: CheckpointStore, promise: Mapping[int, float] | None = None) -> list[Place]:
        """Drop what is beyond the limit. `promise`: configuration -> predicted chance that it is resumed, 0 if absent.

        Returns:
            What was dropped.
        """
        places = store.places()
        stay = self.must_stay(places)
        promise = promise or {}
        spare = sorted(set(places) - stay, key=lambda place: (promise.get(place[0], 0.0), place[1], place[0]))
        dropped = spare[: max(0, len(places) - self.limit)]
        for place in dropped:
            store.drop(*place)
        return dropped


def weights_of(model: nn.Module) -> dict[str, Tensor]:
    """The parameters of a network, detached copies on the CPU."""
    return {name: p.detach().cpu().clone() for name, p in model.named_parameters()}
