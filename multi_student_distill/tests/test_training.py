"""Training: K = 1 is plain DMD2 to the bit, a stacked student is the one alone, a resumed run the uninterrupted one."""

import copy
import math

import pytest
import torch
from pytorch_lightning import Trainer
from pytorch_lightning.callbacks import Callback, ModelCheckpoint

from multi_student_distill import DMD2, DMDWeights
from multi_student_distill.data import DigitsData, MixtureData
from multi_student_distill.denoisers import DenoiserSpec, load_denoiser, save_denoiser
from multi_student_distill.distill import ConsistencyModule, DistillModule
from multi_student_distill.pairs import fingerprint, sample_pairs, write_pairs
from multi_student_distill.step_noise import StepNoise
from multi_student_distill.training import PostDistillModule, TeacherModule, TSMModule


def sizes(data):
    return {
        "shape": data.shape,
        "classes": data.classes,
        "sigma_data": data.sigma_data,
        "students": data.chosen,
        "seed": data.seed,
    }


def fit(module, data, steps, **options):
    quiet = {"logger": False, "enable_progress_bar": False, "enable_model_summary": False, "accelerator": "cpu"}
    checkpoints = {} if "callbacks" in options else {"enable_checkpointing": False}
    trainer = Trainer(max_steps=steps, limit_val_batches=0, **{**quiet, **checkpoints, **options})
    trainer.fit(module, data, ckpt_path=options.pop("ckpt_path", None))
    return module


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """A teacher of digits that has seen little, and pairs of it."""
    folder = tmp_path_factory.mktemp("teacher")
    data = DigitsData(batch_size=16)
    teacher = fit(TeacherModule("mlp-16x1", **sizes(data)), data, 20)
    save_denoiser(folder / "teacher.safetensors", teacher.exported()[0], teacher.spec)
    denoiser, spec = load_denoiser(folder / "teacher.safetensors")
    z, x, evaluations = sample_pairs(lambda z, y: (denoiser(80 * z, torch.tensor(80.0), y), 1), LABELS, spec.shape, 0)
    write_pairs(folder / "pairs.safetensors", z, x, LABELS, fingerprint(denoiser), evaluations)
    return folder


def built(module, data):
    """The module with its networks, as they are before training."""
    module._trainer = Trainer(logger=False, accelerator="cpu", enable_checkpointing=False, max_steps=1)
    module._trainer.datamodule = data
    module.configure_model()
    return module


LABELS = torch.arange(40) % 10


def digits(files, **changed):
    return DigitsData(batch_size=4, pairs=str(files / "pairs.safetensors"), **changed)


def distill(data, files, **changed):
    settings = {"teacher": str(files / "teacher.safetensors"), "network": "mlp-8x1", "lr": 1e-3, **changed}
    return DistillModule(**settings, **sizes(data))


def weights(module):
    return torch.cat([p.detach().flatten() for d in module.exported() for p in d.parameters()])


def test_one_student_is_plain_dmd2_to_the_bit(files):
    """A loop as one writes it without partitions, stacks or Lightning gives the same weights."""
    data = digits(files)
    module = fit(distill(data, files, ratio=2, stage="adm", generator_weight=0.1, head_weight=0.1), data, 7)

    plain = distill(data, files, ratio=2, stage="adm", generator_weight=0.1, head_weight=0.1)
    built(plain, data)
    student, (fake, head) = plain.student, plain.distiller.guidance
    dmd = DMD2(plain.teacher, student, fake, head, DMDWeights(0.25, 0.1, 0.1))
    adamw = {"lr": 1e-3, "weight_decay": 0.01, "fused": True}
    of_student = torch.optim.AdamW(student.parameters(), **adamw)
    of_guidance = torch.optim.AdamW([*fake.parameters(), *head.parameters()], **adamw)
    for step in range(7):
        factors = [0.5 * (1 + math.cos(math.pi * step / n)) for n in (8, 7)]
        for optimizer, factor in zip((of_student, of_guidance), factors, strict=True):
            optimizer.param_groups[0]["lr"] = 1e-3 * factor
        batch, noise = data.batch(step), StepNoise([0], step, 2)
        x = dmd.generate(batch, noise)
        if step % 2 == 0:
            losses = dmd.student_losses(x, batch, noise)
            of_student.zero_grad()
            sum(losses.values()).backward()
            torch.nn.utils.clip_grad_norm_(student.parameters(), 10.0)
            of_student.step()
        losses = dmd.guidance_losses(x.detach(), batch, noise)
        of_guidance.zero_grad()
        sum(losses.values()).backward()
        torch.nn.utils.clip_grad_norm_([*fake.parameters(), *head.parameters()], 10.0)
        of_guidance.step()
    for (name, a), b in zip(module.distiller.named_parameters(), dmd.parameters(), strict=True):
        assert torch.equal(a, b), name


@pytest.mark.parametrize("stage", ["dm", "adm"])
def test_a_stacked_student_is_the_one_trained_alone(files, stage):
    trained = {}
    for students in ([0, 1], [0], [1]):
        data = digits(files, parts=2, students=students)
        module = distill(data, files, stage=stage, ema=0.5, generator_weight=0.1, head_weight=0.1)
        fit(module, data, 8, precision="64-true")
        trained[tuple(students)] = weights(module)
    alone = torch.cat([trained[0,], trained[1,]])
    assert torch.allclose(trained[0, 1], alone, atol=1e-9)
    assert not torch.allclose(trained[0,], trained[1,], atol=1e-3)


def test_guidance_moves_ratio_times_as_often_as_the_student_and_steps_are_iterations(files):
    data = digits(files)
    module = distill(data, files, ratio=5)
    moved = {"student": 0, "fake": 0}
    original = DistillModule.move

    def move(self, optimizer, loss, what):
        moved["student" if what is self.student else "fake"] += 1
        original(self, optimizer, loss, what)

    module.move = move.__get__(module)
    fit(module, data, 20)
    assert moved == {"student": 4, "fake": 20}
    assert module.trainer.global_step == module.ledger.steps == 20


def test_teacher_and_fake_score_are_where_they_belong(files):
    data = digits(files)
    module = distill(data, files)
    before = copy.deepcopy(load_denoiser(files / "teacher.safetensors")[0].state_dict())
    fit(module, data, 3)
    assert all(torch.equal(v, before[n]) for n, v in module.teacher.state_dict().items())
    assert any(not torch.equal(v, before[n]) for n, v in module.distiller.fake.state_dict().items())


def test_a_student_of_the_teachers_network_starts_as_its_copy(files):
    data = digits(files, parts=2)
    module = built(distill(data, files, network=""), data)
    teacher = load_denoiser(files / "teacher.safetensors")[0].state_dict()
    for denoiser in module.exported():
        assert all(torch.equal(v, teacher[n]) for n, v in denoiser.state_dict().items())


@pytest.mark.parametrize("kind", ["distill", "tsm", "consistency"])
def test_a_resumed_run_is_the_uninterrupted_one(files, tmp_path, kind):
    def build():
        data = digits(files, parts=2)
        teacher, common = str(files / "teacher.safetensors"), {"network": "mlp-8x1", "ema": 0.9}
        if kind == "distill":
            return data, distill(data, files, ratio=3, stage="adm", generator_weight=0.1, head_weight=0.1, ema=0.9)
        return data, {"tsm": TSMModule, "consistency": ConsistencyModule}[kind](
            teacher=teacher, **common, **sizes(data)
        )

    data, whole = build()
    fit(whole, data, 12)
    data, half = build()
    saver = ModelCheckpoint(tmp_path, save_last=True, every_n_train_steps=5, enable_version_counter=False)
    trainer = Trainer(
        max_steps=12, limit_val_batches=0, callbacks=[saver, Stop(5)], logger=False, accelerator="cpu",
        enable_progress_bar=False, enable_model_summary=False,
    )  # fmt: skip
    trainer.fit(half, data)
    assert half.ledger.steps == 5
    data, rest = build()
    trainer = Trainer(
        max_steps=12, limit_val_batches=0, logger=False, accelerator="cpu", enable_checkpointing=False,
        enable_progress_bar=False, enable_model_summary=False,
    )  # fmt: skip
    trainer.fit(rest, data, ckpt_path=tmp_path / "last.ckpt", weights_only=True)
    assert torch.equal(weights(whole), weights(rest))
    assert rest.ledger.row() == whole.ledger.row() and rest.ledger.steps == 12
    saved = torch.load(tmp_path / "last.ckpt", weights_only=True)["state_dict"]
    assert not any(name.startswith("teacher.") for name in saved)


class Stop(Callback):
    def __init__(self, after):
        self.after = after

    def on_train_batch_end(self, trainer, *_):
        trainer.should_stop = trainer.global_step >= self.after


def test_training_a_teacher_lowers_its_loss_and_tsm_follows_it():
    data = MixtureData(parts=2, batch_size=64)
    losses = []
    module = TSMModule("exact", network="mlp-16x1", lr=3e-3, **sizes(data))
    original = module.loss
    module.loss = lambda batch, noise: losses.append(original(batch, noise)) or losses[-1]
    fit(module, data, 200)
    assert sum(losses[-20:]) < 0.5 * sum(losses[:20])
    assert module.ledger.passes == {"student": 200 * 128 * 3.0, "teacher": 200 * 128.0}
    assert module.ledger.flops > 0


def test_post_distillation_follows_the_one_step_student(files):
    data = DigitsData(batch_size=16, parts=2)
    module = PostDistillModule(str(files / "teacher.safetensors"), network="mlp-8x1", lr=3e-3, **sizes(data))
    losses = []
    original = module.loss
    module.loss = lambda batch, noise: losses.append(original(batch, noise)) or losses[-1]
    fit(module, data, 60)
    assert sum(losses[-10:]) < sum(losses[:10])


def test_validation_and_prediction_use_the_student_of_each_label(files):
    data = digits(files, parts=5)
    module = distill(data, files)
    trainer = Trainer(
        max_steps=2, accelerator="cpu", logger=False, enable_checkpointing=False, enable_progress_bar=False,
        enable_model_summary=False, limit_val_batches=1,
    )  # fmt: skip
    trainer.fit(module, data)
    assert trainer.validate(module, data, verbose=False)[0]["val/energy_distance"] > 0
    assert trainer.test(module, data, verbose=False)[0]["test/energy_distance"] > 0
    samples, labels = trainer.predict(module, data)[0]
    assert samples.shape == (500, 1, 8, 8) and labels.shape == (500,)


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"lr": 0.0}, "lr and clip must be positive"),
        ({"ratio": 0}, "ratio must be at least 1"),
        ({"stage": "gan"}, "stage is one of"),
        ({"distance": "l1"}, "distance of"),
        ({"teacher": "exact", "network": ""}, "an exact teacher has no network to copy"),
    ],
)
def test_settings_out_of_range_are_refused(files, changed, said):
    with pytest.raises(ValueError, match=said):
        distill(digits(files), files, **changed)


@pytest.mark.parametrize(
    ("changed", "of_data", "said"),
    [
        ({}, {"pairs": ""}, "the data has no pairs"),
        ({"stage": "adm", "regression_weight": 0.0}, {"real": False}, "needs real samples"),
        ({"fake": "mlp-8x1"}, {}, "unlike the teacher needs fake_init"),
        ({"teacher": "exact"}, {}, "DigitsData has no exact teacher"),
        ({"init": "teacher.safetensors"}, {}, "expected a mlp-8x1, got a mlp-16x1"),
    ],
)
def test_what_cannot_be_distilled_is_refused_before_training(files, changed, of_data, said, monkeypatch):
    monkeypatch.chdir(files)
    data = DigitsData(batch_size=4, **{"pairs": str(files / "pairs.safetensors"), **of_data})
    with pytest.raises(ValueError, match=said):
        fit(distill(data, files, **changed), data, 1)


def test_pairs_of_another_teacher_are_refused(files, tmp_path):
    z = torch.zeros(20, 1, 8, 8)
    write_pairs(tmp_path / "a.safetensors", z, z + 1, LABELS[:20], "another", 1)
    data = DigitsData(batch_size=4, pairs=str(tmp_path))
    with pytest.raises(ValueError, match=r"pairs are of another teacher: expected .*, got another"):
        fit(distill(data, files), data, 1)


def test_an_exact_teacher_wants_a_fake_score_to_start_from():
    data = MixtureData(batch_size=4)
    with pytest.raises(ValueError, match="an exact teacher cannot be copied"):
        fit(DistillModule("dm", teacher="exact", network="mlp-8x1", regression_weight=0, **sizes(data)), data, 1)


def test_a_stream_without_end_wants_a_number_of_steps():
    data = MixtureData(batch_size=4)
    with pytest.raises(ValueError, match=r"set trainer\.max_steps"):
        fit(TSMModule(network="mlp-8x1", **sizes(data)), data, -1, max_epochs=1)


def test_a_law_of_sigma_is_known_by_name():
    with pytest.raises(ValueError, match="unknown sigma_law 'uniform'"):
        TSMModule(sigma_law="uniform")


def test_a_spec_builds_what_it_says(tmp_path):
    spec = DenoiserSpec("mlp-8x1", (2,), 3, 0.4, "consistency")
    save_denoiser(tmp_path / "a.safetensors", spec.build(), spec)
    denoiser, found = load_denoiser(tmp_path / "a.safetensors")
    assert found == spec and type(denoiser).__name__ == "ConsistencyFunction"
