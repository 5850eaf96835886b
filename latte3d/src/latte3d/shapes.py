"""Procedural captioned shapes: a body in a proportion, something attached to it, two colours and a pattern.

Whole (body, proportion, attachment) triples are held out, so that held-out prompts describe shapes never seen, in words
that all were.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import product

import torch
from torch import Tensor

from .cameras import Cameras
from .marching_tetrahedra import grid_vertices, isosurface
from .rasterizer import get_rasterizer, pack
from .surface import SurfaceRendering, render_surface, sample_surface
from .text import words_of

COLORS = {
    "red": (0.85, 0.12, 0.10),
    "green": (0.15, 0.65, 0.20),
    "blue": (0.12, 0.25, 0.85),
    "yellow": (0.92, 0.82, 0.12),
    "purple": (0.55, 0.15, 0.70),
    "orange": (0.95, 0.50, 0.10),
}
BODIES = {"ball": "sphere", "cube": "box", "cylinder": "tube", "cone": "spike", "ring": "torus"}  # with a synonym each
PROPORTIONS = {"plain": (1.0, 1.0, 1.0), "tall": (0.75, 1.35, 0.75), "flat": (1.2, 0.55, 1.2)}
PROPORTION_WORDS = {"plain": ("", "plain"), "tall": ("tall", "long"), "flat": ("flat", "squat")}
ATTACHMENTS = ("none", "ball on top", "cube beside")
PATTERNS = ("plain", "striped", "checkered")
DARKENED = 0.3  # brightness of the pattern's darker part
LOWERED = 0.12  # the body stands below the middle, to leave room on top


def _ball(p: Tensor) -> Tensor:
    return p.norm(dim=-1) - 0.44


def _box(p: Tensor, half: float = 0.37) -> Tensor:
    q = p.abs() - half
    return q.clamp(min=0).norm(dim=-1) + q.amax(-1).clamp(max=0)


def _cylinder(p: Tensor) -> Tensor:
    q = torch.stack([p[..., [0, 2]].norm(dim=-1) - 0.36, p[..., 1].abs() - 0.42], -1)
    return q.clamp(min=0).norm(dim=-1) + q.amax(-1).clamp(max=0)


def _cone(p: Tensor) -> Tensor:
    """The larger of the distances to its slope and its base: a bound outside, exact on the surface."""
    height, radius = 0.9, 0.46
    across, up = p[..., [0, 2]].norm(dim=-1), p[..., 1] + 0.45
    slope = (across * height + up * radius - radius * height) / (height**2 + radius**2) ** 0.5
    return torch.maximum(slope, -up)


def _ring(p: Tensor) -> Tensor:
    """Upright: its hole is seen from the front."""
    around = p[..., :2].norm(dim=-1) - 0.34
    return torch.stack([around, p[..., 2]], -1).norm(dim=-1) - 0.14


SDFS: dict[str, Callable[[Tensor], Tensor]] = {
    "ball": _ball, "cube": _box, "cylinder": _cylinder, "cone": _cone, "ring": _ring,
}  # fmt: skip
HALF_SIZE = {  # across and up
    "ball": (0.44, 0.44), "cube": (0.37, 0.37), "cylinder": (0.36, 0.42), "cone": (0.30, 0.45), "ring": (0.48, 0.48),
}  # fmt: skip


@dataclass(frozen=True)
class Shape:
    """One object; size and yaw (degrees) are told by no caption.

    Raises:
        ValueError: an unknown word, naming those that are known.
    """

    body: str
    proportion: str = "plain"
    attachment: str = "none"
    color: str = "red"
    second: str = "blue"
    pattern: str = "plain"
    size: float = 1.0
    yaw: float = 0.0

    def __post_init__(self):
        known = {"body": BODIES, "proportion": PROPORTIONS, "attachment": ATTACHMENTS, "color": COLORS}
        for name, words in {**known, "second": COLORS, "pattern": PATTERNS}.items():
            if getattr(self, name) not in words:
                raise ValueError(f"unknown {name} {getattr(self, name)!r}, choose from {', '.join(words)}")

    @property
    def triple(self) -> tuple[str, str, str]:
        return self.body, self.proportion, self.attachment

    def _turned(self, points: Tensor) -> Tensor:
        """Points in the shape's own frame."""
        angle = torch.deg2rad(torch.tensor(self.yaw, dtype=points.dtype))
        c, s = angle.cos(), angle.sin()
        x, y, z = points.unbind(-1)
        return torch.stack([c * x - s * z, y, s * x + c * z], -1) / self.size

    def _parts(self, p: Tensor) -> tuple[Tensor, Tensor]:
        """Distances to the body and to what is attached, in the shape's own frame."""
        scale = torch.tensor(PROPORTIONS[self.proportion], dtype=p.dtype)
        shift = torch.tensor([0.0, -LOWERED, 0], dtype=p.dtype)
        body = SDFS[self.body]((p - shift) / scale) * scale.min()
        across, up = (half * float(s) for half, s in zip(HALF_SIZE[self.body], scale[[0, 1]], strict=True))
        if self.attachment == "ball on top":
            return body, (p - torch.tensor([0.0, up - LOWERED + 0.12, 0], dtype=p.dtype)).norm(dim=-1) - 0.19
        if self.attachment == "cube beside":
            return body, _box(p - torch.tensor([across + 0.1, -LOWERED, 0], dtype=p.dtype), 0.15)
        return body, torch.full_like(body, torch.inf)

    def sdf(self, points: Tensor) -> Tensor:
        """Signed distance (P,) at (P, 3): exact in its sign, a lower bound of the distance where it is stretched."""
        body, attached = self._parts(self._turned(points))
        return torch.minimum(body, attached) * self.size

    def is_body(self, points: Tensor) -> Tensor:
        """Whether the body is nearer than what is attached, (P,)."""
        body, attached = self._parts(self._turned(points))
        return body <= attached

    def rgb(self, points: Tensor) -> Tensor:
        """Colour (..., 3) at (..., 3), of the part that is nearer."""
        p = self._turned(points)
        body, attached = self._parts(p)
        cells = (p / 0.18 + 100).floor()
        if self.pattern == "striped":
            dark = cells[..., 1] % 2
        else:
            dark = cells.sum(-1) % 2 if self.pattern == "checkered" else torch.zeros_like(body)
        first, second = (torch.tensor(COLORS[name], dtype=points.dtype) for name in (self.color, self.second))
        patterned = first * (1 - (1 - DARKENED) * dark)[..., None]
        return torch.where((body <= attached)[..., None], patterned, second)

    def caption(self, synonyms: Sequence[bool] = (False, False, False)) -> str:
        """In words; synonyms of the proportion, the body and the attachment's preposition on request."""
        proportion = PROPORTION_WORDS[self.proportion][synonyms[0]]
        body = BODIES[self.body] if synonyms[1] else self.body
        pattern = "" if self.pattern == "plain" else self.pattern
        words = ["a", proportion, pattern, self.color, body]
        if self.attachment != "none":
            primitive, _, place = self.attachment.partition(" ")
            primitive = BODIES[primitive] if synonyms[2] else primitive
            words += ["with a", self.second, primitive, place if place == "on top" else "beside it"]
        return " ".join(word for word in words if word)

    def mesh(self, n: int = 40) -> tuple[Tensor, Tensor]:
        """Vertices and faces by marching tetrahedra on n³ cells."""
        return isosurface(self.sdf(grid_vertices(n)).view(n + 1, n + 1, n + 1))

    def cloud(self, points: int, generator: torch.Generator, n: int = 32) -> Tensor:
        """Coloured points on the surface, (points, 6)."""
        position = sample_surface(*self.mesh(n), points, generator)[0]
        return torch.cat([position, self.rgb(position)], -1)

    def render(self, cameras: Cameras, size: int, background: Tensor | None = None, n: int = 40) -> SurfaceRendering:
        """Pictures coloured pixel by pixel, white behind unless told otherwise."""
        packed = pack([self.mesh(n)], views=len(cameras.fov))
        behind = torch.ones(3) if background is None else background
        return render_surface(packed, cameras, size, lambda at, _: self.rgb(at), behind, get_rasterizer("torch"))


TRIPLES = tuple(product(BODIES, PROPORTIONS, ATTACHMENTS))


def is_held_out(triple: tuple[str, str, str]) -> bool:
    """Nine of the 45 triples: one body for each proportion and attachment, every pair of words is seen elsewhere."""
    body, proportion, attachment = triple
    return (list(BODIES).index(body) + 2 * list(PROPORTIONS).index(proportion) + ATTACHMENTS.index(attachment)) % 5 == 0


def vocabulary() -> list[str]:
    """All words of all captions."""
    words = {word for triple in TRIPLES for s in (False, True) for word in words_of(Shape(*triple).caption([s] * 3))}
    return sorted(words | set(COLORS) | set(PATTERNS))


def draw_shapes(triples: Sequence[tuple[str, str, str]], each: int, generator: torch.Generator) -> list[Shape]:
    """`each` shapes of every triple, with colours, patterns, sizes and small turns drawn."""

    def pick(words: Sequence[str]) -> str:
        return words[int(torch.randint(len(words), (), generator=generator))]

    shapes = []
    for triple in triples:
        for _ in range(each):
            color = pick(list(COLORS))
            second = pick([other for other in COLORS if other != color])
            size, turn = torch.rand(2, generator=generator).tolist()
            shapes.append(Shape(*triple, color, second, pick(PATTERNS), 0.85 + 0.15 * size, 30 * turn - 15))
    return shapes


def draw_caption(shape: Shape, generator: torch.Generator, chance: float = 0.3) -> str:
    """A caption with synonyms here and there."""
    return shape.caption((torch.rand(3, generator=generator) < chance).tolist())


class ProceduralShapes:
    """Training shapes of seen triples and held-out shapes of unseen ones.

    Args:
        each: shapes of every seen triple. held_out_each: of every unseen one. bodies: restricts the library, for
            quick runs. seed: of all draws.
    Raises:
        ValueError: an unknown body, or none.
    """

    def __init__(self, each: int = 4, held_out_each: int = 8, bodies: Sequence[str] | None = None, seed: int = 0):
        chosen = [triple for triple in TRIPLES if bodies is None or triple[0] in bodies]
        if unknown := [body for body in bodies or () if body not in BODIES]:
            raise ValueError(f"unknown body {unknown[0]!r}, choose from {', '.join(BODIES)}")
        if not chosen:
            raise ValueError(f"bodies is empty, choose from {', '.join(BODIES)}")
        generator = torch.Generator().manual_seed(seed)
        self.train = draw_shapes([triple for triple in chosen if not is_held_out(triple)], each, generator)
        self.held_out = draw_shapes([triple for triple in chosen if is_held_out(triple)], held_out_each, generator)
