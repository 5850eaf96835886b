"""The four variants: sizes as published, identity where they promise it, and fit for torch.func."""

import copy

import pytest
import torch
import torch.nn.functional as F
from torch import nn
from torch.func import functional_call, jvp, vmap

from mli_landscapes.resnet import VARIANTS, ResNet, shortcut

IDENTITY = ["bn-i", "nbn-i", "fixup"]


def count(model: nn.Module) -> int:
    return sum(p.numel() for p in model.parameters())


def convolutions(depth: int) -> int:
    """Weights of all 3 x 3 convolutions, counted by stage: n blocks of two, the first of them from the stage before."""
    per_stage = (depth - 2) // 6
    total, before = 3 * 16 * 9, 16
    for width in (16, 32, 64):
        total += 9 * (before * width + (2 * per_stage - 1) * width * width)
        before = width
    return total


@pytest.mark.parametrize("depth", [20, 32, 44, 56])
def test_parameters_are_those_of_the_published_architecture(depth):
    channels = 16 + 2 * (depth - 2) // 6 * (16 + 32 + 64)  # outputs of all convolutions
    classifier, branches = 64 * 10 + 10, (depth - 2) // 2
    assert count(ResNet(depth, "bn")) == convolutions(depth) + 2 * channels + classifier
    assert count(ResNet(depth, "bn-i")) == count(ResNet(depth, "bn"))
    assert count(ResNet(depth, "nbn-i")) == convolutions(depth) + channels + branches + classifier
    assert count(ResNet(depth, "fixup")) == convolutions(depth) + 5 * branches + 2 + classifier


def test_resnet_20_has_270_thousand_parameters():
    assert count(ResNet()) == 269_722  # He et al. 2016, table 6: 0.27M


@pytest.mark.parametrize("variant", IDENTITY)
def test_blocks_are_the_identity_at_initialisation(variant):
    for block in ResNet(20, variant).blocks:
        x = torch.rand(2, block.conv1.in_channels, 8, 8)
        assert torch.equal(block(x), shortcut(x, block.outputs, block.stride))


def test_blocks_with_batchnorm_are_not_the_identity_unless_their_last_gain_is_zero():
    block = ResNet(20, "bn").blocks[0]
    x = torch.rand(2, 16, 8, 8)
    assert (block(x) - x).abs().max() > 0.1


def test_a_shortcut_takes_every_second_pixel_and_appends_zero_channels():
    x = torch.arange(16.0).reshape(1, 1, 4, 4)
    expected = torch.zeros(1, 3, 2, 2)
    expected[0, 0] = torch.tensor([[0.0, 2.0], [8.0, 10.0]])
    assert torch.equal(shortcut(x, channels=3, stride=2), expected)
    assert torch.equal(shortcut(x, channels=1, stride=1), x)


@pytest.mark.parametrize("variant", ["nbn-i", "fixup"])
def test_variants_without_batchnorm_have_none(variant):
    assert not any(isinstance(module, nn.modules.batchnorm._BatchNorm) for module in ResNet(20, variant).modules())


def test_fixup_starts_with_zero_logits_and_first_convolutions_scaled_by_the_root_of_their_number():
    torch.manual_seed(0)
    plain, fixup = ResNet(56, "nbn-i"), ResNet(56, "fixup")  # 27 branches
    ratio = [
        (a.conv1.weight.std() / b.conv1.weight.std()).item() for a, b in zip(fixup.blocks, plain.blocks, strict=True)
    ]
    assert sum(ratio) / 27 == pytest.approx(27**-0.5, rel=0.02)  # the ratio of two sample deviations
    assert fixup(torch.randn(2, 3, 8, 8)).count_nonzero() == 0


@pytest.mark.parametrize("variant", VARIANTS)
def test_a_few_gradient_steps_lower_the_loss_and_reach_every_parameter(variant):
    torch.manual_seed(0)
    model = ResNet(8, variant, classes=4).double()  # in float32, Fixup's first changes of a gain of 1 are rounded off
    start = copy.deepcopy(model)
    images, labels = torch.randn(16, 3, 8, 8, dtype=torch.float64), torch.arange(16) % 4
    optimizer = torch.optim.SGD(model.parameters(), lr=0.05)
    losses = []
    for _ in range(6):
        optimizer.zero_grad()
        losses.append(F.cross_entropy(model(images), labels))
        losses[-1].backward()
        optimizer.step()
    assert losses[-1] < losses[0]
    moved = [not torch.equal(a, b) for a, b in zip(model.parameters(), start.parameters(), strict=True)]
    assert all(moved)


@pytest.mark.parametrize("size, channels", [(8, 1), (28, 1), (15, 3)])
def test_grey_and_odd_sized_images_are_accepted(size, channels):
    assert ResNet(8, classes=7, channels=channels)(torch.randn(2, channels, size, size)).shape == (2, 7)


@pytest.mark.parametrize("variant", VARIANTS)
def test_outputs_along_a_line_of_weights_have_derivatives_and_can_be_vectorised(variant):
    torch.manual_seed(0)
    model = ResNet(8, variant).double().eval()
    start = {name: p.detach() for name, p in model.named_parameters()}
    step = {name: 0.1 * torch.randn_like(p) for name, p in start.items()}
    images = torch.randn(2, 3, 8, 8, dtype=torch.float64)

    def outputs(alpha):
        return functional_call(model, {name: start[name] + alpha * step[name] for name in start}, (images,))

    alpha, width = torch.tensor(0.3, dtype=torch.float64), 1e-6
    _, slope = jvp(outputs, (alpha,), (torch.ones_like(alpha),))
    # central differences: error O(width²) plus rounding 1e-16 / width
    assert torch.allclose(slope, (outputs(alpha + width) - outputs(alpha - width)) / (2 * width), atol=1e-7)
    assert torch.allclose(vmap(outputs)(alpha[None])[0], outputs(alpha), atol=1e-12)


@pytest.mark.parametrize("depth", [2, 18, 21])
def test_a_depth_that_is_not_6n_plus_2_is_refused_by_name(depth):
    with pytest.raises(ValueError, match=rf"depth must be 6n \+ 2 .* got {depth}"):
        ResNet(depth)


def test_an_unknown_variant_is_refused_by_name():
    with pytest.raises(ValueError, match="unknown variant 'preact', choose from bn, bn-i, nbn-i, fixup"):
        ResNet(20, "preact")
