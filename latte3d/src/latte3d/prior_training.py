"""Training of the small priors on procedural shapes, stand-ins for models trained on all that has been pictured.

Like those, they see every kind of shape: held-out triples are held out from the networks that they guide alone.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import torch
from pytorch_lightning import LightningModule
from torch import Tensor
from torch.optim.lr_scheduler import CosineAnnealingLR

from .data import ProceduralData, step_generator
from .diffusion import Condition
from .finite import finite
from .library import ShapeBatch, of_shape
from .prior_files import write_prior
from .priors import DepthDiffusionPrior, MultiViewDiffusionPrior, SmallPrior, crop, pixel_places
from .shapes import TRIPLES, draw_shapes
from .text import WordEncoder


class PriorData(ProceduralData):
    """Shapes of all triples, seen and unseen by the networks, with other colours, sizes and turns than theirs.

    Args:
        each, held_out_each: shapes of every triple for training and for scoring. Others as in `ProceduralData`.
    """

    def objects(self) -> tuple[list, list]:
        bodies = {shape.body for shape in (*self.shapes.train, *self.shapes.held_out)}
        triples = [triple for triple in TRIPLES if triple[0] in bodies]
        sides = []
        for offset, each in ((101, self.each), (102, self.held_out_each)):
            shapes = draw_shapes(triples, each, torch.Generator().manual_seed(self.seed + offset))
            sides.append([of_shape(shape) for shape in shapes])
        return tuple(sides)


class PriorTraining(LightningModule):
    """What both priors' trainings share.

    Args:
        words: the vocabulary. size: of the images that are denoised. channels: of the U-Net's levels. text_length,
            text_width: of the word vectors. rate: of Adam at first. out: file that the trained prior is written to,
            null: none.
        seed: of weights and of steps.
    """

    kind: type[SmallPrior]

    def __init__(
        self,
        words: Sequence[str],
        size: int = 32,
        channels: Sequence[int] = (16, 32, 64),
        text_length: int = 12,
        text_width: int = 32,
        rate: float = 1e-3,
        out: str | None = None,
        seed: int = 0,
    ):
        super().__init__()
        self.words, self.rate, self.out, self.seed = list(words), rate, out, seed
        self.settings = {
            "text_length": text_length, "text_width": text_width, "size": size, "channels": list(channels)
        }  # fmt: skip
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            self.prior = self.kind(**self.settings)
        self.text = WordEncoder(words, text_width, text_length)

    def loss(self, batch: ShapeBatch, generator: torch.Generator, text_dropout: float) -> Tensor:
        raise NotImplementedError

    def training_step(self, batch: ShapeBatch, _) -> Tensor:
        number = self.global_step * self.trainer.world_size + self.trainer.global_rank  # of this step and process alone
        loss = self.loss(batch, step_generator(self.seed, number), 0.1)
        self.log("train/loss", loss)
        return finite(loss, self.global_step, "model.init_args.rate")

    def validation_step(self, batch: ShapeBatch, index: int) -> None:
        """With the text, with that of another object, and without: how much the prior heeds it."""
        objects = len(batch.prompts)
        others = batch._replace(prompts=batch.prompts[1:] + batch.prompts[:1])
        for name, given, dropout in (("text", batch, 0.0), ("wrong_text", others, 0.0), ("no_text", batch, 1.1)):
            self.log(f"val/{name}", self.loss(given, step_generator(self.seed, index), dropout), batch_size=objects)

    test_step = validation_step

    def on_fit_end(self) -> None:
        if self.out is not None and self.trainer.is_global_zero:
            Path(self.out).parent.mkdir(parents=True, exist_ok=True)
            recipe = self.recipe(self.trainer.datamodule, self.trainer.max_steps)
            write_prior(self.prior, self.settings, self.words, self.out, recipe)

    def recipe(self, data: PriorData, steps: int) -> dict:
        """All that decides the trained prior."""
        drawn = ("each", "bodies", "batch_size", "size", "sets", "seed")
        return {
            "prior": self.kind.__name__,
            **self.settings,
            "rate": self.rate,
            "seed": self.seed,
            "steps": steps,
            "data": {name: getattr(data, name) for name in drawn},
        }

    def configure_optimizers(self):
        """Adam whose rate falls to zero along a cosine: the last steps then settle what the first ones found."""
        optimizer = torch.optim.Adam(self.prior.parameters(), lr=self.rate)
        schedule = CosineAnnealingLR(optimizer, max(self.trainer.max_steps, 1))
        return [optimizer], [{"scheduler": schedule, "interval": "step"}]


class MultiViewPriorTraining(PriorTraining):
    """Four views under one time; the data's views have the prior's size."""

    kind = MultiViewDiffusionPrior

    def loss(self, batch: ShapeBatch, generator: torch.Generator, text_dropout: float) -> Tensor:
        condition = Condition(self.text(batch.prompts), batch.cameras)
        return self.prior.loss(batch.color, condition, generator, text_dropout)


class DepthPriorTraining(PriorTraining):
    """Crops of single views with their depth; the data's views are larger than the prior's size.

    Raises:
        ValueError: from `loss`, views that are smaller.
    """

    kind = DepthDiffusionPrior

    def loss(self, batch: ShapeBatch, generator: torch.Generator, text_dropout: float) -> Tensor:
        size, full = self.settings["size"], batch.color.shape[1]
        if full < size:
            raise ValueError(f"crops of {size} pixels need larger views, got {full}: raise the data's size")
        corners = torch.randint(full - size + 1, (len(batch.color), 2), generator=generator).to(self.device)
        places = pixel_places(len(batch.color), full).to(batch.color)
        color, depth, place = (
            crop(part, size, corners) for part in (batch.color.movedim(-1, 1), batch.depth[:, None], places)
        )
        condition = Condition(self.text(batch.prompts), None, depth, place)
        return self.prior.loss(color.movedim(1, -1), condition, generator, text_dropout)
