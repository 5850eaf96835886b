"""Seconds and memory: an amortised step beside a per-prompt step, the batched grid look-up beside a loop over prompts,
frames a second with the denoiser's share, and memory by the number of prompts. Times are of one thread's processor.

python benchmarks/bench_att3d.py [--repeats 5] [--points 4096] [--threads 1] [--paper]
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import time
from collections.abc import Callable

import torch

from att3d.cameras import CameraSampler
from att3d.data import PromptBatch
from att3d.distillation import ScoreDistillation
from att3d.field import DensityBlob
from att3d.grid_encoder import PAPER_RESOLUTIONS, ModulatedGridEncoder
from att3d.guidance import ExactPrior
from att3d.per_prompt import PerPromptBaseline
from att3d.shapes import shape_prompts
from att3d.text import HashTokenEncoder
from att3d.training import ATT3D, SceneSettings, SceneTraining

SMALL = (5, 9, 14)


def fastest(repeats: int, function: Callable[[], object]) -> float:
    """Seconds of processor time of the best of several calls after one to warm up: a busy machine matters less."""
    function()
    times = []
    for _ in range(repeats):
        start = time.process_time()
        function()
        times.append(time.process_time() - start)
    return min(times)


def fastest_of_each(repeats: int, *functions: Callable[[], object]) -> list[float]:
    """The same for several functions in turn, so that a slow spell of the machine hits all."""
    found = [[fastest(1, function) for function in functions] for _ in range(repeats)]
    return [min(times) for times in zip(*found, strict=True)]


def random_prior(prompts: list[str], each: int = 96) -> ExactPrior:
    """As many images as the demo's prior has, without rendering them."""
    captions = [prompt for prompt in prompts for _ in range(each)]
    return ExactPrior(torch.rand(len(captions), 3, 16, 16), captions, torch.arange(len(captions)) % 3)


def settings(prior: ExactPrior, views: int = 2) -> dict:
    return {
        "scene": SceneSettings(list(SMALL), 4, 32, DensityBlob(6.0, 0.5, -0.5, 6.0)),
        "guidance": prior,
        "cameras": CameraSampler((2.6, 2.6), (45.0, 45.0), (-10.0, 60.0)),
        "samples": 24,
        "resolution": 16,
        "views": views,
        "distillation": ScoreDistillation(2.0),
    }


def step_of(model: SceneTraining, prompts: list[str]) -> Callable[[], None]:
    """One optimiser step of a model on the same prompts."""
    optimizer = torch.optim.Adam(model.parameters(), lr=model.lr, betas=(0.0, 0.99))
    batch = PromptBatch(prompts, prompts)
    generator = torch.Generator().manual_seed(0)

    def step() -> None:
        optimizer.zero_grad()
        model.loss(batch, generator, 0.5)[0].backward()
        optimizer.step()

    return step


def steps(repeats: int) -> None:
    """The same prompts, views and renderer in both."""
    prior = random_prior(shape_prompts(3))
    print("| prompts × views | amortised step, ms | per-prompt step, ms | ratio | frames/s | denoiser's share |")
    print("|---|---|---|---|---|---|")
    for count in (4, 8, 16):
        prompts = shape_prompts(3)[:count]
        amortised = ATT3D(HashTokenEncoder(4, 32), modulation_scale=30.0, **settings(prior))
        alone = PerPromptBaseline(prompts, **settings(prior))
        ours, theirs = fastest_of_each(repeats, step_of(amortised, prompts), step_of(alone, prompts))
        frames = 2 * count
        z, t = torch.randn(frames, 3, 16, 16), torch.full((frames,), 500)
        cond = prior.condition([p for p in prompts for _ in range(2)], [0] * frames)
        denoiser = fastest(repeats, lambda z=z, t=t, cond=cond: prior.predict_noise(z, t, cond, 2.0))
        print(f"| {count} × 2 | {1e3 * ours:.1f} | {1e3 * theirs:.1f} | {ours / theirs:.2f} | {frames / ours:.0f} "
              f"| {denoiser / ours:.1%} |", flush=True)  # fmt: skip


def lookups(repeats: int, points: int, resolutions: tuple[int, ...]) -> None:
    """Forward and backward of one batched look-up, and of a loop over prompts."""
    encoder = ModulatedGridEncoder(resolutions, 4)
    print(
        f"| prompts, levels {', '.join(map(str, resolutions))}, {points} points each | batched, ms | loop, ms | speed |"
    )
    print("|---|---|---|---|")
    for count in (4, 8, 16):
        w = torch.randn(count, encoder.size, requires_grad=True)
        x = 2 * torch.rand(count, points, 3) - 1

        def batched(w=w, x=x) -> None:
            encoder(w, x).square().sum().backward()

        def loop(w=w, x=x, count=count) -> None:
            parts = [encoder(w[p : p + 1], x[p : p + 1]) for p in range(count)]
            torch.cat(parts).square().sum().backward()

        one, other = fastest_of_each(repeats, batched, loop)
        print(f"| {count} | {1e3 * one:.1f} | {1e3 * other:.1f} | {other / one:.2f} |", flush=True)


def memory(counts: tuple[int, ...] = (1, 4, 16)) -> None:
    """Peak resident memory of a process that takes two steps, imports included (Linux)."""
    code = (
        "import torch; torch.set_num_threads(1)\n"
        "from bench_att3d import *\n"
        "prompts = shape_prompts(3)[:{count}]\n"
        "model = {kind}\n"
        "step = step_of(model, prompts); step(); step()\n"
        "peak = next(line for line in open('/proc/self/status') if line.startswith('VmHWM')).split()[1]\n"
        "print(int(peak) / 1024, sum(p.numel() for p in model.parameters()))\n"
    )
    kinds = {
        "amortised": "ATT3D(HashTokenEncoder(4, 32), modulation_scale=30.0, **settings(random_prior(prompts, 4)))",
        "per-prompt": "PerPromptBaseline(prompts, **settings(random_prior(prompts, 4)))",
    }
    print("| prompts | " + " | ".join(f"{kind}: parameters | {kind}: peak, MiB" for kind in kinds) + " |")
    print("|---" * (1 + 2 * len(kinds)) + "|")
    for count in counts:
        cells = []
        for kind in kinds.values():
            command = [sys.executable, "-c", code.format(count=count, kind=kind)]
            done = subprocess.run(command, capture_output=True, text=True, check=True, cwd=__file__.rpartition("/")[0])
            peak, parameters = done.stdout.split()[-2:]
            cells += [f"{int(parameters):,}", f"{float(peak):.0f}"]
        print(f"| {count} | " + " | ".join(cells) + " |", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--points", type=int, default=4096)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--paper", action="store_true", help="also the look-up at the paper's levels")
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    steps(args.repeats)
    print()
    lookups(args.repeats, args.points, SMALL)
    if args.paper:
        print()
        lookups(args.repeats, args.points, PAPER_RESOLUTIONS)
    print()
    memory()


if __name__ == "__main__":
    main()
