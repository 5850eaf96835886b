"""Omniglot as tasks: few-shot classification of handwritten characters, judged by the same numbers as the sinusoids."""

from __future__ import annotations

import io
import zipfile
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from .data import MetaData

SIDE, DRAWINGS = 105, 20  # of the official images
SOURCE = "github.com/brendenlake/omniglot (python folder)"


def read_omniglot(data_dir: str, name: str) -> tuple[Tensor, list[str]]:
    """All drawings of a set in the official layout, `NAME/ALPHABET/characterNN/NNNN_DD.png`, from NAME.zip or a folder.

    Args:
        data_dir: holds NAME.zip or the folder NAME.
        name: such as `images_background_small1`.
    Returns:
        Ink in [0, 1], (characters, 20, 105, 105) uint8 zeros and ones, and `ALPHABET/characterNN` of each.
    Raises:
        FileNotFoundError: neither is there.
        ValueError: not a zip file, an image of another size, or a character without its 20 drawings.
    """
    folder, archive = Path(data_dir) / name, Path(data_dir) / f"{name}.zip"
    if folder.is_dir():
        files = {p.relative_to(folder).as_posix(): p.read_bytes() for p in sorted(folder.rglob("*.png"))}
        where = str(folder)
    elif archive.is_file():
        files, where = _read_zip(archive, name), str(archive)
    else:
        raise FileNotFoundError(f"{archive}: no such file, nor the folder {name}; get it from {SOURCE}")
    drawings: dict[str, list[np.ndarray]] = {}
    for path in sorted(files):
        character = path.rpartition("/")[0]
        drawings.setdefault(character, []).append(_ink(files[path], f"{where}: {path}"))
    if not drawings:
        raise ValueError(f"{where}: holds no ALPHABET/characterNN/NNNN_DD.png; get it from {SOURCE}")
    for character, images in drawings.items():
        if len(images) != DRAWINGS:
            raise ValueError(f"{where}: {character} should have {DRAWINGS} drawings, got {len(images)}")
    return torch.from_numpy(np.stack([np.stack(images) for images in drawings.values()])), list(drawings)


def alphabet(character: str) -> str:
    """`ALPHABET` of `ALPHABET/characterNN`."""
    return character.partition("/")[0]


def _read_zip(archive: Path, name: str) -> dict[str, bytes]:
    try:
        with zipfile.ZipFile(archive) as opened:
            members = [m for m in opened.namelist() if m.startswith(f"{name}/") and m.endswith(".png")]
            return {m.removeprefix(f"{name}/"): opened.read(m) for m in members}
    except Exception as error:  # a damaged archive raises many kinds, by its kind of compression
        raise ValueError(f"{archive}: not a readable zip file; get it again from {SOURCE}") from error


def _ink(content: bytes, where: str) -> np.ndarray:
    """1 where the pen was; the files are black on white."""
    try:
        with Image.open(io.BytesIO(content)) as image:
            pixels = np.asarray(image.convert("L"))
    except Exception as error:  # Pillow's decoders raise many kinds
        raise ValueError(f"{where}: not a readable PNG image") from error
    if pixels.shape != (SIDE, SIDE):
        raise ValueError(f"{where}: expected {SIDE} x {SIDE} pixels, got {pixels.shape}")
    return (pixels < 128).astype(np.uint8)


class OmniglotData(MetaData):
    """Tasks of `ways` random characters; M such tasks from one set of alphabets, novel ones from other alphabets.

    Args:
        data_dir: holds the official zip files or folders.
        tasks, samples, shots, seeds, novel_tasks, steps_per_epoch: see `MetaData`; samples and shots are drawings of
            each character, of which there are 20.
        ways: characters in a task.
        train_set, novel_set: names of official sets; alphabets of the first are left out of the second.
        side: images are averaged down to side x side pixels.
        queries: drawings of each novel character to be judged by.
    Raises:
        ValueError: more drawings asked for than a character has, or fewer than 2 ways.
    """

    loss = "cross_entropy"

    def __init__(
        self,
        data_dir: str,
        tasks: list[int],
        samples: int = 20,
        shots: list[int] = [1, 5],  # noqa: B006 jsonargparse reads defaults
        seeds: list[int] = [0],  # noqa: B006
        novel_tasks: int = 100,
        steps_per_epoch: int = 1000,
        ways: int = 5,
        train_set: str = "images_background_small1",
        novel_set: str = "images_background_small2",
        side: int = 15,
        queries: int = 5,
    ):
        super().__init__(tasks, samples, shots, [0.0], seeds, novel_tasks, steps_per_epoch)
        if samples > DRAWINGS or max(shots) + queries > DRAWINGS or queries < 1 or ways < 2 or side < 1:
            raise ValueError(
                f"a character has {DRAWINGS} drawings, for samples, and for shots and queries together; ways is at "
                f"least 2; got samples {samples}, shots {max(shots)}, queries {queries}, ways {ways}, side {side}"
            )
        self.data_dir, self.ways, self.side, self.queries = data_dir, ways, side, queries
        self.train_set, self.novel_set = train_set, novel_set
        self._images: tuple[Tensor, Tensor] | None = None

    @property
    def inputs(self) -> int:
        return self.side**2

    @property
    def outputs(self) -> int:
        return self.ways

    def setup(self, stage: str) -> None:
        self.images()

    def images(self) -> tuple[Tensor, Tensor]:
        """Ink of the training characters and of the novel ones, averaged and centred; (characters, 20, side²) each.

        The official small sets share two alphabets (Greek, Latin): what is trained on is left out of the novel ones.

        Raises:
            ValueError: fewer characters than ways; and as `read_omniglot`.
        """
        if self._images is None:
            train, names = read_omniglot(self.data_dir, self.train_set)
            novel, novel_names = read_omniglot(self.data_dir, self.novel_set)
            seen = {alphabet(name) for name in names}
            novel = novel[torch.tensor([alphabet(name) not in seen for name in novel_names])]
            for name, ink in ((self.train_set, train), (self.novel_set, novel)):
                if len(ink) < self.ways:
                    raise ValueError(f"{name} has {len(ink)} characters to use, fewer than ways = {self.ways}")
            small = [
                torch.nn.functional.adaptive_avg_pool2d(ink.float(), self.side).flatten(2) for ink in (train, novel)
            ]
            centre, spread = small[0].mean(), small[0].std()
            self._images = tuple((ink - centre) / spread for ink in small)
        return self._images

    def training_tasks(self, seed: int, count: int) -> tuple[Tensor, Tensor]:
        images, tasks = self.images()[0], []
        for task in range(count):  # a generator each, so that more tasks only add
            tasks.append(self._draw(images, self.samples, torch.Generator().manual_seed(1_000_003 * seed + task)))
        x = torch.stack(tasks)
        labels = torch.eye(self.ways)[:, None].expand(-1, self.samples, -1)
        return x, labels.expand(count, -1, -1, -1)

    def trial(self, shots: int, noise: float, seed: int) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        _, images = self.images()
        generator = torch.Generator().manual_seed(1_000_003 * seed + 999_999)
        drawn = [self._draw(images, DRAWINGS, generator) for _ in range(self.novel_tasks)]
        x = torch.stack(drawn)  # (T, ways, 20, inputs)
        y = torch.eye(self.ways)[:, None].expand(self.novel_tasks, -1, DRAWINGS, -1)
        parts = (x[:, :, :shots], y[:, :, :shots], x[:, :, -self.queries :], y[:, :, -self.queries :])
        return tuple(part.flatten(1, 2) for part in parts)

    def _draw(self, images: Tensor, count: int, generator: torch.Generator) -> Tensor:
        """Random drawings of random characters, (ways, count, inputs)."""
        characters = torch.randperm(len(images), generator=generator)[: self.ways]
        order = torch.rand(self.ways, DRAWINGS, generator=generator).argsort(1)[:, :count]
        return images[characters[:, None], order]
