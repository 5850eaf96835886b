"""The zoo, the hub, and trainings that stop and go on."""

import numpy as np
import pytest
import torch

from conftest import QUICK
from forecasting_model_search import ForecastingModelSearch, SurrogateSettings
from forecasting_model_search.digits import (
    HubSettings,
    ZooSettings,
    build_hub,
    build_zoo,
    digits_hub,
    epoch_orders,
    split_digits,
)
from forecasting_model_search.live import DigitsTask, race


@pytest.fixture(scope="module")
def task():
    return DigitsTask(networks=4, zoo_epochs=3)


def params(start=1, batch=16):
    return {"start": start, "learning_rate": 0.05, "momentum": 0.9, "weight_decay": 1e-4, "batch_size": batch}


def test_the_parts_of_the_split_share_no_image():
    split = split_digits(0)
    assert [len(p.y) for p in (split.upstream, split.target, split.val, split.test)] == [800, 100, 547, 350]
    assert not torch.equal(split_digits(1).val.x, split.val.x)
    assert torch.equal(split_digits(0).val.x, split.val.x)


def test_an_epoch_shows_every_example_once():
    orders = epoch_orders([10, 7], [4, 3], [(0, 0), (0, 1)], epoch=2)
    for k, size in enumerate((10, 7)):
        seen = orders.index[:, k][orders.share[:, k] > 0]
        assert sorted(seen.tolist()) == list(range(size))
        assert float(orders.share[:, k].sum()) == pytest.approx(3)  # batches, each with shares that add up to 1


def test_a_pause_changes_nothing_to_the_bit(task):
    whole = list(task.train(params(), 0, 4, None))
    first = list(task.train(params(), 0, 2, None))
    rest = list(task.train(params(), 2, 4, first[-1].state))
    assert [d.score for d in whole] == [d.score for d in first + rest]
    for name, tensor in whole[-1].state.items():
        assert torch.equal(tensor, rest[-1].state[name])
    assert any(name.startswith("momentum.") for name in whole[-1].state)


def test_a_pause_through_a_folder_changes_nothing_to_the_bit(task, tmp_path):
    store = task.store(tmp_path)
    (first,) = task.train(params(), 0, 1, None)
    store.put(7, 1, first.state)
    (second,) = task.train(params(), 1, 2, store.state(7, 1))
    *_, expected = task.train(params(), 0, 2, None)
    assert second.score == expected.score
    assert all(torch.equal(second.state[k], expected.state[k]) for k in expected.state)


def test_going_on_without_a_state_is_refused(task):
    with pytest.raises(ValueError, match="to go on from epoch 2 its state is needed"):
        next(task.train(params(), 2, 3, None))


def test_networks_of_a_stack_train_as_if_each_were_alone():
    split = split_digits(0)
    zoo = build_zoo(split, ZooSettings(3, epochs=2), 0)
    hub = build_hub(split, zoo, HubSettings(6, 3), 0)
    from forecasting_model_search.digits import ARCHITECTURES, StackedSGD, start_weights

    for i in (0, 5):
        row = hub.configs.iloc[i]
        weights = {k: v[None] for k, v in start_weights(zoo, int(row["start"]), 0).items()}
        alone = StackedSGD(
            ARCHITECTURES["mlp"](), weights, [row["learning_rate"]], [row["momentum"]], [row["weight_decay"]]
        )
        for epoch in range(3):
            alone.epoch(split.target, epoch_orders([100], [int(row["batch_size"])], [(0, 6, i)], epoch))
        for name, tensor in alone.state(0).items():
            torch.testing.assert_close(tensor, hub.checkpoints.state(i, 3)[name], atol=1e-5, rtol=1e-4)


def test_a_hub_has_curves_checkpoints_and_starts_of_one_seed():
    small = (ZooSettings(3, ("mlp", "cnn", "deepset"), 2), HubSettings(8, 3))
    hub, again = digits_hub(0, *small), digits_hub(0, *small)
    assert hub.curves.shape == (8, 3) and np.array_equal(hub.curves, again.curves)
    assert all((i, e) in hub.checkpoints for i in range(8) for e in range(4))
    assert set(hub.configs["architecture"]) <= {"mlp", "cnn", "deepset"}
    assert not np.array_equal(digits_hub(1, *small).curves, hub.curves)


def test_a_race_that_was_stopped_goes_on_where_it_was(task, tmp_path):
    def searcher():
        store = task.store()
        made = ForecastingModelSearch(
            task.space,
            4,
            8,
            checkpoints=store,
            start=task.start,
            fitting=QUICK,
            surrogate=SurrogateSettings("gmn", width=4),
        )
        return made, store

    expected = race(task, *searcher())
    assert len(expected.scores) == 8
    first, store = searcher()

    class StoppedError(Exception):
        pass

    def stop(_, done):
        if first.spent == 5:
            raise StoppedError

    with pytest.raises(StoppedError):
        race(task, first, store, tmp_path / "state.pt", stop)
    rest = race(task, *searcher(), tmp_path / "state.pt")
    assert (rest.configs, rest.epochs, rest.scores) == (expected.configs[5:], expected.epochs[5:], expected.scores[5:])
