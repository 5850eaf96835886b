"""Hubs of the official layouts, TaskSet, LCBench and the Small CNN Zoo: read, written, and refused by file and row."""

import gzip
import json
import math

import numpy as np
import pandas as pd
import pytest
import torch

from conftest import small_hub, small_mlp
from forecasting_model_search import ModelHub
from forecasting_model_search.curve_hubs import read_lcbench, read_taskset
from forecasting_model_search.digits import ARCHITECTURES, HubSettings, ZooSettings, digits_hub
from forecasting_model_search.hub import accuracies
from forecasting_model_search.official_hub import load_pt, read_pretrained_hub, read_simple_hub, write_hub
from forecasting_model_search.small_cnn_zoo import SmallCNNZoo, small_cnn

NETWORKS = {name: make() for name, make in ARCHITECTURES.items()} | {"": ARCHITECTURES["mlp"]()}


@pytest.fixture(scope="module")
def digits():
    return digits_hub(0, ZooSettings(3, ("mlp", "cnn"), 2), HubSettings(6, 3))


@pytest.fixture(params=["simple", "pretrained"])
def written(request, digits, tmp_path):
    write_hub(digits, tmp_path, request.param)
    return request.param, tmp_path


def read(layout, folder):
    if layout == "simple":
        return read_simple_hub(folder, NETWORKS, "val_accuracy")
    return read_pretrained_hub(folder, NETWORKS, "digits", "val_accuracy")


def test_a_hub_comes_back_from_either_layout(written, digits):
    hub = read(*written)
    np.testing.assert_allclose(hub.curves, digits.curves, atol=1e-7)
    np.testing.assert_allclose(hub.test, digits.test, atol=1e-7)
    np.testing.assert_allclose(hub.starts, digits.starts, atol=1e-7)
    for i in range(6):
        for epoch in range(4):
            again, state = hub.checkpoints.state(i, epoch), digits.checkpoints.state(i, epoch)
            assert all(torch.equal(again[k], state[k]) for k in state)
    assert "pretrained_index" in hub.configs and "pretrained_index" not in hub.space.domains


def test_the_names_of_files_are_the_references(written):
    layout, folder = written
    names = {p.name for p in folder.iterdir()}
    assert {"hyperparameters.csv", "starts.json"} <= names
    wanted = {"results_5.json", "model_5_epoch_2.pt"} if layout == "simple" else {"5_results.json"}
    assert wanted <= names
    if layout == "pretrained":
        assert any(n.endswith("_digits_epoch_3_5.pt") for n in names)
    first = json.loads((folder / ("results_0.json" if layout == "simple" else "0_results.json")).read_text())[0]
    assert first["epoch"] == (0 if layout == "simple" else 1)
    assert {"train_loss", "train_accuracy", "test_loss", "test_accuracy"} <= set(first)


def damage(layout, folder, what):
    results = folder / ("results_2.json" if layout == "simple" else "2_results.json")
    records = json.loads(results.read_text())
    if what == "gap":
        records[1]["epoch"] += 1
    elif what == "short":
        records.pop()
    elif what == "percent":
        records[0]["val_accuracy"] = 57.0
    elif what == "field":
        del records[1]["val_accuracy"]
    elif what == "empty":
        records = []
    elif what == "missing results":
        results.unlink()
        return
    elif what == "not json":
        results.write_text("{")
        return
    elif what == "missing checkpoint":
        next(
            p for p in folder.glob("*.pt") if "_epoch_" in p.name and ("_2_epoch_" in p.name or p.stem.endswith("_2"))
        ).unlink()
        return
    elif what == "index":
        frame = pd.read_csv(folder / "hyperparameters.csv")
        frame["hp_index"] = 0
        frame.to_csv(folder / "hyperparameters.csv", index=False)
        return
    elif what == "duplicate":
        frame = pd.read_csv(folder / "hyperparameters.csv")
        frame.iloc[3, 1:] = frame.iloc[1, 1:]
        frame.to_csv(folder / "hyperparameters.csv", index=False)
        return
    elif what == "hole":
        frame = pd.read_csv(folder / "hyperparameters.csv")
        frame.loc[4, "momentum"] = np.nan
        frame.to_csv(folder / "hyperparameters.csv", index=False)
        return
    elif what == "no csv":
        (folder / "hyperparameters.csv").unlink()
        return
    results.write_text(json.dumps(records))


@pytest.mark.parametrize(
    ("what", "said"),
    [
        ("gap", r"2(_results)?\.json: record 1 is of epoch"),
        ("short", r"2(_results)?\.json: 2 epochs, the configurations before it have 3"),
        ("percent", r"2(_results)?\.json: expected accuracies from 0 to 1, got .* percentages: divide them by 100"),
        ("field", r"2(_results)?\.json: record 1 has no 'val_accuracy'"),
        ("empty", r"2(_results)?\.json: expected a list of at least one epoch"),
        ("missing results", r"2(_results)?\.json: no such file"),
        ("not json", r"2(_results)?\.json: not JSON"),
        ("missing checkpoint", r"(no such file|no checkpoint)"),
        ("index", "expected hp_index from 0 to 5, each once"),
        ("duplicate", "row 3 repeats another configuration"),
        ("hole", "row 4 has no 'momentum'"),
        ("no csv", r"hyperparameters\.csv: no such file"),
    ],
)
def test_a_damaged_hub_is_refused_by_file_and_row(written, what, said):
    damage(*written, what)
    with pytest.raises(ValueError, match=said):
        read(*written)


def test_a_diverged_run_is_kept_as_nan(digits, tmp_path):
    write_hub(digits, tmp_path)
    path = tmp_path / "results_1.json"
    records = json.loads(path.read_text())
    records[1]["val_accuracy"] = records[2]["val_accuracy"] = None
    path.write_text(json.dumps(records))
    (tmp_path / "model_1_epoch_2.pt").unlink()
    hub = read("simple", tmp_path)
    assert np.isnan(hub.curves[1]).tolist() == [False, True, True] and (1, 3) not in hub.checkpoints


def test_a_checkpoint_of_another_shape_or_kind_is_named(digits, tmp_path):
    write_hub(digits, tmp_path)
    torch.save(small_mlp().state_dict(), tmp_path / "model_0_epoch_0.pt")
    with pytest.raises(ValueError, match=r"model_0_epoch_0\.pt: expected"):
        read("simple", tmp_path).checkpoints.get(0, 1)

    class Bomb:
        def __reduce__(self):
            return (open, (str(tmp_path / "exploded"), "w"))

    torch.save({"w": Bomb()}, tmp_path / "bomb.pt")
    with pytest.raises(ValueError, match=r"bomb\.pt: not a state dict of tensors"):
        load_pt(tmp_path / "bomb.pt")
    assert not (tmp_path / "exploded").exists()
    torch.save([1], tmp_path / "list.pt")
    with pytest.raises(ValueError, match="expected a state dict of tensors, got list"):
        load_pt(tmp_path / "list.pt")
    with pytest.raises(ValueError, match="unknown layout 'zip'"):
        write_hub(digits, tmp_path, "zip")
    with pytest.raises(ValueError, match="networks of unknown architectures"):
        read_simple_hub(tmp_path, {"": small_mlp()}, "val_accuracy")


def test_scores_are_accuracies():
    assert accuracies(np.array([0, 0.5, np.nan]), "x").tolist()[:2] == [0, 0.5]
    with pytest.raises(ValueError, match="no accuracies"):
        accuracies(np.array([-3.0]), "x")


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"curves": np.zeros((3, 2))}, r"curves \(N, T\) for 2 configurations, got \(3, 2\)"),
        ({"curves": np.array([[np.nan, 1.0], [0, 1]])}, "row 0 has a gap at epoch 1"),
        ({"curves": np.full((2, 2), np.nan)}, "no finite score at all"),
        ({"configs": pd.DataFrame({"x": [1, 1]})}, "row 1 repeats another"),
        ({"configs": pd.DataFrame({"x": [1, "a"]})}, "'x' mixes text and numbers"),
        ({"configs": pd.DataFrame(index=[0, 1])}, "no hyperparameters"),
    ],
)
def test_what_is_no_hub_is_refused(change, said):
    with pytest.raises(ValueError, match=said):
        ModelHub(**({"configs": pd.DataFrame({"x": [1.0, 2.0]}), "curves": np.ones((2, 2))} | change))


def test_parts_of_a_hub(hub):
    part = hub.take([3, 1])
    assert np.array_equal(part.curves, hub.curves[[3, 1]]) and part.best() <= hub.best()


def task(tmp_path, change=None):
    entries = [
        {"hp": {"learning_rate": 10.0**-k, "l2": 0.1 * k}, "valid": {"loss": [1.0, 0.9 - 0.1 * k, 0.8 - 0.1 * k]}}
        for k in range(1, 5)
    ]
    if change:
        change(entries)
    (tmp_path / "task.json").write_text(json.dumps(entries))
    return tmp_path / "task.json"


def test_a_task_of_taskset_gives_negative_losses_and_divergence(tmp_path):
    def diverge(entries):
        entries[1]["valid"]["loss"][1] = 1e34
        entries[2]["valid"]["loss"][2] = math.nan

    hub = read_taskset(task(tmp_path, diverge))
    assert hub.curves[0].tolist() == pytest.approx([-0.8, -0.7]) and hub.starts.tolist() == [-1] * 4
    assert np.isnan(hub.curves[1]).all() and np.isnan(hub.curves[2]).tolist() == [False, True]


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda e: e[1].pop("hp"), "row 1 lacks 'hp'"),
        (lambda e: e[2].pop("valid"), "row 2 lacks 'hp' or the losses of 'valid'"),
        (lambda e: e[3]["valid"]["loss"].pop(), "row 3 has 2 values, row 0 has 3"),
        (lambda e: e.clear(), "expected a list of configurations"),
    ],
)
def test_a_damaged_task_is_refused_by_row(tmp_path, change, said):
    with pytest.raises(ValueError, match=said):
        read_taskset(task(tmp_path, change))


def test_a_missing_task_is_named(tmp_path):
    with pytest.raises(ValueError, match=r"no\.json: no such file"):
        read_taskset(tmp_path / "no.json")
    (tmp_path / "bad.json").write_text("[")
    with pytest.raises(ValueError, match=r"bad\.json: not JSON"):
        read_taskset(tmp_path / "bad.json")


def test_the_real_task_of_taskset(papers_data):
    (path,) = (papers_data / "taskset").glob("*.json")
    hub = read_taskset(path)
    assert hub.curves.shape == (1000, 50) and hub.space.width == 8
    finite = hub.curves[np.isfinite(hub.curves)]
    assert finite.min() > -100 and 0 < np.isnan(hub.curves).any(1).sum() < 500


def test_lcbench_drops_the_first_epoch_and_divides_percentages(tmp_path):
    entries = {
        str(k): {
            "config": {"learning_rate": 0.1 * k, "num_layers": k, "fixed": 1},
            "log": {"Train/val_balanced_accuracy": [50, 60, 70 + k]},
        }
        for k in (1, 2)
    }
    path = tmp_path / "lcbench.json"
    path.write_text(json.dumps({"adult": entries}))
    hub = read_lcbench(path, "adult")
    assert hub.curves.tolist() == [[0.6, 0.71], [0.6, 0.72]] and hub.starts.tolist() == [0.5, 0.5]
    assert list(hub.configs) == ["learning_rate", "num_layers"]
    with pytest.raises(ValueError, match="no data set 'higgs', it has adult"):
        read_lcbench(path, "higgs")
    del entries["2"]["log"]
    path.write_text(json.dumps({"adult": entries}))
    with pytest.raises(ValueError, match="configuration 2 of adult lacks config or Train"):
        read_lcbench(path, "adult")


def zoo_folder(tmp_path, rows=20):
    """A tiny zoo in the official layout: kernels HWIO, dense transposed."""
    shapes = [(3, 3, 1, 16), (16,), (3, 3, 16, 16), (16,), (3, 3, 16, 16), (16,), (16, 10), (10,)]
    names = [
        f"sequential/{kind}{n}/{t}:0"
        for n, kind in enumerate(["conv", "conv", "conv", "dense"])
        for t in ("kernel", "bias")
    ]
    ends = np.cumsum([int(np.prod(s)) for s in shapes])
    layout = pd.DataFrame(
        {"varname": names, "start_idx": [0, *ends[:-1]], "end_idx": ends, "shape": [str(s) for s in shapes]}
    )
    layout.to_csv(tmp_path / "layout.csv", index=False)
    np.save(tmp_path / "weights.npy", np.random.default_rng(0).standard_normal((rows, ends[-1])).astype(np.float32))
    metrics = pd.DataFrame({"step": [0, 86] * (rows // 2), "test_accuracy": 0.5})
    with gzip.open(tmp_path / "metrics.csv.gz", "wt") as file:
        metrics.to_csv(file, index=False)
    return tmp_path


def test_the_small_cnn_zoo_is_read_as_it_is_stored(tmp_path):
    zoo = SmallCNNZoo(zoo_folder(tmp_path))
    assert zoo.weights.shape[1] == 4970 and zoo.finals() == list(range(1, 20, 2)) and zoo.starts() == [1, 3, 5, 7]
    state = zoo.state(3)
    flat = zoo.weights[3]
    model = small_cnn()
    model.load_state_dict(state)
    assert float(state["2.weight"][5, 7, 2, 1]) == flat[160 + ((2 * 3 + 1) * 16 + 7) * 16 + 5]
    assert float(state["8.weight"][9, 4]) == flat[4800 + 4 * 10 + 9]


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda p: (p / "weights.npy").unlink(), r"weights\.npy: no such file"),
        (lambda p: (p / "metrics.csv.gz").unlink(), r"metrics\.csv\.gz: no such file"),
        (lambda p: np.save(p / "weights.npy", np.zeros((3, 4970), np.float32)), "20 rows for 3 rows of weights"),
        (lambda p: (p / "layout.csv").write_text('varname,shape\na,"(1,)"\n'), "lacks the columns end_idx, start_idx"),
        (
            lambda p: (p / "metrics.csv.gz").write_bytes(gzip.compress(b"a\n1\n")),
            "lacks the columns step, test_accuracy",
        ),
        (lambda p: np.save(p / "weights.npy", np.zeros((20, 9), np.float32)), "does not hold a tensor of"),
    ],
)
def test_a_damaged_zoo_is_refused(tmp_path, change, said):
    folder = zoo_folder(tmp_path)
    change(folder)
    with pytest.raises(ValueError, match=said):
        SmallCNNZoo(folder)


def test_a_zoo_of_other_networks_is_refused(tmp_path):
    with pytest.raises(ValueError, match="row 1: tensors"):
        SmallCNNZoo(zoo_folder(tmp_path)).state(1, small_cnn(channels=3))


def test_a_hub_without_weights_serves_searches_of_curves():
    hub = small_hub(weights=False)
    assert hub.checkpoints is None and hub.params(0).keys() == {"rate", "width"}
