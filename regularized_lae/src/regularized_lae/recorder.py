"""A callback that measures every run of a stack as it trains: steps to each threshold, curves, divergence."""

from __future__ import annotations

import math
from collections import defaultdict
from dataclasses import dataclass, field

import torch
from pytorch_lightning import Callback, Trainer
from torch import Tensor

from .metrics import axis_alignment, ordered_alignment, subspace_distance
from .stack import Run, Stack


@dataclass
class Record:
    """What one run did.

    steps_to: first measured step at which the axis alignment was at most each threshold, None where it was not in time.
    diverged_at: the step at which a weight was no longer finite, or None. last_step: the last one that was measured.
    steps, alignment, ordered, imbalance: the curves; subspace: the same at `subspace_steps`, for it is dearer.
    decoder: its weights in the end, shape (d, k).
    """

    run: Run
    latents: int
    steps_to: dict[float, int | None]
    diverged_at: int | None = None
    last_step: int = 0
    steps: list[int] = field(default_factory=list)
    alignment: list[float] = field(default_factory=list)
    ordered: list[float] = field(default_factory=list)
    imbalance: list[float] = field(default_factory=list)
    subspace_steps: list[int] = field(default_factory=list)
    subspace: list[float] = field(default_factory=list)
    decoder: Tensor | None = None


class Recorder(Callback):
    """Measures axis alignment every `every` steps, and drops runs that can hardly change a result any more.

    A run is dropped when it diverges. When all seeds of a method have met the last threshold at some rate, all runs of
    that method are: a seed that has not met a threshold by then is slower to it than the slowest there. (With several
    seeds a rate at which they differ widely may go unfinished though its mean were smaller: the best mean over seeds is
    an upper bound then, for every method alike.) Training stops when no run is left.

    Args:
        thresholds: alignments to reach, falling.
        every: steps between two measurements; so `steps_to` is exact to that many steps.
        drop_beaten: whether to drop the other runs of a method that has arrived; if not, a run stops only by diverging.
    Raises:
        ValueError: thresholds do not fall, or `every` is below 1.
    """

    def __init__(self, thresholds: list[float], every: int = 10, drop_beaten: bool = True):
        if not thresholds or sorted(thresholds, reverse=True) != list(thresholds) or every < 1:
            raise ValueError(f"thresholds must fall and every be >= 1, got {thresholds} and {every}")
        self.thresholds, self.every, self.drop_beaten = list(thresholds), every, drop_beaten
        self.records: dict[Run, Record] = {}

    def on_train_start(self, trainer: Trainer, stack: Stack) -> None:
        latents = stack.decoders.shape[-1]
        self.records = {run: Record(run, latents, dict.fromkeys(self.thresholds)) for run in stack.runs}
        self._axes = trainer.datamodule.truth.axes[:, :latents].to(stack.decoders)
        self._seeds = defaultdict(set)
        for run in stack.runs:
            self._seeds[run.method].add(run.seed)

    @torch.no_grad()
    def on_train_batch_end(self, trainer: Trainer, stack: Stack, *_) -> None:
        step = trainer.global_step
        if step % self.every:
            return
        decoders = stack.decoders.detach()
        alignment = axis_alignment(decoders, self._axes).tolist()
        ordered = ordered_alignment(decoders, self._axes).tolist()
        imbalances = stack.imbalances().tolist()
        subspace = None
        if step % (10 * self.every) == 0 or step == self.every:
            subspace = subspace_distance(decoders.nan_to_num(0, 0, 0), self._axes).tolist()
        for i, run in enumerate(stack.runs):
            record = self.records[run]
            record.last_step = step
            if not math.isfinite(alignment[i]) or not math.isfinite(imbalances[i]):
                record.diverged_at = record.diverged_at or step
                continue
            record.steps.append(step)
            record.alignment.append(alignment[i])
            record.ordered.append(ordered[i])
            record.imbalance.append(imbalances[i])
            if subspace:
                record.subspace_steps.append(step)
                record.subspace.append(subspace[i])
            for threshold in self.thresholds:
                if record.steps_to[threshold] is None and alignment[i] <= threshold:
                    record.steps_to[threshold] = step
        self._drop(trainer, stack)

    def on_train_end(self, trainer: Trainer, stack: Stack) -> None:
        self._save_decoders(stack, range(len(stack.runs)))

    def _save_decoders(self, stack: Stack, runs) -> None:
        for i in runs:
            self.records[stack.runs[i]].decoder = stack.decoders[i].detach().cpu().clone()

    def _drop(self, trainer: Trainer, stack: Stack) -> None:
        arrived = self._arrived() if self.drop_beaten else set()
        idle = [
            i for i, run in enumerate(stack.runs) if run.method in arrived or self.records[run].diverged_at is not None
        ]
        if len(idle) == len(stack.runs):
            trainer.should_stop = True
        elif len(idle) >= len(stack.runs) / 8:  # narrowing costs about a step
            self._save_decoders(stack, idle)
            stack.keep([i for i in range(len(stack.runs)) if i not in set(idle)])

    def _arrived(self) -> set[str]:
        seeds_by_rate = defaultdict(set)
        for run, record in self.records.items():
            if record.steps_to[self.thresholds[-1]] is not None:
                seeds_by_rate[run.method, run.rate].add(run.seed)
        return {method for (method, _), seeds in seeds_by_rate.items() if seeds == self._seeds[method]}
