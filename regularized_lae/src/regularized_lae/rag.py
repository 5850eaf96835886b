"""The rotation augmented gradient (RAG) of the paper, what stalls it, and the cure.

RAG adds to the gradient of the *unregularised* loss an antisymmetric turn of the latent space,
    W1 <- W1 - α ∂W1 + α Γ W1,      W2 <- W2 - α ∂W2 + α W2 Γᵀ,      Γ = ½(A - Aᵀ),
where A is the strict upper triangle of G = W1 C W1ᵀ. The turn does not change W2W1 to first order, so it costs no
reconstruction; it sorts the latents by variance and decorrelates them (`toda`). The sign of the triangle sets the
order.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.optim import Optimizer

from .optim import OptimizerAround, PerRunRate


def rag_gamma(latent_moment: Tensor) -> Tensor:
    """Γ = ½(A - Aᵀ), A the strict upper triangle of G; (..., k, k) -> (..., k, k)."""
    upper = latent_moment.triu(1)
    return (upper - upper.mT) / 2


def imbalance(encoder: Tensor, decoder: Tensor) -> Tensor:
    """Q = W1W1ᵀ - W2ᵀW2, shape (..., k, k): what the plain flow conserves (Q̇ = [Γ, Q]) and large steps create.

    RAG also rests where W2W1 is the right projection and G is diagonal but Q ≠ 0; the decoder's columns are then not
    the principal axes. Watch ‖Q‖ when the axis alignment stops falling (derived here, not in the paper).
    """
    return encoder @ encoder.mT - decoder.mT @ decoder


def balance_penalty(encoder: Tensor, decoder: Tensor) -> Tensor:
    """¼‖Q‖²_F, shape (...); gradient Q W1 for the encoder and -W2 Q for the decoder, zero at the axes (ours)."""
    return imbalance(encoder, decoder).square().sum((-1, -2)) / 4


def cayley(gamma: Tensor) -> Tensor:
    """(I - Γ/2)⁻¹(I + Γ/2): an exact rotation that agrees with I + Γ to first order; (..., k, k)."""
    identity = torch.eye(gamma.shape[-1], dtype=gamma.dtype, device=gamma.device)
    return torch.linalg.solve(identity - gamma / 2, identity + gamma / 2)


class LatentMoment:
    """G = W1 C W1ᵀ of the batches since the last step, which `RAG` turns by.

    Several batches (gradient accumulation) are averaged, as their gradients are; `read` averages over the processes of
    a distributed run, as their gradients are, and empties it. So RAG can never turn by a stale G.
    """

    def __init__(self):
        self._sum: Tensor | None = None
        self._batches = 0

    @classmethod
    def of_layer(cls, layer: nn.Linear) -> LatentMoment:
        """Watch a linear layer y = W1 h in training, inside any network: G is the mean of y yᵀ, without the bias."""
        moment = cls()

        def observe(layer: nn.Linear, inputs: tuple[Tensor, ...], _) -> None:
            if layer.training and torch.is_grad_enabled():
                with torch.no_grad(), torch.autocast(inputs[0].device.type, enabled=False):
                    weight = layer.weight
                    codes = inputs[0].to(weight.dtype).reshape(-1, weight.shape[1]) @ weight.mT  # (n, k)
                    moment.observe(codes.mT @ codes / len(codes))

        layer.register_forward_hook(observe)
        return moment

    def observe(self, latent_moment: Tensor) -> None:
        """Add the G of one batch, shape (..., k, k)."""
        latent_moment = latent_moment.detach()
        self._sum = latent_moment if self._sum is None else self._sum + latent_moment
        self._batches += 1

    def read(self) -> Tensor:
        """The mean G since the last call, the same on every process.

        Raises:
            RuntimeError: no training batch came since the last call.
        """
        if self._sum is None:
            raise RuntimeError("RAG needs the codes of this step: run a forward pass in training mode before step()")
        mean = self._sum / self._batches
        self._sum, self._batches = None, 0
        if dist.is_available() and dist.is_initialized():
            dist.all_reduce(mean)
            mean /= dist.get_world_size()
        return mean


class RAG(OptimizerAround):
    """The rotation augmented gradient around any torch optimizer.

    `step` turns the gradients that are in `.grad` (no `weight_decay`, no regulariser: the loss is plain reconstruction)
    and lets the optimizer do the rest, so closures, schedulers, mixed precision and checkpoints work as without it.

    Start from small weights (the paper: 1e-4). No gradient removes what the encoder holds in directions without
    variance, and both the resting points and the balance term count it.

        moment = LatentMoment.of_layer(encoder)
        sgd = torch.optim.SGD([*encoder.parameters(), *decoder.parameters()], lr=0.1)
        optimizer = RAG(sgd, encoder.weight, decoder.weight, moment)

    Args:
        optimizer: holds both weights; a `weight_decay` there would be a second regulariser and is refused.
        encoder: W1, shape (..., k, d).
        decoder: W2, shape (..., d, k).
        moment: gives G once a step.
        balance: β of the gradient of β·¼‖Q‖²; 0 is the paper's method, 1 cures the stall (see `imbalance`). A number or
            a tensor that broadcasts over (..., k, k).
        retraction: None adds the turn to the gradients (the paper). `cayley` or `torch.linalg.matrix_exp` instead turn
            the weights by an exact rotation of learning rate times Γ after the optimizer's step: W2W1 is then kept to
            the last bit of rounding, not to first order, and the turn has no momentum.
    Raises:
        ValueError: the shapes do not belong to one autoencoder; the optimizer decays or lacks the weights, or has no
            one rate to retract by.
    """

    def __init__(
        self,
        optimizer: Optimizer,
        encoder: nn.Parameter,
        decoder: nn.Parameter,
        moment: LatentMoment,
        balance: float | Tensor = 0.0,
        retraction: Callable[[Tensor], Tensor] | None = None,
    ):
        if encoder.ndim < 2 or encoder.shape != decoder.mT.shape:
            raise ValueError(
                "encoder and decoder must be (..., k, d) and (..., d, k), "
                f"got {tuple(encoder.shape)} and {tuple(decoder.shape)}"
            )
        groups = {id(p): group for group in optimizer.param_groups for p in group["params"]}
        for name, weight in (("encoder", encoder), ("decoder", decoder)):
            if id(weight) not in groups:
                raise ValueError(f"the optimizer does not hold the {name} that RAG is to turn")
            if groups[id(weight)].get("weight_decay"):
                raise ValueError(f"RAG works on the unregularised loss: set weight_decay=0 for the {name}")
        if retraction is not None and isinstance(optimizer, PerRunRate):
            raise ValueError("a retraction turns by one learning rate, PerRunRate has one for each run")
        super().__init__(optimizer)
        self.encoder, self.decoder, self.moment = encoder, decoder, moment
        self.balance, self.retraction = balance, retraction

    @torch.no_grad()
    def step(self, closure: Callable[[], Tensor] | None = None) -> Tensor | None:
        """One step; returns what the closure returned.

        Raises:
            RuntimeError: there is no gradient; `backward` comes before.
        """
        loss = self.evaluate(closure)
        if self.encoder.grad is None or self.decoder.grad is None:
            raise RuntimeError("RAG found no gradient: call backward() on the reconstruction loss before step()")
        encoder, decoder = self.encoder, self.decoder
        gamma = rag_gamma(self.moment.read().to(encoder.dtype))
        change = self.balance * imbalance(encoder, decoder)  # βQ
        if self.retraction is None:
            change = change - gamma
        encoder.grad += change @ encoder
        decoder.grad -= decoder @ change  # Γᵀ = -Γ
        self.optimizer.step()
        if self.retraction is not None:
            turn = self.retraction(self._rate(encoder) * gamma)
            encoder.copy_(turn @ encoder)
            decoder.copy_(decoder @ turn.mT)
        return loss

    def _rate(self, weight: nn.Parameter) -> float:
        return next(group["lr"] for group in self.param_groups if any(weight is p for p in group["params"]))
