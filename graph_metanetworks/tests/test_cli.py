"""The command line: the demo's files, verbs on one's own networks, packaged configs, and one line for bad input."""

import json
import subprocess
import sys

import pytest
import torch
import yaml
from pictures import write_pictures
from pytorch_lightning import LightningDataModule, Trainer
from torch import nn

from graph_metanetworks.accuracy import AccuracyPrediction
from graph_metanetworks.cli import main
from graph_metanetworks.command import CONFIGS, config_path
from graph_metanetworks.experiment import Experiment
from graph_metanetworks.study import StudySettings, mean_over_seeds
from graph_metanetworks.verbs import load_network

FIGURES = ["accuracy", "comparison", "editing", "embedding", "invariance", "graph"]
SMALL = {"demo", "fast", "reproduce", "reproduce_mnist", "reproduce_cifar"}
PAPER = {"small_cnn_zoo", "diverse_architectures", "mnist_editing", "cifar_editing", "sine_contrastive"}


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


def test_the_demo_writes_its_figures_and_claims(fast_demo):
    code, out = fast_demo
    assert code == 0
    content = json.loads((out / "claims.json").read_text())
    assert set(content) == {"project", "seed", "seconds", "fast", "command", "claims", "figures"}
    assert content["project"] == "graph_metanetworks" and content["fast"] is True and content["seed"] == 0
    assert content["command"] == "graph-metanetworks demo --seed 0 --fast"
    assert len({claim["id"] for claim in content["claims"]}) == len(content["claims"]) == 17
    for claim in content["claims"]:
        assert {"id", "statement", "paper", "measured", "threshold", "holds"} <= set(claim)
        assert isinstance(claim["holds"], bool)
    symmetric = {c["id"]: c["holds"] for c in content["claims"]}
    assert symmetric["symmetry-orders"] and symmetric["symmetry-function"] and symmetric["execution"]
    assert content["figures"] == [f"{name}.png" for name in FIGURES]
    for figure in content["figures"]:
        assert (out / figure).read_bytes()[:8] == b"\x89PNG\r\n\x1a\n"


def test_a_second_demo_in_the_same_folder_reads_what_was_trained(fast_demo, capsys):
    _, out = fast_demo
    files = [*(out / "cells").iterdir(), *(out / "data").iterdir()]
    stamps = {path: path.stat().st_mtime_ns for path in files}
    assert len(stamps) > 20 and run("demo", "--fast", "--out", out) == 0
    assert stamps == {path: path.stat().st_mtime_ns for path in files}
    assert "fast run: these numbers mean nothing" in capsys.readouterr().out


def test_a_claim_that_fails_fails_a_strict_demo(fast_demo):
    _, out = fast_demo
    claims = json.loads((out / "claims.json").read_text())["claims"]
    assert run("demo", "--fast", "--strict", "--out", out) == int(not all(c["holds"] for c in claims))


def test_another_seed_is_another_study():
    from graph_metanetworks.demo import seeded

    experiment = seeded(["demo", "fast"], 3)
    assert experiment.settings.seeds == [3000] and experiment.data.hparams.zoo_seed == 3


def test_a_study_in_several_processes_is_the_same(fast_demo, tmp_path):
    _, out = fast_demo
    experiment = Experiment(["demo", "fast"], ["--study.workers=2"])
    experiment.prepare(tmp_path, "networks", ("contrastive",))
    records = experiment.finish_all(tmp_path, "metanets", ("contrastive",))
    saved = json.loads((out / "cells" / "contrastive-gmn-0.json").read_text())["made"]
    assert records[0].numbers["probe_mse"] == pytest.approx(saved["numbers"]["probe_mse"], rel=1e-3)


@pytest.fixture(scope="module")
def fitted(tmp_path_factory):
    """A run of `fit` with checkpoints, and its folder."""
    folder = tmp_path_factory.mktemp("fit")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        main(["fit", "--config", "diverse_architectures", *SHRUNK, "--trainer.max_epochs=2"])
    return folder


SHRUNK = [
    "--trainer.accelerator=cpu", "--trainer.devices=1", "--trainer.precision=32-true",
    "--trainer.enable_progress_bar=false", "--trainer.enable_model_summary=false",
    "--model.init_args.width=8", "--model.init_args.depth=1",
    "--data.init_args.families=[mlp,vit]", "--data.init_args.widths=[4,6]", "--data.init_args.counts=[8,8]",
    "--data.init_args.ood_widths=[8]", "--data.init_args.ood_counts=[4]", "--data.init_args.steps=[2,6]",
]  # fmt: skip


def test_what_fit_trained_can_be_tested_and_predicts(fitted, monkeypatch, capsys):
    monkeypatch.chdir(fitted)
    last = next(fitted.rglob("last.ckpt"))
    content = torch.load(last, weights_only=True)
    assert content["hyper_parameters"]["width"] == 8
    main(["test", "--config", "diverse_architectures", *SHRUNK, "--ckpt_path", str(last)])
    printed = capsys.readouterr().out
    assert "test/r2" in printed and "ood/tau" in printed
    main(["predict", "--config", "diverse_architectures", *SHRUNK, "--ckpt_path", str(last)])
    with pytest.raises(SystemExit):
        main(["test", "--config", "diverse_architectures", *SHRUNK])
    assert "--ckpt_path is missing" in capsys.readouterr().err


def test_graph_and_check_symmetry_take_any_importable_network(tmp_path, monkeypatch, capsys):
    (tmp_path / "mynets.py").write_text(
        "import torch\nfrom torch import nn\n"
        "class Net(nn.Sequential):\n"
        "    example_input = torch.zeros(1, 4)\n"
        "    def __init__(self):\n        super().__init__(nn.Linear(4, 5), nn.ReLU(), nn.Linear(5, 2))\n"
        "class Attention(nn.Module):\n"
        "    def __init__(self):\n        super().__init__()\n"
        "        self.a = nn.MultiheadAttention(4, 2, batch_first=True)\n"
        "    def forward(self, x):\n        return self.a(x, x, x, need_weights=False)[0]\n"
        "def words():\n    return nn.Sequential(nn.Embedding(5, 3), nn.Linear(3, 2))\n"
        "instance = nn.Sequential(nn.Linear(3, 2))\nnothing = 3\n"
        "def zero():\n    return 0\n"
        "def needy(x):\n    return x\n"
    )
    monkeypatch.chdir(tmp_path)
    assert run("graph", "mynets:Net", "--out", tmp_path / "net.png") == 0
    printed = capsys.readouterr().out
    assert "37 edges, 37 parameters" in printed and "computes the network up to" in printed
    assert (tmp_path / "net.png").stat().st_size > 1000
    assert run("check-symmetry", "mynets:Net") == 0
    assert "120 automorphisms" in capsys.readouterr().out
    assert run("check-symmetry", "mynets:Attention", "--input=[5,4]") == 0
    assert run("check-symmetry", "mynets:Attention", "--input=[5,4]", "--style=paper") == 1
    assert "NOT all are symmetries" in capsys.readouterr().out
    assert run("graph", "mynets:words", "--input=[4]", "--integers") == 0
    assert run("graph", "mynets:instance", "--input=[3]", "--style", "paper") == 0
    examples = [load_network("mynets:instance", [3], False)[1] for _ in range(2)]
    assert torch.equal(*examples)  # the same every time
    for name, said in {
        "mynets": "expected pkg.mod:Net",
        "nonets:Net": "cannot import nonets",
        "mynets:No": "mynets has no No",
        "mynets:nothing": "it must be callable without arguments",
        "mynets:zero": "a torch.nn.Module expected, got a int",
        "mynets:needy": "it must be callable without arguments",
        "mynets:instance": "say the shape of one input",
    }.items():
        assert said in error_of(capsys, "graph", name)
    from graph_metanetworks.networks.resnet18 import ResNet18

    monkeypatch.setattr(sys.modules["mynets"], "Big", lambda: ResNet18(width=8), raising=False)
    assert "edges are too many to count" in error_of(capsys, "check-symmetry", "mynets:Big", "--input=[3,32,32]")
    assert "a picture of" in error_of(capsys, "graph", "mynets:Big", "--input=[3,32,32]", "--out", tmp_path / "big.png")


def test_zoo_writes_files(tmp_path, capsys, monkeypatch):
    from graph_metanetworks import verbs, zoo

    monkeypatch.setattr(verbs, "Recipe", lambda: zoo.Recipe(steps=(2, 4)))
    assert run("zoo", "mlp", "--width", 4, "--count", 3, "--out", tmp_path) == 0
    assert len(list(tmp_path.glob("mlp-4-*.safetensors"))) == 1
    assert "mlp of width 4: 3 networks" in capsys.readouterr().out
    assert "unknown family 'rnn'" in error_of(capsys, "zoo", "rnn", "--out", tmp_path)


def test_bad_input_is_one_line(capsys, tmp_path):
    assert "no config 'nope'" in error_of(capsys, "fit", "--config", "nope")
    assert "unknown experiment 'all-of-it', choose from all, symmetry" in error_of(
        capsys, "reproduce", "all-of-it", "--out", tmp_path
    )
    for name in ("cifar", "cifar-selection"):
        assert "none.zip: no such file or folder; name the data by --cifar_path" in error_of(
            capsys, "reproduce", name, "--out", tmp_path, "--cifar_path", "none.zip"
        )
    with pytest.raises(ValueError, match="the study section has no cells"):
        Experiment(["diverse_architectures"], SHRUNK).finish_all(tmp_path, "x")
    with pytest.raises(ValueError, match="no record of accuracy/gmn"):
        mean_over_seeds([], "accuracy", "gmn", "test_r2")


@pytest.mark.parametrize("name", ["symmetry", "accuracy", "editing", "contrastive"])
def test_the_experiments_reproduce(name, tmp_path, monkeypatch):
    """With the fast config over theirs: it only has to come through."""
    from graph_metanetworks import reproduce as module

    monkeypatch.setattr(
        module, "Experiment", lambda configs, over=(): Experiment([*configs, "fast"], [*over, "--study.seeds=[0,1]"])
    )
    assert run("reproduce", name, "--out", tmp_path) == 0
    content = json.loads((tmp_path / f"{name}.json").read_text())
    assert content["versions"]["torch"] == torch.__version__ and content["claims"]
    assert content["command"] == f"graph-metanetworks reproduce {name}" and str(tmp_path) not in json.dumps(content)


def test_cifar_inrs_reproduce_from_pictures(tmp_path, monkeypatch):
    from graph_metanetworks import reproduce as module

    write_pictures(tmp_path / "cifar", "train", 20)
    quick = {"trainer.max_epochs": 1, "data.init_args.count": 20, "data.init_args.val": 4, "data.init_args.test": 6}
    quick |= {"data.init_args.steps": 3, "model.init_args.width": 8, "model.init_args.depth": 1}
    over = [f"--study.editing.fast={json.dumps(quick)}", "--study.seeds=[0]", "--study.workers=1"]
    monkeypatch.setattr(module, "Experiment", lambda configs, given=(): Experiment(configs, [*given, *over]))
    assert run("reproduce", "cifar", "--out", tmp_path, "--cifar_path", tmp_path / "cifar") == 0
    content = json.loads((tmp_path / "cifar.json").read_text())
    assert [claim["id"] for claim in content["claims"]] == ["contrast-mse", "contrast-flat", "contrast-npnfn"]
    assert content["command"] == "graph-metanetworks reproduce cifar --cifar_path PATH"
    assert (tmp_path / "cifar_editing.png").is_file()


def test_mnist_inrs_reproduce_on_the_real_files(papers_data, tmp_path, monkeypatch):
    from graph_metanetworks import reproduce as module

    quick = {"trainer.max_epochs": 1, "data.init_args.count": 20, "data.init_args.val": 4, "data.init_args.test": 6}
    quick |= {"data.init_args.steps": 3, "model.init_args.width": 8, "model.init_args.depth": 1}
    over = [f"--study.editing.fast={json.dumps(quick)}", "--study.seeds=[0]", "--study.workers=1"]
    monkeypatch.setattr(module, "Experiment", lambda configs, given=(): Experiment(configs, [*given, *over]))
    assert run("reproduce", "mnist", "--out", tmp_path, "--mnist_dir", papers_data / "mnist") == 0
    content = json.loads((tmp_path / "mnist.json").read_text())
    assert len(content["runs"]) == 3 and content["command"].endswith("--mnist_dir DIR")
    over.append('--study.editing.grid={"cells": ["flat"], "rates": [1e-3, 3e-3, 1e-2], "beyond": []}')
    assert run("reproduce", "mnist-selection", "--out", tmp_path, "--mnist_dir", papers_data / "mnist") == 0
    content = json.loads((tmp_path / "mnist-selection.json").read_text())
    assert {one["rate"] for one in content["trials"]} == {1e-3, 3e-3, 1e-2} and len(content["chosen"]) == 1


def test_every_packaged_config_is_known_to_the_tests():
    assert {path.stem for path in CONFIGS.glob("*.yaml")} == SMALL | PAPER
    assert config_path("demo") == str(CONFIGS / "demo.yaml")


@pytest.mark.parametrize("name", sorted(PAPER))
def test_paper_configs_construct_and_take_a_step(name, tmp_path, papers_sized):
    """At the paper's sizes of model and batch, on a CPU, with little data."""
    content = yaml.safe_load((CONFIGS / f"{name}.yaml").read_text())
    content["trainer"] = {
        "accelerator": "cpu", "max_steps": 1, "max_epochs": -1, "logger": False, "enable_checkpointing": False,
        "enable_progress_bar": False, "enable_model_summary": False, "limit_val_batches": 1, "num_sanity_val_steps": 0,
    }  # fmt: skip
    content["data"] = papers_sized(name, content["data"])
    if name in ("mnist_editing", "cifar_editing"):
        content["model"]["init_args"]["side"] = 8
    path = tmp_path / "config.yaml"
    path.write_text(yaml.safe_dump(content, sort_keys=False))
    experiment = Experiment([str(path)])
    assert isinstance(experiment.data, LightningDataModule)
    before = nn.utils.parameters_to_vector(experiment.model.parameters()).detach().clone()
    experiment.trainer().fit(experiment.model, datamodule=experiment.data)
    after = nn.utils.parameters_to_vector(experiment.model.parameters())
    assert not torch.equal(before, after)


@pytest.fixture
def papers_sized(tmp_path):
    """The config's data with fewer and shorter-trained networks."""

    def shrink(name, data):
        options = data["init_args"]
        if name == "small_cnn_zoo":
            return {
                "class_path": "graph_metanetworks.zoo_data.ZooData",
                "init_args": {"folder": str(tmp_path), "families": ["cnn"], "widths": [4], "counts": [20],
                              "ood_counts": [2], "steps": [1, 2]},
            }  # fmt: skip
        if name == "diverse_architectures":
            small = {
                "counts": [4] * len(options["widths"]),
                "ood_counts": [2] * len(options["ood_widths"]),
                "steps": [1, 2],
            }
            return {**data, "init_args": {**options, **small, "folder": str(tmp_path)}}
        if name == "cifar_editing":
            write_pictures(tmp_path / "cifar", "train", 8)
            small = {"path": str(tmp_path / "cifar"), "folder": str(tmp_path), "val": 2, "test": 2, "steps": 2}
            return {**data, "init_args": {**options, **small, "stride": 4}}
        if name == "mnist_editing":
            size = {k: options[k] for k in ("sizes", "omega") if k in options}
            return {
                "class_path": "graph_metanetworks.siren_data.DigitSirens",
                "init_args": {**size, "folder": str(tmp_path), "count": 12, "val": 4, "test": 4, "steps": 2},
            }
        return {**data, "init_args": {**options, "folder": str(tmp_path), "waves": 20, "val": 4, "test": 4, "steps": 2}}

    return shrink


def test_a_paper_sized_metanet_has_about_as_many_parameters_as_the_papers():
    content = yaml.safe_load((CONFIGS / "diverse_architectures.yaml").read_text())
    options = content["model"]["init_args"]
    size = sum(p.numel() for p in AccuracyPrediction(**options).parameters())
    assert 0.5e6 < size < 1e6


def test_python_dash_m_is_the_command():
    found = subprocess.run([sys.executable, "-m", "graph_metanetworks", "--help"], capture_output=True, text=True)
    assert found.returncode == 0 and "usage: graph-metanetworks" in found.stdout


def test_settings_of_a_study_are_found_by_name():
    assert StudySettings().section("editing").cells == {}
    assert isinstance(Experiment(["demo"]).trainer(), Trainer)
