"""The command line: the demo's files, packaged configs, and one line for bad input."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from pytorch_lightning import Trainer

from regularized_lae.claims import Claim, claims_table, exit_status, write_claims
from regularized_lae.cli import main
from regularized_lae.command import CONFIGS, config_path, plain_message, with_config_paths
from regularized_lae.data import DigitsData, GaussianData, MNISTData
from regularized_lae.experiment import Experiment
from regularized_lae.stack import AutoencoderStack, NestedDropoutStack, VAEStack


def error_of(capsys, args):
    with pytest.raises(SystemExit) as stopped:
        main(args)
    assert stopped.value.code == 2
    return capsys.readouterr().err


@pytest.fixture(scope="module")
def fast_demo(tmp_path_factory):
    out = tmp_path_factory.mktemp("demo") / "out"
    with pytest.raises(SystemExit) as stopped:
        main(["demo", "--fast", "--out", str(out)])
    return stopped.value.code, out


def test_the_demo_writes_its_figures_and_claims(fast_demo):
    code, out = fast_demo
    assert code == 0
    content = json.loads((out / "claims.json").read_text())
    assert set(content) == {"project", "seed", "seconds", "fast", "command", "claims", "figures"}
    assert content["project"] == "regularized_lae" and content["fast"] is True and content["seed"] == 0
    assert content["command"] == "regularized-lae demo --seed 0 --fast"
    assert len({claim["id"] for claim in content["claims"]}) == len(content["claims"]) == 15
    for claim in content["claims"]:
        assert {"id", "statement", "paper", "measured", "threshold", "holds"} <= set(claim)
        assert isinstance(claim["holds"], bool)
    assert len(content["figures"]) == 5
    for figure in content["figures"]:
        assert (out / figure).read_bytes()[:8] == b"\x89PNG\r\n\x1a\n"


def test_a_second_demo_in_the_same_folder_reads_what_was_trained(fast_demo, capsys):
    _, out = fast_demo
    stamps = {path: path.stat().st_mtime_ns for path in out.rglob("*.pt")}
    with pytest.raises(SystemExit):
        main(["demo", "--fast", "--out", str(out)])
    assert stamps and stamps == {path: path.stat().st_mtime_ns for path in out.rglob("*.pt")}
    assert "fast run: these numbers mean nothing" in capsys.readouterr().out


def test_a_sweep_of_a_packaged_config_writes_its_table(tmp_path, capsys):
    config = tmp_path / "tiny.yaml"
    content = yaml.safe_load(Path(config_path("demo")).read_text())
    content["model"]["init_args"].update(rates=[0.1, 0.3], methods=["rag_balanced", "nonuniform"])
    content["sweep"].update(latents=[2], optimizers=["nesterov", "adam"], thresholds=[0.3])
    config.write_text(yaml.safe_dump(content))
    with pytest.raises(SystemExit) as stopped:
        main(["sweep", str(config), "--overrides", '["trainer.max_steps=100"]', "--out", str(tmp_path / "out")])
    assert stopped.value.code == 0
    rows = json.loads((tmp_path / "out" / "sweep.json").read_text())["steps"]
    assert {(row["method"], row["family"]) for row in rows} >= {
        ("rag_balanced", "sgd"),
        ("nonuniform", "adam"),
        ("gha", "sgd"),
    }
    assert "| 2 | RAG + balance | SGD |" in capsys.readouterr().out


def test_the_mnist_experiment_runs_on_an_idx_file(tmp_path, monkeypatch, capsys):
    """On 40 random images, 4 latents and a few steps: it only has to come through."""
    from test_data import idx_bytes

    from regularized_lae import reproduce

    pixels = np.random.default_rng(0).integers(0, 256, (2040, 28, 28))
    (tmp_path / "t10k-images-idx3-ubyte").write_bytes(idx_bytes(pixels))

    class Short(Experiment):
        def __init__(self, configs, overrides=()):
            model = [
                "--model.init_args.latents=4",
                "--model.init_args.rates=[0.001, 0.003]",
                "--model.init_args.seeds=[0, 1]",
            ]
            super().__init__(configs, [*overrides, *model, "--trainer.max_steps=100", "--sweep.latents=[4]"])

    monkeypatch.setattr(reproduce, "Experiment", Short)
    with pytest.raises(SystemExit) as stopped:
        main(["reproduce", "mnist", "--out", str(tmp_path / "out"), "--mnist_dir", str(tmp_path)])
    assert stopped.value.code == 0
    content = json.loads((tmp_path / "out" / "mnist.json").read_text())
    methods = {end["method"] for end in content["ends"]}
    assert methods == {
        "uniform",
        "nonuniform",
        "nested",
        "nested_sampled",
        "vae",
        "rag",
        "rag_balanced",
        "gha",
        "eigengame",
    }
    assert {p.name for p in (tmp_path / "out").glob("*.png")} == {"mnist_curves.png", "mnist_decoders.png"}


def test_fit_test_and_predict_with_a_packaged_config(tmp_path, capsys):
    path = tmp_path / "samples.npy"
    np.save(path, np.random.default_rng(0).normal(size=(64, 5)) * [3, 2, 1, 0.5, 0.2])
    common = [
        *(
            "--config",
            "stream",
            f"--data.init_args.path={path}",
            "--data.init_args.batch_size=16",
            "--model.init_args.latents=2",
        ),
        *("--trainer.accelerator=cpu", f"--trainer.default_root_dir={tmp_path}", "--trainer.enable_progress_bar=false"),
        *("--trainer.logger=false", "--trainer.max_epochs=200", "--model.init_args.rates=[0.05]"),
    ]
    main(["fit", *common])
    checkpoint = next(tmp_path.rglob("last.ckpt"))
    main(["test", *common, f"--ckpt_path={checkpoint}"])
    table = capsys.readouterr().out
    assert "test/axis_alignment" in table and "test/subspace_distance" in table
    main(["predict", *common, f"--ckpt_path={checkpoint}"])

    stack = AutoencoderStack.load_from_checkpoint(checkpoint, weights_only=True)
    codes = stack.encode(torch.zeros(3, 5))
    assert codes.shape == (1, 3, 2)
    state = torch.load(checkpoint, weights_only=True)
    assert state["hyper_parameters"]["latents"] == 2


def test_all_packaged_configs_build_their_objects(tmp_path):
    from test_data import idx_bytes

    (tmp_path / "train-images-idx3-ubyte").write_bytes(
        idx_bytes(np.random.default_rng(0).integers(0, 256, (60, 28, 28)))
    )
    mnist = Experiment(["mnist"], [f"--data.init_args.data_dir={tmp_path}", "--trainer.accelerator=cpu"])
    assert isinstance(mnist.data, MNISTData) and mnist.trainer([]).max_steps == 30_000
    over = [
        "--data.init_args.dim=30",
        "--data.init_args.samples=40",
        "--model.init_args.latents=7",
        "--trainer.accelerator=cpu",
    ]
    synthetic = Experiment(["synthetic"], over)
    assert isinstance(synthetic.data, GaussianData) and synthetic.settings.latents[-1] == 500
    assert isinstance(Experiment(["digits"]).data, DigitsData)


def test_the_papers_largest_stack_is_built_and_steps():
    """k = 500 of d = 1000, all five methods at one rate: one step on the exact covariance."""
    data = GaussianData(samples=1200, dim=1000)
    with pytest.warns(UserWarning, match="collapse"):
        stack = AutoencoderStack(
            data.eigenvalues,
            500,
            ["uniform", "nonuniform", "nested", "rag", "rag_balanced"],
            [1e-4],
            [1234],
            "nesterov",
            "repo",
            0.1,
            10,
        )
    before = stack.encoder.detach().clone()
    Trainer(accelerator="cpu", barebones=True, max_steps=1).fit(stack, datamodule=data)
    assert torch.isfinite(stack.encoder).all() and (stack.encoder != before).any(-1).any(-1).all()


@pytest.mark.parametrize("stack", [VAEStack, NestedDropoutStack])
def test_the_papers_baselines_step_on_mnist_sized_batches(stack):
    from regularized_lae import SampleCovariance

    model = stack([1.0] * 784, 20)
    model.trainer = Trainer(accelerator="cpu", barebones=True)
    loss = model.losses(SampleCovariance(torch.rand(64, 784)))
    loss.sum().backward()
    assert loss.shape == (1,) and torch.isfinite(model.encoder.grad).all()


def test_bad_command_lines_are_one_line(tmp_path, capsys):
    assert "no config 'nope'" in (text := error_of(capsys, ["fit", "--config", "nope"])) and "demo, digits" in text
    assert "unknown experiment 'fig9', choose from all, scaling, mnist, synthetic" in error_of(
        capsys, ["reproduce", "fig9"]
    )
    text = error_of(capsys, ["fit", "--config=digits", "--model.init_args.latents=65"])
    assert text.endswith("latents must be between 1 and the data dimension 64, got 65\n")
    text = error_of(
        capsys, ["fit", "--config=mnist", f"--data.init_args.data_dir={tmp_path}", "--trainer.accelerator=cpu"]
    )
    assert "train-images-idx3-ubyte" in text and "Traceback" not in text
    assert "--ckpt_path is missing" in error_of(capsys, ["test", "--config", "digits"])


def test_names_of_configs_become_paths_in_every_spelling():
    demo = str(CONFIGS / "demo.yaml")
    assert with_config_paths(["fit", "--config", "demo", "--config=demo", "-c", "demo"]) == [
        *("fit", "--config", demo, f"--config={demo}", "-c", demo)
    ]
    assert config_path(demo) == demo
    assert plain_message(ValueError("as it is")) == "as it is"


def test_python_m_is_the_same_command():
    done = subprocess.run([sys.executable, "-m", "regularized_lae", "--help"], capture_output=True, text=True)
    assert done.returncode == 0 and all(
        verb in done.stdout for verb in ("demo", "reproduce", "sweep", "fit", "predict")
    )


def test_a_claim_that_fails_is_shown_as_failing_and_strict_says_so(tmp_path):
    claims = [Claim("a", "First.", 0.5, 0.25, "below 1", True, 0.01), Claim("b", "Second.", None, "many", 3, False)]
    path = write_claims(tmp_path, "p", 1, 2.34, False, "p demo", claims, ["f.png"])
    content = json.loads(path.read_text())
    assert content["seconds"] == 2.3 and content["claims"][0]["stderr"] == 0.01 and "stderr" not in content["claims"][1]
    assert list(tmp_path.iterdir()) == [path]
    table = claims_table(claims)
    assert "holds     First." in table and "measured: 0.25 ± 0.01" in table and "DOES NOT  Second." in table
    assert (
        exit_status(claims, strict=False),
        exit_status(claims, strict=True),
        exit_status(claims[:1], strict=True),
    ) == (0, 1, 0)
    diverged = Claim("c", "Third.", None, float("inf"), "below 1", False, float("nan"))
    write_claims(tmp_path, "p", 1, 2.0, False, "p demo", [diverged], [])
    assert json.loads(path.read_text(), parse_constant=pytest.fail)["claims"][0]["measured"] == "inf"
