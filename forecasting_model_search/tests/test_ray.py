"""A real run of Ray Tune: slices are paused and resumed, every epoch counts once, and the budget adds up."""

import os
import sys
from pathlib import Path

import pytest

from conftest import QUICK
from forecasting_model_search import ForecastingModelSearch, SurrogateSettings
from forecasting_model_search.live import DigitsTask

ray = pytest.importorskip("ray", reason="the extra ray is not installed")


@pytest.fixture(scope="module")
def cluster(tmp_path_factory):
    os.environ |= {"RAY_USAGE_STATS_ENABLED": "0", "TUNE_DISABLE_AUTO_CALLBACK_LOGGERS": "1", "OMP_NUM_THREADS": "1"}
    os.environ |= {"RAY_worker_niceness": "0"}  # workers step back by default, and starve on a busy machine
    home, before = tmp_path_factory.mktemp("home"), os.environ.get("HOME", "")
    (home / "ray_bootstrap_config.yaml").write_text("{}\n")  # without it Ray asks the network which cloud this is
    os.environ["HOME"] = str(home)
    ray.init(num_cpus=2, include_dashboard=False, log_to_driver=False, configure_logging=False)
    yield tmp_path_factory.mktemp("ray")
    ray.shutdown()
    os.environ["HOME"] = before


class DyingTask(DigitsTask):
    """The worker that first trains a second epoch is killed."""

    def train(self, params, from_epoch, to_epoch, state=None):
        marker = Path(self.folder) / "died"
        if from_epoch == 1 and not marker.exists():
            marker.touch()
            os._exit(1)
        yield from super().train(params, from_epoch, to_epoch, state)


def test_a_run_of_tune_pauses_resumes_survives_a_killed_worker_and_spends_the_budget(cluster):
    from forecasting_model_search.engines.ray import fms_tuner

    ray.cloudpickle.register_pickle_by_value(sys.modules[__name__])  # workers cannot import this file
    task = DyingTask(networks=3, zoo_epochs=2)
    task.folder = str(cluster)
    store = task.store(cluster / "checkpoints")
    pool = [
        {"start": k, "learning_rate": 0.01 * (k + 1), "momentum": 0.5, "weight_decay": 1e-4, "batch_size": 16}
        for k in range(3)
    ]
    searcher = ForecastingModelSearch(
        task.space,
        4,
        budget=7,
        pool=pool,
        checkpoints=store,
        start=task.start,
        fitting=QUICK,
        surrogate=SurrogateSettings("stat"),
    )
    results = fms_tuner(searcher, task, store, str(cluster)).fit()
    assert len(results.errors) == 1 and (cluster / "died").exists()
    told = searcher.history.state_dict()["told"]
    assert len(told) == len({(i, j) for i, j, _ in told}) == searcher.spent == 7
    assert searcher.ask() is None and searcher.pending == {}
    for config_id, epoch, score in told:  # each is the epoch of a training that was never paused
        *_, last = task.train(pool[config_id], 0, epoch, None)
        assert score == pytest.approx(last.score, abs=1e-6)


def test_a_configuration_that_kills_its_workers_again_and_again_has_diverged(hub):
    from forecasting_model_search.engines.ray import FMSScheduler

    searcher = ForecastingModelSearch(
        hub.space, 5, 4, pool=hub.params_list(), fitting=QUICK, surrogate=SurrogateSettings("none")
    )
    scheduler = FMSScheduler(searcher, retries=1)
    first = scheduler.new_configuration()

    class Doomed:
        def __init__(self):
            self.config, self.status = {"fms_config_id": first}, "ERROR"

    scheduler.on_trial_add(None, Doomed())
    scheduler.on_trial_error(None, Doomed())
    assert searcher.spent == 0 and not searcher.history.diverged(first)
    searcher.take(first, 0, 1)
    scheduler.on_trial_error(None, Doomed())
    assert searcher.spent == 1 and searcher.history.diverged(first)
    assert scheduler.new_configuration() not in (None, first)


def test_a_trial_without_a_number_and_a_trainable_without_a_task_are_refused():
    from ray.tune.experiment import Trial

    from forecasting_model_search.engines.ray import FMSScheduler, FMSTrainable

    class Bare:
        def __init__(self):
            self.config = {"x": 1}

    with pytest.raises(ValueError, match="no 'fms_config_id'"):
        FMSScheduler(None).on_trial_add(None, Bare())
    with pytest.raises(ValueError, match="give the task and the store"):
        FMSTrainable.setup(object.__new__(FMSTrainable), {})
    assert Trial.PAUSED == "PAUSED"
