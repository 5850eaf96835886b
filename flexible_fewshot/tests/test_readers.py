"""The official layouts: joined by name, and one clear error with file and line for whatever is wrong."""

import gzip
import io
import json
import zipfile

import numpy as np
import pytest
import torch
from layouts import FORTY, celeba, imagenet, own_folder, picture, zappos
from PIL import Image
from scipy.io import savemat

from conftest import random_table
from flexible_fewshot import (
    AttributeDataset,
    AttributeEpisodeSampler,
    AttributeTable,
    CelebAAttributes,
    FolderData,
    ImageNetAttributes,
    OmniglotData,
    Zappos50KAttributes,
    read_episodes,
    write_episodes,
)
from flexible_fewshot.celeba import read_celeba
from flexible_fewshot.image_folder import read_attribute_csv
from flexible_fewshot.imagenet_attributes import read_imagenet_attributes
from flexible_fewshot.omniglot import parse_strokes, read_omniglot
from flexible_fewshot.pictures import read_pictures
from flexible_fewshot.strokes import MEASURES, closure, corners, measure, straightness, thresholds, turning
from flexible_fewshot.zappos import match_columns, normalised, read_zappos


def edit(path, line, new):
    """Replace a line (from 1) of a text file; None removes it."""
    lines = path.read_text().splitlines()
    lines[line - 1 : line] = [] if new is None else [new]
    path.write_text("\n".join(lines) + "\n")


def test_celeba_is_joined_by_name_whatever_the_order_of_the_files(tmp_path):
    values = celeba(tmp_path, pictures=False)
    tables = read_celeba(tmp_path)
    for name in ("list_eval_partition.txt", "identity_CelebA.txt"):
        lines = (tmp_path / name).read_text().splitlines()
        (tmp_path / name).write_text("\n".join(reversed(lines)) + "\n")
    again = read_celeba(tmp_path)
    assert [len(t) for t in tables.values()] == [30, 15, 15]
    assert np.array_equal(tables["val"].values, values[30:45]) and tables["val"].attributes == tuple(FORTY)
    for stage, table in tables.items():
        assert table.images == again[stage].images and np.array_equal(table.identities, again[stage].identities)
    (tmp_path / "identity_CelebA.txt").unlink()
    assert read_celeba(tmp_path)["train"].identities is None


@pytest.mark.parametrize(
    ("file", "line", "new", "said"),
    [
        ("list_attr_celeba.txt", 1, "61", r"list_attr_celeba.txt, line 1: says 61 images, but 60 rows follow"),
        ("list_attr_celeba.txt", 1, "many", "line 1: expected the number of images, got 'many'"),
        ("list_attr_celeba.txt", 2, "Bald Bangs", "line 2: expected 40 attribute names, got 2"),
        ("list_attr_celeba.txt", 5, "000003.jpg 1 1 -1", "line 5: expected 40 values after 000003.jpg, got 3"),
        ("list_attr_celeba.txt", 5, "000003.jpg" + " 1" * 39 + " 0", "line 5: values must be 1 or -1, got '0'"),
        ("list_attr_celeba.txt", 5, "000001.jpg" + " 1" * 40, "line 5: image 000001.jpg occurs twice"),
        (
            "list_eval_partition.txt",
            7,
            "000007.jpg 3",
            "line 7: expected an image and a number 0 to 2, got '000007.jpg 3'",
        ),
        ("list_eval_partition.txt", 7, "000001.jpg 1", "line 7: image 000001.jpg occurs twice"),
        ("list_eval_partition.txt", 7, None, "list_eval_partition.txt: lacks 000007.jpg"),
        ("identity_CelebA.txt", 2, "000002.jpg 0", "line 2: expected an image and a number from 1"),
        ("identity_CelebA.txt", 60, "other.jpg 1", "identity_CelebA.txt: lacks 000060.jpg"),
    ],
)
def test_celeba_errors_name_file_and_line(tmp_path, file, line, new, said):
    celeba(tmp_path, pictures=False)
    edit(tmp_path / file, line, new)
    with pytest.raises(ValueError, match=said):
        read_celeba(tmp_path)


def test_celeba_pictures_are_cropped_to_the_centre_and_a_missing_one_is_named(tmp_path):
    celeba(tmp_path)
    data = CelebAAttributes(str(tmp_path), size=24)
    pool = data.pool("test")
    assert pool.images.shape == (15, 3, 24, 24) and data.labels == 14
    original = np.asarray(Image.open(tmp_path / "img_align_celeba" / pool.table.images[3]))
    assert np.array_equal(pool.images[3].permute(1, 2, 0).numpy(), original[3:27])
    (tmp_path / "img_align_celeba" / "000002.jpg").unlink()
    with pytest.raises(FileNotFoundError, match=r"000002.jpg: no such image, but the attributes name it"):
        data.pool("train")
    with pytest.raises(FileNotFoundError, match=r"list_attr_celeba.txt: no such file; get it from the CelebA page"):
        read_celeba(tmp_path / "elsewhere")
    (tmp_path / "list_attr_celeba.txt").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(ValueError, match=r"list_attr_celeba.txt: not a text file"):
        read_celeba(tmp_path)


def test_identities_are_numbered_from_zero(tmp_path):
    celeba(tmp_path)
    data = CelebAAttributes(str(tmp_path), size=8, label_group="identity")
    assert data.labels == 12 and data.targets().unique().tolist() == list(range(12))


def test_zappos_products_are_not_split_and_columns_match_up_to_punctuation(tmp_path):
    cids, columns, values = zappos(tmp_path)
    tables = read_zappos(tmp_path)
    assert [len(t) for t in tables.values()] == [48, 6, 6]
    product = {stage: {name.rpartition("/")[2].split(".")[0] for name in t.images} for stage, t in tables.items()}
    assert not (
        product["train"] & product["val"] or product["train"] & product["test"] or product["val"] & product["test"]
    )
    row = tables["train"].images.index(f"Shoes/Heels/Brand/{cids[9].replace('-', '.')}.jpg") if any(
        cids[9].replace("-", ".") in name for name in tables["train"].images) else None  # fmt: skip
    if row is not None:
        assert np.array_equal(tables["train"].values[row, : len(columns)], values[9])
    heels = tables["train"].of(["HeelHeight.High heel", "HeelHeight.2in...2.3.4in", "HeelHeight.5in...over"])
    assert np.array_equal(heels[:, 0], heels[:, 1:].any(1))
    short = tables["train"].of(["HeelHeight.Short heel", "HeelHeight.Flat", "HeelHeight.1in...1.3.4in"])
    assert np.array_equal(short[:, 0], short[:, 1:].any(1))
    data = Zappos50KAttributes(str(tmp_path), size=16)
    assert data.labels == 40 and len(data.table("test").attributes) == 79
    assert data.pool("test").images.shape == (6, 3, 16, 16)
    assert normalised("Closure.Hook.and.Loop") == normalised("Closure.Hook and Loop") == "closure hook and loop"
    with pytest.raises(ValueError, match=r"2 attributes have no column in meta-data-bin.csv: Size.Huge, Size.Tiny"):
        match_columns(("Size.Huge", "Size.Tiny"), ("Closure.Belt",))


@pytest.mark.parametrize(
    ("line", "new", "said"),
    [
        (1, "ID,a", "line 1: expected CID and names of attributes, got 'ID,a'"),
        (3, "100-1,1", "line 3: expected 82 values, got 2"),
        (3, "100-0" + ",1" * 81, "line 3: 100-0 occurs twice"),
        (3, "100-1" + ",1" * 80 + ",2", "line 3: values must be 0 or 1, got '2'"),
        (3, "777-1" + ",1" * 81, "no picture 777.1.jpg for CID 777-1"),
        (3, None, "has 60 paths, but meta-data-bin.csv has 59 rows"),
    ],
)
def test_zappos_errors_name_file_and_line(tmp_path, line, new, said):
    zappos(tmp_path, pictures=False)
    edit(tmp_path / "ut-zap50k-data" / "meta-data-bin.csv", line, new)
    with pytest.raises(ValueError, match=said):
        read_zappos(tmp_path)


def test_zappos_files_that_are_missing_or_foreign_are_named(tmp_path):
    zappos(tmp_path, pictures=False)
    data = tmp_path / "ut-zap50k-data"
    (data / "image-path.mat").write_bytes(b"not a mat file" * 20)
    with pytest.raises(ValueError, match=r"image-path.mat: expected a mat file with `imagepath`"):
        read_zappos(tmp_path)
    (data / "image-path.mat").unlink()
    with pytest.raises(FileNotFoundError, match=r"image-path.mat: no such file; get it from the UT Zappos50K page"):
        read_zappos(tmp_path)
    (data / "meta-data-bin.csv").write_text("CID,a\n")
    with pytest.raises(ValueError, match="no rows after the header"):
        read_zappos(tmp_path)
    (data / "meta-data-bin.csv").unlink()
    with pytest.raises(FileNotFoundError, match=r"meta-data-bin.csv: no such file"):
        read_zappos(tmp_path)


def test_imagenet_zero_is_unknown_and_pictures_are_cropped_to_boxes(tmp_path):
    names, columns, labels = imagenet(tmp_path)
    tables, boxes = read_imagenet_attributes(tmp_path / "attrann.mat")
    assert [len(t) for t in tables.values()] == [36, 12, 12] and tables["train"].attributes == tuple(columns)
    row = names.index(tables["val"].images[2])
    assert np.array_equal(tables["val"].values[2], np.select([labels[row] == 1, labels[row] == -1], [1, 0], -1))
    assert boxes[names[0]].tolist() == [0, 0.5, 0, 1]
    pool = ImageNetAttributes(str(tmp_path), size=20).pool("test")
    whole = Image.open(tmp_path / "images" / pool.table.images[0].partition("_")[0] / f"{pool.table.images[0]}.JPEG")
    left = whole.convert("RGB").resize((20, 20), Image.Resampling.BILINEAR, box=(0, 0, 20, 24))
    assert np.array_equal(pool.images[0].permute(1, 2, 0).numpy(), np.asarray(left))


def test_imagenet_files_that_are_not_as_they_should_be_are_refused(tmp_path):
    path = tmp_path / "attrann.mat"
    with pytest.raises(FileNotFoundError, match=r"attrann.mat: no such file; get attrann.mat from image-net.org"):
        read_imagenet_attributes(path)
    savemat(path, {"other": 1})
    with pytest.raises(ValueError, match="expected a struct `attrann` with images, labels"):
        read_imagenet_attributes(path)
    imagenet(tmp_path, pictures=False, labels=np.full((60, 25), 2))
    with pytest.raises(ValueError, match="labels must be -1, 0 or 1, got 2"):
        read_imagenet_attributes(path)
    imagenet(tmp_path, pictures=False, labels=np.ones((59, 25)))
    with pytest.raises(ValueError, match=r"labels must be \(60, 25\), got \(59, 25\)"):
        read_imagenet_attributes(path)
    content = {"images": np.array(["a_1"], dtype=object), "labels": np.ones((1, 2)),
               "attributes": np.array(["x", "y"], dtype=object), "bboxes": np.zeros((2, 4))}  # fmt: skip
    savemat(path, {"attrann": content})
    with pytest.raises(ValueError, match=r"bboxes must be 1 boxes of x1, x2, y1, y2, got \(2, 4\)"):
        read_imagenet_attributes(path)


def test_ones_own_folder(tmp_path):
    values = own_folder(tmp_path)
    data = FolderData(str(tmp_path), str(tmp_path / "attributes.csv"), str(tmp_path / "split.yaml"), size=16)
    assert data.pool("train").images.shape == (30, 3, 16, 16) and data.labels == 2
    assert np.array_equal(data.table("test").values, values[45:])


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("picture,a\nx,1\n", "line 1: expected image,split,ATTRIBUTE"),
        ("image,a,a\nx,1,1\n", "with unlike names"),
        ("image,split,a\nx,train\n", "line 2: expected 3 fields, got 2"),
        ("image,split,a\nx,train,1\ny,dev,0\n", "line 3: split must be train, val or test, got 'dev'"),
        ("image,split,a\nx,train,2\n", "line 2: values must be 1, 0 or empty, got '2'"),
        ("image,split,a\nx,train,1\nx,val,1\n", "attributes.csv: image 'x' occurs twice"),
        ("image,split,a\nx,train,1\n", "no image has split val or test"),
        ("image,split,a\n", "no rows after the header"),
    ],
)
def test_errors_of_ones_own_table_name_file_and_line(tmp_path, text, said):
    path = tmp_path / "attributes.csv"
    path.write_text(text)
    with pytest.raises(ValueError, match=said):
        read_attribute_csv(path)


def test_a_table_without_splits_serves_all_stages_and_words_are_understood(tmp_path):
    path = tmp_path / "attributes.csv"
    path.write_text("image,identity,a,b\nx,ann,yes,\ny,bob,false,-1\n")
    tables = read_attribute_csv(path)
    assert tables["train"] is tables["test"] and tables["train"].values.tolist() == [[1, -1], [0, 0]]
    assert tables["train"].identities.tolist() == [0, 1]
    with pytest.raises(FileNotFoundError, match="it should start with a line image,split"):
        read_attribute_csv(tmp_path / "none.csv")


def test_damaged_pictures_are_named(tmp_path):
    picture(tmp_path / "good.png")
    (tmp_path / "bad.png").write_bytes(b"no picture")
    with pytest.raises(ValueError, match=r"bad.png: not a readable image"):
        read_pictures([tmp_path / "good.png", tmp_path / "bad.png"], 8)


def test_datasets_need_an_image_for_each_row(eight):
    with pytest.raises(ValueError, match="an image for each row of attributes, got 7 and 8"):
        AttributeDataset(torch.zeros(7, 3, 4, 4, dtype=torch.uint8), eight)
    with pytest.raises(ValueError, match=r"must be \(n, 3, H, W\) of uint8, got \(8, 1, 4, 4\)"):
        AttributeDataset(torch.zeros(8, 1, 4, 4, dtype=torch.uint8), eight)


@pytest.mark.parametrize("name", ["episodes.json", "episodes.json.gz"])
def test_frozen_episodes_survive_another_order_of_the_images(tmp_path, name):
    table = random_table(300)
    episodes = AttributeEpisodeSampler(table, ("a", "b"), 3, 4, 20).sample()
    write_episodes(tmp_path / name, episodes, table)
    same = read_episodes(tmp_path / name, table)
    assert torch.equal(same.support, episodes.support) and torch.equal(same.query, episodes.query)
    assert torch.equal(same.query_y, episodes.query_y) and same.contexts == episodes.contexts
    order = np.random.default_rng(1).permutation(300)
    moved = read_episodes(tmp_path / name, table.rows(order))
    assert torch.equal(torch.from_numpy(order)[moved.support], episodes.support)


def test_frozen_episodes_that_do_not_fit_the_data_are_refused(tmp_path):
    table = random_table(300)
    path = tmp_path / "e.json"
    write_episodes(path, AttributeEpisodeSampler(table, ("a", "b"), 3, 4, 5).sample(), table)
    with pytest.raises(ValueError, match="images are not in the data, such as 'i"):
        read_episodes(path, table.rows(np.arange(100)))
    other = AttributeTable(table.images, table.attributes, 1 - table.values)
    with pytest.raises(ValueError, match=r"episode 0 \(.*\): i\d+ is labelled otherwise"):
        read_episodes(path, other)
    content = json.loads(path.read_text())
    content["episodes"][2]["query"][0] = content["episodes"][2]["support"][0]
    path.write_text(json.dumps(content))
    with pytest.raises(ValueError, match="an image occurs twice"):
        read_episodes(path, table)
    for key, value, said in (
        ("shots", 0, "support must be 0 positives and some negatives"),
        ("images", [], "there are 0"),
        ("images", [[1]] * len(content["images"]), "must be lists of names"),
    ):
        path.write_text(json.dumps({**content, key: value}))
        with pytest.raises(ValueError, match=rf"e.json: not a file of frozen episodes .*{said}"):
            read_episodes(path, table)
    content["episodes"][1]["context"] = ["nose"]
    path.write_text(json.dumps(content))
    with pytest.raises(ValueError, match="1 attributes are not in the data, such as 'nose'"):
        read_episodes(path, table)
    for broken in (b"{}", b"[1]", b"\x00"):
        path.write_bytes(broken)
        with pytest.raises(ValueError, match="not a file of frozen episodes"):
            read_episodes(path, table)
    (tmp_path / "e.json.gz").write_bytes(gzip.compress(b"{}")[:5])
    with pytest.raises(ValueError, match="not a file of frozen episodes"):
        read_episodes(tmp_path / "e.json.gz", table)
    with pytest.raises(FileNotFoundError, match="no such file of frozen episodes"):
        read_episodes(tmp_path / "none", table)


LINE = np.stack([np.linspace(0, 60, 40), np.linspace(10, 10, 40)], 1)
ANGLES = np.linspace(0, 2 * np.pi, 60)
CIRCLE = np.stack([50 + 30 * np.cos(ANGLES), 50 + 30 * np.sin(ANGLES)], 1)
SQUARE = np.concatenate(
    [np.linspace(a, b, 30) for a, b in (((0, 0), (40, 0)), ((40, 0), (40, 40)), ((40, 40), (0, 40)))]
)


def test_strokes_are_measured_as_their_names_say():
    of = dict(MEASURES.items())
    assert straightness([LINE]) == pytest.approx(1) and straightness([CIRCLE]) == pytest.approx(0, abs=1e-6)
    assert turning([CIRCLE]) == pytest.approx(2 * np.pi, rel=0.1) and turning([LINE]) == pytest.approx(0)
    assert corners([SQUARE]) == 2 and corners([CIRCLE]) == 0
    assert closure([CIRCLE]) > -0.05 and closure([LINE]) < -0.3
    assert of["Horizontal"]([LINE]) == 1 and of["Horizontal"]([LINE[:, ::-1]]) == 0
    assert of["Left_To_Right"]([LINE]) == pytest.approx(1) and of["Left_To_Right"]([LINE[::-1]]) == pytest.approx(-1)
    assert of["Tall"]([CIRCLE]) == pytest.approx(1, rel=0.01) and of["Tall"]([LINE]) < 0.05
    assert of["Many_Strokes"]([LINE, CIRCLE]) == 2 and of["Long"]([LINE]) == pytest.approx(60)
    assert of["Heavy_Right"]([LINE, LINE[20:]]) > 0.55 > of["Heavy_Right"]([LINE, LINE[:20]])
    assert of["Starts_Low"]([LINE[:, ::-1]]) == 0 and of["Starts_Low"]([LINE[::-1, ::-1]]) == pytest.approx(1)


def test_thresholds_are_medians_and_do_not_fail_on_ties():
    measured = np.stack([np.arange(100.0), np.repeat([1.0, 2.0], [30, 70])], 1)
    found = thresholds(measured)
    assert (measured > found).mean(0).tolist() == pytest.approx([0.5, 0.7])


def drawings(folder, characters=8, of_each=4):
    """Both zip files, with lines and circles."""
    with zipfile.ZipFile(folder / "images_background_small1.zip", "w") as images, zipfile.ZipFile(
        folder / "strokes_background_small1.zip", "w"
    ) as strokes:  # fmt: skip
        for c in range(characters):
            for d in range(of_each):
                name = f"Some/character{c + 1:02d}/{c + 1:04d}_{d + 1:02d}"
                stroke = (CIRCLE if c % 2 else LINE) + d
                lines = ["START", *(f"{x:f},{-y:f},{t}" for t, (x, y) in enumerate(stroke)), "BREAK"]
                strokes.writestr(f"strokes_background_small1/{name}.txt", "\n".join(lines))
                stream = io.BytesIO()
                Image.fromarray(np.full((105, 105), 255, np.uint8)).save(stream, "png")
                images.writestr(f"images_background_small1/{name}.png", stream.getvalue())


def test_omniglot_divides_characters_and_takes_thresholds_from_training_ones(tmp_path):
    drawings(tmp_path)
    pools = read_omniglot(tmp_path)
    assert [len(t) for _, t in pools.values()] == [20, 4, 8]
    identities = [set(t.identities) for _, t in pools.values()]
    assert not identities[0] & identities[2] and not identities[0] & identities[1]
    table = pools["train"][1]
    closed = table.of(["Closed"])[:, 0]
    assert set(closed[np.array([int(n[-7:-3]) % 2 == 0 for n in table.images])]) == {1}


def test_omniglot_files_that_are_not_as_they_should_be_are_named(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"images_background_small1.zip: no such file"):
        read_omniglot(tmp_path)
    drawings(tmp_path)
    (tmp_path / "strokes_background_small1.zip").write_bytes(b"no zip")
    with pytest.raises(ValueError, match=r"strokes_background_small1.zip: not a readable zip file"):
        read_omniglot(tmp_path)
    with zipfile.ZipFile(tmp_path / "strokes_background_small1.zip", "w") as strokes:
        strokes.writestr("strokes_background_small1/Some/character01/0001_01.txt", "START\n1,2,3\nBREAK")
    with pytest.raises(ValueError, match="must name each other, but Some/character01/0001_02 is only in one"):
        read_omniglot(tmp_path)
    with zipfile.ZipFile(tmp_path / "strokes_background_small1.zip", "w"):
        pass
    with pytest.raises(ValueError, match="holds no ALPHABET/characterNN"):
        read_omniglot(tmp_path)
    with pytest.raises(ValueError, match=r"x.txt, line 2: expected x,y,t or START or BREAK, got 'one'"):
        parse_strokes(b"START\none\n", "x.txt")
    with pytest.raises(ValueError, match=r"x.txt: holds no stroke"):
        parse_strokes(b"START\nBREAK\n", "x.txt")


@pytest.mark.parametrize(("content", "said"), [(b"x", "not a readable PNG"), (None, "expected 105 x 105 pixels, got")])
def test_omniglot_images_of_another_kind_are_named(tmp_path, content, said):
    stream = io.BytesIO()
    Image.fromarray(np.zeros((9, 9), np.uint8)).save(stream, "png")
    for kind, suffix, body in (
        ("images", "png", content or stream.getvalue()),
        ("strokes", "txt", b"START\n1,2,3\nBREAK"),
    ):
        with zipfile.ZipFile(tmp_path / f"{kind}_background_small1.zip", "w") as archive:
            for c in range(4):
                archive.writestr(f"{kind}_background_small1/A/character{c:02d}/000{c}_01.{suffix}", body)
    with pytest.raises(ValueError, match=f"A/character00/0000_01: {said}"):
        read_omniglot(tmp_path)


def test_real_drawings_and_strokes_agree(papers_data):
    """The ink of an image lies where the pen was: the box of its strokes is the box of its ink, to a few pixels."""
    data = OmniglotData(str(papers_data / "omniglot"), size=105)
    sizes = [len(data.pool(stage)) for stage in ("train", "val", "test")]
    assert sum(sizes) == 2720 and sizes[0] == 1640
    assert 0.35 < data.table("test").values.mean() < 0.65
    path = papers_data / "omniglot" / "strokes_background_small1.zip"
    pool, far = data.pool("test"), []
    with zipfile.ZipFile(path) as archive:
        for i in range(0, len(pool), 37):
            name = pool.table.images[i]
            points = np.concatenate(parse_strokes(archive.read(f"strokes_background_small1/{name}.txt"), name))
            rows, columns = np.nonzero(pool.images[i, 0].numpy())
            far.append(max(abs(columns.max() - points[:, 0].max()), abs(rows.min() - points[:, 1].min())))
    assert np.median(far) < 5


def test_measures_are_all_finite_on_a_single_point():
    assert np.isfinite(measure([[np.array([[3.0, 4.0]])]])).all()
