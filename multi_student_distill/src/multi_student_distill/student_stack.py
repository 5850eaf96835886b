"""K students of one architecture as a single module with batched weights: they train at once and share nothing.

A flat batch (K·B, ...) holds B rows for each student in turn, so that losses and the shared teacher see one batch. The
gradient of K times the mean over it is, for each student, the gradient of its own mean.
"""

from __future__ import annotations

import copy
from collections.abc import Iterable, Sequence

import torch
from torch import Tensor, nn
from torch.func import functional_call, stack_module_state


class StudentStack(nn.Module):
    """Called like one of its networks, with K times the rows.

    Args:
        networks: K modules of one architecture; their weights are copied.
    Raises:
        ValueError: none, or of unlike parameters.
    """

    def __init__(self, networks: Sequence[nn.Module]):
        super().__init__()
        described = [[(n, tuple(p.shape)) for n, p in net.named_parameters()] for net in networks]
        if not networks or any(d != described[0] for d in described):
            raise ValueError(f"a stack needs networks of one architecture, got {[type(n).__name__ for n in networks]}")
        weights, buffers = stack_module_state(list(networks))
        self.students = len(networks)
        self.weights = nn.ParameterDict({_key(n): nn.Parameter(w.detach().clone()) for n, w in weights.items()})
        self.stacked_buffers = sorted(buffers)
        for name, buffer in buffers.items():
            self.register_buffer(_key(name), buffer.detach().clone(), persistent=False)
        # torch.vmap has no rule for group norms: U-Nets run in turn, with the same weights and results
        self.batched = not any(isinstance(m, nn.GroupNorm) for m in networks[0].modules())
        self._skeleton = (copy.deepcopy(networks[0]).to("meta"),)  # a tuple: not a submodule

    def forward(self, *inputs: Tensor, **flags):
        """Tensors whose first dimension is K·B; the same for what the networks return."""
        if len(inputs[0]) % self.students:
            raise ValueError(f"a stack of {self.students} needs a multiple of that many rows, got {len(inputs[0])}")
        weights = {n.replace("/", "."): w for n, w in self.weights.items()}
        weights |= {n: getattr(self, _key(n)) for n in self.stacked_buffers}
        parts = [x.unflatten(0, (self.students, -1)) for x in inputs]

        def one(own: dict[str, Tensor], *rows: Tensor):
            return functional_call(self._skeleton[0], own, rows, flags)

        if self.batched:
            found = torch.vmap(one)(weights, *parts)
        else:
            each = [one({n: w[k] for n, w in weights.items()}, *(p[k] for p in parts)) for k in range(self.students)]
            found = (
                tuple(map(torch.stack, zip(*each, strict=True))) if isinstance(each[0], tuple) else torch.stack(each)
            )
        return tuple(f.flatten(0, 1) for f in found) if isinstance(found, tuple) else found.flatten(0, 1)

    def unstacked(self) -> list[nn.Module]:
        """Each student as its own network, with copies of its weights."""
        found = []
        for student in range(self.students):
            network = copy.deepcopy(self._skeleton[0]).to_empty(device=next(iter(self.weights.values())).device)
            own = {n.replace("/", "."): w[student].detach().clone() for n, w in self.weights.items()}
            network.load_state_dict(own, strict=False)
            for name in self.stacked_buffers:
                network.get_buffer(name).copy_(getattr(self, _key(name))[student])
            found.append(network)
        return found


def stacked(networks: Sequence[nn.Module]) -> nn.Module:
    """The one network itself, or a stack of several."""
    return networks[0] if len(networks) == 1 else StudentStack(networks)


def unstacked(network: nn.Module) -> list[nn.Module]:
    """The inverse of `stacked`."""
    return network.unstacked() if isinstance(network, StudentStack) else [network]


def clip_each(parameters: Iterable[nn.Parameter], students: int, limit: float) -> None:
    """Clip the gradient's norm, of each student apart, in place.

    Args:
        parameters: of one network, or with a first dimension `students` of a stack.
    """
    own = [p for p in parameters if p.grad is not None]
    if students == 1:
        nn.utils.clip_grad_norm_(own, limit)
        return
    squares = torch.stack([p.grad.flatten(1).square().sum(1) for p in own]).sum(0)  # (K,)
    scale = (limit / (squares.sqrt() + 1e-6)).clamp(max=1.0)
    for p in own:
        p.grad.mul_(scale.reshape(-1, *[1] * (p.ndim - 1)))


def _key(name: str) -> str:
    return name.replace(".", "/")
