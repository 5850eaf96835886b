"""Files of other programs: the described layouts to the byte, and one clear error for any damage."""

import io
import json
import pickle
import zipfile

import lmdb
import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from safetensors.torch import save

from multi_student_distill.captions import read_captions
from multi_student_distill.data import ClassFolderData, ImageNet64Data, LMDBData
from multi_student_distill.denoisers import DenoiserSpec, load_denoiser, read_spec, save_denoiser
from multi_student_distill.image_files import ClassFolder, EDMImages
from multi_student_distill.lmdb_images import LMDBImages
from multi_student_distill.pairs import PairedDataset


def png(value, size=8, mode="RGB", kind="PNG"):
    buffer = io.BytesIO()
    Image.new(mode, (size, size), value).save(buffer, kind)
    return buffer.getvalue()


GOOD = {f"0000{i}/img0000000{i}.png": png((i * 40, 0, 255)) for i in range(4)}
LABELS = {"labels": [[name, i % 2] for i, name in enumerate(GOOD)]}


def edm_zip(path, files=GOOD, labels=LABELS):
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in files.items():
            archive.writestr(name, content)
        archive.writestr("dataset.json", labels if isinstance(labels, bytes) else json.dumps(labels))
    return path


def edm_folder(path, files=GOOD, labels=LABELS):
    for name, content in files.items():
        (path / name).parent.mkdir(parents=True, exist_ok=True)
        (path / name).write_bytes(content)
    (path / "dataset.json").write_text(json.dumps(labels))
    return path


@pytest.mark.parametrize("write", [edm_zip, edm_folder])
def test_edms_layout_is_read_from_a_zip_file_and_from_a_folder(tmp_path, write):
    images = EDMImages(write(tmp_path / "set"), 8, 2)
    assert images.labels.tolist() == [0, 1, 0, 1] and len(images) == 4
    x = images.fetch(torch.tensor([2, 0]))
    assert x.shape == (2, 3, 8, 8) and x.dtype == torch.float32
    assert x[0, :, 0, 0].tolist() == pytest.approx([80 / 127.5 - 1, -1, 1])
    again = pickle.loads(pickle.dumps(images))  # what a worker gets
    assert torch.equal(again.fetch(torch.tensor([1])), images.fetch(torch.tensor([1])))


def test_grey_images_are_repeated_or_kept(tmp_path):
    path = edm_zip(tmp_path / "a.zip", {"a.png": png(100, mode="L")}, {"labels": [["a.png", 0]]})
    assert EDMImages(path, 8, 1).fetch(torch.tensor([0])).shape == (1, 3, 8, 8)
    assert EDMImages(path, 8, 1, channels=1).fetch(torch.tensor([0])).shape == (1, 1, 8, 8)


@pytest.mark.parametrize(
    ("labels", "said"),
    [
        ({"labels": None}, "labels are missing or null"),
        ({}, "expected JSON with a list `labels`"),
        (b"{", "expected JSON"),
        ({"labels": [["a.png", None]]}, r"expected pairs \[file name, label\]"),
        ({"labels": [["a.png", True]]}, "expected pairs"),
        (
            {"labels": [["a.png", 2], ["b.png", 1]]},
            r"expected labels 0 \.\.\. 1, got 1 \.\.\. 2; they seem to count from 1",
        ),
        ({"labels": [["a.png", -1]]}, r"got -1 \.\.\. -1"),
        ({"labels": [["missing.png", 0]]}, "names 1 files that are not there, as missing.png"),
    ],
)
def test_labels_that_are_none_are_refused_before_any_image_is_read(tmp_path, labels, said):
    with pytest.raises(ValueError, match=said):
        EDMImages(edm_zip(tmp_path / "a.zip", GOOD, labels), 8, 2)


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (png((0, 0, 0), size=9), "expected 8 x 8 pixels, got 9 x 9"),
        (png((0, 0, 0, 0), mode="RGBA"), "expected mode L or RGB, got RGBA"),
        (b"no image", "not a readable image"),
        (png((0, 0, 0))[:45], "not a readable image"),
    ],
)
def test_an_image_that_does_not_fit_is_refused_by_name(tmp_path, content, said):
    images = EDMImages(edm_zip(tmp_path / "a.zip", {"x.png": content}, {"labels": [["x.png", 0]]}), 8, 1)
    with pytest.raises(ValueError, match=f"x.png: {said}"):
        images.fetch(torch.tensor([0]))


def test_missing_sets_are_named(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"dataset_tool\.py"):
        EDMImages(tmp_path / "none.zip", 8, 1)
    (tmp_path / "empty").mkdir()
    with pytest.raises(FileNotFoundError, match=r"no dataset\.json in it"):
        EDMImages(tmp_path / "empty", 8, 1)
    (tmp_path / "a.zip").write_bytes(b"PK")
    with pytest.raises(ValueError, match="not a zip file"):
        EDMImages(tmp_path / "a.zip", 8, 1)


@pytest.fixture(scope="module")
def whole_zip(tmp_path_factory):
    return edm_zip(tmp_path_factory.mktemp("zip") / "a.zip").read_bytes()


@given(data=st.data())
def test_a_damaged_zip_file_is_one_clear_error_or_the_same_images(whole_zip, tmp_path, data):
    content = bytearray(whole_zip)
    if data.draw(st.booleans()):
        content = content[: data.draw(st.integers(0, len(content) - 1))]
    else:
        content[data.draw(st.integers(0, len(content) - 1))] ^= data.draw(st.integers(1, 255))
    (tmp_path / "a.zip").write_bytes(bytes(content))
    try:
        images = EDMImages(tmp_path / "a.zip", 8, 2)
        assert images.fetch(torch.arange(len(images))).shape[1:] == (3, 8, 8)
    except (ValueError, FileNotFoundError) as error:
        assert "a.zip" in str(error)


# class folders


def test_class_folders_are_read_in_order_and_averaged_down(tmp_path):
    for split, name, value in (("train", "cat", 0), ("train", "ant", 255), ("test", "ant", 10)):
        (tmp_path / split / name).mkdir(parents=True, exist_ok=True)
        (tmp_path / split / name / "0.png").write_bytes(png((value,) * 3, size=16))
    images = ClassFolder(tmp_path, "train", 8)
    assert images.classes == ["ant", "cat"] and images.labels.tolist() == [0, 1]
    assert images.fetch(torch.tensor([0, 1]))[:, 0, 0, 0].tolist() == [1.0, -1.0]
    with pytest.raises(ValueError, match="a square of a multiple of 7 pixels, got 16"):
        ClassFolder(tmp_path, "train", 7)
    with pytest.raises(FileNotFoundError, match="no folder val in it"):
        ClassFolder(tmp_path, "val", 8)
    with pytest.raises(ValueError, match="expected 10 class folders, got 2"):
        ClassFolderData(str(tmp_path), size=8).load("train")
    (tmp_path / "train" / "dog").mkdir()
    with pytest.raises(ValueError, match="no images in train/dog"):
        ClassFolder(tmp_path, "train", 8)
    with pytest.raises(FileNotFoundError, match="no such file or folder"):
        ClassFolder(tmp_path / "none")
    (tmp_path / "a.zip").write_bytes(b"x")
    with pytest.raises(ValueError, match="not a zip file"):
        ClassFolder(tmp_path / "a.zip")


def test_a_zip_file_of_classes_is_closed_again(tmp_path, monkeypatch):
    opened = []

    class Archive(zipfile.ZipFile):
        def __init__(self, *args):
            opened.append(self)
            super().__init__(*args)

    path = edm_zip(tmp_path / "set.zip", {f"train/{name}/0.png": png((9, 9, 9)) for name in ("ant", "cat")})
    monkeypatch.setattr(zipfile, "ZipFile", Archive)
    assert len(ClassFolder(path, size=8)) == 2
    assert opened and opened[0].fp is None


# DMD2's LMDB


def write_lmdb(path, count=3, shape=(3, 8, 8), label=lambda i: i, **changed):
    environment = lmdb.open(str(path), map_size=1 << 20)
    entries = {"images_shape": f"{count} {' '.join(map(str, shape))}", "labels_shape": f"{count}"}
    for i in range(count):
        entries[f"images_{i}_data"] = np.full(shape, i, dtype=np.uint8).tobytes()
        entries[f"labels_{i}_data"] = np.int64(label(i)).tobytes()
    with environment.begin(write=True) as transaction:
        for key, value in {**entries, **changed}.items():
            if value is not None:
                transaction.put(key.encode(), value.encode() if isinstance(value, str) else value)
    environment.close()
    return path


def test_dmd2s_lmdb_is_read_to_the_byte(tmp_path):
    images = LMDBImages(write_lmdb(tmp_path / "set"), (3, 8, 8), 3)
    assert images.labels.tolist() == [0, 1, 2]
    assert images.fetch(torch.tensor([2, 0]))[:, 1, 3, 4].tolist() == pytest.approx([2 / 127.5 - 1, -1])
    again = pickle.loads(pickle.dumps(images))
    assert torch.equal(again.fetch(torch.tensor([1])), images.fetch(torch.tensor([1])))
    data = LMDBData(str(tmp_path / "set"), size=8, classes=3, batch_size=2, parts=3)
    data.setup("fit")
    assert data.batch(0).real_labels.tolist() == [0, 0, 1, 1, 2, 2]


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"images_shape": "3 3 9 9"}, r"images_shape: expected N 3 8 8, got 3 \[3, 9, 9\]"),
        ({"images_shape": "many"}, "expected numbers as text"),
        ({"images_shape": b"\xff"}, "expected numbers as text"),
        ({"images_shape": None}, "no key images_shape"),
        ({"labels_shape": "4"}, "differ in their first number"),
        ({"images_shape": "0 3 8 8", "labels_shape": "0"}, "there are no images"),
        ({"labels_1_data": b"\1\0\0\0"}, "expected the 8 bytes of an int64, got 4"),
        ({"labels_1_data": np.int64(9).tobytes()}, r"expected labels 0 \.\.\. 2, got 0 \.\.\. 9"),
        ({"images_1_data": b"short"}, "images_1_data: expected 192 bytes, got 5"),
    ],
)
def test_an_lmdb_of_another_layout_is_refused_by_key(tmp_path, changed, said):
    write_lmdb(tmp_path / "set", **changed)
    with pytest.raises(ValueError, match=said):
        LMDBImages(tmp_path / "set", (3, 8, 8), 3).fetch(torch.arange(3))


def test_what_is_no_lmdb_is_refused(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"no data\.mdb in it"):
        LMDBImages(tmp_path, (3, 8, 8), 3)
    (tmp_path / "data.mdb").write_bytes(b"not an lmdb" * 100)
    with pytest.raises(ValueError, match="not an LMDB"):
        LMDBImages(tmp_path, (3, 8, 8), 3)
    whole = (write_lmdb(tmp_path / "set") / "data.mdb").read_bytes()
    (tmp_path / "data.mdb").write_bytes(whole[:-100])
    with pytest.raises(
        ValueError, match=rf"data\.mdb: expected {len(whole)} bytes by its header, got {len(whole) - 100}"
    ):
        LMDBImages(tmp_path, (3, 8, 8), 3)


# safetensors, captions


def test_a_truncated_shard_is_one_error(tmp_path):
    tensors = {"z": torch.zeros(2, 2), "x": torch.zeros(2, 2), "labels": torch.zeros(2, dtype=torch.int64)}
    whole = save(tensors, metadata={"teacher": "t", "evaluations": "3"})
    path = tmp_path / "a.safetensors"
    for end in range(0, len(whole), 7):
        path.write_bytes(whole[:end])
        with pytest.raises(ValueError, match=r"a\.safetensors"):
            PairedDataset(path, (2,), 1)
    path.write_bytes(save(tensors))
    with pytest.raises(ValueError, match="expected z, x, labels and the metadata"):
        PairedDataset(path, (2,), 1)
    path.write_bytes(save(tensors, metadata={"teacher": "t", "evaluations": "many"}))
    with pytest.raises(ValueError, match="evaluations must be a number"):
        PairedDataset(path, (2,), 1)


def test_denoisers_are_read_back_or_refused(tmp_path):
    spec = DenoiserSpec("mlp-8x1", (2,), 3, 0.4)
    path = tmp_path / "a.safetensors"
    save_denoiser(path, spec.build(), spec)
    whole = path.read_bytes()
    assert load_denoiser(path)[1] == spec
    path.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(ValueError, match=r"a\.safetensors: not a denoiser's file"):
        read_spec(path)
    path.write_bytes(save({"x": torch.zeros(1)}))
    with pytest.raises(ValueError, match="not a denoiser's file"):
        read_spec(path)
    save_denoiser(path, spec.build(), DenoiserSpec("mlp-8x2", (2,), 3, 0.4))
    with pytest.raises(ValueError, match="its weights are not those of a mlp-8x2"):
        load_denoiser(path)
    save_denoiser(path, spec.build(), DenoiserSpec("mlp-8x1", (2,), 3, 0.4, "flow"))
    with pytest.raises(ValueError, match="unknown kind 'flow'"):
        read_spec(path)
    with pytest.raises(FileNotFoundError, match="no such file"):
        read_spec(tmp_path / "none.safetensors")


WORDS = st.lists(st.text(st.characters(blacklist_categories=("Cs", "Cc", "Zl", "Zp")), min_size=1).filter(str.strip))


@given(WORDS.filter(len), st.integers(0, 5))
def test_pickled_captions_are_read_without_unpickling(tmp_path, words, protocol):
    (tmp_path / "a.pkl").write_bytes(pickle.dumps(words, protocol=protocol))
    assert read_captions(tmp_path / "a.pkl") == [w.strip() for w in words]


@given(st.binary(max_size=60))
def test_bytes_that_are_no_captions_are_one_error(tmp_path, content):
    for name in ("a.pkl", "a.txt"):
        (tmp_path / name).write_bytes(content)
        try:
            assert all(isinstance(c, str) for c in read_captions(tmp_path / name))
        except ValueError as error:
            assert name in str(error)


def test_captions_of_other_kinds_are_refused(tmp_path):
    (tmp_path / "a.pkl").write_bytes(pickle.dumps({"a": "b"}))
    with pytest.raises(ValueError, match="not a pickled list of strings"):
        read_captions(tmp_path / "a.pkl")
    (tmp_path / "a.txt").write_bytes(b"caf\xe9")
    with pytest.raises(ValueError, match="not UTF-8 text"):
        read_captions(tmp_path / "a.txt")
    (tmp_path / "a.txt").write_text("\n \n")
    with pytest.raises(ValueError, match="no captions in it"):
        read_captions(tmp_path / "a.txt")
    with pytest.raises(FileNotFoundError, match="one caption a line"):
        read_captions(tmp_path / "none.txt")


def test_imagenet_in_edms_layout_feeds_a_student(tmp_path):
    data = ImageNet64Data(str(edm_zip(tmp_path / "a.zip")), size=8, classes=2, parts=2, students=[1], batch_size=3)
    data.setup("fit")
    assert data.batch(0).real.shape == (3, 3, 8, 8) and data.batch(0).labels.tolist() == [1, 1, 1]
