"""Learners that train on episodes: MatchingNet, ProtoNet, ANIL, TADAM, TAFENet, and the finetuning U-FT-E.

A method maps (support, labels, query) to logits; the rest is here. Episodic learners judge test episodes by their own
map.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from .anil import InnerLoopHead
from .episodes import Episodes
from .evaluation import EpisodeResult, accuracy
from .features import extract
from .finite import finite
from .heads import mlp
from .learning import Representation, as_float, channels_last
from .matching_net import MatchingHead
from .proto_net import PrototypeHead
from .tadam import TaskConditioning, per_image
from .tafenet import TaskAwareHead

EPISODES_AT_ONCE = 20


class EpisodicLearner(Representation):
    """An encoder and a head that classifies queries by a support set.

    Args:
        kwargs: see `Representation`.
    """

    learns_from_episodes = True

    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        self.save_hyperparameters()
        self.head = self.build_head()

    def build_head(self) -> nn.Module:
        raise NotImplementedError(f"{type(self).__name__} has no head")

    def episode_logits(self, support: Tensor, labels: Tensor, query: Tensor) -> Tensor:
        """Images (E, n, 3, H, W) and (E, Q, 3, H, W) in [0, 1], labels (E, n) -> (E, Q)."""
        h = self.encoder(channels_last(torch.cat([support.flatten(0, 1), query.flatten(0, 1)])))
        inner, outer = h[: labels.numel()], h[labels.numel() :]
        return self.head(inner.unflatten(0, labels.shape), labels, outer.unflatten(0, query.shape[:2]))

    def training_step(self, batch: tuple[Tensor, Tensor, Tensor, Tensor], _) -> Tensor:
        support, labels, query, query_y = batch
        n = labels.shape[1]
        images = as_float(torch.cat([support, query], 1))
        images = self.crops(images.flatten(0, 1)).unflatten(0, images.shape[:2])
        logits = self.episode_logits(images[:, :n], labels, images[:, n:])
        loss = F.binary_cross_entropy_with_logits(logits, query_y.to(logits)) + self.penalty()
        self.log("train/loss", loss, prog_bar=True)
        return finite(loss, self.global_step, "model.init_args.lr")

    def penalty(self) -> Tensor | float:
        """What is added to the loss."""
        return 0.0

    def judge(self, images: Tensor, episodes: Episodes, features: Tensor | None = None) -> EpisodeResult:
        """Accuracy on episodes of a pool by the learner's own map; features of the pool (n, D) spare the encoder."""
        self.eval()
        if features is None:
            features = extract(self.encoder, images)
        with torch.no_grad():
            logits = self.head(features[episodes.support], episodes.support_y, features[episodes.query])
        return EpisodeResult(accuracy(logits, episodes.query_y).numpy(), episodes.contexts)


class ProtoNet(EpisodicLearner):
    """Nearest class mean under a scaled squared Euclidean distance."""

    def build_head(self) -> nn.Module:
        return PrototypeHead()


class MatchingNet(EpisodicLearner):
    """Attention over the support."""

    def build_head(self) -> nn.Module:
        return MatchingHead()


class ANIL(EpisodicLearner):
    """A last layer that an inner loop adapts."""

    def build_head(self) -> nn.Module:
        return InnerLoopHead(self.encoder.features)


class TAFENet(EpisodicLearner):
    """A meta-network emits the classifier and the scales of the features."""

    def build_head(self) -> nn.Module:
        return TaskAwareHead(self.encoder.features)


class TADAM(EpisodicLearner):
    """ProtoNet whose encoder is modulated by the mean of the positive support."""

    def build_head(self) -> nn.Module:
        return nn.ModuleDict(
            {"task": TaskConditioning(self.encoder.features, self.encoder.channels), "prototypes": PrototypeHead()}
        )

    def episode_logits(self, support: Tensor, labels: Tensor, query: Tensor) -> Tensor:
        h = self.encoder(channels_last(support.flatten(0, 1))).unflatten(0, labels.shape)
        weights = labels.to(h)[..., None]
        film = self.head["task"]((weights * h).sum(1) / weights.sum(1))
        inner = self.encoder(channels_last(support.flatten(0, 1)), per_image(film, labels.shape[1]))
        outer = self.encoder(channels_last(query.flatten(0, 1)), per_image(film, query.shape[1]))
        return self.head["prototypes"](inner.unflatten(0, labels.shape), labels, outer.unflatten(0, query.shape[:2]))

    def penalty(self) -> Tensor:
        return 0.01 * self.head["task"].penalty()

    def judge(self, images: Tensor, episodes: Episodes, features: Tensor | None = None) -> EpisodeResult:
        """Every episode has an encoder of its own, so that features of a pool are of no use."""
        self.eval()
        parts = []
        for at in torch.arange(len(episodes)).split(EPISODES_AT_ONCE):
            support, query = (as_float(images[rows[at]]) for rows in (episodes.support, episodes.query))
            with torch.no_grad():
                logits = self.episode_logits(support, episodes.support_y[at], query)
            parts.append(accuracy(logits, episodes.query_y[at]))
        return EpisodeResult(torch.cat(parts).numpy(), episodes.contexts)


class FinetuneEpisodes(EpisodicLearner):
    """U-FT-E: a pretrained encoder and a fresh MLP2 learn training episodes as a ProtoNet; MLP2 is then discarded.

    Args:
        kwargs: see `Representation`.
        hidden, projection, head_layers: sizes of MLP2; no hidden layer and `projection` 0: none.
        distance: euclidean or cosine.
    """

    def __init__(
        self,
        lr: float = 1e-3,
        head_lr: float = 3e-3,
        hidden: int = 128,
        projection: int = 64,
        head_layers: int = 2,
        distance: str = "euclidean",
        **kwargs,
    ):
        super().__init__(lr=lr, head_lr=head_lr, **kwargs)
        self.save_hyperparameters()
        projection = projection or self.encoder.features
        discarded = mlp(self.encoder.features, hidden, projection, head_layers)
        self.head = HeadThenPrototypes(discarded, PrototypeHead(distance))

    def build_head(self) -> nn.Module:
        return nn.Sequential()  # its sizes are known later


class HeadThenPrototypes(nn.Module):
    """Prototypes of g = MLP2(h)."""

    def __init__(self, discarded: nn.Module, prototypes: PrototypeHead):
        super().__init__()
        self.discarded, self.prototypes = discarded, prototypes

    def forward(self, support: Tensor, labels: Tensor, query: Tensor) -> Tensor:
        return self.prototypes(self.discarded(support), labels, self.discarded(query))
