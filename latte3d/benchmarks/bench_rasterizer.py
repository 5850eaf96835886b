"""The torch rasterizer beside what one would use instead: python benchmarks/bench_rasterizer.py [--quick]

- time to find each pixel's face: ours, all faces at all pixels, trimesh's ray casting, and nvdiffrast on a GPU
- the gradient of coverage in the object's scale by our silhouettes and by pixel pairs, as a share of the true one
- marching tetrahedra beside scikit-image's marching cubes at equal resolution
"""

from __future__ import annotations

import argparse
import importlib.util
import time
from collections.abc import Callable
from itertools import product

import numpy as np
import torch
import trimesh
from pixel_pair import antialias_by_pixel_pairs
from scipy.spatial import ConvexHull
from skimage.measure import marching_cubes

from latte3d.antialias import antialias
from latte3d.cameras import ring
from latte3d.marching_tetrahedra import grid_vertices, isosurface
from latte3d.rasterizer import get_rasterizer, interpolate, pack
from latte3d.torch_rasterizer import TorchRasterizer, edge_weights, to_screen

CAMERA = ring(1, elevation=25, start=20)
PAIRS = 3e7  # of faces and pixels: with more, the methods that look at all of them take minutes and are left out


CLOCK = time.perf_counter if torch.cuda.is_available() else time.process_time  # the latter: whatever else is running


def seconds(work: Callable, repeats: int) -> float:
    """The fastest of several runs, of the processor where there is no GPU."""
    taken = []
    for _ in range(repeats):
        start = CLOCK()
        work()
        if torch.cuda.is_available():
            torch.cuda.synchronize()
        taken.append(CLOCK() - start)
    return min(taken)


def sphere(level: int, dtype=torch.float32):
    mesh = trimesh.creation.icosphere(subdivisions=level, radius=0.6)
    return torch.as_tensor(mesh.vertices.copy(), dtype=dtype), torch.as_tensor(mesh.faces.copy())


def all_pairs(clip, faces, size: int, chunk: int = 256):
    """Every face against every pixel, a chunk of pixels at a time; (size²,) face + 1."""
    screen, z = to_screen(clip, (size, size))[faces], (clip[:, 2] / clip[:, 3])[faces]
    y, x = torch.meshgrid(torch.arange(size), torch.arange(size), indexing="ij")
    points = (torch.stack([x, y], -1) + 0.5).to(clip).reshape(-1, 2)
    found = []
    for part in points.split(chunk):
        corners = screen.expand(len(part), -1, -1, -1).reshape(-1, 3, 2)
        weights = edge_weights(corners, part.repeat_interleave(len(faces), 0)).view(len(part), -1, 3)
        weights = weights / weights.sum(-1, keepdim=True)
        depth = torch.where((weights >= 0).all(-1), (weights * z).sum(-1), torch.inf)
        nearest = depth.min(-1)
        found.append(torch.where(nearest.values.isfinite(), nearest.indices + 1, 0))
    return torch.cat(found)


def visibility(levels, sizes, repeats: int) -> None:
    print("seconds to find the face of every pixel, one image")
    print(f"{'faces':>7} {'pixels':>7} {'ours':>10} {'all pairs':>10} {'trimesh':>10} {'nvdiffrast':>10}")
    for level, size in product(levels, sizes):
        vertices, faces = sphere(level)
        cells = [
            f"{value:>10.4f}" if value is not None else f"{'-':>10}" for value in row(vertices, faces, size, repeats)
        ]
        print(f"{len(faces):>7} {size:>7} {' '.join(cells)}", flush=True)


def row(vertices, faces, size: int, repeats: int) -> list[float | None]:
    """Seconds of all methods for one picture."""
    packed = pack([(vertices, faces)])
    clip = packed.clip(CAMERA)
    mesh = trimesh.Trimesh(vertices.numpy(), faces.numpy(), process=False)
    slow = len(faces) * size**2 > PAIRS
    origins, directions = (part[0].reshape(-1, 3).numpy() for part in CAMERA.rays(size))
    return [
        seconds(lambda: TorchRasterizer().rasterize(clip, packed, (size, size)), repeats),
        None if slow else seconds(lambda: all_pairs(clip, faces, size), 1),
        None if slow else seconds(lambda: mesh.ray.intersects_first(origins, directions), 1),
        on_gpu(packed, size, repeats),
    ]


def on_gpu(packed, size: int, repeats: int) -> float | None:
    """nvdiffrast's time, None where it is not installed or there is no GPU."""
    if importlib.util.find_spec("nvdiffrast") is None or not torch.cuda.is_available():
        return None
    backend = get_rasterizer("nvdiffrast")
    there = packed._replace(**{name: getattr(packed, name).cuda() for name in packed._fields if name != "images"})
    clip = there.clip(CAMERA.to("cuda"))
    return seconds(lambda: backend.rasterize(clip, there, (size, size)), repeats)


def outline_area(vertices, size: int) -> float:
    packed = pack([(vertices, torch.tensor([[0, 1, 2]]))])
    return ConvexHull(to_screen(packed.clip(CAMERA), (size, size)).numpy()).volume


def gradients(levels, size: int) -> None:
    print(f"\ngradient of a sphere's coverage in its scale at {size} pixels, as a share of that of its outline")
    print(f"{'faces':>7} {'silhouettes':>12} {'pixel pairs':>12}")
    for level in levels:
        vertices, faces = sphere(level, torch.double)
        step = 1e-4
        truth = (outline_area(vertices * (1 + step), size) - outline_area(vertices * (1 - step), size)) / (2 * step)
        row = []
        for method in (antialias, antialias_by_pixel_pairs):
            scale = torch.ones((), dtype=torch.double, requires_grad=True)
            packed = pack([(vertices * scale, faces)])
            clip = packed.clip(CAMERA)
            raster = TorchRasterizer().rasterize(clip, packed, (size, size))
            picture = method(interpolate(torch.ones_like(vertices[:, :1]), faces, raster), raster, clip, packed)
            row.append(torch.autograd.grad(picture.sum(), scale)[0].item() / truth)
        print(f"{len(faces):>7} {row[0]:>12.3f} {row[1]:>12.3f}")


def surfaces(resolutions, repeats: int) -> None:
    print("\nseconds to extract a sphere, and the error of its volume")
    print(f"{'cells':>7} {'tetrahedra':>11} {'faces':>8} {'error':>8} {'cubes':>9} {'faces':>8} {'error':>8}")
    for n in resolutions:
        field = (grid_vertices(n).norm(dim=-1) - 0.6).view(n + 1, n + 1, n + 1)
        numbers = []
        for extract in (
            lambda field=field: tuple(part.numpy() for part in isosurface(field)),
            lambda field=field, n=n: marching_cubes(field.numpy(), 0.0, spacing=(2 / n,) * 3)[:2],
        ):
            vertices, faces = extract()
            a, b, c = (vertices[faces[:, i]].astype(np.float64) for i in range(3))
            volume = abs((a * np.cross(b, c)).sum()) / 6
            numbers += [seconds(extract, repeats), len(faces), volume / (4 / 3 * np.pi * 0.6**3) - 1]
        print("{:>7} {:>11.4f} {:>8} {:>8.2%} {:>9.4f} {:>8} {:>8.2%}".format(n, *numbers))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="small sizes alone")
    quick = parser.parse_args().quick
    torch.set_num_threads(1)
    visibility((3,) if quick else (3, 4, 5), (64,) if quick else (64, 128, 256), 3)
    gradients((3, 4) if quick else (3, 4, 5), 64)
    surfaces((24, 32) if quick else (32, 64, 128), 3)


if __name__ == "__main__":
    main()
