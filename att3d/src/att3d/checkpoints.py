"""Trained models in files: weights and, as plain values, the arguments that build the model again."""

from __future__ import annotations

import importlib
import json
from pathlib import Path
from typing import Any

import torch
from jsonargparse import ArgumentParser
from pytorch_lightning import LightningModule
from safetensors import safe_open
from safetensors.torch import save_file

from .results import whole
from .spec import spec
from .training import SceneTraining

PACKAGED = Path(__file__).parent / "weights" / "shapes27.safetensors"  # `fit --config shapes`, then `export-weights`


def model_content(model: LightningModule) -> dict[str, Any]:
    """What `load_model` needs: weights, and the arguments as text."""
    return {"state_dict": model.state_dict(), "spec": json.dumps(spec(model))}


def save_model(path: str | Path, model: LightningModule) -> None:
    """Write by way of a temporary file."""
    with whole(path) as temporary:
        torch.save(model_content(model), temporary)


def write_weights(path: str | Path, model: LightningModule) -> Path:
    """What `load_model` needs and no more, as safetensors in half precision."""
    state = {k: v.half() if v.dtype == torch.float32 else v for k, v in model.state_dict().items()}
    with whole(path) as temporary:
        save_file({k: v.contiguous() for k, v in state.items()}, temporary, {"spec": json.dumps(spec(model))})
    return Path(path)


def load_model(path: str | Path | None, of: type[SceneTraining], guidance: bool = False) -> SceneTraining:
    """The model at `path`, in evaluation mode; only tensors and plain values are unpickled.

    Args:
        path: checkpoint of `fit`, of the demo or of `save_model`, or a file of `write_weights`; None: the packaged
            network of the 27 embedded shapes.
        guidance: also its prior, which only training needs.
    Raises:
        FileNotFoundError: no such file. ValueError: not a checkpoint of such a model.
    """
    path = Path(path or PACKAGED)
    if not path.is_file():
        raise FileNotFoundError(f"{path}: no such file; `att3d fit` or `att3d demo` makes some")
    try:
        content = read_weights(path) if path.suffix == ".safetensors" else torch.load(path, "cpu", weights_only=True)
    except Exception as error:  # torch raises many kinds for what is no checkpoint
        raise ValueError(f"{path}: not a checkpoint ({type(error).__name__})") from error
    if isinstance(content, dict) and isinstance(content.get("made"), dict):  # the demo's, see `cache.save_state`
        content = content["made"]
    if not isinstance(content, dict) or not {"spec", "state_dict"} <= set(content):
        raise ValueError(f"{path}: not a checkpoint of att3d")
    try:
        described = json.loads(content["spec"])
        kind, settings = str(described["class_path"]), dict(described["init_args"])
    except (ValueError, TypeError, KeyError, RecursionError) as error:
        raise ValueError(f"{path}: does not say how its model is built ({type(error).__name__})") from error
    if class_of(path, described) is not of:
        raise ValueError(f"{path}: holds a {kind.rpartition('.')[2]}, expected a {of.__name__}")
    if not guidance:
        settings["guidance"] = None
    check_classes(path, settings)
    try:
        model = built(path, described | {"init_args": settings}, of)
    except Exception as error:  # jsonargparse and networks raise many kinds for what are no arguments
        raise ValueError(f"{path}: its model cannot be built ({str(error).partition(chr(10))[0]})") from error
    try:
        model.load_state_dict(content["state_dict"])
    except (RuntimeError, TypeError, AttributeError) as error:
        raise ValueError(f"{path}: the weights do not fit the model ({str(error).partition(chr(10))[0]})") from error
    return model.eval()


def read_weights(path: Path) -> dict[str, Any]:
    """The content of a file of `write_weights`, in single precision again."""
    with safe_open(path, "pt") as file:
        state = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        metadata = file.metadata() or {}
    return metadata | {"state_dict": {k: v.float() if v.dtype == torch.float16 else v for k, v in state.items()}}


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
    elif isinstance(described, list):
        for value in described:
            check_classes(path, value)


def class_of(path: Path, described: dict) -> type:
    """Raises ValueError: a class from elsewhere, or none."""
    module, _, name = str(described["class_path"]).rpartition(".")
    if module.partition(".")[0] != __package__:
        raise ValueError(f"{path}: names the class {described['class_path']!r}, which is not part of {__package__}")
    try:
        return getattr(importlib.import_module(module), name)
    except (ImportError, AttributeError, ValueError) as error:
        raise ValueError(f"{path}: names the class {described['class_path']!r}, which does not exist") from error
