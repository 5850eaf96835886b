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
    try:
        settings = content["hyper_parameters"] if "hyper_parameters" in content else demo_settings(content)
        model = of(**{k: v for k, v in settings.items() if not k.startswith("_")})
        model.load_state_dict(content["state_dict"])
        model.on_load_checkpoint(content)
    except Exception as error:  # and a model many kinds for what are not its settings and weights
        raise ValueError(f"{path}: not a checkpoint of a {of.__name__}") from error
    return model.eval()


def demo_settings(content: dict) -> dict:
    """The model's arguments from the config that the demo stores beside its weights."""
    return json.loads(content["fingerprint"])["model"]["init_args"]
