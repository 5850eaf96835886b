import math

import pytest
import torch

from latte3d.marching_tetrahedra import grid_vertices
from latte3d.metrics import (
    chamfer_distance,
    frechet_distance,
    highpass_correlation,
    mask_iou,
    render_fid,
    retrieval_at_k,
    volume_iou,
)


def test_iou_of_nested_spheres_is_the_ratio_of_their_volumes():
    distance = grid_vertices(60).norm(dim=-1)[None]
    assert volume_iou(distance - 0.5, distance - 0.8).item() == pytest.approx((0.5 / 0.8) ** 3, rel=0.02)
    assert volume_iou(distance - 0.5, distance - 0.5) == 1 and volume_iou(distance + 1, distance + 1) == 1


def test_iou_of_masks():
    first, second = torch.zeros(2, 4, 4), torch.zeros(2, 4, 4)
    first[0, :2], second[0, 1:3] = 1, 1
    assert mask_iou(first, second).tolist() == pytest.approx([1 / 3, 1])
    with pytest.raises(ValueError, match=r"got \(2, 4, 4\) and \(4, 4\)"):
        mask_iou(first, second[0])


def test_chamfer_of_a_shifted_sparse_cloud_is_the_shift():
    cloud = torch.cartesian_prod(*[torch.arange(4.0)] * 3)
    assert chamfer_distance(cloud, cloud + torch.tensor([0.25, 0, 0])) == pytest.approx(0.25)
    with pytest.raises(ValueError, match="got 64 and 0"):
        chamfer_distance(cloud, cloud[:0])


def test_retrieval_counts_ties_against_itself():
    assert retrieval_at_k(torch.eye(5), 1) == 1
    assert retrieval_at_k(torch.zeros(5, 5), 1) == 0 and retrieval_at_k(torch.zeros(5, 5), 5) == 1


def test_fine_detail_is_compared_whatever_the_colours(generator):
    x = torch.arange(32)
    stripes = ((x // 2) % 2).float().expand(2, 32, 32)[..., None].expand(2, 32, 32, 3)
    mask = torch.zeros(2, 32, 32, dtype=torch.bool)
    mask[:, 6:26, 6:26] = True
    found = highpass_correlation(0.3 * stripes + 0.5, stripes, mask)
    torch.testing.assert_close(found, torch.ones(2))
    assert highpass_correlation(torch.full_like(stripes, 0.4), stripes, mask).abs().max() == 0
    assert highpass_correlation(1 - stripes, stripes, mask).max() < -0.99
    noise = torch.rand(2, 32, 32, 3, generator=generator)
    assert highpass_correlation(noise, stripes, mask).abs().max() < 0.1
    outside = torch.where(mask[..., None], stripes, noise)
    assert highpass_correlation(outside, stripes, mask).min() > 0.8  # only the border sees what lies outside


def test_frechet_distance_of_gaussians(generator):
    x = torch.randn(20000, 3, generator=generator)
    y = 2 * torch.randn(20000, 3, generator=generator) + 1
    assert frechet_distance(x, y) == pytest.approx(3 * 1 + 3 * (1 - 2) ** 2, rel=0.05)
    assert frechet_distance(x, x) == pytest.approx(0, abs=1e-6)
    images = torch.rand(50, 4, 4, 3, generator=generator)
    assert render_fid(lambda i: i.mean((1, 2)), images, images + 0.5) == pytest.approx(0.75, rel=1e-3)
    assert math.isfinite(render_fid(lambda i: i.flatten(1), images[:5], images))
    with pytest.raises(ValueError, match="two samples, got 1 and 50"):
        render_fid(lambda i: i.flatten(1), images[:1], images)
