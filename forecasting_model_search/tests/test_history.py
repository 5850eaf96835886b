"""A history gives what it was told and refuses the rest."""

import math

import pytest

from forecasting_model_search import History
from forecasting_model_search.history import Row


def told():
    history = History(5)
    history.start(3, 0.1)
    for config_id, epoch, score in [(3, 1, 0.2), (1, 1, 0.5), (3, 2, 0.4), (1, 2, math.nan)]:
        history.tell(config_id, epoch, score)
    return history


def test_one_row_for_each_observed_epoch_with_the_state_before_it():
    assert told().rows() == [Row(3, 0, 1, 0.2), Row(1, 0, 1, 0.5), Row(3, 1, 2, 0.4)]


def test_multi_horizon_rows_start_from_every_earlier_state():
    rows = told().rows(None)
    assert {(r.config_id, r.state, r.epoch) for r in rows} == {(3, 0, 1), (1, 0, 1), (3, 0, 2), (3, 1, 2)}
    assert told().rows((2,)) == [Row(3, 0, 2, 0.4)]


def test_curves_stop_at_the_state():
    assert told().curve(3, 1) == [0.1, 0.2] and told().curve(1, 1) == [0.5] and told().curve(7, 0) == []


def test_looking_ahead_raises():
    with pytest.raises(ValueError, match="configuration 3 was told up to epoch 2, its curve up to 3 is not known"):
        told().curve(3, 3)


def test_a_diverged_configuration_keeps_its_rows_and_gets_no_more():
    history = told()
    assert history.diverged(1) and history.observed == 4 and history.reached(1) == 1
    with pytest.raises(ValueError, match="configuration 1 diverged at epoch 2"):
        history.tell(1, 3, 0.1)


@pytest.mark.parametrize(
    ("args", "said"),
    [((3, 4, 0.1), "expected 3 next, got 4"), ((3, 2, 0.1), "expected 3 next, got 2"), ((8, 2, 0.1), "is at epoch 0")],
)
def test_epochs_are_neither_skipped_nor_told_twice(args, said):
    with pytest.raises(ValueError, match=said):
        told().tell(*args)


def test_nothing_is_told_above_the_last_epoch():
    history = History(1)
    history.tell(0, 1, 0.0)
    with pytest.raises(ValueError, match="above max_epochs = 1"):
        history.tell(0, 2, 0.0)
    with pytest.raises(ValueError, match="at least 1"):
        History(0)


def test_the_best_is_the_first_of_the_best():
    assert told().best() == (1, 1, 0.5)
    with pytest.raises(ValueError, match="nothing was observed"):
        History(2).best()


def test_a_history_comes_back_from_its_state():
    again = History.from_state_dict(told().state_dict())
    assert again.rows(None) == told().rows(None) and again.diverged(1) and again.curve(3, 2) == told().curve(3, 2)
