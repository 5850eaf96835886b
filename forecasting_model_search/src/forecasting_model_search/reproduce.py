"""The experiments of the README: more seeds and all baselines, with the demo's classes and loop."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path

from .claims import Claim, claims_table
from .demo import all_claims, all_figures
from .experiment import Experiment
from .results import save_figure, write_result
from .tables import forecast_table, replay_table, tau_table

ONLY = {"forecast": "forecast_seeds", "replay": "replay_seeds"}


def reproduce(
    experiment: str = "all",
    *,
    out: str = "runs/forecasting_model_search-reproduce",
    taskset: str | None = None,
    workers: int = 2,
) -> int:
    """Measure what the README quotes; a run that was stopped goes on where it was.

    Args:
        experiment: forecast (with transfer), replay, narrow, hard, taskset, or all of them (taskset only with its
            file).
        out: Folder for results and figures.
        taskset: JSON file of a TaskSet task.
        workers: Processes.
    """
    chosen = [name for name in EXPERIMENTS if name != "taskset" or taskset] if experiment == "all" else [experiment]
    for name in chosen:
        if name not in EXPERIMENTS:
            raise ValueError(f"unknown experiment {name!r}, choose from all, {', '.join(EXPERIMENTS)}")
    if "taskset" in chosen and not taskset:
        raise ValueError("taskset needs a file: --taskset FILE.json")
    if "taskset" in chosen and not Path(taskset).is_file():
        raise FileNotFoundError(f"{taskset}: no such file")
    Path(out).mkdir(parents=True, exist_ok=True)
    for name in chosen:
        EXPERIMENTS[name](Path(out), taskset, workers)
    return 0


def part(kind: str) -> Callable[[Path, str | None, int], None]:
    """One kind of records of the config `reproduce`."""

    def run(out: Path, _: str | None, workers: int) -> None:
        changed = {f"study.{seeds}": [] for other, seeds in ONLY.items() if other != kind}
        experiment = Experiment(["demo", "reproduce"]).with_settings(changed | {"study.workers": workers})
        measure(out, kind, experiment, f"forecasting-model-search reproduce {kind}")

    return run


def narrow(out: Path, _: str | None, workers: int) -> None:
    """Forecasts with curves read through DyHPO's four channels."""
    experiment = Experiment(["demo", "reproduce_narrow"]).with_settings({"study.workers": workers})
    measure(out, "narrow", experiment, "forecasting-model-search reproduce narrow")


def hard(out: Path, _: str | None, workers: int) -> None:
    """A harder hub: 500 configurations, 500 networks in the zoo."""
    experiment = Experiment(["demo", "reproduce_hard"]).with_settings({"study.workers": workers})
    measure(out, "hard", experiment, "forecasting-model-search reproduce hard")


def taskset(out: Path, path: str | None, workers: int) -> None:
    """Curves alone: DyHPO's surrogate and the baselines on a task of TaskSet."""
    changed = {"data.init_args.path": path, "study.workers": workers}
    experiment = Experiment(["taskset"]).with_settings(changed)
    measure(out, "taskset", experiment, "forecasting-model-search reproduce taskset --taskset FILE.json")


EXPERIMENTS: dict[str, Callable[[Path, str | None, int], None]] = {
    "forecast": part("forecast"),
    "replay": part("replay"),
    "narrow": narrow,
    "hard": hard,
    "taskset": taskset,
}


def measure(out: Path, name: str, experiment: Experiment, command: str) -> None:
    """All records, NAME.json with numbers and claims, and figures."""
    records = experiment.finish_all(out / "cells" / name, name)
    claims = all_claims(records, experiment)
    tables = {}
    for kind in ("forecast", "transfer"):
        if records[kind]:
            tables[kind] = forecast_table(records[kind])
    if records["replay"]:
        tables |= {"replay": replay_table(records["replay"]), "tau": tau_table(records["replay"])}
    write(out, name, experiment, command, claims, records, tables)
    for file, figure in all_figures(records, experiment).items():
        save_figure(out / f"{name}_{file}" if name != Path(file).stem else out / file, figure)
    print("\n\n".join(tables.values()))
    print(claims_table(claims))


def write(
    out: Path,
    name: str,
    experiment: Experiment,
    command: str,
    claims: Sequence[Claim],
    records: dict[str, list[dict]],
    tables: dict[str, str],
) -> None:
    """`out`/NAME.json with the command, the versions, the settings, the records and the claims."""
    slim = {kind: [thin(r) for r in rows] for kind, rows in records.items() if rows}
    settings = experiment.described() | {"study": asdict(experiment.settings)}
    if "path" in settings["data"].get("init_args", {}):
        settings["data"]["init_args"]["path"] = Path(settings["data"]["init_args"]["path"]).name
    measured = {"settings": settings, "tables": tables, "records": slim}
    write_result(out / f"{name}.json", command, claims, ("gpytorch", "optuna"), **measured)


def thin(record: dict) -> dict:
    """Without predictions and embeddings; regret to four digits."""
    kept = {k: v for k, v in record.items() if k not in ("predicted", "embedding")}
    if "regret" in kept:
        kept["regret"] = [round(v, 4) for v in kept["regret"]]
    return {k: round(v, 4) if isinstance(v, float) else v for k, v in kept.items()}
