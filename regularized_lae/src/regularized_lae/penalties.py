"""The weights λ of the L2 regularisers, and when they recover the components."""

from __future__ import annotations

import warnings
from collections.abc import Sequence

import torch
from torch import Tensor


def from_repo_list(ell: Sequence[float] | Tensor) -> Tensor:
    """λ = ℓ², shape (k,), float64: the paper's code lists ℓ, which multiplies the *weights* inside the squared norm."""
    return torch.as_tensor(ell, dtype=torch.float64) ** 2


def relative_penalties(eigenvalues: Tensor, latents: int, low: float = 0.1, high: float = 0.9) -> Tensor:
    """λ evenly spaced from low·s_k to high·s_k, so λ_k < s_k and the axes are recovered (ours).

    Args:
        eigenvalues: s_1 >= s_2 >= ..., at least k of them.
    Returns:
        λ, shape (k,), float64.
    """
    smallest = float(eigenvalues[latents - 1])
    return smallest * torch.linspace(low, high, latents, dtype=torch.float64)


def collapsed_units(eigenvalues: Tensor, lam: Tensor) -> list[int]:
    """The units i (from 0) with λ_i >= s_i: at the optimum their weights are zero, the component is not learnt."""
    return torch.nonzero(lam >= eigenvalues[: len(lam)]).flatten().tolist()


def check_penalties(lam: Tensor, eigenvalues: Tensor | None = None) -> None:
    """Validate λ of the non-uniform L2 regulariser.

    Args:
        lam: λ, shape (k,).
        eigenvalues: s of the data when known, at least k of them.
    Raises:
        ValueError: λ is not one-dimensional, positive, finite and strictly increasing.
    Warns:
        UserWarning: some λ_i >= s_i, naming the units that will collapse to zero.
    """
    if lam.ndim != 1 or len(lam) == 0:
        raise ValueError(f"lam must have shape (k,), got {tuple(lam.shape)}")
    if not bool(torch.isfinite(lam).all()) or bool((lam <= 0).any()):
        raise ValueError(f"lam must be positive and finite, got {lam.tolist()}")
    rise = torch.diff(lam)
    if bool((rise <= 0).any()):
        at = int(torch.nonzero(rise <= 0)[0])
        raise ValueError(
            f"lam must be strictly increasing, else the order of the units is not fixed; "
            f"got lam[{at}] = {float(lam[at]):g} and lam[{at + 1}] = {float(lam[at + 1]):g}"
        )
    if eigenvalues is not None and (lost := collapsed_units(eigenvalues, lam)):
        pairs = ", ".join(f"{i} (lam {float(lam[i]):.3g} >= s {float(eigenvalues[i]):.3g})" for i in lost)
        warnings.warn(f"these units collapse to zero at the optimum, counted from 0: {pairs}", stacklevel=2)
