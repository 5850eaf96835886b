"""The command `meta-bounds`."""

from __future__ import annotations

from collections.abc import Sequence

from . import command
from .demo import demo
from .experiment import Experiment
from .reproduce import reproduce
from .verbs import adapt, bound, risk, sweep

VERBS = {"demo": demo, "reproduce": reproduce, "bound": bound, "risk": risk, "sweep": sweep, "adapt": adapt}


def main(args: Sequence[str] | None = None) -> None:
    command.run(Experiment.command_line, "meta-bounds", VERBS, args, **Experiment.classes)


if __name__ == "__main__":
    main()
