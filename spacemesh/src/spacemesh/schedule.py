"""The learning rate of all trainings: a linear rise, then a cosine to zero."""

from __future__ import annotations

import math
from collections.abc import Callable


def one_cycle(steps: int, warmup: float) -> Callable[[int], float]:
    """The factor at each step: up over the first `warmup` share of `steps`, then down."""
    rise = max(1, int(warmup * steps))

    def factor(step: int) -> float:
        if step < rise:
            return (step + 1) / rise
        return 0.5 + 0.5 * math.cos(math.pi * min(1.0, (step - rise) / max(1, steps - rise)))

    return factor
