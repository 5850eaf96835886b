"""τ is of scores, and regret of the best seen."""

import numpy as np
import pytest

from forecasting_model_search import kendall_tau, regret


def test_tau_counts_pairs():
    assert kendall_tau([1, 2, 3, 4], [1, 2, 4, 3]) == pytest.approx((5 - 1) / 6)
    assert kendall_tau([1, 1, 1], [1, 2, 3]) == 0


def test_tau_does_not_change_when_configurations_are_relabelled():
    random = np.random.default_rng(0)
    predicted, true = random.standard_normal(30), random.standard_normal(30)
    order = random.permutation(30)
    assert kendall_tau(predicted[order], true[order]) == pytest.approx(kendall_tau(predicted, true), abs=1e-12)


def test_tau_of_lists_of_ids_in_rank_order_would_change():
    """The reference's metric is not this one: it correlates the lists of ids, which depends on the labels."""
    random = np.random.default_rng(0)
    predicted, true = random.standard_normal(30), random.standard_normal(30)
    label = random.permutation(30)
    ids = [kendall_tau(name[np.argsort(predicted)], name[np.argsort(true)]) for name in (np.arange(30), label)]
    assert abs(ids[0] - ids[1]) > 0.01


@pytest.mark.parametrize(
    ("a", "b", "said"), [([1], [1], "at least two"), ([1, 2], [1], "equally long"), ([1, np.nan], [1, 2], "finite")]
)
def test_tau_refuses(a, b, said):
    with pytest.raises(ValueError, match=said):
        kendall_tau(a, b)


def test_regret_never_rises_and_diverged_epochs_count_for_nothing():
    assert regret([0.2, np.nan, 0.5, 0.4], 0.9).tolist() == pytest.approx([0.7, 0.7, 0.4, 0.4])
