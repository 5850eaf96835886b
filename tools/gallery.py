"""Builds runs/index.html: one self-contained page with every project's claims and figures.

python tools/gallery.py [runs]
"""

from __future__ import annotations

import argparse
import base64
import os
import re
from html import escape
from pathlib import Path

from claims import NOT_RUN, Claim, Run, duration, plural, read_runs, show, tally

ROOT = Path(__file__).parent.parent
STYLE = Path(__file__).with_name("gallery.css")
IMAGE_TYPES = {".png": "png", ".jpg": "jpeg", ".jpeg": "jpeg", ".webp": "webp", ".gif": "gif", ".svg": "svg+xml"}
NOTHING_FROM_OUTSIDE = "default-src 'none'; img-src data:; style-src 'unsafe-inline'; script-src 'unsafe-inline'"
SCRIPT = """
const dialog = document.querySelector("dialog");
const large = dialog.querySelector("img");
for (const button of document.querySelectorAll("figure button")) {
  button.addEventListener("click", () => {
    const small = button.querySelector("img");
    large.src = small.src;
    large.alt = small.alt;
    dialog.showModal();
  });
}
dialog.addEventListener("click", () => dialog.close());
"""


def write(runs: list[Run], path: Path) -> Path:
    draft = path.with_suffix(".draft")
    draft.write_text(page(runs), encoding="utf-8", errors="replace")
    os.replace(draft, path)
    return path


def page(runs: list[Run]) -> str:
    return f"""<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<meta http-equiv="Content-Security-Policy" content="{NOTHING_FROM_OUTSIDE}">
<title>What the demos measured</title>
<style>
{STYLE.read_text(encoding="utf-8")}</style>
</head>
<body>
<header>
<h1>What the demos measured</h1>
{_summary(runs)}
{_contents(runs)}
</header>
<main>
{"".join(map(_section, runs))}</main>
<dialog aria-label="Enlarged figure"><img alt=""><form method="dialog"><button autofocus>Close</button></form></dialog>
<script>{SCRIPT}</script>
</body>
</html>
"""


def paper_title(project: str) -> str:
    """The title at the head of a project's README, in bold, without its full stop; empty if there is none."""
    readme = ROOT / project / "README.md"
    found = re.search(r"^\*\*(.+?)\.?\*\*", readme.read_text(encoding="utf-8"), re.M) if readme.is_file() else None
    return found[1] if found else ""


def _summary(runs: list[Run]) -> str:
    count = tally(runs)
    terms = [
        (f"{count.finished}", f"of {plural(len(runs), 'project')} finished", ""),
        (f"{count.hold}", "claim holds" if count.hold == 1 else "claims hold", "holds"),
        (f"{count.fail}", "does not hold" if count.fail == 1 else "do not hold", "fails" if count.fail else ""),
        (duration(count.seconds), "in all", ""),
    ]
    if count.fast:
        terms.insert(3, (f"{count.fast}", "not counted (fast run)", ""))
    items = (f'<li class="{kind}"><b>{escape(number)}</b> {escape(what)}</li>' for number, what, kind in terms)
    return f'<ul class="summary">{"".join(items)}</ul>'


def _contents(runs: list[Run]) -> str:
    """A line per project with a mark per claim: the whole page at a glance."""
    lines = []
    for run in runs:
        name = escape(run.name)
        if run.problem == NOT_RUN:  # no section to go to
            lines.append(f"<li>{name} <span>{NOT_RUN}</span></li>\n")
        elif run.problem:
            short = run.problem.partition(":")[0]
            lines.append(f'<li><a href="#{name}">{name}</a> <span class="fails">{escape(short)}</span></li>\n')
        else:
            marks = "".join(f'<i class="{_verdict(run, claim)[0]}"></i>' for claim in run.claims)
            said = f'<span class="marks" aria-hidden="true">{marks}</span>{_count(run)}'
            lines.append(f'<li><a href="#{name}">{name}</a> <span>{said}</span></li>\n')
    return f'<nav aria-label="Projects"><ul class="contents">\n{"".join(lines)}</ul></nav>'


def _count(run: Run) -> str:
    if run.fast:
        return "fast run"
    return f"{sum(claim.holds for claim in run.claims)} of {len(run.claims)} hold"


def _section(run: Run) -> str:
    if run.problem == NOT_RUN:
        return ""
    title = paper_title(run.name)
    paper = f'<p class="paper">{escape(title)}</p>\n' if title else ""
    heading = f'<section id="{escape(run.name)}">\n<h2>{escape(run.name)}</h2>\n{paper}'
    if run.problem:
        return f'{heading}<p class="note fails">{escape(run.problem)}</p>\n</section>\n'
    fast = '<p class="note fast">fast run: numbers mean nothing</p>\n' if run.fast else ""
    caption = f"<p class='caption'><code>{escape(run.command)}</code> seed {run.seed} · {duration(run.seconds)}</p>\n"
    return f"{heading}{caption}{fast}{_table(run)}{_figures(run)}</section>\n"


def _table(run: Run) -> str:
    """The roles are the elements' own: said again, as a narrow screen lays rows out as grids, which would lose them."""
    if not run.claims:
        return '<p class="note">This demo made no claim.</p>\n'
    heads = ("Claim", "Paper", "Measured", "Threshold", "Verdict")
    head = "".join(f'<th role="columnheader" scope="col">{name}</th>' for name in heads)
    rows = "".join(_claim(run, claim) for claim in run.claims)
    return f"""<table role="table" aria-label="Claims of {escape(run.name)}">
<thead role="rowgroup"><tr role="row">{head}</tr></thead>
<tbody role="rowgroup">
{rows}</tbody>
</table>
"""


def _claim(run: Run, claim: Claim) -> str:
    kind, verdict = _verdict(run, claim)
    numbers = [
        ("Paper", show(claim.paper)),
        ("Measured", show(claim.measured, claim.stderr)),
        ("Threshold", show(claim.threshold)),
    ]
    cells = "".join(f'<td role="cell" data-head="{head}">{escape(text)}</td>' for head, text in numbers)
    return (
        f'<tr role="row" class="{kind}"><th role="rowheader" scope="row">{escape(claim.statement)}</th>{cells}'
        f'<td role="cell" class="verdict"><i class="{kind}" aria-hidden="true"></i>{verdict}</td></tr>\n'
    )


def _verdict(run: Run, claim: Claim) -> tuple[str, str]:
    if run.fast:
        return "quiet", "not judged"
    return ("holds", "holds") if claim.holds else ("fails", "does not hold")


def _figures(run: Run) -> str:
    if not run.figures:
        return ""
    return f'<div class="figures">\n{"".join(_figure(run, name) for name in run.figures)}</div>\n'


def _figure(run: Run, name: str) -> str:
    path = run.folder / name
    kind = IMAGE_TYPES.get(path.suffix.lower())
    if kind is None:
        return f'<p class="note fails">{escape(name)} is no image that a page can show</p>\n'
    try:
        content = base64.b64encode(path.read_bytes()).decode("ascii")
    except (OSError, ValueError):  # a name with a null byte is the ValueError
        return f'<p class="note fails">The figure {escape(name)} is missing</p>\n'
    title = path.stem.replace("_", " ").replace("-", " ").capitalize()
    image = f'<img src="data:image/{kind};base64,{content}" alt="{escape(f"Figure of {run.name}: {title}")}">'
    button = f'<button type="button" title="Enlarge">{image}</button>'
    return f"<figure>{button}<figcaption>{escape(title)}</figcaption></figure>\n"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("runs", type=Path, nargs="?", default=Path("runs"))
    runs = parser.parse_args().runs
    print(write(read_runs(runs), runs / "index.html"))


if __name__ == "__main__":
    main()
