"""Many networks of one architecture as one module: every parameter and buffer gains a leading dimension."""

from __future__ import annotations

import copy
from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.func import functional_call, vmap


class NetworkStack(nn.Module):
    """J networks side by side. Their losses do not interact, so one backward pass of the sum trains them all.

    Parameters and buffers keep the names of a single network (under `networks.`) and have shape (J, ...).

    Args:
        networks: J modules of one architecture; they are copied.
    Raises:
        ValueError: none is given, or they differ in names or shapes.
    """

    def __init__(self, networks: Sequence[nn.Module]):
        super().__init__()
        if not networks:
            raise ValueError("a stack needs at least one network")
        first = networks[0]
        shapes = {name: value.shape for name, value in first.state_dict().items()}
        for network in networks[1:]:
            if {name: value.shape for name, value in network.state_dict().items()} != shapes:
                raise ValueError("the networks of a stack must be of one architecture")
        self.size = len(networks)
        self.networks = copy.deepcopy(first)
        members = [dict(n.named_modules()) for n in networks]
        for path, module in self.networks.named_modules():
            for name, parameter in list(module.named_parameters(recurse=False, remove_duplicate=False)):
                stacked = torch.stack([getattr(m[path], name).detach() for m in members])
                setattr(module, name, nn.Parameter(stacked, requires_grad=parameter.requires_grad))
            for name, _ in list(module.named_buffers(recurse=False)):
                setattr(module, name, torch.stack([getattr(m[path], name) for m in members]))
        restore_ties(first, self.networks)

    def forward(self, *inputs: Tensor) -> Tensor:
        """The same inputs (B, ...) through every network: (J, B, ...)."""
        state = {**dict(self.networks.named_parameters()), **dict(self.networks.named_buffers())}
        single = vmap(lambda s: functional_call(self.networks, s, inputs), randomness="different")
        return single(state)

    def finite(self) -> Tensor:
        """Which networks have finite weights, (J,) bool."""
        return torch.stack([p.detach().isfinite().reshape(len(p), -1).all(1) for p in self.parameters()]).all(0)

    def network(self, index: int) -> nn.Module:
        """A copy of one network, as a module of its own.

        Raises:
            IndexError: there is no such network.
        """
        if not -self.size <= index < self.size:
            raise IndexError(f"network {index} of a stack of {self.size}")
        return self._sliced(index)

    def select(self, indices: Sequence[int]) -> NetworkStack:
        """A copy that holds some of the networks only, by numbers or by a mask (J,)."""
        chosen = copy.copy(self)
        kept = torch.arange(self.size)[torch.as_tensor(indices)]
        chosen._modules = {"networks": self._sliced(kept)}
        chosen.size = len(kept)
        return chosen

    @torch.no_grad()
    def _sliced(self, index: int | Tensor) -> nn.Module:
        sliced = copy.deepcopy(self.networks)
        for module in sliced.modules():
            for name, parameter in list(module.named_parameters(recurse=False, remove_duplicate=False)):
                setattr(module, name, nn.Parameter(parameter[index].clone(), parameter.requires_grad))
            for name, buffer in list(module.named_buffers(recurse=False)):
                setattr(module, name, buffer[index].clone())
        restore_ties(self.networks, sliced)
        return sliced


def restore_ties(original: nn.Module, changed: nn.Module) -> None:
    """Where two names of `original` are one parameter, make them one in `changed`, whose structure is the same."""
    first_name: dict[int, tuple[str, str]] = {}
    modules = dict(changed.named_modules())
    for path, module in original.named_modules():
        for name, parameter in module.named_parameters(recurse=False, remove_duplicate=False):
            owner, attribute = first_name.setdefault(id(parameter), (path, name))
            if (owner, attribute) != (path, name):
                setattr(modules[path], name, getattr(modules[owner], attribute))
