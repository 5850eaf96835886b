"""The Gauss length of curves whose turning is known, and of networks against finite differences."""

import math
from itertools import pairwise

import pytest
import torch
from torch import nn

from conftest import network
from mli_landscapes import (
    OutputCurve,
    chord_deviation,
    gauss_length,
    polygon_turning,
    sample_curve,
    total_turning,
)


def grid(points):
    return torch.linspace(0, 1, points, dtype=torch.float64)


def half_circle(radius=1.0, warp=1.0):
    """Radius and speed must not matter: the angle is π α^warp."""

    def curve(alpha):
        angle = math.pi * (0.1 + 0.9 * alpha) ** warp if warp != 1 else math.pi * alpha
        if warp != 1:
            low = 0.1**warp
            angle = (angle - math.pi * low) / (1 - low)
        return radius * torch.stack([torch.cos(angle), torch.sin(angle)])[None]

    return curve


@pytest.mark.parametrize("measure", [gauss_length, total_turning])
@pytest.mark.parametrize(("radius", "warp"), [(1, 1), (1e-3, 1), (250, 1), (2, 2.0), (0.5, 0.5)])
def test_a_half_circle_of_any_radius_and_speed_turns_by_pi(measure, radius, warp):
    assert float(measure(half_circle(radius, warp), grid(101))[0]) == pytest.approx(math.pi, abs=2e-3)


@pytest.mark.parametrize("measure", [gauss_length, total_turning])
def test_a_helix_turns_by_its_radius_over_its_slant(measure):
    r, c, end = 2.0, 1.5, 4.0

    def helix(alpha):
        t = end * alpha
        return torch.stack([r * torch.cos(t), r * torch.sin(t), c * t])[None]

    expected = r * end / math.sqrt(r**2 + c**2)
    assert float(measure(helix, grid(101))[0]) == pytest.approx(expected, rel=1e-3)


@pytest.mark.parametrize("measure", [gauss_length, total_turning])
def test_scaling_rotation_shift_reversal_and_speed_leave_the_length(measure, generator):
    turn = torch.linalg.qr(torch.randn(3, 3, generator=generator, dtype=torch.float64)).Q

    def curve(alpha):
        return torch.stack([torch.sin(3 * alpha), alpha**2, torch.exp(alpha)])[None]

    length = float(measure(curve, grid(201)))
    for changed in (
        lambda a: 7 * curve(a) @ turn + 5,
        lambda a: curve(1 - a),
        lambda a: curve(0.5 * a * (1 + a)),
    ):
        assert float(measure(changed, grid(201))) == pytest.approx(length, rel=5e-3)


def test_two_examples_are_two_curves_not_one_long_one():
    """A half circle and a straight line: π and 0, so their mean is π/2."""

    def both(alpha):
        return torch.cat([half_circle()(alpha), torch.stack([alpha, 2 * alpha])[None]])

    lengths = gauss_length(both, grid(201))
    assert lengths.tolist() == pytest.approx([math.pi, 0], abs=1e-4)
    assert float(lengths.mean()) == pytest.approx(math.pi / 2, abs=1e-4)


def corners(alpha):
    """Three legs with turns of 30° and 40°: max() makes the corners."""
    directions = [0.0, math.radians(30), math.radians(70)]
    steps = [torch.clamp(alpha - low, min=0) - torch.clamp(alpha - low - 1 / 3, min=0) for low in (0, 1 / 3, 2 / 3)]
    return sum(
        s * torch.tensor([math.cos(d), math.sin(d)], dtype=s.dtype) for s, d in zip(steps, directions, strict=True)
    )[None]


def test_corners_count_in_the_turning_and_are_invisible_to_autodiff():
    points = grid(50)
    assert math.degrees(float(total_turning(corners, points))) == pytest.approx(70, abs=1e-6)
    assert math.degrees(float(polygon_turning(sample_curve(corners, points))[0])) == pytest.approx(70, abs=1e-6)
    assert float(gauss_length(corners, points)) == pytest.approx(0, abs=1e-9)


def relu_curve(points=64):
    ends = [network(5, 24, 24, 3, activation=nn.ReLU, seed=s) for s in (1, 2)]
    x = torch.randn(8, 5, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    return OutputCurve(ends[0], *ends, x)


def test_refinement_never_lowers_the_turning_of_a_relu_network_and_autodiff_stays_below():
    curve = relu_curve()
    turnings = [total_turning(curve, grid(1 + 24 * 2**i)) for i in range(5)]
    for coarse, fine in pairwise(turnings):
        assert (fine >= coarse - 1e-12).all()
    assert turnings[-1].mean() > 1.2 * turnings[0].mean()
    assert (gauss_length(curve, grid(385)) < turnings[-1]).all()


def test_polygons_of_samples_never_exceed_the_turning_and_grow_to_it():
    curve = relu_curve()
    fine = total_turning(curve, grid(1537))
    inscribed = [polygon_turning(sample_curve(curve, grid(1 + 24 * 4**i))) for i in range(4)]
    for coarse, finer in pairwise(inscribed):
        assert (finer >= coarse - 1e-12).all()
    assert (inscribed[-1] <= fine + 1e-9).all()
    assert float(inscribed[-1].mean() / fine.mean()) > 0.95  # 0.75 of it on the coarsest grid


def test_on_a_smooth_network_both_measures_agree_and_equal_finite_differences():
    ends = [network(4, 12, 12, 3, seed=s) for s in (1, 2)]
    x = torch.randn(6, 4, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    curve = OutputCurve(ends[0], *ends, x)
    alphas, h = grid(101), 1e-4
    by_autodiff = gauss_length(curve, alphas)

    rates = []
    for alpha in alphas:
        left, centre, right = curve(alpha - h), curve(alpha), curve(alpha + h)
        v, a = (right - left) / (2 * h), (right - 2 * centre + left) / h**2
        u = v / v.norm(dim=-1, keepdim=True)
        rates.append((a - u * (u * a).sum(-1, keepdim=True)).norm(dim=-1) / v.norm(dim=-1))
    by_differences = torch.trapezoid(torch.stack(rates).detach(), alphas, dim=0)

    assert torch.allclose(by_autodiff, by_differences, atol=1e-4)
    assert torch.allclose(by_autodiff, total_turning(curve, alphas), rtol=0.01)


def test_with_one_output_only_sign_flips_turn():
    alphas = grid(101)
    assert float(total_turning(lambda a: ((a - 0.503) ** 2)[None, None], alphas)) == pytest.approx(math.pi)
    assert float(total_turning(lambda a: (a**2 + a)[None, None], alphas)) == 0


def test_a_point_without_velocity_is_passed_over():
    """(α - ½)³ e rests at ½, which is on the grid, and goes on in the same direction."""

    def cubic(alpha):
        return ((alpha - 0.5) ** 3 * torch.tensor([1.0, 2.0], dtype=torch.float64))[None]

    for measure in (gauss_length, total_turning):
        assert float(measure(cubic, grid(101))) == pytest.approx(0, abs=1e-12)


def test_resting_curves_are_refused_and_counted():
    def half_rest(alpha):
        return torch.stack([torch.stack([alpha, alpha]), torch.zeros(2, dtype=torch.float64)])

    for measure in (gauss_length, total_turning):
        with pytest.raises(ValueError, match="1 of 2 curves do not move"):
            measure(half_rest, grid(5))
    with pytest.raises(ValueError, match="2 of 2 curves do not move"):
        polygon_turning(torch.zeros(4, 2, 3))


@pytest.mark.parametrize(
    ("act", "said"),
    [
        (lambda: gauss_length(half_circle(), grid(1)), "two rising"),
        (lambda: total_turning(half_circle(), torch.tensor([0.0, 0.0])), "two rising"),
        (lambda: polygon_turning(torch.zeros(2, 1, 2)), "three points or more"),
    ],
)
def test_grids_too_short_are_refused(act, said):
    with pytest.raises(ValueError, match=said):
        act()


def test_a_straight_output_path_deviates_nowhere_from_its_chord_and_a_parabola_by_its_integral():
    alphas = grid(1001)
    line = torch.stack([alphas, 2 * alphas], -1)[:, None]
    assert float(chord_deviation(line, alphas)) == 0
    parabola = (alphas**2)[:, None, None]  # ∫ (α - α²)² = 1/30
    assert float(chord_deviation(parabola, alphas)) == pytest.approx(1 / 30, rel=1e-5)


def test_statistics_of_batch_norm_are_held_in_the_derivative_and_move_between_points():
    ends = [network(4, 8, 3, activation=nn.Tanh, batchnorm=True, seed=s) for s in (1, 2)]
    x = torch.randn(32, 4, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    curve = OutputCurve(ends[0], *ends, x, calibration=[x])
    curve.hold(0.25)
    held = curve.model[1].running_mean.clone()
    fixed = curve(torch.tensor(0.25, dtype=torch.float64))
    curve.hold(0.75)
    assert not torch.allclose(held, curve.model[1].running_mean)
    curve.hold(0.25)
    assert torch.equal(fixed, curve(torch.tensor(0.25, dtype=torch.float64)))
    assert torch.isfinite(gauss_length(curve, grid(20))).all()
    assert torch.equal(ends[0][1].running_mean, torch.zeros(8, dtype=torch.float64))


def test_an_lstm_without_forward_derivative_says_what_to_use():
    class Reader(nn.Module):
        def __init__(self):
            super().__init__()
            self.lstm = nn.LSTM(3, 4, batch_first=True)

        def forward(self, x):
            return self.lstm(x)[0]

    torch.manual_seed(0)
    ends, x = [Reader(), Reader()], torch.randn(2, 5, 3)
    curve = OutputCurve(ends[0], *ends, x)
    with pytest.raises(ValueError, match="use polygon_turning"):
        gauss_length(curve, grid(5))
    assert (polygon_turning(sample_curve(curve, grid(20))) > 0).all()


def test_attention_has_derivatives():
    layer = nn.TransformerEncoderLayer(8, 2, 16, dropout=0.0, batch_first=True)
    other = nn.TransformerEncoderLayer(8, 2, 16, dropout=0.0, batch_first=True)
    curve = OutputCurve(layer, layer, other, torch.randn(2, 5, 8, generator=torch.Generator().manual_seed(0)))
    assert (gauss_length(curve, grid(5)) > 0).all()
    assert torch.backends.mha.get_fastpath_enabled()
