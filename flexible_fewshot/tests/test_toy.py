"""The toy problem: what a linear ProtoNet keeps and what it projects away."""

import pytest
import torch
from pytorch_lightning import Trainer

from flexible_fewshot.toy import ToySettings, ToyWorld, closed_forms, toy_logits, toy_result, toy_world, train_toy


def trainer(steps):
    return Trainer(accelerator="cpu", barebones=True, max_steps=steps, max_epochs=-1)


@pytest.fixture(scope="module")
def trained():
    return train_toy(ToySettings(steps=3000, test_episodes=400), trainer)


def test_a_linear_protonet_generalises_to_new_episodes_but_not_to_new_attributes(trained):
    assert trained.train >= 92 and trained.test <= 58


def test_the_columns_of_attributes_that_training_does_not_use_are_projected_away(trained):
    assert trained.ratio >= 4 and trained.norms[:5].min() > trained.norms[5:].max()


def test_in_the_usual_few_shot_problem_it_generalises():
    """z one-hot, contexts are the classes themselves."""
    found = train_toy(ToySettings(steps=500, test_episodes=200, flexible=False), trainer)
    assert found.train > 99 and found.test > 97


def test_the_closed_forms_say_what_is_at_stake():
    settings = ToySettings(test_episodes=500)
    world = toy_world(settings)
    found = {name: toy_result(W, world, settings) for name, W in closed_forms(world).items()}
    every, own = found["all attributes"], found["training attributes"]
    assert every.train == pytest.approx(91.4, abs=1.5) and every.test == pytest.approx(91.2, abs=1.5)
    assert own.train == pytest.approx(95.7, abs=1.5) and own.test == pytest.approx(50, abs=1.5)
    assert own.norms[5:].max() < 1e-4


@pytest.mark.parametrize("density", [0.3, 0.5])
def test_negatives_are_uniform_over_the_complement(density):
    world = ToyWorld(torch.rand(30, 10), density)
    _, z = world.episodes(400, 20, 0, torch.Generator().manual_seed(0))
    pairs = torch.rand(400, 5, generator=torch.Generator().manual_seed(0)).argsort(1)[:, :2]
    own = z.gather(-1, pairs[:, None, None].expand(-1, 2, 40, -1))  # (400, 2, 40, 2)
    assert own[:, 0].min() == 1
    negative = own[:, 1].reshape(-1, 2)
    assert negative.all(1).sum() == 0
    neither = float((negative.sum(1) == 0).double().mean())
    assert neither == pytest.approx((1 - density) ** 2 / (1 - density**2), abs=0.02)
    assert float(z[..., 5:].mean()) == pytest.approx(density, abs=0.01)


def test_logits_are_differences_of_squared_distances():
    x, W = torch.randn(2, 2, 8, 30), torch.randn(10, 30)
    f = x @ W.T
    centre = f[:, :, :4].mean(2)
    q = f[1, 0, 5]
    expected = (q - centre[1, 1]).square().sum() - (q - centre[1, 0]).square().sum()
    assert float(toy_logits(W, x)[1, 0, 1]) == pytest.approx(float(expected), rel=1e-4)
