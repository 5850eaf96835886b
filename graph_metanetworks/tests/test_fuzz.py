"""A damaged file is read as something, or refused by a message that names it; nothing else is raised."""

import gzip
import json
import struct

import numpy as np
import pytest
import torch
from damages import SoundFile, damages
from hypothesis import given, settings
from pictures import random_images, write_batch, write_pictures, write_zip
from safetensors.torch import save_file
from test_readers import LAYOUT

from graph_metanetworks.cache import save_state
from graph_metanetworks.cifar import read_cifar
from graph_metanetworks.idx import IMAGES, read_idx
from graph_metanetworks.readers import SmallCNNZoo, inr_network, load_tensors, read_inr, read_split
from graph_metanetworks.readers.small_cnn_zoo import read_metrics
from graph_metanetworks.siren_data import kept_sirens
from graph_metanetworks.zoo_files import read_nets


def idx(folder):
    (folder / "t10k-images").write_bytes(struct.pack(">4I", IMAGES, 2, 3, 4) + bytes(range(24)))
    return folder / "t10k-images"


def idx_gz(folder):
    (folder / "t10k-images.gz").write_bytes(gzip.compress(idx(folder).read_bytes()))
    return folder / "t10k-images.gz"


def cifar_batch(folder):
    write_batch(folder / "test_batch.bin", random_images(2))
    return folder / "test_batch.bin"


def picture(folder):
    write_pictures(folder, "test", 1)
    return folder / "test" / "class0" / "0000.png"


def cifar_zip(folder):
    write_zip(folder / "cifar.zip", "test", 2)
    return folder / "cifar.zip"


def zoo_file(folder):
    about = {"family": "mlp", "width": "4", "settings": "{}"}
    save_file({"state.0.weight": torch.ones(2, 3, 4), "accuracy": torch.ones(2)}, folder / "zoo.safetensors", about)
    return folder / "zoo.safetensors"


def sirens(folder):
    save_state(folder / "sirens.pt", "mark", {"flat": torch.ones(3, 5), "error": torch.zeros(3)})
    return folder / "sirens.pt"


def inr(folder):
    torch.save(inr_network().state_dict(), folder / "model_final.pth")
    return folder / "model_final.pth"


def wild(folder):
    torch.save({"model": {"0.weight": torch.ones(2, 2)}, "epoch": 3}, folder / "checkpoint.pt")
    return folder / "checkpoint.pt"


def dws_split(folder):
    part = {"path": ["data/mnist_png_training_4_12/checkpoints/model_final.pth"], "label": ["4"]}
    (folder / "split.json").write_text(json.dumps({"train": part, "val": part, "test": part}))
    return folder / "split.json"


def layout(folder):
    start, rows = 0, [",varname,start_idx,end_idx,size,shape"]
    for n, (name, shape) in enumerate(LAYOUT):
        size = int(np.prod(shape))
        rows.append(f'{n},{name},{start},{start + size},{size},"{shape}"')
        start += size
    (folder / "layout.csv").write_text("\n".join(rows))
    return folder / "layout.csv"


def metrics(folder):
    lines = ["modeldir,step,test_accuracy", *(f"m{i},86,{0.1 * i}" for i in range(8))]
    (folder / "metrics.csv.gz").write_bytes(gzip.compress("\n".join(lines).encode()))
    return folder / "metrics.csv.gz"


def weights(folder):
    layout(folder), metrics(folder)
    np.save(folder / "weights.npy", np.ones((8, 4970), np.float32))
    return folder / "weights.npy"


def layout_in_zoo(folder):
    weights(folder)
    return folder / "layout.csv"


def order(folder):
    weights(folder)
    (folder / "order.csv").write_text("".join(f"{i}\n" for i in range(8)))
    return folder / "order.csv"


def read_zoo(path):
    SmallCNNZoo(str(path.parent), str(path) if path.name == "order.csv" else "").setup()


FILES = {
    "idx": (idx, lambda path: read_idx(path, IMAGES)),
    "idx.gz": (idx_gz, lambda path: read_idx(path, IMAGES)),
    "CIFAR-10's batch": (cifar_batch, lambda path: read_cifar(path.parent, "test")),
    "picture": (picture, lambda path: read_cifar(path.parents[2], "test")),
    "zip of pictures": (cifar_zip, lambda path: read_cifar(path, "test")),
    "zoo": (zoo_file, read_nets),
    "SIRENs": (sirens, lambda path: kept_sirens(path, "mark", 3)),
    "INR of DWSNets": (inr, read_inr),
    "CNN Wild Park": (wild, lambda path: load_tensors(path, "model")),
    "split of DWSNets": (dws_split, read_split),
    "layout": (layout_in_zoo, read_zoo),
    "metrics": (metrics, read_metrics),
    "weights": (weights, read_zoo),
    "order": (order, read_zoo),
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
