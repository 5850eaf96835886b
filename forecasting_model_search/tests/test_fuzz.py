"""A damaged file is read as something, or refused by a message that names it; nothing else is raised."""

import json

import pytest
import torch
from damages import SoundFile, damages
from hypothesis import given, settings
from test_hub import task, zoo_folder

from conftest import random_state, small_hub, small_mlp
from forecasting_model_search.checkpoints import FolderStore
from forecasting_model_search.curve_hubs import read_lcbench, read_taskset
from forecasting_model_search.learning import load_parameters
from forecasting_model_search.official_hub import read_pretrained_hub, read_simple_hub, write_hub
from forecasting_model_search.small_cnn_zoo import SmallCNNZoo

NETWORKS = {"": small_mlp(), "net": small_mlp()}


def hub_of(layout, name):
    def make(folder):
        hub = small_hub(configs=3, epochs=3)
        hub.curves = hub.curves.clip(0, 1)
        write_hub(hub, folder, layout)
        return folder / name

    return make


def read_simple(path):
    hub = read_simple_hub(path.parent, NETWORKS, "val_accuracy")
    hub.checkpoints.get(0, 1)


def read_pretrained(path):
    hub = read_pretrained_hub(path.parent, NETWORKS, "digits", "val_accuracy")
    hub.checkpoints.get(0, 1)


def lcbench(folder):
    entries = {
        str(k): {"config": {"learning_rate": 0.1 * k, "batch_size": 2**k}, "log": {"acc": [50.0, 60.0, 70.0 + k]}}
        for k in (1, 2, 3)
    }
    (folder / "lcbench.json").write_text(json.dumps({"adult": entries}))
    return folder / "lcbench.json"


def zoo(name):
    return lambda folder: zoo_folder(folder) / name


def read_zoo(path):
    read = SmallCNNZoo(path.parent)
    return read.starts()


def kept(folder):
    FolderStore(folder, {"": small_mlp()}).put(0, 1, random_state(small_mlp()))
    return folder / "0_1.safetensors"


def trained(folder):
    torch.save({"state_dict": {"gp.mean": torch.ones(2), "other": torch.ones(1)}}, folder / "last.ckpt")
    return folder / "last.ckpt"


FILES = {
    **{
        name: (hub_of("simple", name), read_simple)
        for name in ("hyperparameters.csv", "results_0.json", "starts.json", "model_0_epoch_0.pt")
    },
    "0_results.json": (hub_of("pretrained", "0_results.json"), read_pretrained),
    "net_digits_epoch_1_0.pt": (hub_of("pretrained", "net_digits_epoch_1_0.pt"), read_pretrained),
    "TaskSet": (task, read_taskset),
    "LCBench": (lcbench, lambda path: read_lcbench(path, "adult", "acc")),
    **{name: (zoo(name), read_zoo) for name in ("weights.npy", "metrics.csv.gz", "layout.csv")},
    "kept checkpoint": (kept, lambda path: FolderStore(path.parent, {"": small_mlp()}).state(0, 1)),
    "surrogate": (trained, load_parameters),
}


@pytest.fixture(scope="module", params=FILES)
def file(request, tmp_path_factory):
    """A sound file with its reader."""
    make, read = FILES[request.param]
    return SoundFile(make(tmp_path_factory.mktemp("fuzz")), read)


@settings(max_examples=25)
@given(damage=damages())
def test_a_damaged_file_is_read_or_refused_by_its_name(file, damage):
    file.path.write_bytes(damage(file.content))
    try:
        file.read(file.path)
    except (ValueError, FileNotFoundError) as error:
        assert file.path.name in str(error)
