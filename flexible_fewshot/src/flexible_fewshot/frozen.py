"""Frozen episodes in a file, by the names of images, so that others compare on exactly the same ones."""

from __future__ import annotations

import gzip
import json
import zlib
from pathlib import Path

import numpy as np
import torch

from .attributes import ABSENT, PRESENT, AttributeTable
from .episodes import Episodes
from .results import whole

FORMAT = "flexible-fewshot episodes 1"


def write_episodes(path: str | Path, episodes: Episodes, table: AttributeTable) -> None:
    """JSON (gzipped where the name ends in .gz) of contexts, image names, and the places of images among these."""
    path = Path(path)
    used = np.unique(torch.cat([episodes.support.flatten(), episodes.query.flatten()]).numpy())
    where = np.full(len(table), -1)
    where[used] = np.arange(len(used))
    content = {
        "format": FORMAT,
        "shots": episodes.shots,
        "query_positives": int(episodes.query_y[0].sum()),
        "images": [table.images[i] for i in used],
        "episodes": [
            {"context": list(e.context), "support": where[e.support].tolist(), "query": where[e.query].tolist()}
            for e in (episodes[i] for i in range(len(episodes)))
        ],
    }
    text = json.dumps(content, separators=(",", ":")).encode()
    with whole(path) as temporary:
        temporary.write_bytes(gzip.compress(text, mtime=0) if path.suffix == ".gz" else text)


def read_episodes(path: str | Path, table: AttributeTable) -> Episodes:
    """The episodes of a file, as rows of a table that has their images, in whatever order.

    Raises:
        FileNotFoundError: no such file.
        ValueError: not such a file; an image or attribute that the table lacks; or labels that it contradicts.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"{path}: no such file of frozen episodes; `flexible-fewshot episodes` writes one")
    try:
        text = path.read_bytes()
        content = json.loads(gzip.decompress(text) if path.suffix == ".gz" else text)
        if content["format"] != FORMAT:
            raise ValueError(f"its format is {content['format']!r}")
        names, shots, positives = content["images"], int(content["shots"]), int(content["query_positives"])
        contexts = tuple(tuple(e["context"]) for e in content["episodes"])
        support, query = (np.array([e[k] for e in content["episodes"]], dtype=np.int64) for k in ("support", "query"))
        for what, rows, first in (("support", support, shots), ("query", query, positives)):
            if rows.ndim != 2 or not 0 < first < rows.shape[1]:
                raise ValueError(f"{what} must be {first} positives and some negatives an episode, got {rows.shape}")
            if rows.min() < 0 or rows.max() >= len(names):
                raise ValueError(f"{what} names image {rows.min()} to {rows.max()}, there are {len(names)}")
        if any(not isinstance(name, str) for group in (names, *contexts) for name in group):
            raise ValueError("images and contexts must be lists of names")
    except (ValueError, KeyError, TypeError, OverflowError, OSError, EOFError, zlib.error, RecursionError) as error:
        raise ValueError(f"{path}: not a file of frozen episodes ({error})") from error
    unknown = sorted({name for context in contexts for name in context} - set(table.attributes))
    if unknown:
        raise ValueError(f"{path}: {len(unknown)} attributes are not in the data, such as {unknown[0]!r}")
    position = {name: i for i, name in enumerate(table.images)}
    missing = [name for name in names if name not in position]
    if missing:
        raise ValueError(f"{path}: {len(missing)} images are not in the data, such as {missing[0]!r}")
    rows = np.array([position[name] for name in names])
    support_y, query_y = np.zeros_like(support), np.zeros_like(query)
    support_y[:, :shots], query_y[:, :positives] = 1, 1
    support, query = rows[support], rows[query]
    _check_labels(path, table, contexts, np.hstack([support, query]), np.hstack([support_y, query_y]))
    return Episodes(*(torch.from_numpy(a) for a in (support, query, support_y, query_y)), contexts)


def _check_labels(path: Path, table: AttributeTable, contexts: tuple, rows: np.ndarray, labels: np.ndarray) -> None:
    for i, context in enumerate(contexts):
        values = table.of(context)[rows[i]]
        positive, negative = (values == PRESENT).all(1), (values == ABSENT).any(1)
        wrong = np.where(labels[i] == 1, ~positive, ~negative)
        if wrong.any() or len(set(rows[i].tolist())) < len(rows[i]):
            name = table.images[rows[i][int(wrong.argmax())]]
            what = f"{name} is labelled otherwise in the data" if wrong.any() else "an image occurs twice"
            raise ValueError(f"{path}: episode {i} ({' and '.join(context)}): {what}")
