"""Optuna: slices resume, several processes share a storage, and a killed worker loses nothing."""

import os
import signal
import subprocess
import sys
import time

import optuna
import pytest
from optuna.trial import TrialState

from conftest import QUICK
from forecasting_model_search import SurrogateSettings
from forecasting_model_search.baselines import to_optuna
from forecasting_model_search.engines.optuna import SLICE, FMSSampler, open_storage
from forecasting_model_search.live import DigitsTask

WORKER = """
import sys, time, optuna
from forecasting_model_search import FitSettings, SurrogateSettings
from forecasting_model_search.baselines import to_optuna
from forecasting_model_search.engines.optuna import FMSSampler, open_storage
from forecasting_model_search.live import DigitsTask
url, folder, budget, hang, seed = sys.argv[1], sys.argv[2], int(sys.argv[3]), sys.argv[4] == "hang", int(sys.argv[5])
task = DigitsTask(networks=3, zoo_epochs=2)
sampler = FMSSampler(to_optuna(task.space), 4, budget, task.store(folder), hidden=("start",), start=task.start,
seed=seed,
                     surrogate=SurrogateSettings("stat"), fitting=FitSettings(steps=4))
optuna.logging.set_verbosity(optuna.logging.ERROR)
study = optuna.create_study(study_name="fms", storage=open_storage(url, 1, 3), direction="maximize", sampler=sampler,
                            load_if_exists=True)

def objective(trial):
    todo = sampler.slice(trial)
    for done in task.train(todo.params, todo.from_epoch, todo.to_epoch, todo.state):
        todo.report(done.epoch, done.score, done.state)
        if hang and trial.number >= 2:
            print("hanging", flush=True)
            time.sleep(600)
    return done.score

study.optimize(objective)
"""


def sampler_of(task, store, budget, **options):
    return FMSSampler(
        to_optuna(task.space),
        4,
        budget,
        store,
        hidden=("start",),
        **{"start": task.start, "surrogate": SurrogateSettings("stat"), "fitting": QUICK, **options},
    )


@pytest.fixture(scope="module")
def task():
    return DigitsTask(networks=3, zoo_epochs=2)


def told(study):
    """(configuration, epoch, score) of every report of every trial."""
    return [
        (trial.user_attrs[SLICE][0], epoch, score)
        for trial in study.trials
        if trial.user_attrs.get(SLICE)
        for epoch, score in trial.intermediate_values.items()
    ]


def check_epochs(study, task, budget):
    """Each epoch once, in all as many as the budget, and each as if its training had never been stopped."""
    epochs = told(study)
    assert len(epochs) == len({(i, j) for i, j, _ in epochs}) == budget
    params = {t.number: t.params for t in study.trials}
    for config_id in {i for i, _, _ in epochs}:
        own = sorted((j, score) for i, j, score in epochs if i == config_id)
        assert [j for j, _ in own] == list(range(1, len(own) + 1))
        whole = task.train(params[config_id], 0, len(own), None)
        assert [score for _, score in own] == [done.score for done in whole]


def test_a_study_is_a_chain_of_slices_that_go_on_where_others_stopped(task, tmp_path):
    sampler = sampler_of(task, task.store(tmp_path), budget=9)
    study = optuna.create_study(direction="maximize", sampler=sampler)

    def objective(trial):
        todo = sampler.slice(trial)
        for done in task.train(todo.params, todo.from_epoch, todo.to_epoch, todo.state):
            todo.report(done.epoch, done.score, done.state)
        return done.score

    study.optimize(objective, n_trials=30)
    check_epochs(study, task, 9)
    assert study.best_value == max(score for _, _, score in told(study))
    assert [t.state for t in study.trials[-1:]] == [TrialState.PRUNED]  # the one that found the budget spent


def test_losses_are_minimised(tmp_path):
    distributions = {"x": optuna.distributions.FloatDistribution(0, 1)}
    sampler = FMSSampler(distributions, 2, 8, surrogate=SurrogateSettings("none"), fitting=QUICK)
    study = optuna.create_study(direction="minimize", sampler=sampler)

    def objective(trial):
        todo = sampler.slice(trial)
        todo.report(todo.to_epoch, todo.params["x"])
        return todo.params["x"]

    with pytest.raises(ValueError, match="cannot go on without a store"):
        study.optimize(objective, n_trials=30)
    assert sampler.searcher.sign == -1


@pytest.mark.parametrize("kind", ["sqlite", "journal"])
def test_two_processes_share_a_study_and_neither_repeats_nor_overspends(kind, task, tmp_path):
    url = f"{kind}:///{tmp_path}/study.{'db' if kind == 'sqlite' else 'log'}"
    optuna.create_study(study_name="fms", storage=open_storage(url), direction="maximize")
    workers = [start_worker(url, tmp_path, 10, "", seed) for seed in range(2)]
    for worker in workers:
        assert worker.wait(timeout=150) == 0, worker.stderr.read()
    check_epochs(optuna.load_study(study_name="fms", storage=open_storage(url)), task, 10)


def start_worker(url, folder, budget, hang, seed):
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-c", WORKER, url, str(folder / "checkpoints"), str(budget), hang, str(seed)]
    return subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def test_a_killed_worker_loses_no_epoch_that_it_reported_and_none_counts_twice(task, tmp_path):
    url = f"sqlite:///{tmp_path}/study.db"
    optuna.create_study(study_name="fms", storage=open_storage(url, 1, 3), direction="maximize")
    doomed = start_worker(url, tmp_path, 8, "hang", 0)
    assert doomed.stdout.readline() == "hanging\n"
    os.kill(doomed.pid, signal.SIGKILL)
    doomed.wait()
    before = told(optuna.load_study(study_name="fms", storage=open_storage(url)))
    assert len(before) == 3
    time.sleep(4)  # its last sign of life is then older than the grace period
    worker = start_worker(url, tmp_path, 8, "", 1)
    assert worker.wait(timeout=150) == 0, worker.stderr.read()
    study = optuna.load_study(study_name="fms", storage=open_storage(url))
    check_epochs(study, task, 8)
    assert set(before) <= set(told(study))
    assert TrialState.FAIL in {t.state for t in study.trials}


def test_a_trial_that_died_before_it_decided_does_not_hold_up_the_others(task, tmp_path):
    sampler = sampler_of(task, task.store(tmp_path), budget=1, patience=0.2)
    study = optuna.create_study(direction="maximize", sampler=optuna.samplers.RandomSampler())
    study.ask()  # runs, and never decides
    study.sampler = sampler

    def objective(trial):
        todo = sampler.slice(trial)
        (done,) = task.train(todo.params, 0, 1, None)
        todo.report(done.epoch, done.score, done.state)
        return done.score

    study.optimize(objective, n_trials=1)
    assert [t.state for t in study.trials] == [TrialState.FAIL, TrialState.COMPLETE]


def test_storages_and_trials_of_other_kinds_are_refused(task, tmp_path):
    with pytest.raises(ValueError, match="expected a URL"):
        open_storage("study.db")
    study = optuna.create_study()
    with pytest.raises(ValueError, match="has no slice"):
        sampler_of(task, None, 3, surrogate=SurrogateSettings("none")).slice(study.ask())
