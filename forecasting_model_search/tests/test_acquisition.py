"""Expected improvement in closed form, and what it is measured against."""

import pytest
import torch

from forecasting_model_search import best_at, expected_improvement


@pytest.mark.parametrize(("mean", "best", "expected"), [(0, 0, 0.3989423), (1, 0, 1.0833155), (0, 1, 0.0833155)])
def test_expected_improvement_of_a_standard_normal(mean, best, expected):
    value = expected_improvement(torch.tensor([float(mean)]).double(), torch.ones(1).double(), best)
    assert float(value) == pytest.approx(expected, abs=1e-7)


def test_without_spread_there_is_no_improvement():
    assert expected_improvement(torch.tensor([2.0]), torch.zeros(1), 1.0).tolist() == [0]


def test_expected_improvement_is_the_mean_of_the_gain():
    generator = torch.Generator().manual_seed(0)
    gains = (0.3 + 0.5 * torch.randn(400_000, generator=generator).double() - 0.6).clamp_min(0)
    value = expected_improvement(torch.tensor([0.3]).double(), torch.tensor([0.5]).double(), 0.6)
    assert float(value) == pytest.approx(float(gains.mean()), abs=5 * float(gains.std()) / 400_000**0.5)


def test_each_budget_has_its_own_best_and_an_unreached_one_the_best_of_all():
    curves = {0: {1: 0.2, 2: 0.5}, 1: {1: 0.4}, 2: {1: 0.1, 2: 0.3, 3: 0.45}}
    assert best_at(torch.tensor([1, 2, 3, 4]), curves).tolist() == [0.4, 0.5, 0.45, 0.5]


def test_there_is_no_improvement_on_nothing():
    with pytest.raises(ValueError, match="nothing was observed"):
        best_at(torch.tensor([1]), {})
