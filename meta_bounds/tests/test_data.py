"""Tasks and trials: sinusoids, Omniglot in its official layout, and tables of anybody's tasks."""

import io
import zipfile

import numpy as np
import pytest
import torch
from PIL import Image

from meta_bounds.data import SinusoidData
from meta_bounds.omniglot import OmniglotData, read_omniglot
from meta_bounds.task_tables import TaskTable, diabetes_tasks, read_tasks
from meta_bounds.verbs import adapt_to, learn_from_others


def png(pixels):
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, format="PNG")
    return buffer.getvalue()


def drawing(character, count):
    """A white page with a black square whose place tells the character and whose size the drawing."""
    pixels = np.full((105, 105), 255, dtype=np.uint8)
    pixels[7 * character : 7 * character + 7, 7 : 14 + count] = 0
    return png(pixels)


def write_omniglot(folder, name, characters=6, drawings=20, content=drawing, alphabet="Alphabet"):
    with zipfile.ZipFile(folder / f"{name}.zip", "w") as archive:
        for c in range(characters):
            for i in range(drawings):
                archive.writestr(f"{name}/{alphabet}/character{c + 1:02d}/{c:04d}_{i + 1:02d}.png", content(c, i))


@pytest.fixture
def omniglot(tmp_path):
    write_omniglot(tmp_path, "images_background_small1")
    write_omniglot(tmp_path, "images_background_small2", alphabet="Other")
    return tmp_path


def test_more_tasks_only_add_to_fewer_and_runs_of_one_seed_share_trials():
    data = SinusoidData([3, 8], seeds=[0, 1], noises=[0.5], novel_tasks=4)
    tasks = data.all_tasks()
    assert tasks.x.shape == (4, 8, 1, 20, 1) and tasks.sizes.tolist() == [3, 3, 8, 8]
    assert torch.equal(tasks.x[0], tasks.x[2]) and not torch.equal(tasks.x[0], tasks.x[1])
    few = SinusoidData([3], seeds=[0]).all_tasks()
    assert torch.equal(few.x[0], tasks.x[0, :3])
    (trial,) = data.trials()
    assert torch.equal(trial.support_y[0], trial.support_y[2])


def test_novel_sinusoids_are_larger_and_queries_are_clean():
    data = SinusoidData([40], noises=[0.0, 2.0], novel_tasks=200, train_noise=0.0)
    clean, noisy = data.trials()
    reach = clean.query_y.abs().amax((2, 3))
    assert reach.min() > 2.9 and reach.max() <= 5 and data.all_tasks().y.abs().max() <= 4
    assert torch.equal(clean.query_y, noisy.query_y)
    spread = (noisy.support_y - clean.support_y).std()
    assert spread == pytest.approx(2.0, rel=0.05)
    assert not torch.equal(data.trials()[0].query_y, data.trials(shift=10_000)[0].query_y)  # validation has its own


def test_omniglot_is_read_from_the_official_layout(omniglot):
    ink, names = read_omniglot(str(omniglot), "images_background_small1")
    assert ink.shape == (6, 20, 105, 105) and names[0] == "Alphabet/character01"
    assert ink[2, 3].sum() == 7 * (7 + 3) and ink[2, 3, 14, 7] == 1
    folder = omniglot / "unpacked"
    with zipfile.ZipFile(omniglot / "images_background_small1.zip") as archive:
        archive.extractall(folder)
    assert torch.equal(read_omniglot(str(folder), "images_background_small1")[0], ink)


def test_omniglot_tasks_are_characters_with_disjoint_support_and_query(omniglot):
    data = OmniglotData(str(omniglot), [3], samples=10, shots=[2], novel_tasks=7, ways=4, side=15)
    data.setup("fit")
    tasks = data.all_tasks()
    assert tasks.x.shape == (1, 3, 4, 10, 225) and tasks.y.shape == (1, 3, 4, 10, 4)
    (trial,) = data.trials()
    assert trial.support_x.shape == (1, 7, 8, 225) and trial.query_x.shape == (1, 7, 20, 225)
    nearest = torch.cdist(trial.query_x, trial.support_x).argmin(-1)
    same = trial.support_y[0].argmax(-1).gather(1, nearest[0]) == trial.query_y[0].argmax(-1)
    assert same.float().mean() > 0.95  # labels belong to their images
    assert not (torch.cdist(trial.query_x, trial.support_x) == 0).any()


def test_the_real_omniglot_has_its_characters(papers_data):
    folder = str(papers_data / "omniglot")
    first, names = read_omniglot(folder, "images_background_small1")
    second, others = read_omniglot(folder, "images_background_small2")
    assert len(first) == 136 and len(second) == 156
    alphabets = [{name.partition("/")[0] for name in each} for each in (names, others)]
    assert [len(each) for each in alphabets] == [5, 5] and alphabets[0] & alphabets[1] == {"Greek", "Latin"}
    train, novel = OmniglotData(folder, [2]).images()
    assert len(train) == 136 and len(novel) == 156 - 24 - 26  # novel alphabets are novel
    assert 0.02 < first.float().mean() < 0.1


def test_missing_or_broken_omniglot_files_are_named(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"images_background_small1.zip: no such file.*brendenlake/omniglot"):
        read_omniglot(str(tmp_path), "images_background_small1")
    (tmp_path / "cut.zip").write_bytes(b"PK cut off")
    with pytest.raises(ValueError, match=r"cut\.zip: not a readable zip file"):
        read_omniglot(str(tmp_path), "cut")
    write_omniglot(tmp_path, "none", characters=0)
    with pytest.raises(ValueError, match="holds no ALPHABET/characterNN"):
        read_omniglot(str(tmp_path), "none")
    write_omniglot(tmp_path, "few", drawings=3)
    with pytest.raises(ValueError, match="Alphabet/character01 should have 20 drawings, got 3"):
        read_omniglot(str(tmp_path), "few")
    write_omniglot(tmp_path, "small", content=lambda c, i: png(np.zeros((28, 28), dtype=np.uint8)))
    with pytest.raises(ValueError, match=r"expected 105 x 105 pixels, got \(28, 28\)"):
        read_omniglot(str(tmp_path), "small")
    write_omniglot(tmp_path, "text", content=lambda c, i: b"no image")
    with pytest.raises(ValueError, match=r"0000_01.png: not a readable PNG"):
        read_omniglot(str(tmp_path), "text")


def table_file(tmp_path, text):
    path = tmp_path / "tasks.csv"
    path.write_text(text)
    return str(path)


def test_a_csv_and_an_npz_file_give_the_same_table(tmp_path):
    path = table_file(tmp_path, "task,age,y,dose\na,1,10,0.5\nb,2,20,0.25\na,3,30,0.75\n")
    read = read_tasks(path)
    assert read.columns == ["age", "dose"] and read.names == ["a", "b"]
    assert read.rows_of("a")[0].tolist() == [[1, 0.5], [3, 0.75]] and read.rows_of("b")[1].tolist() == [20]
    archive = tmp_path / "tasks.npz"
    np.savez(archive, X=read.features.numpy(), y=read.targets.numpy(), task=np.array(["a", "b", "a"]))
    assert torch.equal(read_tasks(str(archive)).features, read.features)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("age,y\n1,2\n", "expected a header with task, features and y"),
        ("", "expected a header with task, features and y"),
        ("task,x,y\na,1,nan\nb,1,2\n", "row 1, column y is not a finite number"),
        ("task,x,y\na,1,2\na,2,3\n", r"at least 2 tasks, got \['a'\]"),
        ("task,x,y\na,one,2\nb,1,2\n", "row 1: could not convert string to float"),
        ("task,x,y\na,1\nb,1,2\n", "row 1 has 2 cells, the header 3"),
        ("task,x,z,y\na,1,1,2\nb,3,3,2\n", "columns x and z are the same"),
    ],
)
def test_bad_tables_are_refused_by_file_and_row(tmp_path, text, said):
    with pytest.raises(ValueError, match=r"tasks\.csv: .*" + said):
        read_tasks(table_file(tmp_path, text))


def test_other_bad_tables_are_refused(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"nofile\.csv: no such file"):
        read_tasks(str(tmp_path / "nofile.csv"))
    np.savez(tmp_path / "half.npz", X=np.zeros((2, 1)))
    with pytest.raises(ValueError, match=r"half\.npz: expected the arrays X, y and task, task, y missing"):
        read_tasks(str(tmp_path / "half.npz"))
    with pytest.raises(ValueError, match=r"a table needs X \(N, d\), y \(N,\) and N task names"):
        TaskTable(torch.zeros(3, 1), torch.zeros(2), ["a", "b", "c"], ["x"])
    constant = TaskTable(torch.ones(2, 1).double(), torch.zeros(2).double(), ["a", "b"], ["x"])
    with pytest.raises(ValueError, match="column x is constant"):
        constant.standardised()


def test_diabetes_is_six_tasks_and_other_patients_help():
    """With ten rows of d = 10 the hierarchical MAP is far better than the novel task alone."""
    table = diabetes_tasks().standardised()
    assert len(table.names) == 6 and len(table.features) == 442
    learnt = {name: learn_from_others(table, name) for name in table.names}
    errors = [adapt_to(learnt[name], table, name, 10, torch.Generator().manual_seed(0)).errors for name in table.names]
    adapted, alone = ([e[key] for e in errors] for key in ("hierarchical MAP", "least squares, novel task alone"))
    assert sum(a < b for a, b in zip(adapted, alone, strict=True)) == 6
    with pytest.raises(ValueError, match="unknown task 'nobody', choose from sex1-middle"):
        learn_from_others(table, "nobody")
    with pytest.raises(ValueError, match="it has 61, got k = 61"):
        adapt_to(learnt["sex1-old"], table, "sex1-old", 61, torch.Generator())
    with pytest.raises(ValueError, match="k must be a whole number of at least 1, got 0"):
        adapt_to(learnt["sex1-old"], table, "sex1-old", 0, torch.Generator())


@pytest.mark.parametrize(
    ("call", "said"),
    [
        (lambda: SinusoidData([0]), "tasks must be at least 1"),
        (lambda: SinusoidData([2], shots=[]), "shots must be at least 1"),
        (lambda: SinusoidData([2], noises=[-1.0]), "no noise negative"),
        (lambda: SinusoidData([2], half_width=0), "half_width and queries must be positive"),
        (lambda: OmniglotData("x", [2], shots=[16]), "a character has 20 drawings"),
    ],
)
def test_bad_settings_are_refused(call, said):
    with pytest.raises(ValueError, match=said):
        call()


def test_more_ways_than_characters_are_refused(omniglot):
    with pytest.raises(ValueError, match="has 6 characters to use, fewer than ways = 9"):
        OmniglotData(str(omniglot), [2], ways=9).setup("fit")


def test_a_novel_set_of_known_alphabets_has_no_novel_characters(tmp_path):
    write_omniglot(tmp_path, "images_background_small1")
    write_omniglot(tmp_path, "images_background_small2")
    with pytest.raises(ValueError, match="images_background_small2 has 0 characters to use"):
        OmniglotData(str(tmp_path), [2]).setup("fit")
