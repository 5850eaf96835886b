"""Tables for the terminal and the README."""

from __future__ import annotations

from collections.abc import Sequence

from .figures import READERS
from .study import Record, mean_over_seeds


def accuracy_table(records: Sequence[Record]) -> str:
    """R² / τ of every reader on the three splits, the family mean below; then what else was measured of them."""
    splits = (("", "test"), ("_tenth", "test"), ("", "ood"))
    lines = ["| reader | parameters | all data | a tenth | wider nets |", "|---|---|---|---|---|"]

    def cell(name: str, number: str) -> str:
        mean, error = mean_over_seeds(records, "accuracy", name, number)
        return f"{mean:.3f}" + ("" if error is None else f" ± {error:.3f}")

    for reader, title in READERS.items():
        size = next(r.parameters for r in records if (r.experiment, r.cell) == ("accuracy", reader))
        found = [f"{cell(reader + s, f'{p}_r2')} / {cell(reader + s, f'{p}_tau')}" for s, p in splits]
        lines.append(f"| {title} | {size:,} | {' | '.join(found)} |")
    found = [f"{cell('gmn' + s, f'{p}_mean_r2')} / {cell('gmn' + s, f'{p}_mean_tau')}" for s, p in splits]
    lines.append(f"| family mean | – | {' | '.join(found)} |")
    lines += [
        "",
        "| reader | recalibrated R², wider nets | τ within families | the same, wider nets |",
        "|---|---|---|---|",
    ]
    for reader, title in READERS.items():
        numbers = ("ood_recalibrated", "test_within_tau", "ood_within_tau")
        lines.append(f"| {title} | {' | '.join(cell(reader, number) for number in numbers)} |")
    return "\n".join(lines)


def errors_table(
    records: Sequence[Record], experiment: str, number: str, names: dict[str, str], beside: dict[str, str]
) -> str:
    """One number of each cell, and of what stands beside the first (mean predictor, no edit)."""
    lines = ["| | parameters | " + number.replace("_", " ") + " | seconds |", "|---|---|---|---|"]
    for cell, title in names.items():
        mean, error = mean_over_seeds(records, experiment, cell, number)
        found = [r for r in records if (r.experiment, r.cell) == (experiment, cell)]
        spread = "" if error is None else f" ± {error:.2g}"
        seconds = sum(r.seconds for r in found) / len(found)
        lines.append(f"| {title} | {found[0].parameters:,} | {mean:.4g}{spread} | {seconds:.0f} |")
    for key, title in beside.items():
        lines.append(f"| {title} | – | {mean_over_seeds(records, experiment, next(iter(names)), key)[0]:.4g} | – |")
    return "\n".join(lines)
