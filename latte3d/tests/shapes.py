"""Small meshes for tests."""

import torch
import trimesh


def icosphere(subdivisions, radius=0.6, dtype=torch.float32):
    mesh = trimesh.creation.icosphere(subdivisions=subdivisions, radius=radius)
    return torch.as_tensor(mesh.vertices, dtype=dtype), torch.as_tensor(mesh.faces, dtype=torch.long)


def torus(sections, dtype=torch.float32):
    mesh = trimesh.creation.torus(0.55, 0.2, major_sections=2 * sections, minor_sections=sections)
    turn = trimesh.transformations.rotation_matrix(0.9, [1, 0.3, 0.2])
    mesh.apply_transform(turn)
    return torch.as_tensor(mesh.vertices.copy(), dtype=dtype), torch.as_tensor(mesh.faces.copy(), dtype=torch.long)


def box(subdivisions, dtype=torch.float32):
    mesh = trimesh.creation.box(extents=(0.9, 0.8, 0.7))
    for _ in range(subdivisions):
        mesh = mesh.subdivide()
    return torch.as_tensor(mesh.vertices.copy(), dtype=dtype), torch.as_tensor(mesh.faces.copy(), dtype=torch.long)


def quad(z=0.0, half=0.5):
    vertices = torch.tensor([[-half, -half, z], [half, -half, z], [half, half, z], [-half, half, z]])
    return vertices, torch.tensor([[0, 1, 2], [0, 2, 3]])
