"""Denoisers as files: weights in safetensors, and in its metadata what is needed to build the network again."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import nn

from .consistency import ConsistencyFunction
from .edm import EDMDenoiser
from .networks import build_network
from .results import whole

KINDS = {"edm": EDMDenoiser, "consistency": ConsistencyFunction}


@dataclass(frozen=True)
class DenoiserSpec:
    """How to build a denoiser: the network's name, the shape of a sample, C, σ_d, and which scalings."""

    network: str
    shape: tuple[int, ...]
    classes: int
    sigma_data: float
    kind: str = "edm"

    def build(self) -> EDMDenoiser:
        """The denoiser, newly initialised."""
        return self.wrap(build_network(self.network, self.shape, self.classes))

    def wrap(self, network: nn.Module) -> EDMDenoiser:
        """The denoiser of a network or of a stack of them."""
        return KINDS[self.kind](network, self.sigma_data)


def save_denoiser(path: str | Path, denoiser: EDMDenoiser, spec: DenoiserSpec) -> None:
    """Write one denoiser, by way of a temporary file."""
    weights = {name: w.detach().cpu().contiguous() for name, w in denoiser.net.state_dict().items()}
    with whole(path) as temporary:
        save_file(weights, temporary, metadata={"denoiser": json.dumps(asdict(spec))})


def read_spec(path: str | Path) -> DenoiserSpec:
    """What a file holds.

    Raises:
        FileNotFoundError: no such file. ValueError: not a denoiser.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"{path}: no such file; `multi-student-distill fit` leaves such files of denoisers")
    try:
        with safe_open(path, framework="pt") as file:
            fields = json.loads((file.metadata() or {})["denoiser"])
        spec = DenoiserSpec(**{**fields, "shape": tuple(map(int, fields["shape"]))})
        if not math.isfinite(spec.sigma_data) or not isinstance(spec.kind, str):
            raise ValueError("sigma_data or kind")
    except (SafetensorError, OSError, KeyError, TypeError, ValueError, OverflowError, RecursionError) as error:
        raise ValueError(f"{path}: not a denoiser's file ({type(error).__name__})") from error
    if spec.kind not in KINDS:
        raise ValueError(f"{path}: unknown kind {spec.kind!r}, expected one of {', '.join(KINDS)}")
    return spec


def load_denoiser(path: str | Path) -> tuple[EDMDenoiser, DenoiserSpec]:
    """A denoiser and how it was built, in evaluation mode."""
    spec = read_spec(path)
    try:
        denoiser = spec.build()
        with safe_open(path, framework="pt") as file:
            denoiser.net.load_state_dict({name: file.get_tensor(name) for name in file.keys()})  # noqa: SIM118
    except (RuntimeError, ValueError, TypeError, AttributeError, MemoryError, OSError, SafetensorError) as error:
        raise ValueError(f"{path}: its weights are not those of a {spec.network}") from error
    return denoiser.eval(), spec


def student_path(folder: str | Path, student: int) -> Path:
    """Where student k of a folder is."""
    return Path(folder) / f"student_{student}.safetensors"


def load_students(path: str | Path, students: Sequence[int]) -> list[tuple[EDMDenoiser, DenoiserSpec]]:
    """One denoiser for each student: of a folder each its own, of a single file the same for all."""
    files = [student_path(path, k) if Path(path).is_dir() else Path(path) for k in students]
    return [load_denoiser(file) for file in files]


@torch.no_grad()
def copied(source: nn.Module, target: nn.Module) -> nn.Module:
    """`target` with the weights of `source`."""
    target.load_state_dict(source.state_dict())
    return target
