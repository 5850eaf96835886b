"""Tables of the README."""

from __future__ import annotations

from collections.abc import Sequence

from .evidence import accuracies
from .figures import NAMES, in_order
from .intervals import pooled
from .study import Record, select


def markdown(records: Sequence[Record], condition: str) -> str:
    """Accuracies of all methods at the largest number of shots, with their intervals."""
    lines = ["| method | train attributes | test attributes | gap |", "|---|---|---|---|"]
    for method in in_order(list(dict.fromkeys(r.method for r in select(records, condition=condition)))):
        train, test = (pooled(accuracies(records, condition, method, group)) for group in ("train", "test"))
        cells = [f"{v.mean:.2f} ± {v.half_width:.2f}" for v in (train, test)]
        lines.append(f"| {NAMES.get(method, method)} | {' | '.join(cells)} | {train.mean - test.mean:+.2f} |")
    return "\n".join(lines)
