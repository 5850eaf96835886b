"""Small diffusers U-Nets as 3D-aware priors: of four views at once, and of one view whose depth is known."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from diffusers import DDPMScheduler, UNet2DConditionModel
from diffusers.models.attention_processor import AttnProcessor2_0
from torch import Tensor, nn

from .diffusion import Condition, add_noise, clean_from, level
from .networks import Text


class MultiViewAttnProcessor:
    """Self-attention over the pixels of all views of an object; attention to text stays with each view.

    Raises:
        ValueError: from a call, images that are no multiple of the views.
    """

    def __init__(self, views: int):
        self.views = views
        self.attend = AttnProcessor2_0()

    def __call__(self, attn, hidden_states, encoder_hidden_states=None, attention_mask=None, **kwargs):
        if encoder_hidden_states is not None:
            return self.attend(attn, hidden_states, encoder_hidden_states, attention_mask, **kwargs)
        if len(hidden_states) % self.views:
            raise ValueError(f"expected {self.views} views of each object, got {len(hidden_states)} images")
        joined = hidden_states.reshape(-1, self.views * hidden_states.shape[1], hidden_states.shape[2])
        return self.attend(attn, joined, None, attention_mask, **kwargs).reshape(hidden_states.shape)


def small_unet(inputs: int, size: int, channels: Sequence[int], text_width: int, label_width: int):
    """A conditional U-Net whose attention is at its coarsest resolution alone."""
    plain = len(channels) - 1
    return UNet2DConditionModel(
        sample_size=size,
        in_channels=inputs,
        out_channels=3,
        block_out_channels=tuple(channels),
        layers_per_block=1,
        down_block_types=("DownBlock2D",) * plain + ("CrossAttnDownBlock2D",),
        up_block_types=("CrossAttnUpBlock2D",) + ("UpBlock2D",) * plain,
        cross_attention_dim=text_width,
        attention_head_dim=8,
        norm_num_groups=8,
        class_embed_type="projection",
        projection_class_embeddings_input_dim=label_width,
    )


class SmallPrior(nn.Module):
    """What both small priors share: pixels in [-1, 1], predictions of the clean image, zeros for "no text".

    Their labels carry the flattened words besides cross-attention: at this size attention alone leaves colours at
    chance.
    """

    def __init__(self, text_length: int, text_width: int, times: int):
        super().__init__()
        self.text_length, self.text_width = text_length, text_width
        scheduler = DDPMScheduler(times, beta_schedule="scaled_linear", beta_start=0.00085, beta_end=0.012)
        self.register_buffer("alphas_cumprod", scheduler.alphas_cumprod.clone())

    def encode(self, images: Tensor) -> Tensor:
        """RGB (N, S, S, 3) in [0, 1] to (N, 3, S, S) in [-1, 1]."""
        return images.movedim(-1, 1) * 2 - 1

    def decode(self, x: Tensor) -> Tensor:
        return ((x.movedim(1, -1) + 1) / 2).clamp(0, 1)

    def denoise(self, noisy: Tensor, t: Tensor, condition: Condition) -> Tensor:
        """The clean images (N, 3, S, S) by noisy ones at times (N,)."""
        raise NotImplementedError

    def denoise_pair(self, noisy: Tensor, t: Tensor, condition: Condition) -> tuple[Tensor, Tensor]:
        """With the text and without it, in one batch."""
        text = condition.text
        both = Text(torch.cat([text.tokens, torch.zeros_like(text.tokens)]), text.mask.repeat(2, 1))
        cameras, depth, place = condition[1:]
        if cameras is not None:
            cameras = type(cameras)(cameras.to_world.repeat(2, 1, 1), cameras.fov.repeat(2))
        if depth is not None:
            depth, place = depth.repeat(2, 1, 1, 1), place.repeat(2, 1, 1, 1)
        doubled = Condition(both, cameras, depth, place)
        return self.denoise(noisy.repeat(2, 1, 1, 1), t.repeat(2), doubled).chunk(2)

    def words(self, text: Text, images: int) -> Tensor:
        """Tokens of each image's object, masked ones 0, (N, L, D).

        Raises:
            ValueError: text of another size, or images that are no multiple of its objects.
        """
        tokens = text.tokens * text.mask[..., None]
        if tokens.shape[1:] != (self.text_length, self.text_width) or images % len(tokens):
            raise ValueError(
                f"expected text ({self.text_length}, {self.text_width}) for each object of {images} images, "
                f"got {tuple(tokens.shape)}"
            )
        return tokens.repeat_interleave(images // len(tokens), 0)

    def loss(
        self, images: Tensor, condition: Condition, generator: torch.Generator, text_dropout: float = 0.1
    ) -> Tensor:
        """Mean squared error of the clean estimate at one random time for each object."""
        x = self.encode(images)
        objects = len(condition.text.tokens)
        kept = torch.rand(objects, generator=generator).to(x.device) >= text_dropout
        text = Text(condition.text.tokens * kept[:, None, None], condition.text.mask)
        t = torch.randint(len(self.alphas_cumprod), (objects,), generator=generator).to(x.device)
        t = t.repeat_interleave(len(x) // objects)
        noise = torch.randn(x.shape, generator=generator).to(x)
        noisy = add_noise(x, noise, level(self.alphas_cumprod, t).to(x))
        return (self.denoise(noisy, t, condition._replace(text=text)) - x).square().mean()


class MultiViewDiffusionPrior(SmallPrior):
    """Denoises `views` images of one object together, knowing their cameras and the text.

    Args:
        text_length, text_width: of the text's tokens. size: of the images. channels: of the U-Net's levels.
        views: of each object. times: noise levels.
    """

    def __init__(
        self,
        text_length: int = 12,
        text_width: int = 32,
        size: int = 32,
        channels: Sequence[int] = (16, 32, 64),
        views: int = 4,
        times: int = 1000,
    ):
        super().__init__(text_length, text_width, times)
        self.unet = small_unet(3, size, channels, text_width, 16 + text_length * text_width)
        self.unet.set_attn_processor(MultiViewAttnProcessor(views))

    def denoise(self, noisy: Tensor, t: Tensor, condition: Condition) -> Tensor:
        words = self.words(condition.text, len(noisy))
        labels = torch.cat([condition.cameras.embedding().to(noisy), words.flatten(1)], -1)
        prediction = self.unet(noisy, t, words, class_labels=labels).sample
        return clean_from(prediction, noisy, level(self.alphas_cumprod, t), "sample")


class DepthDiffusionPrior(SmallPrior):
    """Denoises crops of single views, knowing their depth, where in the image they lie, and the text."""

    def __init__(
        self,
        text_length: int = 12,
        text_width: int = 32,
        size: int = 32,
        channels: Sequence[int] = (16, 32, 64),
        times: int = 1000,
    ):
        super().__init__(text_length, text_width, times)
        self.unet = small_unet(6, size, channels, text_width, text_length * text_width)

    def denoise(self, noisy: Tensor, t: Tensor, condition: Condition) -> Tensor:
        words = self.words(condition.text, len(noisy))
        seen = torch.cat([noisy, condition.depth * 2 - 1, condition.place], 1)
        prediction = self.unet(seen, t, words, class_labels=words.flatten(1)).sample
        return clean_from(prediction, noisy, level(self.alphas_cumprod, t), "sample")


def depth_map(depth: Tensor, seen: Tensor) -> Tensor:
    """Camera depth (N, S, S) where something is seen, to [0, 1]: 1 nearest, 0.2 farthest, 0 background."""
    far = depth.masked_fill(~seen, 0).amax((1, 2), keepdim=True)
    near = depth.masked_fill(~seen, torch.inf).amin((1, 2), keepdim=True).minimum(far)
    scaled = 1 - 0.8 * (depth - near) / (far - near).clamp(min=1e-6)
    return torch.where(seen, scaled, 0)


def pixel_places(images: int, size: int) -> Tensor:
    """x and y of pixel centres in [-1, 1], y up, (N, 2, S, S)."""
    centre = (torch.arange(size) + 0.5) / size * 2 - 1
    down, right = torch.meshgrid(centre, centre, indexing="ij")
    return torch.stack([right, -down]).expand(images, -1, -1, -1)


def crop(images: Tensor, size: int, corners: Tensor) -> Tensor:
    """Windows (N, C, size, size) of images (N, C, S, S), their first pixels at corners (N, 2) as (x, y)."""
    step = torch.arange(size, device=images.device)
    rows, columns = corners[:, 1, None] + step, corners[:, 0, None] + step  # (N, size)
    batch = torch.arange(len(images), device=images.device)[:, None, None]
    return images[batch, :, rows[:, :, None], columns[:, None]].movedim(-1, 1)
