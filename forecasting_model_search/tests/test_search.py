"""The searcher: it cannot look ahead, its budget adds up, and it goes on from its state to the same suggestion."""

import math

import numpy as np
import pytest
import torch

from conftest import QUICK, random_state, small_hub, small_mlp
from forecasting_model_search import (
    CheckpointStore,
    Float,
    FolderStore,
    ForecastingModelSearch,
    RefitSchedule,
    SearchSettings,
    SearchSpace,
    SurrogateSettings,
    replay,
)
from forecasting_model_search.history import Row
from forecasting_model_search.rows import RowBuilder, ToldCheckpoints

ENCODERS = ["none", "flat", "stat", "nfn", "gmn"]


def searcher_on(hub, encoder="gmn", budget=12, seed=0, checkpoints="hub", **options):
    return ForecastingModelSearch(
        hub.space,
        hub.epochs,
        budget,
        seed=seed,
        pool=hub.params_list(),
        checkpoints=hub.checkpoints if checkpoints == "hub" else checkpoints,
        **{
            "start": lambda i, _: (None, float(hub.starts[i])),
            "surrogate": SurrogateSettings(encoder, width=4),
            "fitting": QUICK,
            **options,
        },
    )


class PoisonedStore:
    """Refuses every checkpoint that the search has not reached; what comes later is not even there."""

    def __init__(self, store):
        self._store, self.graphs, self.searcher = store, store.graphs, None

    def __contains__(self, place):
        return place[1] <= self.searcher.history.reached(place[0]) if self.searcher else place[1] == 0

    def get(self, config_id, epoch):
        if epoch > self.searcher.history.reached(config_id):
            raise AssertionError(f"looked ahead at {config_id}, epoch {epoch}")
        return self._store.get(config_id, epoch)


def poisoned_replay(hub, encoder, budget):
    """A replay on a hub whose curves are NaN and whose checkpoints are missing until they are reached."""
    store = PoisonedStore(hub.checkpoints)
    searcher = searcher_on(hub, encoder, budget, checkpoints=store)
    store.searcher, asked, shown = searcher, [], np.full_like(hub.curves, np.nan)
    while (suggestion := searcher.ask()) is not None:
        asked.append((suggestion.config_id, suggestion.from_epoch, suggestion.to_epoch))
        for epoch in range(suggestion.from_epoch + 1, suggestion.to_epoch + 1):
            shown[suggestion.config_id, epoch - 1] = hub.curves[suggestion.config_id, epoch - 1]
            searcher.tell(suggestion.config_id, epoch, shown[suggestion.config_id, epoch - 1])
    return asked


@pytest.mark.parametrize("encoder", ENCODERS)
def test_poisoned_futures_change_no_suggestion(hub, encoder):
    trace = replay(hub, searcher_on(hub, encoder))
    asked = poisoned_replay(hub, encoder, 12)
    assert asked == [(i, j - 1, j) for i, j in zip(trace.configs, trace.epochs, strict=True)]


def test_other_futures_change_no_suggestion_until_they_come(hub):
    first = replay(hub, searcher_on(hub, budget=6))
    reached = {(i, j) for i, j in zip(first.configs, first.epochs, strict=True)}
    for i in range(len(hub)):
        for j in range(1, hub.epochs + 1):
            if (i, j) not in reached:
                hub.curves[i, j - 1] = 100.0
                hub.checkpoints.put(i, j, random_state(small_mlp(), 999, 50.0))
    again = replay(hub, searcher_on(hub, budget=6))
    assert (again.configs, again.epochs) == (first.configs, first.epochs)


def test_a_rows_checkpoint_and_curve_are_those_of_its_own_state(hub):
    searcher = searcher_on(hub)
    replay(hub, searcher)
    rows = searcher.history.rows()
    inputs = RowBuilder(searcher._points, hub.epochs, hub.checkpoints).inputs(searcher.history, rows)
    for k, row in enumerate(rows):
        assert inputs.checkpoints[k].key == hub.checkpoints.get(row.config_id, row.epoch - 1).key
        expected = [hub.starts[row.config_id], *hub.curves[row.config_id, : row.epoch - 1]]
        np.testing.assert_allclose(inputs.curves[k, : row.epoch], expected, atol=1e-6)
        assert not inputs.curves[k, row.epoch :].any()
        assert float(inputs.budget[k, 0]) == pytest.approx(row.epoch / hub.epochs)


def test_a_store_of_told_checkpoints_opens_nothing_later(hub):
    searcher = searcher_on(hub, budget=1)
    replay(hub, searcher)
    (config_id,) = searcher.history.started
    told = ToldCheckpoints(hub.checkpoints, searcher.history)
    assert told.get(config_id, 1)
    with pytest.raises(ValueError, match="its checkpoint of epoch 2 is not known yet"):
        told.get(config_id, 2)


@pytest.mark.parametrize("step", [1, 2, 3])
def test_the_budget_adds_up_to_the_epoch(hub, step):
    searcher = searcher_on(hub, "none", budget=17, settings=SearchSettings(initial=2, step=step))
    trace = replay(hub, searcher)
    assert len(trace.scores) == searcher.spent == 17 and max(trace.epochs) <= hub.epochs
    for config_id in set(trace.configs):  # every epoch once and in order
        own = [j for i, j in zip(trace.configs, trace.epochs, strict=True) if i == config_id]
        assert own == list(range(1, len(own) + 1))


def test_a_small_hub_is_exhausted_before_a_large_budget():
    hub = small_hub(configs=3, epochs=2)
    searcher = searcher_on(hub, "stat", budget=100)
    assert len(replay(hub, searcher).scores) == 6 and searcher.ask() is None


def test_a_diverged_configuration_is_never_suggested_again(hub):
    hub.curves[:, 1:] = np.where(np.arange(len(hub))[:, None] % 2, np.nan, hub.curves[:, 1:])
    searcher = searcher_on(hub, budget=30)
    trace = replay(hub, searcher)
    odd = [(i, j) for i, j in zip(trace.configs, trace.epochs, strict=True) if i % 2]
    assert max(j for _, j in odd) == 2 and len(odd) == len(set(odd))
    assert all(row.config_id % 2 == 0 or row.epoch == 1 for row in searcher.history.rows())


def test_losses_are_minimised_as_their_negatives_are_maximised(hub):
    up, down = searcher_on(hub, "none", start=None), searcher_on(hub, "none", start=None, mode="min")
    for _ in range(8):
        a, b = up.ask(), down.ask()
        assert a == b
        score = float(hub.curves[a.config_id, a.to_epoch - 1])
        up.tell(a.config_id, a.to_epoch, score)
        down.tell(b.config_id, b.to_epoch, -score)
    assert down.best() == (up.best()[0], up.best()[1], -up.best()[2])


@pytest.mark.parametrize("encoder", ["none", "gmn"])
def test_a_state_dict_resumes_to_the_same_suggestions(hub, encoder, tmp_path):
    whole = searcher_on(hub, encoder, budget=14, schedule=RefitSchedule(2.0))
    expected = replay(hub, whole)
    part = searcher_on(hub, encoder, budget=14, schedule=RefitSchedule(2.0))
    for _ in range(7):
        suggestion = part.ask()
        part.tell(suggestion.config_id, suggestion.to_epoch, hub.curves[suggestion.config_id, suggestion.to_epoch - 1])
    state = part.state_dict() | {"checkpoints": None}  # the hub's store is shared
    torch.save(state, tmp_path / "state.pt")
    again = searcher_on(hub, encoder, budget=14, schedule=RefitSchedule(2.0))
    again.load_state_dict(torch.load(tmp_path / "state.pt", weights_only=True))
    rest = replay(hub, again)
    assert (rest.configs, rest.epochs) == (expected.configs[7:], expected.epochs[7:])


def test_a_state_of_other_settings_is_refused(hub):
    state = searcher_on(hub, "none").state_dict()
    with pytest.raises(ValueError, match="expected a state of"):
        searcher_on(hub, "none", budget=13).load_state_dict(state)


def test_parallel_tells_may_arrive_in_any_order(hub):
    forward, backward = (searcher_on(hub, settings=SearchSettings(initial=3)) for _ in range(2))
    for searcher, order in ((forward, 1), (backward, -1)):
        asked = [searcher.ask() for _ in range(3)]
        assert len({s.config_id for s in asked}) == 3
        for suggestion in asked[::order]:
            searcher.tell(suggestion.config_id, 1, hub.curves[suggestion.config_id, 0])
    assert forward.ask() == backward.ask()
    told_forward, told_backward = (sorted(s.history.rows()) for s in (forward, backward))
    assert told_forward == told_backward


def test_what_is_pending_is_not_suggested_twice_and_counts_for_the_budget(hub):
    searcher = searcher_on(hub, budget=5)
    asked = [searcher.ask() for _ in range(5)]
    assert len({s.config_id for s in asked}) == 5 and searcher.ask() is None
    searcher.release(asked[0].config_id)  # its worker died
    assert searcher.ask() is not None and searcher.ask() is None


def test_fantasies_of_pending_slices_leave_no_trace(hub):
    searcher = searcher_on(hub, "none", budget=20)
    for _ in range(3):
        suggestion = searcher.ask()
        searcher.tell(
            suggestion.config_id, suggestion.to_epoch, hub.curves[suggestion.config_id, suggestion.to_epoch - 1]
        )
    searcher.ask()
    known = searcher._gp.known
    searcher.ask()
    assert searcher._gp.known is known


def test_an_update_between_fits_extends_to_what_conditioning_anew_gives(hub):
    searcher = searcher_on(hub, "stat", budget=20, schedule=RefitSchedule(growth=100.0))
    replay(hub, searcher)
    searcher._update()
    gp, rows = searcher._gp, searcher._known
    assert searcher._fits == 1 and len(rows) == len(searcher.history.rows())
    grown = gp.known
    inputs = searcher._builder().inputs(searcher.history, rows)
    gp.condition(inputs, torch.tensor([row.score for row in rows], dtype=torch.float64))
    torch.testing.assert_close(gp.known.whitened, grown.whitened, atol=1e-6, rtol=1e-6)


def test_one_candidate_alone_is_predicted_as_in_a_batch(hub):
    searcher = searcher_on(hub, "gmn", budget=10)
    replay(hub, searcher)
    rows = [
        Row(i, searcher.history.reached(i), 5, math.nan) for i in range(len(hub)) if searcher.history.reached(i) < 5
    ]
    builder = searcher._builder()
    together = searcher._gp.posterior(builder.inputs(searcher.history, rows))[0]
    alone = torch.cat([searcher._gp.posterior(builder.inputs(searcher.history, [row]))[0] for row in rows])
    torch.testing.assert_close(together, alone, atol=1e-5, rtol=1e-5)


def test_the_forecast_ranks_what_can_go_on(hub):
    searcher = searcher_on(hub, "stat")
    with pytest.raises(ValueError, match="nothing was told yet"):
        searcher.forecast()
    replay(hub, searcher)
    table = searcher.forecast()
    assert list(table.columns) == ["mean", "std", "rank"] and table.index.name == "config_id"
    assert sorted(table["rank"]) == list(range(1, len(table) + 1))
    assert table["mean"].idxmax() == table["rank"].idxmin() and (table["std"] >= 0).all()


def test_multi_horizon_rows_are_learned_from(hub):
    searcher = searcher_on(hub, surrogate=SurrogateSettings("stat", multi_horizon=True))
    replay(hub, searcher)
    assert len(searcher._known) > len(searcher.history.rows())
    assert searcher._builder().inputs(searcher.history, searcher._known).budget.shape[1] == 2


def test_new_configurations_are_drawn_where_there_is_no_pool():
    space = SearchSpace({"x": Float(0, 1)})
    searcher = ForecastingModelSearch(space, 3, 12, surrogate=SurrogateSettings("none"), fitting=QUICK, seed=1)
    while (suggestion := searcher.ask()) is not None:
        for epoch in range(suggestion.from_epoch + 1, suggestion.to_epoch + 1):
            searcher.tell(suggestion.config_id, epoch, 1 - abs(suggestion.params["x"] - 0.3))
    assert searcher.spent == 12 and 0 <= searcher.best()[0]["x"] <= 1


def test_promote_prob_goes_on_with_the_best(hub):
    searcher = searcher_on(hub, "none", settings=SearchSettings(promote_prob=1.0))
    trace = replay(hub, searcher)
    assert trace.epochs[:5] == [1, 2, 3, 4, 5] and len(set(trace.configs[:5])) == 1


def test_retention_keeps_the_last_checkpoints_and_the_search_goes_on(hub):
    store = CheckpointStore({"": small_mlp()})
    searcher = searcher_on(hub, "stat", budget=20, checkpoints=store, keep=6)
    while (suggestion := searcher.ask()) is not None:
        i, epoch = suggestion.config_id, suggestion.to_epoch
        searcher.tell(i, epoch, hub.curves[i, epoch - 1], hub.checkpoints.state(i, epoch))
    last = {(i, searcher.history.reached(i)) for i in searcher.history.started}
    assert last <= set(store.places()) and len(store.places()) <= max(6, len(last))


def test_weights_are_put_into_a_folder_by_tell(hub, tmp_path):
    store = FolderStore(tmp_path, {"": small_mlp()})
    searcher = searcher_on(hub, "gmn", budget=3, checkpoints=store)
    suggestion = searcher.ask()
    weights = hub.checkpoints.state(suggestion.config_id, 1)
    searcher.tell(suggestion.config_id, 1, 0.5, weights)
    torch.testing.assert_close(dict(store.state(suggestion.config_id, 1)), dict(weights))
    with pytest.raises(ValueError, match="was not asked for"):
        searcher.tell(suggestion.config_id, 2, 0.5)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"mode": "up"}, "mode must be 'max' or 'min'"),
        ({"budget": 0}, "at least 1, got 0"),
        ({"checkpoints": None}, "needs a store of checkpoints"),
    ],
)
def test_a_searcher_refuses(hub, options, said):
    with pytest.raises(ValueError, match=said):
        searcher_on(hub, **options)


def test_tells_out_of_turn_are_refused(hub):
    searcher = searcher_on(hub, "none", settings=SearchSettings(step=2))
    suggestion = searcher.ask()
    with pytest.raises(ValueError, match="was asked for up to epoch 2, got epoch 3"):
        searcher.tell(suggestion.config_id, 3, 0.1)
    with pytest.raises(ValueError, match="expected 1 next, got 2"):
        searcher.tell(suggestion.config_id, 2, 0.1)
    other = searcher_on(hub, "stat")
    suggestion = other.ask()
    with pytest.raises(ValueError, match="epoch 1 is next, got 0"):
        other.tell(suggestion.config_id, 0, 0.1, hub.checkpoints.state(0, 1))
    other.tell(suggestion.config_id, 1, 0.1, hub.checkpoints.state(suggestion.config_id, 1))
    with pytest.raises(ValueError, match="was started already"):
        other.rename(suggestion.config_id, 99)


def test_the_unknown_encoder_is_named():
    with pytest.raises(ValueError, match="unknown encoder 'vit', choose from none, flat, stat, nfn, gmn"):
        SurrogateSettings("vit")
