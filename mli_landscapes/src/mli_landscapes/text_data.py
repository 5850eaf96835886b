"""Windows of text and the words that follow them."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable
from functools import cached_property

import numpy as np
import torch
from pytorch_lightning import LightningDataModule
from torch import Tensor
from torch.utils.data import DataLoader

from .loading import Batch, check_loading, fixed_batches, fixed_loader, shuffled_loader
from .wikitext import Text, read_wikitext


class LanguageData(LightningDataModule):
    """Windows of text and the words that follow; abstract.

    A text is cut into consecutive windows of T words; the last incomplete one is dropped. Every window is an example of
    its own: no state is carried from one to the next, so that their order is free.

    Args:
        window: T, words that one example predicts.
        batch_size: windows in a training batch (of each process).
        seed: the order of windows in epoch e depends on (seed, e) alone.
    Raises:
        ValueError: a setting out of its range; later, on loading, a text shorter than a window.
    """

    def __init__(self, window: int = 35, batch_size: int = 20, seed: int = 0):
        super().__init__()
        check_loading(batch_size, seed)
        if window < 1:
            raise ValueError(f"window must be >= 1, got {window}")
        self.window, self.batch_size, self.seed = window, batch_size, seed

    @abstractmethod
    def load(self) -> Text:
        """Numbered words."""

    @cached_property
    def text(self) -> Text:
        """The text, checked.

        Raises:
            ValueError: the text is shorter than a window and one word.
        """
        text = self.load()
        for name, words in (("train", text.train), ("valid", text.valid), ("test", text.test)):
            if len(words) <= self.window:
                raise ValueError(
                    f"{type(self).__name__}: a window of {self.window} needs one word more, {name} has {len(words)}"
                )
        return text

    @cached_property
    def training(self) -> Tensor:
        """Windows to train on and the word that follows each, shape (N, T + 1)."""
        return windows_of(self.text.train, self.window)

    @cached_property
    def validation(self) -> Tensor:
        """Held-out windows, alike."""
        return windows_of(self.text.valid, self.window)

    @cached_property
    def testing(self) -> Tensor:
        """Windows to test on, alike."""
        return windows_of(self.text.test, self.window)

    @property
    def vocabulary(self) -> int:
        """How many different words; loads the text on first use."""
        return self.text.vocabulary

    @property
    def sizes(self) -> list[int]:
        """What a network must know of the data: the vocabulary."""
        return [self.vocabulary]

    def setup(self, stage: str) -> None:
        self.text  # noqa: B018 - errors come before training

    def training_batches(self, rows: int | None = None, batch_size: int = 1000) -> list[Batch]:
        """The training windows in fixed order: words (B, T) and the next words (B, T), int64.

        Args:
            rows: only the first so many windows; None: all.
            batch_size: windows in every batch but the last.
        Raises:
            ValueError: one of the arguments is below 1.
        """
        return fixed_batches(len(self.training), rows, batch_size, rows_of(self.training))

    def held_out_batches(self, rows: int | None = None, batch_size: int = 1000) -> list[Batch]:
        """The validation windows alike."""
        return fixed_batches(len(self.validation), rows, batch_size, rows_of(self.validation))

    def train_dataloader(self) -> DataLoader[Batch]:
        rows = rows_of(self.training)
        return shuffled_loader(self, len(self.training), lambda indices, _epoch: rows(indices))

    def val_dataloader(self) -> DataLoader[Batch]:
        return fixed_loader(len(self.validation), self.batch_size, rows_of(self.validation))

    def test_dataloader(self) -> DataLoader[Batch]:
        return fixed_loader(len(self.testing), self.batch_size, rows_of(self.testing))

    def predict_dataloader(self) -> DataLoader[Batch]:
        return self.test_dataloader()


def windows_of(words: np.ndarray, window: int) -> Tensor:
    """Consecutive windows of T words with the next one: (n,) -> ((n - 1) // T, T + 1); a view."""
    return torch.as_tensor(words).unfold(0, window + 1, window)


def rows_of(windows: Tensor) -> Callable[[Tensor], Batch]:
    """From indices (B,) of windows (N, T + 1) to words and next words, both (B, T)."""
    return lambda indices: (windows[indices, :-1], windows[indices, 1:])


class WikiTextData(LanguageData):
    """WikiText-2, or any text in `train.txt`, `valid.txt`, `test.txt`.

    Args:
        data_dir: holds these files, or `wiki.train.tokens` and so on.
        window, batch_size, seed: see `LanguageData`; the paper takes 35 and 20.
    """

    def __init__(self, data_dir: str, window: int = 35, batch_size: int = 20, seed: int = 0):
        super().__init__(window, batch_size, seed)
        self.data_dir = data_dir

    def load(self) -> Text:
        return read_wikitext(self.data_dir)


class MarkovText(LanguageData):
    """Text from a random sparse Markov chain: after each word come at most 5 others; no download.

    Args:
        vocabulary: how many words.
        tokens: length of the training text; validation and test have a tenth each, from the same chain.
        window, batch_size, seed: see `LanguageData`.
        sample_seed: chain and text.
    Raises:
        ValueError: fewer than 2 words.
    """

    SUCCESSORS = 5

    def __init__(
        self,
        vocabulary: int = 50,
        tokens: int = 20000,
        window: int = 35,
        batch_size: int = 20,
        seed: int = 0,
        sample_seed: int = 0,
    ):
        super().__init__(window, batch_size, seed)
        if vocabulary < 2:
            raise ValueError(f"vocabulary must be >= 2, got {vocabulary}")
        self.words, self.tokens, self.sample_seed = vocabulary, tokens, sample_seed

    def load(self) -> Text:
        random = np.random.default_rng(self.sample_seed)
        following = random.integers(self.words, size=(self.words, self.SUCCESSORS))
        chances = random.dirichlet(np.ones(self.SUCCESSORS), size=self.words)
        lengths = (self.tokens, self.tokens // 10, self.tokens // 10)
        return Text(*(markov_walk(following, chances, length, random) for length in lengths), self.words)


def markov_walk(following: np.ndarray, chances: np.ndarray, length: int, random: np.random.Generator) -> np.ndarray:
    """A walk of `length` words from word 0: after word w comes following[w, j] with probability chances[w, j].

    Both are (V, J); returns (length,), int64.
    """
    thresholds = chances.cumsum(1)[:, :-1]
    walk, word = np.zeros(length, np.int64), 0
    for step, uniform in enumerate(random.random(length)):
        word = following[word, np.searchsorted(thresholds[word], uniform)]
        walk[step] = word
    return walk
