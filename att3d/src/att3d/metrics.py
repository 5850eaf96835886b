"""R-precision, R-probability, and against the truth where it is known: IoU and PSNR."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import normalize
from torchmetrics import Metric

SHARPNESS = 100.0  # CLIP's


def clip_scores(images: Tensor, texts: Tensor) -> Tensor:
    """100 cos(E_img, E_txt), (N, K), of image features (N, D) and of the features (K, D) of *all* candidate prompts."""
    return SHARPNESS * normalize(images, dim=-1) @ normalize(texts, dim=-1).T


class RProbability(Metric):
    """Mean of p_own, with p = softmax over the scores of all K prompts: finer than whether the own one wins."""

    higher_is_better, is_differentiable, full_state_update = True, True, False

    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        self.add_state("total", torch.tensor(0.0), dist_reduce_fx="sum")
        self.add_state("count", torch.tensor(0), dist_reduce_fx="sum")

    def update(self, scores: Tensor, own: Tensor) -> None:
        """scores (N, K); own (N,), the number of each image's prompt.

        Raises:
            ValueError: shapes that do not fit, or a prompt that is no candidate.
        """
        if scores.ndim != 2 or own.shape != scores.shape[:1]:
            raise ValueError(f"scores must be (N, K) and own (N,), got {tuple(scores.shape)} and {tuple(own.shape)}")
        if len(own) and not 0 <= int(own.min()) <= int(own.max()) < scores.shape[1]:
            raise ValueError(f"own must name one of the {scores.shape[1]} candidates, got up to {int(own.max())}")
        self.total += self.values(scores, own).sum()
        self.count += len(own)

    @staticmethod
    def values(scores: Tensor, own: Tensor) -> Tensor:
        """Of each image, (N,)."""
        return scores.softmax(1).gather(1, own[:, None])[:, 0]

    def compute(self) -> Tensor:
        return self.total / self.count


class RPrecision(RProbability):
    """Mean of [the own prompt scores highest]; ties count as misses."""

    is_differentiable = False

    @staticmethod
    def values(scores: Tensor, own: Tensor) -> Tensor:
        best = scores.gather(1, own[:, None])
        return ((scores >= best).sum(1) == 1).float()


def iou(one: Tensor, other: Tensor) -> Tensor:
    """|A ∩ B| / |A ∪ B| of occupancies (P, N); 1 where both are empty."""
    union = (one | other).sum(-1)
    return torch.where(union > 0, (one & other).sum(-1) / union.clamp(min=1), 1.0)


def psnr(images: Tensor, truth: Tensor) -> Tensor:
    """dB of images in [0, 1], shape (..., 3, H, W) -> (...)."""
    return -10 * (images - truth).square().mean((-3, -2, -1)).clamp(min=1e-10).log10()
