"""What a study trains: cells, each a chain of stages, from the same configs and with the same classes as `fit`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class StudySettings:
    """What a config's study measures.

    Args:
        stages: name -> settings over the config, by dotted names. In their values `{previous}` stands for the folder of
            the stage before in a cell, `{stage:NAME}` for the folder of a shared stage and `{pairs:NAME}` for the pairs
            of the teacher that a shared stage trained.
        cells: name -> {"stages": [names, or {name: settings over it}], "set": settings of all stages, "seeds": own}.
        seeds: of the students; teachers, pairs and feature networks are shared by all.
        pairs: of a teacher in all. sampler_steps: n of Heun's sampler.
        samples: generated for the metrics. feature_steps: of the feature network's training.
        workers: processes.
    """

    stages: dict[str, dict] = field(default_factory=dict)
    cells: dict[str, dict] = field(default_factory=dict)
    seeds: list[int] = field(default_factory=lambda: [0])
    pairs: int = 6000
    sampler_steps: int = 18
    samples: int = 5000
    feature_steps: int = 600
    workers: int = 1


def chain(settings: StudySettings, cell: str) -> list[tuple[str, dict[str, Any]]]:
    """The stages of a cell in order, each with all its settings.

    Raises:
        ValueError: no such cell, or a stage that is not defined.
    """
    if cell not in settings.cells:
        raise ValueError(f"no cell {cell!r} in the study: it has {', '.join(settings.cells)}")
    described = settings.cells[cell]
    found = []
    for entry in described["stages"]:
        name, own = next(iter(entry.items())) if isinstance(entry, Mapping) else (entry, {})
        if name not in settings.stages:
            raise ValueError(f"cell {cell!r}: no stage {name!r}: there are {', '.join(settings.stages)}")
        found.append((name, {**settings.stages[name], **described.get("set", {}), **own}))
    return found


def seeds_of(settings: StudySettings, cell: str) -> list[int]:
    """The seeds of a cell: its own, or the study's."""
    return settings.cells[cell].get("seeds", settings.seeds)


def with_seed(changed: Mapping[str, Any], seed: int) -> dict[str, Any]:
    """The same settings with a seed."""
    return {**changed, "seed_everything": seed, "data.init_args.seed": seed}
