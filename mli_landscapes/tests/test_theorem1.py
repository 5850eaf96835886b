"""Theorem 1 where it binds: on curves at its sharp bound, and on networks fitted to zero loss."""

import math

import pytest
import torch
from torch import nn

from conftest import network
from mli_landscapes import OutputCurve, min_delta, quadratic_path, theorem1


def grid(points):
    return torch.linspace(0, 1, points, dtype=torch.float64)


def turned_leg(degrees, short=0.02, tight=1e-5):
    """A long straight leg, a turn within `tight` of alpha, and a shorter leg to the target."""
    phi, corner = math.radians(degrees), 1 - short

    def curve(alpha):
        s = torch.clamp((alpha - corner) / tight, 0, 1)  # the turn: direction angle s φ, an arc
        radius = tight / phi
        arc = torch.stack([torch.sin(s * phi) * radius, (1 - torch.cos(s * phi)) * radius])
        first = torch.clamp(alpha, max=corner) * torch.tensor([1.0, 0.0], dtype=torch.float64)
        last = torch.clamp(alpha - corner - tight, min=0) * torch.tensor(
            [math.cos(phi), math.sin(phi)], dtype=torch.float64
        )
        return (first + arc + last)[None]

    return curve


@pytest.mark.parametrize(("degrees", "monotone"), [(60, True), (89, True), (91, False), (120, False)])
def test_a_right_angle_is_the_sharp_bound(degrees, monotone):
    curve = turned_leg(degrees)
    turn = 0.98 + 1e-5 * grid(101)
    alphas = torch.cat([grid(100) * 0.98, turn, turn[-1] + (1 - turn[-1]) * grid(100)]).unique()
    result = theorem1(curve, curve(torch.tensor(1.0, dtype=torch.float64)), alphas)
    assert math.degrees(float(result.turning)) == pytest.approx(degrees, abs=0.01)
    assert bool(result.applies) == (degrees < 90)
    assert (float(result.rise) <= 1e-15) == monotone
    assert not result.violated(1e-12).any()


@pytest.fixture(scope="module")
def fitted():
    """A tanh network fitted to 24 random targets by L-BFGS, to zero loss."""
    generator = torch.Generator().manual_seed(3)
    x = torch.randn(24, 4, generator=generator, dtype=torch.float64)
    y = 0.5 * torch.randn(24, 3, generator=generator, dtype=torch.float64)
    start, model = network(4, 40, 40, 3, seed=5), network(4, 40, 40, 3, seed=5)
    optimizer = torch.optim.LBFGS(model.parameters(), max_iter=3000, tolerance_grad=1e-14, tolerance_change=0,
                                  history_size=50, line_search_fn="strong_wolfe")  # fmt: skip

    def closure():
        optimizer.zero_grad()
        loss = (model(x) - y).square().sum(-1).mean()
        loss.backward()
        return loss

    optimizer.step(closure)
    return start, model, x, y


def test_no_example_below_a_right_angle_rises_and_some_above_do(fitted):
    start, model, x, y = fitted
    result = theorem1(OutputCurve(model, start, model, x), y, grid(201))
    assert float(result.final_loss.mean()) < 1e-10
    assert not result.violated(1e-9).any()
    assert result.applies.any() and not result.applies.all()
    assert (result.rise[result.applies] <= 1e-9).all()
    assert (result.rise[~result.applies] > 1e-6).any()


def test_with_loss_left_the_rise_stays_within_the_slack(fitted):
    """Targets that the network does not reach: the loss may rise, by no more than 2 |z(1) - y| times the length."""
    start, model, x, y = fitted
    moved = y + 0.3 * torch.randn(y.shape, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    assert not theorem1(OutputCurve(model, start, model, x), moved, grid(201)).violated(1e-9).any()

    past = theorem1(lambda alpha: alpha[None, None], torch.tensor([[0.75]], dtype=torch.float64), grid(101))
    assert bool(past.applies) and float(past.rise) == pytest.approx(0.0625)  # a straight line past its target
    assert float(past.allowed) == pytest.approx(0.5) and not past.violated()


def test_a_straight_output_path_is_monotone_for_any_convex_loss(fitted):
    """Only the last layer moves, so outputs move on straight lines; the end minimises the loss along it."""
    start, model, x, y = fitted
    end = {name: value.clone() for name, value in model.state_dict().items()}
    begin = {**end, **{name: value for name, value in start.state_dict().items() if name.startswith("4.")}}
    curve = OutputCurve(model, begin, end, x)
    result = theorem1(curve, y, grid(101))
    assert float(result.turning.max()) < 1e-6
    for loss in (lambda r: r.square().sum(-1), lambda r: r.abs().sum(-1), lambda r: torch.log(torch.cosh(r)).sum(-1)):
        values = torch.stack([loss(curve(alpha) - y).mean() for alpha in grid(101)])
        assert float(min_delta(values)) < 1e-7


def test_a_wide_network_in_the_lazy_regime_hardly_turns_and_is_monotone():
    """Outputs scaled up and weights moving little: the linearised network, whose Gauss length is 0."""
    generator = torch.Generator().manual_seed(0)
    x, y = (torch.randn(10, d, generator=generator, dtype=torch.float64) for d in (3, 2))
    lengths = []
    for scale in (1.0, 100.0):
        start, model = (network(3, 400, 2, seed=1) for _ in range(2))

        def outputs(net, scale=scale, start=start):
            return scale * (net(x) - start(x).detach())

        optimizer = torch.optim.LBFGS(model.parameters(), max_iter=500, tolerance_grad=1e-16, tolerance_change=0,
                                      history_size=50, line_search_fn="strong_wolfe")  # fmt: skip

        def closure(optimizer=optimizer, outputs=outputs, model=model):
            optimizer.zero_grad()
            loss = (outputs(model) - y).square().sum(-1).mean()
            loss.backward()
            return loss

        optimizer.step(closure)
        result = theorem1(OutputCurve(model, start, model, x), outputs(model).detach() / scale + start(x).detach(),
                          grid(101))  # fmt: skip
        lengths.append(float(result.turning.max()))
        if scale == 100:
            assert float(result.rise.max()) < 1e-12
    assert lengths[1] < 0.05 * lengths[0]


def test_a_two_layer_linear_network_moves_on_parabolas():
    first, second = (nn.Sequential(nn.Linear(3, 5, bias=False), nn.Linear(5, 2, bias=False)).double() for _ in "ab")
    x = torch.randn(4, 3, dtype=torch.float64)
    curve = OutputCurve(first, first, second, x)
    points = torch.stack([curve(alpha) for alpha in grid(6)])
    assert points.diff(n=3, dim=0).abs().max() < 1e-12  # third differences of a quadratic vanish


def test_targets_of_another_shape_are_refused():
    curve = turned_leg(45)
    with pytest.raises(ValueError, match=r"outputs are \(1, 2\), targets \(1, 3\)"):
        theorem1(curve, torch.zeros(1, 3), grid(5))


def test_an_overshooting_coordinate_of_a_quadratic_bowl_rises_after_its_minimum():
    h, start = torch.tensor([1.0, 0.1], dtype=torch.float64), torch.ones(2, dtype=torch.float64)
    odd = quadratic_path(h, start, rate=1.9, steps=1, alphas=grid(1001))
    assert float(min_delta(odd.losses)) == pytest.approx(0.39735, abs=1e-5)
    assert odd.contraction.tolist() == pytest.approx([-0.9, 0.81])
    assert odd.rises_after.tolist() == pytest.approx([1 / 1.9, math.inf])
    assert float(min_delta(quadratic_path(h, start, rate=1.9, steps=2, alphas=grid(1001)).losses)) == 0


def test_the_closed_form_is_what_gradient_descent_does(generator):
    h = torch.rand(6, generator=generator, dtype=torch.float64) + 0.1
    start = torch.randn(6, generator=generator, dtype=torch.float64)
    weights = start.clone()
    for _ in range(7):
        weights = weights - 1.3 * h * weights
    expected = [0.5 * (h * ((1 - a) * start + a * weights) ** 2).sum() for a in grid(11)]
    path = quadratic_path(h, start, rate=1.3, steps=7, alphas=grid(11))
    assert torch.allclose(path.losses, torch.stack(expected), atol=1e-14)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ((torch.ones(2), torch.ones(3), 0.1, 1), "one d"),
        ((-torch.ones(2), torch.ones(2), 0.1, 1), "no negative curvature"),
        ((torch.ones(2), torch.ones(2), 0.1, 0), "steps at least 1"),
        ((torch.ones(2), torch.ones(2), -0.1, 1), "rate must be positive"),
    ],
)
def test_bowls_that_are_none_are_refused(arguments, said):
    with pytest.raises(ValueError, match=said):
        quadratic_path(*arguments, alphas=grid(3))
