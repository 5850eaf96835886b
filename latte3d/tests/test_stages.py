"""The stages' traps: fog, leaking truth, moving geometry, retrieval at inference, resuming."""

import copy
import json

import pytest
import torch
from pytorch_lightning import Trainer
from pytorch_lightning.callbacks import ModelCheckpoint
from torch import nn

from latte3d.cameras import CameraSampler, orbit
from latte3d.checkpoints import load_networks
from latte3d.data import FolderData, ProceduralData, StepBatches, step_generator
from latte3d.library import build_library, of_shape
from latte3d.marching_tetrahedra import grid_vertices
from latte3d.networks import Sizes
from latte3d.pipeline import Latte3DPipeline
from latte3d.priors import DepthDiffusionPrior, MultiViewDiffusionPrior
from latte3d.rasterizer import get_rasterizer, pack
from latte3d.shapes import Shape, vocabulary
from latte3d.stages import ReconstructionStage, SurfaceStage, VolumetricStage
from latte3d.surface import extract, field_shade, render_surface
from latte3d.textured_mesh import vertex_colored
from latte3d.volsdf import VolumeQuery, bake

SIZES = Sizes(
    resolution=8, point_widths=[8], voxels=[4], widths=[8, 16], text_width=8, channels=4, hidden=16, points=64
)  # fmt: skip
SMALL = {"sizes": SIZES, "size": 12, "samples": 12, "cells": 12}
DATA = {
    "each": 1,
    "held_out_each": 1,
    "bodies": ["ball"],
    "size": 12,
    "sets": 2,
    "points": 64,
    "cells": 12,
    "batch_size": 2,
}


class GreyPrior(nn.Module):
    """Whatever it sees was grey."""

    def __init__(self):
        super().__init__()
        self.register_buffer("alphas_cumprod", torch.linspace(0.99, 0.01, 100))

    def encode(self, images):
        return images.movedim(-1, 1) * 2 - 1

    def denoise_pair(self, noisy, t, condition):
        return torch.zeros_like(noisy), torch.zeros_like(noisy)


@pytest.fixture(scope="module")
def data():
    module = ProceduralData(**DATA)
    module.setup()
    return module


def trainer(steps, **settings):
    quiet = {"logger": False, "enable_progress_bar": False, "enable_model_summary": False, "accelerator": "cpu"}
    settings = {"enable_checkpointing": False, **settings}
    return Trainer(max_steps=steps, limit_val_batches=0, max_epochs=-1, **quiet, **settings)


def scorer():
    return Trainer(logger=False, enable_progress_bar=False, enable_model_summary=False, accelerator="cpu")


def fit(stage, data, steps, **settings):
    run = trainer(steps, **settings)
    run.fit(stage, datamodule=data)
    return run


def multi_view(**changed):
    torch.manual_seed(0)
    return MultiViewDiffusionPrior(text_length=12, text_width=8, size=12, channels=(8, 16), **changed)


def depth_prior():
    torch.manual_seed(0)
    return DepthDiffusionPrior(text_length=12, text_width=8, size=8, channels=(8, 16))


def test_a_library_holds_each_shape_with_its_own_views(data):
    shape = Shape("cone", color="green", yaw=5.0)
    library = build_library([of_shape(shape)] * 2, CameraSampler(), size=16, sets=3, points=32, cells=8)
    batch = library.batch(torch.tensor([1]), torch.tensor([2]), [1])
    assert batch.prompts == ["a green spike"] and batch.color.shape == (4, 16, 16, 3)
    again = shape.render(batch.cameras, 16)
    torch.testing.assert_close(batch.color, again.color)
    assert torch.equal(batch.volume[0, 0].flatten(), shape.sdf(grid_vertices(8)))
    assert torch.equal(batch.volume[0, 1:].flatten(1).T, shape.rgb(grid_vertices(8)))
    assert len(data.train.captions) == 7 and len(data.held_out.captions) == 2


def test_processes_draw_different_batches_and_a_later_start_goes_on(data):
    def batches(step, *place):
        return iter(StepBatches(data.train, 2, 0, lambda: step, *place))

    first, second = next(batches(0, 0, 2)), next(batches(0, 1, 2))
    assert not torch.equal(first.cameras.to_world, second.cameras.to_world) or first.prompts != second.prompts
    straight = batches(0)
    next(straight)
    assert torch.equal(next(straight).clouds, next(batches(1)).clouds)


def test_reconstruction_learns_masks_and_colours(data):
    stage = ReconstructionStage(vocabulary(), **SMALL, rate=5e-3)
    batch = data.train.draw(2, step_generator(0, 0))
    before = stage_loss(stage, batch)
    fit(stage, data, 40)
    assert stage_loss(stage, batch) < 0.5 * before


def stage_loss(stage, batch):
    with torch.no_grad():
        volume = bake(stage.networks(batch.clouds), stage.cells)
        rendering = stage.volume_rendering(volume, batch, 0.05, None)
        return float((rendering.color - batch.color).square().mean() + (rendering.opacity - batch.mask).square().mean())


def test_fog_turns_into_a_surface_whose_silhouette_is_that_of_the_volume():
    """Masks alone may be satisfied by positive distances everywhere; annealing and the eikonal term prevent it.

    At β = 0.01 the volume is wider than the surface by 0.025, (0.45 / 0.475)² = 0.90 of its area.
    """
    data = ProceduralData(**DATA | {"size": 20, "sets": 4})
    stage = VolumetricStage(vocabulary(), None, SIZES, rate=5e-3, size=20, samples=20, cells=16, alpha=1.0)
    data.setup()
    fit(stage, data, 120)
    batch = data.train.draw(4, step_generator(1, 0))
    with torch.no_grad():
        fields = stage.networks(stage.dummy.expand(4, -1, -1), stage.text(batch.prompts))
        volume = stage.renderer(VolumeQuery(bake(fields, 16)), batch.cameras, 0.01, torch.ones(3))
        meshes = pack(extract(fields, 16), views=4)
        surface = render_surface(
            meshes, batch.cameras, 20, field_shade(fields, 4), torch.ones(3), get_rasterizer("torch")
        )
    opaque, silhouette = volume.opacity > 0.5, surface.mask > 0.5
    iou = (opaque & silhouette).sum() / (opaque | silhouette).sum()
    assert iou >= 0.85


def test_the_prior_alone_decides_colours_in_stage_one(data):
    """The truth's colours are in the batch; a grey prior must give grey objects all the same."""
    stage = VolumetricStage(vocabulary(), GreyPrior(), **SMALL, rate=1e-2, eikonal_weight=0.0)
    with torch.no_grad():
        stage.networks.texture.decoder.mlp[-1].bias.copy_(torch.tensor([2.0, -2.0, -2.0]))  # red to begin with
    fit(stage, data, 90)
    batch = data.train.draw(2, step_generator(0, 1))
    with torch.no_grad():
        color = stage.networks(batch.clouds, stage.text(batch.prompts)).color(batch.clouds[..., :3])
    assert (color - 0.5).abs().mean() < 0.1
    run = trainer(1)
    stage.trainer = run
    losses = [
        float(stage.distilled(torch.zeros(8, 12, 12, 3), b, step_generator(0, 0), 0.0).sum())
        for b in (batch, batch._replace(color=1 - batch.color))
    ]
    assert losses[0] == losses[1]


def test_stage_one_steps_with_a_diffusion_prior_and_any_alpha(data):
    for settings in ({}, {"amortise_alpha": True}):
        stage = VolumetricStage(vocabulary(), multi_view(), **SMALL, **settings)
        before = copy.deepcopy(stage.networks.state_dict())
        prior = copy.deepcopy(stage.prior.state_dict())
        fit(stage, data, 2)
        moved = {name for name, value in stage.networks.state_dict().items() if not torch.equal(value, before[name])}
        assert any("geometry.head" in name for name in moved) and any("texture.head" in name for name in moved)
        assert ("geometry.encoder.alpha.0.weight" in moved) == ("amortise_alpha" in settings)
        assert all(torch.equal(value, prior[name]) for name, value in stage.prior.state_dict().items())


def test_geometry_is_the_same_to_the_bit_after_stage_two(data):
    first = VolumetricStage(vocabulary(), None, **SMALL, alpha=1.0)
    stage = SurfaceStage(vocabulary(), depth_prior(), SIZES, size=16, window=8, cells=12)
    stage.start_from(first.networks)
    batch = data.held_out.draw(2, step_generator(0, 0))

    def outcome():
        with torch.no_grad():
            fields = stage.networks(batch.clouds, stage.text(batch.prompts))
            return extract(fields, 12), fields.color(batch.clouds[..., :3])

    before = outcome()
    fit(stage, data, 3)
    after = outcome()
    for (vertices, faces), (again, same) in zip(before[0], after[0], strict=True):
        assert torch.equal(vertices, again) and torch.equal(faces, same)
    assert not torch.equal(before[1], after[1])
    for name, value in first.networks.geometry.state_dict().items():
        assert torch.equal(value, stage.networks.geometry.state_dict()[name])


def test_a_surface_stage_without_crops_sees_the_whole_picture(data):
    stage = SurfaceStage(vocabulary(), depth_prior(), SIZES, size=8, window=None, cells=12)
    fit(stage, data, 1)


def test_a_run_that_was_stopped_goes_on_as_if_it_had_not_been(data, tmp_path):
    def stage():
        return VolumetricStage(vocabulary(), multi_view(), **SMALL)

    straight = stage()
    fit(straight, data, 6)
    saver = ModelCheckpoint(dirpath=tmp_path, every_n_train_steps=3, save_top_k=-1, filename="{step}")
    fit(stage(), data, 6, callbacks=[saver], enable_checkpointing=True)
    resumed = stage()
    run = trainer(6)
    run.fit(resumed, datamodule=data, ckpt_path=str(tmp_path / "step=3.ckpt"), weights_only=True)
    for name, value in straight.networks.state_dict().items():
        assert torch.equal(value, resumed.networks.state_dict()[name]), name


def test_a_loss_that_is_no_number_ends_the_fit(data):
    stage = VolumetricStage(vocabulary(), multi_view(), **SMALL)
    for parameter in stage.networks.parameters():
        parameter.data.fill_(torch.nan)
    with pytest.raises(ValueError, match=r"step 0: the training loss is nan, a finite one expected; lower .*\.rate"):
        fit(stage, data, 2)


def test_validation_scores_text_alone_and_clouds(data):
    stage = VolumetricStage(vocabulary(), None, **SMALL, alpha=1.0)
    (scores,) = scorer().validate(stage, data.val_dataloader(), verbose=False)
    assert set(scores) == {"val/iou_text", "val/iou_cloud", "val/mask_iou_text", "val/mask_iou_cloud"}
    assert 0.2 < scores["val/iou_text"] < 0.9  # a sphere against balls of three proportions


def test_a_checkpoint_alone_makes_meshes_from_prompts(data, tmp_path):
    """No library, no prior, no cloud: a prompt and the weights."""
    stage = VolumetricStage(vocabulary(), multi_view(), **SMALL)
    run = fit(stage, data, 1)
    run.save_checkpoint(tmp_path / "a.ckpt")
    assert not any(
        name.startswith("prior.") for name in torch.load(tmp_path / "a.ckpt", weights_only=True)["state_dict"]
    )
    pipeline = Latte3DPipeline.from_pretrained(tmp_path / "a.ckpt", cells=12)
    mesh, other = pipeline(["a red ball", "a flat blue cube"])
    assert set(pipeline.seconds) == {"text", "networks", "surface", "colours"}
    networks, text, sizes = load_networks(tmp_path / "a.ckpt")
    fields = networks(stage.dummy.expand(2, -1, -1), text(["a red ball", "a flat blue cube"]))
    torch.testing.assert_close(mesh.vertices, extract(fields, 12)[0][0])
    assert sizes == SIZES and len(other.faces) > 50
    textured = Latte3DPipeline.from_pretrained(tmp_path / "a.ckpt", cells=8, texels=32)(["a red ball"], alpha=0.5)[0]
    assert textured.texture.shape == (32, 32, 3)


def test_checkpoints_that_are_none_are_named(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"none\.ckpt: no such file"):
        load_networks(tmp_path / "none.ckpt")
    torch.save({"state_dict": {}}, tmp_path / "other.ckpt")
    with pytest.raises(ValueError, match=r"other\.ckpt: not a checkpoint of latte3d \(KeyError"):
        load_networks(tmp_path / "other.ckpt")


def test_a_stage_starts_from_the_checkpoint_of_an_earlier_one(data, tmp_path):
    first = VolumetricStage(vocabulary(), None, **SMALL, alpha=1.0)
    fit(first, data, 1).save_checkpoint(tmp_path / "a.ckpt")
    later = SurfaceStage(vocabulary(), depth_prior(), SIZES, start=str(tmp_path / "a.ckpt"))
    for name, value in first.networks.state_dict().items():
        assert torch.equal(value, later.networks.state_dict()[name])
    with pytest.raises(ValueError, match=r"a\.ckpt has networks of other sizes: expected Sizes\(resolution=24"):
        ReconstructionStage(vocabulary(), start=str(tmp_path / "a.ckpt"))


def test_weights_of_the_losses_are_checked():
    with pytest.raises(ValueError, match=r"expected 0 to 1, got 1\.5"):
        VolumetricStage(["a"], None, SIZES, alpha=1.5)
    with pytest.raises(ValueError, match=r"alpha 0\.5 needs a prior"):
        VolumetricStage(["a"], None, SIZES)


def test_shapes_that_are_no_volumes_are_compared_by_their_masks(data):
    bare = data.train._replace(volume=torch.zeros(len(data.train.captions), 0))
    stage = ReconstructionStage(vocabulary(), **SMALL)
    batch = bare.draw(2, step_generator(0, 0))
    truth = stage.reference(batch, 0.05)
    assert torch.equal(truth.opacity, batch.mask) and torch.equal(truth.color, batch.color)


def test_a_folder_of_meshes_trains_like_the_shapes(tmp_path):
    captions = {}
    for i, shape in enumerate((Shape("ball"), Shape("cube"), Shape("cone"))):
        vertices, faces = shape.mesh(12)
        vertex_colored(vertices, faces, shape.rgb).export(tmp_path / f"m{i}.glb")
        captions[f"m{i}"] = shape.caption()
    (tmp_path / "captions.json").write_text(json.dumps(captions))
    data = FolderData(str(tmp_path), held_out=0.34, size=12, sets=1, points=64, cells=8, batch_size=2)
    stage = VolumetricStage(data.words, None, **SMALL, alpha=1.0)
    fit(stage, data, 1)
    (scores,) = scorer().validate(stage, data.val_dataloader(), verbose=False)
    assert set(scores) == {"val/iou_text", "val/iou_cloud", "val/mask_iou_text", "val/mask_iou_cloud"}
    prompts = {"train": ["a very red ball", "some cone"], "val": ["one cube"], "test": ["two cubes"]}
    (tmp_path / "prompts.json").write_text(json.dumps(prompts))
    paired = FolderData(str(tmp_path), held_out=0.34, size=12, sets=1, points=64, cells=8, batch_size=2)
    paired.setup()
    batch = paired.training().draw(8, step_generator(0, 0))
    assert set(batch.prompts) == set(prompts["train"]) and batch.clouds.shape == (8, 64, 6)
    assert {"very", "two"} <= set(paired.words)
    fit(VolumetricStage(paired.words, None, **SMALL, alpha=1.0), paired, 1)


def test_the_surface_stage_may_tell_its_prior_from_where_it_looks(data):
    batch = data.train.draw(1, step_generator(0, 0))
    batch = batch._replace(
        cameras=orbit(*torch.tensor([[0.0, 90, 180, -90], [10.0, 10, 10, 80], [40.0] * 4, [1.1] * 4]))
    )
    told = SurfaceStage(vocabulary(), depth_prior(), SIZES, tell_views=True).told(batch)
    prompt = batch.prompts[0]
    assert told == [f"{prompt}, {name} view" for name in ("front", "side", "back", "overhead")]
    assert SurfaceStage(vocabulary(), depth_prior(), SIZES).told(batch) == [prompt]
