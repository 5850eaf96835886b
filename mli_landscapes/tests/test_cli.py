"""The command line: the demo's files, verbs on one's own checkpoints, packaged configs, and one line for bad input."""

import json
import subprocess
import sys

import numpy as np
import pytest
import torch
import yaml
from PIL import Image
from pytorch_lightning import Trainer
from safetensors.torch import save_file

from mli_landscapes import load_state, snapshot
from mli_landscapes.checkpoints import load_training
from mli_landscapes.cli import main
from mli_landscapes.command import CONFIGS, config_path
from mli_landscapes.data import MarkovText, SyntheticImages
from mli_landscapes.experiment import Experiment

FIGURES = ["curves", "rates", "distance", "outward", "optima", "plane", "theorem1"]


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
    assert content["project"] == "mli_landscapes" and content["fast"] is True and content["seed"] == 0
    assert content["command"] == "mli-landscapes demo --seed 0 --fast"
    assert len({claim["id"] for claim in content["claims"]}) == len(content["claims"]) == 16
    for claim in content["claims"]:
        assert {"id", "statement", "paper", "measured", "threshold", "holds"} <= set(claim)
        assert isinstance(claim["holds"], bool)
    assert content["figures"] == [f"{name}.png" for name in FIGURES]
    for figure in content["figures"]:
        assert (out / figure).read_bytes()[:8] == b"\x89PNG\r\n\x1a\n"


def test_a_second_demo_in_the_same_folder_reads_what_was_trained(fast_demo, capsys):
    _, out = fast_demo
    stamps = {path: path.stat().st_mtime_ns for path in (out / "cells").iterdir()}
    assert run("demo", "--fast", "--out", out) == 0
    assert stamps == {path: path.stat().st_mtime_ns for path in (out / "cells").iterdir()}
    assert "fast run: these numbers mean nothing" in capsys.readouterr().out


def test_another_seed_is_another_demo(tmp_path):
    assert run("demo", "--fast", "--seed", 1, "--out", tmp_path) == 0
    records = json.loads((tmp_path / "cells" / "sgd.json").read_text())["made"]
    assert sorted({r["seed"] for r in records}) == [1000, 1001]


def test_a_claim_that_fails_fails_a_strict_demo(fast_demo):
    _, out = fast_demo
    claims = json.loads((out / "claims.json").read_text())["claims"]
    assert run("demo", "--fast", "--strict", "--out", out) == int(not all(c["holds"] for c in claims))


def test_the_records_of_a_study_can_be_tabled_again(fast_demo, capsys):
    _, out = fast_demo
    assert run("table", out / "cells", "--converged", 10, "--delta", 0.001) == 0
    assert "| adam_bn | 0.1 | 2 of 2 |" in capsys.readouterr().out


@pytest.fixture(scope="module")
def fitted(tmp_path_factory):
    """A run of `fit` with checkpoints, and its folder."""
    folder = tmp_path_factory.mktemp("fit")
    quiet = ["--trainer.enable_progress_bar=false", "--trainer.enable_model_summary=false"]
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        main(["fit", "--config", "digits", "--trainer.max_epochs=3", "--trainer.accelerator=cpu", *quiet])
    return folder / "runs" / "mli_landscapes-digits"


def test_fit_leaves_a_curve_and_a_checkpoint_that_knows_its_start(fitted):
    curve = json.loads((fitted / "mli.json").read_text())
    assert len(curve["alphas"]) == len(curve["losses"]) == 50 and curve["weight_distance"] > 0
    training = load_training(str(fitted / "checkpoints" / "last.ckpt"))
    assert training.initial.keys() == snapshot(training.network).keys()
    assert any(not torch.equal(v, training.initial[n]) for n, v in snapshot(training.network).items())


def test_a_second_fit_can_go_to_a_folder_of_its_own(fitted, tmp_path):
    """Both the checkpoint and the curve follow default_root_dir, and the first run stays as it was."""
    before = {path: path.read_bytes() for path in fitted.rglob("*") if path.is_file()}
    quiet = ["--trainer.enable_progress_bar=false", "--trainer.enable_model_summary=false"]
    options = ["--trainer.max_epochs=1", "--trainer.accelerator=cpu", f"--trainer.default_root_dir={tmp_path}", *quiet]
    main(["fit", "--config", "digits", "--model.init_args.seeds=[1]", *options])
    assert (tmp_path / "checkpoints" / "last.ckpt").is_file() and (tmp_path / "mli.json").is_file()
    assert before == {path: path.read_bytes() for path in fitted.rglob("*") if path.is_file()}


def test_interpolate_runs_from_a_runs_own_start_or_from_any_state(fitted, tmp_path, capsys):
    last = fitted / "checkpoints" / "last.ckpt"
    assert run("interpolate", last, "--out", tmp_path / "own", "--alphas", 11) == 0
    assert "min delta" in capsys.readouterr().out
    own = json.loads((tmp_path / "own" / "mli.json").read_text())
    assert len(own["losses"]) == len(own["held_out"]) == 11
    assert (tmp_path / "own" / "mli.png").stat().st_size > 1000

    start = {name: value.contiguous() for name, value in load_training(str(last)).initial.items()}
    save_file(start, tmp_path / "start.safetensors")
    assert run("interpolate", tmp_path / "start.safetensors", last, "--out", tmp_path / "two", "--alphas", 11) == 0
    assert json.loads((tmp_path / "two" / "mli.json").read_text()) == own


def test_plane_and_gauss_take_checkpoints(fitted, tmp_path, capsys):
    last = fitted / "checkpoints" / "last.ckpt"
    other = {name: torch.randn(value.shape) for name, value in load_training(str(last)).initial.items()}
    torch.save(other, tmp_path / "other.pt")
    options = ("--points", 4, "--rows", 50, "--out", tmp_path)
    assert run("plane", "initial", tmp_path / "other.pt", last, *options) == 0
    content = json.loads((tmp_path / "plane.json").read_text())
    assert np.shape(content["losses"]) == (4, 4) and content["corners"][0] == pytest.approx([0, 0], abs=1e-6)
    assert run("gauss", last, "--examples", 5, "--points", 10) == 0
    assert "of 5 examples turn by less than pi/2" in capsys.readouterr().out


def test_what_fit_trained_can_be_tested(fitted, capsys, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    main(
        [
            "test",
            "--config",
            "digits",
            f"--ckpt_path={fitted / 'checkpoints' / 'last.ckpt'}",
            "--trainer.accelerator=cpu",
        ]
    )
    assert "test/error" in capsys.readouterr().out


def test_a_study_takes_settings_over_its_config_and_leaves_what_table_reads(tmp_path, capsys):
    over = ["--trainer.max_epochs=1", "model.init_args.hidden=[4]", "study.gauss_examples=0", "study.alphas=4"]
    over += ["study.cells={sgd: {}}", "study.converged=10", "data.init_args.train_size=50"]
    assert run("study", "demo", "--overrides", json.dumps(over), "--out", tmp_path) == 0
    printed = capsys.readouterr().out
    assert "| sgd |" in printed and [path.name for path in tmp_path.iterdir()] == ["sgd.json"]
    assert run("table", tmp_path, "--converged", 10) == 0
    assert capsys.readouterr().out == printed
    (tmp_path / "other.json").write_text("{")
    assert "other.json: not the records of a study" in error_of(capsys, "table", tmp_path)


def test_all_experiments_are_those_that_need_no_data(tmp_path, monkeypatch):
    from mli_landscapes import reproduce

    ran = []
    own = {name: (lambda experiment, out: ran.append(experiment.configs)) for name in reproduce.EXPERIMENTS}
    monkeypatch.setattr(reproduce, "EXPERIMENTS", own)
    assert run("reproduce", "--out", tmp_path) == 0
    assert ran == [["reproduce_digits"], ["reproduce_mechanisms"]]


def test_weights_that_were_never_trained_are_not_tested(capsys):
    assert "--ckpt_path is missing" in error_of(capsys, "test", "--config", "digits")


@pytest.mark.parametrize(
    ("args", "said"),
    [
        (["interpolate", "no.ckpt"], "no.ckpt: no such file"),
        (["fit", "--config", "nothing"], "no config 'nothing': it is neither a file nor one of the packaged cifar10"),
        (["reproduce", "imagenet"], "unknown experiment 'imagenet', choose from all, digits, mechanisms, mnist, cifar"),
        (["reproduce", "mnist", "--mnist_dir", "nowhere"], "t10k-images-idx3-ubyte"),
        (["table", "nowhere"], "no records of a study"),
        (["fit", "--config", "digits", "--model.init_args.optimizer=lion"], "unknown optimizer 'lion'"),
        (["fit", "--config", "digits", "--model.init_args.rates=[-1]"], "rates positive"),
        (["fit", "--config", "digits", "--data.init_args.label_noise=2"], "label_noise must be in"),
    ],
)
def test_bad_input_is_one_line_on_stderr(args, said, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    message = error_of(capsys, *args)
    assert said in message and len(message.strip().splitlines()) == 1 and "Traceback" not in message


def test_a_checkpoint_of_something_else_is_refused_by_name(tmp_path, capsys, fitted):
    torch.save({"weight": torch.ones(2)}, tmp_path / "plain.pt")
    assert "plain.pt: not a checkpoint of `mli-landscapes fit`" in error_of(
        capsys, "interpolate", tmp_path / "plain.pt"
    )
    message = error_of(capsys, "interpolate", tmp_path / "plain.pt", fitted / "checkpoints" / "last.ckpt")
    assert "lacks layers.0.weight" in message


def test_a_malicious_checkpoint_is_not_unpickled(tmp_path, capsys):
    class Bomb:
        def __reduce__(self):
            return (open, (str(tmp_path / "exploded"), "w"))

    torch.save({"state_dict": Bomb()}, tmp_path / "bomb.ckpt")
    assert "bomb.ckpt: not a readable checkpoint of tensors" in error_of(capsys, "interpolate", tmp_path / "bomb.ckpt")
    assert not (tmp_path / "exploded").exists()


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("a.safetensors", b"nonsense", "not a readable safetensors file"),
        ("a.pt", b"nonsense", "not a readable checkpoint"),
        ("a.pth", b"", "not a readable checkpoint"),
    ],
)
def test_damaged_files_are_named(tmp_path, name, content, said):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(ValueError, match=f"{name}: {said}"):
        load_state(str(tmp_path / name))


def test_files_without_tensors_are_refused(tmp_path):
    torch.save({"epoch": 3}, tmp_path / "a.pt")
    with pytest.raises(ValueError, match="holds no tensors by name"):
        load_state(str(tmp_path / "a.pt"))
    torch.save([1, 2], tmp_path / "b.pt")
    with pytest.raises(ValueError, match="a dict was expected, it holds a list"):
        load_state(str(tmp_path / "b.pt"))


PAPER = {  # config -> cells of its study
    "mnist": 168,
    "mnist_autoencoder": 14,
    "cifar10": 224,
    "cifar100": 224,
    "wikitext_lstm": 66,
    "wikitext_transformer": 66,
}


def test_every_packaged_config_is_known_to_the_tests():
    small = {"demo", "digits", "fast", "reproduce_digits", "reproduce_mechanisms", "reproduce_mnist", "reproduce_cifar"}
    assert {path.stem for path in CONFIGS.glob("*.yaml")} == small | set(PAPER)


@pytest.fixture
def paper_data(tmp_path):
    """Overrides that put small random data of the right shape in the place of the real ones."""
    folder = tmp_path / "text"
    folder.mkdir()
    words = " ".join(f"w{i % 7}" for i in range(400))
    for name in ("train", "valid", "test"):
        (folder / f"{name}.txt").write_text(words)
    images = {"class_path": "mli_landscapes.data.SyntheticImages"}
    mnist = {**images, "init_args": {"examples": 16, "channels": 1, "size": 28, "classes": 10, "batch_size": 8}}
    cifar = {**images, "init_args": {"examples": 16, "channels": 3, "size": 32, "batch_size": 8}}
    return {
        "mnist": mnist,
        "mnist_autoencoder": mnist,
        "cifar10": {**cifar, "init_args": {**cifar["init_args"], "classes": 10}},
        "cifar100": {**cifar, "init_args": {**cifar["init_args"], "classes": 100}},
        "wikitext_lstm": {"class_path": "mli_landscapes.data.WikiTextData", "init_args": {"data_dir": str(folder)}},
        "wikitext_transformer": {
            "class_path": "mli_landscapes.data.WikiTextData",
            "init_args": {"data_dir": str(folder)},
        },
    }


@pytest.mark.parametrize("name", sorted(PAPER))
def test_paper_configs_construct_and_take_a_step(name, paper_data, tmp_path):
    """At the paper's sizes, on random data of the right shape and on a CPU; a study has as many cells as the paper."""
    content = yaml.safe_load((CONFIGS / f"{name}.yaml").read_text())
    content["data"] = paper_data[name]
    content["trainer"].update(
        accelerator="cpu", max_epochs=-1, max_steps=1, logger=False, enable_checkpointing=False,
        enable_progress_bar=False, enable_model_summary=False, limit_val_batches=1, log_every_n_steps=1,
    )  # fmt: skip
    path = tmp_path / "config.yaml"
    path.write_text(yaml.safe_dump(content, sort_keys=False))
    experiment = Experiment([str(path)])
    assert len(experiment.settings.all_cells()) == PAPER[name]
    before = snapshot(experiment.model.network)
    experiment.trainer([]).fit(experiment.model, datamodule=experiment.data)
    after = snapshot(experiment.model.network)
    assert any(not torch.equal(before[key], after[key]) for key in before)


def test_the_cifar_experiment_runs_on_an_image_folder(tmp_path):
    """On 40 random images and one epoch of two cells: it only has to come through."""
    random = np.random.default_rng(0)
    for part in ("train", "test"):
        for label in ("cat", "dog"):
            folder = tmp_path / "images" / part / label
            folder.mkdir(parents=True)
            for i in range(10):
                Image.fromarray(random.integers(0, 256, (8, 8, 3), dtype=np.uint8)).save(folder / f"{i}.png")
    from mli_landscapes.reproduce import cifar

    cells = "{bn_sgd_0.1: {}, nbn-i_adam_0.01: {model.init_args.variant: nbn-i, model.init_args.optimizer: adam}}"
    over = [f"--data.init_args.path={tmp_path / 'images'}", "--data.init_args.size=8", "--study.factors={}"]
    over += ["--trainer.max_epochs=1", "--study.alphas=3", f"--study.cells={cells}", "--data.init_args.train_size=20"]
    cifar(Experiment(["reproduce_cifar"], [*over, "--study.converged=100"]), tmp_path / "out")
    content = json.loads((tmp_path / "out" / "cifar.json").read_text())
    assert content["command"] == "mli-landscapes reproduce cifar --cifar_path PATH"
    assert len(content["runs"]) == 2 and {c["id"] for c in content["claims"]} == {"resnet-adam", "resnet-batchnorm"}
    assert (tmp_path / "out" / "cifar_curves.png").exists()


@pytest.mark.parametrize("name", ["digits", "mechanisms"])
def test_the_digits_experiments_run(name, tmp_path):
    """With the fast config over theirs."""
    from mli_landscapes import reproduce

    over = ["--study.cells={sgd: {}, sgd_bn: {model.init_args.batchnorm: true}}"] if name == "mechanisms" else []
    reproduce.EXPERIMENTS[name](Experiment([f"reproduce_{name}", "fast"], over), tmp_path)
    content = json.loads((tmp_path / f"{name}.json").read_text())
    assert content["versions"]["torch"] == torch.__version__ and content["table"]
    assert str(tmp_path) not in json.dumps(content)


def test_mnist_reproduces_on_the_real_files(papers_data, tmp_path):
    from mli_landscapes.reproduce import mnist

    over = [f"--data.init_args.data_dir={papers_data / 'mnist'}", "--data.init_args.train_size=200"]
    over += ["--trainer.max_epochs=1", "--model.init_args.hidden=[8]", "--study.converged=10", "--study.alphas=4"]
    over += ["--study.gauss_points=6", "--study.gauss_examples=4", "--study.held_out_rows=50"]
    cells = {
        name: {"model.init_args.rates": [0.01, 0.1], "model.init_args.batchnorm": name.endswith("bn")}
        for name in ("sgd", "sgd_bn", "adam", "adam_bn")
    }
    mnist(Experiment(["reproduce_mnist"], [*over, f"--study.cells={json.dumps(cells)}"]), tmp_path)
    assert len(json.loads((tmp_path / "mnist.json").read_text())["runs"]) == 8


def test_python_dash_m_is_the_command():
    found = subprocess.run([sys.executable, "-m", "mli_landscapes", "--help"], capture_output=True, text=True)
    assert found.returncode == 0 and "usage: mli-landscapes" in found.stdout


def test_config_names_resolve_to_packaged_files():
    assert config_path("demo") == str(CONFIGS / "demo.yaml")


def test_a_module_of_the_command_line_trains_text_and_images():
    """The two kinds of data give models their sizes by one property."""
    assert MarkovText(vocabulary=9, tokens=400).sizes == [9]
    assert SyntheticImages(8, channels=3, size=8, classes=4).sizes == [3, 8, 8, 4]
    assert isinstance(Experiment(["digits"]).trainer([]), Trainer)
