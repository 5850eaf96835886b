import itertools

import pytest
import torch

from latte3d.baselines import constant_iou, nearest_caption_iou
from latte3d.cameras import CameraSampler, ring
from latte3d.library import build_library, of_shape
from latte3d.retrieval import ShapeRetriever
from latte3d.shapes import (
    ATTACHMENTS,
    BODIES,
    COLORS,
    PROPORTIONS,
    TRIPLES,
    ProceduralShapes,
    Shape,
    draw_caption,
    is_held_out,
    vocabulary,
)
from latte3d.text import WordEncoder, words_of


def test_nine_triples_are_held_out_and_every_pair_of_their_words_is_seen():
    held_out = [triple for triple in TRIPLES if is_held_out(triple)]
    seen = [triple for triple in TRIPLES if not is_held_out(triple)]
    assert len(TRIPLES) == 45 and len(held_out) == 9
    for triple in held_out:
        for i, j in itertools.combinations(range(3), 2):
            assert any(other[i] == triple[i] and other[j] == triple[j] for other in seen)


def test_no_held_out_shape_is_trained_on_and_all_its_words_are():
    library = ProceduralShapes(each=2, held_out_each=2)
    assert len(library.train) == 72 and len(library.held_out) == 18
    assert not {shape.triple for shape in library.train} & {shape.triple for shape in library.held_out}
    trained = {word for shape in library.train for s in (False, True) for word in words_of(shape.caption([s] * 3))}
    assert {word for shape in library.held_out for word in words_of(shape.caption([True] * 3))} <= trained
    assert library.train == ProceduralShapes(each=2, held_out_each=2).train  # a seed says it all


@pytest.mark.parametrize(
    "triple", [triple for triple in TRIPLES if triple[0] in ("ring", "cone")] + [("ball", "tall", "ball on top")]
)
def test_shapes_fit_the_box_at_their_largest_and_their_distances_are_bounds(triple, generator):
    shape = Shape(*triple, size=1.0, yaw=15.0)
    axis = torch.linspace(-1, 1, 33)
    shell = torch.cartesian_prod(axis, axis, axis)
    assert (shape.sdf(shell)[shell.norm(dim=-1) > 0.98] > 0).all()
    points = torch.rand(500, 3, generator=generator) * 1.8 - 0.9
    step = 1e-3 * torch.nn.functional.normalize(torch.randn(500, 3, generator=generator), dim=-1)
    assert ((shape.sdf(points + step) - shape.sdf(points)).abs() <= 1e-3 * 1.01 + 1e-6).all()  # 1-Lipschitz


def test_captions_say_what_there_is_in_any_synonym():
    shape = Shape("cylinder", "tall", "ball on top", "red", "blue", "striped")
    assert shape.caption() == "a tall striped red cylinder with a blue ball on top"
    assert shape.caption([True] * 3) == "a long striped red tube with a blue sphere on top"
    assert Shape("cube", attachment="cube beside").caption() == "a red cube with a blue cube beside it"
    encoder = WordEncoder(vocabulary(), width=4, length=12)
    generator = torch.Generator().manual_seed(1)
    library = ProceduralShapes(each=1, held_out_each=1)
    encoder([draw_caption(s, generator) for s in library.train + library.held_out])  # no word is unknown


def test_colours_and_patterns_are_on_the_surface(generator):
    striped = Shape("cube", color="green", second="orange", attachment="ball on top", pattern="striped")
    cloud = striped.cloud(800, generator)
    assert striped.sdf(cloud[:, :3]).abs().max() < 0.05
    green, orange = torch.tensor(COLORS["green"]), torch.tensor(COLORS["orange"])
    kinds = [((cloud[:, 3:] - color).abs().amax(-1) < 1e-5).float().mean() for color in (green, green * 0.3, orange)]
    assert min(kinds) > 0.05 and sum(kinds).item() == pytest.approx(1)


def test_renders_show_the_body_colour_on_white():
    picture = Shape("ball", color="purple").render(ring(2), 32)
    middle = picture.color[:, 14:20, 14:20].mean((1, 2))
    torch.testing.assert_close(middle, torch.tensor(COLORS["purple"]).expand(2, 3), atol=1e-5, rtol=0)
    assert (picture.color[:, 0] == 1).all() and 0.1 < picture.mask.mean() < 0.4


def test_baselines_are_weak_guesses_for_this_library():
    """A constant that scored as well as a model would make IoU meaningless."""
    shapes = ProceduralShapes(each=2, held_out_each=1)
    settings = {"cameras": CameraSampler(views=1), "size": 4, "sets": 1, "points": 4, "cells": 16}
    train = build_library([of_shape(shape) for shape in shapes.train[::2]], **settings)
    held_out = build_library([of_shape(shape) for shape in shapes.held_out], **settings)
    assert 0.2 < constant_iou(train, held_out).mean() < 0.65
    assert constant_iou(train, train).mean() < 0.65
    nearest = nearest_caption_iou(train, held_out, WordEncoder(vocabulary(), width=32))
    assert 0.2 < nearest.mean() < 0.9
    assert (nearest_caption_iou(train, train, WordEncoder(vocabulary(), width=32)) > 0.9).float().mean() > 0.5


def test_unknown_words_are_refused():
    with pytest.raises(ValueError, match="unknown body 'house', choose from ball, cube"):
        Shape("house")
    with pytest.raises(ValueError, match="unknown pattern 'dotted', choose from plain"):
        Shape("ball", pattern="dotted")
    with pytest.raises(ValueError, match="unknown body 'house', choose from ball"):
        ProceduralShapes(bodies=["ball", "house"])
    with pytest.raises(ValueError, match="bodies is empty, choose from ball"):
        ProceduralShapes(bodies=[])
    assert set(BODIES) and set(PROPORTIONS) and set(ATTACHMENTS)


def test_unpaired_prompts_get_one_of_the_nearest_shapes(generator):
    encoder = WordEncoder(vocabulary(), width=32, length=12)
    shapes = [Shape(body, color=color) for body in ("ball", "cube", "ring") for color in ("red", "blue")]
    captions = encoder.mean([shape.caption() for shape in shapes])
    retriever = ShapeRetriever(captions, top=2)
    prompt = encoder.mean(["a red cube", "a blue ring"])
    assert [shapes[i].caption() for i in retriever.nearest(prompt)] == ["a red cube", "a blue ring"]
    drawn = torch.stack([retriever.draw(prompt, generator) for _ in range(40)])
    assert all(len(column.unique()) == 2 for column in drawn.T)


def test_renders_count_half_in_retrieval():
    captions, prompt = torch.eye(3), torch.tensor([[1.0, 0, 0]])
    renders = torch.eye(3)[[1, 0, 2]][:, None].expand(3, 4, 3)
    scores = ShapeRetriever(captions, renders).scores(prompt)
    torch.testing.assert_close(scores, torch.tensor([[0.5, 0.5, 0.0]]))
    with pytest.raises(ValueError, match=r"renders \(N, K, D\), got \(3, 3\) and \(2, 4, 3\)"):
        ShapeRetriever(captions, renders[:2])
