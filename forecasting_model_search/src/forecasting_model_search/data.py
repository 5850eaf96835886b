"""Hubs as Lightning data: rows of an observed part to learn from, and other configurations to rank."""

from __future__ import annotations

from collections.abc import Iterator
from functools import lru_cache
from typing import Any

import torch
from pytorch_lightning import LightningDataModule
from torch import Tensor
from torch.utils.data import DataLoader, Sampler

from .curve_hubs import LCBENCH_METRIC, read_lcbench, read_taskset
from .digits import ARCHITECTURES, HubSettings, ZooSettings, digits_hub
from .forecast import ForecastSettings, ShuffledStore, points_of, split_observed
from .hub import ModelHub
from .official_hub import SCORE, read_pretrained_hub, read_simple_hub
from .resuming import ResumingLoader
from .rows import RowBuilder, ToldCheckpoints, scores_of
from .small_cnn_zoo import small_cnn

cached_digits_hub = lru_cache(maxsize=2)(digits_hub)


class RowOrder(Sampler):
    """All rows in an order that depends on (seed, epoch) alone, so that a resumed fit sees what it would have seen."""

    def __init__(self, count: int, seed: int):
        self.count, self.seed, self.epoch = count, seed, 0

    def set_epoch(self, epoch: int) -> None:
        self.epoch = epoch

    def __len__(self) -> int:
        return self.count

    def __iter__(self) -> Iterator[int]:
        generator = torch.Generator().manual_seed(self.seed * 100_003 + self.epoch)
        return iter(torch.randperm(self.count, generator=generator).tolist())


class HubDataModule(LightningDataModule):
    """A hub, an observed part of it, and the others.

    Args:
        observed: configurations that are learned from. budgets: each was trained for 1 to so many epochs.
        states: epochs after which the others are ranked. rows: of a step. seed: of what is observed, and of the order.
        weights: offer checkpoints; without them only the encoder 'none' can be trained. multi_horizon: rows from any
            earlier state. control: '' or 'shuffled' (every configuration is shown the checkpoints of another), or
            'start id' (a column for each checkpoint to start from).
    Raises:
        ValueError: an unknown control, or sizes out of range; at `setup`, a hub that is too small for them.
    """

    repeats = "seeds"  # what differs from one record of a study to the next: the searches' seeds on one hub

    def __init__(
        self,
        observed: int = 60,
        budgets: int = 5,
        states: tuple[int, ...] = (0, 1, 3),
        rows: int = 64,
        seed: int = 0,
        weights: bool = True,
        multi_horizon: bool = False,
        control: str = "",
    ):
        super().__init__()
        if control not in ("", "shuffled", "start id"):
            raise ValueError(f"unknown control {control!r}, choose 'shuffled' or 'start id', or leave it out")
        if observed < 2 or rows < 1 or budgets < 1:
            raise ValueError(f"expected observed >= 2, rows and budgets >= 1, got {observed}, {rows}, {budgets}")
        self.settings = ForecastSettings(observed, budgets, tuple(states))
        self.rows, self.seed, self.weights = rows, seed, weights
        self.multi_horizon, self.control = multi_horizon, control
        self.hub: ModelHub | None = None

    def load(self) -> ModelHub:
        """The hub, from wherever it is."""
        raise NotImplementedError

    def setup(self, stage: str | None = None) -> None:
        if self.hub is not None:
            return
        hub = self.load()
        if self.settings.observed >= len(hub):
            raise ValueError(
                f"{hub.name} has {len(hub)} configurations, {self.settings.observed} cannot be observed and others left"
            )
        if max(self.settings.states) >= hub.epochs:
            raise ValueError(
                f"{hub.name} has {hub.epochs} epochs, states {self.settings.states} leave nothing to forecast"
            )
        if self.settings.budgets > hub.epochs:
            raise ValueError(f"{hub.name} has {hub.epochs} epochs, none can be observed for {self.settings.budgets}")
        if self.weights and hub.checkpoints is None:
            raise ValueError(f"{hub.name} has curves alone: set weights to false and the encoder to none")
        self.hub = hub
        self.history, self.others = split_observed(hub, self.settings, self.seed)
        self.points = points_of(hub, self.control == "start id")
        self.store = hub.checkpoints
        if self.control == "shuffled":
            self.store = ShuffledStore(hub.checkpoints, len(hub), self.seed)
        self.known_rows = self.history.rows(None if self.multi_horizon else (1,))
        self.inputs = self.builder(self.history).inputs(self.history, self.known_rows)
        self.scores = scores_of(self.known_rows)

    def builder(self, history) -> RowBuilder:
        """Inputs of rows of a history, which opens no checkpoint beyond it."""
        store = ToldCheckpoints(self.store, history) if self.weights else None
        return RowBuilder(self.points, self.hub.epochs, store, self.multi_horizon)

    @property
    def graphs(self) -> list:
        return list(self.hub.checkpoints.graphs.values()) if self.hub.checkpoints is not None else []

    def train_dataloader(self) -> DataLoader[Tensor]:
        order = RowOrder(len(self.known_rows), self.seed)
        alone = len(self.known_rows) > self.rows and len(self.known_rows) % self.rows == 1
        rows = range(len(self.known_rows))  # one row alone has no batch statistics: it waits for the next epoch
        options = {"sampler": order, "collate_fn": torch.tensor, "drop_last": alone}
        return ResumingLoader(rows, self.trainer, batch_size=self.rows, **options)

    def val_dataloader(self) -> DataLoader[Tensor]:
        """The states, one a batch."""
        return DataLoader(list(self.settings.states), 1, collate_fn=torch.tensor)


class DigitsHub(HubDataModule):
    """The embedded default: networks of a zoo on digits, fine-tuned.

    Args:
        hub_seed: of the hub; `seed` if not given. networks: of each architecture in the zoo. architectures: mlp, cnn,
            deepset.
        configs, epochs: of the hub. zoo_epochs: of the longest training in the zoo.
        target: images to fine-tune on. observing: see `HubDataModule`, here and below.
    """

    repeats = "hubs"  # every seed is another hub

    def __init__(
        self,
        hub_seed: int | None = None,
        networks: int = 120,
        architectures: tuple[str, ...] = ("mlp",),
        configs: int = 240,
        epochs: int = 20,
        zoo_epochs: int = 15,
        target: int = 100,
        **observing: Any,
    ):
        super().__init__(**observing)
        if unknown := set(architectures) - set(ARCHITECTURES):
            raise ValueError(
                f"unknown architectures {', '.join(sorted(unknown))}, choose from {', '.join(ARCHITECTURES)}"
            )
        self.hub_seed = self.seed if hub_seed is None else hub_seed
        self.zoo = ZooSettings(networks, tuple(architectures), zoo_epochs)
        self.hub_settings, self.target = HubSettings(configs, epochs), target

    def load(self) -> ModelHub:
        return cached_digits_hub(self.hub_seed, self.zoo, self.hub_settings, self.target)


class SimpleHub(HubDataModule):
    """A hub of small CNNs in the reference's layout of files.

    Args:
        folder: with hyperparameters.csv. channels, stride, padding: of the networks. score: field of the results that
            is maximised. percent: scores are from 0 to 100.
    """

    def __init__(
        self,
        folder: str,
        channels: int = 1,
        stride: int = 1,
        padding: int = 1,
        score: str = SCORE,
        percent: bool = False,
        observed: int = 500,
        rows: int = 256,
        **observing: Any,
    ):
        super().__init__(observed=observed, rows=rows, **observing)
        self.folder, self.network = folder, {"channels": channels, "stride": stride, "padding": padding}
        self.score, self.percent = score, percent

    def load(self) -> ModelHub:
        return read_simple_hub(self.folder, {"": small_cnn(**self.network)}, self.score, self.percent)


class DigitsFolder(HubDataModule):
    """A hub that `build-hub` wrote, in either layout.

    Args:
        folder: of the hub. layout: simple or pretrained.
    """

    def __init__(
        self,
        folder: str,
        layout: str = "simple",
        **observing: Any,
    ):
        super().__init__(**observing)
        self.folder, self.layout = folder, layout

    def load(self) -> ModelHub:
        return read_digits_folder(self.folder, self.layout)


def read_digits_folder(folder: str, layout: str = "simple") -> ModelHub:
    """A hub of digit networks that `build-hub` wrote."""
    architectures = {name: make() for name, make in ARCHITECTURES.items()}
    if layout == "simple":
        return read_simple_hub(folder, architectures | {"": ARCHITECTURES["mlp"]()}, "val_accuracy")
    if layout == "pretrained":
        return read_pretrained_hub(folder, architectures | {"net": ARCHITECTURES["mlp"]()}, "digits", "val_accuracy")
    raise ValueError(f"unknown layout {layout!r}, choose simple or pretrained")


class TaskSetHub(HubDataModule):
    """Learning curves of one TaskSet task.

    Args:
        path: JSON file. split: train, valid or test.
    """

    def __init__(
        self,
        path: str,
        split: str = "valid",
        observed: int = 200,
        budgets: int = 10,
        states: tuple[int, ...] = (0, 1, 5),
        rows: int = 256,
        seed: int = 0,
        multi_horizon: bool = False,
    ):
        super().__init__(observed, budgets, states, rows, seed, False, multi_horizon)
        self.path, self.split = path, split

    def load(self) -> ModelHub:
        return read_taskset(self.path, self.split)


class LCBenchHub(HubDataModule):
    """Learning curves of one data set of LCBench.

    Args:
        path: JSON file. dataset: its name there. metric: that is maximised.
    """

    def __init__(
        self,
        path: str,
        dataset: str,
        metric: str = LCBENCH_METRIC,
        observed: int = 500,
        budgets: int = 10,
        states: tuple[int, ...] = (0, 1, 5),
        rows: int = 256,
        seed: int = 0,
        multi_horizon: bool = False,
    ):
        super().__init__(observed, budgets, states, rows, seed, False, multi_horizon)
        self.path, self.dataset, self.metric = path, dataset, metric

    def load(self) -> ModelHub:
        return read_lcbench(self.path, self.dataset, self.metric)
