"""Cameras around an object: OpenGL axes (x right, y up, the camera looks along -z), image row 0 at the top."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor


class Cameras(NamedTuple):
    """B cameras.

    to_world: (B, 4, 4) camera-to-world. fov: (B,) vertical field of view in radians.
    """

    to_world: Tensor
    fov: Tensor

    @property
    def positions(self) -> Tensor:
        """(B, 3)."""
        return self.to_world[:, :3, 3]

    def to(self, *args, **kwargs) -> Cameras:
        return Cameras(self.to_world.to(*args, **kwargs), self.fov.to(*args, **kwargs))

    def __getitem__(self, index) -> Cameras:  # a slice or an index tensor chooses cameras, not fields
        return Cameras(tuple.__getitem__(self, 0)[index], tuple.__getitem__(self, 1)[index])

    def embedding(self) -> Tensor:
        """What a multi-view prior is told: the matrices, their translation scaled to length one, (B, 16)."""
        matrix = self.to_world.clone()
        matrix[:, :3, 3] = torch.nn.functional.normalize(matrix[:, :3, 3], dim=-1)
        return matrix.flatten(1)

    def clip_matrix(self, near: float = 0.1, far: float = 10.0) -> Tensor:
        """World to clip space for square images, (B, 4, 4); w is the depth along the viewing axis."""
        focal = 1 / (self.fov / 2).tan()
        projection = self.to_world.new_zeros(len(self.fov), 4, 4)
        projection[:, 0, 0] = projection[:, 1, 1] = focal
        projection[:, 2, 2] = -(far + near) / (far - near)
        projection[:, 2, 3] = -2 * far * near / (far - near)
        projection[:, 3, 2] = -1
        return projection @ torch.linalg.inv(self.to_world)

    def rays(self, size: int) -> tuple[Tensor, Tensor]:
        """Through the pixel centres of size² images: origins and unit directions, both (B, size, size, 3)."""
        centre = (torch.arange(size, device=self.fov.device, dtype=self.fov.dtype) + 0.5) / size * 2 - 1
        down, right = torch.meshgrid(centre, centre, indexing="ij")
        slope = (self.fov / 2).tan()[:, None, None]
        local = torch.stack([right * slope, -down * slope, -torch.ones_like(right * slope)], -1)  # (B, S, S, 3)
        world = torch.einsum("bij,bhwj->bhwi", self.to_world[:, :3, :3], local)
        directions = torch.nn.functional.normalize(world, dim=-1)
        return self.positions[:, None, None].expand_as(directions), directions


def look_at_origin(positions: Tensor, fov: Tensor) -> Cameras:
    """Cameras at (B, 3), upright and looking at the origin.

    Raises:
        ValueError: a camera straight above or below, or at the origin: it has no upright direction.
    """
    back = torch.nn.functional.normalize(positions, dim=-1)
    up = torch.tensor([0.0, 1, 0], dtype=positions.dtype, device=positions.device).expand_as(back)
    right = torch.linalg.cross(up, back)
    if bool((right.norm(dim=-1) < 1e-6).any()):
        raise ValueError("a camera on the vertical axis has no upright direction: keep |elevation| below 90 degrees")
    right = torch.nn.functional.normalize(right, dim=-1)
    rotation = torch.stack([right, torch.linalg.cross(back, right), back], -1)  # columns
    to_world = torch.eye(4, dtype=positions.dtype, device=positions.device).repeat(len(positions), 1, 1)
    to_world[:, :3, :3], to_world[:, :3, 3] = rotation, positions
    return Cameras(to_world, fov.expand(len(positions)).to(positions))


def orbit(azimuth: Tensor, elevation: Tensor, fov: Tensor, relative_distance: Tensor) -> Cameras:
    """Cameras on a sphere around the origin, all arguments (B,) and angles in degrees.

    relative_distance: half of the height that the image covers at the origin, so that a change of fov keeps the size.
    Azimuth 0 looks from +z, 90 from +x.
    """
    fov, azimuth, elevation = (torch.deg2rad(angle.float()) for angle in (fov, azimuth, elevation))
    distance = relative_distance / (fov / 2).tan()
    direction = torch.stack(
        [azimuth.sin() * elevation.cos(), elevation.sin(), azimuth.cos() * elevation.cos()], -1
    )  # (B, 3)
    return look_at_origin(direction * distance[:, None], fov)


def ring(views: int, elevation: float = 15.0, fov: float = 40.0, relative_distance: float = 0.95, start: float = 0.0):
    """`views` cameras at equal azimuths: for evaluation and pictures."""
    ones = torch.ones(views)
    return orbit(start + torch.arange(views) * 360 / views, ones * elevation, ones * fov, ones * relative_distance)


class CameraSampler(NamedTuple):
    """Draws sets of views of one object, azimuths equally far apart; ranges in degrees, uniform."""

    views: int = 4
    elevation: tuple[float, float] = (0.0, 30.0)
    fov: tuple[float, float] = (15.0, 60.0)
    relative_distance: tuple[float, float] = (0.8, 1.0)

    def __call__(self, objects: int, generator: torch.Generator) -> Cameras:
        """Cameras of all views, the views of an object side by side, (objects * views)."""

        def uniform(low: float, high: float) -> Tensor:  # one draw for each object
            return (low + (high - low) * torch.rand(objects, generator=generator)).repeat_interleave(self.views)

        turn = torch.arange(self.views).repeat(objects) * (360 / self.views)
        return orbit(
            uniform(0, 360) + turn,
            uniform(*self.elevation),
            uniform(*self.fov),
            uniform(*self.relative_distance),
        )


def view_names(cameras: Cameras, overhead: float = 60.0) -> list[str]:
    """What a prompt may add for each camera: overhead, front, side or back view; azimuth 0 is the front."""
    x, y, z = cameras.positions.unbind(-1)
    elevation = torch.rad2deg(torch.atan2(y, (x.square() + z.square()).sqrt()))
    azimuth = torch.rad2deg(torch.atan2(x, z)).abs()
    names = []
    for up, around in zip(elevation.tolist(), azimuth.tolist(), strict=True):
        side = "front view" if around < 45 else "back view" if around > 135 else "side view"
        names.append("overhead view" if up > overhead else side)
    return names


def project(cameras: Cameras, points: Tensor) -> Tensor:
    """Points (B, N, 3) to clip space (B, N, 4)."""
    ones = torch.ones_like(points[..., :1])
    return torch.einsum("bij,bnj->bni", cameras.clip_matrix().to(points), torch.cat([points, ones], -1))
