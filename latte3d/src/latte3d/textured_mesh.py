"""Meshes with colours: at vertices, or in a texture by UV coordinates; to and from GLB, glTF and OBJ."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
import trimesh
from PIL import Image
from torch import Tensor
from torch.nn import functional as F
from trimesh.visual.material import PBRMaterial

from .cameras import Cameras
from .rasterizer import Rasterizer, get_rasterizer, interpolate, pack
from .results import whole
from .surface import SurfaceRendering, render_surface, sample_surface

GREY = 0.6


@dataclass(frozen=True)
class TexturedMesh:
    """vertices (V, 3), y up; faces (F, 3); and either colors (V, 3), or uvs (V, 2) with texture (H, W, 3), RGB in
    [0, 1], v up as in OBJ and OpenGL: the texture's first row is v = 1.

    Raises:
        ValueError: no faces, shapes that do not fit, values that are not finite, or neither or both kinds of colour.
    """

    vertices: Tensor
    faces: Tensor
    colors: Tensor | None = None
    uvs: Tensor | None = None
    texture: Tensor | None = None

    def __post_init__(self):
        count = len(self.vertices)
        if self.vertices.shape != (count, 3) or self.faces.ndim != 2 or self.faces.shape[1] != 3 or not len(self.faces):
            shapes = tuple(self.vertices.shape), tuple(self.faces.shape)
            raise ValueError(f"expected vertices (V, 3) and at least one face (F, 3), got {shapes[0]} and {shapes[1]}")
        if not torch.isfinite(self.vertices).all():
            raise ValueError("a mesh has vertices that are not finite")
        by_vertex, by_texture = self.colors is not None, self.uvs is not None and self.texture is not None
        if by_vertex == by_texture:
            raise ValueError("expected colors, or uvs and texture, and not both")
        given = self.colors if by_vertex else self.uvs
        if given.shape != (count, 3 if by_vertex else 2):
            raise ValueError(f"expected colours of {count} vertices, got {tuple(given.shape)}")

    def shade(self, raster) -> Tensor:
        """Colours that pixels see, (N, S, S, 3), of this mesh packed once for each image."""
        images = len(raster.tri_id)
        attribute = self.colors if self.colors is not None else self.uvs
        faces = torch.cat([self.faces + i * len(self.vertices) for i in range(images)])
        found = interpolate(attribute.repeat(images, 1), faces, raster)
        return found if self.colors is not None else self.texture_at(found)

    def texture_at(self, uvs: Tensor) -> Tensor:
        """Bilinear colours (..., 3) at (..., 2); outside of the unit square the texture repeats."""
        uvs = torch.where((uvs < 0) | (uvs > 1), uvs - uvs.floor(), uvs)
        at = torch.stack([uvs[..., 0] * 2 - 1, 1 - 2 * uvs[..., 1]], -1).reshape(1, -1, 1, 2)
        found = F.grid_sample(self.texture.movedim(-1, 0)[None], at, padding_mode="border", align_corners=False)
        return found.squeeze(-1).squeeze(0).T.reshape(*uvs.shape[:-1], 3)

    def render(
        self, cameras: Cameras, size: int, background: Tensor | None = None, rasterizer: Rasterizer | None = None
    ) -> SurfaceRendering:
        """Pictures from cameras, white behind unless told otherwise."""
        behind = torch.ones(3) if background is None else background
        packed = pack([(self.vertices, self.faces)], views=len(cameras.fov), welded=True)
        drawn = rasterizer or get_rasterizer("torch")
        return render_surface(packed, cameras, size, lambda _, raster: self.shade(raster), behind, drawn)

    def sample(self, points: int, generator: torch.Generator) -> tuple[Tensor, Tensor, Tensor]:
        """Points spread over the surface: positions (points, 3), colours (points, 3) and faces (points,)."""
        position, face, bary = sample_surface(self.vertices, self.faces, points, generator)
        attribute = self.colors if self.colors is not None else self.uvs
        found = (bary[..., None] * attribute[self.faces[face]]).sum(1)
        return position, found if self.colors is not None else self.texture_at(found), face

    def cloud(self, points: int, generator: torch.Generator) -> Tensor:
        """Coloured points on the surface, (points, 6)."""
        return torch.cat(self.sample(points, generator)[:2], -1)

    def normalised(self, radius: float = 0.9) -> TexturedMesh:
        """Centred by its box and scaled so that the farthest vertex is at `radius`."""
        centred = self.vertices - (self.vertices.amax(0) + self.vertices.amin(0)) / 2
        scaled = centred * (radius / centred.norm(dim=-1).max().clamp(min=1e-12))
        return TexturedMesh(scaled, self.faces, self.colors, self.uvs, self.texture)

    def to_trimesh(self) -> trimesh.Trimesh:
        """The same vertices and faces, unmerged, with vertex colours or a PBR texture."""
        if self.colors is not None:
            visual = trimesh.visual.ColorVisuals(vertex_colors=_bytes(self.colors))
        else:
            image = Image.fromarray(_bytes(self.texture))
            material = PBRMaterial(baseColorTexture=image, metallicFactor=0.0, roughnessFactor=1.0)
            visual = trimesh.visual.TextureVisuals(uv=self.uvs.detach().cpu().numpy(), material=material)
        arrays = self.vertices.detach().cpu().numpy(), self.faces.cpu().numpy()
        return trimesh.Trimesh(*arrays, visual=visual, process=False)

    def export(self, path: str | Path) -> list[Path]:
        """Write .glb, or .obj with its .mtl and .png beside it; the files' paths, the mesh first.

        Raises:
            ValueError: another ending.
        """
        path = Path(path)
        ending = path.suffix.lower()
        if ending not in (".glb", ".obj"):
            raise ValueError(f"{path}: expected a name that ends in .glb or .obj")
        if ending == ".glb":
            return [_write(path, trimesh.Scene(self.to_trimesh()).export(file_type="glb"))]
        mesh = self.to_trimesh()
        if self.texture is not None:
            mesh.visual.material = mesh.visual.material.to_simple()
            mesh.visual.material.name = path.stem  # names the picture: several meshes may share a folder
        text, others = trimesh.exchange.obj.export_obj(
            mesh, include_texture=True, return_texture=True, mtl_name=f"{path.stem}.mtl"
        )
        return [_write(path, text.encode()), *(_write(path.parent / name, data) for name, data in others.items())]


def _bytes(colors: Tensor) -> np.ndarray:
    return (colors.detach().clamp(0, 1) * 255).round().to(torch.uint8).cpu().numpy()


def _write(path: Path, data: bytes) -> Path:
    with whole(path) as temporary:
        temporary.write_bytes(data)
    return path


def read_mesh(path: str | Path) -> TexturedMesh:
    """A GLB, glTF, OBJ, PLY or STL file, its scene's nodes placed by their transforms.

    Colours come from the texture, the vertices or the material, in this order; grey where there are none.

    Raises:
        FileNotFoundError: no such file.
        ValueError: it cannot be read, or has no faces, no area, or coordinates that are not finite; the file is named.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"{path}: no such file")
    try:
        scene = trimesh.load_scene(str(path), process=False)
        parts = [part for part in scene.dump() if isinstance(part, trimesh.Trimesh) and len(part.faces)]
    except Exception as error:  # trimesh's readers raise whatever a broken file makes them stumble over
        raise ValueError(f"{path} cannot be read as a mesh: {type(error).__name__}: {error}") from error
    if not parts:
        raise ValueError(f"{path} has no faces")
    mesh = parts[0] if len(parts) == 1 else trimesh.util.concatenate(parts)
    if not np.isfinite(mesh.vertices).all():
        raise ValueError(f"{path} has coordinates that are not finite")
    if not mesh.area > 0:
        raise ValueError(f"{path} has faces, but no area")
    return from_trimesh(mesh)


def from_trimesh(mesh: trimesh.Trimesh) -> TexturedMesh:
    """With its texture where it has one, with vertex colours otherwise."""
    vertices = torch.tensor(np.array(mesh.vertices), dtype=torch.float32)
    faces = torch.tensor(np.array(mesh.faces), dtype=torch.long)
    visual = mesh.visual
    if isinstance(visual, trimesh.visual.TextureVisuals) and visual.uv is not None:
        material = visual.material
        image = getattr(material, "baseColorTexture", None) or getattr(material, "image", None)
        if image is not None:
            pixels = torch.tensor(np.asarray(image.convert("RGB")).copy(), dtype=torch.float32) / 255
            uvs = torch.tensor(np.array(visual.uv[:, :2]), dtype=torch.float32)
            factor = getattr(material, "baseColorFactor", None)
            if factor is not None:  # glTF multiplies the two
                pixels = pixels * torch.tensor(np.array(factor)[:3].astype(np.float32)) / 255
            return TexturedMesh(vertices, faces, uvs=uvs, texture=pixels)
    if visual.kind is None:  # no colour at all
        return TexturedMesh(vertices, faces, colors=torch.full_like(vertices, GREY))
    colors = visual.to_color() if isinstance(visual, trimesh.visual.TextureVisuals) else visual
    rgb = torch.tensor(np.array(colors.vertex_colors)[:, :3].copy(), dtype=torch.float32) / 255
    return TexturedMesh(vertices, faces, colors=rgb.expand_as(vertices).clone())


def vertex_colored(vertices: Tensor, faces: Tensor, color: Callable[[Tensor], Tensor]) -> TexturedMesh:
    """The fast path: colours (V, 3) at the vertices alone."""
    return TexturedMesh(vertices, faces, colors=color(vertices))
