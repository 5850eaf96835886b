import math
import sys
import types

import pytest
import shapes
import torch

from latte3d.cameras import CameraSampler, look_at_origin, orbit, project, ring
from latte3d.nvdiffrast_backend import NvdiffrastRasterizer, face_ranges, from_nvdiffrast
from latte3d.rasterizer import RasterOutput, camera_depth, get_rasterizer, interpolate, pack
from latte3d.torch_rasterizer import TorchRasterizer, barycentric, edge_weights, to_screen


def front_camera(distance=3.0, fov=0.8):
    return look_at_origin(torch.tensor([[0.0, 0, distance]]), torch.tensor([fov]))


def draw(meshes, cameras, size, rasterizer=None):
    packed = pack(meshes, views=len(cameras.fov) // len(meshes))
    clip = packed.clip(cameras)
    return packed, clip, (rasterizer or TorchRasterizer()).rasterize(clip, packed, size)


def dense_tri_id(clip, faces, size):
    """Every face against every pixel, (H, W)."""
    screen, z = to_screen(clip, size).double()[faces], (clip[:, 2] / clip[:, 3]).double()[faces]
    y, x = torch.meshgrid(torch.arange(size[0]), torch.arange(size[1]), indexing="ij")
    points = (torch.stack([x, y], -1) + 0.5).double().reshape(-1, 2)
    corners = screen[None].expand(len(points), -1, -1, -1).reshape(-1, 3, 2)
    weights = edge_weights(corners, points.repeat_interleave(len(faces), 0))
    weights = weights / weights.sum(-1, keepdim=True)
    depth = (weights.view(len(points), -1, 3) * z).sum(-1)
    depth[(weights.view(len(points), -1, 3) < 0).any(-1)] = torch.inf
    nearest = depth.min(-1)
    return torch.where(nearest.values.isfinite(), nearest.indices + 1, 0).view(*size)


def test_it_agrees_with_testing_every_face_at_every_pixel():
    vertices, faces = shapes.torus(8)
    packed, clip, out = draw([(vertices, faces)], ring(1, elevation=30), (24, 32))
    expected = dense_tri_id(clip, packed.faces, (24, 32))
    assert (out.tri_id[0] != expected).float().mean() < 2e-3  # ties on shared edges
    assert (expected > 0).float().mean() > 0.1


def test_the_nearer_square_hides_the_farther_one_whatever_the_order():
    near, far = shapes.quad(0.3, 0.3), shapes.quad(-0.3, 0.6)
    for first, second in ((near, far), (far, near)):
        vertices, faces = torch.cat([first[0], second[0]]), torch.cat([first[1], second[1] + 4])
        _, clip, out = draw([(vertices, faces)], front_camera(), (32, 32))
        assert camera_depth(clip, faces, out)[0, 16, 16].item() == pytest.approx(2.7, abs=1e-5)
        assert camera_depth(clip, faces, out)[0].max().item() == pytest.approx(3.3, abs=1e-5)


def test_depth_of_a_slanted_plane_is_that_of_the_rays():
    vertices, faces = shapes.quad(half=0.7)
    vertices[:, 2] = 0.5 * vertices[:, 0] + 0.2 * vertices[:, 1]
    camera = front_camera()
    _, clip, out = draw([(vertices, faces)], camera, (40, 40))
    origin, direction = camera.rays(40)
    along = (0.5 * origin[..., 0] + 0.2 * origin[..., 1] - origin[..., 2]) / (
        direction[..., 2] - 0.5 * direction[..., 0] - 0.2 * direction[..., 1]
    )
    expected = along * -direction[..., 2]  # depth along the viewing axis
    seen = out.tri_id > 0
    assert seen.sum() > 100
    torch.testing.assert_close(camera_depth(clip, faces, out)[seen], expected[seen], rtol=1e-5, atol=1e-5)


def test_positions_that_pixels_see_lie_on_their_rays():
    vertices, faces = shapes.icosphere(2)
    cameras = ring(3, elevation=20)
    packed, _, out = draw([(vertices, faces)], cameras, (33, 33))
    at = interpolate(packed.vertices, packed.faces, out)
    origin, direction = cameras.rays(33)
    off = torch.linalg.cross(at - origin, direction).norm(dim=-1)[out.tri_id > 0]
    assert off.max() < 1e-5


def test_the_picture_does_not_depend_on_the_order_of_faces(generator):
    vertices, faces = shapes.icosphere(3)
    shuffled = faces[torch.randperm(len(faces), generator=generator)]
    pictures = []
    for order in (faces, shuffled):
        packed, _, out = draw([(vertices, order)], ring(1), (64, 64))
        pictures.append(interpolate(packed.vertices, packed.faces, out))
    torch.testing.assert_close(*pictures, atol=1e-5, rtol=0)


def test_a_face_larger_than_the_screen_fills_it_and_fragments_may_come_in_chunks():
    vertices, faces = shapes.quad(half=50.0)
    whole = draw([(vertices, faces)], front_camera(), (16, 24))[2]
    assert (whole.tri_id > 0).all()
    chunked = draw([(vertices, faces)], front_camera(), (16, 24), TorchRasterizer(fragment_budget=7))[2]
    assert torch.equal(whole.tri_id, chunked.tri_id)


def test_faces_behind_the_camera_or_without_area_are_not_drawn():
    behind = shapes.quad(5.0)
    flat = (torch.zeros(3, 3), torch.tensor([[0, 1, 2]]))
    for mesh in (behind, flat):
        out = draw([mesh], front_camera(), (8, 8))[2]
        assert (out.tri_id == 0).all() and (out.depth == 1).all() and (out.bary == 0).all()


def test_meshes_of_different_sizes_in_one_batch_are_each_drawn_alone():
    meshes = [shapes.icosphere(1), shapes.torus(6), shapes.quad()]
    cameras = ring(2, elevation=25)
    both = type(cameras)(cameras.to_world.repeat(3, 1, 1), cameras.fov.repeat(3))
    packed, clip, out = draw(meshes, both, (20, 20))
    together = camera_depth(clip, packed.faces, out)
    for i, mesh in enumerate(meshes):
        alone, clip, out = draw([mesh], cameras, (20, 20))
        assert torch.equal(camera_depth(clip, alone.faces, out), together[2 * i : 2 * i + 2])


def test_barycentric_coordinates_pass_gradcheck():
    vertices, faces = shapes.icosphere(0, dtype=torch.double)
    packed, clip, out = draw([(vertices, faces)], ring(1, elevation=10), (6, 6))
    clip = clip.double().requires_grad_()
    assert torch.autograd.gradcheck(lambda c: barycentric(c, packed.faces, out.tri_id, (6, 6)), clip)


def test_a_checker_on_two_triangles_is_drawn_per_pixel():
    vertices, faces = shapes.quad()
    packed, _, out = draw([(vertices, faces)], front_camera(), (64, 64))
    at = interpolate(packed.vertices, packed.faces, out)[0]
    checker = ((at * 8).floor().sum(-1) % 2) * (out.tri_id[0] > 0)  # 8 x 8 squares from 4 vertices
    flips = (checker[32, 1:] != checker[32, :-1]).sum()
    assert flips >= 7


def test_pack_refuses_what_cannot_be_drawn():
    with pytest.raises(ValueError, match="at least one mesh"):
        pack([])
    with pytest.raises(ValueError, match="mesh 1 of 2 has no faces"):
        pack([shapes.quad(), (torch.zeros(3, 3), torch.zeros(0, 3, dtype=torch.long))])
    with pytest.raises(ValueError, match="mesh 0 has 2 vertices, but its faces name 0 to 2"):
        pack([(torch.zeros(2, 3), torch.tensor([[0, 1, 2]]))])


def test_clip_positions_are_checked():
    packed = pack([shapes.quad()])
    with pytest.raises(ValueError, match=r"expected clip positions \(4, 4\), got \(3, 4\)"):
        TorchRasterizer().rasterize(torch.zeros(3, 4), packed, (4, 4))
    with pytest.raises(ValueError, match="not finite"):
        TorchRasterizer().rasterize(torch.full((4, 4), math.nan), packed, (4, 4))


def test_backends_are_chosen_by_name(monkeypatch):
    assert isinstance(get_rasterizer("auto"), TorchRasterizer)
    with pytest.raises(ValueError, match="no rasterizer 'metal'"):
        get_rasterizer("metal")
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(ValueError, match="nvdiffrast is not installed"):
        get_rasterizer("nvdiffrast")
    monkeypatch.setattr("importlib.util.find_spec", lambda name: types.SimpleNamespace())
    assert isinstance(get_rasterizer("nvdiffrast"), NvdiffrastRasterizer)


def test_nvdiffrast_is_called_with_ranges_and_its_rows_are_turned(monkeypatch):
    """Its CUDA code cannot run here; what goes in and comes out can be checked."""
    packed = pack([shapes.icosphere(0), shapes.quad()], views=2)
    assert face_ranges(packed).tolist() == [[0, 20], [20, 20], [40, 2], [42, 2]]
    rast = torch.zeros(1, 2, 1, 4)
    rast[0, 0, 0] = torch.tensor([0.2, 0.5, -0.3, 7.0])  # its row 0 is the bottom one
    out = from_nvdiffrast(rast)
    assert out.tri_id.flatten().tolist() == [0, 7]
    torch.testing.assert_close(out.bary[0, 1, 0], torch.tensor([0.2, 0.5, 0.3]))
    assert out.bary[0, 0, 0].sum() == 0 and out.depth.flatten().tolist() == pytest.approx([1, -0.3])
    monkeypatch.setitem(sys.modules, "nvdiffrast", types.ModuleType("nvdiffrast"))
    with pytest.raises(ValueError, match="CUDA devices only, got a tensor on cpu"):
        NvdiffrastRasterizer().rasterize(torch.zeros(4, 4), packed, (4, 4))


def test_cameras_project_what_their_rays_pass_through(generator):
    cameras = CameraSampler(views=4)(2, generator)
    origin, direction = cameras.rays(5)
    points = (origin + 2.5 * direction).flatten(1, 2)
    screen = to_screen(project(cameras, points), (5, 5)).view(8, 5, 5, 2)
    y, x = torch.meshgrid(torch.arange(5) + 0.5, torch.arange(5) + 0.5, indexing="ij")
    torch.testing.assert_close(screen, torch.stack([x, y], -1).expand_as(screen), atol=1e-4, rtol=0)


def test_the_views_of_an_object_are_a_quarter_turn_apart_and_keep_its_size(generator):
    cameras = CameraSampler(views=4)(3, generator)
    flat = torch.nn.functional.normalize(cameras.positions[:, [0, 2]], dim=-1).view(3, 4, 2)
    torch.testing.assert_close((flat[:, 0] * flat[:, 1]).sum(-1), torch.zeros(3), atol=1e-5, rtol=0)
    half = cameras.positions.norm(dim=-1) * (cameras.fov / 2).tan()
    assert half.min() >= 0.8 and half.max() <= 1.0
    assert cameras.embedding().shape == (12, 16)
    torch.testing.assert_close(cameras.embedding().view(-1, 4, 4)[:, :3, 3].norm(dim=-1), torch.ones(12))
    assert len(cameras[:4].fov) == 4 and cameras.to(torch.double).fov.dtype == torch.double


def test_a_camera_right_above_is_refused():
    with pytest.raises(ValueError, match="no upright direction"):
        orbit(torch.zeros(1), torch.full((1,), 90.0), torch.full((1,), 40.0), torch.ones(1))


def test_raster_output_is_plain_tensors():
    assert RasterOutput._fields == ("tri_id", "bary", "depth")
