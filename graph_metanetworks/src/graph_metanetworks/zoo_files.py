"""Zoos as files: one safetensors file for each family, width and recipe, made once and read again."""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file

from .networks.families import FAMILIES
from .results import whole
from .zoo import Recipe, TrainedNets, train_nets


def cached_nets(folder: str | Path, family: str, width: int, count: int, recipe: Recipe, seed: int) -> TrainedNets:
    """Reads the nets if they were trained before with the same settings, else trains and keeps them."""
    settings = json.dumps({"count": count, "seed": seed, **asdict(recipe)}, sort_keys=True)
    name = hashlib.sha256(settings.encode()).hexdigest()[:8]
    path = Path(folder) / f"{family}-{width}-{name}.safetensors"
    if path.is_file():
        return read_nets(path)
    nets = train_nets(family, width, count, recipe, seed)
    write_nets(path, nets, settings)
    return nets


def write_nets(path: Path, nets: TrainedNets, settings: str = "{}") -> None:
    """By way of a temporary file."""
    tensors = {f"state.{name}": value.contiguous() for name, value in nets.state.items()} | {"accuracy": nets.accuracy}
    with whole(path) as temporary:
        save_file(tensors, temporary, {"family": nets.family, "width": str(nets.width), "settings": settings})


def read_nets(path: str | Path) -> TrainedNets:
    """The nets of one file.

    Raises:
        FileNotFoundError: no such file.
        ValueError: not such a file, or a weight or accuracy is not a finite number; names the file.
    """
    if not Path(path).is_file():
        raise FileNotFoundError(f"{path}: no such file; a .safetensors file of `graph-metanetworks zoo` was expected")
    try:
        with safe_open(path, "pt") as file:
            about = file.metadata() or {}
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118  not a dict
    except (SafetensorError, OSError, ValueError) as error:
        raise ValueError(f"{path}: not a readable safetensors file ({error})") from error
    if "accuracy" not in tensors or "family" not in about or "width" not in about:
        raise ValueError(
            f"{path}: accuracy, family and width expected, it holds {', '.join(sorted(tensors)) or 'nothing'}"
        )
    for name, value in tensors.items():
        if not torch.isfinite(value).all():
            raise ValueError(f"{path}: {name} has values that are not finite numbers")
    state = {name.removeprefix("state."): value for name, value in tensors.items() if name.startswith("state.")}
    accuracy = tensors["accuracy"]
    if accuracy.ndim != 1 or any(value.shape[:1] != accuracy.shape for value in state.values()):
        raise ValueError(f"{path}: tensors of as many nets as accuracies expected, got {tuple(accuracy.shape)}")
    if about["family"] not in FAMILIES or not about["width"].isdecimal():
        raise ValueError(f"{path}: a known family and a width expected, got {about['family']!r} and {about['width']!r}")
    return TrainedNets(about["family"], int(about["width"]), state, accuracy)
