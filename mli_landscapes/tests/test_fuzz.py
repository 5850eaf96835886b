"""A damaged file is read as something, or refused by a message that names it; nothing else is raised."""

import gzip
import json

import numpy as np
import pytest
import torch
from damages import SoundFile, damages
from hypothesis import given, settings
from safetensors.torch import save_file
from test_readers import CIFAR10, binary, idx_bytes, jpeg_in_a_zip, python2_pickle, write_image

from mli_landscapes.checkpoints import load_state, load_training
from mli_landscapes.cifar import read_cifar, read_pickled_batch
from mli_landscapes.idx import IMAGES, read_idx
from mli_landscapes.image_folder import read_image_folder
from mli_landscapes.training import MLPTraining
from mli_landscapes.verbs import read_records
from mli_landscapes.wikitext import read_wikitext

ARGUMENTS = {"sizes": [2, 2, 3], "hidden": [2]}
RUN = {"cell": "a", "rate": 0.1, "seed": 0, "diverged": False}


def idx(folder):
    (folder / "train-images").write_bytes(idx_bytes(np.arange(24).reshape(2, 3, 4)))
    return folder / "train-images"


def idx_gz(folder):
    (folder / "train-images.gz").write_bytes(gzip.compress(idx(folder).read_bytes()))
    return folder / "train-images.gz"


def pickled(folder):
    (folder / "test_batch").write_bytes(python2_pickle(np.zeros((2, 3), np.uint8), [1, 2]))
    return folder / "test_batch"


def binary_batch(folder):
    for name in CIFAR10:
        (folder / f"{name}.bin").write_bytes(binary(np.zeros((1, 3072), np.uint8), [3]))
    return folder / "test_batch.bin"


def zipped(folder):
    (folder / "images.zip").write_bytes(jpeg_in_a_zip())
    return folder / "images.zip"


def image(folder):
    for split in ("train", "test"):
        write_image(folder / split / "cat" / "0.png", 9)
    return folder / "test" / "cat" / "0.png"


def text(folder):
    for split in ("train", "valid", "test"):
        (folder / f"{split}.txt").write_text("the cat\nsät\n", encoding="utf-8")
    return folder / "valid.txt"


def state(folder):
    torch.save({"state_dict": torch.nn.Linear(2, 2).state_dict()}, folder / "state.pt")
    return folder / "state.pt"


def tensors(folder):
    save_file(torch.nn.Linear(2, 2).state_dict(), folder / "state.safetensors")
    return folder / "state.safetensors"


def training(folder):
    run = MLPTraining(**ARGUMENTS)
    content = {"state_dict": run.state_dict(), "hyper_parameters": {**ARGUMENTS, "_class_path": "a.MLPTraining"}}
    run.on_save_checkpoint(content)
    torch.save(content, folder / "last.ckpt")
    return folder / "last.ckpt"


def records(folder):
    (folder / "cell.json").write_text(json.dumps({"mark": {}, "made": [{**RUN, "losses": [1.0, 0.5]}]}))
    return folder / "cell.json"


FILES = {
    "idx": (idx, lambda path: read_idx(path, IMAGES)),
    "idx.gz": (idx_gz, lambda path: read_idx(path, IMAGES)),
    "pickled CIFAR": (pickled, lambda path: read_pickled_batch(path, "labels")),
    "binary CIFAR": (binary_batch, lambda path: read_cifar(path.parent, 10, "test")),
    "zip file of images": (zipped, read_image_folder),
    "image": (image, lambda path: read_image_folder(path.parents[2])),
    "text": (text, lambda path: read_wikitext(path.parent)),
    "state dict": (state, lambda path: load_state(str(path))),
    "safetensors": (tensors, lambda path: load_state(str(path))),
    "checkpoint of fit": (training, lambda path: load_training(str(path))),
    "records": (records, lambda path: read_records(path.parent)),
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
