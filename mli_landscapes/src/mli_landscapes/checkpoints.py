"""End points on disk: Lightning checkpoints, state dicts saved by torch, and safetensors; nothing is ever unpickled."""

from __future__ import annotations

from pathlib import Path

import torch
from safetensors.torch import load_file
from torch import Tensor

from . import training


def load_state(path: str) -> dict[str, Tensor]:
    """The tensors of a `.ckpt`, `.pt`, `.pth` or `.safetensors` file, by name, on the CPU.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: it is none of these, is damaged, or holds no state dict.
    """
    if Path(path).suffix == ".safetensors":
        try:
            return load_file(checked_path(path))
        except Exception as error:  # safetensors raises what the header brings about
            raise ValueError(f"{path}: not a readable safetensors file ({error})") from error
    content = load_checkpoint(path)
    state = content.get("state_dict", content)
    if not isinstance(state, dict):
        raise ValueError(f"{path}: a dict of tensors was expected under state_dict, got a {type(state).__name__}")
    tensors = {name: value for name, value in state.items() if isinstance(value, Tensor)}
    if not tensors:
        raise ValueError(f"{path}: holds no tensors by name; a state dict or a Lightning checkpoint was expected")
    return tensors


def load_checkpoint(path: str) -> dict:
    """The dict in a file of torch.save, with weights_only: code in it is refused, not run.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: it is damaged, holds other objects than tensors and numbers, or no dict.
    """
    try:
        content = torch.load(checked_path(path), map_location="cpu", weights_only=True)
    except Exception as error:  # torch raises what its unpickler meets, of many kinds
        reason = str(error).partition("\n")[0]
        raise ValueError(
            f"{path}: not a readable checkpoint of tensors; nothing else is unpickled ({reason})"
        ) from error
    if not isinstance(content, dict):
        raise ValueError(f"{path}: a dict was expected, it holds a {type(content).__name__}")
    return content


def load_training(path: str) -> training.Training:
    """A run of this package from its Lightning checkpoint: network, trained weights and, in `initial`, where it began.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: it is no checkpoint of a class of `training`.
    """
    content = load_checkpoint(path)
    arguments = content.get("hyper_parameters", {})
    if not isinstance(arguments, dict):
        raise ValueError(f"{path}: a dict was expected under hyper_parameters, got a {type(arguments).__name__}")
    name = str(arguments.get("_class_path", "")).rpartition(".")[2]
    kind = getattr(training, name, None)
    if not (isinstance(kind, type) and issubclass(kind, training.Training)) or "initial_parameters" not in content:
        raise ValueError(f"{path}: not a checkpoint of `mli-landscapes fit`; its class is {name or 'not given'}")
    try:
        run = kind(**{key: value for key, value in arguments.items() if not key.startswith("_")})
        run.load_state_dict(content["state_dict"])
        run.on_load_checkpoint(content)
    except Exception as error:  # networks raise many kinds for arguments and weights that are none
        raise ValueError(f"{path}: not the arguments and weights of a {name} ({error})") from error
    return run


def checked_path(path: str) -> str:
    """Raises FileNotFoundError unless there is such a file."""
    if not Path(path).is_file():
        raise FileNotFoundError(f"{path}: no such file; a .ckpt, .pt, .pth or .safetensors file was expected")
    return path
