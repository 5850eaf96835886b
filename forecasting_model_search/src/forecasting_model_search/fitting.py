"""Fitting the deep kernel by its marginal likelihood: full batch, subsets of rows, or with gradient caching.

Gradient caching: the likelihood is of all rows, their embeddings come from a cache, and only a minibatch of graphs is
embedded anew and back-propagated through, its gradient scaled up to all. With a minibatch of all rows it is the exact
gradient.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from .kernel import NotPositiveDefiniteError
from .surrogate import DeepKernelGP, Inputs


@dataclass(frozen=True)
class FitSettings:
    """steps: of Adam, at `rate`. rows: at most so many in each step's likelihood, all if 0. graphs: at most so many
    checkpoints embedded anew in a step, the rest from the cache; all if 0. weight_decay: of the encoder."""

    steps: int = 150
    rate: float = 5e-3
    rows: int = 0
    graphs: int = 0


def fit(
    gp: DeepKernelGP, inputs: Inputs, scores: Tensor, settings: FitSettings, generator: torch.Generator
) -> list[float]:
    """Minimise the loss from where the parameters are, then condition on all rows. Returns the losses.

    A step whose kernel matrix is not positive definite ends the fit with the last good parameters.
    """
    gp.standardise(scores)
    optimizer = torch.optim.Adam(gp.parameters(), lr=settings.rate)
    cache = gp.embed(inputs.checkpoints) if settings.graphs else None
    losses: list[float] = []
    good = {name: tensor.clone() for name, tensor in gp.state_dict().items()}
    for _ in range(settings.steps):
        gp.train(len(inputs) > 1)  # one row has no batch statistics
        chosen = subset(len(inputs), settings.rows, generator)
        rows, targets = (inputs, scores) if chosen is None else (inputs.take(chosen), scores[chosen])
        known = cache if cache is None or chosen is None else cache[chosen]
        embedded, fresh = embeddings(gp, rows, known, settings.graphs, generator)
        try:
            loss = gp.loss(rows, targets, embedded)
        except NotPositiveDefiniteError:
            gp.load_state_dict(good)
            break
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        if fresh is not None:
            scale_gradient(gp.encoder, len(rows) / len(fresh))
            cache[fresh if chosen is None else chosen[fresh]] = embedded.detach()[fresh]
        if all(bool(p.grad.isfinite().all()) for p in gp.parameters() if p.grad is not None):
            good = {name: tensor.clone() for name, tensor in gp.state_dict().items()} if not len(losses) % 25 else good
            optimizer.step()
        losses.append(float(loss.detach()))
    settle_batchnorm(gp, inputs)
    gp.condition(inputs, scores)
    return losses


def subset(count: int, wanted: int, generator: torch.Generator) -> Tensor | None:
    """Some rows without repetition, None for all."""
    return None if not wanted or wanted >= count else torch.randperm(count, generator=generator)[:wanted]


def embeddings(
    gp: DeepKernelGP, rows: Inputs, cache: Tensor | None, graphs: int, generator: torch.Generator
) -> tuple[Tensor, Tensor | None]:
    """Embeddings (n, out) with a gradient through all rows, or through the `fresh` ones alone where there is a
    cache."""
    if cache is None or not gp.encoder.out:
        return gp.encoder(rows.checkpoints), None
    fresh = subset(len(rows), graphs, generator)
    fresh = torch.arange(len(rows)) if fresh is None else fresh
    return cache.index_copy(0, fresh, gp.encoder([rows.checkpoints[int(i)] for i in fresh])), fresh


def scale_gradient(module: nn.Module, factor: float) -> None:
    for parameter in module.parameters():
        if parameter.grad is not None:
            parameter.grad.mul_(factor)


def settle_batchnorm(gp: DeepKernelGP, inputs: Inputs) -> None:
    """Running statistics become those of the rows, so that evaluation mode sees what training saw last."""
    norms = [m for m in gp.modules() if isinstance(m, nn.BatchNorm1d)]
    momenta = [norm.momentum for norm in norms]
    for norm in norms:
        norm.momentum = 1.0
    gp.train(len(inputs) > 1)
    with torch.no_grad():
        gp.features(inputs, gp.encoder(inputs.checkpoints))
    for norm, momentum in zip(norms, momenta, strict=True):
        norm.momentum = momentum
    gp.eval()
