"""What the framework costs beside the networks that it calls: a distillation step, routing, one step, a stack.

Times are of the processor, one thread, so that other load on the machine does not enter; contenders take turns and the
least of their times counts. python benchmarks/bench_distillation.py [--repeats 5]
"""

from __future__ import annotations

import argparse
import tempfile
import time
import warnings
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path

import torch
from pytorch_lightning import Callback, Trainer

from multi_student_distill import ClassRouter, EDMDenoiser, Partition, StudentStack, edm_sampler, one_step, route
from multi_student_distill.data import DigitsData
from multi_student_distill.denoisers import DenoiserSpec, save_denoiser
from multi_student_distill.distill import DistillModule
from multi_student_distill.experiment import quiet
from multi_student_distill.networks import build_network, parameter_count

BATCH, RATIO, SHAPE = 64, 5, (1, 8, 8)


def least(calls: dict[str, Callable[[], object]], repeats: int) -> dict[str, float]:
    """Milliseconds of each call: the least of its turns."""
    found = {name: float("inf") for name in calls}
    for turn in range(repeats + 1):
        for name, call in calls.items():
            start = time.process_time()
            call()
            if turn:  # the first warms up
                found[name] = min(found[name], 1000 * (time.process_time() - start))
    return found


class StepTimes(Callback):
    """Processor time of each iteration, from one to the next: loader, loop and optimizers included."""

    def __init__(self):
        self.marks: list[float] = []

    def on_train_batch_end(self, *_):
        self.marks.append(time.process_time())

    def cycle(self) -> float:
        """Milliseconds of the fastest r iterations on end."""
        ends = self.marks[::RATIO]
        return 1000 * min(b - a for a, b in pairwise(ends))


def step(network: str, repeats: int) -> tuple[float, float]:
    """r iterations of DMD2 with TTUR, and the network calls in them alone, in milliseconds."""
    data = DigitsData(batch_size=BATCH, real=False)
    spec = DenoiserSpec(network, data.shape, data.classes, data.sigma_data)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "teacher.safetensors"
        save_denoiser(path, spec.build(), spec)
        module = DistillModule(
            teacher=str(path), network="", ratio=RATIO, regression_weight=0.0, lr=1e-4,
            shape=data.shape, classes=data.classes, sigma_data=data.sigma_data,
        )  # fmt: skip
        times = StepTimes()
        trainer = Trainer(max_steps=RATIO * (repeats + 2), barebones=True, accelerator="cpu", callbacks=[times])
        trainer.fit(module, data)
    teacher, student, fake = (spec.build() for _ in range(3))
    x, labels = torch.randn(BATCH, *SHAPE), torch.arange(BATCH) % 10
    sigma = torch.full((BATCH,), 1.0)

    def calls() -> None:
        made = student(x, sigma, labels)
        with torch.no_grad():
            teacher(x, sigma, labels), fake(x, sigma, labels)
        made.mean().backward()
        for i in range(RATIO):
            if i:
                with torch.no_grad():
                    student(x, sigma, labels)
            fake(x, sigma, labels).mean().backward()

    return times.cycle(), least({"calls": calls}, repeats)["calls"]


def routing(network: str, students: int, repeats: int) -> dict[str, float]:
    """A mixed batch through the router, the same calls on batches sorted beforehand, and one student on the whole."""
    partition = Partition.contiguous(10, students)
    router = ClassRouter(partition)
    denoisers = [EDMDenoiser(build_network(network, SHAPE, 10)).eval() for _ in range(students)]
    own = [lambda z, y, d=d: one_step(d, z, y) for d in denoisers]
    z, labels = torch.randn(BATCH, *SHAPE), torch.arange(BATCH) % 10
    chosen = router(labels)
    parts = [(z[chosen == k], labels[chosen == k]) for k in range(students)]
    with torch.no_grad():
        return least(
            {
                "routed": lambda: route(own, router(labels), z, labels),
                "sorted": lambda: [g(*part) for g, part in zip(own, parts, strict=True)],
                "one": lambda: own[0](z, labels),
            },
            10 * repeats,
        )


def sampling(network: str, repeats: int) -> dict[str, float]:
    """One step against the teacher's sampler, one network."""
    denoiser = EDMDenoiser(build_network(network, SHAPE, 10)).eval()
    z, labels = torch.randn(BATCH, *SHAPE), torch.arange(BATCH) % 10
    with torch.no_grad():
        calls = {"teacher": lambda: edm_sampler(denoiser, z, labels), "step": lambda: one_step(denoiser, z, labels)}
        return least(calls, repeats)


def stacking(network: str, students: int, shape: tuple[int, ...], batch: int, repeats: int) -> dict[str, float]:
    """Forward and backward of K students at once, and one after another."""
    networks = [build_network(network, shape, 10) for _ in range(students)]
    stack = StudentStack(networks)
    x, c = torch.randn(students * batch, *shape), torch.rand(students * batch)
    labels = torch.arange(students * batch) % 10
    parts = list(zip(x.split(batch), c.split(batch), labels.split(batch), strict=True))
    return least(
        {
            "stack": lambda: stack(x, c, labels).square().mean().backward(),
            "apart": lambda: [n(*p).square().mean().backward() for n, p in zip(networks, parts, strict=True)],
        },
        5 * repeats,
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repeats", type=int, default=5)
    repeats = parser.parse_args().repeats
    torch.set_num_threads(1)
    quiet()
    warnings.filterwarnings("ignore")
    small, large = "mlp-256x3", "unet-32-64x1"
    print(f"{RATIO} iterations of DMD2 (r = {RATIO}) at batch {BATCH} against their network calls alone:\n")
    print("| network | parameters | iterations, ms | calls, ms | ratio |\n|---|---|---|---|---|")
    for network in (small, large):
        ours, calls = step(network, repeats)
        count = parameter_count(build_network(network, SHAPE, 10))
        print(f"| {network} | {count:,} | {ours:.1f} | {calls:.1f} | {ours / calls:.2f} |", flush=True)
    print(f"\nA mixed batch of {BATCH} through the router:\n")
    print("| students | routed, ms | sorted beforehand, ms | overhead | one, whole batch, ms |\n|---|---|---|---|---|")
    for network, students in ((small, 5), (large, 2), (large, 5)):
        found = routing(network, students, repeats)
        share = f"{100 * (found['routed'] / found['sorted'] - 1):.1f} %"
        print(
            f"| {students} of {network} | {found['routed']:.2f} | {found['sorted']:.2f} | {share} "
            f"| {found['one']:.2f} |",
            flush=True,
        )
    print(f"\nOne step against Heun-18 (35 evaluations) at batch {BATCH}:\n")
    print("| network | Heun-18, ms | one step, ms | times as fast |\n|---|---|---|---|")
    for network in ("mlp-64x2", small, large):
        found = sampling(network, repeats)
        print(
            f"| {network} | {found['teacher']:.1f} | {found['step']:.2f} | {found['teacher'] / found['step']:.0f} |",
            flush=True,
        )
    print("\nK students forward and backward, stacked and one after another:\n")
    print("| K | network | batch | stacked, ms | apart, ms | ratio |\n|---|---|---|---|---|---|")
    for students, network, shape, batch in (
        (8, "mlp-16x2", (2,), 128),
        (5, "mlp-64x2", SHAPE, 64),
        (5, small, SHAPE, 64),
    ):
        found = stacking(network, students, shape, batch, repeats)
        ratio = found["stack"] / found["apart"]
        print(
            f"| {students} | {network} | {batch} | {found['stack']:.1f} | {found['apart']:.1f} | {ratio:.2f} |",
            flush=True,
        )


if __name__ == "__main__":
    main()
