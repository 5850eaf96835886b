"""Contrast, augmentation, LARS: values that theory gives."""

import math
import os

import pytest
import torch
from pytorch_lightning import LightningModule, Trainer
from torch import nn

from flexible_fewshot import LARS, Augmentation, cross_view_loss, nt_xent_loss
from flexible_fewshot.learning import gathered
from flexible_fewshot.optimizers import optimizer_with_schedule


@pytest.mark.parametrize("n", [2, 5, 64])
def test_with_identical_embeddings_nothing_is_told_apart(n):
    z = torch.ones(n, 7, dtype=torch.float64)
    assert float(cross_view_loss(z, z, 0.5)) == pytest.approx(math.log(n))
    assert float(nt_xent_loss(z, z, 0.5)) == pytest.approx(math.log(2 * n - 1))


def test_ntxent_is_symmetric_in_the_views_and_the_cross_variant_is_not():
    z, other = torch.randn(2, 6, 4, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    assert float(nt_xent_loss(z, other, 0.1)) == pytest.approx(float(nt_xent_loss(other, z, 0.1)))
    assert float(cross_view_loss(z, other, 0.1)) != pytest.approx(float(cross_view_loss(other, z, 0.1)), abs=1e-3)


def test_the_cross_variant_is_the_papers_equation():
    z, other = torch.randn(2, 5, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    u, v = z / z.norm(dim=1, keepdim=True), other / other.norm(dim=1, keepdim=True)
    e = torch.exp(u @ v.T / 0.3)
    assert float(cross_view_loss(z, other, 0.3)) == pytest.approx(float(-(e.diag() / e.sum(1)).log().mean()))


def test_lengths_of_embeddings_do_not_matter():
    z, other = torch.randn(2, 5, 3, dtype=torch.float64)
    assert float(nt_xent_loss(3 * z, 0.1 * other, 0.5)) == pytest.approx(float(nt_xent_loss(z, other, 0.5)))


@pytest.mark.parametrize("loss", [cross_view_loss, nt_xent_loss])
def test_views_that_do_not_match_are_refused(loss):
    with pytest.raises(ValueError, match=r"alike, got \(3, 2\) and \(4, 2\)"):
        loss(torch.zeros(3, 2), torch.zeros(4, 2), 0.5)
    with pytest.raises(ValueError, match="temperature must be positive, got 0"):
        loss(torch.zeros(3, 2), torch.zeros(3, 2), 0.0)


class _Contrast(LightningModule):
    """A linear projection whose loss is the contrast of the whole batch."""

    def __init__(self):
        super().__init__()
        self.W = nn.Parameter(torch.linspace(-1, 1, 12).reshape(3, 4))

    def training_step(self, batch, _):
        half = len(batch) // 2
        z, other = batch[:half] @ self.W, batch[half:] @ self.W
        return nt_xent_loss(gathered(self, z), gathered(self, other), 0.5)

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), lr=1.0)

    def train_dataloader(self):
        views = torch.randn(2, 8, 3, generator=torch.Generator().manual_seed(3))
        shares = views.split(8 // self.trainer.world_size, dim=1)
        return torch.utils.data.DataLoader([shares[self.trainer.global_rank].flatten(0, 1)], batch_size=None)

    def on_train_end(self):
        if self.global_rank == 0:
            torch.save(self.W.detach(), os.environ["CONTRAST_OUT"])


def test_two_processes_contrast_with_the_whole_batch(tmp_path, monkeypatch):
    """One step of two processes, four images each, is the step of one process with all eight."""
    results = []
    for devices in (1, 2):
        monkeypatch.setenv("CONTRAST_OUT", str(tmp_path / f"{devices}.pt"))
        strategy = "auto" if devices == 1 else "ddp_spawn"
        Trainer(accelerator="cpu", devices=devices, strategy=strategy, max_steps=1, barebones=True,
                use_distributed_sampler=False).fit(_Contrast())  # fmt: skip
        results.append(torch.load(tmp_path / f"{devices}.pt", weights_only=True))
    assert torch.allclose(*results, atol=1e-6) and not torch.allclose(results[0], _Contrast().W, atol=1e-3)


def test_augmentation_keeps_range_and_shape_and_depends_on_its_generator_alone():
    images = torch.rand(16, 3, 20, 20, generator=torch.Generator().manual_seed(0))
    views = [Augmentation()(images, torch.Generator().manual_seed(seed)) for seed in (1, 1, 2)]
    assert views[0].shape == images.shape and views[0].min() >= 0 and views[0].max() <= 1
    assert torch.equal(views[0], views[1]) and not torch.equal(views[0], views[2])


def test_an_augmentation_of_no_strength_is_the_identity():
    images = torch.rand(4, 3, 9, 9)
    nothing = Augmentation(min_area=1, jitter=0, hue=0, grey=0, flip=False)
    assert torch.allclose(nothing(images, torch.Generator().manual_seed(0)), images, atol=1e-5)


def test_grey_views_have_no_colour_and_hue_keeps_the_mean():
    images = torch.rand(8, 3, 6, 6)
    grey = Augmentation(jitter=0, hue=0, grey=1)._colour(images, torch.rand(8, 8))
    assert (grey.amax(1) - grey.amin(1)).max() < 1e-5
    turned = Augmentation(jitter=0, hue=0.5, grey=0)._colour(0.3 + 0.2 * images, torch.rand(8, 8))
    assert torch.allclose(turned.mean(1), 0.3 + 0.2 * images.mean(1), atol=1e-5)


def test_flips_mirror_images():
    images = torch.rand(64, 3, 8, 8)
    only = Augmentation(min_area=1, jitter=0, hue=0, grey=0)
    draws = torch.full((5, 64), 0.5)  # the whole image
    draws[4] = torch.linspace(0, 1, 64)
    views = only._crop(images, draws)
    assert torch.allclose(views[:32], images[:32].flip(-1), atol=1e-5)
    assert torch.allclose(views[32:], images[32:], atol=1e-5)


@pytest.mark.parametrize("change", [{"min_area": 0}, {"jitter": 2}, {"hue": 0.7}, {"grey": -1}])
def test_augmentations_out_of_range_are_refused(change):
    with pytest.raises(ValueError, match="augmentation needs min_area"):
        Augmentation(**change)


def test_lars_moves_every_matrix_by_the_same_share_of_its_length():
    """Without momentum a step is lr · trust · |w| long, whatever the gradient; vectors take plain steps."""
    small, large = nn.Parameter(torch.randn(4, 4)), nn.Parameter(100 * torch.randn(3, 5))
    vector = nn.Parameter(torch.zeros(3))
    before = [p.detach().clone() for p in (small, large, vector)]
    for parameter, scale in ((small, 1e3), (large, 1e-3), (vector, 2.0)):
        parameter.grad = scale * torch.ones_like(parameter)
    LARS([small, large, vector], lr=2.0, momentum=0.0, trust=0.01).step()
    for parameter, old in zip((small, large), before, strict=False):
        assert float(((parameter - old).norm() / old.norm()).detach()) == pytest.approx(0.02, rel=1e-4)
    assert torch.equal(vector.detach(), torch.full((3,), -4.0))


def test_settings_that_make_no_optimizer_are_refused():
    with pytest.raises(ValueError, match="LARS needs settings >= 0"):
        LARS([nn.Parameter(torch.zeros(2))], lr=-1.0)
    with pytest.raises(ValueError, match="unknown optimizer 'sgd', choose from adamw, lars"):
        optimizer_with_schedule("sgd", [(nn.Linear(2, 2), 0.1)], 0.0, 10)


def test_lars_follows_a_cosine_to_zero():
    made = optimizer_with_schedule("lars", [(nn.Linear(2, 2), 0.6)], 0.0, 10)
    for _ in range(10):
        made["optimizer"].step()
        made["lr_scheduler"]["scheduler"].step()
    assert made["optimizer"].param_groups[0]["lr"] == pytest.approx(0, abs=1e-9)
