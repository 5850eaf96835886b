"""Callbacks: the loss curve of anybody's training, and snapshots on the way."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from pytorch_lightning import Callback, LightningModule, Trainer
from pytorch_lightning.utilities.signature_utils import is_param_in_hook_signature
from torch import Tensor

from .batches import as_batches
from .distance import weight_distance
from .evaluate import Objective
from .interpolation import InterpolationResult, interpolate_objective
from .results import write_json
from .states import snapshot


class MLICallback(Callback):
    """Keeps the initial weights of any LightningModule, and measures the loss from there to the trained ones.

    The loss is what `training_step` returns, in eval mode, unless an objective is given. After `fit` the curve is in
    `result`, and, given a folder, in `mli.json` there. The initial weights travel in checkpoints, so a resumed run
    still knows where it started. With several processes the first one measures, on its share of the data. One object
    serves one fit.

    Args:
        alphas: points of the line.
        dirpath: folder for `mli.json`, seen from the trainer's default_root_dir; None writes nothing.
        data: batches; None: the training dataloader, so give some without shuffling or augmentation if it has them.
        held_out: further batches, for a second curve.
        objective: `(module, batch) -> losses` (B,) or a mean; None: the loss of `training_step`.
        inputs: from a batch to what `forward` takes, for the statistics of batch norm; None: the batch's first item.
    Raises:
        ValueError: fewer than two `alphas`.
    """

    def __init__(
        self,
        alphas: int = 50,
        dirpath: str | None = None,
        data: Any = None,
        held_out: Any = None,
        objective: Objective | None = None,
        inputs: Any = None,
    ):
        if alphas < 2:
            raise ValueError(f"a line needs at least two points, got alphas={alphas}")
        self.alphas, self.dirpath, self.data, self.held_out = alphas, dirpath, data, held_out
        self.objective = objective or training_loss
        self.options = {} if inputs is None else {"inputs": inputs}
        self.initial: dict[str, Tensor] | None = None
        self.result: InterpolationResult | None = None

    def on_fit_start(self, trainer: Trainer, module: LightningModule) -> None:
        if self.initial is None:  # a resumed run has loaded it
            self.initial = {name: value.cpu() for name, value in snapshot(module).items()}

    def on_train_end(self, trainer: Trainer, module: LightningModule) -> None:
        if not trainer.is_global_zero:
            return
        if not all(p.isfinite().all() for p in module.parameters()):
            warnings.warn("the weights are not finite: there is no curve to measure", stacklevel=2)
            return
        self.result = interpolate_objective(
            self.initial,
            module,
            self.objective,
            data=Converted(trainer.train_dataloader if self.data is None else self.data, trainer),
            held_out=None if self.held_out is None else Converted(self.held_out, trainer),
            alphas=self.alphas,
            **self.options,
        )
        if self.dirpath is not None:
            path = Path(trainer.default_root_dir) / self.dirpath / "mli.json"
            write_curve(path, self.result, weight_distance(self.initial, snapshot(module)))

    def state_dict(self) -> dict:
        return {"initial": self.initial}

    def load_state_dict(self, state_dict: dict) -> None:
        self.initial = state_dict["initial"]


class Converted:
    """Batches in the precision that the trainer works in."""

    def __init__(self, data: Any, trainer: Trainer):
        self.batches, self.convert = as_batches(data), trainer.precision_plugin.convert_input

    def __iter__(self) -> Iterator:
        return (self.convert(batch) for batch in self.batches)


def training_loss(module: LightningModule, batch: Any) -> Tensor:
    """The loss of a module's `training_step`, which logs nothing here."""
    module.log = module.log_dict = lambda *_, **__: None
    numbered = is_param_in_hook_signature(module.training_step, "batch_idx", min_args=2)
    loss = module.training_step(batch, *[0] * numbered)
    return loss["loss"] if isinstance(loss, dict) else loss


class Snapshots(Callback):
    """Copies of the parameters at the start and after every `every` epochs, as the path that training took.

    Attributes:
        states: parameters by name, on the CPU; `steps`: at which steps they were taken.
    Raises:
        ValueError: `every` is below 1.
    """

    def __init__(self, every: int = 1):
        if every < 1:
            raise ValueError(f"every must be at least 1 epoch, got {every}")
        self.every = every
        self.states: list[dict[str, Tensor]] = []
        self.steps: list[int] = []

    def on_train_start(self, trainer: Trainer, module: LightningModule) -> None:
        self.take(trainer, module)

    def on_train_epoch_end(self, trainer: Trainer, module: LightningModule) -> None:
        if (trainer.current_epoch + 1) % self.every == 0:
            self.take(trainer, module)

    def take(self, trainer: Trainer, module: LightningModule) -> None:
        """One more copy."""
        self.states.append({name: p.detach().cpu().clone() for name, p in module.network.named_parameters()})
        self.steps.append(trainer.global_step)


def write_curve(path: Path, result: InterpolationResult, distance: float) -> None:
    """The curve, min_delta and the weight distance as JSON, by way of a temporary file."""
    content = {
        "alphas": result.alphas.tolist(),
        "losses": result.values.tolist(),
        "held_out": None if result.held_out is None else result.held_out.tolist(),
        "min_delta": result.min_delta.tolist(),
        "weight_distance": distance,
    }
    write_json(path, content)
