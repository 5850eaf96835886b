"""Networks from checkpoints of any stage."""

from __future__ import annotations

from pathlib import Path

import torch

from .networks import Latte3D, Sizes
from .text import WordEncoder


def load_networks(path: str | Path) -> tuple[Latte3D, WordEncoder, Sizes]:
    """Networks, word vectors and sizes of a checkpoint.

    Raises:
        ValueError: it is missing, cannot be read safely, or holds no networks of ours; the file is named.
    """
    path = Path(path)
    if not path.is_file():
        raise ValueError(f"no checkpoint at {path}: `latte3d fit` and `latte3d demo` write them")
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
        given = content["hyper_parameters"]
        sizes = Sizes(**given["sizes"])
        networks = sizes.networks(given["surface"])
        state = {k.removeprefix("networks."): v for k, v in content["state_dict"].items() if k.startswith("networks.")}
        networks.load_state_dict(state)
        text = WordEncoder(given["words"], sizes.text_width, sizes.text_length)
    except Exception as error:  # torch.load alone raises half a dozen kinds
        raise ValueError(f"{path} is no checkpoint of this project: {type(error).__name__}: {error}") from error
    return networks.requires_grad_(False), text, sizes
