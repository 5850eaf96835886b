"""What is written is whole or not there, and says what made it. The files under test are alike in every project."""

from __future__ import annotations

import json
import math
import os
import warnings
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
import torch
from damages import damages
from hypothesis import given
from pytorch_lightning import Trainer

from regularized_lae.cache import cached, load_state, save_state
from regularized_lae.claims import Claim
from regularized_lae.configured import in_processes, one_thread
from regularized_lae.experiment import Experiment
from regularized_lae.results import read_json, rounded, whole, write_json, write_result


def test_a_file_that_could_not_be_finished_leaves_the_old_one_and_nothing_else(tmp_path):
    path = tmp_path / "made" / "deeper" / "result.json"
    write_json(path, {"a": 1})
    with pytest.raises(RuntimeError, match="half way"), whole(path) as temporary:
        temporary.write_text("half")
        raise RuntimeError("half way")
    assert read_json(path) == {"a": 1} and os.listdir(path.parent) == ["result.json"]


def test_a_result_names_its_command_and_versions_and_is_strict_json(tmp_path):
    claim = Claim("id", "words", None, math.inf, "below 1", False)
    write_result(
        tmp_path / "r.json", "x reproduce y", [claim], ("scipy",), seeds=[0], table=[{"mean": 1 / 3, 5: math.nan}]
    )
    text = (tmp_path / "r.json").read_text()
    content = json.loads(text, parse_constant=lambda name: pytest.fail(f"{name} is not JSON"))
    assert content["command"] == "x reproduce y" and content["seeds"] == [0]
    assert list(content["versions"]) == ["python", "torch", "pytorch-lightning", "numpy", "scipy"]
    assert content["claims"][0]["measured"] == "inf" and content["table"] == [{"mean": 0.333333, "5": "nan"}]
    assert rounded((1.23456, 7, "x", None), 3) == [1.23, 7, "x", None]


def test_json_that_is_missing_or_broken_is_named(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"none\.json: no such file"):
        read_json(tmp_path / "none.json")
    (tmp_path / "broken.json").write_text('{"a": ')
    with pytest.raises(ValueError, match=r"broken\.json: not a JSON file"):
        read_json(tmp_path / "broken.json")


def test_what_was_made_under_the_same_mark_is_read_and_anything_else_is_made_anew(tmp_path):
    made, path = [], tmp_path / "cells" / "one.json"

    def make():
        made.append(len(made))
        return {"rows": [(1, math.inf)], "number": made[-1]}

    first = cached(path, {"steps": (1, 2), "folder": Path("a")}, make)
    assert first == {"rows": [[1, math.inf]], "number": 0}
    assert cached(path, {"folder": "a", "steps": [1, 2]}, make) == first and made == [0]
    assert cached(path, {"steps": [1, 3], "folder": "a"}, make)["number"] == 1
    path.write_text(path.read_text().replace('"number":1', '"number":7'))  # still JSON
    with pytest.warns(UserWarning, match=r"one\.json: damaged \(ValueError\), so it is made again"):
        assert cached(path, {"steps": [1, 3], "folder": "a"}, make)["number"] == 2


def test_weights_come_back_under_their_own_mark_alone(tmp_path):
    path = tmp_path / "cells" / "one.pt"
    assert load_state(path, "mark") is None
    save_state(path, "mark", {"state_dict": {"w": torch.ones(2)}, "seconds": 1.5})
    kept = load_state(path, "mark")
    assert torch.equal(kept["state_dict"]["w"], torch.ones(2)) and kept["seconds"] == 1.5
    assert load_state(path, "another") is None
    path.write_bytes(path.read_bytes()[:-40])
    with pytest.warns(UserWarning, match=r"one\.pt: damaged \(RuntimeError\)"):
        assert load_state(path, "mark") is None


@given(damage=damages())
def test_a_damaged_cache_changes_no_result(damage):
    with TemporaryDirectory() as folder, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        made, mark = {"rows": [[1, 2.5], ["a", None]], "n": 7}, {"steps": 9}
        path = Path(folder) / "cache.json"
        cached(path, mark, lambda: made)
        path.write_bytes(damage(path.read_bytes()))
        assert cached(path, mark, lambda: made) == cached(path, mark, dict) == made
        state = Path(folder) / "cache.pt"
        save_state(state, "mark", {"n": 7})
        state.write_bytes(damage(state.read_bytes()))
        kept = load_state(state, "mark")
        assert kept is None or isinstance(kept, dict)


def test_jobs_come_back_in_order_whether_here_or_in_processes_of_one_thread():
    before = torch.get_num_threads()
    with one_thread():
        assert torch.get_num_threads() == 1
        here = in_processes(Path, ["b", "a", "c"], 1, "here")
    assert torch.get_num_threads() == before
    assert here == in_processes(Path, ["b", "a", "c"], 2, "there") == [Path("b"), Path("a"), Path("c")]


def test_an_experiment_is_changed_by_dotted_names_and_makes_its_trainer_late():
    experiment = Experiment(["demo", "fast"], ["--trainer.accelerator=gpu"])  # no GPU is looked for yet
    changed = experiment.with_settings(
        {"trainer.accelerator": "cpu", "trainer.max_steps": 7, "model.init_args.latents": 3}
    )
    assert isinstance(changed.trainer(), Trainer) and changed.trainer().max_steps == 7
    assert changed.model.hparams.latents == 3 and changed.fingerprint() != experiment.fingerprint()
    assert changed.fingerprint() == Experiment(changed.configs, changed.overrides).fingerprint()
