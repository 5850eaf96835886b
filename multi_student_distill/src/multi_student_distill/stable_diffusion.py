"""Stable Diffusion v1.5 as teacher, fake score and student: an ε-network on latents, seen as a denoiser like EDM's.

With ᾱ of its schedule, x_t = √ᾱ (x_0 + σ ε) where σ = √((1 - ᾱ) / ᾱ). So D(x; σ, y) = x - σ ε(√ᾱ x, t, y) is a denoiser
of x_0 + σ ε on the grid of the model's own levels, and all losses apply as they are. One step: x_0 from ε at t = 999.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor, nn

from .adversarial import ImageHead
from .captions import tokenize
from .denoisers import DenoiserSpec
from .distill import DistillModule
from .dmd import DMD2
from .edm import like
from .networks import with_bottleneck

GUIDANCE = 1.75  # CFG of the teacher alone, as DMD2 has it


class LatentDenoiser(nn.Module):
    """D(x; σ, y) of an ε- or v-predicting text-to-image U-Net; y are token ids (N, L).

    Args:
        unet: UNet2DConditionModel. text_encoder: CLIPTextModel, frozen. alphas: ᾱ of the scheduler, (T,).
        guidance: classifier-free guidance; 1 for none. empty: token ids of the empty prompt, (L,). prediction:
            `epsilon` or `v_prediction`, which is turned into x_0 (v straight into the losses diverges).
    """

    levels: Tensor

    def __init__(
        self,
        unet: nn.Module,
        text_encoder: nn.Module,
        alphas: Tensor,
        empty: Tensor,
        guidance: float = 1.0,
        prediction: str = "epsilon",
    ):
        super().__init__()
        if prediction not in ("epsilon", "v_prediction"):
            raise ValueError(f"prediction is epsilon or v_prediction, got {prediction!r}")
        self.net, self.guidance, self.prediction = unet, guidance, prediction
        self._text = (text_encoder,)  # shared and frozen: neither trained nor saved with the U-Net
        self.register_buffer("alphas", alphas.float(), persistent=False)
        self.register_buffer("levels", ((1 - alphas) / alphas).sqrt().float(), persistent=False)  # ascending
        self.register_buffer("empty", empty, persistent=False)

    @property
    def start_scale(self) -> Tensor:
        """x at t = T - 1 is standard normal: x = z / √ᾱ."""
        return self.alphas[-1].rsqrt()

    def forward(self, x: Tensor, sigma: Tensor, tokens: Tensor) -> Tensor:
        found = self._forward(x, sigma, tokens, False)[0]
        if self.guidance == 1.0:
            return found
        without = self._forward(x, sigma, self.empty.expand(len(x), -1), False)[0]
        return without + self.guidance * (found - without)

    def with_features(self, x: Tensor, sigma: Tensor, tokens: Tensor) -> tuple[Tensor, Tensor]:
        """D and the mid block's output."""
        return self._forward(x, sigma, tokens, True)

    def _forward(self, x: Tensor, sigma: Tensor, tokens: Tensor, features: bool) -> tuple[Tensor, Tensor | None]:
        sigma = sigma.to(x.dtype).expand(len(x))
        step = torch.searchsorted(self.levels, sigma.float().contiguous() * (1 - 1e-6)).clamp(max=len(self.levels) - 1)
        alpha = like(self.alphas[step], x).to(x.dtype)
        found = with_bottleneck(
            self.net, features, alpha.sqrt() * x, step, encoder_hidden_states=self.embedded(tokens).to(x.dtype)
        )
        raw, bottleneck = found if features else (found, None)
        if self.prediction == "v_prediction":  # x_0 = √ᾱ x_t - √(1 - ᾱ) v
            return alpha * x - (1 - alpha).sqrt() * raw.to(x.dtype), bottleneck
        return x - like(sigma, x) * raw.to(x.dtype), bottleneck

    @torch.no_grad()
    def embedded(self, tokens: Tensor) -> Tensor:
        """The text encoder's states (N, L, d)."""
        encoder = self._text[0]
        if next(encoder.parameters()).device != tokens.device:
            encoder.to(tokens.device)
        return encoder(tokens)[0]

    def loss_weight(self, sigma: Tensor) -> Tensor:
        """Of the fake score's loss on x_0 that makes it the unweighted loss on ε: σ^{-2}."""
        return sigma.square().reciprocal()


def load_stable_diffusion(folder: str | Path, subfolder_unet: str = "unet"):
    """U-Net, text encoder, ᾱ, empty prompt and prediction type of a local folder or hub id in diffusers' layout.

    Raises:
        ValueError: no such model; a hub id that is not in the local cache is not downloaded.
    """
    try:
        from diffusers import DDPMScheduler, UNet2DConditionModel
        from transformers import CLIPTextModel
    except ImportError as error:
        raise ValueError("Stable Diffusion needs the extra: pip install multi-student-distill[text]") from error
    own: dict[str, Any] = {"local_files_only": True}
    try:
        unet = UNet2DConditionModel.from_pretrained(str(folder), subfolder=subfolder_unet, **own, **how_to_load())
        text = CLIPTextModel.from_pretrained(str(folder), subfolder="text_encoder", **own).requires_grad_(False).eval()
        scheduler = DDPMScheduler.from_pretrained(str(folder), subfolder="scheduler", **own)
    except (OSError, ValueError, KeyError) as error:
        raise ValueError(
            f"{folder}: neither a folder in diffusers' layout nor a cached hub id ({type(error).__name__}); "
            "fetch it first: huggingface-cli download"
        ) from error
    empty = tokenize([""], folder, min(77, text.config.max_position_embeddings))[0]
    return unet, text, scheduler.alphas_cumprod, empty, scheduler.config.prediction_type


class StableDiffusionDistillModule(DistillModule):
    """Distils a Stable Diffusion model by distribution matching; students copy the teacher's U-Net or a smaller one.

    Args:
        model: folder of the teacher in diffusers' layout, or a cached hub id. student_unet: folder of a smaller U-Net's
            config or weights to start from; empty for a copy of the teacher's. guidance: of the teacher.
        distillation: see `DistillModule`.
    """

    def __init__(self, model: str, student_unet: str = "", guidance: float = GUIDANCE, **distillation: Any):
        super().__init__(**distillation)
        self.folder, self.student_unet, self.guidance = model, student_unet, guidance
        self.spec = DenoiserSpec("stable-diffusion", self.spec.shape, 0, 1.0)
        if self.weights.regression:
            raise ValueError("Stable Diffusion is distilled without pairs, as in DMD2: set regression_weight to 0")
        if len(self.chosen) > 1:
            raise ValueError(
                f"Stable Diffusion students train one at a time, got {self.chosen}; `launch` runs them all"
            )

    def configure_model(self) -> None:
        if self.student is not None:
            return
        unet, text, alphas, empty, prediction = load_stable_diffusion(self.folder)
        own = copy.deepcopy(unet) if not self.student_unet else load_unet(self.student_unet)
        self.student = LatentDenoiser(own, text, alphas, empty, prediction=prediction)
        self._fake = (LatentDenoiser(copy.deepcopy(unet), text, alphas, empty, prediction=prediction),)
        self.teacher = LatentDenoiser(unet, text, alphas, empty, self.guidance, prediction)
        self.teacher.requires_grad_(False).eval()
        self.distiller = self.build_distiller(self.teacher)
        self.build_average()

    def build_distiller(self, teacher: nn.Module):
        head = None
        if self.weights.head:
            config = self.teacher.net.config
            side = self.spec.shape[1] // 2 ** (len(config.block_out_channels) - 1)
            head = ImageHead(config.block_out_channels[-1], side)
        return DMD2(teacher, self.student, self._fake[0], head, self.weights, self.distance, self.ledger)

    def exported(self) -> list[nn.Module]:
        """The U-Net of the student, for `save_pretrained`."""
        return [(self.student if self.average is None else self.average.module).net.eval()]

    def exported_fakes(self) -> list[nn.Module]:
        """None: an adversarial stage goes on from a checkpoint."""
        return []


def how_to_load() -> dict[str, bool]:
    """Weights one by one where accelerate is installed, which diffusers recommends at every load where it is not."""
    return {"low_cpu_mem_usage": find_spec("accelerate") is not None}


def load_unet(folder: str | Path):
    """A UNet2DConditionModel with the weights of a folder, or newly initialised if it holds a config alone."""
    from diffusers import UNet2DConditionModel

    try:
        if any(Path(folder).glob("*.safetensors")):
            return UNet2DConditionModel.from_pretrained(str(folder), local_files_only=True, **how_to_load())
        return UNet2DConditionModel.from_config(UNet2DConditionModel.load_config(str(folder), local_files_only=True))
    except (OSError, ValueError) as error:
        raise ValueError(f"{folder}: no UNet2DConditionModel in it ({type(error).__name__})") from error


@torch.no_grad()
def pooled_embeddings(captions: Sequence[str], folder: str | Path, batch_size: int = 256) -> Tensor:
    """The text encoder's pooled states (captions, d), by which prompts are parted."""
    _, text, _, empty, _ = load_stable_diffusion(folder)
    tokens = tokenize(list(captions), folder, len(empty))
    return torch.cat([text(rows).pooler_output for rows in tokens.split(batch_size)])


def read_embeddings(path: str | Path, count: int) -> Tensor:
    """`pooled` (captions, d) of a safetensors file.

    Raises:
        ValueError: no such file, not such a file, or of another number of captions.
    """
    if not Path(path).is_file():
        raise ValueError(f"embeddings_path {str(path)!r}: no such file; `multi-student-distill embed` makes one")
    try:
        with safe_open(path, framework="pt") as file:
            found = file.get_tensor("pooled")
    except (SafetensorError, OSError) as error:
        raise ValueError(f"{path}: not a safetensors file with `pooled` ({error})") from error
    if found.ndim != 2 or len(found) != count:
        raise ValueError(f"{path}: expected embeddings of {count} captions, got shape {tuple(found.shape)}")
    if not found.is_floating_point() or not bool(found.isfinite().all()):
        raise ValueError(f"{path}: expected finite embeddings, some are not; make them anew")
    return found
