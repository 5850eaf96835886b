"""Halfedge meshes: rotations and polygons are the same thing (theorems T1 to T5), and what is refused, by name."""

import itertools

import pytest
import shapes
import torch
from hypothesis import given
from hypothesis import strategies as st

from spacemesh.errors import FAULTS, NotRepresentable
from spacemesh.families import shuffled
from spacemesh.halfedge import HalfedgeMesh
from spacemesh.manifold import manifold_report
from spacemesh.polygons import Polygons, canonical, validate_indices

ORIGIN = torch.zeros(9, 3)


def random_rotation(seed, count=7):
    """A complete graph with a random cycle at each vertex: mostly large faces and many handles."""
    generator = torch.Generator().manual_seed(seed)
    pairs = torch.combinations(torch.arange(count))
    tail, head = torch.cat([pairs, pairs.flip(1)]).T
    order = torch.argsort(tail * count + head)
    succ = torch.empty_like(tail)
    for vertex in range(count):
        own = torch.arange(count - 1) + vertex * (count - 1)
        cycle = own[torch.randperm(count - 1, generator=generator)]
        succ[cycle] = cycle.roll(-1)
    return torch.zeros(count, 3), tail[order], head[order], succ


def test_polygons_to_rotation_to_faces_is_the_identity(mesh):
    again = HalfedgeMesh.from_polygons(mesh.vertices, mesh.to_polygons())
    assert torch.equal(again.next, mesh.next) and torch.equal(again.is_hole, mesh.is_hole)
    rebuilt = HalfedgeMesh.from_rotation(mesh.vertices, mesh.tail, mesh.head, mesh.succ)
    assert torch.equal(rebuilt.next, mesh.next)


@pytest.mark.parametrize(
    ("build", "vertices", "edges", "faces", "genus", "loops"),
    [
        (shapes.cube, 8, 12, 6, 0, 0),
        (shapes.tetrahedron, 4, 6, 4, 0, 0),
        (shapes.dodecahedron, 20, 30, 12, 0, 0),
        (shapes.quad_torus, 24, 48, 24, 1, 0),
        (shapes.open_tube, 21, 35, 14, 0, 2),
        (shapes.capped_tube, 18, 30, 13, 0, 1),
        (shapes.genus_two, 48, 100, 50, 2, 0),
    ],
)
def test_counts_and_euler_characteristic(build, vertices, edges, faces, genus, loops):
    mesh = build()
    assert (len(mesh.vertices), len(mesh.edges), len(mesh.to_polygons())) == (vertices, edges, faces)
    assert mesh.genus == genus and len(mesh.boundary_loops()) == loops
    assert mesh.euler_characteristic == vertices - edges + faces == 2 - 2 * genus - loops


@pytest.mark.parametrize("seed", range(20))
def test_t1_any_rotation_puts_every_halfedge_on_one_face_and_two_sides_on_every_edge(seed):
    vertices, tail, head, succ = random_rotation(seed)
    mesh = HalfedgeMesh.from_rotation(vertices, tail, head, succ)
    assert sorted(mesh.next.tolist()) == list(range(len(tail)))
    sides = sorted((i, j) for face in mesh.to_polygons() for i, j in zip(face, [*face[1:], face[0]], strict=True))
    assert sides == sorted(zip(tail.tolist(), head.tolist(), strict=True))
    report = manifold_report(mesh.to_polygons(), len(vertices))
    assert report.closed and report.oriented


@pytest.mark.parametrize("seed", range(20))
def test_t2_one_cycle_at_each_vertex_is_one_umbrella(seed):
    mesh = HalfedgeMesh.from_rotation(*random_rotation(seed))
    assert manifold_report(mesh.to_polygons(), 7).vertex_manifold


def test_t2_two_cycles_at_a_vertex_pinch_it():
    vertices, tail, head, succ = random_rotation(0, count=5)
    own = (tail == 2).nonzero().flatten()
    succ[own] = own[[1, 0, 3, 2]]
    with pytest.raises(NotRepresentable, match="separate sheets touch: vertices 2 have several umbrellas"):
        HalfedgeMesh.from_rotation(vertices, tail, head, succ)


def test_t3_different_rotations_are_different_meshes():
    """K4 has 2^4 rotations and as many oriented meshes."""
    edges = list(itertools.combinations(range(4), 2))
    meshes = {
        frozenset(canonical(HalfedgeMesh.from_rotation(ORIGIN[:4], *rotation).to_polygons()))
        for rotation in shapes.rotation_systems(edges, 4)
    }
    assert len(meshes) == 16


@given(st.integers(0, 10**6))
def test_t4_genus_is_a_whole_number_of_at_least_0(seed):
    mesh = HalfedgeMesh.from_rotation(*random_rotation(seed))
    faces = len(mesh.to_polygons())
    assert mesh.genera.shape == (1,) and mesh.genus >= 0
    assert 7 - 21 + faces == 2 - 2 * mesh.genus


def test_t4_counts_components_one_by_one(cube, torus):
    both = torch.cat([cube.vertices, torus.vertices + 5])
    mesh = HalfedgeMesh.from_polygons(
        both, cube.to_polygons() + [[v + 8 for v in face] for face in torus.to_polygons()]
    )
    assert mesh.genera.tolist() == [0, 1] and mesh.euler_characteristic == 2 and mesh.genus == 1


def test_t5_reversed_rotations_mirror_the_mesh(mesh):
    mirrored = mesh.mirrored()
    assert canonical(mirrored.to_polygons()) == canonical([face[::-1] for face in mesh.to_polygons()])
    assert canonical(mirrored.boundary_loops()) == canonical([loop[::-1] for loop in mesh.boundary_loops()])
    assert torch.equal(mirrored.mirrored().next, mesh.next) and torch.equal(mirrored.mirrored().is_hole, mesh.is_hole)


def test_next_prev_twin_and_succ_fit_together(mesh):
    index = torch.arange(len(mesh.tail))
    assert torch.equal(mesh.next[mesh.prev], index) and torch.equal(mesh.prev[mesh.next], index)
    assert torch.equal(mesh.twin[mesh.twin], index) and torch.equal(mesh.tail[mesh.twin], mesh.head)
    assert torch.equal(mesh.tail[mesh.next], mesh.head) and torch.equal(mesh.tail[mesh.succ], mesh.tail)


def test_succ_turns_clockwise_seen_from_outside(cube):
    """At a corner of the cube, k = σ(j): (x_k - x_i) × (x_j - x_i) points outward."""
    x = cube.vertices
    a, b = x[cube.head[cube.succ]] - x[cube.tail], x[cube.head] - x[cube.tail]
    assert ((torch.linalg.cross(a, b) * x[cube.tail]).sum(-1) > 0).all()


def test_boundary_loops_run_against_the_faces_along_them(tube):
    sides = {(i, j) for face in tube.to_polygons() for i, j in zip(face, [*face[1:], face[0]], strict=True)}
    loops = tube.boundary_loops()
    assert sorted(map(len, loops)) == [7, 7]
    for loop in loops:
        along = list(zip(loop, [*loop[1:], loop[0]], strict=True))
        assert not set(along) & sides and {(j, i) for i, j in along} <= sides


def test_holes_may_be_chosen_and_a_wrong_number_of_marks_is_refused(cube):
    is_hole = torch.zeros(6, dtype=torch.bool)
    is_hole[2] = True
    box = cube.with_holes(is_hole)
    box.check()
    assert len(box.to_polygons()) == 5 and len(box.boundary_loops()) == 1 and box.euler_characteristic == 1
    with pytest.raises(ValueError, match=r"is_hole must be \(6,\), got \(5,\)"):
        cube.with_holes(is_hole[:5])


def test_holes_that_touch_are_refused_by_check(cube):
    with pytest.raises(NotRepresentable, match="touch holes twice"):
        cube.with_holes(torch.ones(6, dtype=torch.bool)).check()


@given(st.permutations(range(21)))
def test_the_numbering_of_vertices_means_nothing(order):
    tube = shapes.open_tube()
    other = shuffled(tube, tube.vertices, torch.tensor(order))
    back = [[order[v] for v in face] for face in other.to_polygons()]
    assert canonical(back) == canonical(tube.to_polygons()) and torch.equal(other.vertices, tube.vertices[order])
    assert sorted(map(len, other.boundary_loops())) == [7, 7]


def test_a_face_along_both_sides_of_a_bridge_is_kept_as_it_is():
    """An annulus cut open along 0 - 4, and its outer side."""
    inner = [[0, 1, 2, 3, 0, 4, 7, 6, 5, 4], [3, 2, 1, 0], [4, 5, 6, 7]]
    mesh = HalfedgeMesh.from_polygons(ORIGIN[:8], inner)
    assert canonical(mesh.to_polygons()) == canonical(inner)
    assert mesh.genera.tolist() == [0] and mesh.euler_characteristic == 2


@pytest.mark.parametrize(
    ("fault", "faces", "count", "said"),
    [
        ("empty", [], 3, "no faces: expected at least one polygon"),
        ("corners", [[0, 1, 2], [0, 1]], 3, "face 1 has 2, expected at least 3"),
        ("corners", [[0, 1, 1, 2]], 3, r"face 0 is \[0, 1, 1, 2\], expected 3 distinct ones"),
        ("corners", [[0, 1, 0, 1]], 2, "expected 3 distinct ones"),
        ("corners", [[0, 1, 0, 2]], 3, "turns back on its edge at 1"),
        ("index", [[0, 1, 3]], 3, "face 0 names vertex 3, there are 3"),
        ("index", [[0, 1, -1]], 3, "face 0 names vertex -1"),
        ("edge", [[0, 1, 2], [1, 0, 3], [0, 1, 4]], 5, "faces 0 and 2 both run 0 -> 1, of 3 sides"),
        ("winding", [[0, 1, 2], [0, 1, 3]], 4, "faces 0 and 1 both run 0 -> 1"),
        ("non-orientable", shapes.MOEBIUS, 6, "one side only: faces 0 and 2 both run 0 -> 1"),
        ("pinch", [[0, 1, 2], [0, 3, 4]], 5, "vertices 0 lie on two boundary loops"),
        ("pinch", [*shapes.TETRAHEDRON, [0, 5, 4], [0, 4, 6], [4, 5, 6], [5, 0, 6]], 7, "0 have several umbrellas"),
        ("isolated", [[0, 1, 2]], 9, "vertices 3, 4, 5, 6, 7 and 1 more belong to no face"),
    ],
)
def test_what_no_rotation_describes_is_refused_by_name(fault, faces, count, said):
    with pytest.raises(NotRepresentable, match=said) as caught:
        HalfedgeMesh.from_polygons(ORIGIN[:count], faces)
    assert caught.value.fault == fault and str(caught.value).startswith(FAULTS[fault])


def test_a_klein_bottle_is_refused_as_one_sided_and_its_torus_is_not():
    """A 4 x 4 grid of quads closed straight both ways, and with a turn one way."""

    def grid(twist):
        at = lambda a, b: a % 4 * 4 + ((-b if twist and a == 4 else b) % 4)  # noqa: E731
        return [[at(a, b), at(a + 1, b), at(a + 1, b + 1), at(a, b + 1)] for a in range(4) for b in range(4)]

    assert HalfedgeMesh.from_polygons(torch.zeros(16, 3), grid(twist=False)).genus == 1
    with pytest.raises(NotRepresentable, match="one side only"):
        HalfedgeMesh.from_polygons(torch.zeros(16, 3), grid(twist=True))


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_positions_that_are_not_finite_are_refused(cube, value):
    vertices = cube.vertices.clone()
    vertices[5, 1] = value
    with pytest.raises(NotRepresentable, match=r"not finite: vertex 5 is at \[1\.0, "):
        HalfedgeMesh.from_polygons(vertices, shapes.CUBE)


def test_an_unknown_fault_has_no_name():
    with pytest.raises(KeyError, match="ugly"):
        NotRepresentable("ugly", "")


@pytest.mark.parametrize("shape", [(4, 2), (12,)])
def test_positions_must_have_three_coordinates(shape):
    with pytest.raises(ValueError, match=r"vertices must be \(V, 3\), got \("):
        validate_indices(torch.zeros(shape), Polygons.of([[0, 1, 2]]))


def test_a_rotation_that_is_none_is_refused():
    vertices, tail, head, succ = random_rotation(3, count=4)
    build = HalfedgeMesh.from_rotation
    with pytest.raises(ValueError, match=r"expected 12 halfedges sorted by .*, got 12"):
        build(vertices, tail.flip(0), head.flip(0), succ)
    with pytest.raises(ValueError, match="expected 11 halfedges"):
        build(vertices, tail, head, succ[:11])
    with pytest.raises(ValueError, match="some halfedge has no twin"):
        build(vertices, tail[1:], head[1:], succ[1:])
    with pytest.raises(ValueError, match="succ must permute the halfedges that leave each vertex"):
        build(vertices, tail, head, succ.roll(3))
    with pytest.raises(ValueError, match="succ must permute"):
        build(vertices, tail, head, torch.zeros_like(succ))


def test_polygons_as_an_array_as_lists_and_as_polygons_are_the_same():
    array = Polygons.of(torch.tensor(shapes.CUBE))
    assert array.lists() == shapes.CUBE == Polygons.of(Polygons.of(shapes.CUBE)).lists()
    assert array.sizes.tolist() == [4] * 6
    assert array.kept(torch.tensor([True, False, False, True, False, False])).lists() == [
        shapes.CUBE[0],
        shapes.CUBE[3],
    ]


def test_canonical_faces_forget_where_they_begin_and_if_asked_which_way_they_run():
    assert canonical([[2, 0, 1]]) == canonical([[0, 1, 2]]) != canonical([[0, 2, 1]])
    assert canonical([[2, 0, 1]], oriented=False) == canonical([[0, 2, 1]], oriented=False)
    assert canonical([[0, 3, 0, 1]]) == {(0, 1, 0, 3)}  # twice through its smallest vertex
