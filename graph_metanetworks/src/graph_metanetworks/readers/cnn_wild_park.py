"""CNN Wild Park (Kofinas et al. 2024): CNNs of many shapes; checkpoint.pt holds their state under "model".

Its residual connections add only as many channels as both ends have: `PartialResidual`.
"""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor, nn

from .states import load_tensors


class PartialResidual(nn.Module):
    """inner(x) plus x on the first `shared` channels: the smaller number of channels of both."""

    def __init__(self, inner: nn.Module, shared: int):
        super().__init__()
        self.inner, self.shared = inner, shared

    def forward(self, x: Tensor) -> Tensor:
        y = self.inner(x)
        return torch.cat([y[:, : self.shared] + x[:, : self.shared], y[:, self.shared :]], 1)


def read_wild_park(folder: str | Path) -> dict[Path, dict[str, Tensor]]:
    """The state of every checkpoint.pt below a folder, by path.

    Raises:
        FileNotFoundError: there are none.
        ValueError: a file without "model", or not of finite tensors; names it.
    """
    found = {path: load_tensors(path, "model") for path in sorted(Path(folder).rglob("checkpoint.pt"))}
    if not found:
        raise FileNotFoundError(
            f"{folder}: no checkpoint.pt below it; get CNN Wild Park from zenodo.org/records/12797219"
        )
    return found
