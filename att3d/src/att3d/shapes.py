"""The embedded truth: coloured bodies with hats as signed distance fields, rendered by the project's own renderer.

Three colours × three bodies × three hats, or four of each. Nothing here is shown to a 3-D model: images feed the prior.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import lru_cache
from itertools import product

import torch
from torch import Tensor, nn
from torch.nn.functional import normalize

from .cameras import Cameras, CameraSampler
from .renderer import VolumeRenderer
from .view_prompts import view_buckets

TEMPLATE = "{hat}-topped {colour} {body}"
COLOURS = {
    "red": (0.85, 0.15, 0.15),
    "green": (0.15, 0.65, 0.2),
    "blue": (0.15, 0.3, 0.85),
    "yellow": (0.9, 0.75, 0.1),
}
HAT_COLOUR = (0.2, 0.2, 0.22)
LIGHT = (0.5, -0.4, 0.77)
TOP = 0.16  # where hats sit
VIEWING = CameraSampler(distance=(2.6, 2.6), fovy=(45.0, 45.0), elevation=(-10.0, 60.0), on_sphere=0.5)


def ball(x: Tensor, radius: float) -> Tensor:
    return x.norm(dim=-1) - radius


def box(x: Tensor, *half: float) -> Tensor:
    q = x.abs() - torch.tensor(half, device=x.device)
    return q.clamp(min=0).norm(dim=-1) + q.amax(-1).clamp(max=0)


def cone(x: Tensor, radius: float, height: float) -> Tensor:
    """Base at z = 0, apex at `height`; a lower bound of the distance, exact at the surface."""
    slant = (radius**2 + height**2) ** 0.5
    side = (height * x[..., :2].norm(dim=-1) + radius * (x[..., 2] - height)) / slant
    return torch.maximum(side, -x[..., 2])


def cylinder(x: Tensor, radius: float, half: float) -> Tensor:
    return torch.maximum(x[..., :2].norm(dim=-1) - radius, x[..., 2].abs() - half)


def ring(x: Tensor, radius: float, tube: float) -> Tensor:
    around = torch.stack([x[..., :2].norm(dim=-1) - radius, x[..., 2]], -1)
    return around.norm(dim=-1) - tube


def lifted(x: Tensor, z: float) -> Tensor:
    return x - torch.tensor([0.0, 0.0, z], device=x.device)


BODIES: dict[str, Callable[[Tensor], Tensor]] = {
    "sphere": lambda x: ball(lifted(x, TOP - 0.44), 0.46),
    "cube": lambda x: box(lifted(x, TOP - 0.4), 0.4, 0.4, 0.4),
    "cone": lambda x: cone(lifted(x, -0.72), 0.58, 1.0),
    "cylinder": lambda x: cylinder(lifted(x, TOP - 0.42), 0.34, 0.42),
}
HATS: dict[str, Callable[[Tensor], Tensor]] = {
    "ball": lambda x: ball(lifted(x, TOP + 0.2), 0.24),
    "slab": lambda x: box(lifted(x, TOP + 0.08), 0.5, 0.5, 0.08),
    "spike": lambda x: cone(lifted(x, TOP - 0.02), 0.18, 0.68),
    "ring": lambda x: ring(lifted(x, TOP + 0.1), 0.34, 0.12),
}


def shape_prompts(each: int = 3) -> list[str]:
    """All prompts of the first `each` colours, bodies and hats."""
    values = [list(table)[:each] for table in (COLOURS, BODIES, HATS)]
    return [TEMPLATE.format(colour=c, body=b, hat=h) for c, b, h in product(*values)]


def parse_prompt(prompt: str) -> tuple[str, str, str] | None:
    """Colour, body and hat, or None where the prompt describes none of these shapes."""
    found = re.fullmatch(r"(\w+)-topped (\w+) (\w+)", prompt)
    if found and found[2] in COLOURS and found[3] in BODIES and found[1] in HATS:
        return found[2], found[3], found[1]
    return None


class ShapeField(nn.Module):
    """The true fields of P prompts; it takes the place of a `RadianceField` and ignores modulations.

    Args:
        prompts: all of the form of TEMPLATE.
    Raises:
        ValueError: a prompt that describes no shape.
    """

    DENSITY, SOFTNESS = 60.0, 0.015

    def __init__(self, prompts: list[str]):
        super().__init__()
        parsed = [parse_prompt(prompt) for prompt in prompts]
        if None in parsed:
            raise ValueError(
                f"no shape is called {prompts[parsed.index(None)]!r}: expected {TEMPLATE!r} with "
                f"{', '.join(COLOURS)}; {', '.join(BODIES)}; {', '.join(HATS)}"
            )
        self.parsed = parsed

    def distances(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Signed distances of bodies and of hats, each (P, N), at x (P, N, 3)."""
        bodies = [BODIES[body](points) for (_, body, _), points in zip(self.parsed, x, strict=True)]
        hats = [HATS[hat](points) for (_, _, hat), points in zip(self.parsed, x, strict=True)]
        return torch.stack(bodies), torch.stack(hats)

    def inside(self, x: Tensor) -> Tensor:
        """Whether points (P, N, 3) lie in body or hat, (P, N)."""
        return torch.minimum(*self.distances(x)) < 0

    def forward(self, w: Tensor, x: Tensor) -> tuple[Tensor, Tensor]:
        body, hat = self.distances(x)
        distance = torch.minimum(body, hat)
        density = self.DENSITY * torch.sigmoid(-distance / self.SOFTNESS)
        colours = torch.tensor([COLOURS[colour] for colour, _, _ in self.parsed], device=x.device)
        hat_colour = torch.tensor(HAT_COLOUR, device=x.device)
        albedo = torch.where((hat < body)[..., None], hat_colour, colours[:, None])
        rgb = torch.ones_like(x)
        light = normalize(torch.tensor(LIGHT, device=x.device), dim=0)
        for p in range(len(x)):  # prompts differ in their functions; only where something is seen
            seen = (distance[p] < 4 * self.SOFTNESS).nonzero()[:, 0]
            shade = 0.55 + 0.45 * (self.gradient(p, x[p, seen]) @ light).clamp(min=0)
            rgb[p, seen] = albedo[p, seen] * shade[:, None]
        return density, rgb

    def gradient(self, p: int, x: Tensor, step: float = 1e-3) -> Tensor:
        """Unit normals (N, 3) of prompt p at x (N, 3), by differences towards the corners of a tetrahedron."""
        _, body, hat = self.parsed[p]
        corners = torch.tensor([[1.0, -1, -1], [-1, -1, 1], [-1, 1, -1], [1, 1, 1]], device=x.device)
        total = torch.zeros_like(x)
        for corner in corners:
            moved = x + step * corner
            total = total + corner * torch.minimum(BODIES[body](moved), HATS[hat](moved))[:, None]
        return normalize(total, dim=-1)


@torch.no_grad()
def render_truth(prompts: list[str], cameras: Cameras, resolution: int = 16, samples: int = 48) -> Tensor:
    """True images (P, V, 3, H, W) on white by cameras (P, V)."""
    renderer = VolumeRenderer(samples, resolution)
    images = []
    for row, prompt in enumerate(prompts):  # one at a time bounds memory
        own = Cameras(*(getattr(cameras, n)[row : row + 1] for n in Cameras.__dataclass_fields__))
        images.append(renderer.render(ShapeField([prompt]), torch.zeros(1, 1), own).rgb)
    return torch.cat(images)


@lru_cache(maxsize=4)
def true_views(each: int, views: int, resolution: int, seed: int) -> tuple[Tensor, list[str], Tensor]:
    """Images (P · V, 3, H, W), captions and view buckets (P · V,) of all shapes from random cameras."""
    prompts = shape_prompts(each)
    cameras = VIEWING(len(prompts), views, torch.Generator().manual_seed(seed))
    images = render_truth(prompts, cameras, resolution).flatten(0, 1)
    captions = [prompt for prompt in prompts for _ in range(views)]
    return images, captions, view_buckets(cameras.elevation, cameras.azimuth).flatten()
