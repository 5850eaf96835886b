"""FMS as a Ray Tune scheduler: trials are configurations that are paused after every slice and go on when they are
chosen.

Tune asks `choose_trial_to_run` several times for one result, and a chosen paused trial is pending before it runs. So
what is to run is decided once a result, from the searcher's own records, and only looked up when Tune asks. Tune also
starts every pending trial for which there is room, wanted or not; so `FMSTrials` makes a trial only when its
configuration is to be started.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from ray import tune
from ray.tune.experiment import Trial
from ray.tune.schedulers import TrialScheduler
from ray.tune.search import Searcher

from ..checkpoints import CheckpointStore
from ..search import ForecastingModelSearch

ID, EPOCH = "fms_config_id", "fms_epoch"  # of a configuration, among hyperparameters and results of its trial


class FMSScheduler(TrialScheduler):
    """Decides which paused or new trial runs next; goes with `FMSTrials`, which makes the trials.

    Args:
        searcher: decides. metric: of the results, its score. workers: trials that run at once. retries: how often a
            configuration whose worker died may try again.
    """

    def __init__(self, searcher: ForecastingModelSearch, metric: str = "score", workers: int = 1, retries: int = 2):
        super().__init__()
        self.retries, self.deaths = retries, {}
        self.searcher, self._metric, self.workers = searcher, metric, workers
        self.trials: dict[int, Trial] = {}
        self.running: dict[int, int] = {}  # configuration -> last epoch of its slice
        self.done = False

    @property
    def metric(self) -> str:
        return self._metric

    def set_search_properties(self, metric, mode, **spec) -> bool:
        return True

    def on_trial_add(self, tune_controller, trial: Trial) -> None:
        if ID not in trial.config:
            raise ValueError(
                f"the trial {trial} has no {ID!r} among its hyperparameters: its trials come from FMSTrials"
            )
        self.trials[int(trial.config[ID])] = trial

    def on_trial_result(self, tune_controller, trial: Trial, result: Mapping[str, Any]) -> str:
        config_id, epoch = int(trial.config[ID]), int(result[EPOCH])
        self.searcher.tell(config_id, epoch, float(result[self._metric]))
        if config_id in self.searcher.pending:
            return self.CONTINUE  # in the middle of its slice
        self.running.pop(config_id, None)
        self._decide()
        if config_id in self.running:
            return self.CONTINUE
        finished = epoch >= self.searcher.history.max_epochs or self.searcher.history.diverged(config_id)
        return self.STOP if finished or self.done else self.PAUSE

    def on_trial_error(self, tune_controller, trial: Trial) -> None:
        """Its worker died: what it told stays; chosen again, its configuration goes on in a new trial.

        One that kills its workers again and again has diverged: the epoch that it never finished counts.
        """
        config_id = int(trial.config[ID])
        self.deaths[config_id] = self.deaths.get(config_id, 0) + 1
        if self.deaths[config_id] > self.retries and config_id in self.searcher.pending:
            self.searcher.tell(config_id, self.searcher.history.reached(config_id) + 1, math.nan)
        self._free(trial)
        self.trials.pop(config_id, None)

    def on_trial_complete(self, tune_controller, trial: Trial, result) -> None:
        self._free(trial)

    def on_trial_remove(self, tune_controller, trial: Trial) -> None:
        self._free(trial)

    def new_configuration(self) -> int | None:
        """One that is to be started and has no trial yet."""
        self._decide()
        return next((i for i in self.running if i not in self.trials), None)

    def choose_trial_to_run(self, tune_controller) -> Trial | None:
        self._decide()
        for config_id in self.running:
            trial = self.trials.get(config_id)
            if trial is not None and trial.status in (Trial.PENDING, Trial.PAUSED):
                return trial
        return None

    def debug_string(self) -> str:
        return f"FMS: {self.searcher.spent} of {self.searcher.budget} epochs"

    def _decide(self) -> None:
        """Ask until all workers have something to do. Asks again only when a result made room."""
        while len(self.running) < self.workers and not self.done:
            suggestion = self.searcher.ask()
            if suggestion is None:
                self.done = not self.running
                return
            self.running[suggestion.config_id] = suggestion.to_epoch

    def _free(self, trial: Trial) -> None:
        config_id = int(trial.config[ID])
        self.running.pop(config_id, None)
        self.searcher.release(config_id)


class SpentStopper(tune.Stopper):
    """Ends the whole run when the scheduler has nothing more to do: else paused trials would wait forever."""

    def __init__(self, scheduler: FMSScheduler):
        self.scheduler = scheduler

    def __call__(self, trial_id, result) -> bool:
        return False

    def stop_all(self) -> bool:
        return self.scheduler.done


class FMSTrainable(tune.Trainable):
    """A training of one epoch a step, that Tune pauses and resumes; for any `Task` of `forecasting_model_search.live`.

    Hyperparameters beside the task's own: `fms_config_id`, `fms_epoch` to go on from; `task` and `store` come by
    `tune.with_parameters`.
    """

    def setup(self, config: dict[str, Any], task: Any = None, store: CheckpointStore | None = None) -> None:
        if task is None or store is None:
            raise ValueError("give the task and the store: tune.with_parameters(FMSTrainable, task=..., store=...)")
        self.task, self.store = task, store
        self.reset_config(config)

    def reset_config(self, new_config: dict[str, Any]) -> bool:
        """The actor is used again for another configuration."""
        self.config_id = int(new_config[ID])
        self.params = {k: v for k, v in new_config.items() if k not in (ID, EPOCH)}
        self.epoch = int(new_config.get(EPOCH, 0))
        return True

    def step(self) -> dict[str, Any]:
        state = self.store.state(self.config_id, self.epoch) if self.epoch else None
        (done,) = self.task.train(self.params, self.epoch, self.epoch + 1, state)
        self.store.put(self.config_id, done.epoch, done.state)
        self.epoch = done.epoch
        return {"score": done.score, ID: self.config_id, EPOCH: self.epoch}

    def save_checkpoint(self, checkpoint_dir: str) -> dict[str, Any]:
        return {"epoch": self.epoch}  # the weights are in the store

    def load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        self.epoch = int(checkpoint["epoch"])


class FMSTrials(Searcher):
    """Makes a trial when, and only when, the scheduler wants to start its configuration."""

    def __init__(self, scheduler: FMSScheduler):
        super().__init__(metric=scheduler.metric, mode="max")
        self.scheduler = scheduler

    def suggest(self, trial_id: str) -> dict[str, Any] | str | None:
        config_id = self.scheduler.new_configuration()
        if config_id is not None:
            searcher = self.scheduler.searcher
            return {ID: config_id, EPOCH: searcher.history.reached(config_id), **searcher.params[config_id]}
        return Searcher.FINISHED if self.scheduler.done else None

    def on_trial_complete(self, trial_id: str, result=None, error: bool = False) -> None:
        """Results reach the searcher through the scheduler."""

    def save(self, checkpoint_path: str) -> None:
        """The searcher's own state is saved by its owner."""

    def restore(self, checkpoint_path: str) -> None:
        """See save."""


def fms_tuner(
    searcher: ForecastingModelSearch,
    task: Any,
    store: CheckpointStore,
    folder: str,
    workers: int = 1,
    name: str = "fms",
) -> tune.Tuner:
    """All of it put together: a Tuner that runs a search over a `Task`; `fit()` starts it.

    Args:
        store: a folder that all workers reach, the searcher's own. folder: where Tune keeps its results.
    """
    scheduler = FMSScheduler(searcher, workers=workers)
    return tune.Tuner(
        tune.with_parameters(FMSTrainable, task=task, store=store),
        tune_config=tune.TuneConfig(
            scheduler=scheduler, search_alg=FMSTrials(scheduler), num_samples=-1, reuse_actors=True
        ),
        run_config=tune.RunConfig(storage_path=folder, name=name, stop=SpentStopper(scheduler), verbose=0),
    )
