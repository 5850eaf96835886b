"""Verbs on one's own prompts, meshes and checkpoints: generate, stylize, optimize, render and evaluate."""

from __future__ import annotations

import time
from pathlib import Path

import torch
from PIL import Image

from .baselines import constant_iou, nearest_caption_iou
from .cameras import ring
from .checkpoints import load_networks, write_weights
from .data import ProceduralData
from .metrics import volume_iou
from .networks import dummy_cloud
from .optimization import optimise
from .pipeline import Latte3DPipeline
from .results import whole
from .textured_mesh import TexturedMesh, read_mesh


def generate(
    prompt: str,
    *,
    ckpt_path: str | None = None,
    out: str = "mesh.glb",
    alpha: float | None = None,
    cells: int = 48,
    texels: int | None = None,
) -> int:
    """Make a mesh from PROMPT in one forward pass and write it to a file, saying where the time went.

    Args:
        prompt: What to make, in words that the model was trained with.
        ckpt_path: Weights of any stage; left out: the packaged networks.
        out: The file to write, .glb or .obj.
        alpha: Weight of the shape against the text, for networks trained with an amortised alpha.
        cells: Cells along each side of the isosurface's grid.
        texels: Bake a texture of so many texels along each side; without it vertices are coloured.
    """
    check_ending(out)
    start = time.perf_counter()
    pipeline = Latte3DPipeline.from_pretrained(ckpt_path, cells, texels)
    loading = time.perf_counter() - start
    (mesh,) = pipeline([prompt], alpha=alpha)
    write(mesh, out, {"loading": loading, **pipeline.seconds})
    return 0


def stylize(
    mesh: str,
    prompt: str,
    *,
    ckpt_path: str | None = None,
    out: str = "mesh.glb",
    alpha: float | None = None,
    cells: int = 48,
    seed: int = 0,
) -> int:
    """Make a mesh from PROMPT that follows the shape of MESH, and write it to a file.

    Args:
        mesh: GLB, glTF, OBJ, PLY or STL; it is centred and scaled.
        prompt: What to make of it.
        ckpt_path: Weights of any stage; left out: the packaged networks.
        out: The file to write, .glb or .obj.
        alpha: Weight of the shape against the text, for networks trained with an amortised alpha.
        cells: Cells along each side of the isosurface's grid.
        seed: Of the points that are drawn on the mesh.
    """
    check_ending(out)
    pipeline = Latte3DPipeline.from_pretrained(ckpt_path, cells)
    cloud = read_mesh(mesh).normalised().cloud(len(pipeline.dummy), torch.Generator().manual_seed(seed))
    (made,) = pipeline([prompt], cloud[None], alpha)
    write(made, out, pipeline.seconds)
    return 0


def optimize(
    prompt: str,
    *,
    ckpt_path: str | None = None,
    out: str = "mesh.glb",
    prior: str | None = None,
    steps: int = 100,
    mesh: str | None = None,
) -> int:
    """Go on training on PROMPT alone, from the amortised weights of stage 1 or 2, and write the mesh to a file.

    Args:
        prompt: What to make.
        ckpt_path: Weights of stage 1, or of stage 2, whose colours alone go on; left out: the packaged ones (stage 2).
        out: The file to write, .glb or .obj.
        prior: The path of a multi-view prior for stage 1, of a depth-conditioned one for stage 2; null: the packaged.
        steps: Of the optimisation; the paper takes up to 600.
        mesh: Follow the cloud of this mesh instead of the dummy sphere.
    """
    check_ending(out)
    _, _, sizes = load_networks(ckpt_path)
    cloud = dummy_cloud(sizes.points)
    if mesh is not None:
        cloud = read_mesh(mesh).normalised().cloud(sizes.points, torch.Generator().manual_seed(0))
    start = time.perf_counter()
    pipeline = optimise(ckpt_path, prompt, prior, steps, cloud)
    seconds = {"optimisation": time.perf_counter() - start}
    (made,) = pipeline([prompt], cloud[None])
    write(made, out, seconds | pipeline.seconds)
    return 0


def render(mesh: str, *, out: str = "views.png", views: int = 4, size: int = 256, elevation: float = 20.0) -> int:
    """Draw MESH from all around into one picture, on the CPU.

    Args:
        mesh: GLB, glTF, OBJ, PLY or STL; it is centred and scaled.
        out: The picture to write, views side by side.
        views: Number of cameras.
        size: Height of each view in pixels.
        elevation: Of the cameras, in degrees.
    """
    if views < 1 or size < 1:
        raise ValueError(f"expected at least one view of one pixel, got {views} views of {size}")
    pictures = read_mesh(mesh).normalised().render(ring(views, elevation, relative_distance=1.2), size).color
    row = (torch.cat(list(pictures), 1).clamp(0, 1) * 255).round().byte()
    with whole(out) as temporary:
        Image.fromarray(row.numpy()).save(temporary, format="PNG")
    print(f"{views} views of {mesh}: {out}")
    return 0


def evaluate(*, ckpt_path: str | None = None, held_out_each: int = 4, each: int = 4, seed: int = 0) -> int:
    """Score networks on held-out procedural shapes, beside a constant shape and the nearest caption's.

    Args:
        ckpt_path: Weights of any stage; left out: the packaged networks.
        held_out_each: Shapes of each of the nine held-out triples.
        each: Training shapes of each seen triple, for the baselines.
        seed: Of the shapes.
    """
    networks, text, sizes = load_networks(ckpt_path)
    data = ProceduralData(each, held_out_each, sets=1, size=8, points=sizes.points, seed=seed)
    data.setup()
    shapes, cells = data.held_out, data.cells
    words = text([captions[0] for captions in shapes.captions])
    corners = torch.cartesian_prod(*[torch.linspace(-1, 1, cells + 1)] * 3).expand(len(shapes.clouds), -1, -1)
    truth = shapes.volume[:, 0].flatten(1)
    with torch.inference_mode():
        alone = networks(dummy_cloud(sizes.points).expand(len(truth), -1, -1), words).sdf(corners)
        given = networks(shapes.clouds, words).sdf(corners)
    rows = {
        "text alone": volume_iou(alone, truth),
        "with the shape's own cloud": volume_iou(given, truth),
        "best constant shape": constant_iou(data.train, shapes),
        "nearest caption's shape": nearest_caption_iou(data.train, shapes, text),
    }
    print(f"volume IoU on {len(truth)} held-out shapes (mean ± standard error)")
    for name, iou in rows.items():
        print(f"  {name:28} {float(iou.mean()):.3f} ± {float(iou.std() / len(iou) ** 0.5):.3f}")
    return 0


def export_weights(ckpt_path: str, *, out: str = "weights") -> int:
    """The networks of a checkpoint alone, as safetensors in half precision, which the other verbs take as --ckpt_path.

    Args:
        ckpt_path: Weights of any stage.
        out: Folder for geometry.safetensors and texture.safetensors.
    """
    for path in write_weights(out, ckpt_path):
        print(f"{path.stat().st_size / 2**20:.2f} MiB: {path}")
    return 0


def write(mesh: TexturedMesh, out: str, seconds: dict[str, float]) -> None:
    """Export, and say what took how long."""
    start = time.perf_counter()
    files = mesh.export(out)
    seconds = {**seconds, "export": time.perf_counter() - start}
    parts = ", ".join(f"{name} {1000 * value:.0f}" for name, value in seconds.items())
    print(f"{len(mesh.vertices)} vertices, {len(mesh.faces)} faces: {', '.join(map(str, files))}")
    print(f"{1000 * sum(seconds.values()):.0f} ms ({parts})")


def check_ending(out: str) -> None:
    """Before any work: raises ValueError for another ending than .glb or .obj."""
    if Path(out).suffix.lower() not in (".glb", ".obj"):
        raise ValueError(f"{out}: expected a name that ends in .glb or .obj")
