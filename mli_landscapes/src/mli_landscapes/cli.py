"""The command `mli-landscapes`."""

from __future__ import annotations

from collections.abc import Sequence

from . import command
from .demo import demo
from .experiment import Experiment
from .reproduce import reproduce
from .verbs import gauss, interpolate, plane, study, table

VERBS = {
    "demo": demo,
    "reproduce": reproduce,
    "interpolate": interpolate,
    "plane": plane,
    "gauss": gauss,
    "study": study,
    "table": table,
}


def main(args: Sequence[str] | None = None) -> None:
    command.run(Experiment.command_line, "mli-landscapes", VERBS, args, **Experiment.classes)


if __name__ == "__main__":
    main()
