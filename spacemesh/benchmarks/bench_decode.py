"""Seconds of decoding by stage, beside the bare matrix product that its edge scan needs; memory; a large fit.

The embedding is a closed form: a circle for each direction of a quad torus is its space, τ lies between edges and
diagonals of quads, and what is left of 12 + 4 dimensions and the parts for faces are random. The bare product is the
best over several sizes of blocks.

python benchmarks/bench_decode.py [--vertices 1000 2000 4000 8000 16000] [--repeats 3] [--fit 10000] [--steps 200]
"""

from __future__ import annotations

import argparse
import math
import subprocess
import sys
import time
from collections.abc import Callable

import torch
from torch import Tensor

from spacemesh.cliques import clique_faces
from spacemesh.decode import Decoded, decode, decode_faces
from spacemesh.embedding import EmbeddingSizes, VertexEmbedding, initial_vectors
from spacemesh.families import torus
from spacemesh.fit import FitSettings, fit_mesh
from spacemesh.manifold import manifold_report
from spacemesh.metrics import edge_scores
from spacemesh.spacetime import decode_edges, decode_edges_pruned

SIZES = EmbeddingSizes()  # 12 + 4 and 3 · 8
BLOCKS = (128, 256, 512, 2048)
STAGES = ("edges", "2-core and halfedges", "cycles", "faces")


def near_square(vertices: int) -> tuple[int, int]:
    """Around and across, so that quads of a torus with tube 0.4 are about square."""
    across = max(3, round(math.sqrt(0.4 * vertices)))
    return round(vertices / across), across


def embedded_torus(vertices: int) -> tuple[Tensor, VertexEmbedding, float]:
    """Positions, the embedding, and τ = 1.

    Space is a circle for each of the two directions, so that all edges have length 1 and diagonals √2 times that.
    """
    around, across = near_square(vertices)
    mesh = torus(around, across, 0.4)
    number = torch.arange(len(mesh.vertices))
    vectors = initial_vectors(len(number), SIZES, torch.Generator().manual_seed(0))
    vectors[:, : SIZES.space + SIZES.time] *= 1e-3
    for first, place, count in ((0, number // across, around), (2, number % across, across)):
        angle, radius = 2 * math.pi * place / count, 0.8 / (2 * math.sin(math.pi / count))
        vectors[:, first], vectors[:, first + 1] = radius * angle.cos(), radius * angle.sin()
    return mesh.vertices, VertexEmbedding.of(vectors, SIZES), 1.0  # 0.64 on edges, 1.28 on diagonals


def fastest(repeats: int, function: Callable[[], object]) -> float:
    """Seconds of the best of several calls after one to warm up."""
    function()
    times = []
    for _ in range(repeats):
        start = time.perf_counter()
        function()
        times.append(time.perf_counter() - start)
    return min(times)


def bare_product(embedding: VertexEmbedding, block: int) -> None:
    """V² (k + 2) multiplications and nothing else, by blocks of rows over all columns."""
    factor = torch.cat([embedding.space, embedding.time, embedding.space[:, :2]], 1)
    for start in range(0, len(factor), block):
        factor[start : start + block] @ factor.T


def stages(vertices: list[int], repeats: int) -> None:
    """Tables of seconds by stage, and of the scans against the bare product."""
    times = "| V | halfedges | " + " | ".join(STAGES) + " | µs a halfedge without edges |"
    scans = "| V | bare product V² (k + 2) | scan | scan / product | pruned scan | pruned / product |"
    rows, scan_rows = [], []
    for count in vertices:
        positions, embedding, tau = embedded_torus(count)
        decoded: list[Decoded] = [decode(positions, embedding, tau) for _ in range(repeats + 1)][1:]
        seconds = {stage: min(d.seconds[stage] for d in decoded) for stage in STAGES}
        halfedges = len(decoded[0].mesh.tail)
        if halfedges != 4 * len(positions):
            raise RuntimeError(f"expected the {4 * len(positions)} halfedges of a quad torus, got {halfedges}")
        rest = 1e6 * sum(seconds[stage] for stage in STAGES[1:]) / halfedges
        cells = " | ".join(f"{seconds[stage]:.3f}" for stage in STAGES)
        rows.append(f"| {len(positions)} | {halfedges} | {cells} | {rest:.2f} |")
        product = min(fastest(repeats, lambda e=embedding, b=b: bare_product(e, b)) for b in BLOCKS)
        scan = fastest(repeats, lambda e=embedding, t=tau: decode_edges(e.space, e.time, t))
        pruned = fastest(repeats, lambda e=embedding, t=tau: decode_edges_pruned(e.space, e.time, t))
        ratios = f"{scan:.3f} | {scan / product:.2f} | {pruned:.3f} | {pruned / product:.2f}"
        scan_rows.append(f"| {len(positions)} | {product:.3f} | {ratios} |")
    for head, body in ((times, rows), (scans, scan_rows)):
        print("\n".join([head, "|" + "---|" * head.count(" |"), *body]) + "\n", flush=True)


def cliques(vertices: list[int], repeats: int) -> None:
    """Faces from the same edges: our cycles and orbits, and every clique of three and ring of four."""
    print("| V | ours, s | cliques and rings, s | cliques / ours | ours manifold | theirs |\n|---|---|---|---|---|---|")
    for count in vertices:
        positions, embedding, tau = embedded_torus(count)
        edges = decode_edges(embedding.space, embedding.time, tau)
        ours = fastest(repeats, lambda p=positions, d=edges, e=embedding: decode_faces(p, d, e))
        theirs = fastest(repeats, lambda d=edges: clique_faces(d, quads=True))
        reports = [
            manifold_report(faces, len(positions)).vertex_manifold
            for faces in (decode_faces(positions, edges, embedding).polygons(), clique_faces(edges, quads=True))
        ]
        print(f"| {len(positions)} | {ours:.3f} | {theirs:.3f} | {theirs / ours:.2f} | {reports[0]} | {reports[1]} |")
    print(flush=True)


def memory(vertices: int) -> None:
    """Peak memory of one decode in a process of its own, beside that of the imports alone."""
    code = "import resource, sys; sys.path.insert(0, sys.argv[2]); import bench_decode as b; "
    code += "n = int(sys.argv[1]); n and b.decode(*b.embedded_torus(n)); "
    code += "print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)"
    folder = __file__.rpartition("/")[0] or "."
    peaks = []
    for count in (0, vertices):
        command = [sys.executable, "-c", code, str(count), folder]
        done = subprocess.run(command, capture_output=True, text=True, check=True)
        peaks.append(int(done.stdout) / (2**20 if sys.platform != "darwin" else 2**30))
    print("| V | peak memory, GiB | imports | below 2 GiB | a (V, V) matrix |\n|---|---|---|---|---|")
    print(
        f"| {vertices} | {peaks[1]:.2f} | {peaks[0]:.2f} | {peaks[1] < 2} | {4 * vertices**2 / 2**30:.2f} |\n",
        flush=True,
    )


def large_fit(vertices: int, steps: int) -> None:
    """A fit with sampled and mined negatives."""
    mesh = torus(*near_square(vertices), 0.4)
    start = time.perf_counter()
    result = fit_mesh(mesh, FitSettings(SIZES, steps=steps, check_every=25))
    seconds = time.perf_counter() - start
    score = edge_scores(result.decoded.source[result.decoded.mesh.edges], mesh.edges, len(mesh.vertices))
    report = manifold_report(result.decoded.polygons(), len(mesh.vertices))
    print(
        "| V | E | steps | seconds | edge F1 at first | edge F1 | exact | manifold |\n|---|---|---|---|---|---|---|---|"
    )
    counts = f"{len(mesh.vertices)} | {len(mesh.edges)} | {result.steps} | {seconds:.1f}"
    first = result.history[0][1].f1
    print(f"| {counts} | {first:.4f} | {score.f1:.4f} | {result.exact} | {report.vertex_manifold} |", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--vertices", type=int, nargs="+", default=[1000, 2000, 4000, 8000, 16000])
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--memory", type=int, default=20000)
    parser.add_argument("--fit", type=int, default=10000)
    parser.add_argument("--steps", type=int, default=200)
    args = parser.parse_args()
    print(f"{torch.get_num_threads()} threads, best of {args.repeats}, k = {SIZES.space} + {SIZES.time}\n")
    memory(args.memory)  # first: a process inherits the peak of the one that starts it
    stages(args.vertices, args.repeats)
    cliques(args.vertices[:3], args.repeats)
    large_fit(args.fit, args.steps)


if __name__ == "__main__":
    main()
