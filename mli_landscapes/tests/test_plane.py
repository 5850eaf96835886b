"""Planes through three networks: where they lie in it, and that the loss seen there is theirs."""

import copy
import math

import pytest
import torch
from torch import nn

from conftest import network
from mli_landscapes import (
    NetworkStack,
    filter_normalised,
    grid_around,
    interpolate,
    loss_plane,
    parameters_of,
    plane,
    recalibrate_batchnorm,
    snapshot,
    squared_error,
)
from mli_landscapes.plane import Plane, dot


def three(dtype=torch.float64, **options):
    return [network(4, 6, 3, seed=seed, dtype=dtype, **options) for seed in range(3)]


def batch(dtype=torch.float64):
    generator = torch.Generator().manual_seed(0)
    return tuple(torch.randn(20, k, generator=generator, dtype=torch.float64).to(dtype) for k in (4, 3))


def flat(network):
    return torch.cat([value.double().flatten() for value in parameters_of(network).values()])


@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float64, 1e-12), (torch.float32, 1e-6)])
def test_the_basis_is_orthonormal_and_the_three_lie_at_their_corners(dtype, tolerance):
    """A at (0, 0), C at (|C - A|, 0), B above the first axis at its distances from both."""
    a, b, c = three(dtype)
    basis = plane(a, b, c)
    assert dot(basis.u, basis.u) == pytest.approx(1, abs=tolerance)
    assert dot(basis.v, basis.v) == pytest.approx(1, abs=tolerance)
    assert dot(basis.u, basis.v) == pytest.approx(0, abs=tolerance)
    side = {name: float((flat(p) - flat(q)).norm()) for name, p, q in (("ab", a, b), ("ac", a, c), ("bc", b, c))}
    p = (side["ab"] ** 2 + side["ac"] ** 2 - side["bc"] ** 2) / (2 * side["ac"])  # law of cosines
    q = math.sqrt(side["ab"] ** 2 - p**2)
    corners = basis.project([a, b, c])
    assert corners.dtype == torch.float64
    expected = torch.tensor([[0, 0], [p, q], [side["ac"], 0]], dtype=torch.float64)
    assert torch.allclose(corners, expected, rtol=0, atol=10 * tolerance)
    assert q > 0.1


@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float64, 1e-9), (torch.float32, 1e-5)])
@pytest.mark.parametrize("batchnorm", [False, True])
def test_at_the_corners_the_loss_is_the_networks_own(dtype, tolerance, batchnorm):
    networks = three(dtype, batchnorm=batchnorm)
    basis = plane(*networks)
    for model, (x, y) in zip(networks, basis.project(networks), strict=True):
        plain = copy.deepcopy(model)
        recalibrate_batchnorm(plain, [batch(dtype)])
        with torch.no_grad():
            expected = float(squared_error(plain.eval()(batch(dtype)[0]), batch(dtype)).mean())
        found = loss_plane(networks[2], basis, x[None], y[None], data=batch(dtype), metric=squared_error)
        assert float(found) == pytest.approx(expected, rel=tolerance)


def test_a_slice_is_x_by_y_and_its_first_axis_is_the_line_from_a_to_c():
    a, b, c = three()
    basis = plane(a, b, c)
    length = float(basis.project([c])[0, 0])
    x, y = torch.linspace(0, 1, 5).double() * length, torch.tensor([0.0, 1.0, 2.0]).double()
    values = loss_plane(a, basis, x, y, data=[batch(), batch()], metric=squared_error)
    assert values.shape == (5, 3) and values.dtype == torch.float64
    line = interpolate(a, c, data=batch(), metric=squared_error, alphas=5).values
    assert torch.allclose(values[:, 0], line, rtol=1e-9)
    stack = NetworkStack([a, b])
    along = Plane(snapshot(stack), *(snapshot(NetworkStack(pair)) for pair in ([a, a], [b, b])))
    assert loss_plane(stack, along, x, y, data=batch(), metric=squared_error).shape == (5, 3, 2)


def test_a_large_first_layer_is_shared_in_a_slice_without_changing_it():
    """The three outputs to combine are those of the origin and of the two directions."""
    a, b, c = (network(70, 6, 3, seed=seed) for seed in range(3))
    data = torch.randn(9, 70, generator=torch.Generator().manual_seed(0), dtype=torch.float64), torch.zeros(9, 3)
    basis, x, y = plane(a, b, c), torch.tensor([-1.0, 0.5]), torch.tensor([0.25])
    values = loss_plane(a, basis, x, y, data=data, metric=squared_error)
    for value, at in zip(values[:, 0], x, strict=True):
        point = copy.deepcopy(a)
        with torch.no_grad():
            for name, p in point.named_parameters():
                p.add_(at * basis.u[name] + 0.25 * basis.v[name])
            expected = squared_error(point(data[0]), data).mean()
        assert float(value) == pytest.approx(float(expected), rel=1e-12)


def test_a_trajectory_casts_its_shadow():
    """Halfway points project halfway, whatever they do across the plane."""
    a, b, c = three()
    basis = plane(a, b, c)
    across = {name: torch.ones_like(value) for name, value in basis.u.items()}
    for axis in (basis.u, basis.v):
        along = dot(across, axis)
        across = {name: value - along * axis[name] for name, value in across.items()}
    steps = [
        {name: (1 - t) * a.state_dict()[name] + t * b.state_dict()[name] + 3 * w for name, w in across.items()}
        for t in (0.0, 0.25, 1.0)
    ]
    shadows, (b_corner,) = basis.project(steps), basis.project([b])
    assert torch.allclose(shadows, torch.outer(torch.tensor([0, 0.25, 1]).double(), b_corner), atol=1e-12)


def test_running_statistics_do_not_enter_the_projection():
    networks = three(batchnorm=True)
    before = plane(*networks).project(networks)
    for model in networks:
        model.train()(1e3 * batch()[0])
    assert torch.equal(plane(*networks).project(networks), before)


def test_state_dicts_of_parameters_span_the_same_plane():
    networks = three()
    states = [snapshot(model) for model in networks]
    assert torch.equal(plane(*states).project(states), plane(*networks).project(networks))


def test_a_grid_covers_all_points_with_a_margin():
    x, y = grid_around(torch.tensor([[0.0, -1.0], [2.0, 3.0], [1.0, 0.0]]), count=5, margin=0.5)
    assert x.tolist() == [-1, 0, 1, 2, 3] and y.tolist() == [-3, -1, 1, 3, 5]


def test_filters_of_a_random_direction_are_as_long_as_the_references():
    reference = nn.Sequential(nn.Conv2d(2, 4, 3), nn.BatchNorm2d(4), nn.Flatten(), nn.Linear(16, 3)).double()
    direction = filter_normalised(reference, torch.Generator().manual_seed(0))
    assert list(direction) == [name for name, _ in reference.named_parameters()]
    for name, value in reference.named_parameters():
        if value.ndim > 1:
            assert torch.allclose(direction[name].flatten(1).norm(dim=1), value.flatten(1).norm(dim=1), rtol=1e-12)
            assert (direction[name] / value).flatten().std() > 0.1  # another direction
        else:
            assert direction[name].abs().max() == 0  # biases and gains are not moved
    again = filter_normalised(reference, torch.Generator().manual_seed(0))
    other = filter_normalised(reference, torch.Generator().manual_seed(1))
    assert all(torch.equal(direction[name], again[name]) for name in direction)
    assert not torch.equal(direction["0.weight"], other["0.weight"])
    values = loss_plane(
        reference, Plane(snapshot(reference), direction, other), torch.tensor([0.0, 1.0]), torch.zeros(1),
        data=(torch.ones(2, 2, 4, 4).double(), torch.zeros(2, 3)), metric=squared_error, calibration=[],
    )  # fmt: skip
    assert values[0] != values[1]


def test_filters_of_length_zero_stay_where_they_are():
    """As in Fixup, whose last layer starts at 0."""
    layer = nn.Linear(4, 2).double()
    with torch.no_grad():
        layer.weight[0] = 0
    direction = filter_normalised(layer, torch.Generator().manual_seed(0))
    assert direction["weight"][0].tolist() == [0, 0, 0, 0] and direction["weight"].isfinite().all()


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_three_networks_that_span_no_plane_are_refused(dtype):
    a, b, c = three(dtype)
    middle = {name: (a.state_dict()[name] + value) / 2 for name, value in c.state_dict().items()}
    with pytest.raises(ValueError, match="the three networks lie on one line: they span no plane"):
        plane(a, middle, c)
    for equal in ((a, a, c), (a, b, a), (a, b, b)):
        with pytest.raises(ValueError, match="the same weights"):
            plane(*equal)
    with pytest.raises(ValueError, match="different architectures"):
        plane(a, network(4, 7, 3), c)


def test_a_plane_of_another_model_is_refused():
    basis = plane(*three())
    with pytest.raises(ValueError, match=r"different architectures: 0.weight is \(6, 4\), in the model \(7, 4\)"):
        loss_plane(network(4, 7, 3), basis, torch.zeros(1), torch.zeros(1), data=batch(), metric=squared_error)
    with pytest.raises(ValueError, match=r"lacks 4\.weight, 4\.bias of the model"):
        loss_plane(network(4, 6, 3, 3), basis, torch.zeros(1), torch.zeros(1), data=batch(), metric=squared_error)
    with pytest.raises(ValueError, match="different architectures"):
        basis.project([network(4, 7, 3)])
    with pytest.raises(ValueError, match="data set 0 has no batches"):
        loss_plane(three()[0], basis, torch.zeros(1), torch.zeros(1), data=[], metric=squared_error)
