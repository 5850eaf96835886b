"""The generative model's first stage: a diffusion transformer over sets of vertices, conditioned on a point cloud.

A token is a position and a presence of ±1, so that the number of vertices is generated too. Noise schedules and
solvers are those of `diffusers`.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from diffusers import DDPMScheduler, DPMSolverMultistepScheduler
from diffusers.training_utils import EMAModel
from pytorch_lightning import LightningModule
from torch import Tensor, nn
from torch.optim import AdamW
from torch.optim.lr_scheduler import LambdaLR

from .batch import MeshBatch
from .finite import finite
from .predictor import Block, PointCloudEncoder
from .schedule import one_cycle

STEPS = 1000  # of the forward process


class VertexDenoiser(nn.Module):
    """A DiT: transformer blocks whose norms the time modulates, with cross-attention to the cloud's latents.

    Args:
        width, layers, heads: of the transformer. latents: tokens of the cloud. encoder_layers: of its encoder.
    """

    def __init__(self, width: int = 512, layers: int = 12, heads: int = 8, latents: int = 256, encoder_layers: int = 2):
        super().__init__()
        self.width = width
        self.encoder = PointCloudEncoder(latents, width, heads, encoder_layers)
        self.enter = nn.Linear(4, width)
        self.time = nn.Sequential(nn.Linear(width, width), nn.SiLU(), nn.Linear(width, width), nn.SiLU())
        self.modulations = nn.ModuleList([nn.Linear(width, 6 * width) for _ in range(layers)])
        self.blocks = nn.ModuleList([Block(width, heads, latent=width, modulated=True) for _ in range(layers)])
        self.norm = nn.LayerNorm(width)
        self.out = nn.Linear(width, 4)
        for layer in [*self.modulations, self.out]:  # every block begins as the identity
            nn.init.zeros_(layer.weight)
            nn.init.zeros_(layer.bias)

    def forward(self, tokens: Tensor, step: Tensor, latents: Tensor) -> Tensor:
        """Noisy tokens (B, V, 4) at steps (B,) given latents (B, L, width) to the prediction (B, V, 4)."""
        half = self.width // 2
        rate = torch.exp(-torch.arange(half, device=step.device) / half * 9.2)  # periods from 2π to 10,000 · 2π
        angle = step[:, None].float() * rate
        time = self.time(torch.cat([angle.sin(), angle.cos()], -1).to(tokens.dtype))
        x = self.enter(tokens)
        mask = torch.ones(x.shape[:2], dtype=torch.bool, device=x.device)
        for block, modulation in zip(self.blocks, self.modulations, strict=True):
            x = block(x, mask, latents, modulation(time).unflatten(-1, (6, self.width)))
        return self.out(self.norm(x))


class VertexDiffusion(LightningModule):
    """Trains the denoiser to predict the velocity (v-prediction) and samples sets of vertices.

    Args:
        slots: most vertices of a set. width, layers, heads, latents, encoder_layers: see `VertexDenoiser`.
        rate, weight_decay, warmup: of AdamW and its schedule.
        average: decay of the exponential moving average of weights, which samples are drawn from.
        sampling_steps: of DPM-Solver++.
    Raises:
        ValueError: an odd width.
    """

    def __init__(
        self,
        slots: int = 2048,
        width: int = 512,
        layers: int = 12,
        heads: int = 8,
        latents: int = 256,
        encoder_layers: int = 2,
        rate: float = 1e-4,
        weight_decay: float = 0.01,
        warmup: float = 0.05,
        average: float = 0.9999,
        sampling_steps: int = 50,
    ):
        super().__init__()
        if width % 2:
            raise ValueError(f"width must be even for the time's features, got {width}")
        self.save_hyperparameters()
        self.denoiser = VertexDenoiser(width, layers, heads, latents, encoder_layers)
        self.schedule = DDPMScheduler(STEPS, beta_schedule="squaredcos_cap_v2", prediction_type="v_prediction")
        self.average = EMAModel(self.denoiser.parameters(), decay=average, use_ema_warmup=True, power=0.75)

    def tokens(self, batch: MeshBatch) -> Tensor:
        """Positions and presence, (B, slots, 4).

        Raises:
            ValueError: a mesh of more vertices than slots, or a batch without clouds.
        """
        slots, size = self.hparams.slots, batch.positions.shape[1]
        if size > slots:
            raise ValueError(f"a mesh has {size} vertices, the model {slots} slots")
        if not batch.cloud.shape[1]:
            raise ValueError("the batch has no point clouds: set cloud_points of the data")
        found = batch.positions.new_zeros(len(batch.positions), slots, 4)
        found[:, :size, :3] = batch.positions
        found[..., 3] = -1.0
        found[:, :size, 3][batch.mask] = 1.0
        return found

    def loss(self, batch: MeshBatch, seed: int) -> Tensor:
        """Mean squared error of the velocity at random steps."""
        clean = self.tokens(batch)
        generator = torch.Generator().manual_seed(seed)
        noise = torch.randn(clean.shape, generator=generator).to(clean)
        step = torch.randint(STEPS, (len(clean),), generator=generator).to(clean.device)
        noisy = self.schedule.add_noise(clean, noise, step)
        velocity = self.schedule.get_velocity(clean, noise, step)
        predicted = self.denoiser(noisy, step, self.denoiser.encoder(batch.cloud))
        return (predicted - velocity).square().mean()

    def training_step(self, batch: MeshBatch, _) -> Tensor:
        loss = self.loss(batch, self.global_step * self.trainer.world_size + self.global_rank)
        self.log("train/loss", loss, batch_size=len(batch.sizes))
        return finite(loss, self.global_step, "model.init_args.rate")

    def optimizer_step(self, *args: Any, **kwargs: Any) -> None:
        """And the average's: a callback that saves after the batch, before the module's own hook, must find it done."""
        super().optimizer_step(*args, **kwargs)
        self.average.to(self.device)
        self.average.step(self.denoiser.parameters())

    def validation_step(self, batch: MeshBatch, number: int) -> None:
        with self.averaged():
            self.log("val/loss", self.loss(batch, number), batch_size=len(batch.sizes))

    def test_step(self, batch: MeshBatch, number: int) -> None:
        with self.averaged():
            self.log("test/loss", self.loss(batch, number), batch_size=len(batch.sizes))

    def predict_step(self, batch: MeshBatch, number: int) -> list[Tensor]:
        return self.sample(batch.cloud, seed=number)

    @contextmanager
    def averaged(self) -> Iterator[None]:
        """The averaged weights for a while."""
        self.average.to(self.device)
        self.average.store(self.denoiser.parameters())
        self.average.copy_to(self.denoiser.parameters())
        try:
            yield
        finally:
            self.average.restore(self.denoiser.parameters())

    @torch.no_grad()
    def sample(self, cloud: Tensor, seed: int = 0) -> list[Tensor]:
        """A set of vertices for each cloud (B, P, 6): positions (V, 3) each."""
        solver = DPMSolverMultistepScheduler.from_config(self.schedule.config, algorithm_type="dpmsolver++")
        solver.set_timesteps(self.hparams.sampling_steps)
        generator = torch.Generator().manual_seed(seed)
        tokens = torch.randn(len(cloud), self.hparams.slots, 4, generator=generator).to(cloud)
        with self.averaged():
            latents = self.denoiser.encoder(cloud)
            for step in solver.timesteps:
                times = step.expand(len(cloud)).to(cloud.device)
                tokens = solver.step(self.denoiser(tokens, times, latents), step, tokens).prev_sample
        return [own[own[:, 3] > 0, :3].cpu() for own in tokens]

    def configure_optimizers(self) -> dict[str, Any]:
        optimizer = AdamW(self.denoiser.parameters(), lr=self.hparams.rate, weight_decay=self.hparams.weight_decay)
        steps = int(self.trainer.estimated_stepping_batches)
        schedule = LambdaLR(optimizer, one_cycle(steps, self.hparams.warmup))
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}

    def on_save_checkpoint(self, checkpoint: dict) -> None:
        checkpoint["average"] = self.average.state_dict()

    def on_load_checkpoint(self, checkpoint: dict) -> None:
        self.average.load_state_dict(checkpoint["average"])
