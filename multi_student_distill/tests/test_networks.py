"""The paper's networks by their parameters; what is looked up by name; costs."""

import pytest
import torch

from multi_student_distill.ledger import Ledger, forward_flops
from multi_student_distill.networks import (
    ADM_SIZES,
    ImageUNet,
    ResidualMLP,
    bottleneck_shape,
    build_network,
    parameter_count,
)


@pytest.mark.parametrize(("size", "count"), [("teacher", 295_899_267), ("small", 172_813_603), ("smaller", 85_943_555)])
def test_the_adm_networks_have_the_papers_sizes(size, count):
    with torch.device("meta"):
        assert parameter_count(build_network(ADM_SIZES[size], (3, 64, 64), 1000)) == count


def test_the_reductions_are_42_and_71_percent():
    assert pytest.approx(0.416, abs=5e-4) == 1 - 172_813_603 / 295_899_267
    assert pytest.approx(0.710, abs=5e-4) == 1 - 85_943_555 / 295_899_267


def test_networks_start_at_a_zero_output_and_give_their_bottleneck(generator):
    x = torch.randn(2, 1, 8, 8, generator=generator)
    c, y = torch.zeros(2), torch.tensor([0, 2])
    for name in ("mlp-16x2", "unet-8-16x1"):
        net = build_network(name, (1, 8, 8), 3)
        out, features = net(x, c, y, features=True)
        channels, side = bottleneck_shape(name, (1, 8, 8))
        assert out.shape == x.shape and features.shape == ((2, channels) if side is None else (2, channels, side, side))
        assert torch.equal(net(x, c, y), out)
    assert torch.equal(ResidualMLP((1, 8, 8), 3)(x, c, y), torch.zeros_like(x))


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("resnet-3", "unknown network 'resnet-3'"),
        ("mlp-8-8x2", "one width for an MLP"),
        ("mlp-8x0", "must be positive"),
        ("unet-8x1", "levels need at least two"),
        ("unet-8-16-32-64-128x1", "images .* that they halve"),
        ("unet-16-18x1", "multiple of 4"),
    ],
)
def test_a_network_that_cannot_be_built_is_refused_by_name(name, said):
    with pytest.raises(ValueError, match=said):
        build_network(name, (1, 8, 8), 3)


def test_the_ledger_counts_passes_in_operations(generator):
    net = ResidualMLP((2,), 4, 8, 1)
    cost = forward_flops(net, torch.zeros(3, 2), torch.zeros(3), torch.zeros(3, dtype=torch.int64))
    assert cost == 2 * (2 * 8 + 16 * 8 + 2 * 8 * 8 + 8 * 2)  # the five products of one row
    ledger = Ledger(costs={"student": cost})
    ledger.count("student", 10, backward=True)
    ledger.count("teacher", 5)
    assert ledger.passes == {"student": 30.0, "teacher": 5.0} and ledger.flops == 30 * cost
    both = ledger + ledger
    assert both.row()["forward_units"] == 70 and both.passes["teacher"] == 10
    again = Ledger()
    again.load(ledger.state())
    assert again.row() == ledger.row()


def test_images_of_the_paper_pass_through_an_adm_network_of_its_shape():
    net = ImageUNet((3, 16, 16), 10, (8, 16, 16, 32), 1)
    assert net(torch.zeros(1, 3, 16, 16), torch.zeros(1), torch.tensor([3])).shape == (1, 3, 16, 16)
