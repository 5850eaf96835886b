"""The paper's claim on a laptop: forecasts with and without weights, replayed searches, a race of real trainings."""

from __future__ import annotations

import shlex
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

from matplotlib.figure import Figure

from . import figures
from .claims import Claim, claims_table, exit_status, write_claims
from .evidence import forecast_claims, live_claims, replay_claims, transfer_claims
from .experiment import Experiment
from .results import save_figure
from .tables import forecast_table, replay_table


def demo(*, out: str = "runs/forecasting_model_search", seed: int = 0, fast: bool = False, strict: bool = False) -> int:
    """Show the paper's claim end to end: forecast table, replay regret, a live race, figures and claims.json in OUT.

    Args:
        out: Folder for what it makes.
        seed: Shifts the seeds of all hubs, surrogates and searches.
        fast: Seconds instead of minutes; the numbers then mean nothing.
        strict: Exit with status 1 when a claim does not hold.
    """
    start = time.perf_counter()
    folder = Path(out)
    folder.mkdir(parents=True, exist_ok=True)
    experiment = seeded(["demo", *["fast"] * fast], seed)
    records = experiment.finish_all(folder / "cells", "hubs searched")
    drawn = all_figures(records, experiment)
    for name, figure in drawn.items():
        save_figure(folder / name, figure)
    claims = all_claims(records, experiment)
    command = f"forecasting-model-search demo --seed {seed}" + " --fast" * fast
    seconds = time.perf_counter() - start
    write_claims(folder, "forecasting_model_search", seed, seconds, fast, command, claims, list(drawn))
    print(all_tables(records))
    print(claims_table(claims, fast))
    print(f"figures and claims.json: {shlex.quote(str(folder))}")
    return exit_status(claims, strict)


def seeded(configs: Sequence[str], seed: int) -> Experiment:
    """The experiment with all its seeds shifted."""
    experiment = Experiment(configs)
    if not seed:
        return experiment
    s = experiment.settings
    names = ("forecast_seeds", "control_seeds", "replay_seeds", "transfer_seeds")
    named = {name: getattr(s, name) for name in names if getattr(s, name) is not None}
    changed = {f"study.{name}": [k + 10_000 * seed for k in seeds] for name, seeds in named.items()}
    return experiment.with_settings(
        changed | {"study.live_seed": s.live_seed + 10_000 * seed, "study.shown": s.shown + 10_000 * seed}
    )


def all_claims(records: Mapping[str, list[dict]], experiment: Experiment) -> list[Claim]:
    """The claims of all kinds of records that there are."""
    claims: list[Claim] = []
    if records["forecast"]:
        claims += forecast_claims(records["forecast"])
    if records["replay"]:
        claims += replay_claims(records["replay"], experiment.data.repeats)
    if records["transfer"]:
        claims += transfer_claims(records["transfer"])
    return claims + live_claims(records["live"])


def all_figures(records: Mapping[str, list[dict]], experiment: Experiment) -> dict[str, Figure]:
    """Name of a file -> figure."""
    drawn = {}
    forecast, replays = records["forecast"], records["replay"]
    if forecast:
        states = [int(key.removeprefix("next/")) for key in forecast[0] if key.startswith("next/")]
        methods = list(dict.fromkeys(r["method"] for r in forecast))
        drawn["forecast.png"] = figures.forecast_figure(forecast, methods, states)
        shown = {r["method"]: r for r in forecast if r["seed"] == experiment.settings.shown and "predicted" in r}
        both = {m: shown[m]["predicted"] for m in ("none", "gmn") if m in shown}
        if both:
            drawn["predictions.png"] = figures.predictions_figure(both)
        embedded = {m: shown[m]["embedding"] for m in ("stat", "gmn") if m in shown}
        if embedded:
            drawn["embedding.png"] = figures.embedding_figure(embedded)
    if replays:
        drawn["regret.png"] = figures.regret_figure(replays, experiment.data.repeats)
        if any(r["tau"] for r in replays):
            drawn["tau.png"] = figures.tau_figure(replays)
    for record in records["live"]:
        drawn["race.png"] = figures.race_figure(record)
    return drawn


def all_tables(records: Mapping[str, list[dict]]) -> str:
    """For the terminal."""
    parts = []
    if records["forecast"]:
        parts.append(forecast_table(records["forecast"]))
    if records["replay"]:
        parts.append(replay_table(records["replay"]))
    return "\n\n".join(parts)
