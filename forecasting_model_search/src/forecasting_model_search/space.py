"""Search spaces: named hyperparameters, and configurations as points of the unit cube.

A range is scaled by its logarithm where it was sampled so, then to [0, 1]; a categorical becomes one column a choice.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np


@dataclass(frozen=True)
class Float:
    """A real number from low to high, on a logarithmic scale with `log`.

    Raises:
        ValueError: not low < high, or a logarithmic scale from 0 or below.
    """

    low: float
    high: float
    log: bool = False

    def __post_init__(self):
        if not self.low < self.high or (self.log and self.low <= 0):
            raise ValueError(f"expected low < high{' and low > 0' * self.log}, got {self.low} and {self.high}")

    width = 1

    def encode(self, value: float) -> list[float]:
        ends = (math.log(self.low), math.log(self.high)) if self.log else (self.low, self.high)
        scaled = (math.log(max(value, 1e-300)) if self.log else value) - ends[0]
        return [scaled / (ends[1] - ends[0])]

    def decode(self, u: float) -> float:
        if not self.log:
            return self.low + u * (self.high - self.low)
        value = math.exp(math.log(self.low) + u * (math.log(self.high) - math.log(self.low)))
        return min(max(value, self.low), self.high)


@dataclass(frozen=True)
class Int(Float):
    """A whole number from low to high, both included."""

    def decode(self, u: float) -> int:
        return min(int(self.high), max(int(self.low), round(super().decode(u))))


@dataclass(frozen=True)
class Categorical:
    """One of several choices without an order.

    Raises:
        ValueError: no choices, or one twice; at `encode`, a value that is none of them.
    """

    choices: tuple[Any, ...]

    def __post_init__(self):
        object.__setattr__(self, "choices", tuple(self.choices))
        if not self.choices or len(set(self.choices)) < len(self.choices):
            raise ValueError(f"expected choices that differ, at least one, got {self.choices}")

    @property
    def width(self) -> int:
        return len(self.choices)

    def encode(self, value: Any) -> list[float]:
        if value not in self.choices:
            raise ValueError(f"expected one of {', '.join(map(str, self.choices))}, got {value!r}")
        return [float(value == choice) for choice in self.choices]

    def decode(self, u: float) -> Any:
        return self.choices[min(len(self.choices) - 1, int(u * len(self.choices)))]


Domain = Float | Int | Categorical


class SearchSpace:
    """Hyperparameters by name.

    Args:
        domains: name -> Float, Int or Categorical.
        hidden: names that are drawn but are no column of the point, such as the number of the checkpoint to start
            from, which its weights describe better.
    Raises:
        ValueError: hidden names that the space lacks, or nothing that is not hidden.
    """

    def __init__(self, domains: Mapping[str, Domain], hidden: Sequence[str] = ()):
        self.domains, self.hidden = dict(domains), tuple(hidden)
        if unknown := set(hidden) - set(domains):
            raise ValueError(f"hidden hyperparameters that the space lacks: {', '.join(sorted(unknown))}")
        if not self.shown:
            raise ValueError("a search space needs at least one hyperparameter that is not hidden")

    @property
    def shown(self) -> dict[str, Domain]:
        return {name: domain for name, domain in self.domains.items() if name not in self.hidden}

    @property
    def width(self) -> int:
        """d, of an encoded configuration."""
        return sum(domain.width for domain in self.shown.values())

    def encode(self, params: Mapping[str, Any]) -> list[float]:
        """A configuration as a point, (d,). Other names than the space's are left out.

        Raises:
            ValueError: a hyperparameter is missing, or no number where one is expected.
        """
        point: list[float] = []
        for name, domain in self.shown.items():
            if name not in params:
                raise ValueError(f"the configuration lacks {name!r}, it has {', '.join(map(str, params)) or 'nothing'}")
            value = params[name]
            if not isinstance(domain, Categorical) and (isinstance(value, str) or not math.isfinite(value)):
                raise ValueError(f"{name!r}: expected a number, got {value!r}")
            point += domain.encode(value)
        return point

    def sample(self, random: np.random.Generator) -> dict[str, Any]:
        """A configuration, each hyperparameter uniform on its scale."""
        return {name: domain.decode(float(random.random())) for name, domain in self.domains.items()}

    @classmethod
    def covering(cls, configs: Sequence[Mapping[str, Any]], log: Sequence[str] = ()) -> SearchSpace:
        """The space that some configurations span: numbers by their range, text and booleans as categories.

        A hyperparameter with one value tells nothing apart and is left out. `log` names those on a logarithmic scale.
        """
        domains: dict[str, Domain] = {}
        for name in configs[0]:
            values = [config[name] for config in configs]
            kinds = {isinstance(v, str | bool) for v in values}
            if len(kinds) > 1:
                raise ValueError(f"{name!r} mixes text and numbers")
            if len(set(values)) < 2:
                continue
            if kinds == {True}:
                domains[name] = Categorical(tuple(sorted(set(values))))
            else:
                domains[name] = Float(float(min(values)), float(max(values)), name in log)
        return cls(domains)

    @classmethod
    def from_optuna(cls, distributions: Mapping[str, Any], hidden: Sequence[str] = ()) -> SearchSpace:
        """From `optuna.distributions`."""
        domains: dict[str, Domain] = {}
        for name, d in distributions.items():
            kind = type(d).__name__
            if kind == "CategoricalDistribution":
                domains[name] = Categorical(tuple(d.choices))
            elif kind in ("FloatDistribution", "IntDistribution"):
                domains[name] = (Int if kind.startswith("Int") else Float)(d.low, d.high, d.log)
            else:
                raise ValueError(f"{name!r}: expected an Optuna distribution, got {kind}")
        return cls(domains, hidden)

    @classmethod
    def from_ray(cls, domains: Mapping[str, Any], hidden: Sequence[str] = ()) -> SearchSpace:
        """From Ray Tune's search space: uniform, loguniform, randint, lograndint, choice."""
        found: dict[str, Domain] = {}
        for name, d in domains.items():
            kind, log = type(d).__name__, "Log" in type(getattr(d, "sampler", None)).__name__
            if kind == "Categorical":
                found[name] = Categorical(tuple(d.categories))
            elif kind in ("Float", "Integer"):
                high = d.upper - 1 if kind == "Integer" else d.upper  # Ray leaves out the upper end
                found[name] = (Int if kind == "Integer" else Float)(d.lower, high, log)
            else:
                raise ValueError(f"{name!r}: expected a Ray Tune domain, got {kind}")
        return cls(found, hidden)
