import pytest
import torch

from regularized_lae import (
    axis_alignment,
    haar_alignment,
    matched_alignment,
    ordered_alignment,
    subspace_distance,
    transpose_error,
)


def test_at_the_axes_every_measure_is_zero_whatever_scale_and_sign(axes):
    decoder = axes[:, :3] * torch.tensor([2.0, -0.1, 5.0])
    for measure in (axis_alignment, ordered_alignment, subspace_distance, matched_alignment):
        assert float(measure(decoder, axes)) == pytest.approx(0, abs=1e-6)


def test_in_reverse_order_only_the_ordered_measure_complains(axes):
    reverse = axes[:, :4].flip(-1)
    assert float(ordered_alignment(reverse, axes)) == pytest.approx(1, abs=1e-6)
    assert float(axis_alignment(reverse, axes)) == pytest.approx(0, abs=1e-6)
    assert matched_alignment(reverse, axes) == pytest.approx(0, abs=1e-6)


def test_one_column_serves_two_axes_in_the_papers_measure_but_not_in_a_matching(axes):
    between = (axes[:, 0] + axes[:, 1]) / 2**0.5
    decoder = torch.stack([between, axes[:, 5]], -1)
    assert float(axis_alignment(decoder, axes)) == pytest.approx(0.5, abs=1e-6)
    assert matched_alignment(decoder, axes) == pytest.approx(0.75, abs=1e-6)


@pytest.mark.parametrize("latents, expected", [(2, 0.19), (5, 0.45), (10, 0.62), (20, 0.755), (50, 0.87)])
def test_a_random_rotation_of_the_right_subspace_has_the_haar_alignment(latents, expected):
    assert haar_alignment(latents, samples=500, generator=torch.Generator().manual_seed(0)) == pytest.approx(
        expected, abs=0.02
    )


def test_a_rotated_basis_spans_the_same_subspace(axes, generator):
    turn = torch.linalg.qr(torch.randn(3, 3, generator=generator, dtype=torch.float64)).Q
    assert float(subspace_distance(axes[:, :3] @ turn, axes)) == pytest.approx(0, abs=1e-7)
    assert float(subspace_distance(axes[:, 3:], axes)) == pytest.approx(1, abs=1e-7)


def test_a_collapsed_column_costs_exactly_its_share(axes):
    decoder = axes[:, :4].clone()
    decoder[:, 3] = 0
    assert float(axis_alignment(decoder, axes)) == pytest.approx(0.25, abs=1e-6)


def test_stacks_are_measured_one_by_one(axes):
    stack = torch.stack([axes[:, :2], axes[:, :2].flip(-1)])
    assert torch.allclose(ordered_alignment(stack, axes), torch.tensor([0.0, 1.0], dtype=torch.float64), atol=1e-6)
    assert torch.allclose(transpose_error(stack.mT, stack), torch.zeros(2, dtype=torch.float64))
