"""Frozen text-to-image priors behind one protocol."""

from .exact import ExactPrior
from .protocol import Denoiser, Guidance

__all__ = ["Denoiser", "ExactPrior", "Guidance"]
