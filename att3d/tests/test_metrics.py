"""Retrieval metrics, comparisons with the truth, meshes."""

import math

import pytest
import torch
from torch import nn

from att3d.mesh import box_points, to_mesh
from att3d.metrics import RPrecision, RProbability, clip_scores, iou, psnr
from att3d.retrieval import degraded
from att3d.scenes import Scenes


def test_features_that_say_nothing_give_chance(generator):
    scores = clip_scores(torch.ones(6, 5), torch.ones(27, 5))
    own = torch.arange(6)
    assert float(RProbability()(scores, own)) == pytest.approx(1 / 27)
    assert float(RPrecision()(scores, own)) == 0  # ties are no hits


def test_matched_orthogonal_features_give_one():
    scores = clip_scores(torch.eye(8), torch.eye(8))
    assert float(RProbability()(scores, torch.arange(8))) == pytest.approx(1, abs=1e-6)
    assert float(RPrecision()(scores, torch.arange(8))) == 1


def test_the_number_of_candidates_is_part_of_the_result(generator):
    images, texts = torch.randn(40, 6, generator=generator), torch.randn(40, 6, generator=generator)
    scores, own = clip_scores(images + 1.5 * texts, texts), torch.arange(40)
    few, many = RPrecision()(scores[:5, :5], own[:5]), RPrecision()(scores[:5], own[:5])
    assert float(few) >= float(many)


def test_metrics_accumulate_over_batches(generator):
    scores, own = torch.randn(20, 4, generator=generator), torch.randint(4, (20,), generator=generator)
    for kind in (RPrecision, RProbability):
        metric = kind()
        for part in (slice(0, 13), slice(13, 20)):
            metric.update(scores[part], own[part])
        assert float(metric.compute()) == pytest.approx(float(kind()(scores, own)))


def test_scores_that_do_not_fit_are_refused():
    with pytest.raises(ValueError, match=r"scores must be \(N, K\) and own \(N,\), got \(2, 3\) and \(3,\)"):
        RPrecision()(torch.zeros(2, 3), torch.zeros(3, dtype=torch.long))
    with pytest.raises(ValueError, match="one of the 3 candidates, got up to 5"):
        RProbability()(torch.zeros(2, 3), torch.tensor([0, 5]))


def test_overlap_and_decibels():
    one = torch.tensor([[True, True, False], [False, False, False]])
    other = torch.tensor([[True, False, True], [False, False, False]])
    assert torch.allclose(iou(one, other), torch.tensor([1 / 3, 1.0]))
    assert float(psnr(torch.full((3, 4, 4), 0.6), torch.full((3, 4, 4), 0.5))) == pytest.approx(20, abs=1e-3)


class Ball(nn.Module):
    def __init__(self, radius=0.6, colour=0.25):
        super().__init__()
        self.radius, self.colour = radius, colour

    def forward(self, w, x):
        return 6.93 * (1 + 5 * (self.radius - x.norm(dim=-1))), torch.full_like(x, self.colour)


def test_the_mesh_of_a_ball_has_its_volume_is_closed_and_coloured():
    mesh = to_mesh(Scenes(Ball(), torch.zeros(1, 1)), 64)
    assert mesh.volume == pytest.approx(4 / 3 * math.pi * 0.6**3, rel=0.02)
    assert mesh.is_watertight and set(mesh.visual.vertex_colors[:, 0].tolist()) == {64}


def test_matter_at_the_border_of_the_box_is_closed_there():
    mesh = to_mesh(Scenes(Ball(1.2), torch.zeros(1, 1)), 48)
    assert mesh.is_watertight and float(abs(mesh.vertices).max()) == 1


def test_an_empty_field_and_several_scenes_are_refused():
    with pytest.raises(ValueError, match=r"the field is empty: its density is at most .*, below the level 1e\+03"):
        to_mesh(Scenes(Ball(), torch.zeros(1, 1)), 16, level=1000.0)
    with pytest.raises(ValueError, match="a mesh is made of one scene, got 2"):
        to_mesh(Scenes(Ball(), torch.zeros(2, 1)), 16)


def test_points_of_the_box_reach_its_corners():
    points = box_points(5)
    assert points.shape == (125, 3) and points[0].tolist() == [-1, -1, -1] and points[-1].tolist() == [1, 1, 1]


def test_degraded_images_stay_images(generator):
    images = torch.rand(8, 3, 16, 16, generator=generator)
    out = degraded(images, generator)
    assert out.shape == images.shape and float(out.min()) >= 0 and float(out.max()) <= 1
