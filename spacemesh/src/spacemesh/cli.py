"""The command `spacemesh`."""

from __future__ import annotations

from collections.abc import Sequence

from . import command
from .demo import demo
from .experiment import Experiment
from .reproduce import reproduce
from .verbs import check, connect, export_weights, fit_mesh, generate, polygons, repair

VERBS = {
    "demo": demo,
    "reproduce": reproduce,
    "check": check,
    "fit-mesh": fit_mesh,
    "polygons": polygons,
    "connect": connect,
    "repair": repair,
    "generate": generate,
    "export-weights": export_weights,
}


def main(args: Sequence[str] | None = None) -> None:
    command.run(Experiment.command_line, "spacemesh", VERBS, args, **Experiment.classes)


if __name__ == "__main__":
    main()
