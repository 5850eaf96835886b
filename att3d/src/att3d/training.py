"""LightningModules that distil a prior into scenes: what all share, and ATT3D, one network for all prompts."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import torch
import trimesh
from pytorch_lightning import LightningModule
from torch import Tensor

from .background import ConstantBackground, ModulatedBackground
from .cameras import Cameras, CameraSampler
from .data import PromptBatch
from .distillation import ScoreDistillation
from .embeddings import EmbeddingCache
from .field import DensityBlob, RadianceField, SharedDecoder
from .finite import finite
from .grid_encoder import PAPER_RESOLUTIONS, ModulatedGridEncoder
from .guidance.protocol import Denoiser, Guidance
from .interpolation import PromptInterpolator
from .mapping import MappingNetwork
from .mesh import HALF_OPAQUE, to_mesh
from .regularisers import Regularisers
from .renderer import RenderOutput, VolumeRenderer
from .scenes import Scenes
from .spec import spec
from .text import TextEncoder
from .view_prompts import view_buckets


@dataclass(frozen=True)
class SceneSettings:
    """How a scene is represented; the same for every method that is compared.

    Args:
        resolutions, n_features: of the grid. hidden: width of ν. blob: how density begins.
        background: size of the modulated background's grid, 0 for plain white.
    """

    resolutions: list[int] = field(default_factory=lambda: list(PAPER_RESOLUTIONS))
    n_features: int = 4
    hidden: int = 32
    blob: DensityBlob = field(default_factory=DensityBlob)
    background: int = 0

    def encoder(self) -> ModulatedGridEncoder:
        return ModulatedGridEncoder(self.resolutions, self.n_features)

    def make_background(self) -> ConstantBackground | ModulatedBackground:
        return ModulatedBackground(self.background) if self.background else ConstantBackground()


class SceneTraining(LightningModule):
    """Abstract: render some prompts from random cameras, let the prior judge. `scenes` says whose scenes.

    Args:
        scene: how scenes are represented. guidance: the frozen prior; None only renders.
        cameras: where from. samples, resolution: of the renderer. views: V of each prompt in a step.
        distillation: the rule. regularisers: weights.
        lr: of Adam without momentum, betas (0, 0.99). seed: of cameras, noise and samples.
    Raises:
        ValueError: a rate that is not positive, or no view.
    """

    def __init__(
        self,
        scene: SceneSettings | None = None,
        guidance: Guidance | None = None,
        cameras: CameraSampler | None = None,
        samples: int = 64,
        resolution: int = 64,
        views: int = 2,
        distillation: ScoreDistillation | None = None,
        regularisers: Regularisers | None = None,
        lr: float = 0.01,
        seed: int = 0,
    ):
        super().__init__()
        if lr <= 0 or views < 1:
            raise ValueError(f"lr must be positive and views at least 1, got {lr} and {views}")
        self.scene, self.cameras = scene or SceneSettings(), cameras or CameraSampler()
        self.samples, self.resolution, self.views = samples, resolution, views
        self.distillation, self.regularisers = distillation or ScoreDistillation(), regularisers or Regularisers()
        self.lr, self.seed = lr, seed
        self.renderer = VolumeRenderer(samples, resolution)
        self.__dict__["guidance"] = guidance  # frozen: neither trained nor saved with the model
        self.sampled: set[str] = set()

    def scenes(self, prompts: Sequence[str]) -> Scenes:
        """The scenes of these prompts."""
        raise NotImplementedError

    def forward(self, prompts: Sequence[str]) -> Scenes:
        return self.scenes(prompts)

    def step_generator(self) -> torch.Generator:
        """Random numbers of this step and process alone, so that a resumed run draws the same."""
        number = (self.seed * 1_000_003 + self.global_step) * 1024 + self.global_rank
        return torch.Generator(self.device).manual_seed(number)

    def progress(self) -> float:
        """Share of training that is over."""
        return min(1.0, self.global_step / max(1, int(self.trainer.estimated_stepping_batches) - 1))

    def training_step(self, batch: PromptBatch, _) -> Tensor:
        generator, progress = self.step_generator(), self.progress()
        self.sampled.update(batch.prompts)
        loss, out = self.loss(batch, generator, progress)
        self.log_dict({"train/loss": loss, "train/opacity": out.opacity.mean()}, batch_size=len(batch.prompts))
        return finite(loss, self.global_step, "model.init_args.lr")

    def loss(self, batch: PromptBatch, generator: torch.Generator, progress: float) -> tuple[Tensor, RenderOutput]:
        """Distillation and regularisers of one batch, and what was rendered."""
        cameras = self.cameras(len(batch.prompts), self.views, generator)
        scenes, denoise = self.judged(batch, cameras, generator, progress)
        normals = self.regularisers.needs_normals
        out = self.renderer.render(scenes.field, scenes.w, cameras, generator, scenes.background, normals)
        loss = self.distillation(self.prior, denoise, out.rgb.flatten(0, 1), progress, generator)
        return loss + self.regularisers(out, progress), out

    def judged(
        self, batch: PromptBatch, cameras: Cameras, generator: torch.Generator, progress: float
    ) -> tuple[Scenes, Denoiser]:
        """What is rendered, and the denoiser that judges it: here the prompt with its view."""
        return self.scenes(batch.prompts), self.prior.denoiser(self.condition(batch.prompts, cameras))

    @property
    def prior(self) -> Guidance:
        """Raises ValueError: the model was loaded without one."""
        if self.guidance is None:
            raise ValueError("training needs a prior: give the model a guidance")
        return self.guidance

    def condition(self, prompts: Sequence[str], cameras: Cameras) -> Tensor:
        """The prior's condition (P · V, ...) for prompts seen by cameras (P, V)."""
        views = view_buckets(cameras.elevation, cameras.azimuth).flatten().tolist()
        repeated = [prompt for prompt in prompts for _ in range(cameras.elevation.shape[1])]
        return self.prior.condition(repeated, views)

    def on_fit_start(self) -> None:
        self.prior.to(self.device).eval().requires_grad_(False)

    def on_test_start(self) -> None:
        self.on_fit_start()

    def validation_step(self, batch: PromptBatch, _) -> None:
        self.report(batch, "val")

    def test_step(self, batch: PromptBatch, _) -> None:
        self.report(batch, "test")

    @torch.no_grad()
    def report(self, batch: PromptBatch, prefix: str) -> None:
        """How far renders are from what the prior would have them, with the same cameras and noise each time."""
        generator = torch.Generator(self.device).manual_seed(self.seed)
        loss, out = self.loss(batch, generator, 1.0)
        values = {f"{prefix}/loss": loss, f"{prefix}/opacity": out.opacity.mean()}
        self.log_dict(values, batch_size=len(batch.prompts), prog_bar=True, sync_dist=True)

    def predict_step(self, batch: PromptBatch, _) -> list[Tensor]:
        """Four views (4, 3, H, W) of each prompt."""
        return list(self.scenes(batch.prompts).turntable(4, self.resolution).cpu())

    def on_save_checkpoint(self, checkpoint: dict) -> None:
        """Beside the weights, what builds the model again; hyper-parameters would go over those of a command line."""
        checkpoint["spec"] = json.dumps(spec(self))

    def configure_optimizers(self) -> torch.optim.Optimizer:
        """Adam without momentum: gradients of distillation are noise that should not be carried on."""
        return torch.optim.Adam(self.parameters(), lr=self.lr, betas=(0.0, 0.99))


class ATT3D(SceneTraining):
    """Text -> grid for all prompts at once; an unseen prompt costs one pass.

    Args:
        encoder: frozen text encoder. embedding_cache: folder for embeddings, memory only if empty.
        hidden, spectral_norm, modulation_scale: see `MappingNetwork`.
        interpolator: train between prompts too; None does not.
        training: see `SceneTraining`.
    """

    def __init__(
        self,
        encoder: TextEncoder,
        hidden: int = 32,
        spectral_norm: bool = True,
        modulation_scale: float = 1.0,
        interpolator: PromptInterpolator | None = None,
        embedding_cache: str = "",
        scene: SceneSettings | None = None,
        guidance: Guidance | None = None,
        cameras: CameraSampler | None = None,
        samples: int = 64,
        resolution: int = 64,
        views: int = 2,
        distillation: ScoreDistillation | None = None,
        regularisers: Regularisers | None = None,
        lr: float = 0.01,
        seed: int = 0,
    ):
        super().__init__(
            scene, guidance, cameras, samples, resolution, views, distillation, regularisers, lr, seed
        )  # fmt: skip
        self.encoder, self.interpolator, self.embedding_cache = encoder, interpolator, embedding_cache
        self.hidden, self.spectral_norm, self.modulation_scale = hidden, spectral_norm, modulation_scale
        self.embed = EmbeddingCache(encoder, embedding_cache)
        grid, self.background = self.scene.encoder(), self.scene.make_background()
        self.field = RadianceField(grid, SharedDecoder(grid.out_features, self.scene.hidden), self.scene.blob)
        self.mapping = MappingNetwork(
            encoder.num_tokens,
            encoder.embed_dim,
            grid.size + self.background.size,
            hidden,
            spectral_norm,
            modulation_scale,
        )

    def embeddings(self, prompts: Sequence[str]) -> Tensor:
        """c (P, T, D), without any view."""
        return self.embed(prompts).to(self.device)

    def scenes(self, prompts: Sequence[str]) -> Scenes:
        return self.scenes_of(self.embeddings(prompts))

    def scenes_of(self, c: Tensor) -> Scenes:
        """The scenes of embeddings (P, T, D), interpolated ones among them."""
        return Scenes(self.field, self.mapping(c), self.background)

    def judged(
        self, batch: PromptBatch, cameras: Cameras, generator: torch.Generator, progress: float
    ) -> tuple[Scenes, Denoiser]:
        if self.interpolator is None or not self.training:
            return super().judged(batch, cameras, generator, progress)
        a = self.interpolator.shares(len(batch.prompts), progress, generator)
        c1, c2 = self.embeddings(batch.prompts), self.embeddings(batch.partners)
        scenes = self.scenes_of(torch.lerp(c1, c2, a[:, None, None]))
        conditions = self.condition(batch.prompts, cameras), self.condition(batch.partners, cameras)
        of_view = a.repeat_interleave(cameras.elevation.shape[1])
        return scenes, self.interpolator.denoiser(self.prior, *conditions, of_view, generator)

    # use

    @torch.no_grad()
    def generate(self, prompt: str | Sequence[str]) -> Scenes:
        """One pass through the mapping network, for one prompt or several."""
        self.eval()
        return self.scenes([prompt] if isinstance(prompt, str) else list(prompt))

    @torch.no_grad()
    def interpolate(self, prompt: str, other: str, steps: int = 8) -> Scenes:
        """`steps` scenes from one prompt to the other, evenly in the embedding.

        Raises:
            ValueError: fewer than two steps.
        """
        if steps < 2:
            raise ValueError(f"steps must be at least 2, both ends included, got {steps}")
        self.eval()
        c1, c2 = self.embeddings([prompt, other])
        a = torch.linspace(0, 1, steps, device=self.device)
        return self.scenes_of(torch.lerp(c1, c2, a[:, None, None]))

    def to_mesh(self, prompt: str, resolution: int = 96, level: float = HALF_OPAQUE) -> trimesh.Trimesh:
        """The surface of a prompt's scene with vertex colours; `.export("x.glb")` writes it. See `mesh.to_mesh`."""
        return to_mesh(self.generate(prompt), resolution, level)

    def finetune(self, prompt: str | Sequence[str], steps: int = 100, lr: float = 0.01) -> SceneTraining:
        """The prompt's scene after more distillation for it alone; this model stays as it is. See `tuning.finetune`."""
        from .tuning import finetune  # it builds on this module

        return finetune(self, [prompt] if isinstance(prompt, str) else list(prompt), steps, lr)

    @classmethod
    def load(cls, path: str | Path | None = None, guidance: bool = False) -> ATT3D:
        """A trained model. See `checkpoints.load_model`.

        Args:
            path: None: the packaged network of the 27 embedded shapes.
            guidance: also its prior, which `finetune` needs.
        """
        from .checkpoints import load_model  # it builds on this module

        return load_model(path, cls, guidance)
