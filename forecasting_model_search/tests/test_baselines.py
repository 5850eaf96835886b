"""The baselines spend the same budget on the same pool, by their own rules."""

import numpy as np
import optuna
import pytest

from conftest import small_hub
from forecasting_model_search import SurrogateSettings, regret, replay
from forecasting_model_search.baselines import ASHA, GPEI, OptunaSearch, RandomSearch
from forecasting_model_search.replay import LABELS, ReplaySettings, make_searcher
from forecasting_model_search.study import replay_record

METHODS = ["random", "asha", "gp-ei", "tpe", "optuna-gp", "none"]
QUICK = ReplaySettings(budget=17, steps=3)


@pytest.mark.parametrize("method", METHODS)
def test_every_method_spends_the_budget_to_the_epoch_and_repeats_none(method):
    hub = small_hub()
    trace = replay(hub, make_searcher(method, hub, QUICK, 0))
    assert len(trace.scores) == 17 == len(set(zip(trace.configs, trace.epochs, strict=True)))
    assert max(trace.epochs) <= hub.epochs
    assert (np.diff(trace.regret(hub.best())) <= 0).all()


@pytest.mark.parametrize("method", METHODS)
def test_diverged_runs_are_left_by_every_method(method):
    hub = small_hub()
    hub.curves[::2, 2:] = np.nan
    hub.curves[1] = np.nan
    trace = replay(hub, make_searcher(method, hub, ReplaySettings(budget=60, steps=2), 1))
    for config_id in set(trace.configs):
        own = [s for i, s in zip(trace.configs, trace.scores, strict=True) if i == config_id]
        assert np.isfinite(own[:-1]).all()  # nothing follows a score that is not finite


@pytest.mark.parametrize("method", METHODS)
def test_a_replay_is_the_same_again(method):
    hub = small_hub()
    first, second = (replay(hub, make_searcher(method, hub, QUICK, 3)) for _ in range(2))
    assert first == second


def test_until_something_finite_was_seen_regret_is_that_of_the_worst():
    hub = small_hub(4, 3, weights=False)
    hub.curves[:] = np.where(np.arange(4)[:, None] < 3, np.nan, hub.curves)
    record = replay_record(hub, "random", ReplaySettings(budget=6), 0, SurrogateSettings("none"))
    assert record["regret"][0] <= hub.best() - np.nanmin(hub.curves) and record["regret"][-1] == 0


def common(hub, budget=30):
    return {"space": hub.space, "max_epochs": hub.epochs, "budget": budget, "pool": hub.params_list()}


def test_random_search_trains_one_after_the_other_to_the_end():
    hub = small_hub()
    trace = replay(hub, RandomSearch(**common(hub, 12)))
    assert trace.epochs == [1, 2, 3, 4, 5, 1, 2, 3, 4, 5, 1, 2]


def test_asha_promotes_the_better_half_of_a_rung():
    hub = small_hub(configs=8, epochs=4)
    trace = replay(hub, ASHA(**common(hub, 100), rungs=[1, 2, 4]))
    promoted = {i for i, j in zip(trace.configs[:12], trace.epochs[:12], strict=True) if j == 2}
    started = {i for i, j in zip(trace.configs[:12], trace.epochs[:12], strict=True) if j == 1}
    worst = min(started, key=lambda i: hub.curves[i, 0])
    assert promoted and worst not in promoted
    with pytest.raises(ValueError, match="growing rungs from 1 to 4, got"):
        ASHA(**common(hub), rungs=[2, 1])


def test_gp_ei_finds_a_peak_that_random_search_finds_later():
    found = []
    for seed in range(5):
        hub = small_hub(configs=60, epochs=1, seed=seed, weights=False)
        gp = replay(hub, GPEI(**common(hub, 12), seed=seed))
        random = replay(hub, RandomSearch(**common(hub, 12), seed=seed))
        found.append(regret(gp.scores, hub.best())[-1] - regret(random.scores, hub.best())[-1])
    assert np.mean(found) < 0


def test_optuna_proposes_configurations_of_the_pool_and_prunes():
    hub = small_hub(configs=20, epochs=5)
    searcher = OptunaSearch(**common(hub, 40), sampler=optuna.samplers.TPESampler(seed=0))
    replay(hub, searcher)
    states = {t.state for t in searcher.study.trials}
    assert optuna.trial.TrialState.PRUNED in states
    assert len(searcher.history.started) == len(searcher.study.trials)


def test_unknown_methods_empty_pools_and_hubs_that_are_too_short_are_refused():
    hub = small_hub()
    with pytest.raises(ValueError, match="unknown method 'grid', choose from gmn"):
        make_searcher("grid", hub, QUICK, 0)
    with pytest.raises(ValueError, match="at least 1 and a pool, got 5 and 0"):
        RandomSearch(hub.space, 5, 5, [])
    searcher = RandomSearch(hub.space, 9, 30, hub.params_list())
    with pytest.raises(ValueError, match="has 5 epochs, the searcher asked for epoch 9"):
        replay(hub, searcher)
    assert set(METHODS) <= set(LABELS)
