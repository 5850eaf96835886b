"""What the data modules yield, what depends on which seed, and what they refuse."""

import copy
import gzip
import struct

import numpy as np
import pytest
import torch
from PIL import Image
from pytorch_lightning import LightningModule, Trainer
from sklearn.datasets import load_digits

from mli_landscapes.classification import ClassificationData, Examples, LabelledData, crop_and_flip, with_label_noise
from mli_landscapes.data import (
    CIFARData,
    DigitsData,
    ImageFolderData,
    MarkovText,
    MNISTData,
    SyntheticImages,
    WikiTextData,
)
from mli_landscapes.text_data import LanguageData, markov_walk, windows_of
from mli_landscapes.wikitext import Text


def whole(batches) -> tuple[torch.Tensor, torch.Tensor]:
    inputs, labels = zip(*batches, strict=True)
    return torch.cat(inputs), torch.cat(labels)


def epoch(data, number: int) -> tuple[torch.Tensor, torch.Tensor]:
    loader = data.train_dataloader()
    loader.sampler.set_epoch(number)
    return whole(loader)


def sorted_rows(x: torch.Tensor) -> torch.Tensor:
    return torch.unique(x.flatten(1), dim=0)


class Given(ClassificationData):
    """Data that a test has at hand."""

    def __init__(self, inputs, labels, classes=10, **settings):
        super().__init__(**settings)
        self.given = Examples.of(inputs, labels), classes

    def load(self):
        examples, classes = self.given
        return LabelledData(examples, examples, classes, torch.zeros(()), torch.ones(()))


def pixels(rows: int, channels: int = 3, size: int = 12) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (rows, channels, size, size)).astype(np.uint8)


# ---- the embedded data sets


def test_digits_are_centred_sixteenths_in_a_stratified_split_that_no_seed_changes():
    data = DigitsData(seed=0)
    assert (data.shape, data.classes) == ((64,), 10)
    x, y = whole(data.training_batches())
    assert (x.dtype, y.dtype, len(x)) == (torch.float32, torch.int64, 1437)
    assert x.mean(0).abs().max() < 1e-6
    held_x, held_y = whole(data.held_out_batches())
    assert len(held_x) == 360
    everyone = torch.cat([x, held_x]) + data.labelled.mean
    assert torch.equal(sorted_rows((everyone * 16).round()), sorted_rows(torch.tensor(load_digits().data).float()))
    shares = torch.bincount(y) / 1437 - torch.bincount(held_y) / 360
    assert shares.abs().max() < 1 / 360  # as even as whole examples allow
    other = whole(DigitsData(seed=7).training_batches())[0]
    assert torch.equal(sorted_rows(other), sorted_rows(x))
    assert not torch.equal(other, x)


def test_synthetic_images_have_the_sizes_asked_for_and_templates_that_can_be_told_apart():
    data = SyntheticImages(examples=90, channels=2, size=8, classes=3)
    x, y = whole(data.training_batches())
    assert (data.shape, data.classes, x.shape) == ((2, 8, 8), 3, (90, 2, 8, 8))
    assert torch.bincount(y).tolist() == [30, 30, 30]
    means = torch.stack([x[y == label].mean(0) for label in range(3)])
    held_x, held_y = whole(data.held_out_batches())
    nearest = (held_x[:, None] - means).square().sum((2, 3, 4)).argmin(1)
    assert (nearest == held_y).float().mean() > 0.95


@pytest.mark.parametrize("build", [DigitsData, lambda: SyntheticImages(40), lambda: MarkovText(tokens=2000)])
def test_batches_to_measure_on_come_in_one_order_and_are_cut_at_rows(build):
    data = build()
    for batches in (data.training_batches, data.held_out_batches):
        x, y = whole(batches())
        pieces = batches(rows=5, batch_size=2)
        assert [len(inputs) for inputs, _ in pieces] == [2, 2, 1]
        assert torch.equal(whole(pieces)[0], x[:5])
        assert torch.equal(whole(pieces)[1], y[:5])
        assert len(whole(batches(rows=10**6))[0]) == len(x)
        with pytest.raises(ValueError, match="rows and batch_size must be >= 1, got 0 and 2"):
            batches(rows=0, batch_size=2)


@pytest.mark.parametrize("build", [DigitsData, lambda: MarkovText(tokens=2000)])
def test_validation_batches_are_the_held_out_set(build):
    data = build()
    assert torch.equal(whole(data.val_dataloader())[0], whole(data.held_out_batches())[0])
    assert len(whole(data.test_dataloader())[0]) == len(whole(data.predict_dataloader())[0]) > 0


# ---- randomness


@pytest.mark.parametrize(
    "build",
    [
        lambda seed: DigitsData(seed=seed),
        lambda seed: Given(pixels(50), np.arange(50) % 10, seed=seed, crop_padding=4, batch_size=7),
        lambda seed: MarkovText(tokens=4000, seed=seed),
    ],
)
def test_an_epoch_is_the_same_for_a_new_object_and_other_for_another_seed_or_epoch(build):
    x, y = epoch(build(0), 3)
    again, labels = epoch(build(0), 3)
    assert torch.equal(x, again)
    assert torch.equal(y, labels)
    assert not torch.equal(x, epoch(build(0), 4)[0])
    assert not torch.equal(x, epoch(build(1), 3)[0])
    assert not torch.equal(x, epoch(build(1), 2)[0])  # torch's sampler adds seed and epoch
    assert len(x) == len(whole(build(0).training_batches())[0])


def test_without_augmentation_an_epoch_is_the_training_set_in_another_order():
    data = Given(pixels(50), np.arange(50) % 10)
    x, y = whole(data.training_batches())
    seen_x, seen_y = epoch(data, 1)
    assert not torch.equal(seen_x, x)
    assert torch.equal(sorted_rows(seen_x), sorted_rows(x))
    assert torch.equal(seen_y.sort().values, y.sort().values)


def test_an_images_crop_depends_on_seed_and_epoch_not_on_its_batch():
    settings = {"inputs": pixels(50), "labels": np.arange(50) % 10, "crop_padding": 4}
    assert torch.equal(epoch(Given(**settings, batch_size=7), 2)[0], epoch(Given(**settings, batch_size=50), 2)[0])


class Recorder(LightningModule):
    """Keeps the labels and inputs of all training batches."""

    def __init__(self):
        super().__init__()
        self.weight, self.seen = torch.nn.Parameter(torch.zeros(())), []

    def training_step(self, batch, _):
        self.seen.append(tuple(part.clone() for part in batch))
        return self.weight

    def validation_step(self, batch, _):
        """Lightning wonders why there is none."""

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), lr=0.1)


def recorded(data, path, epochs: int, resume_from=None) -> list:
    settings = {
        "logger": False,
        "enable_progress_bar": False,
        "enable_model_summary": False,
        "accelerator": "cpu",
        "limit_val_batches": 0,
    }
    trainer, model = Trainer(default_root_dir=path, max_epochs=epochs, **settings), Recorder()
    trainer.fit(model, data, ckpt_path=resume_from, weights_only=True)
    trainer.save_checkpoint(path / f"{epochs}.ckpt")
    return model.seen


def test_a_resumed_fit_sees_what_an_uninterrupted_one_sees(tmp_path):
    def build():
        given = {"inputs": pixels(20), "labels": np.arange(20) % 10, "batch_size": 8, "crop_padding": 4}
        return Given(**given, label_noise=0.5, noise_from_epoch=3)

    through = recorded(build(), tmp_path, 4)
    recorded(build(), tmp_path, 2)
    resumed = recorded(build(), tmp_path, 4, resume_from=tmp_path / "2.ckpt")
    assert len(resumed) == 6  # two epochs of three batches
    for expected, found in zip(through[6:], resumed, strict=True):
        assert all(torch.equal(a, b) for a, b in zip(expected, found, strict=True))
    last = epoch(build(), 3)
    assert torch.equal(whole(through[9:])[0], last[0])
    assert torch.equal(whole(through[9:])[1], last[1])


def test_processes_share_an_epoch_without_overlap():
    data, seen = DigitsData(), []
    for rank in range(3):
        part = copy.copy(data)
        part.trainer = type("Three", (), {"world_size": 3, "global_rank": rank, "training": False})
        seen.append(epoch(part, 1)[0])
    assert [len(x) for x in seen] == [479, 479, 479]
    assert torch.equal(sorted_rows(torch.cat(seen)), sorted_rows(whole(data.training_batches())[0]))


# ---- data-set size and label noise


def test_smaller_training_sets_are_nested_in_larger_ones_and_leave_the_held_out_set_alone():
    small, large = (DigitsData(train_size=n, seed=3) for n in (100, 400))
    x = whole(small.training_batches())[0]
    assert torch.equal(whole(large.training_batches(rows=100))[0], x)
    assert len(epoch(small, 0)[0]) == 100
    assert len(whole(small.held_out_batches())[0]) == 360


@pytest.mark.parametrize("share", [0.0, 0.2, 1.0])
def test_label_noise_is_the_share_of_wrong_training_labels(share):
    data = DigitsData(label_noise=share, train_size=500)
    clean, (_, noisy) = data.labelled.training.labels, whole(data.training_batches())
    assert (noisy != clean).sum() == round(500 * share)
    assert noisy.min() >= 0 and noisy.max() <= 9
    assert torch.equal(whole(data.held_out_batches())[1], whole(DigitsData().held_out_batches())[1])


def test_wrong_labels_are_spread_evenly_over_the_other_classes():
    noisy = with_label_noise(torch.full((9000,), 3), 1.0, 10, torch.Generator().manual_seed(0))
    counts = torch.bincount(noisy, minlength=10)
    assert counts[3] == 0
    others = counts[torch.arange(10) != 3]
    assert (others - 1000).abs().max() < 4 * (9000 / 9 * 8 / 9) ** 0.5  # four standard deviations of a count


def test_noise_is_injected_at_the_chosen_epoch_and_is_what_curves_are_measured_on():
    late, always = DigitsData(label_noise=0.3, noise_from_epoch=2), DigitsData(label_noise=0.3)
    clean = DigitsData()
    assert torch.equal(epoch(late, 1)[1], epoch(clean, 1)[1])
    assert torch.equal(epoch(late, 2)[1], epoch(always, 2)[1])
    assert not torch.equal(epoch(late, 2)[1], epoch(clean, 2)[1])
    assert torch.equal(whole(late.training_batches())[1], whole(always.training_batches())[1])


# ---- augmentation


def test_a_crop_without_shift_is_the_image_and_a_mirrored_one_its_mirror_image():
    images = torch.tensor(pixels(4, size=6))
    middle = torch.full((4, 2), 2)
    mirrored = torch.tensor([False, True, False, True])
    found = crop_and_flip(images, middle, mirrored, padding=2)
    assert torch.equal(found[::2], images[::2])
    assert torch.equal(found[1::2], images[1::2].flip(-1))


def test_a_corner_crop_shows_black_padding_above_and_left():
    images = torch.tensor(pixels(2, size=6)) // 2 + 1
    found = crop_and_flip(images, torch.tensor([[0, 0], [4, 1]]), torch.tensor([False, False]), padding=2)
    assert torch.equal(found[0, :, 2:, 2:], images[0, :, :4, :4])
    assert found[0, :, :2].count_nonzero() == found[0, :, :, :2].count_nonzero() == 0
    assert torch.equal(found[1, :, :4, 1:], images[1, :, 2:, :5])
    assert found[1, :, 4:].count_nonzero() == found[1, :, :, :1].count_nonzero() == 0


def test_training_batches_are_augmented_and_measured_ones_are_not():
    data = Given(pixels(60), np.arange(60) % 10, crop_padding=4)
    plain = sorted_rows(whole(data.training_batches())[0])
    assert torch.equal(plain, sorted_rows(torch.tensor(pixels(60)) / 255))
    seen = epoch(data, 0)[0]
    unchanged = (seen[:, None] == torch.tensor(pixels(60)) / 255).flatten(2).all(2).any(1)
    assert unchanged.float().mean() < 0.15  # a crop is the image with chance 1/162


# ---- files


def write_idx(path, values: np.ndarray) -> None:
    magic = {3: 2051, 1: 2049}[values.ndim]
    header = struct.pack(f">{1 + values.ndim}I", magic, *values.shape)
    path.write_bytes(gzip.compress(header + values.astype(np.uint8).tobytes()))


@pytest.fixture
def mnist(tmp_path):
    for prefix, rows in (("train", 30), ("t10k", 20)):
        write_idx(tmp_path / f"{prefix}-images-idx3-ubyte.gz", pixels(rows, 1, 5)[:, 0] // 2 + (prefix == "t10k") * 128)
        write_idx(tmp_path / f"{prefix}-labels-idx1-ubyte.gz", np.arange(rows) % 10)
    return str(tmp_path)


def test_mnist_pixels_are_fractions_and_t10k_is_held_out(mnist):
    data = MNISTData(mnist)
    x, held = whole(data.training_batches())[0], whole(data.held_out_batches())[0]
    assert (x.shape, held.shape, data.shape) == ((30, 1, 5, 5), (20, 1, 5, 5), (1, 5, 5))
    assert x.min() >= 0 and x.max() < 0.5 <= held.min() and held.max() <= 1


def test_the_end_of_a_file_can_be_held_out_and_t10k_alone_suffices(mnist):
    data = MNISTData(mnist, prefix="t10k", holdout=3)
    assert whole(data.held_out_batches())[1].sort().values.tolist() == [7, 8, 9]
    assert len(whole(data.training_batches())[0]) == 17
    assert len(whole(MNISTData(mnist, holdout=4).held_out_batches())[0]) == 4
    with pytest.raises(ValueError, match="holdout is 2000, of only 20 images"):
        MNISTData(mnist, prefix="t10k").setup("fit")


def test_the_real_mnist_test_images_split_8000_to_2000(papers_data):
    data = MNISTData(str(papers_data / "mnist"), prefix="t10k")
    assert (data.shape, data.classes) == ((1, 28, 28), 10)
    assert [len(loader.dataset) for loader in (data.train_dataloader(), data.val_dataloader())] == [8000, 2000]
    with pytest.raises(FileNotFoundError, match="train-images-idx3-ubyte or"):
        MNISTData(str(papers_data / "mnist")).setup("fit")


@pytest.mark.parametrize("classes, middle", [(10, (0.4914, 0.4822, 0.4465)), (100, (0.5071, 0.4867, 0.4408))])
def test_cifar_is_normalised_by_its_published_constants(tmp_path, classes, middle):
    record = (
        bytes([0] * (1 if classes == 10 else 2))
        + np.repeat([round(255 * m) for m in middle], 1024).astype(np.uint8).tobytes()
    )
    names = [*(f"data_batch_{i}" for i in range(1, 6)), "test_batch"] if classes == 10 else ["train", "test"]
    for name in names:
        (tmp_path / f"{name}.bin").write_bytes(record * 2)
    data = CIFARData(str(tmp_path), classes=classes)
    assert (data.shape, data.classes, data.crop_padding) == ((3, 32, 32), classes, 4)
    assert CIFARData(str(tmp_path), augment=False).crop_padding == 0
    x = whole(data.training_batches())[0]
    assert x.abs().max() < 0.5 / 255 / 0.19  # half a grey level
    assert x.shape == (10 if classes == 10 else 2, 3, 32, 32)


def test_image_folders_are_normalised_by_their_training_images(tmp_path):
    shades = np.random.default_rng(0).integers(0, 200, (2, 2, 5, 8, 8, 3)).astype(np.uint8)
    shades[..., 2] = 70  # a channel of one value
    for split, part in zip(("train", "test"), shades, strict=True):
        for name, images in zip(("dog", "cat"), part, strict=True):
            (tmp_path / split / name).mkdir(parents=True)
            for i, image in enumerate(images):
                Image.fromarray(image).save(tmp_path / split / name / f"{i}.png")
    data = ImageFolderData(str(tmp_path), augment=False)
    x = whole(data.training_batches())[0]
    assert data.class_names == ("cat", "dog")
    assert x.mean((0, 2, 3)).abs().max() < 1e-6
    assert torch.allclose(x.std((0, 2, 3), correction=0), torch.tensor([1.0, 1.0, 0.0]), atol=1e-6)
    assert whole(data.held_out_batches())[0].mean((0, 2, 3))[:2].abs().max() > 1e-6


def test_the_real_cifar_10_jpegs_have_ten_even_classes(papers_data):
    data = ImageFolderData(str(papers_data / "cifar10" / "cifar10_jpeg_subset.zip"))
    assert (data.shape, data.classes) == ((3, 32, 32), 10)
    assert torch.bincount(data.labelled.training.labels).tolist() == [1000] * 10
    assert torch.bincount(data.labelled.held_out.labels).tolist() == [200] * 10
    # the whole CIFAR-10 has (.4914, .4822, .4465); a mean of 10,000 images errs by about .2 / 100
    assert torch.allclose(data.labelled.mean.flatten(), torch.tensor([0.4914, 0.4822, 0.4465]), atol=0.005)


# ---- text


def test_windows_follow_each_other_and_targets_are_the_next_words():
    windows = windows_of(np.arange(12), 3)
    assert windows.tolist() == [[0, 1, 2, 3], [3, 4, 5, 6], [6, 7, 8, 9]]  # 10 and 11 are no whole window
    data = MarkovText(tokens=1000, window=7)
    words, following = whole(data.training_batches())
    assert words.shape == following.shape == (142, 7)
    assert torch.equal(words[:, 1:], following[:, :-1])
    assert torch.equal(words.flatten(), torch.tensor(data.text.train[:994]))


def test_markov_text_has_few_successors_and_the_chances_of_its_chain():
    data = MarkovText(vocabulary=30, tokens=3000)
    pairs = set(zip(data.text.train[:-1].tolist(), data.text.train[1:].tolist(), strict=True))
    assert max(sum(a == word for a, _ in pairs) for word in range(30)) <= 5
    assert data.vocabulary == 30 > data.text.train.max()
    assert not np.array_equal(data.text.train[:300], data.text.valid)
    walk = markov_walk(np.array([[0, 1], [0, 1]]), np.array([[0.3, 0.7]] * 2), 4000, np.random.default_rng(0))
    assert walk.mean() == pytest.approx(0.7, abs=4 * (0.21 / 4000) ** 0.5)  # four standard errors


def test_text_does_not_depend_on_the_seed_of_its_order():
    assert np.array_equal(MarkovText(seed=0).text.train, MarkovText(seed=1).text.train)
    assert not np.array_equal(MarkovText(sample_seed=0).text.train, MarkovText(sample_seed=1).text.train)


def test_wikitext_windows_come_from_their_own_splits(tmp_path):
    for split, words in (("train", "a b c d e f"), ("valid", "g h i"), ("test", "a g b h c")):
        (tmp_path / f"{split}.txt").write_text(words + "\n")
    data = WikiTextData(str(tmp_path), window=2)
    assert data.vocabulary == 10
    assert whole(data.training_batches())[0].tolist() == [[0, 1], [2, 3], [4, 5]]
    assert whole(data.held_out_batches())[1].tolist() == [[8, 9]]
    assert len(whole(data.test_dataloader())[0]) == 2


# ---- refusals


def with_nan(rows: int) -> np.ndarray:
    inputs = np.zeros((rows, 4))
    inputs[3, 1] = np.nan
    return inputs


class ShortText(LanguageData):
    def load(self):
        return Text(np.arange(40), np.arange(5), np.arange(40), 40)


@pytest.mark.parametrize(
    "build, message",
    [
        (
            lambda: Given(with_nan(5), np.zeros(5)),
            "Given, training set: the input in row 3 has a value that is not fin",
        ),
        (lambda: Given(np.zeros((0, 4)), np.zeros(0)), "Given, training set: it is empty"),
        (lambda: Given(np.zeros((3, 4)), np.array([0, 1, 10])), "labels from 0 to 9 expected, got 0 to 10"),
        (lambda: Given(np.zeros((3, 4)), np.array([0, 1, -1])), "labels from 0 to 9 expected, got -1 to 1"),
        (lambda: DigitsData(train_size=1438), "DigitsData: train_size is 1438, but there are only 1437 examples"),
        (lambda: Given(np.zeros((3, 4)), np.zeros(3), classes=1, label_noise=1.0), "another class to choose, got 1"),
        (lambda: Given(np.zeros((3, 4)), np.zeros(3), crop_padding=4), r"crops need images .* of shape \(4,\)"),
        (lambda: ShortText(), "ShortText: a window of 35 needs one word more, valid has 5"),
        (lambda: DigitsData(train_size=0), "train_size must be >= 1, got 0"),
        (
            lambda: DigitsData(label_noise=1.5),
            r"label_noise must be in \[0, 1\] and noise_from_epoch >= 0, got 1.5 and 0",
        ),
        (lambda: DigitsData(label_noise=float("nan")), r"label_noise must be in \[0, 1\].*got nan"),
        (lambda: DigitsData(noise_from_epoch=-1), "noise_from_epoch >= 0, got 0.0 and -1"),
        (lambda: DigitsData(batch_size=0), "batch_size must be >= 1 and seed >= 0, got 0 and 0"),
        (lambda: MarkovText(seed=-1), "batch_size must be >= 1 and seed >= 0, got 20 and -1"),
        (lambda: MarkovText(window=0), "window must be >= 1, got 0"),
        (lambda: MarkovText(vocabulary=1), "vocabulary must be >= 2, got 1"),
        (lambda: MNISTData("x", prefix="test"), "prefix must be train or t10k and holdout >= 0, got 'test' and 0"),
        (lambda: MNISTData("x", holdout=-1), "holdout >= 0, got 'train' and -1"),
        (lambda: CIFARData("x", classes=20), "CIFAR has 10 or 100 classes, got 20"),
        (lambda: SyntheticImages(examples=0), "examples, channels, size, classes must be >= 1, got 0, 3, 32, 10"),
    ],
)
def test_unusable_data_and_settings_are_refused_before_training(build, message):
    with pytest.raises(ValueError, match=message):
        build().setup("fit")
