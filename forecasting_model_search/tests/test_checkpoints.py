"""Stores of checkpoints keep what they are given, and no more than they may."""

import pytest
import torch

from conftest import random_state, small_mlp
from forecasting_model_search import CheckpointStore, FolderStore, Retention


@pytest.fixture(params=["memory", "folder"])
def store(request, tmp_path):
    networks = {"": small_mlp()}
    return CheckpointStore(networks) if request.param == "memory" else FolderStore(tmp_path, networks)


def test_what_is_put_comes_back(store):
    weights = random_state(small_mlp())
    store.put(3, 2, weights | {"momentum.x": torch.ones(2)})
    assert (3, 2) in store and (3, 1) not in store and store.places() == [(3, 2)]
    assert all(torch.equal(store.state(3, 2)[k], v) for k, v in weights.items())
    assert store.get(3, 2).graph == store.graph(3)
    key = store.get(3, 2).key
    store.put(3, 2, random_state(small_mlp(), 1))
    assert store.get(3, 2).key != key
    store.drop(3, 2)
    assert store.places() == []


def test_what_is_stored_does_not_change_with_the_network(store):
    weights = random_state(small_mlp())
    before = {k: v.clone() for k, v in weights.items()}
    store.put(0, 1, weights)
    weights["0.bias"].add_(1)
    assert torch.equal(store.state(0, 1)["0.bias"], before["0.bias"])


def test_a_missing_or_misshapen_checkpoint_is_named(store):
    with pytest.raises(ValueError, match="no checkpoint of configuration 3 after epoch 2"):
        store.get(3, 2)
    with pytest.raises(ValueError, match=r"configuration 3, epoch 2: expected '0.weight' of shape \(4, 3\)"):
        store.put(3, 2, random_state(small_mlp(5)))


def test_an_unknown_architecture_is_named():
    with pytest.raises(ValueError, match="unknown architecture 'cnn', known: mlp"):
        CheckpointStore({"mlp": small_mlp()}, {0: "cnn"}).graph(0)


def test_half_precision_halves_the_files(tmp_path):
    whole, half = (FolderStore(tmp_path / n, {"": small_mlp(64)}, half=n == "half") for n in ("whole", "half"))
    weights = random_state(small_mlp(64))
    for store in (whole, half):
        store.put(0, 1, weights)
    assert half.path(0, 1).stat().st_size < 0.6 * whole.path(0, 1).stat().st_size
    torch.testing.assert_close(half.get(0, 1).weights["0.weight"].float(), weights["0.weight"], atol=1e-2, rtol=1e-2)


def test_a_broken_file_is_named_and_no_temporary_one_is_left(tmp_path):
    store = FolderStore(tmp_path, {"": small_mlp()})
    store.put(0, 1, random_state(small_mlp()))
    assert [p.name for p in tmp_path.iterdir()] == ["0_1.safetensors"]
    store.path(0, 1).write_bytes(b"nothing")
    with pytest.raises(ValueError, match=r"0_1.safetensors: not a readable safetensors file"):
        store.state(0, 1)


def test_retention_drops_the_least_promising_and_keeps_what_trainings_need(store):
    for config_id, epochs in ((0, 4), (1, 3), (2, 2)):
        for epoch in range(epochs):
            store.put(config_id, epoch, random_state(small_mlp(), epoch))
    dropped = Retention(7).apply(store, {0: 0.9, 1: 0.1})
    assert dropped == [(1, 1), (0, 1)]  # all starts and all last ones stay
    assert Retention(1).apply(store, {}) == [(0, 2)] and len(store.places()) == 6
    with pytest.raises(ValueError, match="at least 1"):
        Retention(0)
