"""How fast and large a graph is to make: ResNet-18, and nets of growing width.

    python benchmarks/bench_graph.py

Each size is built in a process of its own, whose largest memory is compared with that of a process that only has the
network. Budgets: ResNet-18 in less than 1 s and 250 MB beyond its weights, cost linear in edges.
"""

from __future__ import annotations

import multiprocessing
import resource
import time

import torch

from graph_metanetworks import build_parameter_graph
from graph_metanetworks.networks.resnet18 import ResNet18


def peak_megabytes() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def build(width: int, style: str, queue) -> None:
    torch.set_num_threads(1)
    build_parameter_graph(torch.nn.Sequential(torch.nn.Linear(2, 2)), torch.zeros(1, 2))  # imports are done
    model, image = ResNet18(width=width), torch.zeros(1, 3, 224, 224)
    before, start, cpu = peak_megabytes(), time.perf_counter(), time.process_time()
    graph = build_parameter_graph(model, image, style)
    arrays = graph.edge_src, graph.edge_dst, graph.edge_param
    seconds, cpu = time.perf_counter() - start, time.process_time() - cpu
    queue.put((graph.num_edges, graph.num_nodes, seconds, cpu, peak_megabytes() - before, len(arrays[0])))


def main() -> None:
    print(
        "| network | style | edges | nodes | seconds | of these on the CPU | CPU ns per edge | MB beyond the network |"
    )
    print("|---|---|---|---|---|---|---|---|")
    context = multiprocessing.get_context("spawn")
    for width, style in ((16, "exact"), (32, "exact"), (64, "exact"), (64, "paper"), (96, "exact")):
        queue = context.Queue()
        process = context.Process(target=build, args=(width, style, queue))
        process.start()
        edges, nodes, seconds, cpu, memory, _ = queue.get()
        process.join()
        name = "ResNet-18" if width == 64 else f"ResNet-18, width {width}"
        each = 1e9 * cpu / edges
        print(
            f"| {name} | {style} | {edges:,} | {nodes:,} | {seconds:.2f} | {cpu:.2f} | {each:.0f} | {memory:.0f} |",
            flush=True,
        )


if __name__ == "__main__":
    main()
