"""Public collections of networks: read from their layouts, refused by file name when they are something else."""

import gzip
import json

import numpy as np
import pytest
import torch
from torch import nn

from graph_metanetworks import EditingMetanet, build_parameter_graph, collate
from graph_metanetworks.networks.siren import Siren, image_grid
from graph_metanetworks.readers import (
    PartialResidual,
    SmallCNN,
    SmallCNNZoo,
    find_inrs,
    find_sirens,
    inr_network,
    load_tensors,
    model_zoo_network,
    read_inr,
    read_layout,
    read_model_zoo,
    read_split,
    read_wild_park,
    small_cnn_state,
    split_rows,
)

LAYOUT = [  # as the zoo writes it: name, shape in TensorFlow's order
    ("sequential/conv2d/bias:0", (16,)), ("sequential/conv2d/kernel:0", (3, 3, 1, 16)),
    ("sequential/conv2d_1/bias:0", (16,)), ("sequential/conv2d_1/kernel:0", (3, 3, 16, 16)),
    ("sequential/conv2d_2/bias:0", (16,)), ("sequential/conv2d_2/kernel:0", (3, 3, 16, 16)),
    ("sequential/dense/bias:0", (10,)), ("sequential/dense/kernel:0", (16, 10)),
]  # fmt: skip


@pytest.fixture
def cnn_zoo(tmp_path):
    """Eight networks at two steps each."""
    random = np.random.default_rng(0)
    np.save(tmp_path / "weights.npy", random.normal(size=(16, 4970)).astype(np.float32))
    lines = ["modeldir,step,test_accuracy"]
    lines += [f"m{i // 2},{[4, 86][i % 2]},{0.05 * i}" for i in range(16)]
    with gzip.open(tmp_path / "metrics.csv.gz", "wt") as file:
        file.write("\n".join(lines))
    start, rows = 0, [",varname,start_idx,end_idx,size,shape"]
    for n, (name, shape) in enumerate(LAYOUT):
        end = start + int(np.prod(shape))
        rows.append(f'{n},{name},{start},{end},{end - start},"{shape}"')
        start = end
    (tmp_path / "layout.csv").write_text("\n".join(rows))
    return tmp_path


def test_the_small_cnn_zoo_is_read_at_its_last_step_and_split(cnn_zoo):
    data = SmallCNNZoo(str(cnn_zoo))
    data.setup()
    sizes = {part: len(nets) for part, nets in data.parts.items()}
    assert sizes == {"train": 3, "val": 1, "test": 4}
    labels = sorted(round(net.accuracy, 2) for nets in data.parts.values() for net in nets)
    assert labels == [round(0.05 * i, 2) for i in range(1, 16, 2)]
    assert data.parts["train"][0].flat.shape == (4970,)
    batch = next(iter(data.train_dataloader()))
    assert batch.nets.groups[0][0].num_edges == 4970


def test_tensorflow_kernels_compute_the_same_in_our_order(cnn_zoo):
    """A convolution written out with TensorFlow's (height, width, in, out) equals the read network's first layer."""
    weights = np.load(cnn_zoo / "weights.npy")[:1]
    state = {name: value[0] for name, value in small_cnn_state(weights, read_layout(cnn_zoo / "layout.csv")).items()}
    model = SmallCNN()
    model.load_state_dict(state)
    kernel = weights[0, 16 : 16 + 144].reshape(3, 3, 1, 16)
    image = np.random.default_rng(1).normal(size=(3, 3))
    by_hand = np.einsum("hw,hwo->o", image, kernel[:, :, 0]) + weights[0, :16]
    found = model.convolutions[0](torch.tensor(image, dtype=torch.float32)[None, None]).flatten()
    assert np.allclose(found.detach().numpy(), by_hand, atol=1e-5)
    dense = weights[0, -160:].reshape(16, 10)
    assert np.allclose(model.dense.weight.detach().numpy(), dense.T)


def test_the_split_follows_the_order_of_nfn():
    """Second half of the kept rows is test; the first is shuffled by random.Random(0)."""
    order = list(range(20))[::-1]
    parts = split_rows(order, range(0, 20, 2))
    assert parts["test"] == [8, 6, 4, 2, 0] and len(parts["train"]) == 4
    assert sorted(parts["train"] + parts["val"]) == [10, 12, 14, 16, 18]


def test_malformed_files_of_the_cnn_zoo_are_named(cnn_zoo):
    def error(kind=ValueError, **options):
        with pytest.raises(kind) as found:
            SmallCNNZoo(str(cnn_zoo), **options).setup()
        return str(found.value)

    order = cnn_zoo / "order.csv"
    order.write_text("0\n1\n")
    assert "every number from 0 to 15 once expected" in error(split_csv=str(order))
    good = {name: (cnn_zoo / name).read_bytes() for name in ("weights.npy", "metrics.csv.gz", "layout.csv")}
    weights = np.load(cnn_zoo / "weights.npy")
    weights[3, 7] = np.nan
    np.save(cnn_zoo / "weights.npy", weights)
    assert "row 3 has weights that are not finite" in error()
    np.save(cnn_zoo / "weights.npy", weights[:, :100])
    assert "(16, 4970) weights expected" in error()
    np.save(cnn_zoo / "weights.npy", weights[0])
    assert "a matrix expected" in error()
    (cnn_zoo / "weights.npy").write_bytes(good["weights.npy"][:1000])
    assert "weights.npy: not a readable .npy array" in error()
    np.save(cnn_zoo / "weights.npy", np.array([{"a": 1}], dtype=object))
    assert "weights.npy: not a readable .npy array" in error()  # a pickle
    (cnn_zoo / "weights.npy").write_bytes(good["weights.npy"])
    (cnn_zoo / "metrics.csv.gz").write_bytes(good["metrics.csv.gz"][:40])
    assert "metrics.csv.gz: damaged or truncated gzip" in error()
    with gzip.open(cnn_zoo / "metrics.csv.gz", "wt") as file:
        file.write("step\n1\n")
    assert "row 1: numbers step and test_accuracy expected" in error()
    (cnn_zoo / "layout.csv").write_text("varname,start_idx\nx,0\n")
    assert "layout.csv, row 1: varname, start_idx, end_idx and shape expected" in error()
    (cnn_zoo / "layout.csv").write_text('varname,start_idx,end_idx,shape\nx,0,5,"(2, 2)"\n')
    assert "5 weights for the shape (2, 2)" in error()
    (cnn_zoo / "layout.csv").write_text("varname,start_idx,end_idx,shape\n")
    assert "an empty layout" in error()
    with pytest.raises(ValueError, match="three kernels, a dense matrix and four biases expected"):
        small_cnn_state(weights, [("x", 0, 4, (2, 2))])
    (cnn_zoo / "layout.csv").unlink()
    assert "get the Small CNN Zoo from" in error(FileNotFoundError)


def test_the_real_inrs_are_one_function_and_one_image(papers_data):
    """The 16 files hold one image up to permutations and signs of sines, and are read by the graph alone, too."""
    nets = find_inrs(papers_data / "inrs")
    assert len(nets) >= 15 and {(net.label, net.image, net.part) for net in nets} == {(6, 3665, "testing")}
    model, grid, images = inr_network(), image_grid(28, 28), []
    graph = build_parameter_graph(model, grid)
    for net in nets:
        model.load_state_dict(read_inr(net.path))
        with torch.no_grad():
            images.append(model(grid))
            alone = graph.execute(grid, values=graph.edge_values(model))
        assert float((alone - images[-1]).abs().max()) < 1e-4  # float32, frequencies of 30
    assert max(float((image - images[0]).abs().max()) for image in images) < 1e-2
    assert images[0].std() > 0.1
    batch = collate([(graph, graph.flatten(read_inr(net.path))) for net in nets])
    assert EditingMetanet(8, 2)(batch)[0].shape == (len(nets), 1185)


@pytest.fixture
def inrs(tmp_path):
    folder = tmp_path / "mnist_png_training_4_12" / "checkpoints"
    folder.mkdir(parents=True)
    torch.save(inr_network().state_dict(), folder / "model_final.pth")
    return tmp_path


def test_inrs_of_another_layout_are_refused(inrs, tmp_path):
    path = find_inrs(inrs)[0].path
    assert find_inrs(inrs)[0].label == 4 and find_inrs(inrs)[0].part == "training"
    state = read_inr(path)
    torch.save({**state, "seq.0.weight": torch.zeros(2, 32)}, path)
    with pytest.raises(
        ValueError, match=r"model_final\.pth: seq\.0\.weight of shape \(32, 2\) expected, got \(2, 32\)"
    ):
        read_inr(path)
    torch.save({name: value for name, value in state.items() if name != "seq.2.bias"}, path)
    with pytest.raises(ValueError, match=r"no seq\.2\.bias, it holds"):
        read_inr(path)
    torch.save({**state, "seq.1.bias": torch.full((32,), torch.nan)}, path)
    with pytest.raises(ValueError, match=r"seq\.1\.bias has values that are not finite"):
        read_inr(path)
    torch.save({"epoch": 3}, path)
    with pytest.raises(ValueError, match="tensors by name expected, it holds the keys epoch"):
        read_inr(path)
    torch.save(state, path)
    path.write_bytes(path.read_bytes()[:500])
    with pytest.raises(ValueError, match="not a readable checkpoint of tensors, or a truncated one"):
        read_inr(path)
    with pytest.raises(FileNotFoundError, match="no such file; a PyTorch state dict was expected"):
        load_tensors(tmp_path / "no.pt")
    with pytest.raises(FileNotFoundError, match="get the INRs from"):
        find_inrs(tmp_path / "empty")


def test_a_pickle_is_not_executed(tmp_path):
    class Bomb:
        def __reduce__(self):
            return (open, (str(tmp_path / "exploded"), "w"))

    torch.save({"seq.0.weight": Bomb()}, tmp_path / "bomb.pth")
    with pytest.raises(ValueError, match=r"bomb\.pth: not a readable checkpoint"):
        load_tensors(tmp_path / "bomb.pth")
    assert not (tmp_path / "exploded").exists()


def test_a_split_whose_labels_contradict_paths_is_refused(tmp_path):
    part = {"path": ["data/mnist_png_training_4_12/checkpoints/model_final.pth"], "label": ["4"]}
    path = tmp_path / "split.json"
    path.write_text(json.dumps({"train": part, "val": part, "test": part}))
    assert read_split(path)["val"] == [(part["path"][0], 4)]
    path.write_text(json.dumps({"train": part, "val": part, "test": {**part, "label": ["5"]}}))
    with pytest.raises(ValueError, match="is of digit 4, its label says 5"):
        read_split(path)
    path.write_text("{}")
    with pytest.raises(ValueError, match=r"JSON \{train, val, test\}: \{path, label\} expected"):
        read_split(path)


def test_nfn_sirens_are_found_by_number_and_checked_against_labels(tmp_path):
    root = tmp_path / "siren_cifar_wts"
    for number, label in ((3, 7), (50_001, 2)):
        folder = root / f"randinit_smaller_{label}s"
        folder.mkdir(parents=True)
        torch.save(Siren((2, 4, 3)).state_dict(), folder / f"net{number}.pth")
    found = find_sirens(root)
    assert [(net.image, net.label, net.part) for net in found] == [(3, 7, "train"), (1, 2, "test")]
    with pytest.raises(ValueError, match="the folder says class 7, the labels of image 3 say 1"):
        find_sirens(root, [1] * 60_000)
    with pytest.raises(ValueError, match="a folder siren_"):
        find_sirens(tmp_path)
    (tmp_path / "siren_mnist_wts").mkdir()
    with pytest.raises(FileNotFoundError, match="get them from github"):
        find_sirens(tmp_path / "siren_mnist_wts")


def test_wild_park_checkpoints_and_their_partial_residuals(tmp_path):
    model = nn.Sequential(nn.Conv2d(1, 4, 3, padding=1), PartialResidual(nn.Conv2d(4, 6, 3, padding=1), 4))
    (tmp_path / "a").mkdir()
    torch.save({"model": model.state_dict(), "epoch": 3}, tmp_path / "a" / "checkpoint.pt")
    found = read_wild_park(tmp_path)
    model.load_state_dict(found[tmp_path / "a" / "checkpoint.pt"])
    x = torch.randn(2, 1, 5, 5)
    graph = build_parameter_graph(model, x)
    assert torch.allclose(graph.execute(x, values=graph.edge_values(model)), model(x), atol=1e-5)
    torch.save({"state": {}}, tmp_path / "a" / "checkpoint.pt")
    with pytest.raises(ValueError, match="a dict with the key 'model' expected, it holds the keys state"):
        read_wild_park(tmp_path)
    with pytest.raises(FileNotFoundError, match="get CNN Wild Park from"):
        read_wild_park(tmp_path / "none")


def test_model_zoos_are_read_epoch_by_epoch(tmp_path):
    layers = [
        nn.Conv2d(1, 3, 3),
        nn.MaxPool2d(2),
        nn.Tanh(),
        nn.Flatten(),
        nn.Linear(12, 4),
        nn.Tanh(),
        nn.Linear(4, 2),
    ]
    for epoch in (0, 5, 10):
        folder = tmp_path / f"checkpoint_{epoch:06d}"
        folder.mkdir()
        state = {f"module_list.{i}.{name}": p for i, layer in enumerate(layers) for name, p in layer.named_parameters()}
        torch.save({name: p.detach() + epoch for name, p in state.items()}, folder / "checkpoints")
    epochs = read_model_zoo(tmp_path)
    assert [e.epoch for e in epochs] == [0, 5, 10]
    model = model_zoo_network(epochs[0].state)
    model.load_state_dict(epochs[0].state)
    x = torch.randn(2, 1, 6, 6)
    assert torch.allclose(model(x), nn.Sequential(*layers)(x), atol=1e-6)
    assert build_parameter_graph(model, x).num_parameters == sum(p.numel() for p in model.parameters())
    torch.save({"other": torch.zeros(1)}, tmp_path / "checkpoint_000000" / "checkpoints")
    with pytest.raises(ValueError, match=r"keys module_list\.\{i\}"):
        read_model_zoo(tmp_path)
    with pytest.raises(FileNotFoundError, match="get a zoo from"):
        read_model_zoo(tmp_path / "none")


def test_layouts_with_gaps_or_of_other_networks_are_refused(cnn_zoo):
    layout = (cnn_zoo / "layout.csv").read_text()
    (cnn_zoo / "layout.csv").write_text(layout.replace(",16,160,144,", ",17,161,144,"))
    with pytest.raises(ValueError, match=r"layout\.csv: .*kernel:0 begins at 17, but .*bias:0 ends at 16"):
        SmallCNNZoo(str(cnn_zoo)).setup()
    (cnn_zoo / "layout.csv").write_text(layout)
    with pytest.raises(ValueError, match=r"layout\.csv: .*0\.weight \(16, 3, 3, 3\), got \(16, 1, 3, 3\)"):
        SmallCNNZoo(str(cnn_zoo), channels=3).setup()
