"""Batches of prompts: all that training on text needs."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

import torch
from pytorch_lightning import LightningDataModule
from torch.utils.data import DataLoader

from .prompts import PromptLibrary, read_prompts


class PromptBatch(NamedTuple):
    """P prompts, and for each the one that it may be interpolated with."""

    prompts: list[str]
    partners: list[str]


class PromptOrder:
    """Which rows come together in a step: permutations end to end, so that all prompts come equally often.

    The rows of turn n are decided by (seed, n) alone, so that a resumed run sees what it would have seen. A step of
    several processes takes as many turns, one each.

    Args:
        rows: how many there are. per_step: P, of each process. steps: of an epoch. step: says how many steps are over.
        rank, world: of this process.
    """

    def __init__(
        self,
        rows: int,
        per_step: int,
        steps: int,
        seed: int,
        step: Callable[[], int] = lambda: 0,
        rank: int = 0,
        world: int = 1,
    ):
        self.rows, self.per_step, self.steps, self.seed, self.step = rows, per_step, steps, seed, step
        self.rank, self.world = rank, world

    def __len__(self) -> int:
        return self.steps

    def __iter__(self) -> Iterator[list[int]]:
        first = self.step()
        for n in range(first, first + self.steps):
            yield self.at(n * self.world + self.rank)

    def at(self, n: int) -> list[int]:
        """The rows of turn n."""
        places = range(n * self.per_step, (n + 1) * self.per_step)
        rounds = {place // self.rows: self.permutation(place // self.rows) for place in places}
        return [rounds[place // self.rows][place % self.rows] for place in places]

    def permutation(self, number: int) -> list[int]:
        """The order of all rows in one round through them."""
        generator = torch.Generator().manual_seed(self.seed * 1_000_003 + number)
        return torch.randperm(self.rows, generator=generator).tolist()


class PromptDataModule(LightningDataModule):
    """A prompt set for training, its held-out prompts for tests.

    Processes share training out by themselves: with several, set the trainer's `use_distributed_sampler` to false.

    Args:
        prompts: a packaged set (shapes27, shapes64 ...) or a file, see `read_prompts`.
        prompts_per_step: P; 0 takes all.
        steps_per_epoch: length of an epoch, after which a checkpoint may be written.
        train_share, split_seed: train on a seeded part of all prompts.
        pairs: "one prompt | another": train on these only, as each other's partners in interpolation.
        seed: of the order.
    Raises:
        ValueError: sizes out of range, or a pair that is none.
    """

    def __init__(
        self,
        prompts: str = "shapes27",
        prompts_per_step: int = 8,
        steps_per_epoch: int = 50,
        train_share: float | None = None,
        split_seed: int = 0,
        pairs: Sequence[str] = (),
        seed: int = 0,
    ):
        super().__init__()
        if prompts_per_step < 0 or steps_per_epoch < 1:
            raise ValueError(
                "prompts_per_step must be at least 0 and steps_per_epoch at least 1, "
                f"got {prompts_per_step} and {steps_per_epoch}"
            )
        self.prompts_per_step, self.steps_per_epoch, self.seed = prompts_per_step, steps_per_epoch, seed
        self.library: PromptLibrary = read_prompts(prompts, train_share, split_seed)
        self.rows = [(prompt, "") for prompt in self.library.train]
        if pairs:
            self.rows = []
            for pair in pairs:
                one, bar, other = (part.strip() for part in pair.partition("|"))
                if not (one and bar and other):
                    raise ValueError(f"a pair is 'one prompt | another', got {pair!r}")
                self.rows += [(one, other), (other, one)]

    @property
    def train_prompts(self) -> list[str]:
        """Prompts that enter 3-D training."""
        return [prompt for prompt, _ in self.rows]

    def __getitem__(self, numbers: Sequence[int]) -> PromptBatch:
        """A batch of rows by number; without pairs, a prompt's partner is its neighbour in the batch."""
        chosen = [self.rows[number] for number in numbers]
        prompts = [prompt for prompt, _ in chosen]
        neighbours = prompts[1:] + prompts[:1]
        return PromptBatch(prompts, [own or other for (_, own), other in zip(chosen, neighbours, strict=True)])

    def train_dataloader(self) -> DataLoader:
        """The sampler yields whole batches."""
        per_step, trainer = self.prompts_per_step or len(self.rows), self.trainer

        def step() -> int:
            return trainer.global_step if trainer is not None else 0

        rank, world = (trainer.global_rank, trainer.world_size) if trainer is not None else (0, 1)
        order = PromptOrder(len(self.rows), per_step, self.steps_per_epoch, self.seed, step, rank, world)
        return DataLoader(self, sampler=order, batch_size=None, collate_fn=lambda batch: batch)

    def _held_out(self) -> DataLoader:
        """The unseen prompts; where there are none, those of training."""
        prompts = list(self.library.unseen or self.library.train)
        return DataLoader(prompts, batch_size=8, collate_fn=lambda chosen: PromptBatch(chosen, chosen))

    def val_dataloader(self) -> DataLoader:
        return self._held_out()

    def test_dataloader(self) -> DataLoader:
        """All prompts: retrieval needs every candidate."""
        return DataLoader(
            list(self.library.prompts), batch_size=8, collate_fn=lambda chosen: PromptBatch(chosen, chosen)
        )

    predict_dataloader = test_dataloader
