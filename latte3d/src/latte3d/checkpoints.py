"""Networks from checkpoints of any stage, or from their weights alone."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open
from safetensors.torch import save_file
from torch import nn

from .networks import Latte3D, Sizes
from .pretrained import CLIPEncoder
from .prior_files import PACKAGED
from .results import whole
from .text import WordEncoder

PARTS = ("geometry", "texture")  # each in a file of its own


def load_networks(path: str | Path | None = None) -> tuple[Latte3D, nn.Module, Sizes]:
    """Networks, text encoder and sizes of a checkpoint.

    Args:
        path: what `latte3d fit` wrote, or a folder of `write_weights`; None: the packaged networks.
    Raises:
        FileNotFoundError: no such file.
        ValueError: it cannot be read safely, or holds no networks of ours; the file is named.
    """
    path = Path(path or PACKAGED)
    files = [path / f"{part}.safetensors" for part in PARTS] if path.is_dir() else [path]
    for file in files:
        if not file.is_file():
            raise FileNotFoundError(f"{file}: no such file; `latte3d fit` and `latte3d demo` make some")
    content = read_weights(path) if path.is_dir() else None
    try:
        content = torch.load(path, "cpu", weights_only=True) if content is None else content
        given = content["latte3d"]
        sizes, clip = Sizes(**given["sizes"]), given["clip"]
        networks = sizes.networks(given["surface"])
        state = {k.removeprefix("networks."): v for k, v in content["state_dict"].items() if k.startswith("networks.")}
        networks.load_state_dict(state)
        text = text_encoder(given["words"], sizes, None) if clip is None else None
    except Exception as error:  # torch.load alone raises half a dozen kinds
        named = " and ".join(map(str, files))
        raise ValueError(f"{named}: not a checkpoint of latte3d ({type(error).__name__}: {error})") from error
    return networks.requires_grad_(False), text_encoder((), sizes, clip) if text is None else text, sizes


def write_weights(folder: str | Path, checkpoint: str | Path) -> list[Path]:
    """The networks of a checkpoint alone, as safetensors in half precision: geometry and texture."""
    load_networks(checkpoint)  # refuses what is none
    content, written = torch.load(checkpoint, "cpu", weights_only=True), []
    for part in PARTS:
        start = f"networks.{part}."
        state = {k.removeprefix(start): v.half() for k, v in content["state_dict"].items() if k.startswith(start)}
        written.append(Path(folder) / f"{part}.safetensors")
        with whole(written[-1]) as temporary:
            own = {name: value.contiguous().clone() for name, value in state.items()}  # parts share tensors in stage 1
            save_file(own, temporary, {"latte3d": json.dumps(content["latte3d"])})
    return written


def read_weights(folder: Path) -> dict[str, Any]:
    """The content of `write_weights`' files as a checkpoint, in single precision again.

    Raises:
        ValueError: one of them is damaged, or was not written by `write_weights`.
    """
    content: dict[str, Any] = {"state_dict": {}}
    for part in PARTS:
        path = folder / f"{part}.safetensors"
        try:
            with safe_open(path, "pt") as file:
                content["latte3d"] = json.loads(file.metadata()["latte3d"])
                for name in file.keys():  # noqa: SIM118
                    content["state_dict"][f"networks.{part}.{name}"] = file.get_tensor(name).float()
        except Exception as error:  # safetensors raises several kinds for a damaged file
            raise ValueError(f"{path}: no weights of latte3d ({type(error).__name__}: {error})") from error
    return content


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
