from latte3d.marching_tetrahedra import grid_vertices
from latte3d.metrics import volume_iou
from latte3d.shapes import Shape
from latte3d.textured_mesh import TexturedMesh, vertex_colored
from latte3d.winding import mesh_field


def test_a_closed_mesh_gives_back_its_field():
    shape = Shape("ring", "plain", "ball on top", "green", "orange")
    corners = grid_vertices(24)
    found = mesh_field(vertex_colored(*shape.mesh(32), shape.rgb), corners)
    truth = shape.sdf(corners)
    assert volume_iou(found[None, :, 0], truth[None]).item() > 0.93
    near = truth.abs() < 0.15
    assert (found[near, 0] - truth[near]).abs().mean() < 0.03  # the spacing of the samples
    assert (found[:, 1:] - shape.rgb(corners)).abs().mean() < 0.1


def test_an_open_mesh_has_an_inside_all_the_same():
    """A ball without its top."""
    shape = Shape("ball")
    vertices, faces = shape.mesh(24)
    kept = faces[vertices[faces][:, :, 1].amin(1) < 0.2]
    corners = grid_vertices(16)
    found = mesh_field(TexturedMesh(vertices, kept, colors=shape.rgb(vertices)), corners)
    low = corners[:, 1] < 0
    assert volume_iou(found[None, low, 0], shape.sdf(corners)[None, low]).item() > 0.85
