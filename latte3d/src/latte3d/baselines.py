"""What an IoU is worth: one constant shape for every prompt, and the training shape whose caption is nearest."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from .library import Library
from .metrics import volume_iou
from .retrieval import ShapeRetriever


def constant_shape(library: Library) -> Tensor:
    """The best constant: where more than a share of the training shapes are, signed like a distance, (n+1, n+1, n+1).

    The share is chosen on those shapes.
    """
    sdf = library.volume[:, 0]
    filled = (sdf < 0).float().mean(0)
    candidates = [threshold - filled for threshold in torch.linspace(0.05, 0.95, 19).tolist()]
    scores = [float(volume_iou(guess.expand_as(sdf), sdf).mean()) for guess in candidates]
    return candidates[scores.index(max(scores))]


def constant_iou(train: Library, held_out: Library) -> Tensor:
    """Of the best constant shape with each held-out shape, (N,)."""
    sdf = held_out.volume[:, 0]
    return volume_iou(constant_shape(train).expand_as(sdf), sdf)


def nearest_caption_iou(train: Library, held_out: Library, text: nn.Module) -> Tensor:
    """Of each held-out shape with the training shape whose caption is nearest to its prompt, (N,)."""
    captions = text.mean([captions[0] for captions in train.captions])
    prompts = text.mean([captions[0] for captions in held_out.captions])
    found = ShapeRetriever(captions).nearest(prompts)
    return volume_iou(train.volume[found, 0], held_out.volume[:, 0])
