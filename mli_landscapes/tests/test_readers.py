"""What the file readers accept, and what they say of files that are missing, damaged or malicious."""

import gzip
import io
import os
import pickle
import shutil
import struct
import zipfile
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from mli_landscapes.cifar import read_cifar, read_pickled_batch
from mli_landscapes.idx import IMAGES, LABELS, read_idx, read_idx_pair
from mli_landscapes.image_folder import read_image_folder
from mli_landscapes.wikitext import read_wikitext

random = np.random.default_rng(0)


# ---- IDX


def idx_bytes(values: np.ndarray) -> bytes:
    magic = {3: IMAGES, 1: LABELS}[values.ndim]
    return struct.pack(f">{1 + values.ndim}I", magic, *values.shape) + values.astype(np.uint8).tobytes()


@pytest.fixture
def images():
    return random.integers(0, 256, (12, 3, 4))


@pytest.mark.parametrize("folder", [".", "raw", "MNIST/raw", "FashionMNIST/raw"])
@pytest.mark.parametrize("compress, suffix", [(bytes, ""), (gzip.compress, ".gz")])
def test_idx_pairs_are_found_in_all_usual_folders_gzipped_or_not(tmp_path, images, folder, compress, suffix):
    target = tmp_path / folder
    target.mkdir(parents=True, exist_ok=True)
    (target / f"t10k-images-idx3-ubyte{suffix}").write_bytes(compress(idx_bytes(images)))
    (target / f"t10k-labels-idx1-ubyte{suffix}").write_bytes(compress(idx_bytes(np.arange(12))))
    found, labels = read_idx_pair(tmp_path, "t10k")
    assert np.array_equal(found, images)
    assert np.array_equal(labels, np.arange(12))


@pytest.mark.parametrize(
    "damage, message",
    [
        (lambda b: b[:-1], r"160 bytes expected from its header, \(12, 3, 4\); got 159"),
        (lambda b: b + b"x", r"160 bytes expected from its header, \(12, 3, 4\); got 161"),
        (lambda b: idx_bytes(np.arange(12)), "IDX header of 16 bytes expected|magic number 2051 expected, got 2049"),
        (lambda b: struct.pack(">I", 2050) + b[4:], "magic number 2051 expected, got 2050"),
        (lambda b: b[:5], "an IDX header of 16 bytes expected, the file has 5"),
        (lambda b: b"", "an IDX header of 16 bytes expected, the file has 0"),
        (lambda b: gzip.compress(b)[:-9], "damaged or truncated gzip"),
        (lambda b: gzip.compress(b)[:30] + b"\0" * 9, "damaged or truncated gzip"),
    ],
)
def test_damaged_idx_files_are_named_with_what_was_expected(tmp_path, images, damage, message):
    path = tmp_path / "train-images-idx3-ubyte"
    path.write_bytes(damage(idx_bytes(images)))
    with pytest.raises(ValueError, match=rf"train-images-idx3-ubyte: .*({message})"):
        read_idx(path, IMAGES)


def test_unequal_numbers_of_images_and_labels_are_refused(tmp_path, images):
    (tmp_path / "train-images-idx3-ubyte").write_bytes(idx_bytes(images))
    (tmp_path / "train-labels-idx1-ubyte").write_bytes(idx_bytes(np.arange(11)))
    with pytest.raises(ValueError, match=r"images-idx3-ubyte holds 12 images, but .*labels-idx1-ubyte 11 labels"):
        read_idx_pair(tmp_path, "train")


def test_a_missing_idx_file_is_named_with_where_it_was_sought_and_where_to_get_it(tmp_path, images):
    (tmp_path / "train-images-idx3-ubyte").write_bytes(idx_bytes(images))
    with pytest.raises(FileNotFoundError, match=r"train-labels-idx1-ubyte or .*\.gz not found in .*MNIST/raw.*get it"):
        read_idx_pair(tmp_path, "train")


def test_the_real_mnist_test_images(papers_data):
    images, labels = read_idx_pair(papers_data / "mnist", "t10k")
    assert images.shape == (10_000, 28, 28)
    assert np.bincount(labels).tolist() == [980, 1135, 1032, 1010, 982, 892, 958, 1028, 974, 1009]  # as published


# ---- CIFAR


def python2_pickle(pixels: np.ndarray, labels: list[int], key: bytes = b"labels") -> bytes:
    """A batch as the official files have it: byte strings and old names of numpy, written by Python 2, protocol 2."""

    def short(text: bytes) -> bytes:
        return b"U" + bytes([len(text)]) + text

    def number(value: int) -> bytes:
        return b"J" + struct.pack("<i", value)

    array = b"cnumpy.core.multiarray\n_reconstruct\ncnumpy\nndarray\nK\x00\x85" + short(b"b") + b"\x87R"
    dtype = b"cnumpy\ndtype\n" + short(b"u1") + b"K\x00K\x01\x87R(K\x03" + short(b"|") + b"NNNJ\xff\xff\xff\xff"
    dtype += b"J\xff\xff\xff\xffK\x00tb"
    shape = b"".join(number(n) for n in pixels.shape) + b"\x86"
    content = b"T" + struct.pack("<i", pixels.size) + pixels.tobytes()
    array += b"(K\x01" + shape + dtype + b"\x89" + content + b"tb"
    listed = b"](" + b"".join(number(label) for label in labels) + b"e"
    return b"\x80\x02}(" + short(b"data") + array + short(key) + listed + b"u."


def python3_pickle(pixels: np.ndarray, labels: list[int], protocol: int) -> bytes:
    return pickle.dumps({"data": pixels, "labels": labels}, protocol=protocol)


def batch(rows: int, classes: int = 10) -> tuple[np.ndarray, list[int]]:
    return random.integers(0, 256, (rows, 3072)).astype(np.uint8), random.integers(0, classes, rows).tolist()


CIFAR10 = [*(f"data_batch_{i}" for i in range(1, 6)), "test_batch"]


@pytest.mark.parametrize("folder", [".", "cifar-10-batches-py"])
def test_official_pickled_cifar_10_is_read_in_the_order_of_its_files(tmp_path, folder):
    batches = [batch(rows) for rows in (2, 3, 1, 1, 1, 4)]
    (tmp_path / folder).mkdir(exist_ok=True)
    for name, content in zip(CIFAR10, batches, strict=True):
        (tmp_path / folder / name).write_bytes(python2_pickle(*content))
    images, labels = read_cifar(tmp_path, 10, "train")
    assert np.array_equal(images.reshape(8, 3072), np.concatenate([pixels for pixels, _ in batches[:5]]))
    assert labels.tolist() == [number for _, numbers in batches[:5] for number in numbers]
    test_images, test_labels = read_cifar(tmp_path, 10, "test")
    assert np.array_equal(test_images.reshape(4, 3072), batches[5][0])
    assert test_labels.tolist() == batches[5][1]
    assert images.dtype == np.uint8 and labels.dtype == np.int64


@pytest.mark.parametrize("protocol", [2, 3, 4, 5])
def test_batches_pickled_anew_by_python_3_are_read_too(tmp_path, protocol):
    pixels, labels = batch(3)
    (tmp_path / "test_batch").write_bytes(python3_pickle(pixels, labels, protocol))
    found, numbers = read_pickled_batch(tmp_path / "test_batch", "labels")
    assert np.array_equal(found, pixels)
    assert numbers.tolist() == labels


def test_pickled_cifar_100_has_its_fine_labels(tmp_path):
    for name, rows in (("train", 3), ("test", 2)):
        pixels, labels = batch(rows, 100)
        (tmp_path / name).write_bytes(python2_pickle(pixels, labels, b"fine_labels"))
    images, found = read_cifar(tmp_path, 100, "test")
    assert np.array_equal(images.reshape(2, 3072), pixels)
    assert found.tolist() == labels


def binary(pixels: np.ndarray, *labels: list[int]) -> bytes:
    return np.concatenate([np.array(labels, np.uint8).T, pixels], axis=1).tobytes()


def test_binary_cifar_is_read_and_the_fine_label_is_the_second(tmp_path):
    ten, hundred = batch(2), batch(3, 100)
    (tmp_path / "cifar-10-batches-bin").mkdir()
    for name in CIFAR10:
        (tmp_path / "cifar-10-batches-bin" / f"{name}.bin").write_bytes(binary(*ten))
    for name in ("train", "test"):
        (tmp_path / f"{name}.bin").write_bytes(binary(hundred[0], [5, 6, 7], hundred[1]))
    images, labels = read_cifar(tmp_path, 10, "train")
    assert images.shape == (10, 3, 32, 32)
    assert labels.tolist() == ten[1] * 5
    images, labels = read_cifar(tmp_path, 100, "test")
    assert np.array_equal(images.reshape(3, 3072), hundred[0])
    assert labels.tolist() == hundred[1]


class Call:
    """Pickles as a call of `function` with `arguments`, made on loading."""

    def __init__(self, function, *arguments):
        self.call = function, arguments

    def __reduce__(self):
        return self.call


@pytest.mark.parametrize("protocol", [0, 2, 4])
@pytest.mark.parametrize(
    "function, named", [(os.system, r"(posix|nt)\.system"), (eval, r"(__builtin__|builtins)\.eval")]
)
def test_a_pickle_that_would_run_code_is_refused_by_name_and_does_not_run(tmp_path, protocol, function, named):
    marker = tmp_path / "ran"
    command = f"touch {marker}" if function is os.system else f"open({str(marker)!r}, 'w')"
    (tmp_path / "test_batch").write_bytes(pickle.dumps({"data": Call(function, command)}, protocol=protocol))
    with pytest.raises(ValueError, match=rf"test_batch: refused: its pickle asks for {named}, no part of"):
        read_pickled_batch(tmp_path / "test_batch", "labels")
    assert not marker.exists()


def test_no_way_leads_from_an_admitted_name_to_others(tmp_path):
    dotted = b"\x80\x04\x8c\x05numpy\x8c\x0endarray.tofile\x93."
    (tmp_path / "test_batch").write_bytes(dotted)
    with pytest.raises(ValueError, match=r"asks for numpy\.ndarray\.tofile"):
        read_pickled_batch(tmp_path / "test_batch", "labels")


def test_a_memo_index_that_would_fill_the_memory_is_refused(tmp_path):
    (tmp_path / "test_batch").write_bytes(b"\x80\x02}r\xff\xff\xff\xff.")
    with pytest.raises(ValueError, match=r"damaged or truncated pickle .*memo index 4294967295 at byte 3"):
        read_pickled_batch(tmp_path / "test_batch", "labels")


@pytest.mark.parametrize(
    "content, message",
    [
        (python2_pickle(*batch(3))[:-100], r"damaged or truncated pickle"),
        (b"", "damaged or truncated pickle"),
        (pickle.dumps([1, 2]), "a dict expected, got list"),
        (pickle.dumps({"labels": [1]}), "an array of bytes expected under 'data', got NoneType"),
        (pickle.dumps({"data": np.zeros((1, 3072), np.uint8)}), "a list of small integers expected under 'labels'"),
        (python3_pickle(batch(1)[0], [1.5], 4), "a list of small integers expected under 'labels'"),
        (python3_pickle(np.zeros((1, 3072)), [1], 4), r"array of unsigned bytes in C order expected \(type 'f8'"),
        (
            python3_pickle(np.zeros((3, 3072), np.uint8, order="F"), [1] * 3, 4),
            r"C order expected .*Fortran order True",
        ),
        (
            python2_pickle(*batch(3)).replace(struct.pack("<i", 3072) + b"\x86", struct.pack("<i", 3073) + b"\x86"),
            "cannot reshape",
        ),
    ],
)
def test_pickles_of_something_else_are_refused(tmp_path, content, message):
    path = tmp_path / "test_batch"
    path.write_bytes(content)
    with pytest.raises(ValueError, match=rf"test_batch: .*{message}"):
        read_pickled_batch(path, "labels")


@pytest.mark.parametrize(
    "content, message",
    [
        (binary(*batch(3))[:-1], "whole records of 3073 bytes expected, got 9218 bytes"),
        (b"", r"\(n, 3072\) pixels and n >= 1 labels expected, got \(0, 3072\) and 0 labels"),
        (binary(batch(1)[0], [10]), "labels from 0 to 9 expected, got 10 to 10"),
    ],
)
def test_damaged_binary_files_are_named_with_what_was_expected(tmp_path, content, message):
    for name in CIFAR10:
        (tmp_path / f"{name}.bin").write_bytes(binary(*batch(1)))
    (tmp_path / "data_batch_4.bin").write_bytes(content)
    with pytest.raises(ValueError, match=rf"data_batch_4\.bin: {message}"):
        read_cifar(tmp_path, 10, "train")


def test_pickled_pixels_and_labels_of_unequal_number_are_refused(tmp_path):
    for name in CIFAR10:
        (tmp_path / name).write_bytes(python2_pickle(batch(3)[0], [1, 2]))
    with pytest.raises(ValueError, match=r"data_batch_1: .*got \(3, 3072\) and 2 labels"):
        read_cifar(tmp_path, 10, "train")


def test_missing_cifar_files_are_named_with_where_to_get_them(tmp_path):
    with pytest.raises(
        FileNotFoundError,
        match=r"no CIFAR-10 in .* cifar-10-batches-py or cifar-10-batches-bin were expected; get it from .*kriz",
    ):
        read_cifar(tmp_path, 10, "train")
    for name in CIFAR10[1:]:
        (tmp_path / name).write_bytes(b"")
    with pytest.raises(FileNotFoundError, match=r"lacks data_batch_1 of CIFAR-10; get it from"):
        read_cifar(tmp_path, 10, "train")
    with pytest.raises(ValueError, match="CIFAR has 10 or 100 classes, got 20"):
        read_cifar(tmp_path, 20, "train")


# ---- image folders


def write_image(path: Path, shade: int, size: tuple[int, int] = (9, 8), mode: str = "RGB") -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new(mode, size, shade if mode == "L" else (shade, 0, 255 - shade)).save(path)


@pytest.fixture
def folder(tmp_path):
    """Two classes, b and a; one, c, is in training alone."""
    root = tmp_path / "images"
    for split, shades in (("train", {"b": 10, "a": 20, "c": 30}), ("test", {"b": 40, "a": 50})):
        for name, shade in shades.items():
            for i in range(2):
                write_image(root / split / name / f"{i}.png", shade + i)
    (root / "train" / "a" / "notes.txt").write_text("not an image")
    return root


def zipped(folder: Path) -> Path:
    return Path(shutil.make_archive(str(folder), "zip", folder))


@pytest.mark.parametrize("form", [Path, zipped])
def test_image_folders_are_read_from_disk_and_from_a_zip_file(folder, form):
    found = read_image_folder(form(folder))
    assert found.classes == ("a", "b", "c")
    assert found.train_labels.tolist() == [0, 0, 1, 1, 2, 2]
    assert found.test_labels.tolist() == [0, 0, 1, 1]
    assert found.train_images.shape == (6, 3, 8, 9)
    assert found.train_images[:, 0, 0, 0].tolist() == [20, 21, 10, 11, 30, 31]
    assert found.test_images[:, 2, 7, 8].tolist() == [205, 204, 215, 214]


def test_unequal_sizes_are_refused_unless_a_size_is_given(folder):
    write_image(folder / "test" / "b" / "2.png", 60, size=(5, 4), mode="L")
    with pytest.raises(ValueError, match=r"b/2\.png: 4 x 5 pixels, but .*a/0\.png has 8 x 9; give a size"):
        read_image_folder(folder)
    found = read_image_folder(folder, size=6)
    assert found.test_images.shape == (5, 3, 6, 6)
    assert (found.test_images[-1] == 60).all()  # grey is a colour


@pytest.mark.parametrize("form", [Path, zipped])
@pytest.mark.parametrize(
    "damage", [lambda b: b[: len(b) // 2], lambda b: b"", lambda b: b"GIF89a", lambda b: b[:60] + bytes(9) + b[69:]]
)
def test_a_corrupt_image_is_named(folder, form, damage):
    path = folder / "train" / "b" / "9.png"
    path.write_bytes(damage((folder / "train" / "b" / "0.png").read_bytes()))
    with pytest.raises(ValueError, match=r"train/b/9\.png: not a readable image"):
        read_image_folder(form(folder))


def remove(*parts):
    return lambda root: shutil.rmtree(root.joinpath(*parts))


def empty(*parts):
    return lambda root: (shutil.rmtree(root.joinpath(*parts)), root.joinpath(*parts).mkdir())


@pytest.mark.parametrize(
    "change, error, message",
    [
        (remove("train"), FileNotFoundError, "no folder 'train' in it; it should hold a folder of images for each"),
        (remove("test"), FileNotFoundError, "no folder 'test' in it"),
        (remove("train", "a"), ValueError, "no training images of the test classes a"),
        (empty("train"), ValueError, "no class folders in its train folder"),
        (empty("test"), ValueError, "no class folders in it"),
        (empty("test", "b"), ValueError, r"test/b: no images \(\.png, "),
    ],
)
def test_folders_without_the_layout_are_refused_with_what_was_expected(folder, change, error, message):
    change(folder)
    with pytest.raises(error, match=message):
        read_image_folder(folder)


def test_other_paths_and_sizes_are_refused(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"none\.zip: no such folder or zip file; train/CLASS"):
        read_image_folder(tmp_path / "none.zip")
    (tmp_path / "text.zip").write_text("not a zip file")
    with pytest.raises(ValueError, match=r"text\.zip: neither a folder nor a readable zip file"):
        read_image_folder(tmp_path / "text.zip")
    with pytest.raises(ValueError, match="size must be >= 1, got 0"):
        read_image_folder(tmp_path, size=0)


# ---- text


@pytest.mark.parametrize("names", ["wiki.{}.tokens", "{}.txt", "wikitext-2/{}.txt"])
def test_words_are_numbered_as_they_appear_and_lines_end_with_eos(tmp_path, names):
    for split, text in (("train", "the cat sat\n\nthe end\n"), ("valid", "a cat\n"), ("test", " sat \u2028 é")):
        path = tmp_path / names.format(split)
        path.parent.mkdir(exist_ok=True)
        path.write_text(text, encoding="utf-8")
    text = read_wikitext(tmp_path)
    assert text.train.tolist() == [0, 1, 2, 3, 3, 0, 4, 3]  # the cat sat <eos> <eos> the end <eos>
    assert text.valid.tolist() == [5, 1, 3]
    assert text.test.tolist() == [2, 6, 3]
    assert text.vocabulary == 7


def test_text_that_cannot_be_read_is_named(tmp_path):
    with pytest.raises(
        FileNotFoundError, match=r"wiki\.train\.tokens or train\.txt not found in .*Salesforce/wikitext"
    ):
        read_wikitext(tmp_path)
    (tmp_path / "train.txt").write_bytes(b"\xff\xfe")
    with pytest.raises(ValueError, match=r"train\.txt: UTF-8 text expected"):
        read_wikitext(tmp_path)
    (tmp_path / "train.txt").write_bytes(b"")
    with pytest.raises(ValueError, match=r"train\.txt: the file is empty"):
        read_wikitext(tmp_path)


# ---- fuzzing: a damaged file is read as something or refused in words


def jpeg_in_a_zip() -> bytes:
    image, archive = io.BytesIO(), io.BytesIO()
    Image.fromarray(random.integers(0, 256, (8, 8, 3), dtype=np.uint8)).save(image, "jpeg")
    with zipfile.ZipFile(archive, "w", zipfile.ZIP_DEFLATED) as file:
        for split in ("train", "test"):
            file.writestr(f"{split}/cat/0.jpg", image.getvalue())
    return archive.getvalue()


FILES = {
    "idx": (idx_bytes(random.integers(0, 256, (2, 2, 2))), lambda path: read_idx(path, IMAGES)),
    "idx.gz": (gzip.compress(idx_bytes(random.integers(0, 256, (2, 2, 2)))), lambda path: read_idx(path, IMAGES)),
    "python2": (python2_pickle(np.zeros((2, 3), np.uint8), [1, 2]), lambda path: read_pickled_batch(path, "labels")),
    "python3": (python3_pickle(np.zeros((2, 3), np.uint8), [1, 2], 5), lambda path: read_pickled_batch(path, "labels")),
    "zip": (jpeg_in_a_zip(), read_image_folder),
}


@pytest.mark.parametrize("name", FILES)
@settings(max_examples=150)
@given(data=st.data())
def test_truncated_files_and_flipped_bits_end_in_words(name, tmp_path_factory, data):
    intact, read = FILES[name]
    content = bytearray(intact[: data.draw(st.integers(len(intact) // 4, len(intact)) | st.just(len(intact)))])
    for bit in data.draw(st.lists(st.integers(0, 8 * len(content) - 1), max_size=3)):
        content[bit // 8] ^= 1 << bit % 8
    path = tmp_path_factory.getbasetemp() / f"fuzzed-{name}"
    path.write_bytes(content)
    try:
        read(path)
    except (ValueError, OSError) as error:
        assert str(error)
