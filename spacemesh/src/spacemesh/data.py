"""DataModules: procedural families, a folder of meshes, and the layouts of ABC, ShapeNetCore.v2 and Thingi10K."""

from __future__ import annotations

import csv
import hashlib
from abc import abstractmethod
from collections import Counter
from collections.abc import Iterator, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from pytorch_lightning import LightningDataModule, Trainer
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, Sampler

from .batch import MeshBatch
from .clouds import surface_points
from .errors import NotRepresentable
from .families import FAMILIES, HELD_OUT, normalised, posed
from .files import read_polygons
from .halfedge import HalfedgeMesh
from .representable import make_representable
from .resuming import ResumingLoader

SPLITS = ("train", "val", "test")


class MeshList(Dataset):
    """Meshes with their numbers, and a cloud of so many points on each, always the same."""

    def __init__(self, meshes: Sequence[HalfedgeMesh], cloud_points: int):
        self.meshes, self.cloud_points = meshes, cloud_points
        self._clouds: dict[int, Tensor] = {}

    def __len__(self) -> int:
        return len(self.meshes)

    def __getitem__(self, index: int) -> tuple[HalfedgeMesh, int, Tensor]:
        if index not in self._clouds:
            generator = torch.Generator().manual_seed(index)
            points = self.cloud_points
            self._clouds[index] = surface_points(self.meshes[index], points, generator) if points else torch.zeros(0, 6)
        return self.meshes[index], index, self._clouds[index]


def collate(items: Sequence[tuple[HalfedgeMesh, int, Tensor]]) -> MeshBatch:
    """One batch of meshes, numbers and clouds."""
    return MeshBatch.of(*zip(*items, strict=True))


class EpochShuffle(Sampler):
    """A new order every epoch, from (seed, epoch): a run that was resumed sees the same."""

    def __init__(self, size: int, seed: int):
        self.size, self.seed, self.epoch = size, seed, 0

    def set_epoch(self, epoch: int) -> None:
        """Called by the trainer."""
        self.epoch = epoch

    def __len__(self) -> int:
        return self.size

    def __iter__(self) -> Iterator[int]:
        generator = torch.Generator().manual_seed(self.seed * 1_000_003 + self.epoch)
        return iter(torch.randperm(self.size, generator=generator).tolist())


class MeshData(LightningDataModule):
    """What all sources share; abstract: `meshes_of` gives a split.

    Args:
        batch_size: meshes. seed: of the order. workers: of the loaders. cloud_points: on each mesh, 0 for none.
    Raises:
        ValueError: a batch size below 1, or a negative number of points.
    """

    def __init__(self, batch_size: int = 16, seed: int = 0, workers: int = 0, cloud_points: int = 0):
        super().__init__()
        if batch_size < 1 or cloud_points < 0:
            raise ValueError(f"batch_size must be at least 1 and cloud_points 0, got {batch_size} and {cloud_points}")
        self.batch_size, self.seed, self.workers, self.cloud_points = batch_size, seed, workers, cloud_points
        self._splits: dict[str, list[HalfedgeMesh]] = {}

    @abstractmethod
    def meshes_of(self, split: str) -> list[HalfedgeMesh]:
        """The meshes of `train`, `val` or `test`, read or made anew."""

    def meshes(self, split: str) -> list[HalfedgeMesh]:
        """The same, kept.

        Raises:
            ValueError: an unknown split, or an empty one.
        """
        if split not in SPLITS:
            raise ValueError(f"unknown split {split!r}, choose from {', '.join(SPLITS)}")
        if split not in self._splits:
            self._splits[split] = self.meshes_of(split)
            if not self._splits[split]:
                raise ValueError(f"{type(self).__name__}: the split {split!r} has no meshes")
        return self._splits[split]

    def setup(self, stage: str) -> None:
        for split in {"fit": ("train", "val"), "validate": ("val",)}.get(stage, ("test",)):
            self.meshes(split)

    def train_dataloader(self) -> DataLoader:
        return self._loader("train", EpochShuffle(len(self.meshes("train")), self.seed), self.trainer)

    def val_dataloader(self) -> DataLoader:
        return self._loader("val", None)

    def test_dataloader(self) -> DataLoader:
        return self._loader("test", None)

    def predict_dataloader(self) -> DataLoader:
        return self._loader("test", None)

    def _loader(self, split: str, sampler: Sampler | None, trainer: Trainer | None = None) -> DataLoader:
        return ResumingLoader(
            MeshList(self.meshes(split), self.cloud_points),
            trainer,
            batch_size=self.batch_size,
            sampler=sampler,
            collate_fn=collate,
            num_workers=self.workers,
        )


class ProceduralMeshes(MeshData):
    """Families of `families.py`, in equal parts, each mesh from a seed of its own; the splits' seeds are disjoint.

    Args:
        families: names, of FAMILIES or HELD_OUT.
        train, val, test: meshes in each split.
        jitter: of the positions, as a share of the size.
        loading: see `MeshData`; the seed decides the meshes too.
    Raises:
        ValueError: an unknown family, or a negative number.
    """

    def __init__(
        self,
        families: Sequence[str] = tuple(FAMILIES),
        train: int = 2000,
        val: int = 64,
        test: int = 200,
        jitter: float = 0.01,
        **loading: Any,
    ):
        super().__init__(**loading)
        known = FAMILIES | HELD_OUT
        if unknown := [name for name in families if name not in known]:
            raise ValueError(f"unknown family {unknown[0]!r}, choose from {', '.join(known)}")
        if min(train, val, test) < 0 or jitter < 0:
            raise ValueError(f"train, val, test and jitter must be at least 0, got {train}, {val}, {test}, {jitter}")
        self.families, self.jitter = list(families), jitter
        self.counts = dict(zip(SPLITS, (train, val, test), strict=True))

    def seeds_of(self, split: str) -> range:
        """The seeds of a split's meshes."""
        start = 10_000_000 * SPLITS.index(split) + 40_000_000 * self.seed
        return range(start, start + self.counts[split])

    def family_of(self, number: int) -> str:
        """Which family the mesh of that number is of."""
        return self.families[number % len(self.families)]

    def meshes_of(self, split: str) -> list[HalfedgeMesh]:
        made = []
        for number, seed in enumerate(self.seeds_of(split)):
            generator = torch.Generator().manual_seed(seed)
            draw = (FAMILIES | HELD_OUT)[self.family_of(number)]
            made.append(posed(draw(generator), generator, self.jitter))
        return made


class MeshFolder(MeshData):
    """All mesh files below a folder; what no rotation system describes is refused, counted and named.

    Args:
        data_dir: holds `train`, `val` and `test` folders, or files that are split by a hash of their names, 90/5/5.
        mend: make refused meshes representable (`make_representable`) where that is possible.
        most_vertices: larger meshes are refused.
        limit: files of a split, the first by name; 0: all.
        loading: see `MeshData`.
    """

    pattern = "*"
    kinds = (".obj", ".ply", ".off", ".stl", ".glb", ".npz")

    def __init__(
        self,
        data_dir: str,
        mend: bool = False,
        most_vertices: int = 2048,
        limit: int = 0,
        **loading: Any,
    ):
        super().__init__(**loading)
        self.data_dir, self.mend, self.most_vertices, self.limit = data_dir, mend, most_vertices, limit
        self.refused: dict[str, Counter] = {}

    def paths(self, split: str) -> list[Path]:
        """The files of a split.

        Raises:
            FileNotFoundError: no folder, no mesh in it, or a split without its folder where another has one.
        """
        root = Path(self.data_dir)
        if not root.is_dir():
            raise FileNotFoundError(f"{root}: no such folder; {self.where_from()}")
        own = root / split
        if not own.is_dir() and (others := [name for name in SPLITS if (root / name).is_dir()]):
            raise FileNotFoundError(f"{own}: no such folder, though there is {root / others[0]}")
        found = sorted(p for p in (own if own.is_dir() else root).rglob(self.pattern) if p.suffix.lower() in self.kinds)
        if not found:
            raise FileNotFoundError(f"{root}: no {', '.join(self.kinds)} below it; {self.where_from()}")
        return found if own.is_dir() else [p for p in found if self.split_of(p) == split]

    def split_of(self, path: Path) -> str:
        """By a hash of its identity, so that a file stays where it is when others come."""
        share = int(hashlib.sha256(self.identity(path).encode()).hexdigest()[:8], 16) / 16**8
        return "train" if share < 0.9 else "val" if share < 0.95 else "test"

    def identity(self, path: Path) -> str:
        """What tells a model from another; its files share it."""
        return path.stem

    def where_from(self) -> str:
        """How to get the data."""
        return "give the folder of your meshes"

    def meshes_of(self, split: str) -> list[HalfedgeMesh]:
        refused = self.refused[split] = Counter()
        found = []
        paths = self.paths(split)
        for path in paths[: self.limit or None]:
            try:
                found.append(self.read(path))
            except NotRepresentable as error:
                refused[error.fault] += 1
            except ValueError:
                refused["unreadable"] += 1
        if refused:
            reasons = ", ".join(f"{count} {fault}" for fault, count in refused.most_common())
            print(f"{self.data_dir} {split}: {len(found)} meshes, {refused.total()} refused ({reasons})")
        return found

    def read(self, path: Path) -> HalfedgeMesh:
        """One mesh, centred and scaled.

        Raises:
            NotRepresentable: no rotation system describes it, or it is too large. ValueError: no mesh file.
        """
        vertices, faces = read_polygons(path)
        if len(vertices) > self.most_vertices:
            raise NotRepresentable("large", f"{len(vertices)} vertices, at most {self.most_vertices} are taken")
        if self.mend:
            mesh = make_representable(vertices.float(), faces).mesh
        else:
            mesh = HalfedgeMesh.from_polygons(vertices.float(), faces)
        return HalfedgeMesh(normalised(mesh.vertices), mesh.tail, mesh.head, mesh.next, mesh.is_hole)


class ABC(MeshFolder):
    """The ABC dataset's OBJ chunks, `abc_0000_obj_v00/00000050/00000050_HASH_trimesh_000.obj`, split by a model's
    number.

    The models' rights stay with their authors on Onshape.
    """

    pattern = "*_trimesh_*.obj"

    def identity(self, path: Path) -> str:
        return path.parent.name

    def where_from(self) -> str:
        return "unpack chunks such as abc_0000_obj_v00.7z from the ABC dataset's page below it"


class ShapeNetCore(MeshFolder):
    """ShapeNetCore.v2, `SYNSET/MODEL/models/model_normalized.obj`, with its split file `all.csv` if it lies beside.

    The set is gated and for research only. Its models are mostly triangle soups: expect many refusals, or set `mend`.
    """

    pattern = "model_normalized.obj"

    def identity(self, path: Path) -> str:
        return f"{path.parts[-4]}/{path.parts[-3]}"

    def split_of(self, path: Path) -> str:
        listed = self.listed_splits
        return listed.get(self.identity(path), "none") if listed else super().split_of(path)

    @cached_property
    def listed_splits(self) -> dict[str, str]:
        """Model to split, from all.csv, read once; empty without it.

        Raises:
            ValueError: columns are missing, or it is no table.
        """
        path = Path(self.data_dir) / "all.csv"
        if not path.is_file():
            return {}
        try:
            with path.open(newline="", encoding="utf-8") as file:
                reader = csv.DictReader(file)
                columns, rows = set(reader.fieldnames or ()), list(reader)
        except (UnicodeDecodeError, csv.Error) as error:
            raise ValueError(f"{path}: expected a table of comma-separated values in UTF-8 ({error})") from error
        if missing := {"synsetId", "modelId", "split"} - columns:
            raise ValueError(f"{path}: no column {', '.join(sorted(missing))}")
        return {f"{row['synsetId']}/{row['modelId']}": row["split"] for row in rows}

    def where_from(self) -> str:
        return "ShapeNetCore.v2 is given out by shapenet.org after registration"


class Thingi10K(MeshFolder):
    """Thingi10K's raw meshes or npz files, `ID.stl` or `ID.npz`; those known to be corrupt are left out.

    Each model has a licence of its own.
    """

    corrupt = frozenset({"49911", "74463", "286163", "81313", "77942"})

    def paths(self, split: str) -> list[Path]:
        return [path for path in super().paths(split) if path.stem not in self.corrupt]

    def where_from(self) -> str:
        return "the package thingi10k downloads the set; point data_dir to its folder of npz or raw files"
