"""Records as tables in Markdown, for the terminal and the README."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from .evidence import NAMES, column, final_regret
from .replay import LABELS


def mean_and_error(values: Sequence[float], digits: int = 3) -> str:
    """Mean ± standard error."""
    array = np.asarray(values, dtype=float)
    if len(array) < 2:
        return f"{array.mean():.{digits}f}"
    return f"{array.mean():.{digits}f} ± {array.std(ddof=1) / np.sqrt(len(array)):.{digits}f}"


def forecast_table(records: Sequence[dict]) -> str:
    """τ by method, state and target."""
    keys = [k for k in records[0] if "/" in k]
    heads = [f"{k.split('/')[0]}, b = {k.split('/')[1]}" for k in keys]
    lines = ["| surrogate | " + " | ".join(heads) + " |", "|---" * (len(keys) + 1) + "|"]
    counts = {m: len(column(records, m, keys[0])) for m in dict.fromkeys(r["method"] for r in records)}
    for method, count in counts.items():
        cells = [mean_and_error(column(records, method, key)) for key in keys]
        fewer = f" ({count} of the hubs)" if count < max(counts.values()) else ""
        lines.append(f"| {NAMES[method]}{fewer} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def replay_table(records: Sequence[dict], at: Sequence[int] = (10, 25, 50, 100)) -> str:
    """Regret by method after some epochs, and the test accuracy of what validation chose where the hub has one."""
    budget = len(records[0]["regret"])
    at = [*(e for e in at if e < budget), budget]
    tested = all(r["test"] is not None for r in records)
    heads = [*(f"{e} epochs" for e in at), *["test accuracy"] * tested]
    lines = ["| method | " + " | ".join(heads) + " |", "|---" * (len(heads) + 1) + "|"]
    for method in [m for m in LABELS if any(r["method"] == m for r in records)]:
        cells = [mean_and_error(final_regret(records, method, e)) for e in at]
        if tested:
            cells.append(mean_and_error(column(records, method, "test")))
        lines.append(f"| {LABELS[method]} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def tau_table(records: Sequence[dict]) -> str:
    """τ of the searchers' forecasts of final scores."""
    own = [r for r in records if r["tau"]]
    if not own:
        return ""
    epochs = sorted({int(e) for r in own for e in r["tau"]})
    lines = ["| surrogate | " + " | ".join(f"{e} epochs" for e in epochs) + " |", "|---" * (len(epochs) + 1) + "|"]
    for method in [m for m in LABELS if any(r["method"] == m for r in own)]:
        mine = [r["tau"] for r in own if r["method"] == method]
        cells = [mean_and_error([t[str(e)] for t in mine if str(e) in t]) for e in epochs]
        lines.append(f"| {LABELS[method]} | " + " | ".join(cells) + " |")
    return "\n".join(lines)
