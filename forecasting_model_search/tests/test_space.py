"""Hyperparameters as points of the unit cube, from Optuna's and Ray's spaces too."""

import numpy as np
import optuna
import pytest

from forecasting_model_search import Categorical, Float, Int, SearchSpace


def test_ranges_are_scaled_by_their_logarithm_and_choices_get_a_column_each():
    space = SearchSpace({"rate": Float(1e-4, 1e-2, log=True), "width": Int(2, 6), "act": Categorical(("relu", "gelu"))})
    assert space.width == 4
    assert space.encode({"rate": 1e-3, "width": 4, "act": "gelu", "other": 1}) == pytest.approx([0.5, 0.5, 0, 1])


def test_samples_lie_in_the_space_and_come_back():
    space = SearchSpace(
        {"rate": Float(1e-4, 1e-2, log=True), "width": Int(2, 6, log=True), "act": Categorical((1, 2, 5))}
    )
    random = np.random.default_rng(0)
    for _ in range(50):
        params = space.sample(random)
        point = space.encode(params)
        assert 1e-4 <= params["rate"] <= 1e-2 and params["width"] in range(2, 7) and params["act"] in (1, 2, 5)
        assert min(point) >= 0 and max(point) <= 1


def test_a_hidden_hyperparameter_is_drawn_and_is_no_column():
    space = SearchSpace({"start": Int(0, 9), "x": Float(0, 1)}, hidden=("start",))
    assert space.width == 1 and set(space.sample(np.random.default_rng(0))) == {"start", "x"}


def test_the_space_that_configurations_span_leaves_out_what_is_constant():
    configs = [{"rate": 0.1, "net": "a", "k": 3}, {"rate": 0.001, "net": "b", "k": 3}]
    space = SearchSpace.covering(configs, log=("rate",))
    assert list(space.domains) == ["rate", "net"] and space.encode(configs[0]) == pytest.approx([1, 1, 0])


def test_spaces_of_optuna():
    d = optuna.distributions
    space = SearchSpace.from_optuna(
        {
            "x": d.FloatDistribution(1e-3, 1, log=True),
            "n": d.IntDistribution(1, 4),
            "c": d.CategoricalDistribution("ab"),
        }
    )
    assert space.encode({"x": 1.0, "n": 1, "c": "b"}) == pytest.approx([1, 0, 0, 1])
    with pytest.raises(ValueError, match="expected an Optuna distribution, got int"):
        SearchSpace.from_optuna({"x": 3})


def test_spaces_of_ray():
    tune = pytest.importorskip("ray.tune", reason="the extra ray is not installed")
    space = SearchSpace.from_ray(
        {"x": tune.loguniform(1e-3, 1), "u": tune.uniform(0, 2), "n": tune.randint(1, 5), "c": tune.choice(["a", "b"])}
    )
    assert space.encode({"x": 1e-3, "u": 1, "n": 4, "c": "a"}) == pytest.approx([0, 0.5, 1, 1, 0])
    with pytest.raises(ValueError, match="expected a Ray Tune domain, got int"):
        SearchSpace.from_ray({"x": 3})


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda: Float(2, 1), "low < high"),
        (lambda: Float(0, 1, log=True), "low > 0"),
        (lambda: Categorical(()), "at least one"),
        (lambda: Categorical((1, 1)), "choices that differ"),
        (lambda: SearchSpace({}), "at least one hyperparameter"),
        (lambda: SearchSpace({"x": Float(0, 1)}, hidden=("y",)), "the space lacks: y"),
        (lambda: SearchSpace({"x": Float(0, 1)}).encode({"y": 1}), "lacks 'x', it has y"),
        (lambda: SearchSpace({"x": Float(0, 1)}).encode({"x": "a"}), "expected a number, got 'a'"),
        (lambda: SearchSpace({"x": Float(0, 1)}).encode({"x": float("nan")}), "expected a number, got nan"),
        (lambda: SearchSpace({"x": Categorical("ab")}).encode({"x": "c"}), "expected one of a, b, got 'c'"),
        (lambda: SearchSpace.covering([{"x": 1}, {"x": "a"}]), "'x' mixes text and numbers"),
    ],
)
def test_what_is_no_space_or_no_configuration_is_refused(make, said):
    with pytest.raises(ValueError, match=said):
        make()
