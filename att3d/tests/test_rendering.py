"""Cameras, volume rendering, normals, backgrounds and the packed path."""

import math

import pytest
import torch
from torch import nn

from att3d.background import ConstantBackground, ModulatedBackground
from att3d.cameras import Cameras, CameraSampler, ring
from att3d.field import ChosenField, DensityBlob, RadianceField, SharedDecoder, StackedDecoder, normals
from att3d.grid_encoder import ModulatedGridEncoder
from att3d.packed import occupancy, packed_scans_work, render_packed
from att3d.renderer import VolumeRenderer, box_edges, refined_edges
from att3d.shapes import ShapeField, render_truth, shape_prompts
from att3d.view_prompts import VIEWS, view_buckets, with_view


class Fog(nn.Module):
    """σ constant, grey."""

    def __init__(self, sigma):
        super().__init__()
        self.sigma = sigma

    def forward(self, w, x):
        return torch.full(x.shape[:-1], self.sigma), torch.full_like(x, 0.5)


def one_camera(elevation=0.0, azimuth=0.0, distance=2.6, fovy=45.0):
    return Cameras(*(torch.tensor([[value]]) for value in (elevation, azimuth, distance, fovy)))


@pytest.mark.parametrize("samples", [1, 7, 64])
def test_constant_density_absorbs_by_the_law_of_beer_whatever_the_number_of_samples(samples):
    out = VolumeRenderer(samples, 1).render(Fog(0.7), torch.zeros(1, 1), one_camera())
    assert float(out.opacity) == pytest.approx(1 - math.exp(-0.7 * 2), abs=1e-5)  # straight through the box: L = 2
    assert float(out.rgb[0, 0, 0]) == pytest.approx(1 - 0.5 * float(out.opacity), abs=1e-5)


def test_jittered_and_refined_samples_absorb_the_same(generator):
    for importance in (0, 16):
        renderer = VolumeRenderer(16, 2, importance)
        out = renderer.render(Fog(0.7), torch.zeros(1, 1), one_camera(), generator)
        exact = VolumeRenderer(16, 2).render(Fog(0.7), torch.zeros(1, 1), one_camera())
        assert torch.allclose(out.opacity, exact.opacity, atol=1e-5)


def test_refined_samples_gather_where_the_weight_is():
    edges = torch.linspace(0, 1, 11)[None, None]
    weights = torch.zeros(1, 1, 10)
    weights[..., 6] = 1
    fine = refined_edges(edges, weights, 20, None)
    assert fine.shape == (1, 1, 31) and int(((fine >= 0.6) & (fine <= 0.7)).sum()) >= 20


def test_a_ray_that_misses_the_box_sees_the_background():
    out = VolumeRenderer(8, 1).render(Fog(50.0), torch.zeros(1, 1), one_camera(distance=2.6), None)
    assert float(out.opacity) > 0.99
    origins, directions = torch.tensor([[[2.6, 3.0, 0.0]]]), torch.tensor([[[-1.0, 0.0, 0.0]]])
    edges = box_edges(origins, directions, 4)
    assert float((edges[..., -1] - edges[..., 0]).abs()) == 0


def test_the_origin_is_in_the_middle_of_every_image_and_the_edge_ray_at_half_the_field_of_view(generator):
    cameras = CameraSampler()(3, 4, generator)
    assert float(cameras.project(torch.zeros(1, 3)).abs().max()) < 1e-5
    forward = -cameras.rotations[..., 2]
    top = cameras.directions(torch.tensor([0.0]), torch.tensor([1.0]))[..., 0, :]
    angle = (forward * top).sum(-1).clamp(-1, 1).acos().rad2deg()
    assert torch.allclose(angle, cameras.fovy / 2, atol=0.02)
    turned = cameras.rotations.transpose(-1, -2) @ cameras.rotations
    assert torch.allclose(turned, torch.eye(3).expand_as(turned), atol=1e-5)
    assert bool((torch.linalg.det(cameras.rotations) > 0).all())


def test_what_is_up_is_at_the_top_and_what_is_right_is_right():
    camera = one_camera(azimuth=0.0)  # on +x, looking at the origin: right is +y
    points = camera.project(torch.tensor([[0.0, 0.0, 0.5], [0.0, 0.5, 0.0]]))[0, 0]
    assert float(points[0, 1]) > 0.1 and abs(float(points[0, 0])) < 1e-5
    assert float(points[1, 0]) > 0.1 and abs(float(points[1, 1])) < 1e-5
    field = ShapeField(["spike-topped red cube"])
    image = VolumeRenderer(48, 16).render(field, torch.zeros(1, 1), ring(1, 1)).rgb[0, 0]
    assert float(image[:, :8].mean()) > float(image[:, 8:].mean())  # the spike is above, the wide body below


def test_a_camera_at_the_pole_has_no_nan():
    assert bool(one_camera(elevation=90.0).rays(4)[1].isfinite().all())


def test_azimuths_are_stratified_and_ranges_kept(generator):
    cameras = CameraSampler(elevation=(-10.0, 60.0))(200, 4, generator)
    ordered = cameras.azimuth.sort(1).values
    gaps = torch.cat([ordered.diff(dim=1), ordered[:, :1] + 360 - ordered[:, -1:]], 1)
    assert float(gaps.max()) <= 180.001 and float(cameras.azimuth.abs().max()) <= 180
    assert float(cameras.elevation.min()) >= -10 and float(cameras.elevation.max()) <= 60
    assert abs(float(cameras.azimuth.mean())) < 10


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"distance": (2.0, 1.0)}, "distance must be a range"),
        ({"fovy": (0.0, 50.0)}, "fovy must be a range"),
        ({"elevation": (-100.0, 0.0)}, "elevation must be a range"),
        ({"on_sphere": 2.0}, "on_sphere is a share"),
    ],
)
def test_impossible_cameras_are_refused(wrong, said):
    with pytest.raises(ValueError, match=said):
        CameraSampler(**wrong)


@pytest.mark.parametrize(
    ("elevation", "azimuth", "view"),
    [(0, 0, "front"), (0, 44.9, "front"), (0, -45.1, "side"), (0, 90, "side"), (0, 135.1, "back"), (0, 180, "back"),
     (0, -180, "back"), (60, 0, "front"), (60.1, 0, "overhead"), (0, 360, "front")],
)  # fmt: skip
def test_views_are_named_by_their_angles(elevation, azimuth, view):
    assert VIEWS[int(view_buckets(torch.tensor(float(elevation)), torch.tensor(float(azimuth))))] == view
    assert with_view("a cat", VIEWS.index(view)) == f"a cat, {view} view"


def small_field():
    torch.manual_seed(0)
    encoder = ModulatedGridEncoder([3, 5], 4)
    return RadianceField(encoder, SharedDecoder(encoder.out_features, 16), DensityBlob(6.0, 0.5, -0.5, 6.0))


def test_prompts_rendered_together_are_each_rendered_alone(generator):
    field, renderer = small_field(), VolumeRenderer(12, 8)
    w = torch.randn(4, field.size, generator=generator)
    cameras = CameraSampler((2.6, 2.6))(4, 2, generator)
    together = renderer.render(field, w, cameras)
    for p in range(4):
        own = Cameras(*(getattr(cameras, n)[p : p + 1] for n in Cameras.__dataclass_fields__))
        alone = renderer.render(field, w[p : p + 1], own)
        for name in ("rgb", "opacity", "depth"):
            assert torch.allclose(getattr(together, name)[p], getattr(alone, name)[0], atol=1e-5)


def test_stacked_decoders_are_each_decoder_alone(generator):
    torch.manual_seed(0)
    stacked = StackedDecoder(3, 8, 5)
    features = torch.randn(3, 6, 8, generator=generator)
    for p in range(3):
        chosen = stacked(features[p : p + 1], torch.tensor([p]))
        assert torch.allclose(stacked(features)[p], chosen[0], atol=1e-6)
    shared = SharedDecoder(8, 5)
    copies = StackedDecoder(3, 8, 5, start=shared)
    assert torch.allclose(copies(features), shared(features), atol=1e-6)


def test_a_chosen_field_is_the_field_of_its_rows(generator):
    encoder = ModulatedGridEncoder([3], 4)
    field = RadianceField(encoder, StackedDecoder(3, 4, 5))
    w, x = torch.randn(3, encoder.size, generator=generator), torch.rand(3, 7, 3, generator=generator)
    rows = torch.tensor([2, 0])
    assert torch.allclose(ChosenField(field, rows)(w[rows], x[rows])[0], field(w, x)[0][rows], atol=1e-6)


def test_density_is_zero_outside_the_box_and_starts_as_a_blob():
    blob = DensityBlob()
    x = torch.tensor([[0.0, 0, 0], [0.5, 0, 0], [1.0, 1, 1], [1.1, 0, 0]])
    density = blob(torch.zeros(4), x)
    assert float(density[0]) == pytest.approx(10, abs=1e-3) and float(density[1]) == pytest.approx(
        math.log(2), abs=1e-5
    )
    assert float(density[2]) < 1e-9 and float(density[3]) == 0  # the corner is at −25 and gets no gradient
    assert float(DensityBlob(floor=-0.5)(torch.zeros(1), x[2:3])) > 1e-3


def test_normals_of_a_ball_point_outwards(generator):
    class Ball(nn.Module):
        def forward(self, w, x):
            return torch.sigmoid(-10 * (x.norm(dim=-1) - 0.5)), x

    x = torch.nn.functional.normalize(torch.randn(1, 50, 3, generator=generator), dim=-1) * 0.5
    assert torch.allclose(normals(Ball(), None, x), 2 * x, atol=1e-4)


def test_rendered_normals_can_be_trained(generator):
    field = small_field()
    w = torch.randn(1, field.size, generator=generator, requires_grad=True)
    out = VolumeRenderer(8, 4).render(field, w, one_camera(), generator, with_normals=True)
    assert out.normals.shape == (1, 1, 3, 4, 4) and out.facing.shape == out.weights.shape
    out.facing.square().sum().backward()
    assert bool(w.grad.isfinite().all()) and float(w.grad.abs().max()) > 0


def test_a_modulated_background_depends_on_the_text_and_the_ray(generator):
    background = ModulatedBackground()
    w = torch.randn(2, background.size, generator=generator)
    directions = torch.nn.functional.normalize(torch.randn(2, 9, 3, generator=generator), dim=-1)
    colours = background(w, directions)
    assert colours.shape == (2, 9, 3) and float(colours.std(1).min()) > 0
    assert not torch.equal(background(w.flip(0), directions), colours)
    field = small_field()
    both = torch.cat([torch.randn(2, field.size), w], 1)
    cameras = ring(2, 1)
    seen = VolumeRenderer(8, 4).render(field, both, cameras, background=background).rgb
    assert not torch.allclose(seen, VolumeRenderer(8, 4).render(field, both, cameras).rgb)


def test_colours_and_sizes_that_cannot_be_are_refused():
    with pytest.raises(ValueError, match=r"three numbers in \[0, 1\]"):
        ConstantBackground((1.0, 2.0, 0.0))
    with pytest.raises(ValueError, match="samples and resolution must be at least 1"):
        VolumeRenderer(0, 4)
    with pytest.raises(ValueError, match="w is for 2 prompts, the cameras for 1"):
        VolumeRenderer(2, 2).render(Fog(1.0), torch.zeros(2, 1), one_camera())


# the packed path


def segmented(starts, ends, density, rays, count):
    """Weights of packed samples in plain torch, ray by ray."""
    weights = torch.zeros_like(density)
    for ray in range(count):
        own = rays == ray
        absorbed = density[own] * (ends - starts)[own]
        weights[own] = (-(absorbed.cumsum(0) - absorbed)).exp() * (1 - (-absorbed).exp())
    return weights


def test_packed_rendering_of_occupied_samples_is_dense_rendering():
    field, camera = ShapeField(["slab-topped red cube"]), ring(1, 2)
    renderer, w = VolumeRenderer(32, 8), torch.zeros(1, 1)
    grid = occupancy(field, w)
    assert 0.02 < float(grid.float().mean()) < 0.5
    scan = None if packed_scans_work("cpu") else segmented
    packed = render_packed(renderer, field, w, camera, grid, scan)
    assert torch.allclose(packed, renderer.render(field, w, camera).rgb, atol=2e-3)  # what is skipped is below 1e-3


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU with a CUDA toolkit")
def test_packed_rendering_by_nerfacc_is_dense_rendering():
    if not packed_scans_work("cuda"):
        pytest.skip("nerfacc's kernels do not compile here")
    field, camera = ShapeField(["slab-topped red cube"]), ring(1, 2).to(torch.device("cuda"))
    renderer, w = VolumeRenderer(32, 8), torch.zeros(1, 1, device="cuda")
    packed = render_packed(renderer, field, w, camera, occupancy(field, w))
    assert torch.allclose(packed, renderer.render(field, w, camera).rgb, atol=2e-3)


def test_where_the_probe_fails_the_packed_path_is_refused():
    if packed_scans_work("cpu"):
        pytest.skip("nerfacc's packed scans work on this CPU")
    field, w = ShapeField(["slab-topped red cube"]), torch.zeros(1, 1)
    with pytest.raises(RuntimeError, match="packed scans do not work on cpu"):
        render_packed(VolumeRenderer(4, 4), field, w, ring(1, 1), torch.ones(2, 2, 2, dtype=torch.bool))
    with pytest.raises(ValueError, match="an occupancy grid is that of one prompt"):
        render_packed(VolumeRenderer(4, 4), field, torch.zeros(2, 1), ring(1, 1), torch.ones(2, 2, 2) > 0)


# the truth


def test_every_shape_is_within_the_box_and_no_two_look_alike():
    prompts = shape_prompts(4)
    assert len(prompts) == 64 and len(shape_prompts(3)) == 27
    axis = torch.linspace(-1, 1, 24)
    points = torch.stack(torch.meshgrid(axis, axis, axis, indexing="ij"), -1).reshape(1, -1, 3)
    edge = points[0].abs().amax(1) > 0.99
    colourless = [p for p in prompts if "red" in p]
    inside = torch.cat([ShapeField([p]).inside(points) for p in colourless])
    assert not bool(inside[:, edge].any()) and bool((inside.sum(1) > 200).all())
    images = render_truth(prompts[:8], ring(8, 1), 16).flatten(1)
    assert float(torch.cdist(images, images).add(99 * torch.eye(8)).min()) > 1


def test_a_prompt_that_names_no_shape_is_refused():
    with pytest.raises(ValueError, match="no shape is called 'a pink cat'"):
        ShapeField(["slab-topped red cube", "a pink cat"])
