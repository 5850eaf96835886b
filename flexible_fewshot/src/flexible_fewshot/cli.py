"""The command `flexible-fewshot`."""

from __future__ import annotations

from collections.abc import Sequence

from . import command
from .demo import demo
from .experiment import Experiment
from .reproduce import reproduce
from .verbs import episodes, evaluate, extract, finetune, study, toy, transferability

VERBS = {
    "demo": demo,
    "reproduce": reproduce,
    "finetune": finetune,
    "extract": extract,
    "episodes": episodes,
    "evaluate": evaluate,
    "transferability": transferability,
    "toy": toy,
    "study": study,
}


def main(args: Sequence[str] | None = None) -> None:
    command.run(Experiment.command_line, "flexible-fewshot", VERBS, args, **Experiment.classes)


if __name__ == "__main__":
    main()
