"""Several fits of one surrogate, averaged: the fit of a deep kernel depends on its first weights, and its rankings with
it."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from .surrogate import DeepKernelGP, Inputs


class Ensemble:
    """An equal mixture of surrogates that were conditioned on the same rows.

    Raises:
        ValueError: there is none.
    """

    def __init__(self, members: Sequence[DeepKernelGP]):
        if not members:
            raise ValueError("an ensemble needs at least one surrogate, got none")
        self.members = list(members)

    def posterior(self, inputs: Inputs, caches: list[dict] | None = None, noise: bool = False) -> tuple[Tensor, Tensor]:
        """(mean, std), each (n,): μ = mean of μ_k, σ² = mean of σ_k² + variance of μ_k over the members k.

        Args:
            caches: embeddings of checkpoints, a dict for each member (`new_caches`).
        """
        caches = self.new_caches() if caches is None else caches
        found = [gp.posterior(inputs, cache, noise) for gp, cache in zip(self.members, caches, strict=True)]
        means, deviations = torch.stack([mean for mean, _ in found]), torch.stack([std for _, std in found])
        return means.mean(0), (deviations.square().mean(0) + means.var(0, correction=0)).sqrt()

    def new_caches(self) -> list[dict]:
        """Empty ones: members embed the same checkpoint differently."""
        return [{} for _ in self.members]
