"""Per-prompt optimisation, the baseline: every prompt has a grid and a network ν of its own, and no text.

All prompts are optimised in one batched loop. Adam works elementwise and every prompt takes part in every step, so each
goes its way as it would alone; renderer, prior, cameras and rule are those of `ATT3D`.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import nn

from .cameras import CameraSampler
from .distillation import ScoreDistillation
from .field import ChosenField, RadianceField, StackedDecoder
from .guidance.protocol import Guidance
from .regularisers import Regularisers
from .scenes import Scenes
from .training import ATT3D, SceneSettings, SceneTraining


class PerPromptBaseline(SceneTraining):
    """Free modulations w (K, G) and K networks ν.

    Args:
        prompts: the K prompts; empty takes those of the data.
        initial_std: of w.
        training: see `SceneTraining`.
    """

    def __init__(
        self,
        prompts: Sequence[str] = (),
        initial_std: float = 0.1,
        scene: SceneSettings | None = None,
        guidance: Guidance | None = None,
        cameras: CameraSampler | None = None,
        samples: int = 64,
        resolution: int = 64,
        views: int = 2,
        distillation: ScoreDistillation | None = None,
        regularisers: Regularisers | None = None,
        lr: float = 0.1,
        seed: int = 0,
    ):
        super().__init__(
            scene, guidance, cameras, samples, resolution, views, distillation, regularisers, lr, seed
        )  # fmt: skip
        self.prompts, self.initial_std = list(prompts), initial_std
        self.background = self.scene.make_background()
        self.w = self.field = None
        if self.prompts:
            self.build()

    def configure_model(self) -> None:
        """The prompts of the data, where none were given."""
        if self.w is None:
            self.prompts = list(self.trainer.datamodule.train_prompts)
            self.build()

    def build(self, start: ATT3D | None = None, of: Sequence[str] | None = None) -> None:
        """Random scenes, or copies of what an amortised model makes of the prompts `of`."""
        grid = self.scene.encoder()
        generator = torch.Generator().manual_seed(self.seed)
        w = self.initial_std * torch.randn(len(self.prompts), grid.size + self.background.size, generator=generator)
        shared = None
        if start is not None:
            w, shared = start.generate(of or self.prompts).w.detach().cpu().clone(), start.field.decoder
            self.background.load_state_dict(start.background.state_dict())
        self.w = nn.Parameter(w)
        decoder = StackedDecoder(len(self.prompts), grid.out_features, self.scene.hidden, start=shared)
        self.field = RadianceField(grid, decoder, self.scene.blob)

    def scenes(self, prompts: Sequence[str]) -> Scenes:
        """Raises ValueError: a prompt that was not optimised; there is no other way to its scene."""
        if list(prompts) == self.prompts:
            return Scenes(self.field, self.w, self.background)
        unknown = [prompt for prompt in prompts if prompt not in self.prompts]
        if unknown:
            raise ValueError(f"no scene was optimised for {unknown[0]!r}, only for {len(self.prompts)} other prompts")
        chosen = torch.tensor([self.prompts.index(prompt) for prompt in prompts], device=self.w.device)
        return Scenes(ChosenField(self.field, chosen), self.w[chosen], self.background)


def finetuning(
    model: ATT3D, prompts: Sequence[str], lr: float = 0.01, start: str | None = "amortised"
) -> PerPromptBaseline:
    """Per-prompt optimisation of `prompts` with the model's prior, from a start.

    Args:
        start: "amortised" (what the model makes of each prompt), another prompt (what it makes of that one), or None
            (random).
    """
    fine = PerPromptBaseline(
        (), 0.1, model.scene, model.guidance, model.cameras, model.samples, model.resolution, model.views,
        model.distillation, model.regularisers, lr, model.seed,
    )  # fmt: skip
    fine.prompts = list(prompts)
    of = list(prompts) if start == "amortised" else [start] * len(prompts)
    fine.build(model if start else None, of)
    return fine.train()
