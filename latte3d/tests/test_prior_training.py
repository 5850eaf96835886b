from types import SimpleNamespace

import pytest
import torch
from pytorch_lightning import Trainer
from safetensors.torch import save_file

from latte3d import prior_files
from latte3d.data import step_generator
from latte3d.diffusion import Condition, add_noise, level
from latte3d.experiment import Experiment
from latte3d.prior_files import read_prior
from latte3d.prior_training import DepthPriorTraining, MultiViewPriorTraining, PriorData
from latte3d.priors import pixel_places
from latte3d.shapes import vocabulary
from latte3d.stages import SurfaceStage, VolumetricStage

SMALL = {"channels": [8, 16], "text_width": 8, "size": 8}


@pytest.fixture(scope="module")
def data():
    module = PriorData(
        each=1, held_out_each=1, bodies=["cone"], size=16, sets=1, points=8, cells=4, batch_size=2
    )  # fmt: skip
    module.setup()
    return module


def trainer(steps):
    quiet = {"logger": False, "enable_progress_bar": False, "enable_model_summary": False, "accelerator": "cpu"}
    return Trainer(max_steps=steps, max_epochs=-1, limit_val_batches=0, enable_checkpointing=False, **quiet)


def test_priors_see_every_kind_of_shape(data):
    assert len(data.train.captions) == len(data.held_out.captions) == 9  # of one body, held-out triples among them


@pytest.mark.parametrize(("kind", "size"), [(MultiViewPriorTraining, 16), (DepthPriorTraining, 8)])
def test_a_trained_prior_comes_back_from_its_file(data, tmp_path, kind, size):
    training = kind(vocabulary(), **SMALL | {"size": size}, out=str(tmp_path / "new" / "prior.safetensors"))
    trainer(2).fit(training, datamodule=data)
    again = read_prior(tmp_path / "new" / "prior.safetensors")
    for name, value in training.prior.state_dict().items():
        torch.testing.assert_close(value, again.state_dict()[name], atol=1e-3, rtol=1e-3)  # halves
    batch = data.held_out.draw(2, step_generator(0, 0))
    assert torch.equal(again.text(batch.prompts).tokens, training.text(batch.prompts).tokens)
    assert (tmp_path / "new" / "prior.safetensors").stat().st_size < 4e6


def test_every_process_denoises_with_noise_of_its_own(data):
    training = MultiViewPriorTraining(vocabulary(), **SMALL | {"size": 16})
    batch, training.log = data.held_out.draw(2, step_generator(0, 0)), lambda *_: None

    def loss(step, rank, world):
        training.trainer = SimpleNamespace(global_step=step, global_rank=rank, world_size=world)
        return float(training.training_step(batch, 0).detach())

    drawn = [loss(step, rank, 2) for step in range(2) for rank in range(2)]
    assert len(set(drawn)) == 4 and loss(3, 0, 1) == drawn[3]


def test_validation_compares_right_wrong_and_no_text(data):
    training = MultiViewPriorTraining(vocabulary(), **SMALL | {"size": 16})
    quiet = {"logger": False, "enable_progress_bar": False, "enable_model_summary": False, "accelerator": "cpu"}
    (scores,) = Trainer(limit_val_batches=2, **quiet).validate(training, datamodule=data, verbose=False)
    assert set(scores) == {"val/text", "val/wrong_text", "val/no_text"}


def test_stages_take_saved_priors_by_path_and_by_name(tmp_path, monkeypatch):
    training = MultiViewPriorTraining(vocabulary(), **SMALL)
    path = prior_files.write_prior(training.prior, training.settings, training.words, tmp_path / "mine.safetensors")
    assert VolumetricStage(vocabulary(), str(path)).prior.text_width == 8
    monkeypatch.setattr(prior_files, "PACKAGED", tmp_path)
    assert SurfaceStage(vocabulary(), "mine").prior.text_length == 12


def test_files_that_are_no_priors_are_named(tmp_path):
    with pytest.raises(ValueError, match="no prior 'nothing': it is neither a file nor one of the packaged ones"):
        read_prior("nothing")
    save_file({"a": torch.zeros(1)}, tmp_path / "a.safetensors")
    with pytest.raises(ValueError, match=r"a\.safetensors is no prior of this project"):
        read_prior(tmp_path / "a.safetensors")


def test_crops_must_fit(data):
    training = DepthPriorTraining(vocabulary(), **SMALL | {"size": 32})
    with pytest.raises(ValueError, match="crops of 32 pixels need larger views, got 16"):
        training.loss(data.held_out.draw(1, step_generator(0, 0)), step_generator(0, 0), 0.0)


@pytest.mark.parametrize("name", ["multi_view", "depth"])
def test_packaged_priors_are_what_their_configs_make(name):
    if not (prior_files.PACKAGED / f"{name}.safetensors").exists():
        pytest.skip("this package was built without its priors")
    experiment = Experiment([f"prior_{name}"])
    recipe = experiment.model.recipe(experiment.data, experiment.trainer().max_steps)
    assert prior_files.packaged_recipe(name) == prior_files.recipe_hash(recipe)
    assert prior_files.recipe_hash(recipe | {"steps": 1}) != prior_files.recipe_hash(recipe)
    assert prior_files.prior_path(name).stat().st_size < 4e6


@pytest.mark.parametrize("name", ["multi_view", "depth"])
def test_packaged_priors_heed_the_text(name):
    if not (prior_files.PACKAGED / f"{name}.safetensors").exists():
        pytest.skip("this package was built without its priors")
    prior = read_prior(name).eval()
    data = PriorData(each=1, held_out_each=1, bodies=["cube"], size=32, sets=1, points=8, cells=4, batch_size=4, seed=3)
    data.setup()
    batch = data.held_out.draw(4, step_generator(0, 0))
    noisy = torch.randn(16, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    t = torch.full((16,), 900)
    condition = Condition(prior.text(batch.prompts), batch.cameras, batch.depth[:, None], pixel_places(16, 32))
    noisy = add_noise(prior.encode(batch.color), noisy, level(prior.alphas_cumprod, t))
    wrong = prior.text(["a flat plain ball"] * 4)
    with torch.no_grad():
        right, other = (
            float((prior.denoise(noisy, t, condition._replace(text=text)) - prior.encode(batch.color)).square().mean())
            for text in (condition.text, wrong)
        )
    assert right < 0.7 * other
