"""Distances against closed forms."""

import math

import pytest
import torch

from multi_student_distill import energy_distance, frechet_distance, precision_recall
from multi_student_distill.metrics import (
    classwise_frechet_distance,
    gaussian_frechet_distance,
    histogram_distance,
)


def test_the_frechet_distance_of_gaussians_is_the_closed_form(generator):
    a, b = torch.randn(2, 4, generator=generator, dtype=torch.float64)
    p, q = torch.rand(2, 4, generator=generator, dtype=torch.float64) + 0.1
    exact = float((a - b).square().sum() + (p.sqrt() - q.sqrt()).square().sum())  # diagonal covariances
    turn = torch.linalg.qr(torch.randn(4, 4, generator=generator, dtype=torch.float64)).Q
    found = gaussian_frechet_distance(turn @ a, turn @ p.diag() @ turn.T, turn @ b, turn @ q.diag() @ turn.T)
    assert found == pytest.approx(exact, rel=1e-9)


def test_the_frechet_distance_of_a_set_to_itself_is_zero_even_when_singular(generator):
    x = torch.randn(50, 3, generator=generator) @ torch.randn(3, 8, generator=generator)
    assert frechet_distance(x, x) == pytest.approx(0, abs=1e-6)


def test_the_pooled_distance_is_that_of_the_concatenation_not_a_mean_over_students(generator):
    """Two students, each with half of the data: pooled they are exact, on their own each is far off."""
    real = torch.cat([torch.randn(500, 2, generator=generator) - 3, torch.randn(500, 2, generator=generator) + 3])
    halves = real[:500], real[500:]
    assert frechet_distance(torch.cat(halves), real) == pytest.approx(0, abs=1e-6)
    assert min(frechet_distance(h, real) for h in halves) > 5


def test_classwise_distance_sees_classes_swapped(generator):
    x, y = torch.randn(400, 2, generator=generator), torch.arange(400) % 2
    x[y == 1] += 4
    assert classwise_frechet_distance(x, y, x, y) == pytest.approx(0, abs=1e-6)
    assert frechet_distance(x, x) == pytest.approx(0, abs=1e-6) and classwise_frechet_distance(x, 1 - y, x, y) > 10


def test_recall_falls_on_collapse_and_precision_on_what_is_never_seen(generator):
    real = torch.randn(600, 2, generator=generator)
    same = torch.randn(600, 2, generator=generator)
    precision, recall = precision_recall(real, same)
    assert precision > 0.9 and recall > 0.9
    _, recall = precision_recall(real, 0.01 * same)
    assert recall < 0.1
    precision, _ = precision_recall(real, 10 * same)
    assert precision < 0.2


def test_precision_and_recall_by_hand():
    real = torch.tensor([[0.0], [1.0], [2.0]])
    assert precision_recall(real, torch.tensor([[0.5], [10.0]]), k=1) == (0.5, 1.0)
    assert precision_recall(real, torch.tensor([[0.5], [0.6]]), k=1) == (1.0, 0.0)


def test_energy_distance_is_that_of_two_points_and_zero_for_one_law(generator):
    a, b = torch.zeros(5, 1), torch.full((5, 1), 3.0)
    assert energy_distance(a, b) == pytest.approx(6.0)
    x, y = torch.randn(2, 3000, 2, generator=generator)
    assert abs(energy_distance(x, y)) < 0.01 and energy_distance(x, y + 1) > 0.3


def test_histograms_count_outliers_at_the_edge():
    a = torch.tensor([[0.0, 0.0], [5.0, 5.0]])
    assert histogram_distance(a, a) == 0 and histogram_distance(a, torch.zeros(2, 2)) == 1.0
    assert histogram_distance(a, -a) == pytest.approx(1.0) and math.isfinite(histogram_distance(a, a * 100))


def test_features_that_cannot_be_compared_are_refused():
    with pytest.raises(ValueError, match=r"finite \(N >= 2, d\)"):
        frechet_distance(torch.zeros(1, 3), torch.zeros(4, 3))
    with pytest.raises(ValueError, match=r"finite \(N >= 2, d\)"):
        frechet_distance(torch.full((4, 3), float("nan")), torch.zeros(4, 3))
    with pytest.raises(ValueError, match="one width, got 3 and 2"):
        frechet_distance(torch.zeros(4, 3), torch.zeros(4, 2))
    with pytest.raises(ValueError, match="k must be at least 1 and below both counts, got 3, 3 and 9"):
        precision_recall(torch.zeros(3, 1), torch.zeros(9, 1))
