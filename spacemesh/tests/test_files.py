"""Mesh files keep their polygons; what is cut short or points nowhere is refused by a message with the path."""

import numpy as np
import pytest
import shapes
import torch

from spacemesh.errors import NotRepresentable
from spacemesh.files import read_edges, read_mesh, read_polygons, write_mesh, write_polygons
from spacemesh.manifold import manifold_report
from spacemesh.polygons import canonical

PLY = """ply
format ascii 1.0
element vertex 3
property float x
property float y
property float z
element face 1
property list uchar int vertex_indices
end_header
"""


@pytest.mark.parametrize("suffix", [".obj", ".ply", ".off", ".OBJ"])
def test_polygons_and_float32_positions_survive_a_round_trip(mesh, suffix, tmp_path):
    x = mesh.vertices + torch.randn(mesh.vertices.shape, generator=torch.Generator().manual_seed(0)) / 3
    path = write_polygons(tmp_path / "new" / f"mesh{suffix}", x, mesh.to_polygons())
    vertices, faces = read_polygons(path)
    assert faces == mesh.to_polygons() and torch.equal(vertices.float(), x)  # nine digits tell all float32 apart
    assert [p.name for p in path.parent.iterdir()] == [path.name]  # no temporary file is left
    assert torch.equal(read_mesh(path).next, mesh.next)


def test_positions_of_any_size_survive(tmp_path, cube):
    x = cube.vertices * torch.tensor([1e-20, 1e20, 1.0]) + torch.tensor([0.0, 0.0, 1e-7])
    for kind in ("obj", "ply", "off"):
        assert torch.equal(read_polygons(write_polygons(tmp_path / f"x.{kind}", x, shapes.CUBE))[0].float(), x)


@pytest.mark.parametrize("suffix", [".stl", ".glb"])
def test_triangle_formats_get_triangles_of_the_same_closed_surface(dodecahedron, suffix, tmp_path):
    vertices, faces = read_polygons(write_mesh(tmp_path / f"mesh{suffix}", dodecahedron))
    report = manifold_report(faces, len(vertices))
    assert len(vertices) == 20 and len(faces) == 36 and report.closed and report.oriented and report.vertex_manifold


@pytest.mark.parametrize("kind", ["obj", "ply", "off"])
def test_meshes_are_written_with_their_polygons_and_without_their_holes(tube, kind, tmp_path):
    again = read_mesh(write_mesh(tmp_path / f"tube.{kind}", tube))
    assert torch.equal(again.next, tube.next) and torch.equal(again.is_hole, tube.is_hole)


SQUARE = "0 0 0 1 0 0 1 1 0 0 1 0\n"


@pytest.mark.parametrize(
    "text",
    [
        f"OFF\n4 2 0\n{SQUARE}3 0 1 2\n3 0 2 3\n",
        f"OFF 4 2 0\n{SQUARE}3 0\n1 2 3\n0 2 3\n",  # over several lines
        f"# made by hand\nOFF\n4 2 0 # counts\n\n{SQUARE}3 0 1 2 # a face\n\n3 0 2 3\n",
        f"OFF\n4 2 0\n{SQUARE}3 0 1 2 255 0 0\n3 0 2 3 0 255 0\n",
        f"OFF\n4 2 0\n{SQUARE}3 0 1 2 0.5 0.5 0.5 1.0\n3 0 2 3 0.5 0.5 0.5 1.0\n",
        f"OFF\r\n4 2 0\r\n{SQUARE}3 0 1 2\r\n3 0 2 3\r\n",
    ],
    ids=["plain", "lines", "comments", "rgb", "rgba", "carriage returns"],
)
def test_off_is_read_however_it_is_laid_out(text, tmp_path):
    path = tmp_path / "square.off"
    path.write_bytes(text.encode())
    vertices, faces = read_polygons(path)
    assert faces == [[0, 1, 2], [0, 2, 3]] and vertices.tolist()[2] == [1, 1, 0]


def test_obj_corners_may_have_textures_and_normals(tmp_path):
    path = tmp_path / "a.obj"
    path.write_text("# c\nv 0 0 0\nv 1 0 0\nv 1 1 0\nvt 0 0\nvn 0 0 1\nf 1/1/1 2//1 3/1\n")
    assert read_polygons(path)[1] == [[0, 1, 2]]


@pytest.mark.parametrize("order", "<>")
def test_binary_ply_is_read_in_either_order_whatever_else_it_holds(order, tmp_path):
    name = {"<": "binary_little_endian", ">": "binary_big_endian"}[order]
    lines = ["ply", f"format {name} 1.0", "comment made by hand", "element vertex 4", "property uchar red"]
    lines += [f"property double {axis}" for axis in "xyz"] + ["element strip 1", "property list int float t"]
    lines += ["element face 2", "property ushort group", "property list uchar int vertex_index", "end_header"]
    x = np.arange(12.0).reshape(4, 3)
    content = b"".join(b"\xff" + row.astype(f"{order}f8").tobytes() for row in x)
    content += np.array([1], f"{order}i4").tobytes() + np.array([0.5], f"{order}f4").tobytes()
    for face in ([0, 1, 2, 3], [3, 2, 1]):
        content += b"\0\0" + bytes([len(face)]) + np.array(face, f"{order}i4").tobytes()
    (tmp_path / "a.ply").write_bytes("\r\n".join([*lines, ""]).encode() + content)
    vertices, faces = read_polygons(tmp_path / "a.ply")
    assert np.array_equal(vertices, x) and faces == [[0, 1, 2, 3], [3, 2, 1]]


def test_npz_is_read_by_its_two_arrays(tmp_path):
    np.savez(tmp_path / "1.npz", vertices=np.eye(3), facets=np.array([[0, 1, 2]]))
    assert read_polygons(tmp_path / "1.npz")[1] == [[0, 1, 2]]
    np.savez(tmp_path / "2.npz", points=np.eye(3))
    with pytest.raises(ValueError, match=r"2.npz: not a readable NPZ mesh .*vertices"):
        read_polygons(tmp_path / "2.npz")
    np.savez(tmp_path / "3.npz", vertices=np.eye(3)[:, :2], facets=np.array([[0, 1, 2]]))
    with pytest.raises(ValueError, match=r"3.npz: expected three coordinates a vertex, got an array \(3, 2\)"):
        read_polygons(tmp_path / "3.npz")


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("a.off", b"OFF BINARY\n\x00\x00\x00\x03", "binary OFF is not read here"),
        ("a.off", b"OFF\nBINARY\n\x00\x00\x00\x03", "binary OFF is not read here"),
        ("a.off", b"COFF\n1 0 0\n0 0 0 1 1 1\n", "COFF has more than positions"),
        ("a.off", b"solid\n", "the file does not begin with OFF"),
        ("a.off", b"", "the file does not begin with OFF"),
        ("a.off", b"OFF\n", "expected the numbers of vertices, faces and edges"),
        ("a.off", b"OFF\n-3 1 0\n3 0 1 2\n", "expected the numbers of vertices, faces and edges"),
        ("a.off", b"OFF\n4 1 0\n0 0 0\n", "4 vertices announced, the file ends before"),
        ("a.off", b"OFF\n3 2 0\n0 0 0 1 0 0 1 1 0\n3 0 1 2\n", "2 faces announced, the file has 1"),
        ("a.off", b"OFF\n3 1 0\n0 0 0 1 0 0 1 1 0\n5 0 1 2\n", "face 0 announces 5 corners, the file has 3"),
        ("a.off", b"OFF\n1 1 0\n0 x 0\n3 0 0 0\n", "not a readable OFF mesh"),
        ("a.obj", b"v 0 0 0\nv 1 0 0\nv 1 1 0\nf 1 2 9\n", "line 4 names vertex 9, expected 1 to 3"),
        ("a.obj", b"v 0 0 0\nv 1 0 0\nv 1 1 0\nf 0 1 2\n", "line 4 names vertex 0"),
        ("a.obj", b"v 0 0 0\nv 1 0 0\nv 1 1 0\nf -3 -2 -1\n", "line 4 names vertex -3"),
        ("a.obj", b"v 0 0 0\nv 1 0 0\nv 1 1 0\nf 1 2 x\n", "not a readable OBJ mesh"),
        ("a.obj", b"hello\n", "not a readable OBJ mesh"),
        ("a.ply", b"\x00\x01rubbish", "no header from ply to end_header"),
        ("a.ply", b"", "no header from ply to end_header"),
        ("a.ply", (PLY + "0 0 0\n1 0 0\n").encode(), "row 2: early end-of-file"),
        (
            "a.ply",
            PLY.replace("ascii", "binary_little_endian").encode() + bytes(36) + b"\x03\0\0",
            "element 'face': row 0: .* early end-of-file",
        ),
        ("a.ply", PLY.replace("vertex 3", "vertex many").encode(), "line 3: expected integer count"),
        ("a.ply", PLY.replace("vertex 3", "vertex 99999999999").encode(), "99999999999 rows of vertex announced in"),
        ("a.ply", PLY.replace("format ascii 1.0\n", "").encode() + b"0 0 0\n", "line 2: expected one of {format"),
        (
            "a.ply",
            PLY.replace("float z", "float w").encode() + b"0 0 0\n" * 3 + b"3 0 1 2\n",
            "with x, y and z, got x, y, w",
        ),
        (
            "a.ply",
            PLY.replace("_indices", "_colours").encode() + b"0 0 0\n" * 3 + b"3 0 1 2\n",
            "expected faces with vertex_indices or vertex_index, got vertex_colours",
        ),
        (
            "a.ply",
            PLY.replace("element face", "element edge").encode() + b"0 0 0\n" * 3 + b"3 0 1 2\n",
            "expected elements vertex and face, got vertex, edge",
        ),
        ("a.obj", b"v 0 0\nf 1\n", "not a readable OBJ mesh"),
        ("a.glb", b"glTF", "not a readable GLB mesh"),
        ("a.npz", b"PK", "not a readable NPZ mesh"),
    ],
)
def test_a_file_that_is_cut_short_or_wrong_is_refused_by_message(name, content, said, tmp_path):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(ValueError, match=said) as caught:
        read_polygons(tmp_path / name)
    assert str(caught.value).startswith(str(tmp_path / name))


def test_a_missing_file_and_an_unknown_format_are_refused(tmp_path, cube):
    with pytest.raises(FileNotFoundError, match=r"nowhere.obj: no such file"):
        read_polygons(tmp_path / "nowhere.obj")
    (tmp_path / "a.txt").write_text("")
    with pytest.raises(ValueError, match=r"a.txt: expected one of .obj, .ply"):
        read_polygons(tmp_path / "a.txt")
    with pytest.raises(ValueError, match=r"a.txt: expected one of .obj, .ply, .off, .stl, .glb"):
        write_mesh(tmp_path / "a.txt", cube)
    with pytest.raises(ValueError, match=r"a.stl: polygons go into .obj, .ply, .off"):
        write_polygons(tmp_path / "a.stl", cube.vertices, shapes.CUBE)


def test_a_mesh_that_no_rotation_describes_is_refused_with_its_path(tmp_path):
    path = write_polygons(tmp_path / "strip.ply", torch.zeros(6, 3), shapes.MOEBIUS)
    with pytest.raises(NotRepresentable, match=r"strip.ply: a surface with one side only") as caught:
        read_mesh(path)
    assert caught.value.fault == "non-orientable"
    (tmp_path / "empty.stl").write_bytes(b"solid\n")
    with pytest.raises(NotRepresentable, match=r"empty.stl: no faces"):
        read_mesh(tmp_path / "empty.stl")
    (tmp_path / "bad.ply").write_text(PLY + "0 0 0\n1 0 0\n1 1 0\n3 0 1 7\n")
    with pytest.raises(NotRepresentable, match=r"bad.ply: .* face 0 names vertex 7, there are 3"):
        read_mesh(tmp_path / "bad.ply")


def test_real_files_keep_their_polygons(papers_data):
    sides = {
        name: read_mesh(papers_data / "meshes" / name).polygons().sizes
        for name in ("cube.obj", "dodecahedron_poly.obj")
    }
    assert sides["cube.obj"].tolist() == [4] * 6 and sides["dodecahedron_poly.obj"].tolist() == [5] * 12
    bob = read_mesh(papers_data / "meshes" / "bob_small.ply")
    assert len(bob.vertices) == 250 and bob.genus == 1 and canonical(bob.to_polygons())


def test_colours_on_some_faces_only_are_left_out(tmp_path):
    text = "OFF\n4 4 6\n0 0 0\n1 0 0\n0 1 0\n0 0 1\n3 0 2 1 255 0 0\n3 0 1 3\n3 1 2 3 7\n3 0 3 2\n"
    (tmp_path / "part.off").write_text(text)
    assert read_polygons(tmp_path / "part.off")[1] == [[0, 2, 1], [0, 1, 3], [1, 2, 3], [0, 3, 2]]


def test_edges_without_positions_are_refused(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"edges.json: no such file"):
        read_edges(tmp_path / "edges.json")
    (tmp_path / "edges.json").write_text('{"edges": [[0, 1]]}')
    with pytest.raises(ValueError, match=r"edges.json: expected JSON with positions and edges"):
        read_edges(tmp_path / "edges.json")
