"""Tiny copies of the official layouts, with random pictures and labels."""

import numpy as np
from PIL import Image
from scipy.io import savemat

from flexible_fewshot import AttributeSplit

FORTY = [*AttributeSplit.load("celeba").train, *AttributeSplit.load("celeba").test]
FORTY += [f"Other_{i}" for i in range(40 - len(FORTY))]


def picture(path, size=(24, 30), seed=0):
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.random.default_rng(seed).integers(0, 255, (size[1], size[0], 3), dtype=np.uint8)
    Image.fromarray(pixels).save(path)


def celeba(folder, n=60, pictures=True, seed=0):
    """The first half for training, then validation, then test; 12 identities."""
    random = np.random.default_rng(seed)
    values = random.choice([-1, 1], (n, 40))
    names = [f"{i + 1:06d}.jpg" for i in range(n)]
    rows = [f"{name} " + " ".join(f"{v:2d}" for v in row) for name, row in zip(names, values, strict=True)]
    (folder / "list_attr_celeba.txt").write_text("\n".join([str(n), " ".join(FORTY), *rows]) + "\n")
    part = [0 if i < n // 2 else 1 if i < 3 * n // 4 else 2 for i in range(n)]
    (folder / "list_eval_partition.txt").write_text("".join(f"{a} {p}\n" for a, p in zip(names, part, strict=True)))
    (folder / "identity_CelebA.txt").write_text("".join(f"{a} {i % 12 + 1}\n" for i, a in enumerate(names)))
    for i, name in enumerate(names if pictures else []):
        picture(folder / "img_align_celeba" / name, seed=i)
    return values == 1


def zappos(folder, n=60, pictures=True, seed=0):
    """Columns named as public loaders show them; two colours of each product."""
    split = AttributeSplit.load("zappos50k")
    names = [a for a in [*split.train, *split.test] if not a.startswith("HeelHeight")]
    columns = [a.replace(" ", ".").replace("-", ".") for a in names]
    columns += ["HeelHeight.Flat", "HeelHeight.1in...1.3.4in", "HeelHeight.2in...2.3.4in", "HeelHeight.5in...over"]
    values = np.random.default_rng(seed).integers(0, 2, (n, len(columns)))
    cids = [f"{100 + i // 2}-{i % 2}" for i in range(n)]
    data = folder / "ut-zap50k-data"
    data.mkdir(parents=True, exist_ok=True)
    lines = [",".join(["CID", *columns]), *(",".join([c, *map(str, v)]) for c, v in zip(cids, values, strict=True))]
    (data / "meta-data-bin.csv").write_text("\n".join(lines) + "\n")
    paths = [f"Shoes/Heels/Brand/{cid.replace('-', '.')}.jpg" for cid in cids]
    cells = np.empty((n, 1), dtype=object)
    for i, path in enumerate(paths):
        cells[i, 0] = path
    savemat(data / "image-path.mat", {"imagepath": cells})
    for i, path in enumerate(paths if pictures else []):
        picture(folder / "ut-zap50k-images-square" / path, seed=i)
    return cids, columns, values


def imagenet(folder, n=60, pictures=True, seed=0, labels=None):
    """Synsets of 10 images each; boxes are the left half of the picture."""
    split = AttributeSplit.load("imagenet")
    columns = [*split.train, *split.test, "long", "round", "rectangular", "square"]
    names = [f"n{i // 10:08d}_{i}" for i in range(n)]
    drawn = np.random.default_rng(seed).integers(-1, 2, (n, len(columns))) if labels is None else labels
    boxes = np.zeros(n, dtype=[(side, float) for side in ("x1", "x2", "y1", "y2")])
    boxes["x2"], boxes["y2"] = 0.5, 1.0
    content = {"images": np.array(names, dtype=object), "labels": drawn,
               "attributes": np.array(columns, dtype=object), "bboxes": boxes}  # fmt: skip
    savemat(folder / "attrann.mat", {"attrann": content})
    for i, name in enumerate(names if pictures else []):
        path = folder / "images" / name.partition("_")[0] / f"{name}.JPEG"
        picture(path, size=(40, 24), seed=i)
    return names, columns, drawn


def own_folder(folder, n=60, seed=0):
    """Four attributes a, b, c, d; a is the brightness of the picture."""
    values = np.random.default_rng(seed).integers(0, 2, (n, 4))
    rows = ["image,split,a,b,c,d"]
    for i, row in enumerate(values):
        split = "train" if i < n // 2 else "val" if i < 3 * n // 4 else "test"
        rows.append(f"pictures/{i}.png,{split}," + ",".join(map(str, row)))
        picture(folder / "pictures" / f"{i}.png", seed=i)
    (folder / "attributes.csv").write_text("\n".join(rows) + "\n")
    (folder / "split.yaml").write_text("train: [a, b]\ntest: [c, d]\n")
    return values
