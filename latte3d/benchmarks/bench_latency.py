"""From a prompt to a file, beside the optimisation that it replaces: python benchmarks/bench_latency.py [CHECKPOINT]

Without a checkpoint the networks are untrained: their times are those of trained ones. The time of 600 steps is that of
the optimisation's first ones under an untrained small prior, times as many.
"""

from __future__ import annotations

import logging
import sys
import tempfile
import time
from pathlib import Path

import torch
from pytorch_lightning import Trainer

from latte3d.optimization import optimise
from latte3d.pipeline import Latte3DPipeline
from latte3d.priors import MultiViewDiffusionPrior
from latte3d.shapes import vocabulary
from latte3d.stages import VolumetricStage

PROMPT = "a tall striped red cylinder with a blue ball on top"
STEPS = 600  # at most, in the paper


def untrained(folder: Path) -> Path:
    """A checkpoint of the demo's networks before their first step."""
    stage = VolumetricStage(vocabulary(), None, alpha=1.0)
    trainer = Trainer(logger=False, enable_checkpointing=False, enable_progress_bar=False, accelerator="cpu")
    trainer.strategy.connect(stage)
    trainer.save_checkpoint(folder / "untrained.ckpt", weights_only=True)
    return folder / "untrained.ckpt"


def latency(checkpoint: Path, folder: Path, texels: int | None) -> None:
    """Milliseconds of all parts: the first call and the fastest of the next ones."""
    start = time.perf_counter()
    pipeline = Latte3DPipeline.from_pretrained(checkpoint, texels=texels)
    print(f"{'texture' if texels else 'vertex colours'}: loading {1000 * (time.perf_counter() - start):.0f} ms")
    taken = []
    for _ in range(4):
        (mesh,) = pipeline([PROMPT])
        start = time.perf_counter()
        mesh.export(folder / "a.glb")
        taken.append({**pipeline.seconds, "export": time.perf_counter() - start})
    for name, seconds in (("first call", taken[0]), ("then", min(taken[1:], key=lambda s: sum(s.values())))):
        parts = ", ".join(f"{part} {1000 * value:.0f}" for part, value in seconds.items())
        print(f"  {name:10} {1000 * sum(seconds.values()):.0f} ms ({parts})")


def main() -> None:
    logging.getLogger("pytorch_lightning").setLevel(logging.ERROR)
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        checkpoint = Path(sys.argv[1]) if len(sys.argv) > 1 else untrained(folder)
        for texels in (None, 512):
            latency(checkpoint, folder, texels)
        prior = MultiViewDiffusionPrior()
        prior.text = None  # prompts are read by the networks' own word vectors
        start, steps = time.perf_counter(), 5
        optimise(str(checkpoint), PROMPT, prior, steps)
        each = (time.perf_counter() - start) / steps
        print(f"optimising one prompt: {1000 * each:.0f} ms a step, {each * STEPS:.0f} s for {STEPS} steps")


if __name__ == "__main__":
    main()
