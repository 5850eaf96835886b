"""A damaged file is read as something, or refused by a message that names it; nothing else is raised."""

import json
import shutil

import pytest
import torch
from damages import SoundFile, damages
from hypothesis import given, settings
from safetensors.torch import save_file

from att3d.cameras import CameraSampler
from att3d.checkpoints import load_model, save_model, write_weights
from att3d.embeddings import read_embedding
from att3d.field import DensityBlob
from att3d.guidance.loading import check_kind
from att3d.prompts import SETS, read_prompts
from att3d.text import HashTokenEncoder
from att3d.training import ATT3D, SceneSettings


def factors(folder):
    return shutil.copy(SETS / "shapes27.yaml", folder / "prompts.yaml")


def named(folder):
    lines = ["template: a {size} {thing}", "factors: {size: [big, small], thing: [cat, dog]}"]
    lines.append("holdout: {rule: explicit, prompts: [a big dog]}")
    (folder / "named.yaml").write_text("\n".join(lines))
    return folder / "named.yaml"


def library(folder):
    (folder / "prompts.json").write_text(json.dumps({"train": ["a cat", "a dog"], "val": ["a cow"], "test": []}))
    return folder / "prompts.json"


def lines(folder):
    (folder / "prompts.txt").write_text("a cat\n\na döner\n", encoding="utf-8")
    return folder / "prompts.txt"


def embedding(folder):
    save_file({"embedding": torch.ones(3, 4)}, folder / "embedding.safetensors")
    return folder / "embedding.safetensors"


def small():
    scene = SceneSettings([3], 4, 8, DensityBlob(6.0, 0.5, -0.5, 6.0))
    return ATT3D(HashTokenEncoder(4, 4), hidden=4, scene=scene, cameras=CameraSampler())


def model(folder):
    save_model(folder / "model.pt", small())
    return folder / "model.pt"


def weights(folder):
    return write_weights(folder / "weights.safetensors", small())


def config(folder):
    (folder / "config.json").write_text(json.dumps({"model_type": "t5", "d_model": 8}))
    return folder / "config.json"


FILES = {
    **{make.__name__: (make, lambda path: read_prompts(str(path))) for make in (factors, named, library, lines)},
    "embedding": (embedding, read_embedding),
    "model": (model, lambda path: load_model(path, ATT3D)),
    "weights": (weights, lambda path: load_model(path, ATT3D)),
    "config": (config, lambda path: check_kind(path, "t5")),
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
    except (ValueError, FileNotFoundError) as error:
        assert file.path.name in str(error)
