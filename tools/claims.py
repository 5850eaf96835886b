"""What a demo measured, read from the claims.json that it wrote."""

from __future__ import annotations

import json
import math
from dataclasses import dataclass
from pathlib import Path

Value = int | float | str | None
NOT_RUN = "not run"
NUMBER_OR_TEXT = (int, float, str, type(None))


@dataclass(frozen=True)
class Claim:
    """`holds` was computed by the demo, from `measured` and `threshold`; `paper` is the paper's own number."""

    id: str
    statement: str
    paper: Value
    measured: Value
    threshold: Value
    holds: bool
    stderr: float | None = None


@dataclass(frozen=True)
class Run:
    """One run of one demo. `problem` says why there is nothing to read; it is None where there is."""

    name: str
    folder: Path
    problem: str | None = None
    seed: int = 0
    seconds: float = 0.0
    fast: bool = False
    command: str = ""
    claims: tuple[Claim, ...] = ()
    figures: tuple[str, ...] = ()


@dataclass(frozen=True)
class Tally:
    """Claims over all runs. Those of fast runs count for nothing and are kept apart."""

    finished: int
    hold: int
    fail: int
    fast: int
    seconds: float


def read_runs(runs: Path, names: list[str] | None = None) -> list[Run]:
    """The named runs in that order; without names, every folder of `runs` that holds a claims.json."""
    if names is None:
        names = sorted(path.parent.name for path in runs.glob("*/claims.json"))
    return [read_run(runs / name) for name in names]


def read_run(folder: Path) -> Run:
    """Never raises: a page that shows nine good runs beside a bad one is worth more than an error."""
    path = folder / "claims.json"
    if not folder.is_dir():
        return Run(folder.name, folder, problem=NOT_RUN)
    if not path.is_file():
        return Run(folder.name, folder, problem="did not finish")
    try:
        return _parse(json.loads(path.read_text(encoding="utf-8")), folder)
    except (OSError, ValueError, OverflowError) as error:
        return Run(folder.name, folder, problem=f"claims.json cannot be read: {error}")


def tally(runs: list[Run]) -> Tally:
    counted = [claim.holds for run in runs if not run.fast for claim in run.claims]
    return Tally(
        finished=sum(run.problem is None for run in runs),
        hold=sum(counted),
        fail=len(counted) - sum(counted),
        fast=sum(len(run.claims) for run in runs if run.fast),
        seconds=sum(run.seconds for run in runs),
    )


def show(value: Value, stderr: float | None = None) -> str:
    """A number with four digits that count, or with as many as its standard error has; text as it is."""
    if value is None:
        return "–"
    if isinstance(value, str):
        return value
    if stderr and math.isfinite(stderr) and math.isfinite(value):
        places = max(0, 1 - math.floor(math.log10(abs(stderr))))
        form = f",.{places}f" if places <= 6 else ".2e"
        return f"{value:{form}} ±\N{NO-BREAK SPACE}{stderr:{form}}"
    if isinstance(value, int) or value == 0 or not math.isfinite(value):
        return f"{value:,}" if isinstance(value, int) else f"{value:g}"
    if not 1e-3 <= abs(value) < 1e6:
        return f"{value:.3g}"
    text = f"{value:,.{max(0, 3 - math.floor(math.log10(abs(value))))}f}"
    return text.rstrip("0").rstrip(".") if "." in text else text


def duration(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest} s" if minutes else f"{rest} s"


def plural(count: int, noun: str) -> str:
    return f"{count} {noun}" if count == 1 else f"{count} {noun}s"


def _parse(content: object, folder: Path) -> Run:
    if not isinstance(content, dict):
        raise ValueError(f"expected an object, got {_kind(content)}")
    seconds = _field(content, "seconds", (int, float))
    if not (math.isfinite(seconds) and seconds >= 0):
        raise ValueError(f"'seconds' must be finite and not negative, got {seconds}")
    claims = [_parse_claim(claim, number) for number, claim in enumerate(_field(content, "claims", (list,)))]
    figures = _field(content, "figures", (list,))
    if not all(isinstance(figure, str) for figure in figures):
        raise ValueError("'figures' must be a list of paths")
    return Run(
        name=folder.name,
        folder=folder,
        seed=_field(content, "seed", (int,)),
        seconds=seconds,
        fast=_field(content, "fast", (bool,)),
        command=_field(content, "command", (str,)),
        claims=tuple(claims),
        figures=tuple(figures),
    )


def _parse_claim(content: object, number: int) -> Claim:
    where = f" in claim {number + 1}"
    if not isinstance(content, dict):
        raise ValueError(f"expected an object{where}, got {_kind(content)}")
    return Claim(
        id=_field(content, "id", (str,), where),
        statement=_field(content, "statement", (str,), where),
        paper=_field(content, "paper", NUMBER_OR_TEXT, where),
        measured=_field(content, "measured", NUMBER_OR_TEXT, where),
        threshold=_field(content, "threshold", NUMBER_OR_TEXT, where),
        holds=_field(content, "holds", (bool,), where),
        stderr=_field({"stderr": None, **content}, "stderr", (int, float, type(None)), where),
    )


def _field(content: dict, key: str, kinds: tuple[type, ...], where: str = ""):
    if key not in content:
        raise ValueError(f"'{key}' is missing{where}")
    if not isinstance(content[key], kinds):
        expected = " or ".join(dict.fromkeys(map(_name, kinds)))
        raise ValueError(f"'{key}'{where} must be {expected}, got {_kind(content[key])}")
    return content[key]


def _kind(value: object) -> str:
    return _name(type(value))


def _name(kind: type) -> str:
    """The type in JSON's words."""
    names = {bool: "true or false", int: "a number", float: "a number", str: "text", list: "a list", dict: "an object"}
    return names.get(kind, "null")
