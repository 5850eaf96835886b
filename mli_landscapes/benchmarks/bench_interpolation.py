"""A 50-point loss curve by this package, by a deepcopy + load_state_dict loop, and by loss-landscapes, side by side.

All run on the same networks and data, without gradients. python benchmarks/bench_interpolation.py [--repeats 3]
"""

from __future__ import annotations

import argparse
import copy
import resource
import subprocess
import sys
import time
from collections.abc import Callable
from unittest import mock

import loss_landscapes
import torch
from loss_landscapes.metrics import Metric
from torch import Tensor, nn
from torch.optim.swa_utils import update_bn

from mli_landscapes import MLP, ResNet, cross_entropy, evaluate, interpolate, next_token_nll
from mli_landscapes.language import LSTMLanguageModel

POINTS = 50
Batches = list[tuple[Tensor, Tensor]]
Loss = Callable[[Tensor, tuple[Tensor, Tensor]], Tensor]


def images(rows: int, batch: int, *shape: int) -> Batches:
    x, y = torch.randn(rows, *shape), torch.randint(10, (rows,))
    return list(zip(x.split(batch), y.split(batch), strict=True))


def text(rows: int, batch: int) -> Batches:
    x, y = torch.randint(200, (rows, 20)), torch.randint(200, (rows, 20))
    return list(zip(x.split(batch), y.split(batch), strict=True))


def mean_loss(model: nn.Module, data: Batches, metric: Loss) -> float:
    return float(torch.cat([metric(model(batch[0]), batch) for batch in data]).mean())


def by_state_dicts(start: nn.Module, end: nn.Module, data: Batches, metric: Loss) -> Tensor:
    """What one writes without a library: batch norm re-estimated by torch's update_bn where there is any."""
    losses, ends = [], (start.state_dict(), end.state_dict())
    has_batchnorm = any(isinstance(m, nn.modules.batchnorm._BatchNorm) for m in start.modules())
    for alpha in torch.linspace(0, 1, POINTS).tolist():
        model = copy.deepcopy(end).eval()
        mixed = {n: torch.lerp(v, ends[1][n], alpha) if v.is_floating_point() else v for n, v in ends[0].items()}
        model.load_state_dict(mixed)
        if has_batchnorm:
            update_bn(data, model)
        losses.append(mean_loss(model, data, metric))
    return torch.tensor(losses)


class MeanLoss(Metric):
    def __init__(self, data: Batches, metric: Loss):
        super().__init__()
        self.data, self.metric = data, metric

    def __call__(self, wrapper) -> float:
        return mean_loss(wrapper.forward, self.data, self.metric)


def by_loss_landscapes(start: nn.Module, end: nn.Module, data: Batches, metric: Loss) -> Tensor:
    """Never evaluates α = 0, so its points are 1/50 ... 1."""
    found = loss_landscapes.linear_interpolation(start, end, MeanLoss(data, metric), steps=POINTS, deepcopy_model=True)
    return torch.as_tensor(found)


def ours(chunk_size: int | str = "auto", shared: bool = True) -> Callable[..., Tensor]:
    """This package; with `shared` off, the first layer is computed at every point like all others."""

    def curve(start: nn.Module, end: nn.Module, data: Batches, metric: Loss) -> Tensor:
        fan_in = evaluate.SHARED_FAN_IN if shared else 10**9
        with mock.patch.object(evaluate, "SHARED_FAN_IN", fan_in):
            return interpolate(start, end, data=data, metric=metric, alphas=POINTS, chunk_size=chunk_size).values

    return curve


CONTENDERS = {
    "deepcopy + load_state_dict": by_state_dicts,
    "loss-landscapes": by_loss_landscapes,
    "ours, loop, no shared layer": ours(1, shared=False),
    "ours, loop": ours(1),
    "ours, vmap": ours(POINTS),
    "ours, auto": ours(),
}


def cases() -> dict[str, tuple[Callable[[], nn.Module], Batches, Loss]]:
    return {
        "MLP 784-256-256-10, 2,000 rows": (lambda: MLP(784, (256, 256), 10), images(2000, 1000, 784), cross_entropy),
        "MLP 64-64-64-10, 128 rows": (lambda: MLP(64, (64, 64), 10), images(128, 128, 64), cross_entropy),
        "MLP 64-64-64-10, 1,437 rows": (lambda: MLP(64, (64, 64), 10), images(1437, 1437, 64), cross_entropy),
        "MLP with batch norm, 784-256-256-10": (
            lambda: MLP(784, (256, 256), 10, batchnorm=True), images(2000, 1000, 784), cross_entropy
        ),
        "ResNet-20, Fixup, 16 x 16": (lambda: ResNet(20, "fixup"), images(64, 64, 3, 16, 16), cross_entropy),
        "ResNet-20, batch norm, 16 x 16": (lambda: ResNet(20, "bn"), images(64, 64, 3, 16, 16), cross_entropy),
        "LSTM, 2 layers of 64": (lambda: LSTMLanguageModel(200, 64), text(64, 32), next_token_nll),
    }  # fmt: skip


def skipped(case: str, contender: str) -> bool:
    """loss-landscapes cannot re-estimate batch norm; vmap does not know nn.LSTM."""
    return (contender == "loss-landscapes" and "batch norm" in case) or (contender == "ours, vmap" and "LSTM" in case)


@torch.no_grad()
def times(repeats: int) -> None:
    print("| network | " + " | ".join(CONTENDERS) + " | largest difference |")
    print("|---" * (len(CONTENDERS) + 2) + "|")
    for case, (build, data, metric) in cases().items():
        torch.manual_seed(0)
        start, end = build().eval(), build().eval()
        found, seconds = {}, {name: [] for name in CONTENDERS if not skipped(case, name)}
        for _ in range(repeats):  # interleaved: other load hits all alike
            for name in seconds:
                began = time.perf_counter()
                found[name] = CONTENDERS[name](start, end, data, metric)
                seconds[name].append(time.perf_counter() - began)
        least = {name: min(values) for name, values in seconds.items()}
        base = least["deepcopy + load_state_dict"]
        cells = [f"{base / least[name]:.2f}" if name in least else "" for name in CONTENDERS]
        exact = found["ours, loop, no shared layer"]
        comparable = [v for n, v in found.items() if n not in ("loss-landscapes", "deepcopy + load_state_dict")]
        if "batch norm" not in case or len(data) == 1:  # update_bn weighs unequal batches alike; these are equal
            comparable.append(found["deepcopy + load_state_dict"])
        worst = max(float((v - exact).abs().max()) for v in comparable)
        print(f"| {case} | " + " | ".join(cells) + f" | {worst:.0e} |", flush=True)


@torch.no_grad()
def peak(contender: str) -> None:
    """Peak memory above that before the call, in sets of parameters (a network of 268 MB)."""
    torch.manual_seed(0)
    start, end = (MLP(2048, (4096,) * 4, 10).eval() for _ in "ab")
    data = images(8, 8, 2048)
    interpolate(MLP(8, (8,), 2), MLP(8, (8,), 2), data=images(4, 4, 8)[:1], metric=lambda z, _: z.mean(-1), alphas=2)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    CONTENDERS[contender](start, end, data, cross_entropy)
    after = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    size = sum(p.numel() * p.element_size() for p in start.parameters()) / 1024
    print(f"| {contender} | {(after - before) / size:.1f} |")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--peak", choices=list(CONTENDERS))
    options = parser.parse_args()
    torch.set_num_threads(1)
    if options.peak:
        peak(options.peak)
        return
    print("Speed in relation to deepcopy + load_state_dict (higher is faster), one thread:\n")
    times(options.repeats)
    print("\nPeak memory, in sets of parameters beyond the two end points:\n\n| | sets |\n|---|---|", flush=True)
    for name in ("deepcopy + load_state_dict", "loss-landscapes", "ours, auto"):
        subprocess.run([sys.executable, __file__, "--peak", name], check=True)


if __name__ == "__main__":
    main()
