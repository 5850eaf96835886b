"""Several trainings in one command: Lightning's announcements are for one."""

from __future__ import annotations

import logging
import warnings


def quiet() -> None:
    """Keep Lightning from announcing its devices once for each of several trainings."""
    for name in ("pytorch_lightning", "lightning_fabric", "pytorch_lightning.utilities.rank_zero"):
        logging.getLogger(name).setLevel(logging.ERROR)
    for message in (
        "does not have many workers",
        "barebones",
        "LeafSpec",
        "lr_scheduler.step",
        "ended before the epoch",
    ):
        warnings.filterwarnings("ignore", message=f".*{message}.*")
