import math

import pytest
import torch

from latte3d.marching_tetrahedra import (
    cell_tets,
    grid_vertices,
    isosurface,
    kuhn_cell,
    kuhn_tet_grid,
    marching_tetrahedra,
    triangle_table,
)


def field(n, sdf, dtype=torch.float32):
    return sdf(grid_vertices(n, dtype)).reshape(n + 1, n + 1, n + 1)


def sphere(radius):
    return lambda x: x.norm(dim=-1) - radius


def torus(x):
    ring = x[:, [0, 2]].norm(dim=-1) - 0.55
    return torch.stack([ring, x[:, 1]]).norm(dim=0) - 0.22


def volume(vertices, faces):
    a, b, c = vertices[faces].unbind(1)
    return (a * torch.linalg.cross(b, c)).sum() / 6


def edge_use(faces):
    """How often each directed edge is used minus how often its reverse is, and how often each undirected one is."""
    directed = torch.cat([faces[:, [i, (i + 1) % 3]] for i in range(3)])
    low_high, inverse = torch.unique(directed.sort(1).values, dim=0, return_inverse=True)
    sign = torch.where(directed[:, 0] < directed[:, 1], 1, -1)
    balance = torch.zeros(len(low_high), dtype=torch.long).index_add(0, inverse, sign)
    return balance, torch.bincount(inverse)


def euler(vertices, faces):
    return len(vertices) - len(edge_use(faces)[1]) + len(faces)


def test_six_tetrahedra_of_positive_volume_fill_the_cube():
    corners = kuhn_cell().double()
    volumes = torch.linalg.det(corners[:, 1:] - corners[:, :1]) / 6
    torch.testing.assert_close(volumes, torch.full((6,), 1 / 6, dtype=torch.double))


def test_the_table_has_one_triangle_for_one_odd_corner_and_two_for_a_pair():
    inside = torch.tensor([bin(case).count("1") for case in range(16)])
    assert torch.equal(triangle_table()[0], torch.tensor([0, 1, 2, 1, 0])[inside])


@pytest.mark.parametrize(("sdf", "characteristic"), [(sphere(0.6), 2), (torus, 0)])
@pytest.mark.parametrize("n", [12, 25])
def test_surfaces_are_watertight_oriented_and_of_the_right_topology(sdf, characteristic, n):
    vertices, faces = isosurface(field(n, sdf))
    balance, uses = edge_use(faces)
    assert uses.unique().tolist() == [2] and balance.abs().max() == 0
    assert euler(vertices, faces) == characteristic
    assert volume(vertices, faces) > 0  # outwards


def test_any_noise_gives_a_closed_surface(generator):
    _, faces = isosurface(torch.randn(9, 9, 9, generator=generator))
    assert edge_use(faces)[0].abs().max() == 0


def test_a_field_that_vanishes_at_grid_corners_stays_closed():
    vertices, faces = isosurface(field(8, lambda x: x.abs().amax(-1) - 0.5))  # a cube through the grid's corners
    assert edge_use(faces)[1].unique().tolist() == [2]
    assert volume(vertices, faces) == pytest.approx(1.0, abs=12 * 0.25**2 / 2)  # a chamfer of one cell at 12 edges


def test_volume_of_a_sphere_and_its_derivative_in_the_radius():
    radius = torch.tensor(0.6, requires_grad=True)
    found = volume(*isosurface(field(32, lambda x: x.norm(dim=-1) - radius)))
    assert found.item() == pytest.approx(4 / 3 * math.pi * 0.6**3, rel=0.01)
    assert torch.autograd.grad(found, radius)[0].item() == pytest.approx(4 * math.pi * 0.6**2, rel=0.01)


def test_gradients_in_the_field_pass_gradcheck():
    values = field(3, sphere(0.7), torch.double) + 0.01
    values.requires_grad_()
    assert torch.autograd.gradcheck(lambda s: isosurface(s)[0], values)


def test_all_tetrahedra_and_only_those_cut_give_the_same_mesh():
    n = 10
    vertices, tets = kuhn_tet_grid(n)
    assert len(tets) == 6 * n**3
    everything = marching_tetrahedra(vertices, tets, torus(vertices))
    for a, b in zip(everything, isosurface(field(n, torus)), strict=True):
        assert torch.equal(a.sort(0).values, b.sort(0).values)


@pytest.mark.parametrize("value", [-1.0, 1.0])
def test_a_field_of_one_sign_has_no_faces(value):
    vertices, tets = kuhn_tet_grid(3)
    positions, faces = marching_tetrahedra(vertices, tets, torch.full((64,), value))
    assert positions.shape == (0, 3) and faces.shape == (0, 3)


def test_a_full_box_is_closed_by_its_walls():
    vertices, faces = isosurface(torch.full((9, 9, 9), -0.5))
    assert euler(vertices, faces) == 2
    assert volume(vertices, faces) == pytest.approx(8, abs=12 * 2 * 0.25**2 / 2)  # a chamfer of one cell at 12 edges


def test_fog_without_a_surface_is_refused():
    with pytest.raises(ValueError, match=r"no surface: the field lies in \[0\.1, 0\.1\]"):
        isosurface(torch.full((5, 5, 5), 0.1))


def test_wrong_shapes_and_values_are_refused():
    vertices, tets = kuhn_tet_grid(2)
    with pytest.raises(ValueError, match=r"sdf \(V,\), got \(27, 3\), \(48, 4\) and \(26,\)"):
        marching_tetrahedra(vertices, tets, torch.zeros(26))
    with pytest.raises(ValueError, match="not finite at 27 of 27"):
        marching_tetrahedra(vertices, tets, torch.full((27,), float("nan")))
    with pytest.raises(ValueError, match=r"got \(3, 3, 4\)"):
        isosurface(torch.zeros(3, 3, 4))
    with pytest.raises(ValueError, match="got n = 0"):
        kuhn_tet_grid(0)


def test_cells_know_their_corners():
    assert cell_tets(torch.tensor([[1, 1, 1]]), 2).min() == 13 and cell_tets(torch.tensor([[1, 1, 1]]), 2).max() == 26
