"""What demo and reproduce measure, as plain records: fits, distances, learned connectivity, repair and generation."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
import trimesh
from torch import Tensor
from torch.nn.functional import softplus
from torch.utils.data import DataLoader

from .cliques import clique_faces
from .clouds import chamfer
from .collection import CollectionTraining
from .data import MeshList, ProceduralMeshes, collate
from .decode import decode
from .diffusion import VertexDiffusion
from .distances import euclidean_sqdist, hyperbolic_distance, negative_inner_product
from .embedding import EmbeddingSizes, VertexEmbedding
from .errors import NotRepresentable
from .fit import FitSettings, fit_mesh
from .halfedge import HalfedgeMesh
from .manifold import manifold_report
from .metrics import face_scores, scores
from .polygons import canonical
from .radius import oracle_radius
from .repair import repair_mesh
from .shapes import SHAPES, bipyramid_mesh
from .soup import SoupTraining
from .spacetime import spacetime_sqdist
from .training import ConnectivityTraining


@dataclass(frozen=True)
class StudySettings:
    """What is measured, and how much of it.

    cells: trained models by name, each with what it changes in the config. workers: processes.
    fit_seeds, fit_steps: of the six shapes. rim: of the bipyramid that distances are compared on, `dims` numbers a
    vertex, for all `rates`, `distance_seeds` and `distance_steps`. random_meshes: decoded from noise.
    repairs: meshes with a hole. generated: sampled meshes. split: of the learned model's evaluation.
    """

    cells: dict[str, dict] = field(default_factory=dict)
    workers: int = 2
    fit_seeds: list[int] = field(default_factory=lambda: [0, 1, 2])
    fit_steps: int = 500
    rim: int = 64
    dims: int = 4
    rates: list[float] = field(default_factory=lambda: [0.02, 0.05, 0.1, 0.2])
    distance_seeds: int = 5
    distance_steps: int = 400
    random_meshes: int = 300
    repairs: int = 100
    generated: int = 32
    split: str = "test"


# fits


def fit_records(settings: StudySettings) -> list[dict]:
    """Every shape from noise, for each seed, and once from the graph's eigenvectors."""
    records = []
    for name, make in SHAPES.items():
        mesh = make()
        sizes = EmbeddingSizes(hole=4 if bool(mesh.is_hole.any()) else 0)
        for start, seeds in (("noise", settings.fit_seeds), ("spectral", settings.fit_seeds[:1])):
            for seed in seeds:
                result = fit_mesh(
                    mesh, FitSettings(sizes, steps=settings.fit_steps, spectral=start == "spectral", seed=seed)
                )
                history = [(step, score.f1) for step, score in result.history]
                records.append(
                    {
                        "shape": name,
                        "vertices": len(mesh.vertices),
                        "start": start,
                        "seed": seed,
                        "exact": result.exact,
                        "steps": result.steps,
                        "history": history,
                        "decoded": result.decoded.polygons() if seed == settings.fit_seeds[0] else [],
                    }
                )
    return records


DISTANCES: dict[str, Callable[[Tensor, int], Tensor]] = {
    "spacetime": lambda x, dims: spacetime_sqdist(x[..., : dims - dims // 2], x[..., dims - dims // 2 :]),
    "Euclidean": lambda x, dims: euclidean_sqdist(x),
    "hyperbolic": lambda x, dims: hyperbolic_distance(x),
    "inner product": lambda x, dims: negative_inner_product(x),
}


def distance_records(settings: StudySettings) -> list[dict]:
    """Edges of a bipyramid and of a torus by each distance: equal dimensions, rates, seeds and steps."""
    records = []
    shapes = {f"{settings.rim}-gon bipyramid": bipyramid_mesh(settings.rim), "quad torus": SHAPES["quad torus"]()}
    for shape, mesh in shapes.items():
        for name, distance in DISTANCES.items():
            for rate in settings.rates:
                curve = edge_fit(mesh, distance, name == "spacetime", rate, settings)
                final = curve[-1][1]
                records.append({"shape": shape, "distance": name, "rate": rate, "f1": final, "curve": curve})
    return records


def edge_fit(
    mesh: HalfedgeMesh, distance: Callable, times: bool, rate: float, settings: StudySettings, every: int = 20
) -> list[tuple[int, list[float]]]:
    """F1 of thresholded edges at steps, one number a seed; all seeds are fitted at once."""
    count, dims, seeds = len(mesh.vertices), settings.dims, settings.distance_seeds
    x = torch.stack([torch.randn(count, dims, generator=torch.Generator().manual_seed(s)) for s in range(seeds)])
    if times:
        x[..., dims - dims // 2 :] *= 0.1
    x.requires_grad_(True)
    tau = torch.ones(seeds, 1, 1, requires_grad=True)
    log_beta = torch.full((seeds, 1, 1), float(np.log(6.0)), requires_grad=True)
    optimizer = torch.optim.Adam([x, tau, log_beta], lr=rate)
    i, j = mesh.edges.T
    true = torch.zeros(count, count, dtype=torch.bool)
    true[i, j] = True
    curve = []
    for step in range(settings.distance_steps + 1):
        logits = log_beta.exp() * (tau - distance(x, dims))
        if step % every == 0 or step == settings.distance_steps:
            found = (logits > 0).triu(1)
            f1 = [scores(int(f.sum()), len(i), int((f & true).sum())).f1 for f in found]
            curve.append((step, f1))
        loss = (softplus(logits).triu(1).sum() - logits[:, i, j].sum()) / len(i)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return curve


def random_records(settings: StudySettings) -> list[dict]:
    """Meshes decoded from random embeddings of all scales, and what the independent check says of them."""
    records = []
    for seed in range(settings.random_meshes):
        generator = torch.Generator().manual_seed(seed)
        count = int(torch.randint(4, 40, (), generator=generator))
        sizes = EmbeddingSizes(3, seed % 3, 1 + seed % 5, seed % 2)
        scale = 10.0 ** float(torch.randint(-6, 7, (), generator=generator))
        vectors = scale * torch.randn(count, sizes.total, generator=generator)
        tau = scale**2 * 10 ** float(torch.rand((), generator=generator))
        found = decode(torch.randn(count, 3, generator=generator), VertexEmbedding.of(vectors, sizes), tau)
        report = manifold_report(found.polygons(), count)
        records.append(
            {
                "faces": report.faces,
                "manifold": report.edge_manifold and report.vertex_manifold and report.oriented,
                "genus": found.mesh.genus,
            }
        )
    return records


# learned connectivity


def learned_records(model: ConnectivityTraining, data: ProceduralMeshes, soup: SoupTraining, split: str) -> list[dict]:
    """Every mesh of a split: what the model decodes, and the baselines on the same vertices."""
    model.eval(), soup.eval()
    records = []
    loader = {"train": data.train_dataloader, "val": data.val_dataloader, "test": data.test_dataloader}[split]()
    with torch.no_grad():
        for batch in loader:
            for number, (found, mesh, metrics) in zip(batch.index.tolist(), model.evaluated(batch), strict=True):
                edges = found.source[found.mesh.edges]
                cliques = clique_faces(edges)
                record = {
                    "family": data.family_of(number),
                    "vertices": len(mesh.vertices),
                    "edge_f1": metrics.edges.f1,
                    "face_f1": metrics.faces.f1,
                    "exact": metrics.exact,
                    "edge_manifold": metrics.edge_manifold,
                    "vertex_manifold": metrics.vertex_manifold,
                    "closed": metrics.closed,
                    "genus": metrics.genus,
                    "simple": metrics.simple,
                    "oracle_f1": oracle_radius(mesh.vertices, mesh.edges)[1].f1,
                    "clique_shared": len(manifold_report(cliques, len(mesh.vertices)).shared_edges),
                    "clique_f1": face_scores(cliques, mesh.to_polygons(), oriented=False).f1,
                    "ring_f1": face_scores(clique_faces(edges, quads=True), mesh.to_polygons(), oriented=False).f1,
                    "unoriented_f1": metrics.unoriented_faces.f1,
                }
                triangles = soup.triangles(mesh.vertices)
                record["soup_shared"] = len(manifold_report(triangles, len(mesh.vertices)).shared_edges)
                record["soup_f1"] = face_scores(triangles, mesh.to_polygons(), oriented=False).f1
                records.append(record)
    return records


# repair


def punctured(mesh: HalfedgeMesh, generator: torch.Generator) -> tuple[list[list[int]], list[list[int]]]:
    """Faces left and removed, 10 to 25 % of them: a disc around a random face, grown along edges."""
    faces = mesh.to_polygons()
    wanted = max(2, round(len(faces) * (0.1 + 0.15 * float(torch.rand((), generator=generator)))))
    neighbours: list[set[int]] = [set() for _ in faces]
    at = {}
    for number, face in enumerate(faces):
        for i, j in zip(face, [*face[1:], face[0]], strict=True):
            at[i, j] = number
    for (i, j), number in at.items():
        if (j, i) in at:
            neighbours[number].add(at[j, i])
    order = [int(torch.randint(len(faces), (), generator=generator))]
    for face in order:
        if len(order) >= wanted:
            break
        order += [other for other in sorted(neighbours[face]) if other not in order][: wanted - len(order)]
    removed = set(order)
    return [f for n, f in enumerate(faces) if n not in removed], [faces[n] for n in sorted(removed)]


def repair_records(model: ConnectivityTraining, meshes: Sequence[HalfedgeMesh], settings: StudySettings) -> list[dict]:
    """Meshes with a hole, repaired by the model and by trimesh."""
    model.eval()
    records = []
    for number, mesh in enumerate(meshes[: settings.repairs]):
        left, removed = punctured(mesh, torch.Generator().manual_seed(number))
        try:
            repaired = repair_mesh(mesh.vertices, left, *model.embedding_of(mesh.vertices))
        except NotRepresentable:  # removal left a pinched vertex: no mesh to repair
            continue
        report = manifold_report(repaired.polygons, len(mesh.vertices))
        records.append(
            {
                "removed": len(removed),
                "hole_f1": face_scores(repaired.new_faces, removed).f1,
                "intact": canonical(left) <= canonical(repaired.polygons),
                "closed": report.closed and report.vertex_manifold and report.oriented,
                "trimesh_f1": face_scores(trimesh_filled(mesh.vertices, left), removed, oriented=False).f1,
            }
        )
    return records


def trimesh_filled(vertices: Tensor, faces: list[list[int]]) -> list[list[int]]:
    """The triangles that trimesh's hole filling adds to the fan triangles of these faces."""
    fans = [[face[0], face[i], face[i + 1]] for face in faces for i in range(1, len(face) - 1)]
    mesh = trimesh.Trimesh(vertices.numpy(), fans, process=False)
    trimesh.repair.fill_holes(mesh)
    return mesh.faces[len(fans) :].tolist()


# a collection


def collection_records(model: CollectionTraining, data: ProceduralMeshes) -> list[dict]:
    """Every mesh of the training split, from its code alone."""
    model.eval()
    records = []
    with torch.no_grad():
        for batch in DataLoader(MeshList(data.meshes("train"), 0), batch_size=16, collate_fn=collate):
            placed = model.placed(batch)
            errors = (placed.positions - batch.positions).square().sum(-1)
            for own, size, error in zip(model.evaluated(batch), batch.sizes.tolist(), errors, strict=True):
                _, mesh, metrics = own
                records.append(
                    {
                        "vertices": len(mesh.vertices),
                        "edge_f1": metrics.edges.f1,
                        "face_f1": metrics.faces.f1,
                        "exact": metrics.exact,
                        "error": float(error[:size].mean().sqrt()),
                    }
                )
    return records


# generation


def generated_records(
    vertices: VertexDiffusion, connectivity: ConnectivityTraining, data: ProceduralMeshes, settings: StudySettings
) -> list[dict]:
    """Meshes sampled for clouds of the test split: vertices by diffusion, then their connectivity."""
    vertices.eval(), connectivity.eval()
    records = []
    for batch in data.test_dataloader():
        if len(records) >= settings.generated:
            break
        sets = vertices.sample(batch.cloud)
        for positions, cloud, mesh in zip(sets, batch.cloud, batch.meshes(), strict=True):
            records.append(generated_record(positions, cloud, mesh, connectivity))
    return records[: settings.generated]


def generated_record(positions: Tensor, cloud: Tensor, mesh: HalfedgeMesh, connectivity: ConnectivityTraining) -> dict:
    """One generated mesh; nothing is decoded from fewer than four vertices."""
    faces: list[list[int]] = []
    euler = 0
    if len(positions) > 3:
        found = decode(positions, *connectivity.embedding_of(positions))
        faces, euler = found.polygons(), found.mesh.euler_characteristic
    report = manifold_report(faces, len(positions))
    return {
        "vertices": len(positions),
        "true_vertices": len(mesh.vertices),
        "faces": len(faces),
        "manifold": report.edge_manifold and report.vertex_manifold,
        "euler": euler,
        "to_cloud": float(torch.cdist(positions, cloud[:, :3]).amin(1).mean()) if len(positions) else float("nan"),
        "chamfer": chamfer(positions, mesh.vertices) if len(positions) else float("nan"),
        "positions": positions.tolist(),
        "polygons": faces,
        "true_positions": mesh.vertices.tolist(),
        "true_polygons": mesh.to_polygons(),
    }
