"""ModelZoos (Schürholt et al. 2022): a folder per network, its weights at every epoch, keys module_list.{i}.weight."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from torch import Tensor, nn

from .states import load_tensors


@dataclass(frozen=True, eq=False)
class ZooEpoch:
    """One network at one epoch."""

    path: Path
    epoch: int
    state: dict[str, Tensor]


def read_model_zoo(folder: str | Path) -> list[ZooEpoch]:
    """The epochs of one network's folder: checkpoint_{epoch}/checkpoints, in order.

    Raises:
        FileNotFoundError: there are none.
        ValueError: a file whose keys are not module_list.{i}.{weight,bias}; names it.
    """
    found = []
    for path in Path(folder).glob("checkpoint_*/checkpoints"):
        match = re.fullmatch(r"checkpoint_(\d+)", path.parent.name)
        if not match:
            continue
        state = load_tensors(path)
        foreign = [name for name in state if not re.fullmatch(r"module_list\.\d+\.(weight|bias)", name)]
        if foreign:
            raise ValueError(f"{path}: keys module_list.{{i}}.{{weight,bias}} expected, got {foreign[0]}")
        found.append(ZooEpoch(path, int(match[1]), state))
    if not found:
        raise FileNotFoundError(f"{folder}: no checkpoint_{{epoch}}/checkpoints; get a zoo from modelzoos.cc")
    return sorted(found, key=lambda epoch: epoch.epoch)


class ModuleList(nn.Module):
    """Modules in order under the name module_list."""

    def __init__(self, layers: list[nn.Module]):
        super().__init__()
        self.module_list = nn.ModuleList(layers)

    def forward(self, x: Tensor) -> Tensor:
        for layer in self.module_list:
            x = layer(x)
        return x


def model_zoo_network(state: dict[str, Tensor], activation: type[nn.Module] = nn.Tanh) -> ModuleList:
    """A network that has this state: convolutions (activation after each, a pool where indices leave room), then dense.

    The files do not say what stands between the weighted layers. Here gaps of the numbering are filled with a pool of
    2 (if the gap is wide enough, after a convolution), the activation, and a Flatten before the first dense layer.
    """
    weighted = {int(name.split(".")[1]): value for name, value in state.items() if name.endswith("weight")}
    layers: list[nn.Module] = []
    numbers = sorted(weighted)
    for number, following in zip(numbers, [*numbers[1:], numbers[-1] + 1], strict=True):
        weight, bias = weighted[number], f"module_list.{number}.bias" in state
        if weight.ndim == 4:
            layers.append(nn.Conv2d(weight.shape[1], weight.shape[0], tuple(weight.shape[2:]), bias=bias))
        else:
            layers.append(nn.Linear(weight.shape[1], weight.shape[0], bias=bias))
        gap = following - number - 1
        flattens = weight.ndim == 4 and weighted.get(following, weight).ndim == 2
        fill: list[nn.Module] = [activation()] if gap > flattens else []
        if weight.ndim == 4 and gap - flattens > 1:
            fill = [nn.MaxPool2d(2), *fill]
        fill += [nn.Identity() for _ in range(gap - flattens - len(fill))]
        layers += fill + ([nn.Flatten()] if flattens else [])
    return ModuleList(layers)
