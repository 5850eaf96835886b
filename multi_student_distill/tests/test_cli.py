"""The command line: the demo's files, verbs on one's own students, packaged configs, and one line for bad input."""

import json
import pickle

import pytest
import torch
from PIL import Image
from test_convert_edm import WIDE, edm_state, persistent_pickle

from multi_student_distill.cli import main
from multi_student_distill.demo import seeded
from multi_student_distill.denoisers import DenoiserSpec, load_denoiser, save_denoiser, student_path
from multi_student_distill.experiment import Experiment
from multi_student_distill.step_noise import StepNoise
from multi_student_distill.study import chain

FIGURES = ["densities", "samples", "toy", "digits", "per_student", "tsm"]


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


def test_the_demo_writes_its_figures_students_and_claims(fast_demo):
    code, out = fast_demo
    assert code == 0
    content = json.loads((out / "claims.json").read_text())
    assert set(content) == {"project", "seed", "seconds", "fast", "command", "claims", "figures"}
    assert content["project"] == "multi_student_distill" and content["fast"] is True and content["seed"] == 0
    assert content["command"] == "multi-student-distill demo --seed 0 --fast"
    assert len({claim["id"] for claim in content["claims"]}) == len(content["claims"]) == 6
    for claim in content["claims"]:
        assert {"id", "statement", "paper", "measured", "threshold", "holds"} <= set(claim)
        assert isinstance(claim["holds"], bool)
    assert content["figures"] == [f"{name}.png" for name in FIGURES]
    for figure in content["figures"]:
        assert (out / figure).read_bytes()[:8] == b"\x89PNG\r\n\x1a\n"


def test_a_second_demo_in_the_same_folder_trains_nothing_and_a_failed_claim_fails_a_strict_one(fast_demo, capsys):
    _, out = fast_demo
    stamps = {path: path.stat().st_mtime_ns for path in out.rglob("*.safetensors")}
    claims = json.loads((out / "claims.json").read_text())["claims"]
    assert run("demo", "--fast", "--strict", "--out", out) == int(not all(c["holds"] for c in claims))
    assert stamps == {path: path.stat().st_mtime_ns for path in out.rglob("*.safetensors")}
    assert "fast run: these numbers mean nothing" in capsys.readouterr().out


def test_another_seed_trains_other_students_and_another_teacher(fast_demo):
    _, out = fast_demo
    before = set(out.glob("stages/*"))
    assert run("demo", "--fast", "--seed", 1, "--out", out) == 0
    stages = [path.name.split("-")[0] for path in set(out.glob("stages/*")) - before]
    assert {"teacher", "tsm", "dm", "toy_dm"} <= set(stages)


def test_a_stage_whose_students_are_gone_is_trained_again(fast_demo):
    _, out = fast_demo
    experiment = seeded(["demo", "fast"], 0)
    folder = experiment.shared("teacher", out)
    student = folder / "student_0.safetensors"
    content = student.read_bytes()
    student.unlink()
    assert experiment.shared("teacher", out) == folder and student.read_bytes() == content


def test_a_record_is_measured_anew_with_another_feature_network_or_number_of_samples(fast_demo, tmp_path):
    _, out = fast_demo
    taken = []
    for settings in ([], [], ["--study.feature_steps=7"], ["--study.samples=9"]):
        experiment = Experiment(["demo", "fast"], settings)
        experiment.record("counted", "digits_k1", 0, out, lambda *_: taken.append(1) or {})
    assert len(taken) == 3


def folder_of(out, parts):
    for folder in sorted(out.glob("stages/dm-*")):
        if len(list(folder.glob("student_*.safetensors"))) == parts:
            return folder
    raise AssertionError("no such students")


@pytest.fixture(scope="module")
def config(tmp_path_factory):
    """A config that names the demo's digits in five parts."""
    path = tmp_path_factory.mktemp("config") / "five.yaml"
    path.write_text(
        "model: {class_path: multi_student_distill.training.TSMModule}\n"
        "data: {class_path: multi_student_distill.data.DigitsData, init_args: {parts: 5}}\n"
        "trainer: {accelerator: cpu}\n"
    )
    return path


def test_students_are_measured_timed_exported_and_served(fast_demo, config, tmp_path, capsys):
    _, out = fast_demo
    students = folder_of(out, 5)
    scores = tmp_path / "scores.json"
    assert run("evaluate", students, "--config", config, "--samples", 100, "--features", "values", "--out", scores) == 0
    content = json.loads(scores.read_text())
    assert len(content["frechet_of_student"]) == 5 and len(content["frechet_of_class"]) == 10
    assert content["frechet"] > 0 and "recall" in content
    teacher = next(out.glob("stages/teacher-*/student_0.safetensors"))
    assert run("bench", students, "--config", config, "--teacher", teacher) == 0
    assert run("export", students, "--config", config, "--out", tmp_path / "pipe") == 0
    labels = ["--labels", "[9,0,4]"]
    assert run("generate", tmp_path / "pipe", *labels, "--out", tmp_path / "images") == 0
    captured = capsys.readouterr()
    said = captured.out
    assert "accelerate" not in captured.err  # diffusers would recommend it
    assert "mixed labels, routed" in said and "000_9.png by student 4" in said
    assert {p.name for p in (tmp_path / "images").iterdir()} == {"000_9.png", "001_0.png", "002_4.png"}


def test_students_are_measured_by_images_of_all_classes_though_a_folder_is_in_their_order(fast_demo, tmp_path):
    """As CIFAR-10 is: the first 2,000 rows would all be ants."""
    config = tmp_path / "classes.yaml"
    config.write_text(
        "model: {class_path: multi_student_distill.training.TSMModule}\ntrainer: {accelerator: cpu}\n"
        "data:\n  class_path: multi_student_distill.data.ClassFolderData\n"
        f"  init_args: {{path: {tmp_path}, size: 4, classes: 2, parts: 2}}\n"
    )
    images = torch.rand(2100, 4, 4, 3, generator=torch.Generator().manual_seed(0)).mul(255).byte().numpy()
    for name, count in (("ant", 2050), ("bee", 50)):
        (tmp_path / "train" / name).mkdir(parents=True)
        for i in range(count):
            Image.fromarray(images[i]).save(tmp_path / "train" / name / f"{i:04d}.png")
    spec = DenoiserSpec("mlp-8x1", (3, 4, 4), 2, 0.5)
    for k in range(2):
        save_denoiser(student_path(tmp_path / "students", k), spec.build(), spec)
    where = ["--samples", 20, "--features", "values", "--out", tmp_path / "scores.json"]
    assert run("evaluate", tmp_path / "students", "--config", config, *where) == 0
    assert None not in json.loads((tmp_path / "scores.json").read_text())["frechet_of_class"]


def test_pairs_of_an_exact_teacher_are_sampled(tmp_path, capsys):
    (tmp_path / "toy.yaml").write_text(
        "model: {class_path: multi_student_distill.training.TSMModule}\n"
        "data: {class_path: multi_student_distill.data.MixtureData}\ntrainer: {accelerator: cpu}\n"
    )
    out = tmp_path / "pairs.safetensors"
    assert run("pairs", "exact", "--config", tmp_path / "toy.yaml", "--count", 30, "--steps", 5, "--out", out) == 0
    assert "30 pairs of 9 evaluations each" in capsys.readouterr().out


def test_an_edm_checkpoint_becomes_a_teacher_and_a_diffusers_model(tmp_path, capsys):
    from diffusers import UNet2DModel

    state = edm_state(WIDE, 1, generator=torch.Generator().manual_seed(0))
    (tmp_path / "edm.pkl").write_bytes(persistent_pickle(state))
    where = ["--out", tmp_path / "teacher.safetensors", "--diffusers", tmp_path / "unet"]
    assert run("convert", tmp_path / "edm.pkl", *where) == 0
    assert "unet-128-192x1 of 5 classes" in capsys.readouterr().out
    denoiser, _ = load_denoiser(tmp_path / "teacher.safetensors")
    model = UNet2DModel.from_pretrained(tmp_path / "unet", low_cpu_mem_usage=False)
    x, c, y = torch.randn(1, 3, 16, 16), torch.zeros(1), torch.tensor([2])
    assert torch.allclose(denoiser.net(x, c, y), model(x, c, class_labels=y).sample, atol=1e-5)


@pytest.fixture(scope="module")
def fitted(tmp_path_factory):
    """A short run of `fit`, and its last checkpoint."""
    folder = tmp_path_factory.mktemp("fit")
    quiet = ["--trainer.enable_progress_bar=false", "--trainer.enable_model_summary=false", "--trainer.max_steps=3"]
    saver = '{"class_path":"ModelCheckpoint","init_args":{"save_last":true,"every_n_train_steps":3}}'
    export = '{"class_path":"multi_student_distill.exporting.ExportStudents"}'
    where = [f"--trainer.default_root_dir={folder}", "--trainer.enable_checkpointing=true"]
    main(["fit", "--config", "digits_teacher", *quiet, *where, f"--trainer.callbacks=[{saver},{export}]"])
    (last,) = folder.rglob("last.ckpt")
    return last, folder


def test_what_fit_trained_is_exported_tested_and_resumed(fitted, capsys, tmp_path, monkeypatch):
    last, folder = fitted
    monkeypatch.chdir(tmp_path)
    assert load_denoiser(folder / "students" / "student_0.safetensors")[1].network == "mlp-256x3"
    main(["test", "--config", "digits_teacher", f"--ckpt_path={last}", "--trainer.limit_test_batches=1"])
    assert "test/energy_distance" in capsys.readouterr().out


def test_weights_that_were_never_trained_are_not_tested(capsys):
    assert "--ckpt_path is missing" in error_of(capsys, "test", "--config", "digits_teacher")


HERE = ["--trainer.accelerator=cpu", "--trainer.devices=1", "--trainer.strategy=auto", "--trainer.precision=32"]


@pytest.mark.parametrize("name", ["imagenet64_tsm", "imagenet64_dm", "imagenet64_adm", "cifar10", "cifar10_teacher"])
def test_a_paper_scale_config_is_built_and_its_losses_step_on_one_batch(name, monkeypatch, tmp_path):
    """With the paper's settings and classes, but networks that a CPU can hold; sizes are tested apart."""
    from multi_student_distill import distill, training
    from multi_student_distill.denoisers import DenoiserSpec
    from multi_student_distill.distiller import DistillBatch
    from multi_student_distill.training import DenoiserTraining

    experiment = Experiment.__new__(Experiment)
    shape = (3, 32, 32) if "cifar" in name else (3, 64, 64)
    classes = 10 if "cifar" in name else 1000
    spec = DenoiserSpec("unet-8-16-16x1", shape, classes, 0.5)
    monkeypatch.setattr(distill, "read_spec", lambda path: spec)
    for module in (distill, training):
        monkeypatch.setattr(module, "load_denoiser", lambda path: (spec.build(), spec))
        monkeypatch.setattr(module, "load_students", lambda path, students: [(spec.build(), spec) for _ in students])
    monkeypatch.setitem(distill.DISTANCES, "lpips", distill.DISTANCES["mse"])
    small = (
        [] if name in ("imagenet64_dm", "imagenet64_adm", "cifar10") else [f"--model.init_args.network={spec.network}"]
    )
    experiment = Experiment([name], [*HERE, *small])
    model, data = experiment.model, experiment.data
    assert (data.shape, data.classes, data.chosen) == (shape, classes, [0])
    model._trainer = experiment.trainer()

    class Pairs:
        def check_teacher(self, teacher):
            pass

    data.__dict__["pairs"] = Pairs() if data.pairs_path else None
    model._trainer.datamodule = data
    torch.manual_seed(5)  # else the teacher would be the student
    model.configure_model()
    x, y = torch.randn(2, *shape), torch.tensor([0, 1])
    batch, noise = DistillBatch(y, x, y, torch.randn(2, *shape), x, y), StepNoise([0], 0)
    if isinstance(model, DenoiserTraining):
        model.loss(batch, noise).backward()
    else:
        made = model.distiller.generate(batch, noise)
        losses = {
            **model.distiller.student_losses(made, batch, noise),
            **model.distiller.guidance_losses(made, batch, noise),
        }
        assert ("head" in losses) == (model.weights.head > 0) and all(bool(v.isfinite()) for v in losses.values())
        sum(losses.values()).backward()
    gradients = [p.grad for p in model.student.parameters() if p.grad is not None]
    assert all(bool(g.isfinite().all()) for g in gradients) and any(bool(g.abs().sum() > 0) for g in gradients)


def test_the_text_config_is_parsed(tmp_path):
    experiment = Experiment(["sd15"], [*HERE, "--trainer.num_nodes=1"])
    assert experiment.model.guidance == 1.75 and experiment.model.ratio == 10
    assert experiment.data.parts == 4 and experiment.data.shape == (4, 64, 64)


@pytest.mark.parametrize("name", ["reproduce_digits", "reproduce_toy", "reproduce_pairs", "demo"])
def test_every_stage_of_every_cell_of_a_study_is_built(name):
    """The baselines differ from what they are compared with by what they say, and by nothing else."""
    experiment = Experiment(["demo", name] if name != "demo" else ["demo"])
    for cell in experiment.settings.cells:
        for stage, changed in chain(experiment.settings, cell):
            text = json.dumps(changed)
            for placeholder in ("{previous}", "{stage:teacher}", "{stage:toy_fake}"):
                text = text.replace(placeholder, "folder")
            text = text.replace("{pairs:teacher}", "pairs").replace("{pairs:toy_fake.exact}", "pairs")
            changed = json.loads(text)
            if '"network": ""' not in text:  # the teacher's network is read from its file
                built = experiment.with_settings(changed)
                assert built.model is not None and stage


def test_one_student_and_several_differ_by_the_parts_alone():
    settings = Experiment(["demo", "reproduce_digits"]).settings
    one = chain(settings, "digits_k1")
    for cell, difference in (
        ("digits_k5", {"data.init_args.parts": 5}),
        ("digits_k5_equal", {"data.init_args.parts": 5, "data.init_args.batch_size": 12}),
        ("digits_k1_wide", {"model.init_args.network": "mlp-164x2"}),
    ):
        for (stage, a), (other, b) in zip(one, chain(settings, cell), strict=True):
            assert stage == other and {k: v for k, v in b.items() if a.get(k) != v} == difference
    toy = Experiment(["demo", "reproduce_toy"]).settings
    for (_, a), (_, b) in zip(chain(toy, "toy_k1"), chain(toy, "toy_k8"), strict=True):
        assert {k: v for k, v in b.items() if a.get(k) != v} == {"data.init_args.parts": 8}


def test_cells_and_stages_that_are_not_there_are_refused():
    experiment = Experiment(["demo"])
    with pytest.raises(ValueError, match="no cell 'k7' in the study: it has toy_k1"):
        chain(experiment.settings, "k7")
    experiment.settings.cells["bad"] = {"stages": ["polish"]}
    with pytest.raises(ValueError, match="cell 'bad': no stage 'polish': there are teacher, tsm"):
        chain(experiment.settings, "bad")
    with pytest.raises(ValueError, match="no stage 'polish' in the study"):
        experiment.shared("polish", None)


@pytest.mark.parametrize(
    ("args", "said"),
    [
        (["fit", "--config", "nothing"], "no config 'nothing': it is neither a file nor one of the packaged cifar10"),
        (["reproduce", "imagenet"], "unknown experiment 'imagenet', choose from all, digits"),
        (["reproduce", "cifar"], "cifar needs --cifar_path"),
        (["reproduce", "cifar", "--cifar_path", "none.zip"], "none.zip: no such file or folder"),
        (["pairs", "none.safetensors", "--out", "x.safetensors"], "none.safetensors: no such file"),
        (["pairs", "exact", "--out", "x.safetensors"], "name the data: --config NAME"),
        (["convert", "none.pkl", "--out", "x"], "none.pkl: no such file"),
        (["generate", "nowhere", "--labels", "[1]", "--out", "x"], "nowhere: no model_index.json in it"),
        (["evaluate", "nowhere", "--config", "digits_tsm"], "student_0.safetensors: no such file"),
        (["launch", "digits_tsm", "--out", "x", "--backend", "cloud"], "unknown backend 'cloud'"),
        (["embed", "none.txt", "--model", "m", "--out", "x"], "none.txt: no such file"),
        (["fit", "--config", "digits_tsm", "--data.init_args.parts=0"], "batch_size and parts must be at least 1"),
        (["fit", "--config", "digits_tsm"], "student_0.safetensors: no such file"),
        (["fit", "--config", "cifar10_teacher", *HERE], "data/cifar10_jpeg_subset.zip: no such file or folder"),
    ],
)
def test_bad_input_is_one_line_on_stderr(args, said, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    message = error_of(capsys, *args)
    assert said in message and len(message.strip().splitlines()) == 1 and "Traceback" not in message


def test_features_that_do_not_fit_are_refused(fast_demo, config, capsys):
    students = folder_of(fast_demo[1], 5)
    assert "unknown features 'clip'" in error_of(
        capsys, "evaluate", students, "--config", config, "--samples", 50, "--features", "clip"
    )
    assert "pip install multi-student-distill[fid]" in error_of(
        capsys, "evaluate", students, "--config", config, "--samples", 50, "--features", "inception"
    )


def test_a_malicious_checkpoint_is_not_unpickled(tmp_path, capsys):
    class Bomb:
        def __reduce__(self):
            return (open, (str(tmp_path / "exploded"), "w"))

    (tmp_path / "bomb.pkl").write_bytes(pickle.dumps(Bomb()))
    assert "expected a dictionary" in error_of(capsys, "convert", tmp_path / "bomb.pkl", "--out", tmp_path / "x")
    (tmp_path / "captions.pkl").write_bytes(pickle.dumps([Bomb()]))
    assert "not a pickled list" in error_of(
        capsys, "embed", tmp_path / "captions.pkl", "--model", "m", "--out", tmp_path / "x"
    )
    assert not (tmp_path / "exploded").exists()
