"""The verb for one's own data: a sweep of the whole protocol. It returns an exit status."""

from __future__ import annotations

import shlex
from pathlib import Path

from .reproduce import write_sweep


def sweep(
    config: str, *, overrides: list[str] | None = None, out: str = "runs/regularized_lae-sweep"
) -> int:  # fmt: skip
    """Sweep latent sizes, optimizers and rates on the data of CONFIG, as its `sweep` section says.

    Args:
        config: Name of a packaged config (demo, digits, synthetic ...) or a path. A sweep that was stopped goes on
            where it was.
        overrides: Settings over the config, such as data.init_args.path=samples.npy.
        out: Folder for the table (JSON) and the figures.
    """
    settings = [f"--{override.removeprefix('--')}" for override in overrides or []]
    command = f"regularized-lae sweep {config}"
    write_sweep(Path(out), "sweep", [config], command, settings)
    print(f"sweep.json and figures: {shlex.quote(out)}")
    return 0
