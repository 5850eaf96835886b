"""Polygons as two flat arrays, and their faults: what must hold before halfedges can be made of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from .errors import NotRepresentable


@dataclass(frozen=True)
class Polygons:
    """Faces as one array of corners.

    corners: vertex indices of all faces one after the other, int64, shape (C,).
    face: the face of each corner, ascending, int64, shape (C,).
    """

    corners: Tensor
    face: Tensor

    @staticmethod
    def of(faces: Sequence[Sequence[int]] | Tensor | Polygons) -> Polygons:
        """From lists of vertex indices, or from an array (F, k).

        Raises:
            NotRepresentable: there is no face, or one with less than three corners.
        """
        if isinstance(faces, Polygons):
            return faces
        sizes = torch.tensor([len(face) for face in faces], dtype=torch.long)
        if not len(sizes):
            raise NotRepresentable("empty", "expected at least one polygon")
        if int(sizes.min()) < 3:
            short = int(sizes.argmin())
            raise NotRepresentable("corners", f"face {short} has {int(sizes[short])}, expected at least 3")
        flat = faces.reshape(-1) if isinstance(faces, Tensor) else torch.tensor([v for face in faces for v in face])
        return Polygons(flat.long(), torch.repeat_interleave(torch.arange(len(sizes)), sizes))

    @property
    def sizes(self) -> Tensor:
        """Corners of each face, (F,)."""
        return torch.bincount(self.face)

    def following(self) -> Tensor:
        """Index of the next corner of the same face, (C,)."""
        ends = self.sizes.cumsum(0)
        following = torch.arange(1, len(self.corners) + 1)
        following[ends - 1] = ends - self.sizes
        return following

    def lists(self) -> list[list[int]]:
        """The faces as lists."""
        return [part.tolist() for part in self.corners.split(self.sizes.tolist())]

    def kept(self, keep: Tensor) -> Polygons:
        """Only the faces where `keep` (F,) is true."""
        corner = keep[self.face]
        return Polygons(self.corners[corner], torch.unique_consecutive(self.face[corner], return_inverse=True)[1])


def canonical(faces: Sequence[Sequence[int]], oriented: bool = True) -> set[tuple[int, ...]]:
    """Each face rotated so that it begins with its smallest vertex; without orientation also the smaller of both ways.

    Two meshes on the same vertices have the same faces when these sets are equal.
    """
    return {min(_rotated(face), _rotated(face[::-1])) if not oriented else _rotated(face) for face in faces}


def _rotated(face: Sequence[int]) -> tuple[int, ...]:
    least = min(face)
    turns = [tuple(face[i:]) + tuple(face[:i]) for i, vertex in enumerate(face) if vertex == least]
    return min(turns)


def validate_indices(vertices: Tensor, polygons: Polygons) -> None:
    """Refuse positions that are none and corners that are no vertices.

    Raises:
        ValueError: `vertices` is not (V, 3).
        NotRepresentable: a position is not finite, or an index out of range.
    """
    if vertices.ndim != 2 or vertices.shape[1] != 3:
        raise ValueError(f"vertices must be (V, 3), got {tuple(vertices.shape)}")
    if not bool(vertices.isfinite().all()):
        bad = int((~vertices.isfinite()).any(1).nonzero()[0])
        raise NotRepresentable("position", f"vertex {bad} is at {vertices[bad].tolist()}")
    outside = (polygons.corners < 0) | (polygons.corners >= len(vertices))
    if bool(outside.any()):
        at = int(outside.nonzero()[0])
        face, vertex = int(polygons.face[at]), int(polygons.corners[at])
        raise NotRepresentable("index", f"face {face} names vertex {vertex}, there are {len(vertices)}")


def validate_corners(polygons: Polygons) -> None:
    """Refuse a face of fewer than three distinct corners, the same one twice running, or back where it came from.

    Raises:
        NotRepresentable: a vertex at which a face turns back has one neighbour there: it would be no part of a surface.
    """
    repeated = polygons.corners == polygons.corners[polygons.following()]
    distinct = torch.unique(torch.stack([polygons.face, polygons.corners]), dim=1)[0]
    few = torch.bincount(distinct) < 3
    if bool(repeated.any()) or bool(few.any()):
        face = int(polygons.face[repeated][0]) if bool(repeated.any()) else int(few.nonzero()[0])
        corners = polygons.corners[polygons.face == face].tolist()
        raise NotRepresentable("corners", f"face {face} is {corners}, expected 3 distinct ones, none twice running")
    after = polygons.following()
    back = (polygons.corners == polygons.corners[after[after]]).nonzero().flatten()
    if len(back):
        face, corner = int(polygons.face[back[0]]), int(polygons.corners[after[back[0]]])
        raise NotRepresentable("corners", f"face {face} turns back on its edge at {corner}")
