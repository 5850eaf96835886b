"""The command line: the demo's files, verbs on its model, packaged configs, and one line for bad input."""

import importlib
import json

import pytest
import torch
import trimesh
from PIL import Image
from tiny_models import save_clip, save_deepfloyd, save_pixel, save_stable_diffusion

from att3d.cli import main
from att3d.data import PromptBatch
from att3d.experiment import Cell, Experiment
from att3d.per_prompt import PerPromptBaseline

reproduce_module = importlib.import_module("att3d.reproduce")
UNSEEN = "spike-topped red cube"
OTHER_METHODS = ["per_prompt", "per_prompt_pairs", "ASD", "CSD", "VSD"]
FIGURES = ["budgets.png", "grid.png", "interpolation.png", "finetune.png", "turntable.gif"]


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
def checkpoint(fast_demo):
    return fast_demo[1] / "cells" / "amortised-2-s0.pt"


def test_the_demo_writes_its_figures_assets_and_claims(fast_demo):
    code, out = fast_demo
    assert code == 0
    content = json.loads((out / "claims.json").read_text())
    assert set(content) == {"project", "seed", "seconds", "fast", "command", "claims", "figures"}
    assert content["project"] == "att3d" and content["fast"] is True and content["seed"] == 0
    assert content["command"] == "att3d demo --seed 0 --fast"
    assert len({claim["id"] for claim in content["claims"]}) == len(content["claims"]) == 8
    for claim in content["claims"]:
        assert {"id", "statement", "paper", "measured", "threshold", "holds"} <= set(claim)
        assert isinstance(claim["holds"], bool)
    assert content["figures"] == FIGURES
    for figure in content["figures"]:
        Image.open(out / figure).verify()
    assert Image.open(out / "turntable.gif").n_frames == 12
    assert "data:image/png;base64," in (out / "contact_sheet.html").read_text()


def test_a_second_demo_in_the_same_folder_reads_what_was_made(fast_demo, capsys):
    _, out = fast_demo
    stamps = {path: path.stat().st_mtime_ns for path in (out / "cells").iterdir()}
    claims = json.loads((out / "claims.json").read_text())["claims"]
    assert run("demo", "--fast", "--strict", "--out", out) == int(not all(c["holds"] for c in claims))
    assert stamps == {path: path.stat().st_mtime_ns for path in (out / "cells").iterdir()}
    assert "fast run: these numbers mean nothing" in capsys.readouterr().out


def test_another_seed_is_another_model(fast_demo):
    experiment = Experiment(["demo", "fast"], ["--study.seeds=[1]"])
    (cell, _) = experiment.cells()
    assert cell.name == "amortised-2-s1"
    own = experiment.cell(cell)
    assert (
        own.model.seed == 1 and own.data.seed == 1 and own.fingerprint() != Experiment(["demo", "fast"]).fingerprint()
    )


def test_every_method_gets_as_many_frames_for_each_prompt(fast_demo):
    experiment = Experiment(["demo"])
    for method in experiment.settings.methods:
        own = experiment.cell(Cell(method, 96.0, None, 0))
        per_step = (own.data.prompts_per_step or len(own.data.train_prompts)) * own.model.views
        frames = own.trainer().max_steps * per_step / len(own.data.train_prompts)
        assert frames == pytest.approx(96, rel=0.02)
    assert isinstance(own.model, PerPromptBaseline)
    shared = ("scene", "cameras", "samples", "resolution", "distillation")
    other = experiment.cell(Cell("amortised", 96.0, None, 0)).model
    assert [vars(own.model.distillation), own.model.scene] == [vars(other.distillation), other.scene]
    assert all(type(getattr(own.model, name)) is type(getattr(other, name)) for name in shared)


def test_generate_shows_one_prompt_or_a_whole_set(checkpoint, tmp_path, capsys):
    args = ["--ckpt_path", checkpoint, "--resolution", 16, "--views", 4]
    assert run("generate", UNSEEN, *args, "--out", tmp_path / "one") == 0
    assert Image.open(tmp_path / "one" / "turntable.gif").n_frames == 4
    (tmp_path / "mine.txt").write_text("red cube\nblue cone\n")
    assert run("generate", tmp_path / "mine.txt", *args, "--out", tmp_path / "set") == 0
    assert (tmp_path / "set" / "contact_sheet.html").read_text().count("<figure>") == 2
    assert "2 prompts" in capsys.readouterr().out


def test_interpolate_writes_a_strip_and_an_animation(checkpoint, tmp_path):
    args = ["--ckpt_path", checkpoint, "--steps", 4, "--resolution", 16, "--out", tmp_path]
    assert run("interpolate", UNSEEN, "ball-topped blue cone", *args) == 0
    assert Image.open(tmp_path / "strip.png").size == (4 * 18 - 2, 16)
    assert Image.open(tmp_path / "morph.gif").n_frames > 1


def test_finetune_goes_on_from_the_checkpoint(checkpoint, tmp_path, capsys):
    assert run("finetune", UNSEEN, "--ckpt_path", checkpoint, "--steps", 2, "--out", tmp_path) == 0
    assert "2 steps moved the modulations" in capsys.readouterr().out
    assert {p.name for p in tmp_path.iterdir()} == {"before.png", "after.png", "finetuned.ckpt"}


@pytest.mark.parametrize("ending", ["glb", "obj", "ply"])
def test_export_mesh_writes_a_mesh_that_opens(checkpoint, tmp_path, ending, capsys):
    path = tmp_path / f"mesh.{ending}"
    args = ["--ckpt_path", checkpoint, "--resolution", 24, "--level", 1.0, "--out", path]
    assert run("export-mesh", UNSEEN, *args) == 0
    mesh = trimesh.load(path, force="mesh")
    assert len(mesh.faces) > 50 and "triangles" in capsys.readouterr().out
    if ending == "glb":
        assert path.read_bytes()[:4] == b"glTF" and mesh.visual.kind == "vertex"


def test_evaluate_scores_all_prompts_among_all_candidates(checkpoint, tmp_path, capsys):
    args = ["--ckpt_path", checkpoint, "--retrieval_steps", 5, "--views", 2, "--out", tmp_path]
    assert run("evaluate", "shapes27", *args) == 0
    said = capsys.readouterr().out
    assert "18 trained prompts" in said and "9 unseen prompts" in said and "among 27 candidates" in said
    assert len(json.loads((tmp_path / "scores.json").read_text())) == 27


def test_evaluate_takes_clip_for_ones_own_prompts(checkpoint, tmp_path, capsys):
    (tmp_path / "mine.txt").write_text("red cube\nblue cone\n")
    args = ["evaluate", tmp_path / "mine.txt", "--ckpt_path", checkpoint, "--out", tmp_path]
    assert "name a CLIP model with --clip" in error_of(capsys, *args)
    assert run(*args, "--clip", save_clip(tmp_path / "clip"), "--views", 2) == 0
    assert "2 trained prompts: r_precision" in capsys.readouterr().out


def test_what_fit_trained_can_be_tested_and_used(tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    prior = '{"class_path":"att3d.shape_prior.ShapePrior","init_args":{"views":4}}'
    small = [f"--model.init_args.guidance={prior}", "--trainer.accelerator=cpu", "--model.init_args.samples=4"]
    quiet = ["--trainer.enable_progress_bar=false", "--trainer.enable_model_summary=false"]
    where = [f"--trainer.default_root_dir={tmp_path}", "--trainer.max_steps=3", "--data.init_args.steps_per_epoch=3"]
    main(["fit", "--config", "shapes", *small, *quiet, *where])
    (last,) = tmp_path.rglob("last.ckpt")
    main(["test", "--config", "shapes", f"--ckpt_path={last}", *small, "--trainer.logger=false"])
    assert "test/loss" in capsys.readouterr().out
    assert run("generate", UNSEEN, "--ckpt_path", last, "--resolution", 8, "--views", 2, "--out", tmp_path / "g") == 0


PAPER = {"pig64_sd": save_stable_diffusion, "pig64_if": save_deepfloyd, "animals_if": save_deepfloyd}


@pytest.mark.parametrize("name", sorted(PAPER))
def test_a_paper_scale_config_is_built_and_steps_on_a_batch(name, tmp_path):
    path = PAPER[name](tmp_path / "model")
    here = ["--trainer.accelerator=cpu", "--trainer.devices=1", "--trainer.strategy=auto"]
    model_here = [f"--model.init_args.{part}.init_args.path={path}" for part in ("encoder", "guidance")]
    sizes = [f"--model.init_args.{part}.init_args.num_tokens=8" for part in ("encoder", "guidance")]
    cheap = ["--model.init_args.guidance.init_args.dtype=float32", "--model.init_args.guidance.init_args.resolution=16"]
    cheap += [
        "--model.init_args.resolution=8",
        "--model.init_args.samples=8",
        f"--model.init_args.embedding_cache={tmp_path}",
    ]
    experiment = Experiment([name], [*here, *model_here, *sizes, *cheap])
    model, batch = experiment.model, PromptBatch(*[experiment.data.train_prompts[:1]] * 2)
    assert model.scene.encoder().size == 1_023_556
    loss, out = model.loss(batch, torch.Generator().manual_seed(0), 0.5)
    loss.backward()
    assert bool(loss.isfinite()) and out.facing is not None
    trained = [p for n, p in model.named_parameters() if "mapping" in n or n.startswith("field")]
    assert all(p.grad is not None for p in trained) and sum(p.numel() for p in trained) > 3.2e7


@pytest.mark.parametrize("name", ["rates", "budgets", "rules", "scaling", "prior"])
def test_every_cell_of_a_packaged_study_is_built(name, tmp_path):
    experiment = Experiment(["demo", f"reproduce_{name}"], ["--model.init_args.guidance.init_args.views=4"])
    for method in experiment.settings.methods:
        assert experiment.cell(Cell(method, experiment.settings.budgets[0], 0.01, 0)).trainer().max_steps > 0
    assert Experiment(["reproduce_unet"]).model.unet.num_parameters() == pytest.approx(0.57e6, rel=0.2)


@pytest.fixture
def little(monkeypatch):
    """`reproduce` with everything once: its numbers mean nothing."""
    real = reproduce_module.Experiment
    study = {
        "budgets": [2], "seeds": [0], "workers": 1, "cells": 8, "views": 2, "retrieval_steps": 3, "finetune_steps": 5,
        "interpolation_steps": 2, "sweep_seed": 5,
        "rates": {"amortised": [0.01], "per_prompt": [0.01]},
        "shares": [0.125, 1.0], "kappas": [0.5, 2.0],
        "sweep": {"amortised": [0.01, 0.02], "finetune": [0.01]} | {m: [0.01] for m in OTHER_METHODS},
        "pairs": ["slab-topped red sphere | ball-topped blue sphere"],
    }  # fmt: skip
    less = [f"--study.{name}={json.dumps(value)}" for name, value in study.items()] + ["--model.init_args.samples=4"]

    def made(configs, overrides=()):
        if configs == ["reproduce_unet"]:
            return real(configs, ["--trainer.max_steps=2", "--model.init_args.widths=[8,16]"])
        few = [] if overrides else ["--model.init_args.guidance.init_args.views=4"]
        return real(configs, [*overrides, *less, *few])

    monkeypatch.setattr(reproduce_module, "Experiment", made)


def test_reproduce_resumes_and_writes_its_result(little, tmp_path):
    assert run("reproduce", "budgets", "--out", tmp_path) == 0
    content = json.loads((tmp_path / "budgets.json").read_text())
    assert content["command"] == "att3d reproduce budgets" and {r["seeds"] for r in content["table"]} == {1}
    stamps = {p: p.stat().st_mtime_ns for p in (tmp_path / "cells").iterdir()}
    assert run("reproduce", "budgets", "--out", tmp_path) == 0
    assert stamps == {p: p.stat().st_mtime_ns for p in (tmp_path / "cells").iterdir()}


def test_fine_tuning_of_other_steps_is_measured_again_and_the_settings_stay(little, tmp_path, monkeypatch):
    def curves():
        assert run("reproduce", "finetune", "--out", tmp_path) == 0
        content = json.loads((tmp_path / "finetune.json").read_text())
        return content["settings"]["study"]["finetune_rates"], [step for step, _ in content["curves"][0]["psnr"]]

    rates, steps = curves()
    assert rates["amortised"] == [0.005] and steps[-1] == 5  # the config's, whatever the sweep tried
    inner = reproduce_module.Experiment
    longer = {"study.finetune_steps": 10}
    monkeypatch.setattr(reproduce_module, "Experiment", lambda *given: inner(*given).with_settings(longer))
    assert curves() == (rates, [0, 2, 4, 6, 8, 10])


def test_shapes_of_other_sets_have_retrieval_networks_of_their_own(tmp_path):
    study = ["--study.retrieval_steps=2", "--model.init_args.guidance.init_args.views=4"]
    stamps = []
    for configs in (["demo"], ["demo", "reproduce_scaling"], ["demo"]):
        experiment = Experiment(configs, study)
        assert len(experiment.retrieval(tmp_path).candidates) == len(experiment.data.library.prompts)
        stamps.append({path.name: path.stat().st_mtime_ns for path in tmp_path.iterdir()})
    assert set(stamps[1]) == {"retrieval-3-4-16.pt", "retrieval-4-4-16.pt"} and stamps[1] == stamps[2]


def test_a_prior_that_was_written_in_part_is_trained_again(little, tmp_path):
    assert run("reproduce", "prior", "--out", tmp_path) == 0
    weights, index = (tmp_path / "cells" / "unet" / name for name in ("unet", "model_index.json"))
    stamp = index.stat().st_mtime_ns
    assert run("reproduce", "prior", "--out", tmp_path) == 0 and index.stat().st_mtime_ns == stamp
    for path in [*weights.glob("*.safetensors"), index]:
        path.unlink()
    assert run("reproduce", "prior", "--out", tmp_path) == 0 and index.is_file()


@pytest.mark.parametrize("name", ["rates", "finetune", "interpolation", "rules", "scaling", "prior"])
def test_every_experiment_runs_to_its_end(little, tmp_path, name):
    assert run("reproduce", name, "--out", tmp_path) == 0
    content = json.loads((tmp_path / f"{name}.json").read_text())
    assert content["command"] == f"att3d reproduce {name}" and content["versions"]["torch"] == torch.__version__
    if name == "prior":
        assert all(row["exact"] <= row["unet"] for row in content["eps_mse"])  # nothing denoises its images better


@pytest.mark.parametrize(
    ("args", "said"),
    [
        (["generate", "a", "--ckpt_path", "no.pt"], "no.pt: no such file"),
        (
            ["fit", "--config", "nothing"],
            "no config 'nothing': it is neither a file nor one of the packaged animals_if",
        ),
        (["reproduce", "everything"], "unknown experiment 'everything', choose from all, rates, budgets"),
        (["test", "--config", "shapes"], "--ckpt_path is missing"),
        (
            ["fit", "--config", "shapes", "--data.init_args.prompts=cows"],
            "cows: no such file, and none of the packaged sets",
        ),
        (["fit", "--config", "shapes", "--model.init_args.lr=-1"], "lr must be positive"),
        (["fit", "--config", "shapes", "--model.init_args.guidance.init_args.each=9"], "each must be 1 to 4"),
        (["export-mesh", "a", "--ckpt_path", "x", "--out", "a.stl"], "ends in .glb, .obj or .ply"),
    ],
)
def test_bad_input_is_one_line_on_stderr(args, said, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    message = error_of(capsys, *args)
    assert said in message and "Traceback" not in message


def test_rates_must_match_budgets():
    experiment = Experiment(["demo", "fast"], ['--study.rates={"amortised": [0.1, 0.2]}'])
    with pytest.raises(ValueError, match=r"study.rates.amortised has 2 rates for 1 budgets"):
        experiment.cells()


def test_an_unknown_prompt_is_named_by_the_encoder(checkpoint, capsys, tmp_path):
    message = error_of(capsys, "generate", "one two three four five", "--ckpt_path", checkpoint, "--out", tmp_path)
    assert "has 5 words, the encoder takes 1 to 4" in message


def test_a_pixel_prior_trains_a_scene(tmp_path):
    path = save_pixel(tmp_path / "prior")
    guidance = json.dumps({"class_path": "att3d.guidance.pixel.PixelGuidance", "init_args": {"path": str(path)}})
    experiment = Experiment(["demo", "fast"], [f"--model.init_args.guidance={guidance}", "--trainer.max_steps=2"])
    experiment.trainer().fit(experiment.model, experiment.data)
    assert experiment.model.sampled <= set(experiment.data.library.train)


def test_torchvision_is_never_imported():
    import subprocess
    import sys

    code = "import sys, att3d, att3d.cli, att3d.guidance.pixel; print('torchvision' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout.strip() == "False"
