"""Training a small diffusion prior of our own on true renders, saved in the diffusers layout for `PixelGuidance`."""

from __future__ import annotations

from pathlib import Path

import torch
from pytorch_lightning import LightningDataModule, LightningModule
from torch import Tensor
from torch.utils.data import DataLoader, TensorDataset

from .finite import finite
from .results import write_json
from .shapes import true_views
from .text import HashTokenEncoder
from .view_prompts import with_view


class RenderData(LightningDataModule):
    """True renders with the embeddings of their prompts and views.

    Args:
        each, views, resolution, seed: see `ShapePrior`. num_tokens, embed_dim: of `HashTokenEncoder`.
    """

    def __init__(
        self,
        each: int = 3,
        views: int = 96,
        resolution: int = 16,
        seed: int = 0,
        num_tokens: int = 6,
        embed_dim: int = 32,
        batch_size: int = 32,
    ):
        super().__init__()
        self.batch_size, self.seed = batch_size, seed
        images, captions, buckets = true_views(each, views, resolution, seed)
        texts = [with_view(caption, view) for caption, view in zip(captions, buckets.tolist(), strict=True)]
        self.images, self.states = 2 * images - 1, HashTokenEncoder(num_tokens, embed_dim).encode(texts)

    def train_dataloader(self) -> DataLoader:
        order = torch.Generator().manual_seed(self.seed)
        rows = TensorDataset(self.images, self.states)
        return DataLoader(rows, self.batch_size, shuffle=True, drop_last=True, generator=order)


class PixelPrior(LightningModule):
    """UNet2DConditionModel with cross-attention at the coarser level, trained to predict ε.

    Args:
        widths: channels of the two levels. embed_dim: of the text. resolution: of the images.
        dropout: share of conditions that are left out, for guidance. lr: of AdamW. seed: of the noise.
    """

    def __init__(
        self,
        widths: tuple[int, int] = (24, 48),
        embed_dim: int = 32,
        resolution: int = 16,
        dropout: float = 0.1,
        lr: float = 1e-3,
        seed: int = 0,
    ):
        from diffusers import DDPMScheduler, UNet2DConditionModel

        super().__init__()
        self.widths, self.embed_dim, self.resolution = tuple(widths), embed_dim, resolution
        self.dropout, self.lr, self.seed = dropout, lr, seed
        self.unet = UNet2DConditionModel(
            sample_size=resolution,
            in_channels=3,
            out_channels=3,
            block_out_channels=self.widths,
            layers_per_block=1,
            down_block_types=("DownBlock2D", "CrossAttnDownBlock2D"),
            up_block_types=("CrossAttnUpBlock2D", "UpBlock2D"),
            cross_attention_dim=embed_dim,
            norm_num_groups=8,
            attention_head_dim=8,
        )
        self.scheduler = DDPMScheduler(1000, beta_schedule="squaredcos_cap_v2", prediction_type="epsilon")

    def training_step(self, batch: tuple[Tensor, Tensor], _) -> Tensor:
        z, states = batch
        number = self.global_step * self.trainer.world_size + self.global_rank  # of this step and process alone
        generator = torch.Generator(self.device).manual_seed(self.seed * 1_000_003 + number)
        t = torch.randint(1000, (len(z),), generator=generator, device=self.device)
        noise = torch.randn(z.shape, generator=generator, device=self.device)
        kept = torch.rand(len(z), generator=generator, device=self.device) >= self.dropout
        found = self.unet(self.scheduler.add_noise(z, noise, t), t, states * kept[:, None, None]).sample
        loss = (found - noise).square().mean()
        self.log("train/loss", loss)
        return finite(loss, self.global_step, "model.init_args.lr")

    def configure_optimizers(self):
        optimizer = torch.optim.AdamW(self.parameters(), lr=self.lr, weight_decay=1e-4)
        schedule = torch.optim.lr_scheduler.OneCycleLR(
            optimizer, self.lr, total_steps=int(self.trainer.estimated_stepping_batches) + 1
        )
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}

    def save_pretrained(self, folder: Path) -> None:
        """unet/, scheduler/ and, last, model_index.json, as diffusers lays them out: where it is, all is there."""
        self.unet.save_pretrained(folder / "unet")
        self.scheduler.save_pretrained(folder / "scheduler")
        index = {"_class_name": "PixelPrior", "unet": ["diffusers", "UNet2DConditionModel"],
                 "scheduler": ["diffusers", "DDPMScheduler"]}  # fmt: skip
        write_json(folder / "model_index.json", index, indent=2)
