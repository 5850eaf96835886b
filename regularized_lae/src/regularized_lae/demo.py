"""The paper's claim on a laptop: components recovered, eventually; then by the rotation augmented gradient."""

from __future__ import annotations

import shlex
import time
from collections.abc import Sequence
from pathlib import Path

from . import figures
from .claims import claims_table, exit_status, write_claims
from .evidence import SGD, digits_claims, last, scaling_claims, sklearn_components, subspace_only
from .experiment import Experiment
from .recorder import Record
from .results import save_figure
from .sweep import SweepSettings, best_rate, budget, records_of

ORDER = ("uniform", "nonuniform", "nested", "rag", "rag_balanced", "gha", "eigengame")


def demo(*, out: str = "runs/regularized_lae", seed: int = 0, fast: bool = False, strict: bool = False) -> int:
    """Show the paper's claim end to end: figures, checkpoints of the sweep and claims.json in OUT.

    Args:
        out: Folder for what it makes.
        seed: Shifts all seeds of initial weights.
        fast: Seconds instead of minutes; the numbers then mean nothing.
        strict: Exit with status 1 when a claim does not hold.
    """
    start = time.perf_counter()
    folder = Path(out)
    folder.mkdir(parents=True, exist_ok=True)
    over = ["fast"] if fast else []
    scaling = seeded(["demo", *over], seed)
    records = scaling.finish_all(folder / "cells" / "scaling", "steps against latent size")
    digits = seeded(["digits", *over], seed)
    digit_records = digits.finish_all(folder / "cells" / "digits", "stall and cure on digits")

    claims = [
        subspace_only(digit_records, digits.settings.latents),
        *scaling_claims(records, scaling.settings),
        *digits_claims(digit_records, digits.data),
    ]
    names = save_figures(records, digit_records, scaling, digits, folder)
    command = f"regularized-lae demo --seed {seed}" + " --fast" * fast
    write_claims(folder, "regularized_lae", seed, time.perf_counter() - start, fast, command, claims, names)
    print(steps_table(records, scaling.settings))
    print(claims_table(claims, fast))
    print(f"figures and claims.json: {shlex.quote(str(folder))}")
    return exit_status(claims, strict)


def seeded(configs: Sequence[str], seed: int) -> Experiment:
    """The experiment with its seeds of initial weights shifted by `seed`."""
    experiment = Experiment(configs)
    if seed:
        shifted = [s + 1000 * seed for s in experiment.model.hparams.seeds]
        experiment = Experiment(configs, [f"--model.init_args.seeds={shifted}"])
    return experiment


def best_runs(
    records: Sequence[Record], k: int, thresholds: Sequence[float], methods: Sequence[str]
) -> dict[str, Record]:
    """One run of each method at its best SGD rate: to the tightest threshold it met, else the one that came closest."""
    chosen = {}
    for method in methods:
        bests = [best_rate(records, method, k, t, SGD) for t in sorted(thresholds)]
        best = next((b for b in bests if b), None)
        if best:
            chosen[method] = records_of(records, method, k, best.optimizer, best.rate)[0]
            continue
        runs = [
            r
            for r in records
            if r.run.method == method and r.latents == k and r.run.optimizer in SGD and r.diverged_at is None
        ]
        if runs:
            chosen[method] = min(runs, key=lambda r: last(r.subspace if method == "uniform" else r.alignment))
    return chosen


def save_figures(
    records: Sequence[Record], digit_records: Sequence[Record], scaling: Experiment, digits: Experiment, folder: Path
) -> list[str]:
    """All figures as PNG files in `folder`; their names in the order of the story."""
    settings = scaling.settings
    k, latents = max(settings.latents), list(settings.latents)
    lae = [m for m in ORDER if m not in settings.references]
    eigenvalues = scaling.data.truth.eigenvalues
    widest = [r for r in digit_records if r.latents == max(digits.settings.latents)]
    decoders = {figures.NAMES[m]: r.decoder for m, r in stalled_runs(widest).items()}
    decoders = {**decoders, "scikit-learn PCA": sklearn_components(digits.data, max(digits.settings.latents))}
    drawn = {
        "steps.png": figures.steps_figure(records, latents, ORDER, settings.thresholds[1], budget(records)),
        "curves.png": figures.curves_figure(best_runs(records, k, settings.thresholds, lae)),
        "condition.png": figures.condition_figure(eigenvalues, sorted({2, 5, 10, 20, 40, 60} | set(latents))),
        "stall.png": figures.stall_figure(digit_records),
        "digits.png": figures.decoder_figure(decoders, digits.data.image_shape),
    }
    for name, figure in drawn.items():
        save_figure(folder / name, figure)
    return list(drawn)


def stalled_runs(records: Sequence[Record]) -> dict[str, Record]:
    """The first seed of each method at the largest rate at which it did not diverge."""
    chosen = {}
    for method in ORDER:
        runs = [r for r in records if r.run.method == method and r.diverged_at is None]
        if runs:
            chosen[method] = max(runs, key=lambda r: (r.run.rate, -r.run.seed))
    return chosen


def steps_table(records: Sequence[Record], settings: SweepSettings) -> str:
    """Steps to each threshold at the best rate, per k and method; ! marks a rate on the edge of the grid."""
    limit = budget(records)
    heading = "k".rjust(4) + "  method".ljust(18) + "".join(f"to {t:g}".ljust(26) for t in settings.thresholds)
    lines = [heading]
    for k in settings.latents:
        for method in ORDER:
            if any(r.run.method == method and r.latents == k for r in records):
                row = [
                    figures.best_label(best_rate(records, method, k, t), limit).ljust(26) for t in settings.thresholds
                ]
                lines.append(f"{k:4d}  {figures.NAMES[method]:16s}{''.join(row)}")
    return "\n".join(lines)
