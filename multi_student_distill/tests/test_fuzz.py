"""A damaged file is read as something, or refused by a message that names it; nothing else is raised."""

import pickle

import pytest
import torch
from damages import SoundFile, cut, damages, overwrite
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import save_file
from test_convert_edm import persistent_pickle
from test_readers import edm_folder, edm_zip, png, write_lmdb

from multi_student_distill.captions import read_captions
from multi_student_distill.convert_edm import read_edm_pickle
from multi_student_distill.denoisers import DenoiserSpec, load_denoiser, save_denoiser
from multi_student_distill.features import stored_features
from multi_student_distill.image_files import ClassFolder, EDMImages
from multi_student_distill.lmdb_images import LMDBImages
from multi_student_distill.pairs import PairedDataset, write_pairs
from multi_student_distill.pipeline import LIST_FILE, StudentModel, Students
from multi_student_distill.stable_diffusion import read_embeddings


def zip_of_edm(folder):
    return edm_zip(folder / "set.zip")


def labels_of_edm(folder):
    return edm_folder(folder) / "dataset.json"


def zip_of_classes(folder):
    return edm_zip(folder / "set.zip", {f"train/{name}/0.png": png((9, 9, 9)) for name in ("ant", "cat")})


def captions(folder):
    (folder / "captions.txt").write_text("a cat\nzwei Hünde\n", encoding="utf-8")
    return folder / "captions.txt"


def pickled_captions(folder):
    (folder / "captions.pkl").write_bytes(pickle.dumps(["a cat", "a dog", "a cat"]))
    return folder / "captions.pkl"


def edm_pickle(folder):
    (folder / "edm.pkl").write_bytes(persistent_pickle({"out_conv.weight": torch.ones(2, 2)}))
    return folder / "edm.pkl"


def denoiser(folder):
    spec = DenoiserSpec("mlp-8x1", (2,), 3, 0.4)
    save_denoiser(folder / "student.safetensors", spec.build(), spec)
    return folder / "student.safetensors"


def pairs(folder):
    write_pairs(folder / "pairs.safetensors", torch.ones(3, 2), torch.ones(3, 2), torch.arange(3), "teacher", 18)
    return folder / "pairs.safetensors"


IMAGES = torch.zeros(4, 1, 4, 4), torch.tensor([0, 0, 1, 1])


def features(folder):
    stored_features(folder / "features.pt", *IMAGES, 1)
    return folder / "features.pt"


def embeddings(folder):
    save_file({"pooled": torch.ones(3, 4)}, folder / "embeddings.safetensors")
    return folder / "embeddings.safetensors"


def students(folder):
    Students([StudentModel("mlp-8x1", [2], 3)]).save_pretrained(folder)
    return folder / LIST_FILE


def edm(path):
    images = EDMImages(path if path.suffix == ".zip" else path.parent, 8, 2)
    images.fetch(torch.arange(len(images)))


FILES = {
    "EDM's zip file": (zip_of_edm, edm),
    "dataset.json": (labels_of_edm, edm),
    "zip file of classes": (zip_of_classes, lambda path: ClassFolder(path, size=8)),
    "captions": (captions, read_captions),
    "pickled captions": (pickled_captions, read_captions),
    "EDM's pickle": (edm_pickle, read_edm_pickle),
    "denoiser": (denoiser, load_denoiser),
    "pairs": (pairs, lambda path: PairedDataset(path, (2,), 3)),
    "features": (features, lambda path: stored_features(path, *IMAGES, 1)),
    "embeddings": (embeddings, lambda path: read_embeddings(path, 3)),
    "students": (students, lambda path: Students.from_pretrained(path.parent)),
}


@pytest.fixture(scope="module", params=FILES)
def file(request, tmp_path_factory):
    """A sound file with its reader."""
    make, read = FILES[request.param]
    return SoundFile(make(tmp_path_factory.mktemp("fuzz")), read)


@settings(max_examples=40)
@given(damage=damages())
def test_a_damaged_file_is_read_or_refused_by_its_name(file, damage):
    file.path.write_bytes(damage(file.content))
    try:
        file.read(file.path)
    except (ValueError, FileNotFoundError) as error:
        assert file.path.name in str(error)


@pytest.fixture(scope="module")
def database(tmp_path_factory):
    folder = write_lmdb(tmp_path_factory.mktemp("fuzz") / "set")
    return folder, (folder / "data.mdb").read_bytes()


HEADERS = st.builds(overwrite, st.integers(0, 40), st.binary(min_size=1, max_size=24))  # the first page's


@settings(max_examples=40)
@given(damage=st.builds(cut, st.integers(0, 1 << 20)) | HEADERS)
def test_a_database_that_is_cut_short_or_has_another_header_is_refused_by_name(database, damage):
    folder, sound = database
    (folder / "data.mdb").write_bytes(damage(sound))
    try:
        LMDBImages(folder, (3, 8, 8), 3)
    except (ValueError, FileNotFoundError) as error:
        assert str(folder) in str(error)
