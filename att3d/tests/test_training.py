"""Learning: what the network may and may not see, the baseline, resuming, checkpoints."""

import json

import numpy as np
import pytest
import torch
from pytorch_lightning import Trainer
from pytorch_lightning.callbacks import ModelCheckpoint

from att3d.cameras import ring
from att3d.checkpoints import load_model, save_model, write_weights
from att3d.data import PromptBatch, PromptDataModule
from att3d.distillation import ScoreDistillation, VariationalDistillation
from att3d.experiment import Experiment
from att3d.guidance import ExactPrior
from att3d.interpolation import PromptInterpolator
from att3d.mesh import HALF_OPAQUE, density_grid, to_mesh
from att3d.metrics import iou, psnr
from att3d.per_prompt import PerPromptBaseline, finetuning
from att3d.regularisers import Regularisers
from att3d.shapes import VIEWING, render_truth, shape_prompts
from att3d.spec import spec
from att3d.study import truth
from att3d.text import HashTokenEncoder
from att3d.training import ATT3D, SceneSettings, SceneTraining
from att3d.tuning import Curve, finetune
from att3d.view_prompts import VIEWS
from conftest import PROMPTS, small_settings


def data_of(prompts, per_step=2, steps=4):
    data = PromptDataModule(prompts_per_step=per_step, steps_per_epoch=steps)
    data.rows = [(prompt, "") for prompt in prompts]
    return data


def trainer(folder, steps, **kwargs):
    quiet = {"logger": False, "enable_progress_bar": False, "enable_model_summary": False, "accelerator": "cpu"}
    return Trainer(max_steps=steps, default_root_dir=folder, limit_val_batches=0, **quiet, **kwargs)


def fit(model, folder, steps=4, prompts=PROMPTS, **kwargs):
    trainer(folder, steps, enable_checkpointing=False, **kwargs).fit(model, data_of(prompts))
    return model


def test_training_changes_the_network_and_never_the_prior(model, prior, tmp_path):
    before, images = model.generate(PROMPTS).w.clone(), prior.data.clone()
    fit(model.train(), tmp_path)
    assert not torch.equal(model.generate(PROMPTS).w, before) and torch.equal(prior.data, images)
    assert model.sampled == set(PROMPTS)
    assert not any("guidance" in name for name in model.state_dict())


def test_a_loss_that_is_no_number_ends_the_fit(model, tmp_path):
    next(iter(model.parameters())).data.fill_(torch.nan)
    with pytest.raises(ValueError, match=r"step 0: the training loss is nan, a finite one expected; lower .*\.lr"):
        fit(model.train(), tmp_path)


def test_the_view_never_reaches_the_mapping_network(model, generator):
    """w is the same to the bit whatever the cameras; the denoiser's condition is not."""
    low, behind = ring(1, 1), ring(1, 2)
    conditions = {int(model.condition(PROMPTS[:1], c)[-1]) for c in (low, behind)}
    assert len(conditions) == 2
    batch, seen = PromptBatch(PROMPTS[:1], PROMPTS[:1]), []
    for seed in range(4):
        g = torch.Generator().manual_seed(seed)
        model.eval()
        scenes, _ = model.judged(batch, model.cameras(1, 3, g), g, 0.0)
        seen.append(scenes.w)
    assert all(torch.equal(w, seen[0]) for w in seen)
    assert all(view not in prompt for prompt in model.embed._known for view in VIEWS)


def test_any_word_changes_the_scene(model):
    w = model.generate(["a red sphere", "a red cube", "a green sphere"]).w
    assert float(torch.cdist(w, w).add(torch.eye(3)).min()) > 1e-4


def test_what_is_learned_is_the_priors_and_not_the_truth(tmp_path):
    """Distilling images of other shapes gives those shapes."""
    prompts, other = shape_prompts(3)[:2], shape_prompts(3)[13:15]
    cameras = VIEWING(2, 24, torch.Generator().manual_seed(0))
    images = render_truth(other, cameras, 8).flatten(0, 1)
    captions = [prompt for prompt in prompts for _ in range(24)]
    from att3d.view_prompts import view_buckets

    prior = ExactPrior(images, captions, view_buckets(cameras.elevation, cameras.azimuth).flatten())
    torch.manual_seed(0)
    model = ATT3D(HashTokenEncoder(4, 8), modulation_scale=30.0, **small_settings(prior, lr=0.01, views=2, samples=16))
    fit(model, tmp_path, 60, prompts)
    made = model.generate(prompts).images(ring(2, 4), 8, 24).rgb
    towards = (made - render_truth(other, ring(2, 4), 8)).square().mean()
    away = (made - render_truth(prompts, ring(2, 4), 8)).square().mean()
    assert float(towards) < 0.7 * float(away)


def test_one_prompt_in_the_batched_baseline_is_that_prompt_alone(prior, tmp_path):
    """Adam is elementwise and nothing is shared: other prompts of the loop do not matter."""
    together = PerPromptBaseline(PROMPTS, **small_settings(prior, views=1))
    fewer = PerPromptBaseline(PROMPTS[:2], **small_settings(prior, views=1))
    with torch.no_grad():
        fewer.w.copy_(together.w[:2])
        for one, many in zip(fewer.field.parameters(), together.field.parameters(), strict=True):
            one.copy_(many[:2])
    batch = PromptBatch(PROMPTS, PROMPTS)
    for model, count in ((together, 3), (fewer, 2)):
        cameras = ring(count, 2)
        own = PromptBatch(batch.prompts[:count], batch.prompts[:count])
        scenes, _ = model.judged(own, cameras, torch.Generator(), 0.0)
        out = model.renderer.render(scenes.field, scenes.w, cameras)
        z = 2 * out.rgb[:2].flatten(0, 1) - 1
        cond = model.condition(own.prompts[:2], ring(2, 2))
        eps = prior.predict_noise(z.detach(), torch.full((4,), 300), cond, 2.0)
        (eps * z).sum().backward()
    assert torch.allclose(together.w.grad[:2], fewer.w.grad, atol=1e-6)
    assert float(together.w.grad[2].abs().max()) == 0


def test_the_baseline_takes_its_prompts_from_the_data_and_has_none_for_others(prior, tmp_path):
    model = fit(PerPromptBaseline(**small_settings(prior)), tmp_path)
    assert model.prompts == PROMPTS and model.w.shape[0] == 3
    assert len(model.scenes(PROMPTS[1:])) == 2
    with pytest.raises(ValueError, match="no scene was optimised for 'a cow', only for 3 other prompts"):
        model.scenes(["a cow"])


def test_fine_tuning_starts_where_the_network_ends(model, tmp_path):
    made = model.generate(PROMPTS[:2])
    fine = finetuning(model, PROMPTS[:2])
    same = fine.scenes(PROMPTS[:2]).images(ring(2, 2), 8, 8).rgb
    assert torch.allclose(same, made.images(ring(2, 2), 8, 8).rgb, atol=1e-5)
    other = finetuning(model, PROMPTS[:2], start=PROMPTS[2])
    assert torch.equal(other.w[0], other.w[1]) and not torch.equal(finetuning(model, PROMPTS[:2], start=None).w, fine.w)
    before = model.mapping.second.weight.detach().clone()
    assert not torch.equal(finetune(model, PROMPTS[:1], steps=3).w, fine.w[:1])
    assert torch.equal(model.mapping.second.weight, before)  # the network itself stays


def test_a_curve_starts_before_the_first_step(model):
    shapes = shape_prompts(3)[:1]
    prior = ExactPrior(torch.rand(1, 3, 8, 8), shapes, torch.tensor([0]))
    model.__dict__["guidance"] = prior
    curve = Curve(shapes, 2, views=2, resolution=8)
    finetune(model, shapes, 4, callbacks=[curve])
    assert [step for step, _ in curve.points] == [0, 2, 4] and len(curve.points[0][1]) == 1


def test_between_prompts_the_network_sees_the_mixture_and_the_prior_both(prior, generator):
    torch.manual_seed(0)
    model = ATT3D(HashTokenEncoder(4, 8), interpolator=PromptInterpolator("loss"), **small_settings(prior)).eval()
    batch, cameras = PromptBatch(PROMPTS[:2], PROMPTS[1:]), ring(2, 2)
    model.train()
    scenes, _ = model.judged(batch, cameras, torch.Generator().manual_seed(0), 0.0)
    assert not torch.allclose(scenes.w, model.scenes(batch.prompts).w, atol=1e-4)
    model.eval()
    plain, _ = model.judged(batch, cameras, torch.Generator().manual_seed(0), 0.0)
    assert torch.equal(plain.w, model.scenes(batch.prompts).w)


def test_interpolated_scenes_are_no_cross_fades(model, tmp_path):
    fit(model.train(), tmp_path, 12)
    scenes = model.interpolate(PROMPTS[0], PROMPTS[1], 5)
    assert len(scenes) == 5
    ends = model.generate(PROMPTS[:2])
    assert torch.allclose(scenes.w[[0, -1]], ends.w, atol=1e-5)
    images = scenes.images(ring(5, 2), 8, 16).rgb
    assert float((images[2] - (images[0] + images[-1]) / 2).abs().max()) > 1e-4
    with pytest.raises(ValueError, match="steps must be at least 2"):
        model.interpolate(PROMPTS[0], PROMPTS[1], 1)


def test_every_regulariser_and_rule_trains(prior, tmp_path):
    weights = Regularisers(sparsity=0.1, orientation=0.1, orientation_end=1.0, entropy=0.1)
    scene = SceneSettings([3], 4, 8, background=3)
    changed = {"regularisers": weights, "distillation": VariationalDistillation(), "scene": scene}
    model = fit(ATT3D(HashTokenEncoder(4, 8), **small_settings(prior, **changed)), tmp_path)
    assert all(bool(p.isfinite().all()) for p in model.parameters())


@pytest.mark.parametrize("stopped", [4, 6])  # between two epochs, and within one
def test_a_killed_fit_resumes_to_the_same_bits(prior, tmp_path, stopped):
    def made():
        torch.manual_seed(0)
        return ATT3D(HashTokenEncoder(4, 8), **small_settings(prior))

    whole = fit(made(), tmp_path / "whole", 12)
    keep = ModelCheckpoint(save_last=True, every_n_train_steps=1, enable_version_counter=False)
    first = made()
    trainer(tmp_path / "part", stopped, callbacks=[keep]).fit(first, data_of(PROMPTS))
    (last,) = (tmp_path / "part").rglob("last.ckpt")
    resumed = made()
    trainer(tmp_path / "rest", 12, enable_checkpointing=False).fit(resumed, data_of(PROMPTS), ckpt_path=last)
    # t_max is constant here, so that the length of training does not matter
    for one, other in zip(whole.state_dict().values(), resumed.state_dict().values(), strict=True):
        assert torch.equal(one, other)


def test_checkpoints_come_back_whole_and_without_their_prior(model, tmp_path, prior):
    save_model(tmp_path / "m.pt", model)
    loaded = load_model(tmp_path / "m.pt", ATT3D)
    assert torch.equal(loaded.generate(PROMPTS).w, model.generate(PROMPTS).w) and loaded.guidance is None
    assert loaded.scene == model.scene and loaded.cameras == model.cameras
    with pytest.raises(ValueError, match="training needs a prior"):
        loaded.condition(PROMPTS, ring(3, 1))
    fine = finetuning(model, PROMPTS[:2])
    save_model(tmp_path / "f.pt", fine)
    assert torch.equal(load_model(tmp_path / "f.pt", PerPromptBaseline).scenes(PROMPTS[:2]).w, fine.w)
    with pytest.raises(ValueError, match=r"f.pt: holds a PerPromptBaseline, expected a ATT3D"):
        load_model(tmp_path / "f.pt", ATT3D)


def test_weights_alone_are_smaller_and_hardly_less_exact(model, tmp_path):
    save_model(tmp_path / "m.pt", model)
    path = write_weights(tmp_path / "m.safetensors", model)
    assert path.stat().st_size < 0.75 * (tmp_path / "m.pt").stat().st_size
    loaded = load_model(path, ATT3D)
    torch.testing.assert_close(loaded.generate(PROMPTS).w, model.generate(PROMPTS).w, rtol=0.01, atol=0.01)
    assert spec(loaded)["init_args"] | {"guidance": None} == spec(model)["init_args"] | {"guidance": None}


def test_the_packaged_network_is_the_config_shapes_and_knows_unseen_prompts():
    packaged, config = ATT3D.load(guidance=True), Experiment(["shapes"])
    assert spec(packaged) == spec(config.model)
    unseen = config.data.library.unseen
    occupied, images = truth(unseen, 2, 16, 24)
    scenes = packaged.generate(unseen)
    shown = scenes.images(ring(len(unseen), 2), 16, 24).rgb.detach().clamp(0, 1)
    assert iou(density_grid(scenes, 24) > HALF_OPAQUE, occupied).mean() > 0.6
    assert psnr(shown, images).mean() > psnr(shown, images.roll(1, 0)).mean() + 5  # dB, against another prompt's truth


def test_a_checkpoint_becomes_a_mesh_and_goes_on_in_two_lines(model, tmp_path, prior):
    save_model(tmp_path / "m.pt", model)
    loaded = ATT3D.load(tmp_path / "m.pt")
    level = float(density_grid(loaded.generate(PROMPTS[0]), 12).max()) / 2
    mesh = loaded.to_mesh(PROMPTS[0], 12, level)
    assert len(mesh.faces) and np.array_equal(mesh.vertices, to_mesh(model.generate(PROMPTS[0]), 12, level).vertices)
    before = model.generate(PROMPTS[0]).w.clone()
    fine = model.finetune(PROMPTS[0], steps=2)
    assert fine.prompts == PROMPTS[:1] and not torch.equal(fine.w, before)
    assert torch.equal(model.generate(PROMPTS[0]).w, before)
    with pytest.raises(ValueError, match="training needs a prior"):
        loaded.finetune(PROMPTS[0], steps=2)


def test_foreign_files_are_refused(model, tmp_path):
    with pytest.raises(FileNotFoundError, match=r"no.pt: no such file"):
        load_model(tmp_path / "no.pt", ATT3D)
    (tmp_path / "text.pt").write_text("hello")
    with pytest.raises(ValueError, match=r"text.pt: not a checkpoint \("):
        load_model(tmp_path / "text.pt", ATT3D)
    torch.save({"weight": torch.ones(1)}, tmp_path / "plain.pt")
    with pytest.raises(ValueError, match=r"plain.pt: not a checkpoint of att3d"):
        load_model(tmp_path / "plain.pt", ATT3D)
    save_model(tmp_path / "m.pt", model)
    content = torch.load(tmp_path / "m.pt", weights_only=True)

    def edited(**arguments):
        described = json.loads(content["spec"])
        described["init_args"] |= arguments
        torch.save(content | {"spec": json.dumps(described)}, tmp_path / "edited.pt")
        return tmp_path / "edited.pt"

    with pytest.raises(ValueError, match=r"names the class 'os.path', which is not part of att3d"):
        load_model(edited(encoder={"class_path": "os.path", "init_args": {}}), ATT3D)
    with pytest.raises(ValueError, match=r"names the class 'att3d.text.Nothing', which does not exist"):
        load_model(edited(encoder={"class_path": "att3d.text.Nothing"}), ATT3D)
    with pytest.raises(ValueError, match="the weights do not fit the model"):
        load_model(edited(hidden=9), ATT3D)
    with pytest.raises(ValueError, match=r"edited.pt: its model cannot be built"):
        load_model(edited(hidden="many"), ATT3D)
    with pytest.raises(ValueError, match=r"names the class 'os.path', which is not part of att3d"):
        load_model(edited(hidden=[{"class_path": "os.path"}]), ATT3D)
    torch.save(content | {"spec": "{}"}, tmp_path / "edited.pt")
    with pytest.raises(ValueError, match=r"edited.pt: does not say how its model is built \(KeyError\)"):
        load_model(tmp_path / "edited.pt", ATT3D)


def test_impossible_settings_are_refused(prior):
    with pytest.raises(ValueError, match="lr must be positive and views at least 1"):
        ATT3D(HashTokenEncoder(4, 8), **small_settings(prior, lr=0.0))
    with pytest.raises(NotImplementedError):
        SceneTraining().scenes(PROMPTS)


def test_adam_has_no_momentum(model):
    assert model.configure_optimizers().defaults["betas"] == (0.0, 0.99)


def test_the_distillation_range_follows_progress(model, tmp_path):
    model.distillation = ScoreDistillation(2.0, t_max=0.9, t_max_end=0.1, t_min=0.02)
    seen = []
    inner = model.distillation.noised
    model.distillation.noised = lambda *args: seen.append(args[2]) or inner(*args)
    fit(model.train(), tmp_path, 5)
    assert seen == pytest.approx([0, 0.25, 0.5, 0.75, 1.0])
