"""Seconds of a suggestion over rows and edges, beside DyHPO's schedule on the same rows; of a graph forward and
backward.

Everything runs one after the other with one thread; both schedules see the same rows in one run. DyHPO's: fits from
new weights with 1000 full-batch steps for the first ten suggestions, then 50 steps at every one, no factor kept. Its
cost per suggestion is measured at one of them once `n` rows are known.

python benchmarks/bench_search.py [--rows 50 100 200 400] [--suggestions 3] [--graphs 64]
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable

import torch
from torch import nn

from forecasting_model_search import (
    CheckpointStore,
    DyHPOSchedule,
    FitSettings,
    ForecastingModelSearch,
    GraphEncoder,
    RefitSchedule,
    SurrogateSettings,
    model_to_graph,
)
from forecasting_model_search.digits import HubSettings, ZooSettings, digits_hub, mlp
from forecasting_model_search.graph_encoder import ScatterGraphEncoder
from forecasting_model_search.hub import ModelHub
from forecasting_model_search.weights import Checkpoint


def fastest(repeats: int, function: Callable[[], object]) -> float:
    """CPU seconds of the best of several calls after one to warm up."""
    function()
    times = []
    for _ in range(repeats):
        start = time.process_time()
        function()
        times.append(time.process_time() - start)
    return min(times)


def wide_mlp(width: int) -> nn.Sequential:
    return nn.Sequential(nn.Linear(64, width), nn.ReLU(), nn.Linear(width, width), nn.ReLU(), nn.Linear(width, 10))


def checkpoints(network: nn.Module, count: int) -> list[Checkpoint]:
    graph = model_to_graph(network)
    states = [{n: torch.randn(p.shape) * 0.3 for n, p in network.named_parameters()} for _ in range(count)]
    return [Checkpoint(state, graph, str(k)) for k, state in enumerate(states)]


def graphs(count: int) -> None:
    """Forward and backward of one graph."""
    print("| network | edges | dense path, ms | scatter path, ms | forward alone, ms |\n|---|---|---|---|---|")
    for width in (16, 32, 64):
        given = checkpoints(wide_mlp(width) if width != 16 else mlp(), count)
        row = []
        for encoder in (GraphEncoder(), ScatterGraphEncoder()):
            row.append(1000 * fastest(5, lambda e=encoder, g=given: e(g).sum().backward()) / count)
        with torch.no_grad():
            row.append(1000 * fastest(5, lambda g=given: GraphEncoder()(g)) / count)
        edges = given[0].graph.edges
        print(f"| 64-{width}-{width}-10 | {edges} | " + " | ".join(f"{v:.2f}" for v in row) + " |", flush=True)


def told(hub: ModelHub, encoder: str, rows: int, schedule, fitting: FitSettings) -> ForecastingModelSearch:
    """A searcher that was told `rows` epochs of random configurations, the same for every schedule."""
    searcher = ForecastingModelSearch(
        hub.space,
        hub.epochs,
        10 * rows,
        pool=hub.params_list(),
        checkpoints=hub.checkpoints,
        start=lambda i, _: (None, float(hub.starts[i])),
        surrogate=SurrogateSettings(encoder),
        schedule=schedule,
        fitting=fitting,
    )
    epoch = 0
    while searcher.spent < rows:
        config_id = searcher.spent % 60
        epoch = searcher.history.reached(config_id)
        searcher.take(config_id, epoch, epoch + 1)
        searcher.tell(config_id, epoch + 1, hub.curves[config_id, epoch])
    return searcher


def seconds(searcher: ForecastingModelSearch, hub: ModelHub, suggestions: int) -> float:
    """CPU seconds of a suggestion, and of what telling its epoch costs."""
    start = time.process_time()
    for _ in range(suggestions):
        asked = searcher.ask()
        searcher.tell(asked.config_id, asked.to_epoch, hub.curves[asked.config_id, asked.to_epoch - 1])
    return (time.process_time() - start) / suggestions


class RandomWeights(CheckpointStore):
    """Checkpoints of a network of some width, drawn when they are asked for: only their size matters here."""

    def __init__(self, width: int):
        self.network = wide_mlp(width)
        super().__init__({"": self.network})

    def __contains__(self, place) -> bool:
        return True

    def _read(self, place):
        generator = torch.Generator().manual_seed(1000 * place[0] + place[1])
        return {n: torch.randn(p.shape, generator=generator) * 0.3 for n, p in self.network.named_parameters()}


def suggestions(rows: list[int], count: int) -> None:
    """Ours and DyHPO's schedule on the same rows."""
    hub = digits_hub(0, ZooSettings(40), HubSettings(120, 20))
    print("| surrogate | edges | rows | ours, s | of it refits, spread | DyHPO's, s | ratio |\n|" + "---|" * 7)
    for encoder, width in (("none", 16), ("stat", 16), ("gmn", 16), ("gmn", 32)):
        hub.checkpoints = RandomWeights(width)
        edges = hub.checkpoints.graphs[""].edges
        for n in rows if encoder != "gmn" else [n for n in rows if n * edges <= 300_000]:
            ours = told(hub, encoder, n, RefitSchedule(1.5), FitSettings(80, 5e-3, 64, 16))
            start = time.process_time()
            ours._update()  # the fit that the schedule asks for at these rows
            fit = time.process_time() - start
            between = seconds(ours, hub, count)
            spread = 0.5 * fit / max(1, 0.5 * n)  # the next one has half the steps and comes after n / 2 suggestions
            theirs = told(hub, encoder, n, DyHPOSchedule(), FitSettings(1000, 1e-3))
            theirs._fits = 10  # past its fits from new weights, which cost 20 times as much
            one = seconds(theirs, hub, 1)
            total = between + spread
            row = f"| {encoder} | {edges} | {n} | {total:.3f} | {spread:.3f} | {one:.2f} | {one / total:.0f} |"
            print(row, flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--rows", type=int, nargs="+", default=[50, 100, 200, 400])
    parser.add_argument("--suggestions", type=int, default=3)
    parser.add_argument("--graphs", type=int, default=64)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    torch.manual_seed(0)
    graphs(arguments.graphs)
    print()
    suggestions(arguments.rows, arguments.suggestions)


if __name__ == "__main__":
    main()
