"""Writes pages of every project's public names, from their docstrings.

python tools/docs.py [runs/docs]
"""

from __future__ import annotations

import argparse
import warnings
from importlib import import_module
from pathlib import Path

from projects import discover

ROOT = Path(__file__).parent.parent


def write(names: list[str], out: Path) -> Path:
    """One page a project, with an index and a search; names that are imported when asked for are asked for."""
    import pdoc

    for name in names:
        module = import_module(name)
        vars(module).update({public: getattr(module, public) for public in module.__all__})
    pdoc.render.configure(docformat="google", footer_text="Ten papers as packages")
    with warnings.catch_warnings():  # of annotations that are imported for type checkers alone
        warnings.filterwarnings("ignore", message="Error parsing type annotation")
        pdoc.pdoc(*names, output_directory=out)
    return out / "index.html"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("out", type=Path, nargs="?", default=Path("runs") / "docs")
    print(write([project.name for project in discover(ROOT)], parser.parse_args().out))


if __name__ == "__main__":
    main()
