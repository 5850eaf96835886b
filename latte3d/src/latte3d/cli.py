"""The command `latte3d`."""

from __future__ import annotations

from collections.abc import Sequence

from . import command
from .demo import demo
from .experiment import CLASSES, StageCommandLine
from .reproduce import reproduce
from .verbs import evaluate, generate, optimize, render, stylize

VERBS = {
    "demo": demo,
    "reproduce": reproduce,
    "generate": generate,
    "stylize": stylize,
    "optimize": optimize,
    "render": render,
    "evaluate": evaluate,
}


def main(args: Sequence[str] | None = None) -> None:
    command.run(StageCommandLine, "latte3d", VERBS, args, **CLASSES)


if __name__ == "__main__":
    main()
