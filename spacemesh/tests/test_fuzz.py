"""A damaged file is read as something, or refused by a message that names it; nothing else is raised."""

import json

import numpy as np
import pytest
import shapes
import torch
from damages import SoundFile, damages
from hypothesis import given, settings

from spacemesh.cache import save_state
from spacemesh.checkpoints import load_model, write_weights
from spacemesh.data import ShapeNetCore
from spacemesh.files import read_polygons, write_mesh
from spacemesh.training import ConnectivityTraining
from spacemesh.verbs import polygons

SMALL = {"width": 8, "layers": 1, "heads": 2, "space": 3, "time": 1, "permutation": 2}


def mesh_file(suffix):
    return lambda folder: write_mesh(folder / f"mesh{suffix}", shapes.cube())


def binary_ply(folder):
    header = "ply\nformat binary_little_endian 1.0\nelement vertex 3\nproperty float x\nproperty float y\n"
    header += "property float z\nelement face 1\nproperty list uchar int vertex_indices\nend_header\n"
    face = np.array([0, 1, 2], "<i4").tobytes()
    (folder / "mesh.ply").write_bytes(header.encode() + np.eye(3, dtype="<f4").tobytes() + b"\x03" + face)
    return folder / "mesh.ply"


def ascii_stl(folder):
    corners = "".join(f"vertex {x} {y} 0\n" for x, y in ((0, 0), (1, 0), (0, 1)))
    (folder / "mesh.stl").write_text(
        f"solid s\nfacet normal 0 0 1\nouter loop\n{corners}endloop\nendfacet\nendsolid s\n"
    )
    return folder / "mesh.stl"


def npz(folder):
    np.savez(folder / "mesh.npz", vertices=np.eye(3), facets=np.array([[0, 1, 2]]))
    return folder / "mesh.npz"


def lightning_checkpoint(folder):
    state = ConnectivityTraining(**SMALL).state_dict()
    torch.save({"epoch": 0, "state_dict": state, "hyper_parameters": SMALL}, folder / "last.ckpt")
    return folder / "last.ckpt"


def demo_checkpoint(folder):
    state = ConnectivityTraining(**SMALL).state_dict()
    save_state(folder / "connectivity.pt", json.dumps({"model": {"init_args": SMALL}}), {"state_dict": state})
    return folder / "connectivity.pt"


def weights(folder):
    return write_weights(folder / "weights.safetensors", ConnectivityTraining(**SMALL))


def split_table(folder):
    (folder / "all.csv").write_text('id,synsetId,subSynsetId,modelId,split\n1,02691156,0,abc,"train"\n')
    return folder / "all.csv"


def edges(folder):
    (folder / "edges.json").write_text(
        json.dumps(
            {
                "positions": torch.eye(4, 3).tolist(),
                "edges": [[0, 1], [0, 2], [0, 3], [1, 2], [1, 3], [2, 3]],
                "normals": torch.eye(4, 3).tolist(),
            }
        )
    )
    return folder / "edges.json"


def model(path):
    return load_model(path, ConnectivityTraining)


FILES = {
    **{suffix: (mesh_file(suffix), read_polygons) for suffix in (".obj", ".ply", ".off", ".stl", ".glb")},
    "binary .ply": (binary_ply, read_polygons),
    "ascii .stl": (ascii_stl, read_polygons),
    ".npz": (npz, read_polygons),
    "lightning checkpoint": (lightning_checkpoint, model),
    "demo checkpoint": (demo_checkpoint, model),
    "weights": (weights, model),
    "ShapeNet's split": (split_table, lambda path: ShapeNetCore(str(path.parent)).listed_splits),
    "edges": (edges, lambda path: polygons(str(path), out=str(path.with_name("polygons.obj")))),
}


@pytest.fixture(scope="module", params=FILES)
def file(request, tmp_path_factory):
    """A sound file with its reader."""
    make, read = FILES[request.param]
    return SoundFile(make(tmp_path_factory.mktemp("fuzz")), read)


@settings(max_examples=60)
@given(damage=damages())
def test_a_damaged_file_is_read_or_refused_by_its_name(file, damage):
    file.path.write_bytes(damage(file.content))
    try:
        file.read(file.path)
    except (ValueError, FileNotFoundError) as error:
        assert file.path.name in str(error)
