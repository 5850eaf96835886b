"""A folder of meshes and captions (Objaverse-like), read with one reason for each file that does not serve."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from .textured_mesh import TexturedMesh, read_mesh

ENDINGS = (".glb", ".gltf", ".obj")


@dataclass(frozen=True)
class Asset:
    """One mesh of the folder: its uid, captions, file and licence (None where the folder does not say)."""

    uid: str
    captions: tuple[str, ...]
    path: Path
    license: str | None = None

    def mesh(self, radius: float = 0.9) -> TexturedMesh:
        """Centred and scaled."""
        return read_mesh(self.path).normalised(radius)


@dataclass(frozen=True)
class Rejected:
    """A uid that cannot serve, and why."""

    uid: str
    reason: str


class AssetFolder:
    """ROOT/captions.json ({uid: caption or list}) or captions.csv (uid,caption, no header), and uid.glb, .gltf or .obj
    anywhere below; licenses.json ({uid: licence}) and prompts.json ({"train", "val", "test"}) may be there too.

    Args:
        check: read every mesh now; what cannot be read is rejected with its reason instead of failing in training.
    Raises:
        FileNotFoundError: no such folder.
        ValueError: no captions, a malformed file (it is named), or nothing that serves.
    """

    def __init__(self, root: str | Path, check: bool = True):
        self.root = Path(root)
        if not self.root.is_dir():
            raise FileNotFoundError(
                f"{self.root}: no such folder; expected captions.json or captions.csv and meshes below it"
            )
        captions, licenses = read_captions(self.root), _read_json(self.root / "licenses.json", optional=True)
        files = {path.stem: path for path in sorted(self.root.rglob("*")) if path.suffix.lower() in ENDINGS}
        self.assets, self.rejected, self.open_meshes = [], [], 0
        for uid, texts in captions.items():
            reason = self._reason(uid, texts, files, check)
            if reason:
                self.rejected.append(Rejected(uid, reason))
            else:
                self.assets.append(Asset(uid, texts, files[uid], licenses.get(uid)))
        self.rejected += [Rejected(uid, f"{files[uid]} has no caption") for uid in files if uid not in captions]
        if not self.assets:
            reasons = "; ".join(f"{r.uid}: {r.reason}" for r in self.rejected[:3])
            raise ValueError(f"nothing in {self.root} serves ({len(self.rejected)} rejected: {reasons})")
        self.prompts = read_prompts(self.root / "prompts.json") if (self.root / "prompts.json").exists() else None
        if self.prompts:
            check_disjoint(self.prompts)

    def _reason(self, uid: str, texts: tuple[str, ...], files: Mapping[str, Path], check: bool) -> str | None:
        """Why an asset does not serve, None if it does."""
        if not texts or not all(text.strip() for text in texts):
            return "its caption is empty"
        if uid not in files:
            return f"there is no {uid}{' or '.join(ENDINGS)} below {self.root}"
        if check:
            try:
                mesh = read_mesh(files[uid])
            except ValueError as error:
                return str(error)
            self.open_meshes += not is_closed(mesh)
        return None

    def split(self, held_out: float, seed: int = 0) -> tuple[list[Asset], list[Asset]]:
        """Training and held-out assets, by uid.

        Raises:
            ValueError: a side would be empty.
        """
        count = round(held_out * len(self.assets))
        if not 0 < count < len(self.assets):
            raise ValueError(f"a held-out share of {held_out} leaves one side of {len(self.assets)} assets empty")
        order = torch.randperm(len(self.assets), generator=torch.Generator().manual_seed(seed)).tolist()
        return [self.assets[i] for i in sorted(order[count:])], [self.assets[i] for i in sorted(order[:count])]


def read_captions(root: Path) -> dict[str, tuple[str, ...]]:
    """uid -> captions, of captions.json or captions.csv (Cap3D's layout).

    Raises:
        ValueError: neither is there, or one is malformed; the file and the entry are named.
    """
    if (root / "captions.json").exists():
        content = _read_json(root / "captions.json")
        captions = {uid: [text] if isinstance(text, str) else text or [] for uid, text in content.items()}
        for uid, texts in captions.items():
            if not isinstance(texts, list) or not all(isinstance(text, str) for text in texts):
                raise ValueError(f"{root / 'captions.json'}: expected text or a list of texts for {uid}, got {texts!r}")
        return {uid: tuple(texts) for uid, texts in captions.items()}
    if not (root / "captions.csv").exists():
        raise ValueError(
            f"{root} has neither captions.json ({{uid: caption}}) nor captions.csv (uid,caption; no header)"
        )
    captions, path = {}, root / "captions.csv"
    try:
        rows = list(csv.reader(io.StringIO(path.read_text(encoding="utf-8"))))
    except (UnicodeDecodeError, csv.Error) as error:
        raise ValueError(f"{path} is no readable CSV: {error}") from error
    for number, row in enumerate(rows, 1):
        if len(row) != 2:
            raise ValueError(f"{path}:{number}: expected uid,caption, got {len(row)} fields")
        captions[row[0]] = (*captions.get(row[0], ()), row[1])
    return captions


def read_prompts(path: Path) -> dict[str, list[str]]:
    """Prompts of the splits train, val and test; texts, or entries whose first element is the text.

    Raises:
        ValueError: it is malformed, or a prompt is empty.
    """
    content = _read_json(path)
    splits = {}
    for split in ("train", "val", "test"):
        if not isinstance(content.get(split), list):
            raise ValueError(f'{path}: expected {{"train": [...], "val": [...], "test": [...]}}, {split} is no list')
        splits[split] = [entry[0] if isinstance(entry, list) and entry else entry for entry in content[split]]
        if not all(isinstance(text, str) and text.strip() for text in splits[split]):
            raise ValueError(f"{path}: an empty prompt in {split}, or what is no text")
    return splits


def check_disjoint(splits: Mapping[str, list[str]]) -> None:
    """No prompt of val or test may have been trained on.

    Raises:
        ValueError: one was; published libraries that repeat their training prompts are read by `read_prompts` alone.
    """
    for split in ("val", "test"):
        if shared := sorted(set(splits["train"]) & set(splits[split])):
            raise ValueError(f"{len(shared)} prompts are in train and {split}, the first is {shared[0]!r}")


def _read_json(path: Path, optional: bool = False) -> dict:
    if optional and not path.exists():
        return {}
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise ValueError(f"{path} is no readable JSON: {error}") from error
    if not isinstance(content, dict):
        raise ValueError(f"{path}: expected an object, got {type(content).__name__}")
    return content


def is_closed(mesh: TexturedMesh) -> bool:
    """Whether every edge has two faces, after vertices at one place are made one."""
    _, place = torch.unique(mesh.vertices, dim=0, return_inverse=True)
    faces = place[mesh.faces]
    edges = torch.cat([faces[:, [i, (i + 1) % 3]] for i in range(3)]).sort(1).values
    counts: Tensor = torch.unique(edges, dim=0, return_counts=True)[1]
    return bool((counts == 2).all())
