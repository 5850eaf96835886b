"""The command `forecasting-model-search`."""

from __future__ import annotations

from collections.abc import Sequence

from . import command
from .demo import demo
from .experiment import CLASSES, StudyCommandLine
from .reproduce import reproduce
from .verbs import build_hub, forecast, live, replay_hub, report, transfer

VERBS = {
    "demo": demo,
    "reproduce": reproduce,
    "build-hub": build_hub,
    "replay": replay_hub,
    "live": live,
    "forecast": forecast,
    "transfer": transfer,
    "report": report,
}


def main(args: Sequence[str] | None = None) -> None:
    command.run(StudyCommandLine, "forecasting-model-search", VERBS, args, **CLASSES)


if __name__ == "__main__":
    main()
