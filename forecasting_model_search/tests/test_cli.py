"""The command line: the demo's files, the verbs, packaged configs, and one line for bad input."""

import json
import shutil
import subprocess
import sys

import numpy as np
import pandas as pd
import pytest
import torch
from pytorch_lightning.callbacks import ModelCheckpoint

from conftest import small_hub
from forecasting_model_search.cli import main
from forecasting_model_search.curve_hubs import read_taskset
from forecasting_model_search.data import RowOrder
from forecasting_model_search.demo import all_claims
from forecasting_model_search.digits import HubSettings, ZooSettings, digits_hub
from forecasting_model_search.evidence import paired
from forecasting_model_search.experiment import Experiment
from forecasting_model_search.learning import load_parameters
from forecasting_model_search.official_hub import write_hub
from forecasting_model_search.tables import replay_table

FIGURES = ["forecast", "predictions", "embedding", "regret", "tau", "race"]
SMALL = [
    *("--data.init_args.networks=4", "--data.init_args.configs=10", "--data.init_args.epochs=4"),
    *("--data.init_args.observed=4", "--data.init_args.budgets=4", "--data.init_args.states=[0,1]"),
    *("--trainer.barebones=false", "--trainer.limit_val_batches=1.0"),
    *("--trainer.enable_progress_bar=false", "--trainer.enable_model_summary=false"),
]


def run(*args):
    """The exit status of a command in this process."""
    with pytest.raises(SystemExit) as stopped:
        main(list(map(str, args)))
    return stopped.value.code


def error_of(capsys, *args):
    assert run(*args) == 2
    return capsys.readouterr().err


@pytest.fixture(scope="module")
def fast_demo(tmp_path_factory):
    out = tmp_path_factory.mktemp("demo") / "out"
    return run("demo", "--fast", "--out", out), out


@pytest.fixture(scope="module")
def hubs(tmp_path_factory):
    folder = tmp_path_factory.mktemp("hubs")
    for seed, layout in ((0, "simple"), (1, "pretrained")):
        architectures = ("mlp",) if layout == "simple" else ("mlp", "cnn")
        hub = digits_hub(seed, ZooSettings(3, architectures, 2), HubSettings(8, 3))
        write_hub(hub, folder / layout, layout)
    return folder


def test_the_demo_writes_its_figures_and_claims(fast_demo):
    code, out = fast_demo
    assert code == 0
    content = json.loads((out / "claims.json").read_text())
    assert set(content) == {"project", "seed", "seconds", "fast", "command", "claims", "figures"}
    assert content["project"] == "forecasting_model_search" and content["fast"] is True and content["seed"] == 0
    assert content["command"] == "forecasting-model-search demo --seed 0 --fast"
    assert len({claim["id"] for claim in content["claims"]}) == len(content["claims"]) == 17
    for claim in content["claims"]:
        assert {"id", "statement", "paper", "measured", "threshold", "holds"} <= set(claim)
        assert isinstance(claim["holds"], bool) and claim["paper"] is None
    assert content["figures"] == [f"{name}.png" for name in FIGURES]
    for figure in content["figures"]:
        assert (out / figure).read_bytes()[:8] == b"\x89PNG\r\n\x1a\n"


def test_a_second_demo_in_the_same_folder_reads_what_was_made(fast_demo, capsys):
    _, out = fast_demo
    stamps = {path: path.stat().st_mtime_ns for path in (out / "cells").rglob("*.json")}
    assert run("demo", "--fast", "--out", out) == 0
    assert stamps == {path: path.stat().st_mtime_ns for path in (out / "cells").rglob("*.json")}
    assert "fast run: these numbers mean nothing" in capsys.readouterr().out


def test_a_claim_that_fails_fails_a_strict_demo(fast_demo):
    _, out = fast_demo
    claims = json.loads((out / "claims.json").read_text())["claims"]
    assert run("demo", "--fast", "--strict", "--out", out) == int(not all(c["holds"] for c in claims))


def test_what_could_be_done_without_checkpoints_is_not_claimed_of_them(fast_demo):
    """The shuffled control and DyHPO are in the records beside the graph network, on the same rows."""
    _, out = fast_demo
    names = {path.stem.removesuffix("_and_transfer") for path in (out / "cells" / "forecast").iterdir()}
    assert {"none_0", "gmn_0", "gmn_shuffled_0", "stat_1", "flat_1"} <= names


def test_report_draws_again_from_the_records(fast_demo, tmp_path, capsys):
    _, out = fast_demo
    assert run("report", out, "--out", tmp_path) == 0
    assert "| DyHPO |" in capsys.readouterr().out and (tmp_path / "regret.png").is_file()


def test_report_takes_the_records_of_one_experiment_where_reproduce_left_several(fast_demo, tmp_path, capsys):
    """Each has a replay of the same method and seed on a hub of its own."""
    _, out = fast_demo
    for name in ("replay", "hard"):
        shutil.copytree(out / "cells" / "replay", tmp_path / "cells" / name / "replay")
    changed = tmp_path / "cells" / "hard" / "replay" / "none_0.json"
    content = json.loads(changed.read_text())
    content["made"]["regret"] = [77.0 for _ in content["made"]["regret"]]
    changed.write_text(json.dumps(content))
    assert "several experiments: name one by --experiment, hard, replay" in error_of(capsys, "report", tmp_path)
    assert "unknown experiment 'narrow', choose from hard, replay" in error_of(
        capsys, "report", tmp_path, "--experiment", "narrow"
    )
    said = {}
    for name in ("hard", "replay"):
        assert run("report", tmp_path, "--experiment", name, "--out", tmp_path / "figures") == 0
        said[name] = capsys.readouterr().out
    assert "| DyHPO | 38." in said["hard"] and "| DyHPO | 38." not in said["replay"]
    shutil.rmtree(tmp_path / "cells" / "hard")
    assert run("report", tmp_path, "--configs", "demo,fast", "--out", tmp_path / "figures") == 0


def test_searches_on_one_hub_are_counted_by_their_seeds():
    records = [
        {"method": method, "seed": seed, "regret": [0.1 * seed + 0.1 * (method == "asha")], "tau": {}, "test": None}
        for method in ("none", "asha")
        for seed in range(3)
    ]
    kinds = {"forecast": [], "replay": records, "transfer": [], "live": []}
    said = [claim.statement for claim in all_claims(kinds, Experiment(["taskset"]))]
    assert said == ["DyHPO has less regret than ASHA after 1 epochs (3 seeds)"]
    assert "test accuracy" not in replay_table(records)


def test_build_hub_writes_a_hub_that_replay_forecast_and_transfer_read(tmp_path, hubs, capsys):
    sizes = ["--networks", 3, "--configs", 6, "--epochs", 3]
    assert run("build-hub", "--out", tmp_path / "hub", "--seed", 2, *sizes) == 0
    assert "6 configurations, 3 epochs" in capsys.readouterr().out
    methods = ["--methods", '["random","none","stat"]', "--seeds", 1]
    assert run("replay", tmp_path / "hub", "--budget", 8, *methods, "--out", tmp_path / "figures") == 0
    assert "FMS-STAT" in capsys.readouterr().out and (tmp_path / "figures" / "regret.png").is_file()
    csv = tmp_path / "forecast.csv"
    assert run("forecast", hubs / "pretrained", "--encoder", "stat", "--budget", 6, "--out", csv) == 0
    assert list(pd.read_csv(csv)) == ["config_id", "epochs", "mean", "std", "rank"]


def test_transfer_carries_a_surrogate_between_hubs(hubs, tmp_path, capsys):
    args = ["--encoder", "stat", "--budget", 6, "--cycles", 2, "--out", tmp_path / "surrogate.pt"]
    assert run("transfer", hubs / "simple", hubs / "simple", *args) == 0
    said = capsys.readouterr().out
    assert "with what it learned" in said and "from nothing" in said
    assert torch.load(tmp_path / "surrogate.pt", weights_only=True)


def test_live_goes_on_where_it_was_stopped(tmp_path, capsys):
    args = ["--encoder", "stat", "--max_epochs", 3, "--networks", 3, "--out", tmp_path]
    assert run("live", "--budget", 3, *args) == 0
    assert "   3 of 3: configuration" in capsys.readouterr().out
    assert run("live", "--budget", 3, *args) == 0  # nothing is left to do
    assert "of 3: configuration" not in capsys.readouterr().out
    assert "expected a state of" in error_of(capsys, "live", "--budget", 4, *args)


def test_live_with_workers_shares_a_database(tmp_path):
    command = [sys.executable, "-m", "forecasting_model_search", "live", "--encoder", "stat", "--workers", "2"]
    command += ["--budget", "4", "--max_epochs", "2", "--networks", "3", "--out", str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=150)
    assert done.returncode == 0, done.stderr
    assert "4 of 4 epochs in 4 slices by 2 workers: sqlite:///" in done.stdout


def test_fit_trains_a_surrogate_that_validate_ranks_with(tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    where = [f"--trainer.default_root_dir={tmp_path}", "--trainer.max_steps=4", "--trainer.logger=false"]
    main(["fit", "--config", "demo", "--model.init_args.encoder=stat", *SMALL, *where])
    (last,) = tmp_path.rglob("*.ckpt")
    capsys.readouterr()
    main(["validate", "--config", "demo", "--model.init_args.encoder=stat", f"--ckpt_path={last}", *SMALL, *where])
    assert "val/tau_next_1" in capsys.readouterr().out
    assert "process.covariance.raw_outputscale" in load_parameters(last)


def test_a_fit_that_was_stopped_resumes_to_the_same_bits(tmp_path):
    def fitted(steps, folder, resume=None):
        where = [f"--trainer.max_steps={steps}", "--trainer.max_epochs=-1"]
        where += [f"--trainer.default_root_dir={tmp_path / folder}", "--trainer.enable_checkpointing=true"]
        small = ["--trainer.logger=false", "--model.init_args.encoder=stat", "--data.init_args.rows=2"]
        experiment = Experiment(["demo"], [*SMALL, *where, *small, "--trainer.limit_val_batches=0"])
        keep = ModelCheckpoint(tmp_path / folder, save_last=True, every_n_train_steps=1, enable_version_counter=False)
        trainer = experiment.trainer([keep])
        trainer.fit(experiment.model, experiment.data, ckpt_path=resume)
        return experiment.model.gp.state_dict(), trainer.num_training_batches

    whole, batches = fitted(12, "whole")
    assert 2 <= batches < 11
    for stopped in (batches, batches + 1):  # between two epochs, and within one
        fitted(stopped, f"part{stopped}")
        resumed, _ = fitted(12, f"rest{stopped}", tmp_path / f"part{stopped}" / "last.ckpt")
        assert all(torch.equal(whole[k], resumed[k]) for k in whole)


def test_the_order_of_rows_depends_on_seed_and_epoch_alone():
    order = RowOrder(9, 3)
    first = list(order)
    order.set_epoch(1)
    assert sorted(order) == list(range(9)) and list(order) != first
    again = RowOrder(9, 3)
    again.set_epoch(1)
    assert list(again) == list(order)


def test_a_batch_of_a_single_row_is_left_to_another_epoch():
    data = Experiment(["demo"], [*SMALL, "--data.init_args.rows=3"]).data
    data.setup()
    data.known_rows = data.known_rows[:7]
    assert [len(batch) for batch in data.train_dataloader()] == [3, 3]
    data.known_rows = data.known_rows[:5]
    assert [len(batch) for batch in data.train_dataloader()] == [3, 2]


def test_a_paired_interval_is_students():
    found = paired([1.0, 2.0, 3.0], [0.0, 0.0, 0.0])
    assert found.mean == 2 and found.stderr == pytest.approx(3**-0.5)
    assert found.high - found.mean == pytest.approx(4.302653 * 3**-0.5, abs=1e-4)


def test_paper_scale_configs_are_built_and_step_on_a_batch(tmp_path, hubs):
    here = ["accelerator=cpu", "logger=false", "max_steps=1", "limit_val_batches=0", "enable_checkpointing=false"]
    here = [f"--trainer.{flag}" for flag in [*here, "enable_progress_bar=false"]]
    few = ["--data.init_args.observed=3", "--data.init_args.budgets=2", "--data.init_args.states=[0]"]
    from forecasting_model_search.small_cnn_zoo import small_cnn

    cnn = small_hub(6, 3)
    network = small_cnn(stride=1, padding=1)
    cnn.configs["pretrained_index"] = range(6)
    cnn.checkpoints = type(cnn.checkpoints)({"": network})
    cnn.curves = np.clip(cnn.curves, 0, 1)
    cnn.test = cnn.curves
    for i in range(6):
        for epoch in range(4):
            weights = {n: torch.randn(p.shape) * 0.1 for n, p in network.named_parameters()}
            cnn.checkpoints.put(i, epoch, weights)
    write_hub(cnn, tmp_path / "cnn")
    curves = [
        {"config": {"a": float(k), "b": k % 2}, "log": {"Train/val_balanced_accuracy": [50, 60, 70, 71]}}
        for k in range(6)
    ]
    (tmp_path / "lc.json").write_text(json.dumps({"adult": dict(enumerate(curves))}))
    losses = [{"hp": {"a": float(k), "b": k + 0.5}, "valid": {"loss": [1.0, 0.9, 0.8, 0.7]}} for k in range(6)]
    (tmp_path / "task.json").write_text(json.dumps(losses))
    assert len(read_taskset(tmp_path / "task.json")) == 6
    for name, where in (
        ("simple_cnn_hub", f"--data.init_args.folder={tmp_path / 'cnn'}"),
        ("pretrained_hub", f"--data.init_args.folder={hubs / 'pretrained'}"),
        ("lcbench", f"--data.init_args.path={tmp_path / 'lc.json'}"),
        ("taskset", f"--data.init_args.path={tmp_path / 'task.json'}"),
    ):
        barebones = ["--trainer.barebones=false"] if name == "taskset" else []
        experiment = Experiment([name], [*here, where, *few, *barebones])
        experiment.trainer().fit(experiment.model, experiment.data)
        assert experiment.trainer is not None and experiment.model.gp is not None


@pytest.mark.parametrize("name", ["demo", "demo reproduce", "demo reproduce_narrow", "demo reproduce_hard", "taskset"])
def test_every_packaged_study_is_read(name):
    assert Experiment(name.split()).jobs()


@pytest.mark.parametrize(
    ("args", "said"),
    [
        (["replay", "nothing"], "nothing: no such hub; give digits:SEED"),
        (["replay", "digits:x"], "expected digits:SEED with a number"),
        (["replay", "digits:0", "--methods", "[grid]"], "unknown methods grid, choose from gmn"),
        (["forecast", "digits:0", "--encoder", "vit"], "unknown encoder 'vit'"),
        (["reproduce", "cifar"], "unknown experiment 'cifar', choose from all, forecast"),
        (["reproduce", "taskset"], "taskset needs a file"),
        (["report", "nothing"], "no such folder; demo and reproduce leave"),
        (["live", "--workers", "0"], "workers must be at least 1"),
        (["live", "--storage", "study.db", "--workers", "2"], "expected a URL"),
        (["fit", "--config", "nothing"], "no config 'nothing'"),
        (["fit", "--config", "demo", "--model.init_args.encoder=vit"], "unknown encoder 'vit'"),
        (["fit", "--config", "demo", "--model.init_args.rate=-1"], "the rate must be positive"),
        (["fit", "--config", "demo", "--data.init_args.control=none"], "unknown control 'none'"),
        (["fit", "--config", "demo", "--data.init_args.architectures=[vit]"], "unknown architectures vit"),
        (["fit", "--config", "demo", "--data.init_args.observed=1"], "expected observed >= 2"),
        (["fit", "--config", "taskset", "--data.init_args.path=no.json"], "no.json: no such file"),
        (["validate", "--config", "demo"], "--ckpt_path is missing"),
    ],
)
def test_bad_input_is_one_line_on_stderr(args, said, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    message = error_of(capsys, *args)
    assert said in message and "Traceback" not in message


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"observed": 10}, "10 cannot be observed and others left"),
        ({"states": "[0,4]"}, "leave nothing to forecast"),
        ({"budgets": "5"}, "has 4 epochs, none can be observed for 5"),
        ({"weights": "false"}, "reads checkpoints, and the data offer none"),
    ],
)
def test_data_that_leave_nothing_to_learn_or_rank_are_refused(changed, said, tmp_path):
    more = [f"--data.init_args.{k}={v}" for k, v in changed.items()]
    experiment = Experiment(
        ["demo"], [*SMALL, *more, f"--trainer.default_root_dir={tmp_path}", "--trainer.logger=false"]
    )
    with pytest.raises(ValueError, match=said):
        experiment.trainer().fit(experiment.model, experiment.data)


def test_curves_alone_and_files_of_other_kinds_are_refused(tmp_path):
    from forecasting_model_search.data import HubDataModule, read_digits_folder
    from forecasting_model_search.verbs import stored_records

    class Curves(HubDataModule):
        def load(self):
            return small_hub(weights=False)

    with pytest.raises(ValueError, match="has curves alone: set weights to false"):
        Curves(observed=3, states=(0,)).setup()
    with pytest.raises(ValueError, match="unknown layout 'zip'"):
        read_digits_folder(str(tmp_path), "zip")
    with pytest.raises(ValueError, match="no such file"):
        load_parameters(tmp_path / "no.ckpt")
    torch.save({"state_dict": {"x": torch.ones(1)}}, tmp_path / "x.ckpt")
    with pytest.raises(ValueError, match="not a checkpoint of a surrogate"):
        load_parameters(tmp_path / "x.ckpt")
    (tmp_path / "bad.ckpt").write_bytes(b"nothing")
    with pytest.raises(ValueError, match="not a checkpoint of a surrogate"):
        load_parameters(tmp_path / "bad.ckpt")
    with pytest.raises(ValueError, match="no records of a study"):
        stored_records(tmp_path)
    (tmp_path / "replay").mkdir()
    (tmp_path / "replay" / "x.json").write_text("{}")
    with pytest.raises(ValueError, match=r"x\.json: not a record of a study"):
        stored_records(tmp_path)
    (tmp_path / "replay" / "x.json").write_text("{")
    with pytest.raises(ValueError, match=r"x\.json: not a JSON file"):
        stored_records(tmp_path)


def test_settings_of_a_study_name_what_they_do_not_know():
    from forecasting_model_search.study import StudySettings

    with pytest.raises(ValueError, match="unknown forecast method 'gmn upside down'"):
        StudySettings(forecast_methods=["gmn upside down"])
    with pytest.raises(ValueError, match="unknown methods grid"):
        StudySettings(replay_methods=["grid"])
