"""The geometry network G and the texture network T: cloud and prompt in, fields of signed distance and colour out.

Both are a `TriplaneEncoder` and a head with its decoder. Up to stage 1 they share the encoder; in stage 2 T has its own
copy, G is frozen, and T's upsampling block and residual MLP take part.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from .point_voxel import PointVoxelEncoder, scatter_to_planes
from .triplane_unet import TriplaneUNet, resize


class Text(NamedTuple):
    """Tokens (B, L, D) of prompts, and mask (B, L): True where there is a token."""

    tokens: Tensor
    mask: Tensor

    def to(self, *args, **kwargs) -> Text:
        return Text(self.tokens.to(*args, **kwargs), self.mask.to(*args, **kwargs).bool())


class TriplaneEncoder(nn.Module):
    """Clouds (B, N, 6), text and alpha to plane features (B, 3, widths[0], R, R).

    Without text (stage 0) and without alpha, learned null tokens stand in.
    """

    def __init__(
        self,
        resolution: int = 24,
        point_widths: Sequence[int] = (32,),
        voxels: Sequence[int] = (12,),
        widths: Sequence[int] = (32, 64),
        text_width: int = 32,
    ):
        super().__init__()
        self.resolution = resolution
        self.points = PointVoxelEncoder(point_widths, voxels)
        self.unet = TriplaneUNet(point_widths[-1], widths, text_width)
        self.null_text = nn.Parameter(torch.randn(1, 1, text_width) * 0.1)
        self.null_alpha = nn.Parameter(torch.randn(1, 1, text_width) * 0.1)
        self.alpha = nn.Sequential(nn.Linear(1, text_width), nn.SiLU(), nn.Linear(text_width, text_width))

    def forward(self, clouds: Tensor, text: Text | None = None, alpha: Tensor | None = None) -> Tensor:
        """Three planes (B, 3, C, R, R) of clouds (B, N, 6).

        Args:
            alpha: (B,) in [0, 1]: the weight of the shape against the text, a user's slider where training drew it.
        Raises:
            ValueError: clouds that are not finite, or text or alpha for another number of them.
        """
        features = self.points(clouds)
        if not torch.isfinite(clouds).all():
            raise ValueError("the point clouds are not finite")
        count = len(clouds)
        tokens = self.null_text.expand(count, -1, -1) if text is None else text.tokens
        mask = tokens.new_ones(tokens.shape[:2]).bool() if text is None else text.mask
        if len(tokens) != count or (alpha is not None and alpha.shape != (count,)):
            given = None if alpha is None else tuple(alpha.shape)
            raise ValueError(f"expected text and alpha for {count} clouds, got {len(tokens)} texts and alpha {given}")
        weight = self.null_alpha.expand(count, -1, -1) if alpha is None else self.alpha(alpha[:, None])[:, None]
        tokens = torch.cat([tokens, weight], 1)  # never empty: an empty prompt leaves this one
        mask = torch.cat([mask, mask.new_ones(count, 1)], 1)
        return self.unet(scatter_to_planes(clouds[..., :3], features, self.resolution), tokens, mask)


def query_planes(planes: Tensor, points: Tensor) -> Tensor:
    """Bilinear features of the planes yz, xz and xy at points (B, P, 3), side by side: (B, P, 3 C)."""
    at = torch.stack(
        [points[..., [2, 1]], points[..., [2, 0]], points[..., [1, 0]]], 1
    )  # (B, 3, P, 2), last axis first
    found = F.grid_sample(
        planes.flatten(0, 1), at.flatten(0, 1)[:, :, None], padding_mode="border", align_corners=False
    )  # (3B, C, P, 1)
    return found.squeeze(-1).unflatten(0, planes.shape[:2]).flatten(1, 2).transpose(1, 2)


def mlp(inputs: int, hidden: int, outputs: int) -> nn.Sequential:
    """Two hidden layers; the last one starts at zero."""
    last = nn.Linear(hidden, outputs)
    nn.init.zeros_(last.weight)
    nn.init.zeros_(last.bias)
    return nn.Sequential(nn.Linear(inputs, hidden), nn.SiLU(), nn.Linear(hidden, hidden), nn.SiLU(), last)


class SDFDecoder(nn.Module):
    """s(x) = |x| - radius + MLP(planes at x), (B, P); training starts from a sphere."""

    def __init__(self, channels: int = 12, hidden: int = 32, radius: float = 0.5):
        super().__init__()
        self.radius = radius
        self.mlp = mlp(3 * channels, hidden, 1)

    def forward(self, planes: Tensor, points: Tensor) -> Tensor:
        return points.norm(dim=-1) - self.radius + self.mlp(query_planes(planes, points)).squeeze(-1)


class ColorDecoder(nn.Module):
    """RGB in [0, 1] at points, (B, P, 3); training starts from grey."""

    def __init__(self, channels: int = 12, hidden: int = 32):
        super().__init__()
        self.mlp = mlp(3 * channels, hidden, 3)

    def forward(self, planes: Tensor, points: Tensor, refinement: nn.Module | None = None) -> Tensor:
        """refinement: a residual MLP on the same features."""
        features = query_planes(planes, points)
        logits = self.mlp(features)
        return (logits if refinement is None else logits + refinement(features)).sigmoid()


class GeometryNetwork(nn.Module):
    """G: clouds and text to latent planes, whose decoder is a signed distance, negative inside."""

    def __init__(self, encoder: TriplaneEncoder, width: int = 32, channels: int = 12, hidden: int = 32):
        super().__init__()
        self.encoder = encoder
        self.head = nn.Conv2d(width, channels, 1)
        self.decoder = SDFDecoder(channels, hidden)

    def planes(self, features: Tensor) -> Tensor:
        return self.head(features.flatten(0, 1)).unflatten(0, features.shape[:2])


class TextureNetwork(nn.Module):
    """T: clouds and text to latent planes, whose decoder is a colour.

    upsampled: use the upsampling block and the residual MLP. Both start as identities, so that switching them on
    changes no colour beyond the interpolation of the planes.
    """

    def __init__(
        self, encoder: TriplaneEncoder, width: int = 32, channels: int = 12, hidden: int = 32, upsampling: int = 2
    ):
        super().__init__()
        self.encoder = encoder
        self.upsampling = upsampling
        self.upsampled = False
        self.head = nn.Conv2d(width, channels, 1)
        self.decoder = ColorDecoder(channels, hidden)
        self.refine = nn.Sequential(
            nn.Conv2d(width, width, 3, padding=1), nn.SiLU(), nn.Conv2d(width, channels, 3, padding=1)
        )
        nn.init.zeros_(self.refine[-1].weight)
        nn.init.zeros_(self.refine[-1].bias)
        self.residual = mlp(3 * channels, hidden, 3)

    def planes(self, features: Tensor) -> Tensor:
        if self.upsampled:
            features = resize(features, self.upsampling)
        flat = features.flatten(0, 1)
        planes = self.head(flat)
        if self.upsampled:
            planes = planes + self.refine(flat)
        return planes.unflatten(0, features.shape[:2])

    def color(self, planes: Tensor, points: Tensor) -> Tensor:
        return self.decoder(planes, points, self.residual if self.upsampled else None)


class Fields(NamedTuple):
    """The objects of a batch as functions of points (B, P, 3)."""

    geometry: Tensor
    texture: Tensor
    networks: Latte3D

    def sdf(self, points: Tensor) -> Tensor:
        """Signed distance (B, P), negative inside."""
        return self.networks.geometry.decoder(self.geometry, points)

    def color(self, points: Tensor) -> Tensor:
        """RGB (B, P, 3)."""
        return self.networks.texture.color(self.texture, points)

    def __getitem__(self, index: slice) -> Fields:  # some of the objects
        geometry, texture, networks = tuple(self)
        return Fields(geometry[index], texture[index], networks)


class Latte3D(nn.Module):
    """Both networks: clouds and prompts to fields in one pass.

    Args:
        resolution: of the planes. point_widths, voxels: of the cloud's encoder. widths: of the U-Net's levels.
        text_width: of the text's tokens. channels: of the latent planes of each network. hidden: of the decoders.
        upsampling: factor of T's planes in stage 2. surface: T has its own encoder and its upsampling (stage 2).
    """

    def __init__(
        self,
        resolution: int = 24,
        point_widths: Sequence[int] = (32,),
        voxels: Sequence[int] = (12,),
        widths: Sequence[int] = (32, 64),
        text_width: int = 32,
        channels: int = 12,
        hidden: int = 32,
        upsampling: int = 2,
        surface: bool = False,
    ):
        super().__init__()
        encoder = TriplaneEncoder(resolution, point_widths, voxels, widths, text_width)
        self.geometry = GeometryNetwork(encoder, widths[0], channels, hidden)
        self.texture = TextureNetwork(encoder, widths[0], channels, hidden, upsampling)
        if surface:
            self.enter_surface_stage()

    @property
    def surface(self) -> bool:
        return self.texture.upsampled

    def enter_surface_stage(self) -> Latte3D:
        """Stage 2: T gets its own copy of the encoder and its upsampling, G takes no more gradients."""
        if not self.surface:
            self.texture.encoder = copy.deepcopy(self.geometry.encoder)
            self.texture.upsampled = True
            self.geometry.requires_grad_(False)
        return self

    def forward(self, clouds: Tensor, text: Text | None = None, alpha: Tensor | None = None) -> Fields:
        features = self.geometry.encoder(clouds, text, alpha)
        shared = self.texture.encoder is self.geometry.encoder
        textured = features if shared else self.texture.encoder(clouds, text, alpha)
        return Fields(self.geometry.planes(features), self.texture.planes(textured), self)


@dataclass(frozen=True)
class Sizes:
    """The networks' sizes, as in `Latte3D`, and those of the text. The defaults are the demo's.

    text_length: words of a prompt, for word vectors. points: of the dummy cloud.
    """

    resolution: int = 24
    point_widths: Sequence[int] = (32,)
    voxels: Sequence[int] = (12,)
    widths: Sequence[int] = (32, 64)
    text_width: int = 32
    channels: int = 12
    hidden: int = 32
    upsampling: int = 2
    text_length: int = 12
    points: int = 512

    def __post_init__(self):
        for name in ("point_widths", "voxels", "widths"):  # a list from a config equals a tuple
            object.__setattr__(self, name, tuple(getattr(self, name)))

    def networks(self, surface: bool) -> Latte3D:
        sizes = asdict(self)
        del sizes["text_length"], sizes["points"]
        return Latte3D(**sizes, surface=surface)


def dummy_cloud(points: int, radius: float = 0.5) -> Tensor:
    """The fixed grey sphere (points, 6) that stands in for a cloud, so that a prompt alone will do (Fibonacci)."""
    index = torch.arange(points) + 0.5
    height = 1 - 2 * index / points
    turn = index * torch.pi * (1 + 5**0.5)
    across = (1 - height**2).sqrt()
    position = torch.stack([across * turn.cos(), height, across * turn.sin()], -1) * radius
    return torch.cat([position, torch.full_like(position, 0.5)], -1)


def anneal_clouds(clouds: Tensor, dummy: Tensor, chance: float, generator: torch.Generator) -> Tensor:
    """Swap each cloud (B, N, 6) for the dummy (N, 6) with a chance that grows over stage 1."""
    swapped = torch.rand(len(clouds), generator=generator).to(clouds.device) < chance
    return torch.where(swapped[:, None, None], dummy.to(clouds), clouds)


def annealed_chance(progress: float, ends_at: float = 0.6, final: float = 0.9) -> float:
    """Chance of the dummy after a share of the steps: linear, then constant, so that some real clouds remain."""
    return final * min(progress / ends_at, 1.0)
