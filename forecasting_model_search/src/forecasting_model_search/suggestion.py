"""What a search says and what it may be told about itself: suggestions, settings, where configurations start."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from .weights import Checkpoint, State


@dataclass(frozen=True)
class Suggestion:
    """Train configuration `config_id` from `from_epoch` to `to_epoch`, starting with `checkpoint` where there
    is one."""

    config_id: int
    params: dict[str, Any]
    from_epoch: int
    to_epoch: int
    checkpoint: Checkpoint | None = field(default=None, compare=False)


Start = Callable[[int, Mapping[str, Any]], tuple[State | None, float]]


@dataclass(frozen=True)
class SearchSettings:
    """initial: random configurations to start with. step: epochs of a suggestion. fresh: new configurations that are
    drawn as candidates at each suggestion, where there is no pool. promote_prob: chance of going on with the best that
    waits instead of asking the surrogate. noise: measure improvement with the spread of observations, as the reference
    does."""

    initial: int = 1
    step: int = 1
    fresh: int = 32
    promote_prob: float = 0.0
    noise: bool = True
