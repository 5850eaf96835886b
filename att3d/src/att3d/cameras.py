"""Cameras on a sphere around the origin: z is up, camera axes are OpenGL's (x right, y up, looking along −z)."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class Cameras:
    """V cameras for each of P prompts; angles are degrees, all of shape (P, V)."""

    elevation: Tensor
    azimuth: Tensor
    distance: Tensor
    fovy: Tensor

    @property
    def origins(self) -> Tensor:
        """(P, V, 3)."""
        elevation, azimuth = self.elevation.deg2rad(), self.azimuth.deg2rad()
        flat = elevation.cos()
        unit = torch.stack([flat * azimuth.cos(), flat * azimuth.sin(), elevation.sin()], -1)
        return self.distance[..., None] * unit

    @property
    def rotations(self) -> Tensor:
        """Camera to world, (P, V, 3, 3); the columns are right, up and backwards. At the poles azimuth decides."""
        elevation, azimuth = self.elevation.deg2rad(), self.azimuth.deg2rad()
        ce, se, ca, sa = elevation.cos(), elevation.sin(), azimuth.cos(), azimuth.sin()
        right = torch.stack([-sa, ca, torch.zeros_like(ca)], -1)
        up = torch.stack([-se * ca, -se * sa, ce], -1)
        back = torch.stack([ce * ca, ce * sa, se], -1)
        return torch.stack([right, up, back], -1)

    def directions(self, u: Tensor, v: Tensor) -> Tensor:
        """Unit ray directions (P, V, N, 3) through image points u (right), v (up), both (N,) in [-1, 1]."""
        half = (0.5 * self.fovy.deg2rad()).tan()[..., None]
        local = torch.stack([half * u, half * v, -torch.ones_like(half * u)], -1)
        return torch.nn.functional.normalize(local @ self.rotations.transpose(-1, -2), dim=-1)

    def rays(self, size: int) -> tuple[Tensor, Tensor]:
        """Origins and unit directions (P, V · size², 3) of the pixels of square images, row by row from the top."""
        device = self.elevation.device
        centre = (torch.arange(size, device=device) + 0.5) * (2 / size) - 1
        v, u = torch.meshgrid(-centre, centre, indexing="ij")
        directions = self.directions(u.flatten(), v.flatten())  # (P, V, size², 3)
        origins = self.origins[:, :, None].expand_as(directions)
        return origins.flatten(1, 2), directions.flatten(1, 2)

    def to(self, device: torch.device) -> Cameras:
        return Cameras(*(getattr(self, name).to(device) for name in self.__dataclass_fields__))

    def project(self, points: Tensor) -> Tensor:
        """Image points (P, V, N, 2) in [-1, 1], right and up, of world points (N, 3)."""
        local = (points - self.origins[..., None, :]) @ self.rotations
        half = (0.5 * self.fovy.deg2rad()).tan()[..., None, None]
        return local[..., :2] / (-local[..., 2:] * half)


@dataclass(frozen=True)
class CameraSampler:
    """Random cameras; azimuths are stratified over the V views of a prompt.

    Args:
        distance, fovy, elevation: ranges; degrees for the angles.
        on_sphere: share of elevations that are uniform on the sphere, the rest uniform in angle.
    Raises:
        ValueError: a range that is empty, or angles or distances out of bounds.
    """

    distance: tuple[float, float] = (1.5, 2.0)
    fovy: tuple[float, float] = (40.0, 70.0)
    elevation: tuple[float, float] = (-10.0, 90.0)
    on_sphere: float = 0.5

    def __post_init__(self):
        for name, low, high in (("distance", 1e-3, math.inf), ("fovy", 1e-3, 179.0), ("elevation", -90.0, 90.0)):
            least, most = getattr(self, name)
            if not low <= least <= most <= high:
                raise ValueError(f"{name} must be a range within [{low}, {high}], got ({least}, {most})")
        if not 0 <= self.on_sphere <= 1:
            raise ValueError(f"on_sphere is a share in [0, 1], got {self.on_sphere}")

    def __call__(self, prompts: int, views: int, generator: torch.Generator) -> Cameras:
        """`views` cameras for each of `prompts`, on the generator's device."""

        def uniform(low: float, high: float) -> Tensor:
            drawn = torch.rand(prompts, views, generator=generator, device=generator.device)
            return low + (high - low) * drawn

        low, high = self.elevation
        by_angle = uniform(low, high)
        by_area = uniform(math.sin(math.radians(low)), math.sin(math.radians(high))).asin().rad2deg()
        stratum = torch.arange(views, device=generator.device)
        azimuth = ((stratum + uniform(0, 1)) / views + uniform(0, 1)[:, :1]) % 1
        return Cameras(
            elevation=torch.where(uniform(0, 1) < self.on_sphere, by_area, by_angle),
            azimuth=360 * azimuth - 180,
            distance=uniform(*self.distance),
            fovy=uniform(*self.fovy),
        )


def ring(prompts: int, views: int, elevation: float = 20.0, distance: float = 2.6, fovy: float = 45.0) -> Cameras:
    """`views` cameras evenly around, the same for all prompts: for turntables and evaluation."""
    azimuth = (torch.arange(views) * 360 / views + 180) % 360 - 180

    def same(value: float) -> Tensor:
        return torch.full((prompts, views), value)

    return Cameras(same(elevation), azimuth.expand(prompts, views).clone(), same(distance), same(fovy))
