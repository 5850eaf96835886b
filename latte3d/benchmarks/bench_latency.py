"""From a prompt to a file, beside the optimisation that it replaces: python benchmarks/bench_latency.py [CHECKPOINT]

- milliseconds of all parts of one pass, with colours at vertices and with a baked texture
- seconds of optimising one prompt from untrained networks under the packaged prior, and how well the judge finds the
  prompt in its renders on the way, beside the one pass

Without a checkpoint the networks are the packaged ones.
"""

from __future__ import annotations

import argparse
import logging
import tempfile
import time
from pathlib import Path

import torch
from pytorch_lightning import Callback, Trainer
from torch.utils.data import DataLoader

from latte3d.checkpoints import load_networks
from latte3d.data import StepBatches
from latte3d.judge_training import read_judge
from latte3d.networks import dummy_cloud
from latte3d.optimization import prompt_library
from latte3d.pipeline import Latte3DPipeline
from latte3d.reproduce import fit_of
from latte3d.stages import VolumetricStage

PROMPT = "a tall striped red cylinder with a blue ball on top"


def latency(checkpoint: str | None, folder: Path, texels: int | None) -> None:
    """Milliseconds of all parts: the first call and the fastest of the next ones."""
    start = time.perf_counter()
    pipeline = Latte3DPipeline.from_pretrained(checkpoint, texels=texels)
    print(f"{'texture' if texels else 'vertex colours'}: loading {1000 * (time.perf_counter() - start):.0f} ms")
    taken = []
    for _ in range(2 if texels else 6):
        (mesh,) = pipeline([PROMPT])
        start = time.perf_counter()
        mesh.export(folder / "a.glb")
        taken.append({**pipeline.seconds, "export": time.perf_counter() - start})
    for name, seconds in (("first call", taken[0]), ("then", min(taken[1:], key=lambda s: sum(s.values())))):
        parts = ", ".join(f"{part} {1000 * value:.0f}" for part, value in seconds.items())
        print(f"  {name:10} {1000 * sum(seconds.values()):.0f} ms ({parts})", flush=True)


class Progress(Callback):
    """Prints how well renders fit the prompt at some steps; what that takes is not counted."""

    def __init__(self, steps: set[int]):
        self.steps, self.seconds, self.since, self.judge = steps, 0.0, 0.0, read_judge()

    def on_train_start(self, trainer, stage):
        self.since = time.process_time()

    def on_train_batch_end(self, trainer, stage, *_):
        if trainer.global_step in self.steps:
            self.seconds += time.process_time() - self.since
            pipeline = Latte3DPipeline(stage.networks, stage.text, stage.sizes.points, 32)
            fit = fit_of(pipeline, PROMPT, self.judge)
            stage.networks.train()
            print(f"  {trainer.global_step:>5} steps {self.seconds:>7.1f} s {fit:>8.2f}", flush=True)
            self.since = time.process_time()


def from_scratch(checkpoint: str | None, steps: int) -> None:
    """One prompt, four views a step, as stage 1 would train it alone."""
    networks, text, sizes = load_networks(checkpoint)
    pipeline = Latte3DPipeline(networks, text, sizes.points, 32)
    print(f"log-probability that the judge gives to {PROMPT!r}")
    start = time.process_time()
    fit = fit_of(pipeline, PROMPT, read_judge())
    print(f"  one pass, drawn {time.process_time() - start:>5.1f} s {fit:>8.2f}")
    stage = VolumetricStage(list(text.vocabulary), "multi_view", sizes, rate=2e-3, alpha=0.0, cells=20, samples=24)
    library = prompt_library(PROMPT, dummy_cloud(sizes.points))
    quiet = {"logger": False, "enable_checkpointing": False, "enable_model_summary": False, "limit_val_batches": 0}
    progress = Progress({steps // 8, steps // 4, steps // 2, steps})
    trainer = Trainer(
        max_steps=steps, max_epochs=-1, accelerator="cpu", enable_progress_bar=False, callbacks=[progress], **quiet
    )
    trainer.fit(stage, DataLoader(StepBatches(library, 1, 0, lambda: trainer.global_step), batch_size=None))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("checkpoint", nargs="?", help="weights, such as the demo leaves in its folder cells/")
    parser.add_argument("--steps", type=int, default=600, help="of the optimisation; the paper takes up to 600")
    given = parser.parse_args()
    logging.getLogger("pytorch_lightning").setLevel(logging.ERROR)
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as name:
        for texels in (None, 512):
            latency(given.checkpoint, Path(name), texels)
    from_scratch(given.checkpoint, given.steps)


if __name__ == "__main__":
    main()
