"""The radiance field r = ν(γ_w(x)): modulated grid features through a small network to density and colour."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn.functional import normalize, silu, softplus

from .grid_encoder import ModulatedGridEncoder


@dataclass(frozen=True)
class DensityBlob:
    """σ = gain · softplus(raw + scale · max(1 − ‖x‖ / radius, floor)): matter begins as a ball in the middle.

    The paper's values are the defaults. Without a floor the corners of the box (−25) get no gradient.
    """

    scale: float = 10.0
    radius: float = 0.5
    floor: float = -1e9
    gain: float = 1.0

    def __call__(self, raw: Tensor, x: Tensor) -> Tensor:
        """raw (..., N), x (..., N, 3) -> σ (..., N), zero outside [-1, 1]³."""
        bias = (1 - x.norm(dim=-1) / self.radius).clamp(min=self.floor)
        inside = (x.abs() <= 1 + 1e-6).all(-1)
        return torch.where(inside, self.gain * softplus(raw + self.scale * bias), 0.0)


class SharedDecoder(nn.Module):
    """ν, one for all prompts: features -> (raw density, colour logits)."""

    def __init__(self, features: int, hidden: int = 32, outputs: int = 4):
        super().__init__()
        self.first = nn.Linear(features, hidden)
        self.second = nn.Linear(hidden, outputs)

    def forward(self, features: Tensor) -> Tensor:
        """(P, N, features) -> (P, N, outputs)."""
        return self.second(silu(self.first(features)))


class StackedDecoder(nn.Module):
    """K networks ν of their own as one batched product: what per-prompt optimisation needs.

    Each begins as a `SharedDecoder` with its own draw, or as copies of `start`.
    """

    def __init__(self, count: int, features: int, hidden: int = 32, outputs: int = 4, start: SharedDecoder = None):
        super().__init__()
        made = [start or SharedDecoder(features, hidden, outputs) for _ in range(count)]
        for name in ("first", "second"):
            layers = [getattr(decoder, name) for decoder in made]
            weight = torch.stack([layer.weight.detach().T for layer in layers]).clone()  # (K, in, out)
            bias = torch.stack([layer.bias.detach() for layer in layers])[:, None].clone()  # (K, 1, out)
            self.register_parameter(f"{name}_weight", nn.Parameter(weight))
            self.register_parameter(f"{name}_bias", nn.Parameter(bias))

    def forward(self, features: Tensor, chosen: Tensor | None = None) -> Tensor:
        """(P, N, features) -> (P, N, outputs); row p uses network `chosen[p]`, or network p of P = K."""
        weights = [self.first_weight, self.first_bias, self.second_weight, self.second_bias]
        if chosen is not None:
            weights = [weight[chosen] for weight in weights]
        hidden = silu(torch.baddbmm(weights[1], features, weights[0]))
        return torch.baddbmm(weights[3], hidden, weights[2])


class RadianceField(nn.Module):
    """(w, x) -> density and colour; no view direction enters.

    Args:
        encoder: γ. decoder: ν, shared or stacked. blob: how density begins.
    """

    def __init__(self, encoder: ModulatedGridEncoder, decoder: nn.Module, blob: DensityBlob | None = None):
        super().__init__()
        self.encoder, self.decoder = encoder, decoder
        self.blob = blob or DensityBlob()

    @property
    def size(self) -> int:
        """G of a prompt."""
        return self.encoder.size

    def forward(self, w: Tensor, x: Tensor) -> tuple[Tensor, Tensor]:
        """Density (P, N) and colour (P, N, 3) in [0, 1] at points (P, N, 3) for modulations (P, G)."""
        raw = self.decoder(self.encoder(w, x))
        return self.blob(raw[..., 0], x), raw[..., 1:4].sigmoid()

    def density(self, w: Tensor, x: Tensor) -> Tensor:
        return self(w, x)[0]


class ChosenField(nn.Module):
    """A field of stacked decoders seen by some of its prompts only."""

    def __init__(self, field: RadianceField, chosen: Tensor):
        super().__init__()
        self.field, self.chosen = field, chosen

    def forward(self, w: Tensor, x: Tensor) -> tuple[Tensor, Tensor]:
        raw = self.field.decoder(self.field.encoder(w, x), self.chosen)
        return self.field.blob(raw[..., 0], x), raw[..., 1:4].sigmoid()


def normals(field: nn.Module, w: Tensor, x: Tensor, create_graph: bool = False) -> Tensor:
    """n = −∇σ / ‖∇σ‖, shape (P, N, 3), by automatic differentiation; with `create_graph` it can be trained."""
    with torch.enable_grad():
        x = x.detach().requires_grad_(True)
        density = field(w, x)[0]
        (gradient,) = torch.autograd.grad(density.sum(), x, create_graph=create_graph)
    return -normalize(gradient, dim=-1, eps=1e-8)
