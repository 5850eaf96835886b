"""The command `att3d`."""

from __future__ import annotations

from collections.abc import Sequence

from . import command
from .demo import demo
from .experiment import CLASSES, StudyCommandLine
from .reproduce import reproduce
from .verbs import evaluate, export_mesh, finetune, generate, interpolate

VERBS = {
    "demo": demo,
    "reproduce": reproduce,
    "generate": generate,
    "interpolate": interpolate,
    "finetune": finetune,
    "export-mesh": export_mesh,
    "evaluate": evaluate,
}


def main(args: Sequence[str] | None = None) -> None:
    command.run(StudyCommandLine, "att3d", VERBS, args, **CLASSES)


if __name__ == "__main__":
    main()
