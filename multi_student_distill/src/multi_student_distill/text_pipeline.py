"""Prompts to images in one step: Stable Diffusion students behind one pipeline, each for its part of the prompts."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from diffusers import AutoencoderKL, DiffusionPipeline, SchedulerMixin
from diffusers.utils.torch_utils import randn_tensor
from torch import Tensor
from transformers import CLIPTextModel, CLIPTokenizer

from .edm import one_step
from .pipeline import EmbeddingRouterModel, MultiStudentOutput, Students, as_output
from .routing import route
from .stable_diffusion import LatentDenoiser


class MultiStudentStableDiffusionPipeline(DiffusionPipeline):
    """One-step text-to-image generation; a prompt's pooled embedding decides which student answers.

    Args:
        vae, text_encoder, tokenizer, scheduler: of Stable Diffusion v1.5. router: `EmbeddingRouterModel`.
        students: `Students` of UNet2DConditionModels, whose sizes may differ.
    """

    def __init__(
        self,
        vae: AutoencoderKL,
        text_encoder: CLIPTextModel,
        tokenizer: CLIPTokenizer,
        scheduler: SchedulerMixin,
        router: EmbeddingRouterModel,
        students: Students,
    ):
        super().__init__()
        self.register_modules(
            vae=vae,
            text_encoder=text_encoder,
            tokenizer=tokenizer,
            scheduler=scheduler,
            router=router,
            students=students,
        )
        if router.router.students > len(students):
            raise ValueError(f"the router knows {router.router.students} students, but there are {len(students)}")

    @torch.no_grad()
    def __call__(
        self,
        prompt: str | Sequence[str],
        generator: torch.Generator | None = None,
        latents: Tensor | None = None,
        output_type: str = "pil",
    ) -> MultiStudentOutput:
        """Images for prompts; `output_type` is pil, np, pt, or latent for what the students give."""
        if output_type not in ("pil", "np", "pt", "latent"):
            raise ValueError(f"output_type is pil, np, pt or latent, got {output_type!r}")
        prompts = [prompt] if isinstance(prompt, str) else list(prompt)
        length = min(77, self.text_encoder.config.max_position_embeddings)
        tokens = self.tokenizer(
            prompts, padding="max_length", truncation=True, max_length=length, return_tensors="pt"
        ).input_ids.to(self.device)
        chosen = self.router(self.text_encoder(tokens).pooler_output)
        config = self.students[0].config
        shape = (len(prompts), config.in_channels, config.sample_size, config.sample_size)
        if latents is None:
            latents = randn_tensor(shape, generator=generator, device=self.device, dtype=self.students[0].dtype)
        samples = route([self.generator_of(k) for k in range(len(self.students))], chosen, latents, tokens)
        if output_type == "latent":
            return MultiStudentOutput(samples, chosen)
        images = self.vae.decode(samples / self.vae.config.scaling_factor).sample
        return MultiStudentOutput(as_output(images, output_type), chosen)

    def generator_of(self, student: int):
        """G_k(z, tokens)."""
        alphas, kind = self.scheduler.alphas_cumprod, self.scheduler.config.prediction_type
        empty = torch.zeros(1, dtype=torch.int64)  # only a teacher is guided
        denoiser = LatentDenoiser(self.students[student], self.text_encoder, alphas, empty, prediction=kind)
        denoiser.to(self.device)
        return lambda z, tokens: one_step(denoiser, z, tokens)
