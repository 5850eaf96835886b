"""The command `regularized-lae`."""

from __future__ import annotations

from collections.abc import Sequence

from . import command
from .demo import demo
from .experiment import Experiment
from .reproduce import reproduce
from .verbs import sweep

VERBS = {"demo": demo, "reproduce": reproduce, "sweep": sweep}


def main(args: Sequence[str] | None = None) -> None:
    command.run(Experiment.command_line, "regularized-lae", VERBS, args, **Experiment.classes)


if __name__ == "__main__":
    main()
