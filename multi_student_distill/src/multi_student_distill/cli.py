"""The command `multi-student-distill`."""

from __future__ import annotations

from collections.abc import Sequence

from . import command
from .demo import demo
from .experiment import Experiment
from .reproduce import reproduce
from .verbs import bench, convert, distill, embed, evaluate, export_pipeline, generate, launch, pairs

VERBS = {
    "demo": demo,
    "reproduce": reproduce,
    "distill": distill,
    "launch": launch,
    "pairs": pairs,
    "evaluate": evaluate,
    "bench": bench,
    "export": export_pipeline,
    "generate": generate,
    "convert": convert,
    "embed": embed,
}


def main(args: Sequence[str] | None = None) -> None:
    command.run(Experiment.command_line, "multi-student-distill", VERBS, args, **Experiment.classes)


if __name__ == "__main__":
    main()
