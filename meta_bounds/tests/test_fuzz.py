"""A damaged file is read as something, or refused by a message that names it; nothing else is raised."""

import shutil

import numpy as np
import pytest
from damages import SoundFile, damages
from hypothesis import given, settings
from test_data import write_omniglot

from meta_bounds.omniglot import read_omniglot
from meta_bounds.task_tables import read_tasks


def omniglot(folder):
    write_omniglot(folder, "small", characters=1)
    return folder / "small.zip"


def drawing(folder):
    write_omniglot(folder, "small", characters=1)
    (folder / "unpacked").mkdir()
    shutil.unpack_archive(folder / "small.zip", folder / "unpacked")
    return sorted((folder / "unpacked").rglob("*.png"))[3]


def table(folder):
    (folder / "tasks.csv").write_text("task,a,b,y\nx,1,2,3\nx,2,1.5,4\ny,0,1,-1e3\n")
    return folder / "tasks.csv"


def arrays(folder):
    np.savez(folder / "tasks.npz", X=np.eye(3)[:, :2], y=np.ones(3), task=np.array(["x", "y", "y"]))
    return folder / "tasks.npz"


FILES = {
    "Omniglot's zip file": (omniglot, lambda path: read_omniglot(str(path.parent), "small")),
    "a drawing": (drawing, lambda path: read_omniglot(str(path.parents[3]), path.parents[2].name)),
    "tasks.csv": (table, lambda path: read_tasks(str(path))),
    "tasks.npz": (arrays, lambda path: read_tasks(str(path))),
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
