"""Coverage and its gradients at silhouettes, against the exact area of the projected outline."""

import pytest
import shapes
import torch
from scipy.spatial import ConvexHull

from latte3d.antialias import antialias
from latte3d.cameras import ring
from latte3d.rasterizer import interpolate, pack
from latte3d.torch_rasterizer import TorchRasterizer, to_screen

CAMERA = ring(1, elevation=25, start=20, relative_distance=1.1)
DISTANCES = (0.9, 0.95, 1.0, 1.05, 1.1, 1.15, 1.2)


def coverage(vertices, faces, size, colors=None, camera=CAMERA):
    """The picture (B, size, size, C) of a mesh, white where no colours are given."""
    packed = pack([(vertices, faces)])
    clip = packed.clip(camera)
    raster = TorchRasterizer().rasterize(clip, packed, (size, size))
    colors = torch.ones_like(vertices[:, :1]) if colors is None else colors
    return antialias(interpolate(colors, packed.faces, raster), raster, clip, packed)


def outline_area(vertices, size, camera=CAMERA):
    """Pixels inside the projected convex hull."""
    packed = pack([(vertices, torch.tensor([[0, 1, 2]]))])
    return ConvexHull(to_screen(packed.clip(camera), (size, size)).numpy()).volume


def derivative_of_scale(vertices, faces, size, camera=CAMERA):
    scale = torch.ones((), dtype=vertices.dtype, requires_grad=True)
    return torch.autograd.grad(coverage(vertices * scale, faces, size, camera=camera).sum(), scale)[0].item()


@pytest.mark.parametrize(
    ("make", "level", "size"),
    [
        (shapes.icosphere, 3, 64),  # 1,280 faces
        (shapes.icosphere, 4, 64),  # 5,120
        (shapes.icosphere, 5, 64),  # 20,480: smaller than pixels
        (shapes.icosphere, 5, 128),
        (shapes.box, 3, 64),  # 768
        (shapes.box, 5, 64),  # 12,288
    ],
)
def test_coverage_and_its_gradient_are_those_of_the_outline(make, level, size):
    """One picture is right to a few percent, by the pixel centres that its outline passes; the mean to three."""
    vertices, faces = make(level, dtype=torch.double)
    ratios, step = [], 1e-4
    for distance in DISTANCES:
        camera = ring(1, elevation=25, start=20, relative_distance=distance)
        area = outline_area(vertices, size, camera)
        assert coverage(vertices, faces, size, camera=camera).sum().item() == pytest.approx(area, rel=0.01)
        larger, smaller = (outline_area(vertices * (1 + s), size, camera) for s in (step, -step))
        ratios.append(derivative_of_scale(vertices, faces, size, camera) * 2 * step / (larger - smaller))
    assert sum(ratios) / len(ratios) == pytest.approx(1, abs=0.03)
    assert min(ratios) > 0.94 and max(ratios) < 1.06


@pytest.mark.parametrize("sections", [16, 32, 70])  # 1,024, 4,096 and 19,600 faces
def test_the_gradient_of_a_torus_is_that_of_finite_differences(sections):
    """Its hole is a second outline, and parts of its outlines are hidden."""
    vertices, faces = shapes.torus(sections, dtype=torch.double)
    step = 0.02  # about half a pixel at the rim: the coverage of single pixels is then averaged over
    higher, lower = (coverage(vertices * (1 + s), faces, 64).sum().item() for s in (step, -step))
    assert derivative_of_scale(vertices, faces, 64) == pytest.approx((higher - lower) / (2 * step), rel=0.05)


def test_a_shift_has_the_gradient_of_the_picture_on_its_weight():
    """d/dx of the sum of x-weighted coverage of a moving object is its area: the centroid moves along."""
    vertices, faces = shapes.icosphere(4, dtype=torch.double)
    weight = torch.arange(64, dtype=torch.double).view(1, 1, 64, 1) + 0.5

    def moment(shift):
        packed = pack([(vertices, faces)])
        clip = packed.clip(CAMERA)
        clip = torch.stack([clip[:, 0] + shift * clip[:, 3], *clip[:, 1:].unbind(1)], 1)
        raster = TorchRasterizer().rasterize(clip, packed, (64, 64))
        picture = antialias(interpolate(torch.ones_like(vertices[:, :1]), packed.faces, raster), raster, clip, packed)
        return (picture * weight).sum(), picture.sum()

    shift = torch.zeros((), dtype=torch.double, requires_grad=True)
    first, area = moment(shift)
    assert torch.autograd.grad(first, shift)[0].item() == pytest.approx(area.item() * 32, rel=0.02)  # 1 ndc: 32 pixels


def test_colours_stay_in_the_hull(generator):
    vertices, faces = shapes.torus(24)
    colors = torch.rand(len(vertices), 3, generator=generator)
    picture = coverage(vertices, faces, 48, colors)
    assert picture.min() >= -1e-6 and picture.max() <= 1 + 1e-6


def test_inner_edges_and_hidden_ones_change_nothing():
    """A sphere behind a larger square seen from the front: only the square's border is antialiased."""
    ball, ball_faces = shapes.icosphere(2, radius=0.2)
    square, square_faces = shapes.quad(0.5, 0.5)
    turn = CAMERA.to_world[0, :3, :3].T
    scene = torch.cat([square, ball]) @ turn
    faces = torch.cat([square_faces, ball_faces + 4])
    torch.testing.assert_close(coverage(scene, faces, 48), coverage(square @ turn, square_faces, 48), atol=1e-6, rtol=0)


def test_a_fold_in_front_of_its_own_surface_is_antialiased():
    """A white square before a black one: the gradient of brightness in the white one's scale is its own outline's."""
    near, far = shapes.quad(0.5, 0.3), shapes.quad(0.0, 0.8)
    turn = CAMERA.to_world[0, :3, :3].T.double()
    faces = torch.cat([near[1], far[1] + 4])
    colors = torch.tensor([1.0] * 4 + [0.0] * 4, dtype=torch.double)[:, None]

    def bright(scale):
        grown = near[0].double() * torch.stack([scale, scale, torch.ones_like(scale)])
        return coverage(torch.cat([grown, far[0].double()]) @ turn, faces, 64, colors).sum()

    scale = torch.ones((), dtype=torch.double, requires_grad=True)
    value = bright(scale)
    assert torch.autograd.grad(value, scale)[0].item() == pytest.approx(2 * value.item(), rel=0.05)  # area ~ scale²


def test_a_picture_of_another_size_is_refused():
    packed = pack([shapes.quad()])
    clip = packed.clip(CAMERA)
    raster = TorchRasterizer().rasterize(clip, packed, (8, 8))
    with pytest.raises(ValueError, match=r"the picture is \(1, 4, 4\), the raster \(1, 8, 8\)"):
        antialias(torch.zeros(1, 4, 4, 1), raster, clip, packed)
