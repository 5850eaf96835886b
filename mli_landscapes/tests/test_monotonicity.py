"""Δ-monotonicity against its definition, and the shapes that simpler checks get wrong."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from mli_landscapes import barrier, bumps, curve_shape, diverged, is_monotonic, min_delta

curves = hnp.arrays(np.float64, st.integers(1, 30), elements=st.integers(-1000, 1000).map(float))


def brute_force(values):
    """The definition: max over i < j of L_j - L_i, at least 0."""
    return max([0.0, *(values[j] - values[i] for j in range(len(values)) for i in range(j))])


@given(curves)
def test_min_delta_is_the_largest_rise_over_all_pairs(values):
    assert float(min_delta(values)) == brute_force(values)


@given(curves)
def test_min_delta_is_zero_exactly_if_the_curve_never_rises(values):
    assert (float(min_delta(values)) == 0) == bool((np.diff(values) <= 0).all())


@given(curves, st.integers(-50, 50), st.integers(1, 8))
def test_min_delta_ignores_an_added_constant_and_scales_with_the_loss(values, shift, scale):
    assert float(min_delta(values + shift)) == float(min_delta(values))
    assert float(min_delta(values * scale)) == scale * float(min_delta(values))


@given(curves)
def test_the_highest_bump_is_min_delta_and_bumps_start_at_running_minima(values):
    grid = np.arange(len(values), dtype=float)
    found = bumps(values, grid)
    assert max([0.0, *(b.height for b in found)]) == float(min_delta(values))
    for bump in found:
        assert bump.start < bump.peak <= bump.end
        assert values[int(bump.start)] == values[: int(bump.end) + 1].min()
        assert values[int(bump.peak)] - values[int(bump.start)] == bump.height


def test_a_slow_rise_in_two_steps_counts_as_one():
    assert float(min_delta([3.0, 1.0, 1.25, 1.5, 0.0])) == 0.5


def test_a_rise_that_starts_at_the_last_but_one_point_counts():
    values = [3.0, 2.0, 1.0, 1.5]
    assert float(min_delta(values)) == 0.5
    assert bumps(values, [0, 1, 2, 3]) == [(2.0, 3.0, 3.0, 0.5)]


def test_bumps_below_a_tolerance_are_left_out():
    values = [1.0, 0.5, 0.6, 0.4, 0.9, 0.1]
    assert [round(b.height, 9) for b in bumps(values, range(6))] == [0.1, 0.5]
    assert [b.peak for b in bumps(values, range(6), tolerance=0.2)] == [4.0]


def test_many_curves_at_once_are_each_treated_alone():
    first, second = [2.0, 1.0, 0.0], [2.0, 3.0, 0.0]
    both = torch.tensor([first, second]).T
    assert min_delta(both).tolist() == [0, 1]
    assert barrier(both).tolist() == [0, 1]


def test_a_barrier_is_measured_from_the_higher_end():
    assert float(barrier([1.0, 4.0, 2.0])) == 2.0
    assert float(barrier([3.0, 2.0, 1.0])) == 0.0


def test_a_curve_with_nan_is_diverged_and_has_no_verdict():
    values = [2.0, math.nan, 1.0]
    assert bool(diverged(values)) and math.isnan(float(min_delta(values)))
    assert bool(diverged([1.0, math.inf]))
    with pytest.raises(ValueError, match="drop diverged runs first"):
        is_monotonic(values)
    with pytest.raises(ValueError, match="NaN or infinite"):
        bumps(values, [0, 0.5, 1])


def test_an_infinite_loss_is_an_infinite_rise_unless_it_comes_first():
    assert float(min_delta([1.0, math.inf, 0.0])) == math.inf
    assert float(min_delta([math.inf, math.inf, 0.0])) == 0


def test_monotone_up_to_delta():
    assert bool(is_monotonic([1.0, 0.5, 0.6, 0.0], delta=0.11))
    assert not bool(is_monotonic([1.0, 0.5, 0.6, 0.0], delta=0.05))


def test_the_shape_of_a_parabola_is_convex_and_below_its_chord():
    grid = torch.linspace(0, 1, 11, dtype=torch.float64)
    shape = curve_shape((1 - grid) ** 2, grid)
    assert float(shape.smallest_curvature) == pytest.approx(2)
    assert float(shape.convex_share) == float(shape.below_chord_share) == 1
    assert float(shape.largest_step) == 0


def test_the_shape_of_a_bump_is_above_its_chord():
    shape = curve_shape([1.0, 2.0, 2.5, 1.0, 0.0], [0, 0.25, 0.5, 0.75, 1])
    assert float(shape.largest_step) == 1
    assert float(shape.below_chord_share) == 0
    assert float(shape.convex_share) == pytest.approx(1 / 3)


@pytest.mark.parametrize(
    ("act", "said"),
    [
        (lambda: min_delta([]), "at least 1 grid point"),
        (lambda: min_delta(torch.tensor(1.0)), "at least 1 grid point"),
        (lambda: barrier([1.0]), "at least 2 grid points"),
        (lambda: bumps([1.0, 2.0], [0.0]), "one A, got"),
        (lambda: curve_shape([1.0, 2.0], [0, 1]), "at least 3 grid points"),
        (lambda: curve_shape([1.0, 2.0, 3.0], [0, 0.1, 1]), "evenly spaced"),
        (lambda: curve_shape([1.0, 2.0, 3.0, 4.0], [0, 0.5, 1]), "share their grid"),
    ],
)
def test_malformed_curves_are_refused(act, said):
    with pytest.raises(ValueError, match=said):
        act()
