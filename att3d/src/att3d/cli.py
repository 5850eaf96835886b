"""The command `att3d`."""

from __future__ import annotations

from collections.abc import Sequence

from . import command
from .demo import demo
from .experiment import Experiment
from .reproduce import reproduce
from .verbs import evaluate, export_mesh, export_weights, finetune, generate, interpolate

VERBS = {
    "demo": demo,
    "reproduce": reproduce,
    "generate": generate,
    "interpolate": interpolate,
    "finetune": finetune,
    "export-mesh": export_mesh,
    "export-weights": export_weights,
    "evaluate": evaluate,
}


def main(args: Sequence[str] | None = None) -> None:
    command.run(Experiment.command_line, "att3d", VERBS, args, **Experiment.classes)


if __name__ == "__main__":
    main()
