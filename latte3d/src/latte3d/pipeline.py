"""Prompts to textured meshes in one forward pass, from a checkpoint of any stage; no library, no prior."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from pathlib import Path

import torch
from torch import Tensor, nn

from .bake import bake_texture
from .checkpoints import load_networks
from .networks import Fields, Latte3D, dummy_cloud
from .surface import extract
from .textured_mesh import TexturedMesh, vertex_colored


class Latte3DPipeline:
    """Networks with their text encoder.

    Args:
        networks, text: as they were trained together. points: of the dummy cloud. cells: of the isosurface's grid.
        texels: resolution of baked textures; null: colours at vertices, which is faster.
    After a call, `seconds` has what its parts took: text, networks, surface, colours.
    """

    def __init__(
        self, networks: Latte3D, text: nn.Module, points: int = 512, cells: int = 48, texels: int | None = None
    ):
        self.networks, self.text = networks.eval(), text
        self.dummy, self.cells, self.texels = dummy_cloud(points), cells, texels
        self.seconds: dict[str, float] = {}

    @classmethod
    def from_pretrained(
        cls, path: str | Path | None = None, cells: int = 48, texels: int | None = None
    ) -> Latte3DPipeline:
        """Of a checkpoint that `latte3d fit` wrote, or of a folder of weights; None: the packaged networks."""
        networks, text, sizes = load_networks(path)
        return cls(networks, text, sizes.points, cells, texels)

    @torch.no_grad()
    def __call__(
        self, prompts: Sequence[str], point_clouds: Tensor | None = None, alpha: float | Tensor | None = None
    ) -> list[TexturedMesh]:
        """One mesh for each prompt.

        Args:
            point_clouds: (B, N, 6) xyz and rgb of shapes to follow; the dummy sphere where none are given.
            alpha: weight of the shape against the text, for networks that were trained with it.
        Raises:
            ValueError: unknown words, clouds that do not fit, or a field without a surface.
        """
        self.seconds = {}
        device = next(self.networks.parameters()).device
        text = self._timed("text", lambda: self.text(prompts).to(device))
        clouds = self.dummy.expand(len(prompts), -1, -1) if point_clouds is None else point_clouds
        clouds = clouds.to(device)
        weight = None if alpha is None else torch.as_tensor(alpha, dtype=clouds.dtype, device=device)
        weight = None if weight is None else weight.expand(len(prompts))
        fields = self._timed("networks", lambda: self.networks(clouds, text, weight))
        surfaces = self._timed("surface", lambda: extract(fields, self.cells))
        return self._timed("colours", lambda: [self._colored(fields, i, *mesh) for i, mesh in enumerate(surfaces)])

    def _colored(self, fields: Fields, index: int, vertices: Tensor, faces: Tensor) -> TexturedMesh:
        one = fields[index : index + 1]

        def color(points: Tensor) -> Tensor:
            return one.color(points.to(one.texture)[None])[0].cpu()

        vertices, faces = vertices.cpu(), faces.cpu()

        if self.texels is None:
            return vertex_colored(vertices, faces, color)
        return bake_texture(vertices, faces, color, self.texels)

    def _timed(self, part: str, work: Callable):
        start = time.perf_counter()
        result = work()
        if torch.cuda.is_available():
            torch.cuda.synchronize()
        self.seconds[part] = time.perf_counter() - start
        return result
