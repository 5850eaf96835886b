"""A stack of runs against the same runs one after another, and the covariance against the samples, side by side.

python benchmarks/bench_batched.py [--steps 200]
"""

from __future__ import annotations

import argparse
import time

import torch
from pytorch_lightning import Trainer

from regularized_lae import DenseCovariance, LinearAutoencoder, SampleCovariance, reconstruction
from regularized_lae.configured import quiet
from regularized_lae.data import SpectrumData
from regularized_lae.stack import AutoencoderStack

METHODS = ["uniform", "nonuniform", "nested", "rag", "rag_balanced"]


def seconds(stack: AutoencoderStack, data: SpectrumData, steps: int) -> float:
    """One fit, the trainer's start included: a sweep pays for it too."""
    trainer = Trainer(accelerator="cpu", barebones=True, max_steps=steps)
    start = time.perf_counter()
    trainer.fit(stack, datamodule=data)
    return time.perf_counter() - start


def stacks(steps: int) -> None:
    data = SpectrumData(dim=128)
    rates, seeds = [0.001, 0.00316, 0.01, 0.0316, 0.1], [0, 1]
    print("| k | runs | one by one / stacked |\n|---|---|---|")
    for k in (2, 10, 40):
        options = {"eigenvalues": data.eigenvalues, "latents": k, "optimizer": "nesterov"}
        many = {"methods": METHODS, "rates": rates, "seeds": seeds, **options}
        seconds(AutoencoderStack(**options), data, 10)  # warm-up
        together = min(seconds(AutoencoderStack(**many), data, steps) for _ in range(3))  # other load only adds
        singles = [
            AutoencoderStack(methods=[r.method], rates=[r.rate], seeds=[r.seed], **options)
            for r in AutoencoderStack(**many).runs
        ]
        alone = sum(seconds(single, data, steps) for single in singles)
        print(f"| {k} | {len(singles)} | {alone / together:.1f} |", flush=True)


def paths(steps: int) -> None:
    print("\n| n | d | k | samples / covariance, per step |\n|---|---|---|---|")
    for n, d, k in ((2_000, 256, 20), (10_000, 784, 20)):
        x = torch.randn(n, d, generator=torch.Generator().manual_seed(0))
        times = []
        for covariance in (SampleCovariance(x), DenseCovariance(x.mT @ x / n)):
            model = LinearAutoencoder(d, k)
            for count in range(steps // 10 + 3):
                if count == 3:
                    start = time.perf_counter()
                reconstruction(model.encoder, model.decoder, covariance).backward()
            times.append(time.perf_counter() - start)
        print(f"| {n} | {d} | {k} | {times[0] / times[1]:.1f} |", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--steps", type=int, default=200)
    args = parser.parse_args()
    quiet()
    print(f"{torch.get_num_threads()} threads\n")
    stacks(args.steps)
    paths(args.steps)


if __name__ == "__main__":
    main()
