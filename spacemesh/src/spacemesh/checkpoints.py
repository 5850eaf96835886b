"""Trained models back from files: Lightning checkpoints of `fit`, and the demo's own."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TypeVar

import torch
from pytorch_lightning import LightningModule

Model = TypeVar("Model", bound=LightningModule)


def load_model(path: str | Path, of: type[Model]) -> Model:
    """The model at `path`, in evaluation mode; only tensors and plain values are unpickled.

    Raises:
        FileNotFoundError: no such file. ValueError: not a checkpoint of such a model.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"{path}: no such file; `spacemesh fit` or `spacemesh demo` makes some")
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # torch raises many kinds for what is no checkpoint
        raise ValueError(f"{path}: not a checkpoint ({type(error).__name__})") from error
    settings = content.get("hyper_parameters") if "hyper_parameters" in content else demo_settings(content)
    if settings is None or "state_dict" not in content:
        raise ValueError(f"{path}: not a checkpoint of a {of.__name__}")
    settings = {k: v for k, v in settings.items() if not k.startswith("_")}
    try:
        model = of(**settings)
        model.load_state_dict(content["state_dict"])
    except (TypeError, RuntimeError) as error:
        raise ValueError(f"{path}: not a checkpoint of a {of.__name__}") from error
    model.on_load_checkpoint(content)
    return model.eval()


def demo_settings(content: dict) -> dict | None:
    """The model's arguments from the config that the demo stores beside its weights."""
    if "fingerprint" not in content:
        return None
    return json.loads(content["fingerprint"])["model"]["init_args"]
