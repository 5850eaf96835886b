"""Regression on the teacher's own samples: ℓ(G(z, y), x̂) for pairs (z, y, x̂) of the deterministic sampler."""

from __future__ import annotations

from collections.abc import Callable

from torch import Tensor
from torch.nn.functional import interpolate, mse_loss

Distance = Callable[[Tensor, Tensor], Tensor]


def regression_loss(generated: Tensor, target: Tensor, distance: Distance = mse_loss) -> Tensor:
    """ℓ(G(z, y), x̂); mean squared error, or LPIPS as in the paper.

    Raises:
        ValueError: two shapes.
    """
    if generated.shape != target.shape:
        raise ValueError(f"samples and pairs must have one shape, got {tuple(generated.shape)}, {tuple(target.shape)}")
    return distance(generated, target)


class LPIPSDistance:
    """LPIPS at 224 pixels, as DMD uses it. Needs the extra `lpips`, whose weights it loads once."""

    def __init__(self, net: str = "vgg"):
        try:
            import lpips
        except ImportError as error:
            raise ValueError("LPIPS needs the extra: pip install multi-student-distill[lpips]") from error
        self.measure = lpips.LPIPS(net=net, verbose=False).requires_grad_(False).eval()

    def __call__(self, a: Tensor, b: Tensor) -> Tensor:
        self.measure.to(a.device)
        resized = [interpolate(x, 224, mode="bilinear", align_corners=False) for x in (a, b)]
        return self.measure(*resized).mean()
