"""The command line: stages one after another, verbs on their checkpoints, packaged configs, one line for bad input."""

import importlib
import inspect
import re
from pathlib import Path

import pytest
import torch
import yaml
from PIL import Image

from latte3d.checkpoints import load_networks
from latte3d.cli import main
from latte3d.command import CONFIGS, config_path
from latte3d.experiment import Experiment
from latte3d.networks import Latte3D
from latte3d.optimization import optimise
from latte3d.pipeline import Latte3DPipeline
from latte3d.shapes import Shape
from latte3d.textured_mesh import read_mesh, vertex_colored

SIZES = "{resolution: 8, point_widths: [8], voxels: [4], widths: [8, 16], text_width: 8, channels: 4, points: 64}"
SMALL = [
    "--trainer.max_steps=2", "--trainer.accelerator=cpu", "--trainer.enable_progress_bar=false",
    "--data.init_args.each=1", "--data.init_args.held_out_each=1", '--data.init_args.bodies=["ball"]',
    "--data.init_args.batch_size=2", "--data.init_args.points=64", "--data.init_args.sets=1",
]  # fmt: skip
STAGE = [f"--model.init_args.sizes={SIZES}", "--model.init_args.cells=12"]
PRIOR = ["--model.init_args.channels=[8, 16]", "--model.init_args.text_width=8", "--model.init_args.size=16"]


def run(*args):
    """The exit status of a command in this process."""
    with pytest.raises(SystemExit) as stopped:
        main(list(map(str, args)))
    return stopped.value.code


def fit(folder, config, *more):
    """The checkpoint that `fit` leaves in a folder."""
    main(["fit", "--config", config, f"--trainer.default_root_dir={folder}", *SMALL, *more])
    return folder / "checkpoints" / "last.ckpt"


def error_of(capsys, *args):
    assert run(*args) == 2
    return capsys.readouterr().err


@pytest.fixture(scope="module")
def chain(tmp_path_factory):
    """Both priors and the three stages, two steps each."""
    folder = tmp_path_factory.mktemp("chain")
    priors = {}
    for name, size in (("multi_view", 16), ("depth", 32)):
        priors[name] = folder / f"{name}.safetensors"
        fit(
            folder / name,
            f"prior_{name}",
            *PRIOR,
            f"--model.init_args.out={priors[name]}",
            f"--data.init_args.size={size}",
        )
    small = [*STAGE, "--data.init_args.size=16"]
    zero = fit(folder / "0", "stage0", *small, "--model.init_args.size=16", "--model.init_args.samples=12")
    one = fit(
        folder / "1", "stage1", *small, "--model.init_args.size=16", "--model.init_args.samples=12",
        f"--model.init_args.start={zero}", f"--model.init_args.prior={priors['multi_view']}",
    )  # fmt: skip
    two = fit(
        folder / "2", "stage2", *small, "--model.init_args.size=32", "--model.init_args.window=16",
        f"--model.init_args.start={one}", f"--model.init_args.prior={priors['depth']}",
    )  # fmt: skip
    return {"zero": zero, "one": one, "two": two, **priors}


@pytest.mark.parametrize("stage", ["zero", "one", "two"])
def test_each_stage_leaves_a_checkpoint_that_generates(chain, stage, tmp_path, capsys):
    args = ("--out", tmp_path / "a.glb", "--ckpt_path", chain[stage], "--cells", 12)
    assert run("generate", "a tall red ball", *args) == 0
    said = capsys.readouterr().out
    assert all(part in said for part in ("loading", "text", "networks", "surface", "colours", "export"))
    assert len(read_mesh(tmp_path / "a.glb").faces) > 100


def test_exported_weights_are_the_checkpoints(chain, tmp_path, capsys):
    for stage in ("one", "two"):
        folder = tmp_path / stage
        assert run("export-weights", chain[stage], "--out", folder) == 0
        assert "geometry.safetensors" in capsys.readouterr().out
        (one, _, sizes), (other, _, expected) = load_networks(folder), load_networks(chain[stage])
        torch.testing.assert_close(one.state_dict(), other.state_dict(), rtol=0.01, atol=1e-4)
        assert sizes == expected
    assert "no.ckpt: no such file" in error_of(capsys, "export-weights", tmp_path / "no.ckpt", "--out", tmp_path)
    (tmp_path / "two" / "texture.safetensors").unlink()
    with pytest.raises(FileNotFoundError, match=r"texture\.safetensors: no such file"):
        load_networks(tmp_path / "two")
    (tmp_path / "one" / "texture.safetensors").write_bytes(b"torn")
    with pytest.raises(ValueError, match=r"texture\.safetensors: no weights of latte3d \(SafetensorError"):
        load_networks(tmp_path / "one")


def test_the_packaged_networks_are_of_the_last_config_and_know_unseen_kinds(capsys):
    networks, text, sizes = load_networks()
    model = Experiment(["stage2"]).model
    assert sizes == model.sizes and list(text.vocabulary) == list(model.text.vocabulary) and networks.surface
    assert run("evaluate", "--held_out_each", 2) == 0
    rows = dict(re.findall(r"  (\w.*?)  +(0\.\d+) ±", capsys.readouterr().out))
    assert float(rows["text alone"]) > float(rows["best constant shape"]) + 0.03


def test_a_texture_is_baked_on_request(chain, tmp_path):
    args = ("--ckpt_path", chain["two"], "--cells", 8, "--texels", 32)
    assert run("generate", "a red ball", "--out", tmp_path / "a.obj", *args) == 0
    assert {path.name for path in tmp_path.iterdir()} == {"a.obj", "a.mtl", "a.png"}
    assert run("generate", "a red ball", "--out", tmp_path / "B.GLB", *args[:4]) == 0
    assert len(read_mesh(tmp_path / "B.GLB").faces) > 10


def test_a_mesh_is_stylized_and_drawn(chain, tmp_path, capsys):
    shape = Shape("cube", yaw=10.0)
    vertex_colored(*shape.mesh(12), shape.rgb).export(tmp_path / "in.glb")
    out = ("--out", tmp_path / "out.glb", "--ckpt_path", chain["one"], "--cells", 12)
    assert run("stylize", tmp_path / "in.glb", "a blue cube", *out) == 0
    assert run("render", tmp_path / "out.glb", "--out", tmp_path / "out.png", "--views", 3, "--size", 32) == 0
    assert Image.open(tmp_path / "out.png").size == (96, 32)
    assert "3 views" in capsys.readouterr().out


def test_a_prompt_is_optimised_at_test_time(chain, tmp_path, capsys):
    args = ("--ckpt_path", chain["one"], "--prior", chain["multi_view"], "--steps", 2)
    assert run("optimize", "a red ball", "--out", tmp_path / "a.glb", *args) == 0
    assert "optimisation" in capsys.readouterr().out and (tmp_path / "a.glb").exists()


def test_after_stage_2_more_steps_change_colours_alone(chain, tmp_path):
    before = Latte3DPipeline.from_pretrained(chain["two"], cells=12)
    after = optimise(str(chain["two"]), "a red ball", str(chain["depth"]), steps=2, progress=False)
    for name, value in before.networks.geometry.state_dict().items():
        assert torch.equal(after.networks.geometry.state_dict()[name], value)
    moved = after.networks.texture.residual[-1].weight - before.networks.texture.residual[-1].weight
    assert float(moved.abs().max()) > 0


def test_evaluate_prints_baselines_beside_every_iou(chain, capsys):
    assert run("evaluate", "--ckpt_path", chain["one"], "--held_out_each", 1, "--each", 1) == 0
    said = capsys.readouterr().out
    assert all(name in said for name in ("text alone", "own cloud", "constant shape", "nearest caption"))


def test_bad_input_is_one_line(chain, tmp_path, capsys):
    out = ("--out", tmp_path / "a.glb")
    said = error_of(capsys, "generate", "a red house", *out, "--ckpt_path", chain["one"])
    assert said.startswith("latte3d: error: the word 'house'") and said.count("\n") == 1
    said = error_of(capsys, "generate", "a red ball", *out, "--ckpt_path", tmp_path / "no.ckpt")
    assert "no.ckpt: no such file; `latte3d fit` and" in said
    args = ("generate", "a red ball", "--out", tmp_path / "a.ply", "--ckpt_path", chain["one"], "--cells", 8)
    assert "a.ply: expected a name that ends in .glb or .obj" in error_of(capsys, *args)
    assert "no.glb: no such file" in error_of(capsys, "render", tmp_path / "no.glb", "--out", tmp_path / "a.png")
    (tmp_path / "x.obj").write_text("v 0 0 0\nv 1 0 0\nv 0 1 0\nf 1 2 3\n")
    said = error_of(capsys, "render", tmp_path / "x.obj", "--out", tmp_path / "a.png", "--views", 0)
    assert "at least one view" in said
    optimize = ("optimize", "a red ball", *out, "--prior", chain["multi_view"], "--ckpt_path")
    assert "at least one step, got 0" in error_of(capsys, *optimize, chain["one"], "--steps", 0)
    assert "one of the packaged" in error_of(capsys, "fit", "--config", "stage9")
    assert not out[1].exists()


def settings(name):
    return yaml.safe_load(Path(config_path(name)).read_text())["model"]["init_args"]


@pytest.mark.parametrize("name", sorted(path.stem for path in CONFIGS.glob("paper_*.yaml")))
def test_configs_at_the_papers_scale_can_be_built(name, tmp_path):
    """On the meta device: the networks alone would take gigabytes."""
    sizes = settings(name)["sizes"]
    points = sizes.pop("points")
    assert points == 2048 and sizes.pop("text_length") == 77
    with torch.device("meta"):
        networks = Latte3D(**sizes)
    assert sum(p.numel() for p in networks.parameters()) > 2e7
    content = yaml.safe_load(Path(config_path(name)).read_text())
    (keep,) = content["trainer"]["callbacks"]  # an epoch never ends: a killed fit would have nothing to go on from
    assert keep["init_args"]["save_last"] and keep["init_args"]["every_n_train_steps"] > 0
    for part in (content["model"], content["data"], content["model"]["init_args"].get("prior")):
        if part is not None:
            module, _, kind = part["class_path"].rpartition(".")
            known = inspect.signature(getattr(importlib.import_module(module), kind)).parameters
            assert set(part["init_args"]) <= set(known)


@pytest.mark.parametrize("name", ["stage0", "stage1", "stage2", "prior_multi_view", "prior_depth"])
def test_small_configs_describe_what_they_train(name):
    changed = ["--data.init_args.each=1", '--data.init_args.bodies=["ball"]']
    if name in ("stage1", "stage2"):
        assert settings(name)["prior"] in ("multi_view", "depth")
        return
    experiment = Experiment([name], changed)
    assert experiment.with_settings({"trainer.max_steps": 3}).trainer().max_steps == 3
    assert set(experiment.described()) == {"model", "data", "trainer"}
