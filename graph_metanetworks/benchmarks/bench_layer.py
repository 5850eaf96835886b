"""A batch of 64 SIRENs, forward and backward: our layer with dense blocks and with index arrays, and PyG's MetaLayer.

    python benchmarks/bench_layer.py

MetaLayer has models of equal width: an edge MLP on (v_source, v_target, e), a node MLP on means of messages in both
directions. All run in turn, one thread, and the medians of their times are compared. Budget: dense blocks at least 1.5
times as fast as MetaLayer.
"""

from __future__ import annotations

import statistics
import time

import torch
from torch import Tensor, nn

from graph_metanetworks.batch import NetBatch
from graph_metanetworks.connectivity import BlockConnectivity
from graph_metanetworks.layer import GraphMetanetLayer
from graph_metanetworks.scatter import BACKENDS
from graph_metanetworks.siren_data import siren_graph

LAYERS = 3


class EdgeModel(nn.Module):
    def __init__(self, width: int):
        super().__init__()
        self.norm = nn.LayerNorm(width)
        self.mlp = nn.Sequential(nn.Linear(3 * width, width), nn.ReLU(), nn.Linear(width, width))

    def forward(self, source: Tensor, target: Tensor, edge: Tensor, u, batch) -> Tensor:
        return edge + self.mlp(torch.cat([source, target, self.norm(edge)], -1))


class NodeModel(nn.Module):
    def __init__(self, width: int):
        super().__init__()
        self.norm = nn.LayerNorm(width)
        self.mlp = nn.Sequential(nn.Linear(3 * width, 2 * width), nn.SiLU(), nn.Linear(2 * width, width))

    def forward(self, x: Tensor, edges: Tensor, edge_attr: Tensor, u, batch) -> Tensor:
        from torch_geometric.utils import scatter

        source, target = edges
        gathered = [scatter(edge_attr, ends, 0, len(x), reduce="mean") for ends in (target, source)]
        return x + self.mlp(torch.cat([self.norm(x), *gathered], -1))


def timed(run, repeats: int) -> float:
    times = []
    for _ in range(repeats):
        start = time.perf_counter()
        run()
        times.append(time.perf_counter() - start)
    return statistics.median(times)


def candidates(width: int, hidden: int, nets: int):
    """Name -> a step of forward and backward."""
    from torch_geometric.nn import MetaLayer

    graph = siren_graph((2, hidden, hidden, 1), 30.0)
    batch = NetBatch([(graph, torch.zeros(nets, graph.layout.total))])
    v = torch.randn(nets, graph.num_nodes, width)
    e = torch.randn(nets, graph.num_edges, width, requires_grad=True)
    ours = nn.ModuleList(GraphMetanetLayer(width) for _ in range(LAYERS))
    theirs = nn.ModuleList(MetaLayer(EdgeModel(width), NodeModel(width)) for _ in range(LAYERS))

    def our_step(wires, v, e):
        def run():
            x, y = v, e
            for layer in ours:
                x, y = layer(x, y, wires)
            (x.sum() + y.square().sum()).backward()

        return run

    wires, _, _ = batch.union()
    flat = v.flatten(0, 1), e.detach().flatten(0, 1).requires_grad_()
    ends = torch.stack([wires.source, wires.target])

    def their_step():
        x, y = flat
        for layer in theirs:
            x, y, _ = layer(x, ends, y)
        (x.sum() + y.square().sum()).backward()

    steps = {"MetaLayer (PyG)": their_step, "dense blocks": our_step(BlockConnectivity(graph), v, e)}
    for backend in BACKENDS:
        try:
            union = batch.union(backend)[0]
            union.to_targets(flat[1])
        except ImportError:
            continue
        steps[f"index arrays, {backend}"] = our_step(union, *flat)
    return graph.num_edges * nets, steps


def main() -> None:
    torch.set_num_threads(1)
    print("| SIRENs | width h | edges | " + "method | ms | times as fast as MetaLayer |\n|---|---|---|---|---|---|")
    for nets, hidden, width in ((64, 16, 32), (64, 32, 32), (64, 32, 64), (1, 512, 32)):
        edges, steps = candidates(width, hidden, nets)
        times = {name: [] for name in steps}
        for _ in range(3):  # in turn, so that a busy machine slows all alike
            for name, step in steps.items():
                times[name].append(timed(step, 3))
        reference = min(times["MetaLayer (PyG)"])
        for name, found in times.items():
            ratio = reference / min(found)
            print(
                f"| {nets} x 2-{hidden}-{hidden}-1 | {width} | {edges:,} | {name} | {1000 * min(found):.0f} "
                f"| {ratio:.2f} |",
                flush=True,
            )


if __name__ == "__main__":
    main()
