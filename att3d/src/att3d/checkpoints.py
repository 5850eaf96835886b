"""Trained models in files: weights and, as plain values, the arguments that build the model again."""

from __future__ import annotations

import importlib
import json
import os
from pathlib import Path
from typing import Any

import torch
from jsonargparse import ArgumentParser
from pytorch_lightning import LightningModule

from .spec import spec
from .training import SceneTraining


def save_model(path: Path, model: LightningModule, fingerprint: str = "") -> None:
    """Write by way of a temporary file."""
    content = {"fingerprint": fingerprint, "state_dict": model.state_dict(), "spec": json.dumps(spec(model))}
    path.parent.mkdir(parents=True, exist_ok=True)
    torch.save(content, path.with_suffix(".tmp"))
    os.replace(path.with_suffix(".tmp"), path)


def load_model(path: str | Path, of: type[SceneTraining], guidance: bool = False) -> SceneTraining:
    """The model at `path`, in evaluation mode; only tensors and plain values are unpickled.

    Args:
        guidance: also its prior, which only training needs.
    Raises:
        FileNotFoundError: no such file. ValueError: not a checkpoint of such a model.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"{path}: no such file; `att3d fit` or `att3d demo` makes some")
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # torch raises many kinds for what is no checkpoint
        raise ValueError(f"{path}: not a checkpoint ({type(error).__name__})") from error
    if not isinstance(content, dict) or not {"spec", "state_dict"} <= set(content):
        raise ValueError(f"{path}: not a checkpoint of att3d")
    described = json.loads(content["spec"])
    if class_of(path, described) is not of:
        raise ValueError(f"{path}: holds a {described['class_path'].rpartition('.')[2]}, expected a {of.__name__}")
    if not guidance:
        described["init_args"]["guidance"] = None
    model = built(path, described, of)
    try:
        model.load_state_dict(content["state_dict"])
    except RuntimeError as error:
        raise ValueError(f"{path}: the weights do not fit the model ({str(error).splitlines()[0]})") from error
    return model.eval()


def built(path: Path, described: dict, of: type) -> Any:
    """The object of a spec, all of whose classes are this package's."""
    check_classes(path, described)
    parser = ArgumentParser(exit_on_error=False)
    parser.add_subclass_arguments(of, "made")
    return parser.instantiate(parser.parse_object({"made": described})).made


def check_classes(path: Path, described: Any) -> None:
    """Raises ValueError: a class from elsewhere, which a checkpoint may not name."""
    if isinstance(described, dict):
        if "class_path" in described:
            class_of(path, described)
        for value in described.values():
            check_classes(path, value)


def class_of(path: Path, described: dict) -> type:
    module, _, name = str(described["class_path"]).rpartition(".")
    if module.partition(".")[0] != __package__:
        raise ValueError(f"{path}: names the class {described['class_path']!r}, which is not part of {__package__}")
    try:
        return getattr(importlib.import_module(module), name)
    except (ImportError, AttributeError) as error:
        raise ValueError(f"{path}: names the class {described['class_path']!r}, which does not exist") from error
