"""SIRENs, their fits and their edits; contrastive embeddings."""

import math

import pytest
import torch
from pytorch_lightning import Callback, Trainer
from pytorch_lightning.callbacks import ModelCheckpoint

from graph_metanetworks.cache import save_state
from graph_metanetworks.contrastive import (
    INRContrastive,
    constant_noise,
    disturbed,
    gaussian_noise,
    info_nce,
    linear_probe,
    tensor_spread,
)
from graph_metanetworks.editing import EDITORS, INREditing
from graph_metanetworks.networks.siren import Siren, fit_sirens, image_grid, initial_sirens, run_sirens, split_layers
from graph_metanetworks.siren_data import DigitSirens, ImageSirens, MNISTSirens, SineSirens, dilate, siren_graph

SIZES = (2, 5, 4, 1)


def test_stacked_sirens_compute_what_the_module_does():
    model = Siren(SIZES, omega=7.0, shift=0.25).double()
    graph = siren_graph(SIZES, 7.0)
    x = torch.randn(6, 2, dtype=torch.float64)
    flat = graph.flatten(model.state_dict())[None].repeat(3, 1)
    with torch.no_grad():
        assert float((run_sirens(flat, x, SIZES, 7.0, 0.25)[1] - model(x)).abs().max()) < 1e-12
    with pytest.raises(ValueError, match=r"an MLP \[2, 3, 1\] has 13 parameters, got 44"):
        split_layers(flat, (2, 3, 1))


def test_sirens_start_with_their_own_initialisation():
    weights = split_layers(initial_sirens(200, (2, 50, 50, 1), 30.0, torch.Generator().manual_seed(0)), (2, 50, 50, 1))
    bounds = [float(w.abs().max()) for w, _ in weights]
    expected = [1 / 2, math.sqrt(6 / 50) / 30, math.sqrt(6 / 50) / 30]
    assert bounds == pytest.approx(expected, rel=0.02)


def test_fits_reach_their_images_from_random_starts():
    images = torch.rand(4, 16, 1, generator=torch.Generator().manual_seed(0))
    flat, error = fit_sirens(images, image_grid(4, 4), (2, 16, 16, 1), 10.0, 300, 5e-3, 0, chunk=3)
    assert float(error.max()) < 1e-3 and not torch.allclose(flat[0], flat[1], atol=1e-2)


def test_the_image_grid_has_x_along_a_row():
    assert image_grid(2, 3).tolist() == [[-1, -1], [0, -1], [1, -1], [-1, 1], [0, 1], [1, 1]]


def test_dilation_takes_the_largest_of_the_surroundings():
    image = torch.zeros(1, 4, 4)
    image[0, 1, 1] = 1
    assert dilate(image)[0].tolist() == [[1, 1, 1, 0]] * 3 + [[0] * 4]


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    found = DigitSirens(str(tmp_path_factory.mktemp("sirens")), 60, steps=60, val=10, test=10, batch_size=8)
    found.setup()
    return found


def trainer(**options):
    silent = {
        "logger": False,
        "enable_checkpointing": False,
        "enable_progress_bar": False,
        "enable_model_summary": False,
    }
    return Trainer(accelerator="cpu", **silent, **options)


@pytest.mark.parametrize("editor", EDITORS)
def test_every_editor_learns_something(editor, data):
    module = INREditing(editor, width=8, depth=2, rate=1e-2)
    batch = data.batch(range(50))
    with torch.no_grad():
        before = float(module.error(batch).mean())
    trainer(max_epochs=4).fit(module, datamodule=data)
    with torch.no_grad():
        assert float(module.error(batch).mean()) < 0.9 * before
    numbers = trainer().test(module, datamodule=data, verbose=False)
    assert {k for d in numbers for k in d} == {"test/mse", "train/mse"}


def test_sirens_are_fitted_once(data):
    again = DigitSirens(data.folder, 60, steps=60, val=10, test=10, batch_size=8)
    again.setup()
    assert torch.equal(again.flat, data.flat)
    assert set(data.rows["train"]) | set(data.rows["val"]) | set(data.rows["test"]) == set(range(60))


class Two(ImageSirens):
    """Two SIRENs to learn from, of images that are given."""

    def __init__(self, folder, pixels):
        super().__init__(str(folder), (2, 4, 1), 10.0, 2, 1e-3, 1, 1, 2, 0, 0)
        self.pixels = pixels

    def images(self):
        return self.pixels


def test_other_images_of_the_same_sum_have_sirens_of_their_own(tmp_path):
    images = torch.rand(4, 3, 3, generator=torch.Generator().manual_seed(0))
    first, second = Two(tmp_path, images), Two(tmp_path, images.flip(2))
    first.setup(), second.setup()
    assert len(list(tmp_path.iterdir())) == 2 and not torch.equal(first.flat, second.flat)


@pytest.mark.parametrize("flat", [None, torch.ones(2, 17), torch.full((4, 17), torch.inf)], ids=["cut", "few", "inf"])
def test_sirens_whose_file_is_damaged_are_fitted_again(tmp_path, flat):
    images = torch.rand(4, 3, 3, generator=torch.Generator().manual_seed(0))
    before = Two(tmp_path, images)
    before.setup()
    (path,) = tmp_path.iterdir()
    if flat is None:
        path.write_bytes(path.read_bytes()[:100])
    else:
        mark = torch.load(path, weights_only=True)["mark"]
        save_state(path, mark, {"flat": flat, "error": torch.ones(len(flat))})
    after = Two(tmp_path, images)
    with pytest.warns(UserWarning, match=rf"{path.name}: damaged.* again"):
        after.setup()
    assert torch.equal(before.flat, after.flat)
    Two(tmp_path, images).setup()


def test_too_few_sirens_and_unknown_names_are_refused(tmp_path):
    with pytest.raises(ValueError, match="more than 397 SIRENs expected"):
        DigitSirens(str(tmp_path), 20).setup()
    with pytest.raises(ValueError, match="unknown editor 'photoshop', choose from gmn"):
        INREditing("photoshop")
    with pytest.raises(ValueError, match="unknown encoder 'bert'"):
        INRContrastive("bert")
    with pytest.raises(ValueError, match="unknown noise 'pink'"):
        INRContrastive(noise="pink")
    from graph_metanetworks.accuracy import AccuracyPrediction

    with pytest.raises(ValueError, match="unknown reader 'tarot', choose from gmn"):
        AccuracyPrediction("tarot")
    with pytest.raises(ValueError, match="some fits did not end in finite weights; lower the rate"):
        DigitSirens(str(tmp_path), 30, rate=1e30, steps=5, val=2, test=2).setup()


def test_noise_is_a_fifth_of_each_tensors_spread():
    graph = siren_graph(SIZES, 10.0)
    flat = torch.randn(3, graph.layout.total, generator=torch.Generator().manual_seed(0))
    spread = tensor_spread(graph, flat)
    assert torch.allclose(spread[:, 0], flat[:, :10].std(1, correction=0))
    assert torch.allclose(constant_noise(spread, torch.Generator()), 0.2 * spread)
    many = gaussian_noise(torch.ones(100_000), torch.Generator().manual_seed(0))
    assert float(many.std()) == pytest.approx(0.2, rel=0.02)
    copy = disturbed(graph, flat, constant_noise, 0.5, torch.Generator().manual_seed(0))
    assert 0.3 < float((copy == 0).float().mean()) < 0.7
    kept = copy != 0
    assert torch.allclose(copy[kept], (flat + 0.2 * spread)[kept])


def test_info_nce_is_the_cross_entropy_of_finding_the_partner():
    a = torch.eye(3)
    aligned, shuffled = info_nce(a, a), info_nce(a, a.roll(1, 0))
    expected = -math.log(math.exp(10) / (math.exp(10) + 4))
    assert float(aligned) == pytest.approx(expected, rel=1e-2) and shuffled > 5


def test_the_probe_finds_linear_targets_exactly():
    x = torch.randn(50, 3, generator=torch.Generator().manual_seed(0))
    y = x @ torch.randn(3, 2) + 1
    assert linear_probe(x[:40], y[:40], x[40:], y[40:]) < 1e-8


def test_sine_sirens_and_their_contrastive_training(tmp_path):
    data = SineSirens(str(tmp_path), 80, steps=60, val=10, test=20, batch_size=16)
    data.setup()
    x = torch.arange(128) * (2 * math.pi / 128) - math.pi
    assert torch.allclose(data.signal[3], data.target[3, 0] * torch.sin(data.target[3, 1] * x), atol=1e-5)
    assert float(data.target.min()) >= 0 and float(data.target.max()) <= 10
    for encoder in ("gmn", "flat"):
        module = INRContrastive(encoder, width=8, depth=2)
        trainer(max_epochs=2).fit(module, datamodule=data)
        numbers = trainer().test(module, datamodule=data, verbose=False)
        assert numbers[0]["test/probe_mse"] == pytest.approx(module.probe())


def test_mnist_images_become_sirens(papers_data, tmp_path):
    data = MNISTSirens(str(papers_data / "mnist"), "t10k", str(tmp_path), 12, steps=3, val=2, test=2, stride=2)
    data.setup()
    assert data.target.shape == (12, 196) and float(data.signal.min()) >= 0 and float(data.signal.max()) <= 1
    with pytest.raises(FileNotFoundError, match="train-images-idx3-ubyte or train-images"):
        MNISTSirens(str(papers_data / "mnist"), "train", str(tmp_path)).setup()


class Killed(Callback):
    """The process ends after so many steps, in the middle of an epoch; what was saved by then is all that is left."""

    def on_train_batch_end(self, trainer, *_):
        if trainer.global_step == 8:
            raise KeyboardInterrupt


FITS = {
    "editing": lambda: INREditing(width=8, depth=1),
    "contrastive": lambda: INRContrastive(width=8, depth=1),
}


@pytest.mark.parametrize("kind", FITS)
@pytest.mark.parametrize("steps", [{"max_epochs": 2}, {"max_steps": 10}])
def test_a_killed_fit_resumes_to_the_same_bits(data, kind, steps, tmp_path):
    def fit(callbacks, **options):
        module, silent = FITS[kind](), {"logger": False, "enable_progress_bar": False, "enable_model_summary": False}
        run = Trainer(accelerator="cpu", limit_val_batches=0, callbacks=callbacks, default_root_dir=tmp_path, **steps,
                      **silent)  # fmt: skip
        copy = DigitSirens(data.folder, 60, steps=60, val=10, test=10, batch_size=8)
        run.fit(module, datamodule=copy, **options)
        return module.state_dict()

    def keep():
        return ModelCheckpoint(tmp_path / "kept", save_last=True, every_n_train_steps=7, enable_version_counter=False)

    whole = fit([])
    with pytest.raises(SystemExit):
        fit([keep(), Killed()])
    resumed = fit([keep()], ckpt_path=tmp_path / "kept" / "last.ckpt", weights_only=True)
    assert all(torch.equal(whole[name], resumed[name]) for name in whole)


@pytest.mark.parametrize("kind", FITS)
def test_a_loss_that_is_no_number_ends_the_run(data, kind):
    module = FITS[kind]()
    for parameter in module.parameters():
        parameter.data.fill_(torch.nan)
    with pytest.raises(ValueError, match=r"step 0: the training loss is nan, .* lower model.init_args.rate"):
        trainer(max_steps=2, limit_val_batches=0).fit(module, datamodule=data)
