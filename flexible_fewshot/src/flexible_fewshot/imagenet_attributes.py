"""ImageNet-with-Attributes' official file: 25 attributes of 9,600 images, each present, absent or ambiguous."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from scipy.io import loadmat

from .attributes import AttributeTable

SOURCE = "image-net.org/download-attributes"
FRACTIONS = (0.6, 0.2)  # of the images of each synset, for train and val; the rest are test


def read_imagenet_attributes(
    path: str | Path, seed: int = 0
) -> tuple[dict[str, AttributeTable], dict[str, np.ndarray]]:
    """Tables of `train`, `val` and `test`, and the box (x1, x2, y1, y2), in fractions, of each image by name.

    Labels of +1, -1 and 0 become present, absent and unknown. The file has no split of images: of each synset 60, 20
    and 20 per cent are drawn with `seed`.

    Raises:
        FileNotFoundError: no such file.
        ValueError: not a mat file of that structure, sizes that disagree, or a value that is none of the three.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"{path}: no such file; get attrann.mat from {SOURCE}")
    try:
        content = loadmat(path, squeeze_me=True, struct_as_record=False)["attrann"]
        images, labels, attributes = content.images, np.atleast_2d(content.labels), content.attributes
        names = [str(name) for name in np.atleast_1d(images)]
        columns = [str(name) for name in np.atleast_1d(attributes)]
        boxes = _sides(content.bboxes)
    except Exception as error:  # scipy raises many kinds for a damaged file
        raise ValueError(
            f"{path}: expected a struct `attrann` with images, labels, attributes and bboxes "
            f"({type(error).__name__}: {error})"
        ) from error
    if labels.shape != (len(names), len(columns)):
        raise ValueError(f"{path}: labels must be ({len(names)}, {len(columns)}), got {labels.shape}")
    if not np.isin(labels, (-1, 0, 1)).all():
        raise ValueError(f"{path}: labels must be -1, 0 or 1, got {labels[~np.isin(labels, (-1, 0, 1))][0]}")
    if boxes.shape != (len(names), 4) or not np.isfinite(boxes).all():
        raise ValueError(f"{path}: bboxes must be {len(names)} boxes of x1, x2, y1, y2, got {boxes.shape}")
    values = np.select([labels == 1, labels == -1], [1, 0], -1).astype(np.int8)
    try:
        table = AttributeTable(tuple(names), tuple(columns), values)
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from error
    synsets = np.array([name.partition("_")[0] for name in names])
    rows = {stage: [] for stage in ("train", "val", "test")}
    random = np.random.default_rng(seed)
    for synset in np.unique(synsets):
        order = random.permutation(np.flatnonzero(synsets == synset))
        first, second = round(FRACTIONS[0] * len(order)), round(sum(FRACTIONS) * len(order))
        for stage, part in zip(rows, (order[:first], order[first:second], order[second:]), strict=True):
            rows[stage] += part.tolist()
    tables = {stage: table.rows(np.sort(np.array(part, dtype=np.int64))) for stage, part in rows.items()}
    return tables, dict(zip(names, boxes, strict=True))


def _sides(boxes) -> np.ndarray:
    """(n, 4), from a struct array with x1, x2, y1, y2, or from an array."""
    boxes = np.atleast_1d(boxes)
    if boxes.dtype == object:
        boxes = np.array([[float(getattr(b, side)) for side in ("x1", "x2", "y1", "y2")] for b in boxes.ravel()])
    return boxes.astype(float)
