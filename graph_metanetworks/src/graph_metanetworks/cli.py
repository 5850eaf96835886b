"""The command `graph-metanetworks`."""

from __future__ import annotations

from collections.abc import Sequence

from . import command
from .demo import demo
from .experiment import Experiment
from .reproduce import reproduce
from .verbs import check_symmetry, graph, zoo

VERBS = {"demo": demo, "reproduce": reproduce, "zoo": zoo, "graph": graph, "check-symmetry": check_symmetry}


def main(args: Sequence[str] | None = None) -> None:
    command.run(Experiment.command_line, "graph-metanetworks", VERBS, args, **Experiment.classes)


if __name__ == "__main__":
    main()
