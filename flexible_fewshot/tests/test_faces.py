"""The default data: deterministic, and as correlated as it says."""

import numpy as np
import pytest
import torch

from flexible_fewshot import AttributeSplit, RenderedFaces, transferability_score
from flexible_fewshot.digits import ATTRIBUTES as DIGIT_ATTRIBUTES
from flexible_fewshot.digits import digits_pools, slant, width
from flexible_fewshot.faces import ATTRIBUTES, render


def test_an_image_is_a_function_of_seed_and_index():
    few, more = RenderedFaces(5, seed=3, identities=7), RenderedFaces(9, seed=3, identities=7)
    assert torch.equal(few.images(), more.images()[:5])
    assert few.table().images == more.table().images[:5]
    assert np.array_equal(few.table().values, more.table().values[:5])
    assert not torch.equal(few.images(), RenderedFaces(5, seed=4, identities=7).images())
    assert few.images().shape == (5, 3, 32, 32) and few.images().dtype == torch.uint8


def test_pixel_noise_does_not_depend_on_the_batch():
    z, u = torch.zeros(4, len(ATTRIBUTES)), torch.rand(4, 38) * 2 - 1
    assert torch.allclose(render(z, u)[2:3], render(z[2:3], u[2:3]), atol=1e-6)


@pytest.mark.parametrize("name", ATTRIBUTES)
def test_every_attribute_is_visible(name):
    """Alone on an otherwise plain face, with light or with dark hair, it changes some pixels clearly."""
    plain = torch.zeros(2, len(ATTRIBUTES))
    plain[1, ATTRIBUTES.index("Dark_Hair")] = 1
    with_it = plain.clone()
    with_it[:, ATTRIBUTES.index(name)] = 1
    nuisances = torch.zeros(2, 38)
    change = (render(with_it, nuisances, 0) - render(plain, nuisances, 0)).abs().amax(1)
    assert change.max() > 0.07 and (change > 0.04).sum() >= 4


def test_the_split_names_every_attribute_once_and_validates_on_attributes_of_its_own():
    split = AttributeSplit.load("faces")
    assert sorted([*split.train, *split.val, *split.test]) == sorted(ATTRIBUTES) and split.clean


@pytest.mark.parametrize(("rho", "low", "high"), [(0.0, 0.47, 0.53), (2.5, 0.82, 0.86)])
def test_rho_decides_how_well_test_attributes_can_be_told_from_train_ones(rho, low, high):
    """At ρ = 2.5 the mean T-score is about that of CelebA's labels on the official split, 0.84."""
    train, test = RenderedFaces(3000, rho, 0).table(), RenderedFaces(3000, rho, 1).table()
    scores = transferability_score(train, test, AttributeSplit.load("faces"))
    assert low < np.mean(list(scores.values())) < high


@pytest.mark.parametrize("change", [{"n": 0}, {"rho": -1.0}, {"nuisance": 4.0}, {"identities": 0}])
def test_faces_out_of_range_are_refused(change):
    with pytest.raises(ValueError, match="faces need n >= 1"):
        RenderedFaces(**{"n": 3, **change})


def test_digits_have_the_attributes_that_their_names_say():
    pools = digits_pools()
    images, table = pools["test"]
    assert images.shape[1:] == (3, 32, 32) and table.attributes == DIGIT_ATTRIBUTES
    label, values = table.identities, dict(zip(table.attributes, table.values.T, strict=True))
    assert np.array_equal(values["Even"], label % 2 == 0) and np.array_equal(values["Five_Or_More"], label >= 5)
    names = [set(t.images) for _, t in pools.values()]
    assert not (names[0] & names[1] or names[0] & names[2] or names[1] & names[2]) and sum(map(len, names)) == 1797
    train = pools["train"][1].values.mean(0)
    assert np.allclose(train[3:], 0.5, atol=0.03)  # medians of the training images


def test_slant_and_width_measure_slant_and_width():
    upright, leaning = np.zeros((1, 8, 8)), np.zeros((1, 8, 8))
    upright[0, :, 3:5] = 1
    for row in range(8):
        leaning[0, row, 7 - row] = 1
    assert slant(leaning)[0] == pytest.approx(1) and slant(upright)[0] == pytest.approx(0)
    assert width(leaning)[0] > 2 > width(upright)[0]
