"""Networks from checkpoints of any stage."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import torch
from torch import nn

from .networks import Latte3D, Sizes
from .pretrained import CLIPEncoder
from .text import WordEncoder


def load_networks(path: str | Path) -> tuple[Latte3D, nn.Module, Sizes]:
    """Networks, text encoder and sizes of a checkpoint.

    Raises:
        ValueError: it is missing, cannot be read safely, or holds no networks of ours; the file is named.
    """
    path = Path(path)
    if not path.is_file():
        raise ValueError(f"no checkpoint at {path}: `latte3d fit` and `latte3d demo` write them")
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
        given = content["latte3d"]
        sizes = Sizes(**given["sizes"])
        networks = sizes.networks(given["surface"])
        state = {k.removeprefix("networks."): v for k, v in content["state_dict"].items() if k.startswith("networks.")}
        networks.load_state_dict(state)
    except Exception as error:  # torch.load alone raises half a dozen kinds
        raise ValueError(f"{path} is no checkpoint of this project: {type(error).__name__}: {error}") from error
    return networks.requires_grad_(False), text_encoder(given["words"], sizes, given["clip"]), sizes


def text_encoder(words: Sequence[str], sizes: Sizes, clip: str | None) -> nn.Module:
    """Word vectors, or the CLIP encoder of a pipeline.

    Raises:
        ValueError: the encoder's width is not the networks'.
    """
    if clip is None:
        return WordEncoder(words, sizes.text_width, sizes.text_length)
    encoder = CLIPEncoder(clip)
    width = encoder.model.config.hidden_size
    if width != sizes.text_width:
        raise ValueError(f"the text encoder of {clip} has width {width}, the networks expect {sizes.text_width}")
    return encoder
