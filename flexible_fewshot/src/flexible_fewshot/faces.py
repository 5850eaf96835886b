"""Cartoon faces whose attributes are correlated as strongly as one likes: the default on which the phenomenon shows.

Attribute a of an image is Bernoulli(sigmoid(ρ B_a·s)) with s ~ N(0, I_3): ρ = 0 makes attributes independent, a large ρ
makes the test attributes predictable from the training attributes. Half of the variance of s belongs to the identity.
Every image is drawn from (seed, index) alone, so that a larger set only adds to a smaller one.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from .attributes import AttributeTable

SIDE = 32
ATTRIBUTES = (
    *("Eyeglasses", "Smiling", "Goatee", "Dark_Hair", "Long_Hair", "Thick_Brows", "Necktie", "Lipstick"),
    *("Freckles", "Big_Nose", "Collar", "Sideburns"),
    *("Wearing_Hat", "Mouth_Open", "Mustache", "Bangs", "Earrings", "Rosy_Cheeks", "Big_Eyes", "Chubby"),
)
FACTORS = 3
LOADING = 1.1  # |B_a|, so that the mean T-score is that of CelebA's labels, 0.84, at ρ = 2.5 (tests/test_faces.py)
DRAWS = 32  # uniform numbers in [-1, 1] for an image's nuisances, after its identity, factors and attributes
IDENTITY_DRAWS = 6
CHUNK = 1000  # images rendered at a time: bounds memory
EDGE = 0.035  # softness of an edge, in half widths of the image: about a pixel


def loadings() -> np.ndarray:
    """B, (20, 3): random directions of length LOADING, the same in every set."""
    directions = np.random.default_rng(2012_05895).normal(size=(len(ATTRIBUTES), FACTORS))
    return LOADING * directions / np.linalg.norm(directions, axis=1, keepdims=True)


@dataclass(frozen=True)
class RenderedFaces:
    """n faces, their attributes and identities.

    rho: how correlated attributes are. nuisance: scales pose, light, noise and the saturation of all other colours;
    at 1 they are muted. identities: how many there are; two sets of different seeds share none.

    Raises:
        ValueError: a size or a knob is out of range.
    """

    n: int
    rho: float = 2.5
    seed: int = 0
    nuisance: float = 1.0
    identities: int = 600

    def __post_init__(self):
        if self.n < 1 or self.identities < 1 or self.rho < 0 or not 0 <= self.nuisance <= 3:
            raise ValueError(
                f"faces need n >= 1, identities >= 1, rho >= 0 and nuisance in [0, 3], got n {self.n}, "
                f"identities {self.identities}, rho {self.rho}, nuisance {self.nuisance}"
            )

    def table(self) -> AttributeTable:
        """Labels without rendering."""
        z, _, identity = self._draw()
        names = tuple(f"face-{self.seed}-{i:06d}" for i in range(self.n))
        return AttributeTable(names, ATTRIBUTES, z.astype(np.int8), identity)

    def images(self) -> Tensor:
        """(n, 3, 32, 32), uint8."""
        z, nuisances, _ = self._draw()
        parts = zip(torch.from_numpy(z).float().split(CHUNK), torch.from_numpy(nuisances).split(CHUNK), strict=True)
        return torch.cat([(255 * render(a, u, self.nuisance)).round().byte() for a, u in parts])

    def _draw(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Attributes (n, 20), nuisances (n, 38) and identities (n,) of all images."""
        whose = [np.random.default_rng([self.seed, 1, k]) for k in range(self.identities)]
        factors_of = np.stack([random.normal(size=FACTORS) for random in whose])
        looks = np.stack([random.uniform(-1, 1, IDENTITY_DRAWS) for random in whose])
        identity, own, uniform, draws = [], [], [], []
        for i in range(self.n):
            random = np.random.default_rng([self.seed, 0, i])
            identity.append(random.integers(self.identities))
            own.append(random.normal(size=FACTORS))
            uniform.append(random.uniform(size=len(ATTRIBUTES)))
            draws.append(random.uniform(-1, 1, DRAWS))
        identity = np.array(identity)
        s = np.sqrt(0.5) * (factors_of[identity] + np.stack(own))
        chance = 1 / (1 + np.exp(-self.rho * s @ loadings().T))
        nuisances = np.concatenate([looks[identity], np.stack(draws)], axis=1).astype(np.float32)
        return np.stack(uniform) < chance, nuisances, identity


def render(attributes: Tensor, nuisances: Tensor, nuisance: float = 1.0) -> Tensor:
    """Paint faces back to front out of soft-edged shapes.

    Args:
        attributes: (B, 20) in {0, 1}, in the order of ATTRIBUTES.
        nuisances: (B, 38) in [-1, 1]: of the identity, then of the image.
        nuisance: scales pose, light, noise and saturation.
    Returns:
        (B, 3, 32, 32) in [0, 1].
    """
    has = dict(zip(ATTRIBUTES, attributes[:, :, None, None].unbind(1), strict=True))  # (B, 1, 1) each
    skin, wide, tall, apart, hue_hair, jaw, *own = nuisances[:, :, None, None].unbind(1)
    x, y = _posed_grid(own[:4], nuisance)
    canvas = _Canvas(x, _muted(0.45 + 0.15 * own[4] + nuisance * _scene(own[22:30]), own[5:8], nuisance))

    width = 0.40 + 0.03 * wide + 0.13 * has["Chubby"]
    height = 0.54 + 0.03 * tall
    eye_x = 0.17 + 0.015 * apart
    skin_rgb = _rgb(0.72 + 0.12 * skin, 0.56 + 0.11 * skin, 0.45 + 0.10 * skin)
    tone = 0.58 - 0.40 * has["Dark_Hair"] + 0.06 * hue_hair
    hair_rgb = _rgb(tone + 0.10, tone, 0.72 * tone)
    shirt = 0.45 + 0.12 * own[8]
    shirt_rgb = _muted(shirt, own[9:12], nuisance)
    ink = _rgb(*[torch.full_like(skin, 0.12)] * 3)

    # behind the head: long hair, neck and clothes
    canvas.paint(_ellipse(x, y + 0.06, width + 0.13, height + 0.04), hair_rgb)
    canvas.paint(_box(x, y - 0.28, width + 0.12, 0.42), hair_rgb, has["Long_Hair"])
    canvas.paint(_box(x, y - 0.70, 0.15, 0.25), skin_rgb)
    canvas.paint(_ellipse(x, y - 1.05, 0.78, 0.34), shirt_rgb)
    canvas.paint(_box(x.abs() - 0.20 - 0.5 * (y - 0.80), y - 0.80, 0.08, 0.10), _grey(skin, 0.92), has["Collar"])
    canvas.paint(_box(x, y - 0.92, 0.07, 0.20), _rgb(0.25 + 0.0 * skin, 0.25, 0.50), has["Necktie"])

    # the head
    canvas.paint(_ellipse(x.abs() - width, y + 0.02, 0.07, 0.11), skin_rgb)  # ears
    canvas.paint(
        _ellipse(x.abs() - width - 0.03, y - 0.16, 0.06, 0.06), _rgb(0.92 + 0 * skin, 0.82, 0.30), has["Earrings"]
    )
    canvas.paint(_ellipse(x, y, width + 0.02 * jaw * (y > 0), height), skin_rgb)
    canvas.paint(_box(x.abs() - width + 0.05, y - 0.10, 0.05, 0.22), hair_rgb, has["Sideburns"])
    canvas.paint(
        _ellipse(x.abs() - 0.26, y - 0.17, 0.11, 0.09), _rgb(0.88 + 0 * skin, 0.42, 0.42), 0.8 * has["Rosy_Cheeks"]
    )
    for dx, dy in ((0.16, 0.13), (0.26, 0.20), (0.30, 0.10)):
        canvas.paint(_ellipse(x.abs() - dx, y - dy, 0.035, 0.035), 0.55 * skin_rgb, has["Freckles"])

    # the face
    eye = 0.065 + 0.055 * has["Big_Eyes"] + 0.005 * own[12]
    eye_y = y + 0.10
    canvas.paint(_ellipse(x.abs() - eye_x, eye_y, 1.25 * eye, eye), _grey(skin, 0.95))
    canvas.paint(_ellipse(x.abs() - eye_x - 0.01 * own[13], eye_y, 0.6 * eye, 0.7 * eye), ink)
    brow = 0.022 + 0.035 * has["Thick_Brows"]
    canvas.paint(_box(x.abs() - eye_x, y + 0.25 + 0.01 * own[14], 0.11, brow), 0.5 * hair_rgb)
    nose = 0.035 + 0.055 * has["Big_Nose"]
    canvas.paint(_ellipse(x, y - 0.08, nose, 0.05 + nose), 0.78 * skin_rgb)
    ring = (_ellipse(x.abs() - eye_x, eye_y, 0.16, 0.14)).abs() - 0.018
    canvas.paint(torch.minimum(ring, _box(x, eye_y, 0.05, 0.015)), ink, has["Eyeglasses"])

    lips = _rgb(0.62 + 0.20 * has["Lipstick"], 0.36 - 0.22 * has["Lipstick"], 0.34 - 0.14 * has["Lipstick"])
    bend = (0.9 * has["Smiling"] - 0.35) * (x.square() - 0.02)  # corners up, or slightly down
    mouth_y = y - 0.30 + bend * 2.2
    canvas.paint(_ellipse(x, mouth_y, 0.17, 0.045 + 0.05 * has["Mouth_Open"]), lips)
    canvas.paint(_ellipse(x, mouth_y, 0.12, 0.055), 0.3 * ink, has["Mouth_Open"])
    canvas.paint(_ellipse(x, y - 0.20, 0.17, 0.045), 0.8 * hair_rgb, has["Mustache"])
    canvas.paint(_ellipse(x, y - 0.47, 0.10, 0.09), 0.8 * hair_rgb, has["Goatee"])

    # above it
    canvas.paint(_ellipse(x, y + 0.50, 0.85 * width, 0.12), hair_rgb)
    canvas.paint(_ellipse(x, y + 0.36, 0.92 * width, 0.18), hair_rgb, has["Bangs"])
    hat_rgb = _muted(0.42 + 0.15 * own[15], own[16:19], nuisance)
    canvas.paint(
        torch.minimum(_box(x, y + 0.66, 0.34, 0.22), _box(x, y + 0.46, 0.54, 0.05)), hat_rgb, has["Wearing_Hat"]
    )
    return _lit(canvas.rgb, x, own[19:22], nuisances[:, -2:], nuisance)


class _Canvas:
    """(B, 3, H, W) colours under the painter's algorithm; shapes are signed distances, negative inside."""

    def __init__(self, x: Tensor, background: Tensor):
        self.rgb = background.expand(-1, -1, *x.shape[1:]).clone()

    def paint(self, distance: Tensor, colour: Tensor, amount: Tensor | float = 1.0) -> None:
        cover = (torch.sigmoid(-distance / EDGE * 2) * amount)[:, None]
        self.rgb.lerp_(colour.expand_as(self.rgb), cover)


def _posed_grid(pose: list[Tensor], nuisance: float) -> tuple[Tensor, Tensor]:
    """Coordinates (B, H, W) in the face's frame, y downwards: shifted, turned and scaled."""
    line = (torch.arange(SIDE) + 0.5) / SIDE * 2 - 1
    y, x = torch.meshgrid(line, line, indexing="ij")
    dx, dy, turn, zoom = pose
    x, y = x - 0.08 * nuisance * dx, y - 0.02 - 0.08 * nuisance * dy
    angle, scale = 0.15 * nuisance * turn, 1 + 0.1 * nuisance * zoom
    return (x * angle.cos() + y * angle.sin()) * scale, (y * angle.cos() - x * angle.sin()) * scale


def _scene(draws: list[Tensor]) -> Tensor:
    """What is behind the head: two gratings of random direction, width and phase; (B, H, W)."""
    line = (torch.arange(SIDE) + 0.5) / SIDE * 2 - 1
    y, x = torch.meshgrid(line, line, indexing="ij")
    scene = torch.zeros_like(x)
    for turn, width, phase, strength in (draws[:4], draws[4:]):
        angle, frequency = math.pi * turn, 5 + 3 * width
        wave = torch.sin(frequency * (x * angle.cos() + y * angle.sin()) + math.pi * phase)
        scene = scene + (0.12 + 0.06 * strength) * wave
    return scene


def _lit(rgb: Tensor, x: Tensor, light: list[Tensor], noise: Tensor, nuisance: float) -> Tensor:
    """Brightness, a gradient from one side, and pixel noise that two of the draws seed."""
    level = 1 + 0.12 * nuisance * light[0] + 0.15 * nuisance * light[1] * x
    bits = (noise * 2**20).long()  # an integer hash: noise of an image does not depend on its neighbours in the batch
    seeds = (bits[:, 0] * 73856093 ^ bits[:, 1] * 19349663)[:, None] + torch.arange(3 * SIDE * SIDE) * 83492791
    seeds = (seeds ^ (seeds >> 13)) * 1274126177 & 0x7FFFFFFF
    grain = ((seeds ^ (seeds >> 16)) & 0xFFFF).float() / 65535 - 0.5
    return (rgb * level[:, None] + 0.12 * nuisance * grain.reshape(-1, 3, SIDE, SIDE)).clamp(0, 1)


def _ellipse(x: Tensor, y: Tensor, a: Tensor | float, b: Tensor | float) -> Tensor:
    """Roughly the distance to an ellipse with half axes a and b."""
    a, b = torch.as_tensor(a), torch.as_tensor(b)
    return (((x / a).square() + (y / b).square()).sqrt() - 1) * torch.minimum(a, b)


def _box(x: Tensor, y: Tensor, a: Tensor | float, b: Tensor | float) -> Tensor:
    """Distance to a box of half sides a and b."""
    return torch.maximum(x.abs() - a, y.abs() - b)


def _rgb(red: Tensor, green: Tensor | float, blue: Tensor | float) -> Tensor:
    """(B, 3, 1, 1)."""
    return torch.stack([red, torch.as_tensor(green).expand_as(red), torch.as_tensor(blue).expand_as(red)], 1)


def _grey(like: Tensor, level: float) -> Tensor:
    return _rgb(torch.full_like(like, level), level, level)


def _muted(level: Tensor, hues: list[Tensor], nuisance: float) -> Tensor:
    """A grey with a touch of colour."""
    return torch.stack([level + 0.08 * nuisance * hue for hue in hues], 1)
