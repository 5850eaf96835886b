"""Frozen text-to-image priors behind one protocol."""

from .exact import ExactPrior
from .perp_neg import PerpNeg
from .protocol import Denoiser, Guidance

__all__ = ["Denoiser", "ExactPrior", "Guidance", "PerpNeg"]
