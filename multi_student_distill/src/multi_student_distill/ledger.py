"""What a result has cost: passes of each network, in samples and in floating-point operations.

K students at the batch of one cost K times as much to train; no table here leaves that out.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

BACKWARD = 2.0  # a backward pass counts as two forward ones


@dataclass
class Ledger:
    """Counts of one run or of several together.

    Args:
        steps: iterations. generated: samples made by students in training. passes: forward passes of one sample, by the
            network's role, a backward pass counted as two. flops: of them all.
        costs: floating-point operations of one sample's forward pass, by role.
    """

    steps: int = 0
    generated: int = 0
    passes: dict[str, float] = field(default_factory=dict)
    flops: float = 0.0
    costs: dict[str, float] = field(default_factory=dict)

    def count(self, role: str, samples: int, backward: bool = False) -> None:
        """One forward pass over `samples`, and a backward one where it has been propagated."""
        units = samples * (1 + BACKWARD * backward)
        self.passes[role] = self.passes.get(role, 0.0) + units
        self.flops += units * self.costs.get(role, 0.0)

    def __add__(self, other: Ledger) -> Ledger:
        roles = {*self.passes, *other.passes}
        return Ledger(
            self.steps + other.steps,
            self.generated + other.generated,
            {role: self.passes.get(role, 0.0) + other.passes.get(role, 0.0) for role in sorted(roles)},
            self.flops + other.flops,
        )

    def row(self) -> dict[str, float]:
        """The columns of a table."""
        units = sum(self.passes.values())
        return {
            "steps": self.steps,
            "generated": self.generated,
            "forward_units": units,
            "teraflops": self.flops / 1e12,
        }

    def state(self) -> dict:
        """Plain values, for a checkpoint."""
        return {"steps": self.steps, "generated": self.generated, "passes": dict(self.passes), "flops": self.flops}

    def load(self, state: dict) -> None:
        """Go on from `state`."""
        self.steps, self.generated = state["steps"], state["generated"]
        self.passes, self.flops = dict(state["passes"]), state["flops"]


@torch.no_grad()
def forward_flops(network: nn.Module, *inputs: torch.Tensor) -> float:
    """Floating-point operations of products and convolutions in one forward pass, for each row of the inputs."""
    with FlopCounterMode(display=False) as counter:
        network(*inputs)
    return counter.get_total_flops() / len(inputs[0])
