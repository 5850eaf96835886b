import math
from itertools import pairwise

import pytest
import torch
from test_networks import SMALL, disturb

from latte3d.cameras import Cameras, look_at_origin, ring
from latte3d.marching_tetrahedra import grid_vertices
from latte3d.networks import Latte3D
from latte3d.volsdf import (
    FieldQuery,
    VolSDFRenderer,
    VolumeQuery,
    bake,
    box_interval,
    composite,
    density,
    eikonal,
)

WHITE = torch.ones(3)


def volume(sdf, color, n):
    points = grid_vertices(n)
    values = torch.cat([sdf(points)[:, None], color(points)], -1)
    return values.T.reshape(1, 4, n + 1, n + 1, n + 1)


def test_density_at_the_surface_is_half_its_plateau():
    sdf = torch.tensor([-10.0, 0.0, 10.0])
    torch.testing.assert_close(density(sdf, 0.1), torch.tensor([10.0, 5.0, 0.0]))


def test_a_plane_lets_through_what_the_closed_form_says():
    """Outside a plane, σ = e^{-s/β} / 2β integrates from s = S to 0 to (1 - e^{-S/β}) / 2."""
    beta, samples = 0.1, 4000
    s = 0.5 * (1 - (torch.arange(samples) + 0.5) / samples)
    thickness = (density(s, beta) * 0.5 / samples)[None]
    rendering = composite(thickness, torch.zeros(1, samples, 3), s[None], torch.zeros(3))
    assert 1 - rendering.opacity.item() == pytest.approx(math.exp(-(1 - math.exp(-5)) / 2), rel=1e-4)


def test_opacity_of_a_sphere_is_its_disc_and_depth_its_front():
    renderer = VolSDFRenderer(size=64, samples=96)
    camera = look_at_origin(torch.tensor([[0.0, 0, 3.0]]), torch.tensor([0.8]))
    query = VolumeQuery(volume(lambda x: x.norm(dim=-1) - 0.6, lambda x: torch.full_like(x, 0.25), 48))
    out = renderer(query, camera, 0.01, WHITE)
    assert out.depth[0, 32, 32].item() == pytest.approx(3 - 0.6, abs=0.03)
    # a ray that passes at distance s collects k e^{-s/β} with k = sqrt(2 pi R β) / 2β, which widens the disc by
    # β (ln k + γ): the integral of 1 - exp(-k e^{-s/β})
    beta, radius = 0.01, 0.6
    radius += beta * (math.log(math.sqrt(2 * math.pi * radius * beta) / (2 * beta)) + 0.5772)
    tangent = radius / math.sqrt(9 - radius**2) / math.tan(0.4) * 32  # in pixels
    assert out.opacity.sum().item() == pytest.approx(math.pi * tangent**2, rel=0.02)
    assert out.color[0, 32, 32].tolist() == pytest.approx([0.25] * 3, abs=1e-3)
    assert out.color[0, 0, 0].tolist() == pytest.approx([1.0] * 3, abs=1e-3)


def test_the_baked_field_converges_to_the_direct_one_with_the_square_of_the_cell():
    """A smooth field: the error of trilinear interpolation is O(h²), so half the cell leaves a quarter of it."""

    def sdf(x):
        return x.norm(dim=-1) - 0.6 + 0.05 * (3 * x[..., 0]).sin()

    def color(x):
        return (2 * x).sin() / 2 + 0.5

    class Direct(VolumeQuery):  # the volume is only counted
        def __call__(self, points):
            return sdf(points), color(points)

    renderer, camera = VolSDFRenderer(16, 24), ring(2, elevation=20)
    exact = renderer(Direct(torch.zeros(1, 4, 2, 2, 2)), camera, 0.1, WHITE).color
    errors = [
        (renderer(VolumeQuery(volume(sdf, color, n)), camera, 0.1, WHITE).color - exact).abs().mean().item()
        for n in (12, 24, 48)
    ]
    for coarse, fine in pairwise(errors):
        assert 3 < coarse / fine < 6


def test_baked_and_direct_networks_agree(generator):
    networks = disturb(Latte3D(**SMALL), generator)
    fields = networks(torch.rand(2, 30, 6, generator=generator) * 2 - 1)
    cameras = ring(4)
    renderer = VolSDFRenderer(12, 16)
    direct = renderer(FieldQuery(fields), cameras, 0.2, WHITE)
    baked = renderer(VolumeQuery(bake(fields, 48)), cameras, 0.2, WHITE)
    assert (direct.color - baked.color).abs().mean() < 0.01


def test_each_object_is_rendered_by_its_own_cameras():
    small, large = (volume(lambda x, r=r: x.norm(dim=-1) - r, torch.zeros_like, 16) for r in (0.3, 0.7))
    cameras = ring(2)
    both = Cameras(cameras.to_world.repeat(2, 1, 1), cameras.fov.repeat(2))
    renderer = VolSDFRenderer(8, 16)
    together = renderer(VolumeQuery(torch.cat([small, large])), both, 0.05, WHITE)
    torch.testing.assert_close(together.opacity[:2], renderer(VolumeQuery(small), cameras, 0.05, WHITE).opacity)
    assert together.opacity[2:].sum() > 3 * together.opacity[:2].sum()
    with pytest.raises(ValueError, match="each of 2 objects, got 3 cameras"):
        renderer(VolumeQuery(torch.cat([small, large])), ring(3), 0.05, WHITE)


def test_backgrounds_may_differ_by_image():
    query = VolumeQuery(volume(lambda x: torch.ones(len(x)), torch.zeros_like, 4))
    colors = torch.tensor([[1.0, 0, 0], [0, 0, 1]])
    out = VolSDFRenderer(3, 4)(query, ring(2), 0.01, colors)
    torch.testing.assert_close(out.color, colors[:, None, None].expand(2, 3, 3, 3))


def test_the_eikonal_term_is_zero_for_distances_and_one_for_fog():
    def sphere(x):
        return x.norm(dim=-1) - 0.5

    assert eikonal(volume(sphere, torch.zeros_like, 24)) < 0.01
    assert eikonal(volume(lambda x: torch.full((len(x),), 0.1), torch.zeros_like, 24)).item() == pytest.approx(
        1, abs=1e-4
    )
    assert eikonal(volume(lambda x: 3 * sphere(x), torch.zeros_like, 24)).item() == pytest.approx(4, rel=0.05)


def test_rays_that_miss_the_box_have_no_length():
    near, far = box_interval(torch.tensor([[0.0, 0, 3], [0, 5, 3]]), torch.tensor([[0.0, 0, -1], [0, 0, -1]]))
    assert near.tolist() == pytest.approx([2, near[1].item()]) and far[0] == 4 and far[1] == near[1]


def test_samples_drawn_by_a_generator_are_repeatable(generator):
    query = VolumeQuery(volume(lambda x: x.norm(dim=-1) - 0.5, torch.zeros_like, 8))
    renders = [
        VolSDFRenderer(6, 6)(query, ring(1), 0.1, WHITE, torch.Generator().manual_seed(seed)).color
        for seed in (1, 1, 2)
    ]
    assert torch.equal(renders[0], renders[1]) and not torch.equal(renders[0], renders[2])
