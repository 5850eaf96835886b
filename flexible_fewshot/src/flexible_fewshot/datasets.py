"""Pools from files: the three data sets of the paper, Omniglot, scikit-learn's digits, and anybody's own folder."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from .attributes import AttributeTable
from .celeba import read_celeba
from .data import AttributeDataset, FFSLDataModule
from .digits import digits_pools
from .image_folder import read_attribute_csv
from .imagenet_attributes import read_imagenet_attributes
from .omniglot import read_omniglot
from .pictures import read_pictures
from .zappos import match_columns, read_zappos


class DigitsData(FFSLDataModule):
    """scikit-learn's 1,797 digits with attributes of the digit and of its shape.

    Args:
        split: name or file of an attribute split.
        size: images are scaled to size x size.
        kwargs: see `FFSLDataModule`.
    """

    def __init__(self, split: str = "digits", size: int = 32, **kwargs):
        super().__init__(split=split, **kwargs)
        self.size = size

    def load(self, stage: str) -> AttributeDataset:
        return AttributeDataset(*digits_pools(self.size, self.seed)[stage])


class OmniglotData(FFSLDataModule):
    """Drawn characters with attributes of their pen strokes.

    Args:
        data_dir: holds images_background_small1 and strokes_background_small1, zip files or folders.
        split: name or file of an attribute split.
        size: images are scaled to size x size.
        part: of the official files.
        kwargs: see `FFSLDataModule`.
    """

    def __init__(
        self, data_dir: str, split: str = "omniglot", size: int = 32, part: str = "background_small1", **kwargs
    ):
        super().__init__(split=split, **kwargs)
        self.data_dir, self.size, self.part = data_dir, size, part
        self._all: dict | None = None

    def load(self, stage: str) -> AttributeDataset:
        if self._all is None:
            self._all = read_omniglot(self.data_dir, self.size, self.seed, self.part)
        return AttributeDataset(*self._all[stage])


class TabledData(FFSLDataModule):
    """Pools whose tables are read without touching a picture, so that label-only results are quick.

    Args:
        data_dir: folder in the official layout.
        split: name or file of an attribute split.
        size: images are cropped and scaled to size x size.
        kwargs: see `FFSLDataModule`.
    """

    def __init__(self, data_dir: str, split: str, size: int = 84, **kwargs):
        super().__init__(split=split, **kwargs)
        self.data_dir, self.size = data_dir, size
        self._tables: dict[str, AttributeTable] | None = None

    def read_tables(self) -> dict[str, AttributeTable]:
        """By stage."""
        raise NotImplementedError(f"{type(self).__name__} has no tables")

    def files(self, table: AttributeTable) -> list[Path]:
        """Of a table's images, in their order."""
        raise NotImplementedError(f"{type(self).__name__} has no files")

    def load_table(self, stage: str) -> AttributeTable:
        if self._tables is None:
            self._tables = self.read_tables()
        return self._tables[stage]

    def load(self, stage: str) -> AttributeDataset:
        table = self.load_table(stage)
        return AttributeDataset(read_pictures(self.files(table), self.size, title=f"{stage} pictures"), table)


class CelebAAttributes(TabledData):
    """CelebA: img_align_celeba/*.jpg, list_attr_celeba.txt, list_eval_partition.txt, identity_CelebA.txt; centre crop.

    Args:
        data_dir: folder in the official layout.
        split: name or file of an attribute split.
        size: images are cropped to the centre square and scaled to size x size.
        kwargs: see `FFSLDataModule`.
    """

    def __init__(self, data_dir: str, split: str = "celeba", size: int = 84, **kwargs):
        super().__init__(data_dir, split, size, **kwargs)

    def read_tables(self) -> dict[str, AttributeTable]:
        return read_celeba(self.data_dir)

    def files(self, table: AttributeTable) -> list[Path]:
        return [Path(self.data_dir) / "img_align_celeba" / name for name in table.images]


class Zappos50KAttributes(TabledData):
    """UT-Zappos50K: ut-zap50k-images-square (or ut-zap50k-images) and ut-zap50k-data; products are split 80/10/10.

    Args:
        data_dir: folder in the official layout.
        split: name or file of an attribute split; its names match columns up to case, dots, dashes and underscores.
        size: images are scaled to size x size.
        kwargs: see `FFSLDataModule`.
    """

    def __init__(self, data_dir: str, split: str = "zappos50k", size: int = 84, **kwargs):
        super().__init__(data_dir, split, size, **kwargs)

    def read_tables(self) -> dict[str, AttributeTable]:
        tables = read_zappos(self.data_dir, self.seed)
        wanted = tuple(dict.fromkeys([*self.split.train, *self.split.val, *self.split.test]))
        column = match_columns(wanted, tables["train"].attributes)
        return {
            stage: AttributeTable(table.images, wanted, table.of([column[name] for name in wanted]))
            for stage, table in tables.items()
        }

    def files(self, table: AttributeTable) -> list[Path]:
        folder = Path(self.data_dir) / "ut-zap50k-images-square"
        if not folder.is_dir():
            folder = Path(self.data_dir) / "ut-zap50k-images"
        return [folder / name for name in table.images]


class ImageNetAttributes(TabledData):
    """ImageNet-with-Attributes: attrann.mat, and images/SYNSET/NAME.JPEG; pictures are cropped to their boxes.

    Args:
        data_dir: holds attrann.mat and images/.
        split: name or file of an attribute split.
        size: boxes are scaled to size x size.
        kwargs: see `FFSLDataModule`.
    """

    def __init__(self, data_dir: str, split: str = "imagenet", size: int = 224, **kwargs):
        super().__init__(data_dir, split, size, **kwargs)
        self._boxes: dict[str, np.ndarray] = {}

    def read_tables(self) -> dict[str, AttributeTable]:
        tables, self._boxes = read_imagenet_attributes(Path(self.data_dir) / "attrann.mat", self.seed)
        return tables

    def files(self, table: AttributeTable) -> list[Path]:
        return [Path(self.data_dir) / "images" / name.partition("_")[0] / f"{name}.JPEG" for name in table.images]

    def load(self, stage: str) -> AttributeDataset:
        table = self.load_table(stage)

        def box(i: int, width: int, height: int) -> tuple[int, int, int, int]:
            x1, x2, y1, y2 = self._boxes[table.images[i]]
            left, upper = int(x1 * width), int(y1 * height)
            return left, upper, max(int(x2 * width), left + 1), max(int(y2 * height), upper + 1)

        return AttributeDataset(read_pictures(self.files(table), self.size, box, f"{stage} pictures"), table)


class FolderData(TabledData):
    """Anybody's own pictures: a folder, and a CSV file `image,split,ATTRIBUTE,...` (see `image_folder`).

    Args:
        data_dir: folder of pictures; the CSV file's `image` is relative to it.
        table_file: the CSV file.
        split: file of an attribute split, or the name of a packaged one.
        size: images are cropped to the centre square and scaled to size x size.
        kwargs: see `FFSLDataModule`.
    """

    def __init__(self, data_dir: str, table_file: str, split: str, size: int = 84, **kwargs):
        super().__init__(data_dir, split, size, **kwargs)
        self.table_file = table_file

    def read_tables(self) -> dict[str, AttributeTable]:
        return read_attribute_csv(self.table_file)

    def files(self, table: AttributeTable) -> list[Path]:
        return [Path(self.data_dir) / name for name in table.images]
