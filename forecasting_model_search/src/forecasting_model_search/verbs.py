"""The command line's own verbs: hubs, replays, live searches, forecasts, transfer between hubs, and reports of
studies."""

from __future__ import annotations

import multiprocessing
import time
from pathlib import Path

import numpy as np
import optuna
import torch

from . import figures
from .baselines import to_optuna
from .claims import claims_table
from .configured import one_thread, one_thread_each
from .curve_hubs import read_taskset
from .data import read_digits_folder
from .demo import all_claims, all_figures, all_tables
from .digits import HubSettings, ZooSettings, digits_hub
from .engines.optuna import SLICE, FMSSampler, open_storage
from .experiment import Experiment, transfers
from .fitting import FitSettings
from .hub import ModelHub
from .live import DigitsTask, race
from .methods import ENCODERS, SurrogateSettings
from .official_hub import write_hub
from .replay import LABELS, ReplaySettings, make_searcher, replay
from .results import read_json, save_figure, whole
from .search import ForecastingModelSearch
from .study import replay_record
from .tables import replay_table


def open_hub(source: str) -> ModelHub:
    """`digits:SEED` is built; a folder is what build-hub wrote, in either layout; a JSON file is a task of TaskSet.

    Raises:
        ValueError: it is none of these.
    """
    if source.startswith("digits:"):
        seed = source.removeprefix("digits:")
        if not seed.isdigit():
            raise ValueError(f"expected digits:SEED with a number, got {source!r}")
        return digits_hub(int(seed))
    path = Path(source)
    if path.is_file():
        return read_taskset(path)
    if not path.is_dir():
        raise ValueError(
            f"{source}: no such hub; give digits:SEED, a folder that build-hub wrote, or a TaskSet JSON file"
        )
    return read_digits_folder(source, "simple" if (path / "results_0.json").is_file() else "pretrained")


def build_hub(
    *,
    out: str = "runs/forecasting_model_search-hub",
    seed: int = 0,
    networks: int = 120,
    architectures: tuple[str, ...] = ("mlp",),
    configs: int = 240,
    epochs: int = 20,
    layout: str = "simple",
) -> int:
    """Train a zoo on digits, fine-tune it, and write the hub to a folder in one of the reference's layouts.

    Args:
        out: Folder for the hub.
        seed: Of the split, the zoo and the configurations.
        networks: Networks of each architecture in the zoo.
        architectures: Any of mlp, cnn, deepset.
        configs: Fine-tunings.
        epochs: Of each.
        layout: simple or pretrained.
    """
    with one_thread():
        hub = digits_hub(seed, ZooSettings(networks, tuple(architectures)), HubSettings(configs, epochs))
    write_hub(hub, out, layout)
    finals = np.nanquantile(hub.curves[:, -1], [0.1, 0.5, 0.9, 1])
    print(f"{len(hub)} configurations, {hub.epochs} epochs: {out}")
    print("final accuracy, 10 %, median, 90 %, best: " + ", ".join(f"{v:.3f}" for v in finals))
    return 0


def replay_hub(
    hub: str,
    *,
    methods: tuple[str, ...] = ("random", "asha", "none", "stat", "gmn"),
    budget: int = 100,
    seeds: int = 3,
    out: str | None = None,
) -> int:
    """Replay searches on a hub and print their regret.

    Args:
        hub: digits:SEED, a folder that build-hub wrote, or a TaskSet JSON file.
        methods: Encoders (none is DyHPO) and baselines: random, asha, gp-ei, tpe, optuna-gp.
        budget: Epochs.
        seeds: Replays of each method.
        out: Folder for regret.png, nothing is drawn if it is not given.
    """
    if unknown := set(methods) - set(LABELS):
        raise ValueError(f"unknown methods {', '.join(sorted(unknown))}, choose from {', '.join(LABELS)}")
    opened = open_hub(hub)
    records = []
    for method in methods:
        for seed in range(seeds):
            with one_thread():
                records.append(replay_record(opened, method, ReplaySettings(budget), seed, SurrogateSettings()))
    print(replay_table(records, (10, 25, 50, budget) if budget > 50 else (budget // 2, budget)))
    if out:
        Path(out).mkdir(parents=True, exist_ok=True)
        save_figure(Path(out) / "regret.png", figures.regret_figure(records, "seeds"))
    return 0


def live(
    *,
    out: str = "runs/forecasting_model_search-live",
    encoder: str = "gmn",
    budget: int = 60,
    max_epochs: int = 20,
    networks: int = 120,
    seed: int = 0,
    storage: str | None = None,
    workers: int = 1,
) -> int:
    """Search live: fine-tune networks of a zoo on digits, stopping and resuming; a search that was stopped goes on.

    Args:
        out: Folder for the checkpoints and the state of the search.
        encoder: none, flat, stat, nfn or gmn.
        budget: Epochs in all.
        max_epochs: Of one configuration.
        networks: Of the zoo to start from.
        seed: Of the zoo, the data and the search.
        storage: URL of an Optuna storage (sqlite:///FILE, postgresql://..., journal:///FILE) that workers share; with
            several workers sqlite:///OUT/study.db if not given.
        workers: Processes on this machine; others may join from elsewhere by the same storage and folder.
    """
    if workers < 1:
        raise ValueError(f"workers must be at least 1, got {workers}")
    folder = Path(out)
    folder.mkdir(parents=True, exist_ok=True)
    if storage or workers > 1:
        return live_on_storage(folder, storage, encoder, budget, max_epochs, networks, seed, workers)
    task = DigitsTask(seed, networks)
    store = task.store(folder / "checkpoints")
    searcher = ForecastingModelSearch(
        task.space,
        max_epochs,
        budget,
        seed=seed,
        checkpoints=store,
        start=task.start,
        surrogate=SurrogateSettings(encoder),
        fitting=FitSettings(100, 5e-3, 64, 24),
    )

    def show(config_id, done) -> None:
        print(
            f"{searcher.spent:4d} of {budget}: configuration {config_id}, epoch {done.epoch}: {done.score:.3f}",
            flush=True,
        )

    with one_thread():
        race(task, searcher, store, folder / "search.pt", show)
    params, epoch, score = searcher.best()
    print(f"best {score:.3f} after {epoch} epochs of {params}")
    return 0


def live_on_storage(folder, storage, encoder, budget, max_epochs, networks, seed, workers) -> int:
    """Several processes on one Optuna storage."""
    url = storage or f"sqlite:///{folder / 'study.db'}"
    study = optuna.create_study(study_name="fms", storage=open_storage(url), direction="maximize", load_if_exists=True)
    arguments = (url, str(folder / "checkpoints"), encoder, budget, max_epochs, networks, seed)
    context = multiprocessing.get_context("spawn")
    with one_thread_each():
        processes = [context.Process(target=work, args=(*arguments, k)) for k in range(workers)]
        for process in processes:
            process.start()
    for process in processes:
        process.join()
    failed = [process.exitcode for process in processes if process.exitcode]
    trials = [t for t in study.trials if t.user_attrs.get(SLICE)]
    told = sum(len(t.intermediate_values) for t in trials)
    best = max(trials, key=lambda t: max(t.intermediate_values.values(), default=-1.0))
    print(f"{told} of {budget} epochs in {len(trials)} slices by {workers} workers: {url}")
    if best.intermediate_values:
        epoch = max(best.intermediate_values, key=best.intermediate_values.get)
        print(f"best {best.intermediate_values[epoch]:.3f} after {epoch} epochs of {best.user_attrs[SLICE][3]}")
    return int(bool(failed))


def work(url, checkpoints, encoder, budget, max_epochs, networks, seed, worker) -> None:
    """One process of a live search."""
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    task = DigitsTask(seed, networks)
    sampler = FMSSampler(
        to_optuna(task.space),
        max_epochs,
        budget,
        task.store(checkpoints),
        hidden=("start",),
        seed=seed + 1000 * worker,
        start=task.start,
        surrogate=SurrogateSettings(encoder),
        fitting=FitSettings(100, 5e-3, 64, 24),
    )
    study = optuna.load_study(study_name="fms", storage=open_storage(url), sampler=sampler)

    def objective(trial: optuna.Trial) -> float:
        todo = sampler.slice(trial)
        for done in task.train(todo.params, todo.from_epoch, todo.to_epoch, todo.state):
            todo.report(done.epoch, done.score, done.state)
        return done.score

    study.optimize(objective)


def forecast(
    hub: str,
    *,
    encoder: str = "gmn",
    budget: int = 50,
    epoch: int = 0,
    top: int = 10,
    seed: int = 0,
    out: str | None = None,
) -> int:
    """Spend a budget on a hub, then predict how every configuration would end: mean, standard deviation, rank.

    Args:
        hub: See replay.
        encoder: none, flat, stat, nfn or gmn.
        budget: Epochs to spend before.
        epoch: Which epoch to predict, the last if 0.
        top: Rows to print.
        seed: Of the search.
        out: CSV file for all rows, nothing is written if it is not given.
    """
    if encoder not in ENCODERS:
        raise ValueError(f"unknown encoder {encoder!r}, choose from {', '.join(ENCODERS)}")
    opened = open_hub(hub)
    if not 0 <= epoch <= opened.epochs:
        raise ValueError(f"{hub} has {opened.epochs} epochs, got epoch {epoch}")
    searcher = make_searcher(encoder, opened, ReplaySettings(budget), seed)
    with one_thread():
        replay(opened, searcher)
        table = searcher.forecast(epoch or None).sort_values("rank")
    table.insert(0, "epochs", [searcher.history.reached(i) for i in table.index])
    print(table.head(top).round(4).to_string())
    if out:
        with whole(out) as temporary:
            table.to_csv(temporary)
    return 0


def transfer(
    source: str,
    target: str,
    *,
    encoder: str = "gmn",
    cycles: int = 1,
    budget: int = 50,
    seed: int = 0,
    out: str | None = None,
) -> int:
    """Carry a surrogate from one hub to another: searches on SOURCE make it stronger, then it searches TARGET.

    Args:
        source: Hub that it is fitted on, see replay.
        target: Hub that it then searches, with and without what it learned.
        encoder: none, flat, stat or gmn; hubs of other architectures need stat or gmn.
        cycles: Searches on SOURCE, each starting with the surrogate of the last.
        budget: Epochs of every search.
        seed: Of the searches.
        out: File for the parameters of the surrogate, such as surrogate.pt, nothing is written if it is not given.
    """
    first, second = open_hub(source), open_hub(target)
    settings = ReplaySettings(budget)
    pretrained = None
    with one_thread():
        for cycle in range(cycles):
            searcher = make_searcher(encoder, first, settings, seed + cycle, pretrained=pretrained)
            replay(first, searcher)
            searcher.forecast()
            pretrained = searcher.parameters()
        carried = replay_record(second, encoder, settings, seed, SurrogateSettings(), pretrained=pretrained)
        alone = replay_record(second, encoder, settings, seed, SurrogateSettings())
    for name, record in (("with what it learned", carried), ("from nothing", alone)):
        print(f"regret on {target} after {budget // 2} and {budget} epochs, {name}: "
              f"{record['regret'][budget // 2 - 1]:.4f}, {record['regret'][-1]:.4f}")  # fmt: skip
    if out:
        with whole(out) as temporary:
            torch.save(pretrained, temporary)
    return 0


def report(runs_dir: str, *, experiment: str | None = None, configs: str = "demo", out: str | None = None) -> int:
    """Tables, claims and figures again, from the records that demo or reproduce left in RUNS_DIR.

    Args:
        runs_dir: Folder with cells/.
        experiment: Which of reproduce's experiments in it, such as replay; needed where there are several.
        configs: Those that made them, names or paths with commas between, such as demo,reproduce.
        out: Folder for the figures, RUNS_DIR if not given.
    """
    start = time.perf_counter()
    cells = Path(runs_dir) / "cells"
    if not cells.is_dir():
        raise ValueError(f"{cells}: no such folder; demo and reproduce leave their records there")
    settings = Experiment(configs.split(","))
    records = stored_records(records_folder(cells, experiment))
    print(all_tables(records))
    print(claims_table(all_claims(records, settings)))
    folder = Path(out or runs_dir)
    folder.mkdir(parents=True, exist_ok=True)
    for name, figure in all_figures(records, settings).items():
        save_figure(folder / name, figure)
    print(f"figures: {folder} ({time.perf_counter() - start:.0f} s)")
    return 0


KINDS = ("forecast", "replay", "live")


def records_folder(cells: Path, experiment: str | None) -> Path:
    """Where the records of one experiment are: a demo's in CELLS itself, those of `reproduce NAME` in CELLS/NAME.

    Raises:
        ValueError: there is no such experiment, or there are several and none is named.
    """
    below = sorted({path.parts[-3] for kind in KINDS for path in cells.glob(f"*/{kind}/*.json")})
    if experiment is not None:
        if experiment not in below:
            raise ValueError(f"{cells}: unknown experiment {experiment!r}, choose from {', '.join(below) or 'none'}")
        return cells / experiment
    if not below or any(path for kind in KINDS for path in cells.glob(f"{kind}/*.json")):
        return cells
    if len(below) > 1:
        raise ValueError(f"{cells} has records of several experiments: name one by --experiment, {', '.join(below)}")
    return cells / below[0]


def stored_records(folder: Path) -> dict[str, list[dict]]:
    """The records in FOLDER/forecast, FOLDER/replay and FOLDER/live, by kind.

    Raises:
        ValueError: there are none, or a file is not a record.
    """
    found: dict[str, list[dict]] = {kind: [] for kind in KINDS}
    for kind, records in found.items():
        for path in sorted((folder / kind).glob("*.json")):
            try:
                records.append(dict(read_json(path)["made"]))
            except (LookupError, TypeError) as error:
                raise ValueError(f"{path}: not a record of a study") from error
        records.sort(key=lambda r: r.get("seed", 0))
    if not any(found.values()):
        raise ValueError(f"{folder}: no records of a study")
    return found | {"transfer": transfers(found["forecast"])}
