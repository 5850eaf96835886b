"""Data modules: procedural shapes, or a folder of meshes and captions."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import torch
from pytorch_lightning import LightningDataModule
from torch.utils.data import DataLoader, IterableDataset

from .assets import AssetFolder
from .cameras import CameraSampler
from .library import Library, PairedPrompts, ShapeBatch, build_library, of_asset, of_shape
from .retrieval import ShapeRetriever
from .shapes import ProceduralShapes, vocabulary
from .text import WordEncoder, words_of


def step_generator(seed: int, step: int) -> torch.Generator:
    """All randomness of a step: a resumed run then draws what the straight one did."""
    return torch.Generator().manual_seed(seed * 1_000_003 + step)


class StepBatches(IterableDataset):
    """One batch after another, each drawn from (seed, step, rank), from the trainer's step on.

    Args:
        step: says where training stands. rank, world: of this process; each draws other batches.
    """

    def __init__(
        self,
        library: Library | PairedPrompts,
        batch_size: int,
        seed: int,
        step: Callable[[], int],
        rank: int = 0,
        world: int = 1,
    ):
        self.library, self.batch_size, self.seed, self.step = library, batch_size, seed, step
        self.rank, self.world = rank, world

    def __iter__(self) -> Iterator[ShapeBatch]:
        step = self.step()
        while True:
            yield self.library.draw(self.batch_size, step_generator(self.seed, step * self.world + self.rank))
            step += 1


class ShapeData(LightningDataModule):
    """What both kinds share; `objects` says what is trained on and what is held out.

    Args:
        batch_size: objects in a step. size: of the reference views, in pixels. sets: of views of each object.
        points: of a cloud. cells: of the grid on which shapes are volumes. seed: of all draws.
        pictures: render the training shapes; the stages compare volumes and do without.
    """

    def __init__(
        self,
        batch_size: int = 4,
        size: int = 32,
        sets: int = 4,
        points: int = 512,
        cells: int = 24,
        seed: int = 0,
        pictures: bool = True,
    ):
        super().__init__()
        self.pictures = pictures
        self.batch_size, self.size, self.sets, self.points = batch_size, size, sets, points
        self.cells, self.seed = cells, seed
        self.train: Library | None = None
        self.held_out: Library | None = None

    def objects(self) -> tuple[list, list]:
        """Training and held-out objects, as `Drawn`."""
        raise NotImplementedError

    @property
    def words(self) -> list[str]:
        """All words that captions use, for models with word vectors."""
        raise NotImplementedError

    def setup(self, stage: str | None = None) -> None:
        if self.train is None:
            settings = {"size": self.size, "points": self.points, "cells": self.cells}
            train, held_out = self.objects()
            drawn = {"sets": self.sets, "pictures": self.pictures, "seed": self.seed}
            self.train = build_library(train, CameraSampler(), **settings, **drawn)
            self.held_out = build_library(held_out, CameraSampler(), **settings, sets=1, seed=self.seed + 1)

    def training(self) -> Library | PairedPrompts:
        """What batches are drawn from."""
        return self.train

    def train_dataloader(self) -> DataLoader:
        trainer = self.trainer
        place = trainer.global_rank, trainer.world_size
        batches = StepBatches(self.training(), self.batch_size, self.seed, lambda: trainer.global_step, *place)
        return DataLoader(batches, batch_size=None)

    def val_dataloader(self) -> DataLoader:
        return DataLoader(held_out_batches(self.held_out, self.batch_size), batch_size=None, collate_fn=None)

    test_dataloader = val_dataloader


def held_out_batches(library: Library, size: int) -> list[ShapeBatch]:
    """Every object once, with its first set of views and its plainest caption."""
    batches = []
    for shapes in torch.arange(len(library.captions)).split(size):
        batches.append(library.batch(shapes, torch.zeros_like(shapes), [0] * len(shapes)))
    return batches


class ProceduralData(ShapeData):
    """Captioned shapes made on the spot; nothing is downloaded.

    Args:
        each: training shapes of every seen triple. held_out_each: of every unseen one. bodies: null: all five.
    """

    def __init__(
        self,
        each: int = 4,
        held_out_each: int = 8,
        bodies: list[str] | None = None,
        batch_size: int = 4,
        size: int = 32,
        sets: int = 4,
        points: int = 512,
        cells: int = 24,
        seed: int = 0,
        pictures: bool = True,
    ):
        super().__init__(batch_size, size, sets, points, cells, seed, pictures)
        self.each, self.held_out_each, self.bodies = each, held_out_each, bodies
        self.shapes = ProceduralShapes(each, held_out_each, bodies, seed)

    def objects(self) -> tuple[list, list]:
        return [of_shape(s) for s in self.shapes.train], [of_shape(s) for s in self.shapes.held_out]

    @property
    def words(self) -> list[str]:
        return vocabulary()


class FolderData(ShapeData):
    """A folder as `AssetFolder` reads it, split by uid.

    Where it has prompts.json, those of its split train are trained on, each beside one of the ten shapes whose captions
    are nearest; the captions themselves otherwise.

    Args:
        root: the folder. held_out: share of the assets.
    """

    def __init__(
        self,
        root: str,
        held_out: float = 0.1,
        batch_size: int = 4,
        size: int = 32,
        sets: int = 4,
        points: int = 2048,
        cells: int = 24,
        seed: int = 0,
        pictures: bool = True,
    ):
        super().__init__(batch_size, size, sets, points, cells, seed, pictures)
        self.folder = AssetFolder(root)
        self.split = self.folder.split(held_out, seed)

    def objects(self) -> tuple[list, list]:
        return tuple([of_asset(asset) for asset in side] for side in self.split)

    @property
    def words(self) -> list[str]:
        texts = [text for asset in self.folder.assets for text in asset.captions]
        texts += [text for split in (self.folder.prompts or {}).values() for text in split]
        return sorted({word for text in texts for word in words_of(text)})

    def training(self) -> Library | PairedPrompts:
        prompts = self.folder.prompts
        if prompts is None:
            return self.train
        encoder = WordEncoder(self.words, width=256, length=256)
        retriever = ShapeRetriever(encoder.mean([captions[0] for captions in self.train.captions]))
        return PairedPrompts(self.train, prompts["train"], retriever.candidates(encoder.mean(prompts["train"])))
