import pytest
import torch

from latte3d.networks import (
    Latte3D,
    Text,
    TriplaneEncoder,
    anneal_clouds,
    annealed_chance,
    dummy_cloud,
    query_planes,
)
from latte3d.point_voxel import PointVoxelEncoder, devoxelise, scatter_to_planes, voxelise
from latte3d.triplane_unet import TriplaneUNet

SMALL = {
    "resolution": 8,
    "point_widths": [8],
    "voxels": [4],
    "widths": [8, 16],
    "text_width": 6,
    "channels": 4,
    "hidden": 8,
}


@pytest.fixture
def networks():
    torch.manual_seed(0)
    return Latte3D(**SMALL)


@pytest.fixture
def inputs(generator):
    clouds = torch.rand(2, 50, 6, generator=generator)
    clouds[..., :3] = clouds[..., :3] * 1.6 - 0.8
    mask = torch.tensor([[True, True, True], [True, False, False]])
    return clouds, Text(torch.randn(2, 3, 6, generator=generator), mask)


def disturb(module, generator):
    """Leave the zero start, so that outputs depend on inputs."""
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.add_(0.2 * torch.randn(parameter.shape, generator=generator))
    return module


def test_voxels_and_planes_hold_the_means_of_their_points():
    points = torch.tensor([[[-0.9, -0.9, 0.9], [-0.8, -0.7, 0.6], [0.9, 0.1, 0.1]]])
    features = torch.tensor([[[1.0], [3.0], [5.0]]])
    grid = voxelise(points, features, 2)
    assert grid[0, 0, 0, 0, 1] == 2 and grid[0, 0, 1, 1, 1] == 5 and grid.sum() == 7
    yz, xz, xy = scatter_to_planes(points, features, 2)[0, :, 0]
    assert yz.tolist() == [[0, 2], [0, 5]] and xz.tolist() == [[0, 2], [0, 5]] and xy.tolist() == [[2, 0], [0, 5]]


def test_what_was_put_in_a_voxel_is_read_at_its_centre():
    centres = (torch.cartesian_prod(*[torch.arange(4)] * 3) + 0.5) / 2 - 1
    values = torch.arange(64.0)[None, :, None]
    torch.testing.assert_close(devoxelise(voxelise(centres[None], values, 4), centres[None]), values)


def test_planes_are_read_where_points_were_scattered():
    point = torch.tensor([[[0.625, -0.375, 0.125]]])  # a cell centre of 8
    planes = scatter_to_planes(point, torch.ones(1, 1, 1), 8)
    torch.testing.assert_close(query_planes(planes, point), torch.ones(1, 1, 3))


def test_the_order_of_points_does_not_matter(networks, inputs, generator):
    clouds, text = inputs
    disturb(networks, generator)
    shuffled = clouds[:, torch.randperm(50, generator=generator)]
    torch.testing.assert_close(networks(clouds, text).geometry, networks(shuffled, text).geometry, atol=1e-5, rtol=1e-4)


def test_training_starts_from_a_grey_sphere(networks, inputs, generator):
    fields = networks(*inputs)
    points = torch.rand(2, 20, 3, generator=generator) * 2 - 1
    torch.testing.assert_close(fields.sdf(points), points.norm(dim=-1) - 0.5)
    assert (fields.color(points) == 0.5).all()


def test_text_alpha_and_cloud_all_reach_both_fields(networks, inputs, generator):
    clouds, text = inputs
    disturb(networks, generator)
    base = networks(clouds, text)
    other = Text(text.tokens.flip(0), text.mask.flip(0))
    for changed in (
        networks(clouds, other),
        networks(clouds, None),
        networks(clouds, text, torch.tensor([0.1, 0.9])),
        networks(clouds.flip(0), text),
    ):
        assert (changed.geometry - base.geometry).abs().amax() > 1e-4
        assert (changed.texture - base.texture).abs().amax() > 1e-4


def test_masked_tokens_do_not_count_and_neither_do_other_items(networks, inputs, generator):
    clouds, text = inputs
    disturb(networks, generator)
    noise = torch.where(text.mask[..., None], text.tokens, 7.0)
    torch.testing.assert_close(networks(clouds, Text(noise, text.mask)).geometry, networks(clouds, text).geometry)
    alone = networks(clouds[1:], Text(text.tokens[1:], text.mask[1:])).geometry
    torch.testing.assert_close(networks(clouds, text).geometry[1:], alone, atol=1e-5, rtol=1e-4)


def test_an_empty_prompt_is_no_nan(networks, inputs):
    clouds, text = inputs
    assert networks(clouds, Text(text.tokens, torch.zeros_like(text.mask))).geometry.isfinite().all()


def test_entering_the_surface_stage_keeps_smooth_colours_and_freezes_geometry(inputs, generator):
    clouds, text = inputs
    networks = disturb(Latte3D(**SMALL | {"resolution": 16}), generator)
    for part in (networks.texture.refine[-1], networks.texture.residual[-1]):
        torch.nn.init.zeros_(part.weight)
        torch.nn.init.zeros_(part.bias)
    points = torch.rand(2, 200, 3, generator=generator) * 1.2 - 0.6
    before = networks(clouds, text)
    color, sdf = before.color(points), before.sdf(points)
    networks.enter_surface_stage()
    after = networks(clouds, text)
    assert after.texture.shape[-1] == 32
    assert (after.color(points) - color).abs().mean() < 0.1 * color.std()  # planes are interpolated twice
    torch.testing.assert_close(after.sdf(points), sdf)
    assert networks.texture.encoder is not networks.geometry.encoder
    after.color(points).sum().backward()
    assert all(p.grad is None for p in networks.geometry.parameters())
    assert all(p.grad is not None for p in networks.texture.refine.parameters())


def test_weights_of_stage_one_load_into_stage_two(networks, inputs, generator):
    clouds, text = inputs
    disturb(networks, generator)
    later = Latte3D(**SMALL, surface=True)
    later.load_state_dict(networks.state_dict())
    assert torch.equal(later(clouds, text).geometry, networks(clouds, text).geometry)


def test_upsampling_takes_no_part_before_the_surface_stage(networks, inputs):
    networks(*inputs).color(torch.zeros(2, 3, 3)).sum().backward()
    assert networks.texture.refine[0].weight.grad is None and networks.texture.residual[0].weight.grad is None


def test_the_dummy_is_one_fixed_sphere_and_takes_over(generator):
    dummy = dummy_cloud(200)
    assert torch.equal(dummy, dummy_cloud(200))
    torch.testing.assert_close(dummy[:, :3].norm(dim=-1), torch.full((200,), 0.5))
    assert dummy[:, :3].mean(0).abs().max() < 0.01
    clouds = torch.zeros(4000, 1, 6)
    swapped = anneal_clouds(clouds, torch.ones(1, 6), annealed_chance(0.3), generator)
    assert swapped.mean().item() == pytest.approx(0.45, abs=0.04)  # 5 standard errors
    assert annealed_chance(0) == 0 and annealed_chance(0.6) == annealed_chance(1) == 0.9


def test_bad_inputs_are_refused_by_shape(networks, inputs):
    clouds, text = inputs
    with pytest.raises(ValueError, match=r"\(B, N, 6\) of xyz and rgb, got \(2, 50, 3\)"):
        networks(clouds[..., :3], text)
    with pytest.raises(ValueError, match="not finite"):
        networks(clouds * float("nan"), text)
    with pytest.raises(ValueError, match="for 1 clouds, got 2 texts and alpha None"):
        networks(clouds[:1], text)
    with pytest.raises(ValueError, match=r"got 2 texts and alpha \(1,\)"):
        networks(clouds, text, torch.ones(1))
    with pytest.raises(ValueError, match=r"one voxel resolution for each width, got \[8, 8\] and \[4\]"):
        PointVoxelEncoder([8, 8], [4])
    with pytest.raises(ValueError, match="multiple of 2, got 7"):
        TriplaneUNet(8, [8, 16], 6)(torch.zeros(1, 3, 8, 7, 7), *(torch.zeros(1, 1, 6), torch.ones(1, 1).bool()))


def test_the_demo_size_is_a_third_of_a_million_parameters():
    count = sum(p.numel() for p in Latte3D().parameters())
    assert 2e5 < count < 6e5
    assert TriplaneEncoder().resolution == 24
