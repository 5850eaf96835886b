import sys

import pytest
import shapes
import torch
import trimesh
from PIL import Image

from latte3d.bake import bake_texture, fill_seams, texel_positions, unwrap
from latte3d.cameras import look_at_origin, ring
from latte3d.marching_tetrahedra import grid_vertices, isosurface
from latte3d.rasterizer import get_rasterizer, pack
from latte3d.surface import render_surface, sample_surface
from latte3d.textured_mesh import GREY, TexturedMesh, from_trimesh, read_mesh, vertex_colored

FRONT = look_at_origin(torch.tensor([[0.0, 0, 2.0]]), torch.tensor([0.9]))


def checker(points, scale=4):
    odd = ((points + 10) * scale).floor().sum(-1, keepdim=True) % 2
    return odd * torch.tensor([0.8, 0.1, 0.1]) + (1 - odd) * torch.tensor([0.1, 0.2, 0.9])


def smooth(points):
    return (2 * points).sin() * 0.4 + 0.5


def ball(n=20):
    return isosurface((grid_vertices(n).norm(dim=-1) - 0.6).view(n + 1, n + 1, n + 1))


def textured_quad():
    vertices, faces = shapes.quad()
    centre = (torch.arange(64) + 0.5) / 64 - 0.5
    rows, columns = torch.meshgrid(-centre, centre, indexing="ij")  # the first row is v = 1
    texture = checker(torch.stack([columns, rows, torch.zeros_like(rows)], -1))
    return TexturedMesh(vertices, faces, uvs=vertices[:, :2] + 0.5, texture=texture)


def test_a_checker_in_a_texture_on_two_triangles_is_seen_where_it_should_be():
    seen = textured_quad().render(FRONT, 96)
    packed = pack([shapes.quad()])
    shade = lambda positions, raster: checker(positions)  # noqa: E731
    truth = render_surface(packed, FRONT, 96, shade, torch.ones(3), get_rasterizer("torch"))
    assert (seen.color - truth.color).abs().mean() < 0.03  # texels are blended at the checker's lines
    assert seen.mask.mean() > 0.1 and torch.equal(seen.mask, truth.mask)


def test_a_baked_texture_shows_the_field():
    vertices, faces = ball()
    baked = bake_texture(vertices, faces, smooth, resolution=256)
    cameras = ring(3)
    shade = lambda positions, raster: smooth(positions)  # noqa: E731
    truth = render_surface(pack([(vertices, faces)], 3), cameras, 64, shade, torch.ones(3), get_rasterizer("torch"))
    error = (baked.render(cameras, 64).color - truth.color).abs().amax(-1)
    assert (error > 0.05).float().mean() < 1e-3  # slivers of marching tetrahedra have no texel of their own
    assert error.mean() < 0.001


def test_charts_cover_each_face_once_and_lie_in_the_unit_square():
    vertices, faces = ball(8)
    copies, charts, uvs = unwrap(vertices, faces)
    assert torch.equal(copies[charts], faces)
    assert uvs.min() >= 0 and uvs.max() <= 1
    positions, known = texel_positions(vertices[copies], charts, uvs, 64)
    assert (positions[known].norm(dim=-1) - 0.6).abs().max() < 3 * 0.25**2 / (8 * 0.6)  # the sag of a cell's diagonal


def test_seams_take_the_nearest_colour():
    texture, known = torch.zeros(4, 4, 3), torch.zeros(4, 4, dtype=torch.bool)
    texture[1, 1], known[1, 1] = 0.5, True
    assert (fill_seams(texture, known) == 0.5).all()
    with pytest.raises(ValueError, match="no texel lies inside a chart"):
        fill_seams(texture, known & False)


def test_a_glb_comes_back_with_its_vertices_uvs_and_texture_to_the_byte(tmp_path):
    vertices, faces = ball(8)
    baked = bake_texture(vertices, faces, checker, resolution=32)
    (path,) = baked.export(tmp_path / "ball.glb")
    again = read_mesh(path)
    torch.testing.assert_close(again.vertices, baked.vertices)
    assert torch.equal(again.faces, baked.faces)
    torch.testing.assert_close(again.uvs, baked.uvs, atol=1e-6, rtol=0)
    assert torch.equal((again.texture * 255).round(), (baked.texture * 255).round())
    assert list(tmp_path.iterdir()) == [path]  # nothing half-written


def test_vertex_colours_survive_a_glb(tmp_path):
    mesh = vertex_colored(*ball(8), smooth)
    again = read_mesh(mesh.export(tmp_path / "a.glb")[0])
    torch.testing.assert_close(again.vertices, mesh.vertices)
    torch.testing.assert_close(again.colors, mesh.colors, atol=0.5 / 255 + 1e-6, rtol=0)


def test_an_obj_brings_its_material_and_picture_and_two_share_a_folder(tmp_path):
    quad = textured_quad()
    files = [*quad.export(tmp_path / "one.obj"), *quad.export(tmp_path / "two.obj")]
    assert {file.name for file in files} == {
        f"{name}.{end}" for name in ("one", "two") for end in ("obj", "mtl", "png")
    }
    again = read_mesh(files[0])
    assert (again.render(FRONT, 48).color - quad.render(FRONT, 48).color).abs().mean() < 0.01


def test_nodes_are_placed_by_their_transforms_and_coloured_by_their_materials(tmp_path):
    scene = trimesh.Scene()
    for x, color in ((-2.0, [255, 0, 0, 255]), (2.0, [0, 0, 255, 255])):
        box = trimesh.creation.box()
        material = trimesh.visual.material.PBRMaterial(baseColorFactor=color)
        box.visual = trimesh.visual.TextureVisuals(material=material)
        scene.add_geometry(box, transform=trimesh.transformations.translation_matrix([x, 0, 0]))
    scene.export(str(tmp_path / "scene.glb"))
    mesh = read_mesh(tmp_path / "scene.glb")
    assert mesh.vertices[:, 0].min() == -2.5 and mesh.vertices[:, 0].max() == 2.5
    cloud = mesh.cloud(400, torch.Generator().manual_seed(0))
    left = cloud[:, 0] < 0
    torch.testing.assert_close(cloud[left, 3:].mean(0), torch.tensor([1.0, 0, 0]), atol=0.02, rtol=0)
    torch.testing.assert_close(cloud[~left, 3:].mean(0), torch.tensor([0.0, 0, 1]), atol=0.02, rtol=0)
    assert mesh.normalised().vertices.norm(dim=-1).max().item() == pytest.approx(0.9)


def test_textures_repeat_and_are_tinted_by_their_factor(tmp_path):
    quad = textured_quad()
    far = TexturedMesh(quad.vertices, quad.faces, uvs=quad.uvs + torch.tensor([3.0, -2.0]), texture=quad.texture)
    inner = quad.texture_at(torch.tensor([[0.3, 0.6]]))
    torch.testing.assert_close(far.texture_at(torch.tensor([[3.3, -1.4]])), inner, atol=1e-4, rtol=0)
    tinted = quad.to_trimesh()
    tinted.visual.material.baseColorFactor = [255, 0, 255, 255]
    trimesh.Scene(tinted).export(str(tmp_path / "tinted.glb"))
    texture = read_mesh(tmp_path / "tinted.glb").texture
    assert texture[..., 1].max() == 0 and texture[..., 0].max() > 0.7


def test_a_mesh_without_colour_is_grey():
    assert (from_trimesh(trimesh.creation.box()).colors == GREY).all()


def test_points_are_spread_by_area_and_carry_the_texture(generator):
    vertices = torch.tensor([[0.0, 0, 0], [1, 0, 0], [0, 1, 0], [0, 0, 5], [3, 0, 5], [0, 1, 5]])
    position, face, bary = sample_surface(vertices, torch.tensor([[0, 1, 2], [3, 4, 5]]), 4000, generator)
    assert face.float().mean().item() == pytest.approx(0.75, abs=0.03)
    assert position[face == 0].mean(0).tolist() == pytest.approx([1 / 3, 1 / 3, 0], abs=0.03)
    torch.testing.assert_close(bary.sum(1), torch.ones(4000))
    cloud = textured_quad().cloud(500, generator)
    assert (cloud[:, 3:] - checker(cloud[:, :3])).abs().mean() < 0.05
    with pytest.raises(ValueError, match="1 faces has no area"):
        sample_surface(torch.zeros(3, 3), torch.tensor([[0, 1, 2]]), 5, generator)


def test_what_is_no_coloured_mesh_is_refused(tmp_path):
    vertices, faces = shapes.quad()
    with pytest.raises(ValueError, match=r"at least one face \(F, 3\), got \(4, 3\) and \(0, 3\)"):
        TexturedMesh(vertices, faces[:0], colors=vertices)
    with pytest.raises(ValueError, match="not finite"):
        TexturedMesh(vertices / 0, faces, colors=vertices)
    with pytest.raises(ValueError, match="and not both"):
        TexturedMesh(vertices, faces)
    with pytest.raises(ValueError, match=r"colours of 4 vertices, got \(3, 3\)"):
        TexturedMesh(vertices, faces, colors=torch.zeros(3, 3))
    with pytest.raises(ValueError, match=r"a\.stl: expected a name that ends in \.glb or \.obj"):
        TexturedMesh(vertices, faces, colors=vertices).export(tmp_path / "a.stl")


def test_broken_files_are_named(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"none\.glb: no such file"):
        read_mesh(tmp_path / "none.glb")
    (tmp_path / "bad.glb").write_bytes(b"glTF broken")
    with pytest.raises(ValueError, match=r"bad\.glb cannot be read as a mesh"):
        read_mesh(tmp_path / "bad.glb")
    (tmp_path / "points.obj").write_text("v 0 0 0\nv 1 0 0\n")
    with pytest.raises(ValueError, match=r"points\.obj (has no faces|cannot be read)"):
        read_mesh(tmp_path / "points.obj")
    (tmp_path / "flat.obj").write_text("v 0 0 0\nv 1 0 0\nv 2 0 0\nf 1 2 3\n")
    with pytest.raises(ValueError, match=r"flat\.obj has faces, but no area"):
        read_mesh(tmp_path / "flat.obj")
    (tmp_path / "nan.obj").write_text("v nan 0 0\nv 1 0 0\nv 2 1 0\nf 1 2 3\n")
    with pytest.raises(ValueError, match=r"nan\.obj has coordinates that are not finite"):
        read_mesh(tmp_path / "nan.obj")


def test_baking_without_xatlas_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "xatlas", None)
    with pytest.raises(ValueError, match=r"pip install 'latte3d\[bake\]'"):
        unwrap(*shapes.quad())


def test_pictures_can_be_saved(tmp_path):
    picture = textured_quad().render(FRONT, 16).color[0]
    Image.fromarray((picture * 255).byte().numpy()).save(tmp_path / "a.png")
