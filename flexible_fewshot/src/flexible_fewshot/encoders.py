"""The encoders by name, and reading one back from a checkpoint."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import nn

from .resnet12 import ResNet12
from .resnet50 import ResNet50, read_simclr_resnet50
from .small_encoder import SmallEncoder
from .weights import load_weights

# an encoder maps (B, 3, H, W) to h (B, features), has `maps`, and takes a Film over maps of `channels`
ENCODERS: dict[str, Callable[[int], nn.Module]] = {"small": SmallEncoder, "resnet12": ResNet12, "resnet50": ResNet50}


def build_encoder(name: str, width: int) -> nn.Module:
    """An encoder with random weights; `width` is the number of channels of its first block.

    Raises:
        ValueError: no such encoder, or no width.
    """
    if name not in ENCODERS:
        raise ValueError(f"unknown encoder {name!r}, choose from {', '.join(ENCODERS)}")
    if width < 1:
        raise ValueError(f"width must be >= 1, got {width}")
    return ENCODERS[name](width)


def read_checkpoint(path: str | Path) -> dict[str, Any]:
    """A checkpoint of `fit`, without unpickling anything but tensors and plain values.

    Raises:
        FileNotFoundError: no such file.
        ValueError: it cannot be read so, or holds no state of a module.
    """
    if not Path(path).is_file():
        raise FileNotFoundError(f"{path}: no such file")
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
    except (OSError, RuntimeError, EOFError) as error:
        raise ValueError(f"{path}: not a readable checkpoint ({type(error).__name__}: {error})") from error
    except Exception as error:  # torch's UnpicklingError, for files that want to run code
        raise ValueError(f"{path}: refused, since it holds more than tensors and plain values") from error
    if not isinstance(content, dict) or not {"state_dict", "hyper_parameters"} <= set(content):
        raise ValueError(f"{path}: expected a checkpoint of `fit` with state_dict and hyper_parameters")
    state, hparams = content["state_dict"], content["hyper_parameters"]
    if not isinstance(hparams, dict) or not isinstance(state, dict) or not all(isinstance(k, str) for k in state):
        raise ValueError(f"{path}: state_dict and hyper_parameters must be dicts by names")
    return content


def load_encoder(path: str | Path) -> nn.Module:
    """The encoder of a checkpoint of `fit`, whichever the method; its head is left behind.

    Raises:
        ValueError: the checkpoint cannot be read, or holds no encoder.
    """
    content = read_checkpoint(path)
    hparams = content["hyper_parameters"]
    state = {k.removeprefix("encoder."): v for k, v in content["state_dict"].items() if k.startswith("encoder.")}
    if not state or not {"encoder", "width"} <= set(hparams):
        raise ValueError(f"{path}: holds no encoder; its tensors are {', '.join(list(content['state_dict'])[:5])} ...")
    try:
        encoder = build_encoder(hparams["encoder"], hparams["width"])
    except (ValueError, TypeError, RuntimeError) as error:
        raise ValueError(f"{path}: {error}") from error
    load_weights(encoder, state, str(path))
    return encoder


def pretrained_encoder(path: str | Path, name: str, width: int) -> nn.Module:
    """The encoder of a checkpoint of `fit`, or a ResNet-50 out of a plain state dict that others trained.

    Raises:
        ValueError: the file is neither.
    """
    if name != "resnet50":
        return load_encoder(path)
    try:
        return load_encoder(path)
    except ValueError:
        return read_simclr_resnet50(path, width)
