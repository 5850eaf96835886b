"""What a demo measured, claim by claim: `claims.json` and its table. The same text in every project of the house."""

from __future__ import annotations

import json
import math
import os
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path


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
    """Write `out`/claims.json by way of a temporary file and return its path; figures are named relative to `out`."""
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
    temporary = path.with_suffix(".tmp")
    temporary.write_text(json.dumps(content, indent=2, allow_nan=False) + "\n")
    os.replace(temporary, path)
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


def _as_json(claim: Claim) -> dict:
    """JSON has no infinity: what is not finite becomes text, and an absent standard error is left out."""
    fields = {k: v for k, v in asdict(claim).items() if k != "stderr" or (v is not None and math.isfinite(v))}
    if isinstance(claim.measured, float) and not math.isfinite(claim.measured):
        fields["measured"] = str(claim.measured)
    return fields


def _short(value: float | str) -> str:
    return value if isinstance(value, str) else f"{value:.3g}"
