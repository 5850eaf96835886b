"""When the surrogate is fitted, and from where: full refits at growing counts of rows, or DyHPO's fit at every
suggestion."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import NamedTuple, Protocol

from .fitting import FitSettings


class Plan(NamedTuple):
    """settings: of the fit, None to extend the Cholesky factor alone. restart: from new weights."""

    settings: FitSettings | None
    restart: bool


class Schedule(Protocol):
    """Says what to do with `rows` rows after `fits` fits, the last of them on `fitted` rows."""

    def plan(self, rows: int, fitted: int, fits: int, fitting: FitSettings) -> Plan: ...


@dataclass(frozen=True)
class RefitSchedule:
    """A fit whenever the rows have grown by a factor, between fits only new rows of the Cholesky factor.

    growth: the factor. cold: fits from new weights while there are at most so many rows; later ones go on from the
        last, with
    `warm` of the steps.
    """

    growth: float = 2.0
    cold: int = 40
    warm: float = 0.5

    def plan(self, rows: int, fitted: int, fits: int, fitting: FitSettings) -> Plan:
        if fits and rows < max(fitted + 1, int(self.growth * fitted)):
            return Plan(None, False)
        cold = rows <= self.cold or not fits
        return Plan(fitting if cold else replace(fitting, steps=max(1, round(self.warm * fitting.steps))), cold)


@dataclass(frozen=True)
class DyHPOSchedule:
    """The reference's: the first 10 fits from new weights with all steps, then `refine` steps at every suggestion, and
    no factor is ever kept."""

    cold_fits: int = 10
    refine: int = 50

    def plan(self, rows: int, fitted: int, fits: int, fitting: FitSettings) -> Plan:
        cold = fits < self.cold_fits
        return Plan(fitting if cold else replace(fitting, steps=self.refine), cold)
