"""Trained models in files: Lightning checkpoints of `fit`, the demo's own, and weights alone."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, TypeVar

import torch
from pytorch_lightning import LightningModule
from safetensors import safe_open
from safetensors.torch import save_file

from .results import whole

PACKAGED = Path(__file__).parent / "weights" / "connectivity.safetensors"  # `fit --config procedural`, `export-weights`
Model = TypeVar("Model", bound=LightningModule)


def write_weights(path: str | Path, model: LightningModule) -> Path:
    """What `load_model` needs and no more, as safetensors in half precision."""
    state = {k: v.half() if v.dtype == torch.float32 else v for k, v in model.state_dict().items()}
    settings = {k: v for k, v in model.hparams.items() if not k.startswith("_")}
    with whole(path) as temporary:
        save_file({k: v.contiguous() for k, v in state.items()}, temporary, {"settings": json.dumps(settings)})
    return Path(path)


def load_model(path: str | Path | None, of: type[Model]) -> Model:
    """The model at `path`, in evaluation mode; only tensors and plain values are unpickled.

    Args:
        path: checkpoint of `fit` or of the demo, or a file of `write_weights`; None: the packaged
            `ConnectivityTraining` of the four procedural families.
    Raises:
        FileNotFoundError: no such file. ValueError: not a checkpoint of such a model.
    """
    path = Path(path or PACKAGED)
    if not path.is_file():
        raise FileNotFoundError(f"{path}: no such file; `spacemesh fit` or `spacemesh demo` makes some")
    try:
        content = read_weights(path) if path.suffix == ".safetensors" else torch.load(path, "cpu", weights_only=True)
    except Exception as error:  # torch raises many kinds for what is no checkpoint
        raise ValueError(f"{path}: not a checkpoint ({type(error).__name__})") from error
    try:
        if "made" in content:  # the demo's, see `cache.save_state`: the config is its mark
            content = content["made"] | {"hyper_parameters": json.loads(content["mark"])["model"]["init_args"]}
        settings = content["hyper_parameters"]
        model = of(**{k: v for k, v in settings.items() if not k.startswith("_")})
        model.load_state_dict(content["state_dict"])
        model.on_load_checkpoint(content)
    except Exception as error:  # and a model many kinds for what are not its settings and weights
        raise ValueError(f"{path}: not a checkpoint of a {of.__name__}") from error
    return model.eval()


def read_weights(path: Path) -> dict[str, Any]:
    """The content of a file of `write_weights`, in single precision again."""
    with safe_open(path, "pt") as file:
        state = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        settings = json.loads(file.metadata()["settings"])
    state = {k: v.float() if v.dtype == torch.float16 else v for k, v in state.items()}
    return {"hyper_parameters": settings, "state_dict": state}
