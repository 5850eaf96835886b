"""CIFAR-10's layouts, contrast, and what damaged files are told."""

import zipfile

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from pictures import random_images, write_batch, write_pictures, write_zip
from PIL import Image

from graph_metanetworks.cifar import read_cifar
from graph_metanetworks.editing import INREditing
from graph_metanetworks.siren_data import CIFARSirens, more_contrast


def test_all_three_layouts_give_the_same_images(tmp_path):
    images = write_pictures(tmp_path / "folder", "train", 10)
    write_zip(tmp_path / "pictures.zip", "train", 10)
    for number, part in enumerate(np.split(images, 5), 1):
        write_batch(tmp_path / "official" / "cifar-10-batches-bin" / f"data_batch_{number}.bin", part)
    for name in ("folder", "pictures.zip", "official"):
        assert np.array_equal(read_cifar(tmp_path / name), images), name
        assert np.array_equal(read_cifar(tmp_path / name, count=3), images[:3])


def test_an_archive_is_closed_again(tmp_path, monkeypatch):
    opened = []

    class Archive(zipfile.ZipFile):
        def __init__(self, *args):
            opened.append(self)
            super().__init__(*args)

    write_zip(tmp_path / "pictures.zip", "train", 4)
    monkeypatch.setattr(zipfile, "ZipFile", Archive)
    read_cifar(tmp_path / "pictures.zip")
    assert len(opened) == 1 and opened[0].fp is None


def test_real_pictures_are_taken_class_by_class(papers_data):
    images = read_cifar(papers_data / "cifar10" / "cifar10_jpeg_subset.zip", "test", 20)
    assert images.shape == (20, 32, 32, 3) and images.std() > 30


def test_what_is_not_cifar_is_told_so(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"data_batch_1.bin, or pictures in train/CLASS/ expected"):
        read_cifar(tmp_path / "nothing")
    with pytest.raises(ValueError, match="part must be train or test, got 'val'"):
        read_cifar(tmp_path, "val")
    (tmp_path / "data_batch_1.bin").write_bytes(b"\0" * 100)
    with pytest.raises(ValueError, match=r"data_batch_1.bin: a multiple of 3073 bytes expected.*got 100"):
        read_cifar(tmp_path)
    (tmp_path / "data_batch_1.bin").write_bytes(b"\x0b" + b"\0" * 3072)
    with pytest.raises(ValueError, match="labels 0 to 9 expected, got 11"):
        read_cifar(tmp_path)
    path = tmp_path / "pictures" / "train" / "cat" / "0.png"
    path.parent.mkdir(parents=True)
    Image.new("RGB", (8, 16)).save(path)
    with pytest.raises(ValueError, match=r"0.png: 32x32 pixels expected, got 8x16"):
        read_cifar(tmp_path / "pictures")
    path.write_bytes(b"no picture")
    with pytest.raises(ValueError, match=r"0.png: not a picture that can be decoded"):
        read_cifar(tmp_path / "pictures")
    (tmp_path / "not.zip").write_bytes(b"PK no zip")
    with pytest.raises(ValueError, match="a folder or a zip archive of pictures expected"):
        read_cifar(tmp_path / "not.zip")


@given(cut=st.integers(0, 20_000), flips=st.lists(st.tuples(st.integers(0, 20_000), st.integers(1, 255)), max_size=8))
def test_damaged_archives_end_in_images_or_one_clear_error(cut, flips, tmp_path_factory):
    path = tmp_path_factory.mktemp("damaged") / "pictures.zip"
    write_zip(path, "train", 6)
    content = bytearray(path.read_bytes())
    for place, flip in flips:
        content[place % len(content)] ^= flip
    path.write_bytes(bytes(content[: len(content) - cut % len(content)]))
    try:
        assert read_cifar(path).shape[1:] == (32, 32, 3)
    except (ValueError, FileNotFoundError) as error:
        assert str(path) in str(error) or ".png" in str(error)


def test_contrast_spreads_lightness_and_keeps_the_hue():
    grey = torch.linspace(0.4, 0.6, 32)[None, :, None, None].expand(1, 32, 32, 3)
    edited = more_contrast(grey)
    assert edited.shape == grey.shape and float(edited.min()) >= 0 and float(edited.max()) <= 1
    assert float(edited.std()) > 1.2 * float(grey.std())
    assert torch.allclose(edited[..., :1].expand_as(edited), edited, atol=2e-2)  # grey stays grey


def test_colour_sirens_are_edited(tmp_path):
    write_pictures(tmp_path / "cifar", "train", 12)
    data = CIFARSirens(str(tmp_path / "cifar"), "train", str(tmp_path), 12, steps=200, val=2, test=2, stride=4)
    data.setup()
    images = torch.tensor(random_images(12)).float() / 255
    assert torch.allclose(data.signal.unflatten(1, (8, 8, 3)), images[:, ::4, ::4], atol=1e-6)
    assert data.target.shape == (12, 192) and float(data.fit_error.mean()) < 0.05
    module = INREditing("gmn", 8, 2, sizes=(2, 32, 32, 3), omega=30.0, side=8)
    with torch.no_grad():
        module.editor.head.scale.zero_()  # nothing is changed: the SIREN's own image
        drawn = module(data.batch(range(12)).nets)
    assert float((drawn - data.signal).square().mean()) < 0.05
