"""Diffusion models from a folder in the diffusers layout or a hub id; what does not fit together is refused by name."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

PREDICTIONS = ("epsilon", "v_prediction")


def checked_source(path: str, needed: tuple[str, ...] = ()) -> str:
    """The folder or hub id; anything that is no `owner/name` must be a folder that holds the needed files.

    Raises:
        FileNotFoundError: no such folder, or a file is missing in it.
    """
    folder = Path(path)
    if folder.is_dir():
        for name in needed:
            if not (folder / name).exists():
                raise FileNotFoundError(f"{folder / name}: missing; expected a model in the diffusers layout")
        return path
    if path.startswith((".", "/", "~")) or path.count("/") != 1:
        raise FileNotFoundError(f"{path}: no such folder, and no hub id of the form owner/name")
    return path


def load_unet(path: str, in_channels: int):
    """The frozen UNet and its cumulative alphas (T,).

    Raises:
        ValueError: another number of channels, or a model that predicts neither ε nor v.
    """
    from diffusers import DDPMScheduler, UNet2DConditionModel

    source = checked_source(path, ("unet/config.json", "scheduler/scheduler_config.json"))
    unet = UNet2DConditionModel.from_pretrained(source, subfolder="unet")
    scheduler = DDPMScheduler.from_pretrained(source, subfolder="scheduler")
    if unet.config.in_channels != in_channels:
        raise ValueError(f"{path}: unet.in_channels is {unet.config.in_channels}, this guidance needs {in_channels}")
    if scheduler.config.prediction_type not in PREDICTIONS:
        raise ValueError(
            f"{path}: prediction_type is {scheduler.config.prediction_type!r}, expected one of {', '.join(PREDICTIONS)}"
        )
    return unet.eval().requires_grad_(False), scheduler


def check_text_width(path: str, unet: Any, width: int) -> None:
    """Raises ValueError: the text encoder's width is not what the UNet's cross-attention expects."""
    expected = getattr(unet.config, "encoder_hid_dim", None) or unet.config.cross_attention_dim
    if expected != width:
        raise ValueError(f"{path}: the UNet expects text of width {expected}, the text encoder gives {width}")


def load_vae(path: str):
    """The frozen autoencoder; its scaling factor is in its config."""
    from diffusers import AutoencoderKL

    source = checked_source(path, ("vae/config.json",))
    return AutoencoderKL.from_pretrained(source, subfolder="vae").eval().requires_grad_(False)


def load_text_encoder(path: str, kind: str):
    """Tokenizer and frozen encoder, "clip" or "t5", of a diffusion model or of a plain folder."""
    from transformers import AutoTokenizer, CLIPTextModel, T5EncoderModel

    source = checked_source(path)
    whole_model = (Path(path) / "text_encoder").is_dir() or not Path(path).is_dir()
    of_encoder = {"subfolder": "text_encoder"} if whole_model else {}
    of_tokenizer = {"subfolder": "tokenizer"} if whole_model else {}
    if Path(path).is_dir():
        check_kind(Path(path) / of_encoder.get("subfolder", "") / "config.json", kind)
    encoder = {"clip": CLIPTextModel, "t5": T5EncoderModel}[kind].from_pretrained(source, **of_encoder)
    return AutoTokenizer.from_pretrained(source, **of_tokenizer), encoder.eval().requires_grad_(False)


def check_kind(path: Path, kind: str) -> None:
    """Raises ValueError: the config at `path` is that of another kind of encoder."""
    if not path.is_file():
        raise FileNotFoundError(f"{path}: missing; expected a text encoder of transformers")
    found = json.loads(path.read_text()).get("model_type", "")
    if not found.startswith(kind):
        raise ValueError(f"{path}: model_type is {found!r}, expected a {kind} text encoder")


def load_clip(path: str):
    """Tokenizer and frozen CLIPModel for retrieval."""
    from transformers import AutoTokenizer, CLIPModel

    source = checked_source(path, ("config.json",))
    return AutoTokenizer.from_pretrained(source), CLIPModel.from_pretrained(source).eval().requires_grad_(False)
