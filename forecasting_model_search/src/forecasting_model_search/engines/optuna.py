"""FMS as an Optuna sampler, for one or many processes on one storage.

Optuna's trials cannot resume, so one trial is one slice of a training: some epochs of one configuration. The storage
is the only truth: every process tells its searcher what all trials reported. Decisions are taken in the order of trial
    numbers (a trial waits
until all lower ones that run have decided or failed), so two processes never choose the same slice and the budget adds
up. An epoch counts when it was reported, and its checkpoint is stored before that: what a killed worker reported is
never lost or trained again.
"""

from __future__ import annotations

import time
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import optuna
from optuna.storages import BaseStorage, JournalStorage, RDBStorage, fail_stale_trials
from optuna.storages.journal import JournalFileBackend
from optuna.trial import FrozenTrial, TrialState
from torch import Tensor

from ..checkpoints import CheckpointStore
from ..search import ForecastingModelSearch
from ..space import SearchSpace

SLICE = "fms:slice"
DRAWN_FROM = 1_000_000_000  # candidates that no trial has started yet are numbered from here


def open_storage(url: str, heartbeat: int = 2, grace: int = 6) -> BaseStorage:
    """Where a study is kept: `sqlite:///FILE`, `postgresql://...`, `mysql://...`, or `journal:///FILE`.

    Args:
        heartbeat: seconds between signs of life of a worker (databases only). grace: seconds without one after which
            it is taken for dead and its slice is given to others.
    """
    if url.startswith("journal:///"):
        return JournalStorage(JournalFileBackend(url.removeprefix("journal:///")))
    if "://" not in url:
        raise ValueError(f"expected a URL such as sqlite:///study.db or journal:///study.log, got {url!r}")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)  # of heartbeats
        return RDBStorage(url, heartbeat_interval=heartbeat, grace_period=grace)


def suggest(trial: optuna.Trial, name: str, distribution: optuna.distributions.BaseDistribution) -> Any:
    """The trial's value of a hyperparameter, whatever its kind."""
    if isinstance(distribution, optuna.distributions.CategoricalDistribution):
        return trial.suggest_categorical(name, distribution.choices)
    whole = isinstance(distribution, optuna.distributions.IntDistribution)
    ask = trial.suggest_int if whole else trial.suggest_float
    return ask(name, distribution.low, distribution.high, step=distribution.step, log=distribution.log)


@dataclass(frozen=True)
class Slice:
    """What a trial is to do: train `config_id` from `from_epoch` to `to_epoch`; `state` is what was stored to
    go on from."""

    config_id: int
    params: dict[str, Any]
    from_epoch: int
    to_epoch: int
    state: Mapping[str, Tensor] | None
    _trial: optuna.Trial
    _store: CheckpointStore | None

    def report(self, epoch: int, score: float, state: Mapping[str, Tensor] | None = None) -> None:
        """One epoch is done: its checkpoint is stored, then its score is reported."""
        if state is not None and self._store is not None:
            self._store.put(self.config_id, epoch, state)
        self._trial.report(score, epoch)


class FMSSampler(optuna.samplers.BaseSampler):
    """Chooses for every trial which configuration to train on, or which new one to start.

    Args:
        distributions: the search space, name -> `optuna.distributions`.
        max_epochs, budget: epochs of one configuration, and of all trials together; the study stops when they are
            spent.
        checkpoints: store that all workers share, such as a `FolderStore`; needed for resuming and for encoders of
            weights.
        hidden: hyperparameters that the surrogate does not see, see `SearchSpace`.
        seed: of the candidates that are drawn.
        patience: seconds to wait for a decision of a lower trial before it is taken for dead. options: of
            `ForecastingModelSearch`, such as surrogate, fitting, start, settings.
    """

    def __init__(
        self,
        distributions: Mapping[str, optuna.distributions.BaseDistribution],
        max_epochs: int,
        budget: int,
        checkpoints: CheckpointStore | None = None,
        hidden: Sequence[str] = (),
        seed: int = 0,
        patience: float = 60.0,
        **options: Any,
    ):
        self.distributions, self.checkpoints, self.patience = dict(distributions), checkpoints, patience
        self.arguments = {
            "max_epochs": max_epochs,
            "budget": budget,
            "seed": seed,
            "checkpoints": checkpoints,
            **options,
        }
        self.space = SearchSpace.from_optuna(self.distributions, hidden)
        self.searcher: ForecastingModelSearch | None = None
        self._independent = optuna.samplers.RandomSampler(seed=seed)

    # ── Optuna's side

    def infer_relative_search_space(self, study, trial):
        return self.distributions

    def sample_relative(self, study: optuna.Study, trial: FrozenTrial, search_space) -> dict[str, Any]:
        if self.searcher is None:
            mode = "min" if study.direction == optuna.study.StudyDirection.MINIMIZE else "max"
            self.searcher = ForecastingModelSearch(self.space, mode=mode, **self.arguments)
            self.searcher.next_id = DRAWN_FROM
        self._wait_for_lower(study, trial)
        self._read(study, trial.number)
        suggestion = self.searcher.ask()
        storage, number = study._storage, trial._trial_id
        if suggestion is None:
            storage.set_trial_user_attr(number, SLICE, [])
            study.stop()
            return {}
        config_id = suggestion.config_id
        if config_id >= DRAWN_FROM:  # a new one is named by the trial that starts it
            self.searcher.rename(config_id, trial.number)
            config_id = trial.number
        params = {name: suggestion.params[name] for name in self.distributions}
        storage.set_trial_user_attr(number, SLICE, [config_id, suggestion.from_epoch, suggestion.to_epoch, params])
        return params

    def sample_independent(self, study, trial, param_name, param_distribution):
        return self._independent.sample_independent(study, trial, param_name, param_distribution)

    # ── the objective's side

    def slice(self, trial: optuna.Trial) -> Slice:
        """What this trial is to do; call it first in the objective.

        Raises:
            optuna.TrialPruned: the budget is spent, there is nothing to do.
            ValueError: the trial was not sampled by an FMSSampler.
        """
        params = {name: suggest(trial, name, d) for name, d in self.distributions.items()}  # the decision falls here
        claim = trial.study.get_trials(deepcopy=False)[trial.number].user_attrs.get(SLICE)
        if claim is None:
            raise ValueError(f"trial {trial.number} has no slice: was the study made with this sampler?")
        if not claim:
            raise optuna.TrialPruned("the budget is spent")
        config_id, first, last, _ = claim
        state = None
        if first:
            if self.checkpoints is None:
                raise ValueError("a training cannot go on without a store of checkpoints")
            state = self.checkpoints.state(config_id, first)
        return Slice(config_id, params, first, last, state, trial, self.checkpoints)

    # ── reading the storage

    def _wait_for_lower(self, study: optuna.Study, trial: FrozenTrial) -> None:
        """Until every running trial of a lower number has decided."""
        deadline, storage = time.monotonic() + self.patience, study._storage
        while True:
            if optuna.storages._heartbeat.is_heartbeat_enabled(storage):
                fail_stale_trials(study)
            trials = storage.get_all_trials(study._study_id, deepcopy=False)
            undecided = [
                t
                for t in trials
                if t.number < trial.number and t.state == TrialState.RUNNING and SLICE not in t.user_attrs
            ]
            if not undecided:
                return
            if time.monotonic() > deadline:
                for t in undecided:
                    storage.set_trial_state_values(t._trial_id, TrialState.FAIL)
            time.sleep(0.05)

    def _read(self, study: optuna.Study, before: int) -> None:
        """Tell the searcher what trials of lower numbers have reported, and what they still have to do."""
        searcher, history = self.searcher, self.searcher.history
        searcher.pending.clear()
        trials = study._storage.get_all_trials(study._study_id, deepcopy=False)
        for trial in sorted(trials, key=lambda t: t.number):
            claim = trial.user_attrs.get(SLICE)
            if not claim or trial.number >= before:
                continue
            config_id, first, last, params = claim
            searcher.adopt(params, config_id)
            for epoch, score in sorted(trial.intermediate_values.items()):
                if epoch == history.reached(config_id) + 1 and not history.diverged(config_id):
                    searcher.take(config_id, first, last)
                    searcher.tell(config_id, epoch, score)
            searcher.release(config_id)
            unfinished = history.reached(config_id) < last and not history.diverged(config_id)
            if trial.state == TrialState.RUNNING and unfinished:
                searcher.take(config_id, first, last)
