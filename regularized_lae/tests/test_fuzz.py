"""A damaged file is read as something, or refused by a message that names it; nothing else is raised."""

import gzip

import numpy as np
import pytest
from damages import SoundFile, damages
from hypothesis import given, settings
from test_data import idx_bytes

from regularized_lae.data import check_samples, read_matrix
from regularized_lae.idx import IMAGES, read_idx

SAMPLES = np.arange(12.0).reshape(4, 3)


def idx(folder):
    (folder / "train-images").write_bytes(idx_bytes(np.arange(24).reshape(2, 3, 4)))
    return folder / "train-images"


def idx_gz(folder):
    (folder / "train-images.gz").write_bytes(gzip.compress(idx(folder).read_bytes()))
    return folder / "train-images.gz"


def npy(folder):
    np.save(folder / "samples.npy", SAMPLES)
    return folder / "samples.npy"


def npz(folder):
    np.savez(folder / "samples.npz", samples=SAMPLES)
    return folder / "samples.npz"


def compressed(folder):
    np.savez_compressed(folder / "compressed.npz", samples=SAMPLES)
    return folder / "compressed.npz"


def matrix(path):
    samples = read_matrix(str(path))
    check_samples(samples, str(path))


FILES = {
    "idx": (idx, lambda path: read_idx(path, IMAGES)),
    "idx.gz": (idx_gz, lambda path: read_idx(path, IMAGES)),
    ".npy": (npy, matrix),
    ".npz": (npz, matrix),
    "compressed .npz": (compressed, matrix),
}


@pytest.fixture(scope="module", params=FILES)
def file(request, tmp_path_factory):
    """A sound file with its reader."""
    make, read = FILES[request.param]
    return SoundFile(make(tmp_path_factory.mktemp("fuzz")), read)


@settings(max_examples=60)
@given(damage=damages())
def test_a_damaged_file_is_read_or_refused_by_its_name(file, damage):
    file.path.write_bytes(damage(file.content))
    try:
        file.read(file.path)
    except (ValueError, FileNotFoundError) as error:
        assert file.path.name in str(error)
