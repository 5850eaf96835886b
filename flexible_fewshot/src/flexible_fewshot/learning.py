"""Representations that are learnt from single images: SimCLR (U), attributes (SA, SA*), identities (ID), U-FT-A.

All end in an encoder whose h the readouts use; whatever head the loss needs is left behind. SA* is SA with the labels
of the test attributes too (`data.label_group: oracle`), RND is any of them without a training step.
"""

from __future__ import annotations

import inspect

import torch
from pytorch_lightning import LightningModule
from torch import Tensor, nn
from torch.nn import functional as F

from .augment import Augmentation
from .encoders import build_encoder, pretrained_encoder
from .evaluation import Standardizer, evaluate
from .finite import finite
from .heads import mlp
from .losses import CONTRASTS
from .optimizers import optimizer_with_schedule
from .readouts import LogisticReadout


class Representation(LightningModule):
    """An encoder and how it is optimised; subclasses add a head and a loss.

    Args:
        encoder: small, resnet12 or resnet50.
        width: channels of its first block.
        pretrained: a checkpoint of `fit` or `study` whose encoder training starts from, for resnet50 also the state
            dict of an off-the-shelf SimCLR; empty: random weights.
        optimizer: adamw (one cycle) or lars (cosine).
        lr: largest rate, for a batch of any size.
        head_lr: the same for a head; 0: like the encoder.
        weight_decay: of the optimizer.
        crop: least share of the image that a random crop covers; 1: no crop, no mirror image.
        flip: whether half of the images are mirrored.
        seed: of augmentation.
        lam: λ of the logistic readout in `test`.
    Raises:
        ValueError: `pretrained` cannot be read, or holds another encoder.
    """

    learns_from_episodes = False

    def __init__(
        self,
        encoder: str = "small",
        width: int = 16,
        pretrained: str = "",
        optimizer: str = "adamw",
        lr: float = 4e-3,
        head_lr: float = 0.0,
        weight_decay: float = 1e-4,
        crop: float = 0.6,
        flip: bool = True,
        seed: int = 0,
        lam: float = 1e-3,
    ):
        super().__init__()
        self.save_hyperparameters()
        self.encoder = build_encoder(encoder, width)
        if pretrained:
            found = pretrained_encoder(pretrained, encoder, width)
            if type(found) is not type(self.encoder) or found.features != self.encoder.features:
                raise ValueError(
                    f"{pretrained} holds a {type(found).__name__} of {found.features} features, "
                    f"but the encoder is {encoder!r} of width {width} with {self.encoder.features}"
                )
            self.encoder = found
        self.encoder.to(memory_format=torch.channels_last)
        self.head: nn.Module = nn.Sequential()
        self._test: list[Tensor] = []

    def loss(self, images: Tensor, targets: Tensor) -> Tensor:
        """images (B, 3, H, W) in [0, 1]; targets: attributes (B, K) in {1, 0, -1}, or identities (B,)."""
        raise NotImplementedError(f"{type(self).__name__} has no loss")

    def training_step(self, batch: tuple[Tensor, Tensor], _) -> Tensor:
        images, targets = batch
        loss = self.loss(as_float(images), targets)
        self.log("train/loss", loss, prog_bar=True)
        return finite(loss, self.global_step, "model.init_args.lr")

    def validation_step(self, batch: tuple[Tensor, Tensor], _) -> None:
        """Attributes of the validation group have no output of any head: only features are judged, at the end."""
        self._test.append(self.encoder(as_float(batch[0])))

    def on_validation_epoch_end(self) -> None:
        self._judge("val")

    def test_step(self, batch: tuple[Tensor, Tensor], _) -> None:
        self._test.append(self.encoder(as_float(batch[0])))

    def on_test_epoch_end(self) -> None:
        self._judge("test")

    def predict_step(self, batch: tuple[Tensor, Tensor], _) -> Tensor:
        return self.encoder(as_float(batch[0]))

    def _judge(self, stage: str) -> None:
        """Accuracy of the readout on the frozen episodes of a pool, features standardised by that pool."""
        features = torch.cat(self._test).float().cpu()
        self._test = []
        if self.trainer.sanity_checking:
            return
        data = self.trainer.datamodule
        found = evaluate(Standardizer.of(features)(features), data.episodes(stage), LogisticReadout(self.hparams.lam))
        self.log(f"{stage}/accuracy", found.mean)
        self.log(f"{stage}/ci95", found.ci95)

    def views_generator(self) -> torch.Generator:
        """Random numbers of this step alone, so that a resumed run sees the views that it would have seen."""
        return torch.Generator().manual_seed(
            (self.hparams.seed * 1_000_003 + self.global_step) * 1024 + self.global_rank
        )

    def crops(self, images: Tensor) -> Tensor:
        """Light augmentation of the supervised methods: crop and flip."""
        if self.hparams.crop >= 1:
            return images
        only_crop = Augmentation(self.hparams.crop, jitter=0, hue=0, grey=0, flip=self.hparams.flip)
        return only_crop(images, self.views_generator())

    def configure_optimizers(self):
        hparams = self.hparams
        groups = [(self.encoder, hparams.lr), (self.head, hparams.head_lr or hparams.lr)]
        steps = self.trainer.estimated_stepping_batches
        return optimizer_with_schedule(hparams.optimizer, groups, hparams.weight_decay, steps)

    def on_save_checkpoint(self, checkpoint) -> None:
        """Kept are the arguments of the class; the command line also hands over what only others need."""
        own = {name for kind in type(self).__mro__ for name in inspect.signature(kind.__init__).parameters}
        kept = {k: v for k, v in self.hparams.items() if k in own}
        name = f"{type(self).__module__}.{type(self).__qualname__}"
        checkpoint["hyper_parameters"] = {**kept, "_class_path": name}  # as LightningCLI looks for it


class SimCLR(Representation):
    """U: two views of an image should project near each other and away from those of other images.

    Args:
        kwargs: see `Representation`.
        variant: cross (the paper's equation, negatives from the other view) or ntxent (SimCLR's).
        temperature: τ.
        hidden, projection, head_layers: sizes of MLP1.
        batchnorm: whether MLP1 has batch norm.
        jitter, hue, grey: strengths of colour augmentation.
    Raises:
        ValueError: no such variant.
    """

    def __init__(
        self,
        variant: str = "cross",
        temperature: float = 0.1,
        hidden: int = 128,
        projection: int = 64,
        head_layers: int = 1,
        batchnorm: bool = True,
        jitter: float = 0.6,
        hue: float = 0.1,
        grey: float = 0.3,
        **kwargs,
    ):
        super().__init__(**kwargs)
        if variant not in CONTRASTS:
            raise ValueError(f"unknown variant {variant!r} of SimCLR, choose from {', '.join(CONTRASTS)}")
        self.save_hyperparameters()
        self.head = mlp(self.encoder.features, hidden, projection, head_layers, batchnorm)
        self.augment = Augmentation(self.hparams.crop, jitter, hue, grey, self.hparams.flip)

    def loss(self, images: Tensor, targets: Tensor) -> Tensor:
        views = self.augment(images.repeat(2, 1, 1, 1), self.views_generator())
        z = self.head(self.encoder(channels_last(views)))
        z, other = gathered(self, z[: len(images)]), gathered(self, z[len(images) :])
        return CONTRASTS[self.hparams.variant](z, other, self.hparams.temperature)


class SupervisedAttributes(Representation):
    """SA: binary cross-entropy of every training attribute, unknown ones left out.

    Args:
        labels: how many attributes are labelled; the data say so.
        kwargs: see `Representation`.
    """

    def __init__(self, labels: int, **kwargs):
        super().__init__(**kwargs)
        self.save_hyperparameters()
        self.head = nn.Linear(self.encoder.features, labels)

    def loss(self, images: Tensor, targets: Tensor) -> Tensor:
        return attribute_loss(self.head(self.encoder(channels_last(self.crops(images)))), targets)


class IdentityClassifier(SupervisedAttributes):
    """ID: softmax over the identities of the training images (`data.label_group: identity`)."""

    def loss(self, images: Tensor, targets: Tensor) -> Tensor:
        return F.cross_entropy(self.head(self.encoder(channels_last(self.crops(images)))), targets)


class FinetuneAttributes(Representation):
    """U-FT-A: a pretrained encoder and a fresh MLP2 learn the training attributes; MLP2 is discarded afterwards.

    Args:
        labels: how many attributes are labelled; the data say so.
        kwargs: see `Representation`.
        hidden, projection, head_layers: sizes of MLP2; no hidden layer and `projection` 0: none.
    """

    def __init__(
        self,
        labels: int,
        lr: float = 1e-3,
        head_lr: float = 3e-3,
        hidden: int = 128,
        projection: int = 64,
        head_layers: int = 2,
        **kwargs,
    ):
        super().__init__(lr=lr, head_lr=head_lr, **kwargs)
        self.save_hyperparameters()
        projection = projection or self.encoder.features
        self.discarded = mlp(self.encoder.features, hidden, projection, head_layers)
        self.head = nn.Sequential(self.discarded, nn.Linear(projection, labels))

    def loss(self, images: Tensor, targets: Tensor) -> Tensor:
        return attribute_loss(self.head(self.encoder(channels_last(self.crops(images)))), targets)


def attribute_loss(logits: Tensor, targets: Tensor) -> Tensor:
    """Σ_k BCE, averaged over the images and divided by K; targets of -1 are unknown and do not count."""
    known = targets >= 0
    losses = F.binary_cross_entropy_with_logits(logits, targets.clamp(min=0).to(logits), reduction="none")
    return (losses * known).sum() / known.sum().clamp(min=1)


def gathered(module: LightningModule, z: Tensor) -> Tensor:
    """Projections of all processes, with gradients: negatives are the whole batch, not one device's share of it.

    Each process computes the loss of the whole batch; the backward of `all_gather` sums over processes and DDP
    averages.
    """
    return z if module.trainer.world_size == 1 else module.all_gather(z, sync_grads=True).flatten(0, 1)


def as_float(images: Tensor) -> Tensor:
    """uint8 -> [0, 1]."""
    return images.float() / 255 if images.dtype == torch.uint8 else images


def channels_last(images: Tensor) -> Tensor:
    return images.contiguous(memory_format=torch.channels_last)
