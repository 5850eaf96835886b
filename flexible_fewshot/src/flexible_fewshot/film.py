"""Feature-wise modulation of an encoder by a task (FiLM, as TADAM uses it): γ ∘ map + β after every normalisation."""

from __future__ import annotations

from torch import Tensor

Film = list[tuple[Tensor, Tensor]]  # for every modulated map: γ and β, (B, C) each or (1, C)


def modulate(maps: Tensor, film: Film | None, layer: int) -> Tensor:
    """γ ∘ maps + β for maps (B, C, H, W); as they are without a film."""
    if film is None:
        return maps
    gamma, beta = film[layer]
    return gamma[..., None, None] * maps + beta[..., None, None]
