"""The command `regularized-lae`."""

from __future__ import annotations

from collections.abc import Sequence

from . import command
from .demo import demo
from .experiment import CLASSES, ExperimentCommandLine
from .reproduce import reproduce, sweep

VERBS = {"demo": demo, "reproduce": reproduce, "sweep": sweep}


def main(args: Sequence[str] | None = None) -> None:
    command.run(ExperimentCommandLine, "regularized-lae", VERBS, args, **CLASSES)


if __name__ == "__main__":
    main()
