"""A damaged file is read as something, or refused by a message that names it; nothing else is raised."""

import zipfile

import layouts
import numpy as np
import pytest
import torch
from damages import SoundFile, damages
from hypothesis import given
from PIL import Image

from conftest import random_table
from flexible_fewshot import AttributeEpisodeSampler, AttributeSplit, load_encoder, read_episodes, write_episodes
from flexible_fewshot.celeba import read_celeba
from flexible_fewshot.encoders import pretrained_encoder
from flexible_fewshot.features import read_features
from flexible_fewshot.image_folder import read_attribute_csv
from flexible_fewshot.imagenet_attributes import read_imagenet_attributes
from flexible_fewshot.omniglot import read_omniglot
from flexible_fewshot.pictures import read_pictures
from flexible_fewshot.resnet50 import ResNet50
from flexible_fewshot.results import read_json
from flexible_fewshot.small_encoder import SmallEncoder
from flexible_fewshot.zappos import read_zappos

TABLE = random_table(40)


def picture(suffix):
    def make(folder):
        layouts.picture(folder / f"picture{suffix}", (12, 9))
        return folder / f"picture{suffix}"

    return make


def celeba(name):
    def make(folder):
        layouts.celeba(folder, n=12, pictures=False)
        return folder / name

    return make


def zappos(name):
    def make(folder):
        layouts.zappos(folder, n=12, pictures=False)
        return folder / "ut-zap50k-data" / name

    return make


def imagenet(folder):
    layouts.imagenet(folder, n=20, pictures=False)
    return folder / "attrann.mat"


def omniglot(part):
    def make(folder):
        for kind in ("images", "strokes"):
            with zipfile.ZipFile(folder / f"{kind}_small.zip", "w") as archive:
                for i in range(4):
                    name = f"{kind}_small/A/character{i:02d}/000{i}_01"
                    if kind == "strokes":
                        archive.writestr(f"{name}.txt", f"START\n1,-2,0\n{i},-4,5\nBREAK\n")
                        continue
                    image = Image.new("1", (105, 105), 1)
                    image.putpixel((i, 3), 0)
                    with archive.open(f"{name}.png", "w") as file:
                        image.save(file, "PNG")
        return folder / f"{part}_small.zip"

    return make


def split(folder):
    (folder / "split.yaml").write_text("train: [a, b]\nval: [c]\ntest: [d]\n")
    return folder / "split.yaml"


def episodes(name):
    def make(folder):
        write_episodes(folder / name, AttributeEpisodeSampler(TABLE, ("a", "b"), 2, 2, 3).sample(), TABLE)
        return folder / name

    return make


def features(folder):
    np.save(folder / "features.npy", np.ones((4, 3), np.float32))
    return folder / "features.npy"


def checkpoint(folder):
    state = {f"encoder.{name}": value for name, value in SmallEncoder(1).state_dict().items()}
    torch.save({"state_dict": state, "hyper_parameters": {"encoder": "small", "width": 1}}, folder / "last.ckpt")
    return folder / "last.ckpt"


def simclr(folder):
    state = {f"module.backbone.{name}": value for name, value in ResNet50(1).state_dict().items()}
    torch.save({"state_dict": state}, folder / "simclr.pt")
    return folder / "simclr.pt"


def own_table(folder):
    rows = ["image,split,identity,a,b", *(f"{i}.png,{s},{i},1,?" for i, s in enumerate(("train", "val", "test")))]
    (folder / "attributes.csv").write_text("\n".join(rows))
    return folder / "attributes.csv"


def results(folder):
    (folder / "results.json").write_text('{"a": [1, 2.5]}')
    return folder / "results.json"


FILES = {
    **{suffix: (picture(suffix), lambda path: read_pictures([path], 4)) for suffix in (".png", ".jpg", ".bmp")},
    **{
        name: (celeba(name), lambda path: read_celeba(path.parent))
        for name in ("list_attr_celeba.txt", "list_eval_partition.txt", "identity_CelebA.txt")
    },
    **{
        name: (zappos(name), lambda path: read_zappos(path.parents[1]))
        for name in ("meta-data-bin.csv", "image-path.mat")
    },
    "attrann.mat": (imagenet, read_imagenet_attributes),
    **{kind: (omniglot(kind), lambda path: read_omniglot(path.parent, part="small")) for kind in ("images", "strokes")},
    "split": (split, lambda path: AttributeSplit.load(str(path))),
    **{name: (episodes(name), lambda path: read_episodes(path, TABLE)) for name in ("e.json", "e.json.gz")},
    "features": (features, read_features),
    "checkpoint": (checkpoint, load_encoder),
    "SimCLR's ResNet-50": (simclr, lambda path: pretrained_encoder(path, "resnet50", 1)),
    "own table": (own_table, read_attribute_csv),
    "results": (results, read_json),
}


@pytest.fixture(scope="module", params=FILES)
def file(request, tmp_path_factory):
    """A sound file with its reader."""
    make, read = FILES[request.param]
    return SoundFile(make(tmp_path_factory.mktemp("fuzz")), read)


@given(damage=damages())
def test_a_damaged_file_is_read_or_refused_by_its_name(file, damage):
    file.path.write_bytes(damage(file.content))
    try:
        file.read(file.path)
    except (ValueError, FileNotFoundError) as error:
        assert file.path.name in str(error)
