"""The command `latte3d`."""

from __future__ import annotations

from collections.abc import Sequence

from . import command
from .demo import demo
from .experiment import Experiment
from .reproduce import reproduce
from .verbs import evaluate, export_weights, generate, optimize, render, stylize

VERBS = {
    "demo": demo,
    "reproduce": reproduce,
    "generate": generate,
    "stylize": stylize,
    "optimize": optimize,
    "render": render,
    "evaluate": evaluate,
    "export-weights": export_weights,
}


def main(args: Sequence[str] | None = None) -> None:
    command.run(Experiment.command_line, "latte3d", VERBS, args, **Experiment.classes)


if __name__ == "__main__":
    main()
