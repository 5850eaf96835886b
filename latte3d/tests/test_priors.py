import pytest
import torch

from latte3d.cameras import Cameras, ring
from latte3d.diffusion import Condition
from latte3d.networks import Text
from latte3d.priors import (
    DepthDiffusionPrior,
    MultiViewAttnProcessor,
    MultiViewDiffusionPrior,
    crop,
    depth_map,
    pixel_places,
)
from latte3d.text import WordEncoder

SIZES = {"text_length": 3, "text_width": 8, "size": 8, "channels": (8, 16)}


@pytest.fixture
def multi_view():
    torch.manual_seed(0)
    return MultiViewDiffusionPrior(**SIZES).requires_grad_(False)


@pytest.fixture
def condition(generator):
    cameras = ring(4)
    both = Cameras(cameras.to_world.repeat(2, 1, 1), cameras.fov.repeat(2))
    return Condition(Text(torch.randn(2, 3, 8, generator=generator), torch.ones(2, 3).bool()), both)


def test_a_view_depends_on_the_others_of_its_object_alone(multi_view, condition, generator):
    noisy = torch.randn(8, 3, 8, 8, generator=generator)
    t = torch.full((8,), 300)
    before = multi_view.denoise(noisy, t, condition)
    noisy[2] += 1  # the third view of the first object
    moved = (multi_view.denoise(noisy, t, condition) - before).abs().amax((1, 2, 3))
    assert (moved[:4] > 1e-5).all() and moved[4:].max() < 1e-6


def test_permuting_views_with_their_cameras_permutes_the_outputs(multi_view, condition, generator):
    noisy, t = torch.randn(8, 3, 8, 8, generator=generator), torch.full((8,), 300)
    order = torch.tensor([2, 0, 3, 1, 4, 5, 6, 7])
    out = multi_view.denoise(noisy, t, condition)
    permuted = multi_view.denoise(noisy[order], t, condition._replace(cameras=condition.cameras[order]))
    torch.testing.assert_close(permuted, out[order], atol=1e-5, rtol=1e-4)
    without = multi_view.denoise(noisy[order], t, condition)  # the cameras stay: they matter
    assert (without - out[order])[:4].abs().max() > 1e-4


def test_a_pair_is_with_and_without_the_text(multi_view, condition, generator):
    noisy, t = torch.randn(8, 3, 8, 8, generator=generator), torch.full((8,), 300)
    conditional, unconditional = multi_view.denoise_pair(noisy, t, condition)
    torch.testing.assert_close(conditional, multi_view.denoise(noisy, t, condition), atol=1e-5, rtol=1e-4)
    other = condition._replace(text=Text(condition.text.tokens.flip(0), condition.text.mask))
    torch.testing.assert_close(multi_view.denoise_pair(noisy, t, other)[1], unconditional)
    assert (multi_view.denoise_pair(noisy, t, other)[0] - conditional).abs().max() > 1e-4


@pytest.mark.parametrize("depth", [False, True])
def test_priors_learn_one_object(depth, condition, generator):
    torch.manual_seed(0)
    prior = (DepthDiffusionPrior if depth else MultiViewDiffusionPrior)(**SIZES)
    if depth:
        maps = torch.rand(8, 1, 8, 8, generator=generator)
        condition = condition._replace(cameras=None, depth=maps, place=pixel_places(8, 8))
    images = torch.rand(8, 1, 1, 3, generator=generator).expand(8, 8, 8, 3)
    optimizer = torch.optim.Adam(prior.parameters(), lr=1e-2)
    losses = []
    for _ in range(40):
        optimizer.zero_grad()
        loss = prior.loss(images, condition, generator)
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert sum(losses[-5:]) / 5 < 0.6 * losses[0]
    torch.testing.assert_close(prior.decode(prior.encode(images)), images)


def test_the_depth_prior_uses_depth_and_place(condition, generator):
    torch.manual_seed(0)
    prior = DepthDiffusionPrior(**SIZES)
    noisy, t = torch.randn(8, 3, 8, 8, generator=generator), torch.full((8,), 300)
    condition = Condition(condition.text, depth=torch.rand(8, 1, 8, 8, generator=generator), place=pixel_places(8, 8))
    out = prior.denoise(noisy, t, condition)
    for changed in (condition._replace(depth=condition.depth.flip(0)), condition._replace(place=-condition.place)):
        assert (prior.denoise(noisy, t, changed) - out).abs().max() > 1e-4
    assert prior.denoise_pair(noisy, t, condition)[0].shape == (8, 3, 8, 8)


def test_depth_maps_are_near_to_far_and_background_is_zero():
    depth = torch.tensor([[[2.0, 3.0], [4.0, 0.0]], [[0.0, 0.0], [0.0, 0.0]]])
    maps = depth_map(depth, depth > 0)
    torch.testing.assert_close(maps[0], torch.tensor([[1.0, 0.6], [0.2, 0.0]]))
    assert (maps[1] == 0).all()


def test_crops_are_windows():
    images = torch.arange(2 * 16.0).view(2, 1, 4, 4)
    windows = crop(images, 2, torch.tensor([[1, 0], [2, 2]]))
    assert windows[0, 0].tolist() == [[1, 2], [5, 6]] and windows[1, 0].tolist() == [[26, 27], [30, 31]]
    places = pixel_places(1, 4)[0]
    assert places[:, 0, 0].tolist() == [-0.75, 0.75]


def test_text_and_views_that_do_not_fit_are_refused(multi_view, condition):
    noisy, t = torch.zeros(8, 3, 8, 8), torch.zeros(8).long()
    wrong = condition._replace(text=Text(torch.zeros(2, 4, 8), torch.ones(2, 4).bool()))
    with pytest.raises(ValueError, match=r"expected text \(3, 8\) for each object of 8 images, got \(2, 4, 8\)"):
        multi_view.denoise(noisy, t, wrong)
    with pytest.raises(ValueError, match="expected 4 views of each object, got 6 images"):
        MultiViewAttnProcessor(4)(None, torch.zeros(6, 4, 8))


def test_words_have_frozen_vectors_and_positions():
    encoder = WordEncoder(["red", "blue", "cube", "a"], width=8, length=5)
    text = encoder(["a red cube", "A blue cube!"])
    assert text.mask.sum(1).tolist() == [3, 3] and (text.tokens[:, 3:] == 0).all()
    assert torch.equal(text.tokens[0, [0, 2]], text.tokens[1, [0, 2]])
    assert not torch.equal(text.tokens[0, 1], text.tokens[1, 1])
    assert not torch.equal(encoder(["red a"]).tokens[0, 0], encoder(["a red"]).tokens[0, 1])  # order counts
    assert torch.equal(encoder.mean(["a red"]), encoder.mean(["red a"]))
    assert list(encoder.parameters()) == []


def test_unknown_words_are_named():
    encoder = WordEncoder(["red", "cube"], width=4, length=3)
    with pytest.raises(ValueError, match="'reed' of 'reed cube' is unknown to this model; near it: red"):
        encoder(["reed cube"])
    with pytest.raises(ValueError, match="1 to 3 words, got 0 in '!'"):
        encoder(["!"])
    with pytest.raises(ValueError, match="got 4"):
        encoder(["red red red cube"])
