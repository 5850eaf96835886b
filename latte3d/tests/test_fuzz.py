"""A damaged file is read as something, or refused by its name."""

import json

import pytest
import torch
import trimesh
from damages import SoundFile, damages
from hypothesis import given, settings

from latte3d.assets import read_captions, read_prompts
from latte3d.checkpoints import load_networks, write_weights
from latte3d.networks import Sizes
from latte3d.prior_files import read_prior, write_prior
from latte3d.priors import MultiViewDiffusionPrior
from latte3d.textured_mesh import read_mesh


def mesh_file(ending):
    def write(folder):
        trimesh.creation.box().export(str(folder / f"box{ending}"))
        return folder / f"box{ending}"

    return write


def text_file(name, text):
    def write(folder):
        (folder / name).write_text(text)
        return folder / name

    return write


def checkpoint(folder):
    sizes = Sizes(8, (8,), (4,), (8, 16), text_width=16, channels=4, hidden=8, points=32)
    given = {"sizes": vars(sizes), "surface": False, "words": ["red", "cube"], "clip": None}
    state = {f"networks.{k}": v for k, v in sizes.networks(False).state_dict().items()}
    torch.save({"latte3d": given, "state_dict": state}, folder / "last.ckpt")
    return folder / "last.ckpt"


def weights(folder):
    return write_weights(folder, checkpoint(folder))[0]


def prior(folder):
    options = {"text_length": 12, "text_width": 8, "size": 12, "channels": (8, 16)}
    return write_prior(MultiViewDiffusionPrior(**options), options, ["red", "cube"], folder / "prior.safetensors")


TABLE = "box,a red box\nball,a ball\n"
CAPTIONS = json.dumps({"box": "a red box", "ball": ["a ball", "a sphere"]})
PROMPTS = json.dumps({"train": ["a red box"], "val": ["a ball"], "test": [["a cone", 3]]})
FILES = {
    ".glb": (mesh_file(".glb"), read_mesh),
    ".obj": (mesh_file(".obj"), read_mesh),
    "captions.json": (text_file("captions.json", CAPTIONS), lambda path: read_captions(path.parent)),
    "captions.csv": (
        text_file("captions.csv", "box,a red box\nball,a ball\n"),
        lambda path: read_captions(path.parent),
    ),
    "prompts.json": (text_file("prompts.json", PROMPTS), read_prompts),
    "checkpoint": (checkpoint, load_networks),
    "weights": (weights, lambda path: load_networks(path.parent)),
    "prior": (prior, read_prior),
}


@pytest.fixture(scope="module", params=FILES)
def file(request, tmp_path_factory):
    """A sound file with its reader."""
    make, read = FILES[request.param]
    return SoundFile(make(tmp_path_factory.mktemp("fuzz")), read)


@settings(max_examples=40)
@given(damage=damages())
def test_a_damaged_file_is_read_or_refused_by_its_name(file, damage):
    file.path.write_bytes(damage(file.content))
    try:
        file.read(file.path)
    except ValueError as error:
        assert file.path.name in str(error)
