"""Accuracy-prediction data: which networks are trained on, validated on, tested on, or held out by their width."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import NamedTuple

import torch
from pytorch_lightning import LightningDataModule
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from .batch import NetBatch, collate
from .networks.families import FAMILIES
from .parameter_graph import ParameterGraph
from .resuming import ResumingLoader
from .sampling import BudgetSampler, EpochOrder
from .tracing import build_parameter_graph
from .zoo import Recipe, digits
from .zoo_files import cached_nets


@dataclass(frozen=True, eq=False)
class Net:
    """One network: its architecture's graph, its flat parameters (P,), its label, its family and width."""

    graph: ParameterGraph
    flat: Tensor
    accuracy: float
    family: str
    width: int


class LabelledNets(NamedTuple):
    """A batch: networks and their accuracies, (B,). Family and width are no part of it."""

    nets: NetBatch
    accuracy: Tensor


class NetDataset(Dataset):
    def __init__(self, nets: Sequence[Net]):
        self.nets = list(nets)

    def __len__(self) -> int:
        return len(self.nets)

    def __getitem__(self, index: int) -> Net:
        return self.nets[index]


def collate_labelled(nets: Sequence[Net]) -> LabelledNets:
    return LabelledNets(collate([(n.graph, n.flat) for n in nets]), torch.tensor([n.accuracy for n in nets]))


class NetData(LightningDataModule):
    """Networks with labels, however they were made: subclasses fill `parts` with train, val, test and ood."""

    def __init__(self, batch_size: int = 16, edge_budget: int = 60_000, order_seed: int = 0):
        super().__init__()
        self.batch_size, self.edge_budget, self.order_seed = batch_size, edge_budget, order_seed
        self.parts: dict[str, list[Net]] = {}

    def loader(self, part: str, shuffle: bool = False) -> DataLoader:
        """Batches of a part by a budget of edges."""
        nets = self.parts[part]
        rank, world = (self.trainer.global_rank, self.trainer.world_size) if self.trainer and shuffle else (0, 1)
        order = EpochOrder(len(nets), self.order_seed, shuffle)
        if self.trainer and shuffle:  # a resumed run starts at a later epoch
            order.set_epoch(self.trainer.fit_loop.epoch_progress.current.processed)
        sampler = BudgetSampler(
            [n.graph.num_edges for n in nets], self.edge_budget, self.batch_size, order, rank, world
        )
        trainer = self.trainer if shuffle else None
        return ResumingLoader(NetDataset(nets), trainer, batch_sampler=sampler, collate_fn=collate_labelled)

    def train_dataloader(self) -> DataLoader:
        return self.loader("train", shuffle=True)

    def val_dataloader(self) -> DataLoader:
        return self.loader("val")

    def test_dataloader(self) -> list[DataLoader]:
        return [self.loader(part) for part in ("test", "ood") if self.parts.get(part)]

    def predict_dataloader(self) -> DataLoader:
        return self.loader("test")


class ZooData(NetData):
    """A zoo trained here (`zoo.py`) and split: widths in `widths` into train, val and test; `ood_widths` are test only.

    Args:
        folder: where trained nets are kept.
        families: of `FAMILIES`. widths, counts: how many nets of each family at each width. ood_widths, ood_counts:
            likewise, for nets that are never trained or selected on.
        train_share: of the training part that is used; 0.1 is the 10 % split.
        zoo_seed: of the nets. split_seed: of the split.
    Raises:
        ValueError: a width is both trained on and held out, or widths and counts do not fit.
    """

    def __init__(
        self,
        folder: str = "runs/zoo",
        families: Sequence[str] = tuple(FAMILIES),
        widths: Sequence[int] = (8, 6),
        counts: Sequence[int] = (96, 48),
        ood_widths: Sequence[int] = (16,),
        ood_counts: Sequence[int] = (32,),
        train_share: float = 1.0,
        steps: Sequence[int] = (30, 250),
        zoo_seed: int = 0,
        split_seed: int = 0,
        batch_size: int = 16,
        edge_budget: int = 60_000,
        order_seed: int = 0,
    ):
        super().__init__(batch_size, edge_budget, order_seed)
        if set(widths) & set(ood_widths):
            raise ValueError(f"widths {sorted(set(widths) & set(ood_widths))} are both trained on and held out")
        if len(widths) != len(counts) or len(ood_widths) != len(ood_counts):
            raise ValueError(f"as many counts as widths expected, got {len(counts)} and {len(widths)}")
        if not 0 < train_share <= 1:
            raise ValueError(f"train_share in (0, 1] expected, got {train_share}")
        self.save_hyperparameters()

    def chores(self) -> list[partial]:
        """What `setup` has to make, as pieces for several processes."""
        options = self.hparams
        wanted = [
            *zip(options.widths, options.counts, strict=True),
            *zip(options.ood_widths, options.ood_counts, strict=True),
        ]
        recipe = Recipe(steps=tuple(options.steps))
        return [
            partial(cached_nets, options.folder, family, width, count, recipe, options.zoo_seed)
            for width, count in wanted
            for family in reversed(options.families)  # the slow ones first
        ]

    def setup(self, stage: str | None = None) -> None:
        if self.parts:
            return
        options = self.hparams
        inside = self._nets(options.widths, options.counts)
        generator = torch.Generator().manual_seed(options.split_seed)
        parts: dict[str, list[Net]] = {"train": [], "val": [], "test": []}
        for nets in inside:  # the same shares of every family and width
            order = torch.randperm(len(nets), generator=generator).tolist()
            cuts = round(0.7 * len(nets)), round(0.8 * len(nets))
            kept = max(1, round(options.train_share * cuts[0]))
            for part, chosen in zip(parts, (order[:kept], order[cuts[0] : cuts[1]], order[cuts[1] :]), strict=True):
                parts[part] += [nets[i] for i in chosen]
        parts["ood"] = [net for nets in self._nets(options.ood_widths, options.ood_counts) for net in nets]
        self.parts = parts

    def _nets(self, widths: Sequence[int], counts: Sequence[int]) -> list[list[Net]]:
        options = self.hparams
        recipe = Recipe(steps=tuple(options.steps))
        found = []
        for family in options.families:
            for width, count in zip(widths, counts, strict=True):
                trained = cached_nets(options.folder, family, width, count, recipe, options.zoo_seed)
                graph = family_graph(family, width)
                flats = graph.flatten(trained.state)
                found.append(
                    [Net(graph, f, a, family, width) for f, a in zip(flats, trained.accuracy.tolist(), strict=True)]
                )
        return found


_GRAPHS: dict[tuple[str, int], ParameterGraph] = {}


def family_graph(family: str, width: int) -> ParameterGraph:
    """The graph of an architecture of the zoo, made once."""
    if (family, width) not in _GRAPHS:
        kind = FAMILIES[family]
        _GRAPHS[family, width] = build_parameter_graph(kind.build(width), kind.read(digits()[0][:1]))
    return _GRAPHS[family, width]
