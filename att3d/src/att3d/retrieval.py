"""Which prompt does an image show? A small network on true renders, or CLIP."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn.functional import avg_pool2d, cross_entropy

from .metrics import clip_scores
from .shapes import shape_prompts, true_views


class ShapeRetrieval(nn.Module):
    """Scores (N, K) of images (N, 3, H, W) for the K embedded shapes; it only ever saw true renders."""

    def __init__(self, each: int = 3, width: int = 24):
        super().__init__()
        self.each, self.candidates = each, shape_prompts(each)
        self.network = nn.Sequential(
            nn.Conv2d(3, width, 3, padding=1),
            nn.SiLU(),
            nn.Conv2d(width, 2 * width, 3, stride=2, padding=1),
            nn.SiLU(),
            nn.Conv2d(2 * width, 2 * width, 3, stride=2, padding=1),
            nn.SiLU(),
            nn.Flatten(),
            nn.LazyLinear(len(self.candidates)),
        )

    def forward(self, images: Tensor) -> Tensor:
        return self.network(2 * images - 1)


def train_retrieval(
    each: int = 3, views: int = 96, resolution: int = 16, steps: int = 500, seed: int = 0
) -> tuple[ShapeRetrieval, float]:
    """A trained network and its accuracy on views that it never saw."""
    images, captions, _ = true_views(each, views, resolution, seed)
    prompts = shape_prompts(each)
    own = torch.tensor([prompts.index(caption) for caption in captions])
    held = torch.arange(len(images)) % 8 == 7
    generator = torch.Generator().manual_seed(seed)
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        network = ShapeRetrieval(each)
        network(images[:1])
    optimizer = torch.optim.AdamW(network.parameters(), lr=3e-3, weight_decay=1e-3)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 3e-3, total_steps=steps)
    train = (~held).nonzero()[:, 0]
    for _ in range(steps):
        chosen = train[torch.randint(len(train), (96,), generator=generator)]
        loss = cross_entropy(network(degraded(images[chosen], generator)), own[chosen], label_smoothing=0.05)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
    with torch.no_grad():
        accuracy = float((network(images[held]).argmax(1) == own[held]).float().mean())
    return network.eval(), accuracy


def degraded(images: Tensor, generator: torch.Generator) -> Tensor:
    """Blurred, noisy, and with another gain: renders of a half-trained field should not be off the map."""
    count = len(images)

    def draw(low: float, high: float) -> Tensor:
        return low + (high - low) * torch.rand(count, 1, 1, 1, generator=generator)

    blurred = avg_pool2d(nn.functional.pad(images, (1, 1, 1, 1), mode="replicate"), 3, stride=1)
    mixed = torch.lerp(images, blurred, draw(0, 1))
    gain = 1 - (1 - mixed) * draw(0.6, 1.4)
    tinted = gain + 0.06 * torch.randn(count, 3, 1, 1, generator=generator)
    noise = draw(0, 0.12) * torch.randn(images.shape, generator=generator)
    return (tinted + noise).clamp(0, 1)


class CLIPRetrieval(nn.Module):
    """100 cos of CLIP features (transformers), for any prompts.

    Args:
        path: a folder or hub id of a CLIPModel. candidates: *all* prompts of the set.
    """

    MEAN, STD = (0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711)

    def __init__(self, path: str, candidates: Sequence[str]):
        from .guidance.loading import load_clip  # transformers is an extra

        super().__init__()
        self.candidates = list(candidates)
        self.tokenizer, self.model = load_clip(path)
        tokens = self.tokenizer(self.candidates, padding=True, truncation=True, return_tensors="pt")
        with torch.no_grad():
            self.register_buffer("texts", features(self.model.get_text_features(**tokens)))

    @torch.no_grad()
    def forward(self, images: Tensor) -> Tensor:
        """(N, 3, H, W) in [0, 1] -> (N, K)."""
        size = self.model.config.vision_config.image_size
        images = nn.functional.interpolate(images, (size, size), mode="bicubic", antialias=True).clamp(0, 1)
        mean, std = (torch.tensor(v, device=images.device)[:, None, None] for v in (self.MEAN, self.STD))
        return clip_scores(features(self.model.get_image_features(pixel_values=(images - mean) / std)), self.texts)


def features(output: Tensor | object) -> Tensor:
    """transformers 5 wraps the features, 4 returns them."""
    return output if isinstance(output, Tensor) else output.pooler_output
