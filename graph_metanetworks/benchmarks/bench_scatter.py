"""Which scatter is fastest at which size: torch's own, PyTorch Geometric's, torch-scatter's; forward and backward.

python benchmarks/bench_scatter.py
"""

from __future__ import annotations

import time

import torch

from graph_metanetworks.scatter import BACKENDS, scatter_mean


def once(backend: str, rows: torch.Tensor, index: torch.Tensor, size: int) -> float:
    start = time.perf_counter()
    scatter_mean(rows, index, size, backend).sum().backward()
    return time.perf_counter() - start


def main() -> None:
    torch.set_num_threads(1)
    print("| edges | nodes | width | " + " | ".join(f"{name}, ms" for name in BACKENDS) + " | fastest |")
    print("|---|---|---|" + "---|" * (len(BACKENDS) + 1))
    generator = torch.Generator().manual_seed(0)
    for edges, nodes, width in (
        (1_000, 50, 32),
        (20_000, 1_000, 32),
        (200_000, 3_000, 32),
        (200_000, 3_000, 128),
        (1_000_000, 20_000, 16),
    ):
        rows = torch.randn(edges, width, generator=generator, requires_grad=True)
        index = torch.randint(0, nodes, (edges,), generator=generator)
        found = {}
        for name in BACKENDS:
            try:
                once(name, rows, index, nodes)
            except ImportError:
                continue
            found[name] = float("inf")
        for _ in range(7):  # in turn, so that a busy machine slows all alike
            for name in found:
                found[name] = min(found[name], once(name, rows, index, nodes))
        cells = " | ".join(f"{1000 * found[name]:.2f}" if name in found else "not installed" for name in BACKENDS)
        print(f"| {edges:,} | {nodes:,} | {width} | {cells} | {min(found, key=found.get)} |", flush=True)


if __name__ == "__main__":
    main()
