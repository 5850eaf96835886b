"""What a demo measured, claim by claim: `claims.json` and its table. The same text in every project of the house."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from .results import write_json


@dataclass(frozen=True)
class Claim:
    """One sentence of the paper beside its measurement, from which its maker computes `holds`.

    paper: the paper's own value, None where it gives none. threshold: what `measured` was held against, a number or
    words. stderr: standard error of `measured` over seeds, None for a single measurement.
    """

    id: str
    statement: str
    paper: float | str | None
    measured: float | str
    threshold: float | str
    holds: bool
    stderr: float | None = None


def write_claims(
    out: Path,
    project: str,
    seed: int,
    seconds: float,
    fast: bool,
    command: str,
    claims: Sequence[Claim],
    figures: Sequence[str],
) -> Path:
    """Write `out`/claims.json and return its path; figures are named relative to `out`."""
    content = {
        "project": project,
        "seed": seed,
        "seconds": round(seconds, 1),
        "fast": fast,
        "command": command,
        "claims": [_as_json(claim) for claim in claims],
        "figures": list(figures),
    }
    path = Path(out) / "claims.json"
    write_json(path, content, indent=2)
    return path


def claims_table(claims: Sequence[Claim], fast: bool = False) -> str:
    """Two lines a claim: holds or not and the statement; the paper's number, the measured one, the threshold."""
    lines = ["fast run: these numbers mean nothing"] if fast else []
    for claim in claims:
        spread = "" if claim.stderr is None else f" ± {_short(claim.stderr)}"
        paper = "no number" if claim.paper is None else _short(claim.paper)
        lines.append(f"{'holds   ' if claim.holds else 'DOES NOT'}  {claim.statement}")
        measured, threshold = _short(claim.measured), _short(claim.threshold)
        lines.append(f"          paper: {paper} · measured: {measured}{spread} · held against: {threshold}")
    return "\n".join(lines)


def exit_status(claims: Sequence[Claim], strict: bool) -> int:
    """0, or 1 when `strict` and some claim does not hold."""
    return int(strict and not all(claim.holds for claim in claims))


def mean_and_error(values: Sequence[float]) -> tuple[float, float | None]:
    """Mean and its standard error, None for a single value."""
    array = np.asarray(values, dtype=float)
    return float(array.mean()), float(array.std(ddof=1) / math.sqrt(len(array))) if len(array) > 1 else None


def two_errors(measured: tuple[float, float | None]) -> tuple[float, float]:
    """The mean less and plus two standard errors; infinitely far from it for a single value, by which nothing holds."""
    mean, error = measured
    return (mean - 2 * error, mean + 2 * error) if error is not None else (-math.inf, math.inf)


def _as_json(claim: Claim) -> dict:
    """JSON has no infinity: what is not finite becomes text, and an absent standard error is left out."""
    fields = {k: v for k, v in asdict(claim).items() if k != "stderr" or (v is not None and math.isfinite(v))}
    return {k: str(v) if isinstance(v, float) and not math.isfinite(v) else v for k, v in fields.items()}


def _short(value: float | str) -> str:
    return value if isinstance(value, str) else f"{value:.3g}"
