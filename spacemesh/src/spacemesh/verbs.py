"""Verbs for one's own meshes: check, fit-mesh, polygons, connect, repair, generate and export-weights."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor

from .checkpoints import load_model, write_weights
from .clouds import surface_points
from .decode import Decoded, decode
from .diffusion import VertexDiffusion
from .embedding import EmbeddingSizes
from .errors import NotRepresentable
from .families import normalised
from .files import read_edges, read_polygons, write_mesh, write_polygons
from .fit import FitSettings
from .fit import fit_mesh as fit_embedding
from .geometric import edges_to_polygons
from .halfedge import HalfedgeMesh
from .manifold import manifold_report
from .metrics import EdgeScores
from .repair import repair_mesh
from .representable import make_representable
from .representable import weld as weld_vertices
from .results import whole
from .training import ConnectivityTraining


def check(file: str, *, mended: str | None = None, weld: bool = False) -> int:
    """Say whether FILE is an oriented manifold polygon mesh, and what is wrong if not (status 1).

    Args:
        file: OBJ, PLY, OFF, STL, GLB, or NPZ with vertices and facets.
        mended: Write the mesh there, turned, cut and split until it is manifold.
        weld: Make one vertex of all at the same position first.
    """
    vertices, faces = read_polygons(file)
    if twice := len(vertices) - len(torch.unique(vertices, dim=0)):
        print(f"{twice} vertices share the position of another{'' if weld else '; --weld makes them one'}")
    if weld:
        vertices, welded = weld_vertices(vertices, faces)
        faces = welded.lists()
    report = manifold_report(faces, len(vertices))
    print(
        f"{len(vertices)} vertices, {report.edges} edges, {report.faces} faces, {report.boundary_edges} boundary edges"
    )
    for name, what in (
        ("shared_edges", "edges with more than two sides"),
        ("wound_edges", "edges whose two faces run the same way"),
        ("pinched", "vertices with several umbrellas"),
        ("isolated", "vertices without a face"),
        ("degenerate", "faces with fewer than three distinct corners"),
        ("visited_twice", "faces that visit a vertex twice"),
    ):
        if found := getattr(report, name):
            print(f"{len(found)} {what}, the first: {found[0]}")
    answers = ("edge_manifold", "vertex_manifold", "oriented", "closed")
    print(", ".join(f"{name.replace('_', '-')}: {'yes' if getattr(report, name) else 'no'}" for name in answers))
    try:
        mesh = HalfedgeMesh.from_polygons(vertices.float(), faces)
        print(f"genus {mesh.genus}, {len(mesh.genera)} components, {len(mesh.boundary_loops())} boundary loops")
        status = 0
    except NotRepresentable as error:
        print(f"not representable: {error}")
        status = 1
    if mended is not None:
        result = make_representable(vertices.float(), faces)
        print(
            f"mended: {result.turned_faces} faces turned, {result.cut_edges} edges cut, "
            f"{result.split_vertices} vertices split, {result.dropped_faces} faces and "
            f"{result.dropped_vertices} vertices dropped: {write_mesh(mended, result.mesh)}"
        )
    return status


def fit_mesh(
    file: str,
    *,
    out: str = "runs/spacemesh-fit",
    steps: int = 2000,
    space: int = 12,
    time: int = 4,
    permutation: int = 8,
    spectral: bool = False,
    mend: bool = False,
    seed: int = 0,
) -> int:
    """Fit the embedding of one mesh until it decodes to exactly that mesh (status 1 if it does not).

    Args:
        file: See check.
        out: Folder for embedding.pt and decoded.obj.
        steps: Of Adam, at most.
        space: Dimensions of space.
        time: Dimensions of time.
        permutation: Dimensions of each of root, prev and next.
        spectral: Begin at the eigenvectors of the graph instead of at noise.
        mend: Turn, cut and split the mesh first where it is no manifold.
        seed: Of the noise.
    """
    vertices, faces = read_polygons(file)
    positions = normalised(vertices.float())
    mesh = make_representable(positions, faces).mesh if mend else HalfedgeMesh.from_polygons(positions, faces)
    sizes = EmbeddingSizes(space, time, permutation, 4 if bool(mesh.is_hole.any()) else 0)

    def progress(step: int, scores: EdgeScores) -> None:
        print(f"step {step}: edge F1 {scores.f1:.4f}", flush=True)

    result = fit_embedding(mesh, FitSettings(sizes, steps=steps, spectral=spectral, seed=seed), progress)
    folder = Path(out)
    found = {
        "vertices": mesh.vertices,
        "vectors": result.embedding.vectors(),
        "sizes": [sizes.space, sizes.time, sizes.permutation, sizes.hole],
        "tau": result.connectivity.tau.detach(),
        "hole_bias": result.connectivity.hole_bias.detach(),
    }
    with whole(folder / "embedding.pt") as temporary:
        torch.save(found, temporary)
    write_polygons(folder / "decoded.obj", mesh.vertices, result.decoded.polygons())
    print(f"{'exact' if result.exact else 'NOT exact'} after {result.steps} steps: {folder}")
    return 0 if result.exact else 1


def polygons(file: str, *, out: str = "polygons.obj") -> int:
    """Faces for a mesh of which only vertices and edges are left.

    Args:
        file: A JSON file {"positions": [[x, y, z], ...], "edges": [[i, j], ...]}, and perhaps "normals".
        out: OBJ, PLY or OFF to write.
    """
    positions, edges, normals = read_edges(file)
    try:
        found = edges_to_polygons(positions, edges, normals)
    except ValueError as error:
        raise ValueError(f"{file}: {error}") from error
    report_decoded(found, positions, Path(out))
    return 0


def connect(file: str, *, ckpt_path: str | None = None, out: str = "connected.obj") -> int:
    """Faces for a file of which only the vertices are taken: a trained model proposes them.

    Args:
        file: See check. Its faces, if it has any, are not looked at.
        ckpt_path: Checkpoint of `fit` or of the demo (cells/connectivity.pt), or exported weights; left out: the
            packaged model of the four procedural families.
        out: OBJ, PLY or OFF to write.
    """
    model, (vertices, _) = load_model(ckpt_path, ConnectivityTraining), read_polygons(file)
    embedding, tau = model.embedding_of(normalised(vertices.float()))
    report_decoded(decode(vertices.float(), embedding, tau), vertices.float(), Path(out))
    return 0


def repair(file: str, *, ckpt_path: str | None = None, out: str = "repaired.obj") -> int:
    """Close the holes of FILE with faces that a trained model proposes; what was there stays to the bit.

    Args:
        file: See check. Vertices inside the holes are among its vertices, without faces.
        ckpt_path: See connect.
        out: OBJ, PLY or OFF to write.
    """
    model = load_model(ckpt_path, ConnectivityTraining)
    vertices, faces = read_polygons(file)
    positions = normalised(vertices.float())
    repaired = repair_mesh(positions, faces, *model.embedding_of(positions))
    write_polygons(out, vertices, repaired.polygons)
    report = manifold_report(repaired.polygons, len(vertices))
    print(
        f"{len(faces)} faces kept, {len(repaired.new_faces)} added, closed: {'yes' if report.closed else 'no'}: {out}"
    )
    return 0


def generate(
    file: str,
    *,
    vertices_ckpt: str,
    connectivity_ckpt: str | None = None,
    count: int = 4,
    points: int = 2048,
    seed: int = 0,
    out: str = "runs/spacemesh-generate",
) -> int:
    """Meshes in the shape of FILE's surface: vertices by diffusion, then their connectivity.

    Args:
        file: A mesh whose surface points are the condition; see check.
        vertices_ckpt: Checkpoint of a VertexDiffusion.
        connectivity_ckpt: Checkpoint of a ConnectivityTraining; left out: the packaged one.
        count: How many.
        points: Of the cloud.
        seed: Of the noise and of the cloud.
        out: Folder for generated_0.obj and so on.
    """
    diffusion = load_model(vertices_ckpt, VertexDiffusion)
    model = load_model(connectivity_ckpt, ConnectivityTraining)
    given, faces = read_polygons(file)
    mesh = make_representable(normalised(given.float()), faces).mesh
    cloud = surface_points(mesh, points, torch.Generator().manual_seed(seed))
    for number, positions in enumerate(diffusion.sample(cloud.expand(count, -1, -1), seed)):
        if len(positions) < 4:
            print(f"{number}: only {len(positions)} vertices, no mesh")
            continue
        found = decode(positions, *model.embedding_of(positions))
        report_decoded(found, positions, Path(out) / f"generated_{number}.obj")
    return 0


def export_weights(ckpt_path: str, *, out: str = "weights.safetensors") -> int:
    """A checkpoint's connectivity model alone, as safetensors in half precision, which the other verbs take.

    Args:
        ckpt_path: Checkpoint of `fit` or of the demo.
        out: File to write.
    """
    if not out.endswith(".safetensors"):
        raise ValueError(f"{out}: expected a name that ends in .safetensors")
    path = write_weights(out, load_model(ckpt_path, ConnectivityTraining))
    print(f"{path.stat().st_size / 2**20:.2f} MiB: {path}")
    return 0


def report_decoded(found: Decoded, positions: Tensor, path: Path) -> None:
    """Write a decoded mesh and print what it is."""
    faces = found.polygons()
    write_polygons(path, positions, faces)
    mesh = found.mesh
    print(
        f"{path}: {len(mesh.vertices)} vertices, {len(mesh.edges)} edges, {len(faces)} faces, genus {mesh.genus}, "
        f"{found.dropped_vertices} vertices and {found.dropped_edges} edges left out"
    )
