"""The terminal table of all claims.

python tools/claims_table.py [runs]
"""

from __future__ import annotations

import argparse
import shutil
import sys
import textwrap
from itertools import zip_longest
from pathlib import Path

from claims import Run, duration, plural, read_runs, show, tally

WIDEST_VALUE = 20
NARROWEST_STATEMENT = 24
GAP = "  "


def table(runs: list[Run], width: int = 100) -> str:
    """One line per claim: whether it holds, the statement, the paper's number, the measured one, the threshold."""
    heads = ("claim", "statement", "paper", "measured", "threshold")
    rows = {run.name: [_row(run, claim) for claim in run.claims] for run in runs}
    widths = _widths([heads, *(row for claims in rows.values() for row in claims)], width)
    lines = [*_cells(heads, widths), "─" * (sum(widths) + len(GAP) * (len(widths) - 1))]
    for run in runs:
        lines.append(f"{run.name} · {_caption(run)}")
        lines += [line for row in rows[run.name] for line in _cells(row, widths)]
        lines.append("")
    return "\n".join([*lines, summary(runs)])


def summary(runs: list[Run]) -> str:
    count = tally(runs)
    parts = [
        f"{count.finished} of {plural(len(runs), 'project')} finished",
        f"{plural(count.hold, 'claim')} {'holds' if count.hold == 1 else 'hold'}",
        f"{count.fail} {'does' if count.fail == 1 else 'do'} not",
        duration(count.seconds),
    ]
    if count.fast:
        parts.insert(3, f"{count.fast} not counted (fast run)")
    return " · ".join(parts)


def _caption(run: Run) -> str:
    if run.problem:
        return run.problem
    warning = " · fast run: numbers mean nothing" if run.fast else ""
    return f"seed {run.seed} · {duration(run.seconds)}{warning}"


def _row(run: Run, claim) -> tuple[str, ...]:
    verdict = "–" if run.fast else "holds" if claim.holds else "FAILS"
    numbers = show(claim.paper), show(claim.measured, claim.stderr), show(claim.threshold)
    return (verdict, claim.statement, *numbers)


def _widths(rows: list[tuple[str, ...]], total: int) -> list[int]:
    widths = [min(WIDEST_VALUE, max(len(cell) for cell in column)) for column in zip(*rows, strict=True)]
    others = sum(widths) - widths[1] + len(GAP) * (len(widths) - 1)
    widths[1] = max(NARROWEST_STATEMENT, min(total - others, max(len(row[1]) for row in rows)))
    return widths


def _cells(row: tuple[str, ...], widths: list[int]) -> list[str]:
    """The row as one or more lines, each cell wrapped within its width."""
    wrapped = [textwrap.wrap(cell, width) for cell, width in zip(row, widths, strict=True)]
    lines = zip_longest(*wrapped, fillvalue="")
    return [GAP.join(f"{cell:<{width}}" for cell, width in zip(line, widths, strict=True)).rstrip() for line in lines]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("runs", type=Path, nargs="?", default=Path("runs"))
    sys.stdout.reconfigure(errors="replace")  # a statement may hold symbols that the terminal has not
    print(table(read_runs(parser.parse_args().runs), shutil.get_terminal_size((100, 24)).columns))


if __name__ == "__main__":
    main()
