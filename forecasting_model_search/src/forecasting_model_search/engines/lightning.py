"""FMS beside a Lightning training: a callback that tells the searcher every validated epoch, with its weights."""

from __future__ import annotations

from pytorch_lightning import Callback, LightningModule, Trainer
from torch import nn

from ..checkpoints import weights_of
from ..search import ForecastingModelSearch
from ..suggestion import Suggestion


class FMSCheckpointCallback(Callback):
    """After each validation: tell the score and the weights, and stop the training where the suggestion ends.

    The sanity check tells nothing; only the process of rank zero tells.

    Args:
        searcher: it asked for `suggestion`. monitor: the logged metric that is the score. network: name of the
            submodule whose weights are told, the whole module if not given.
    """

    def __init__(self, searcher: ForecastingModelSearch, suggestion: Suggestion, monitor: str, network: str = ""):
        self.searcher, self.suggestion, self.monitor, self.network = searcher, suggestion, monitor, network
        self.epoch = suggestion.from_epoch

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if trainer.sanity_checking or trainer.state.fn != "fit":
            return
        if self.monitor not in trainer.callback_metrics:
            logged = ", ".join(trainer.callback_metrics) or "nothing"
            raise ValueError(f"the metric {self.monitor!r} was not logged in validation, only {logged}")
        self.epoch += 1
        if trainer.is_global_zero:
            network: nn.Module = pl_module.get_submodule(self.network)
            score = float(trainer.callback_metrics[self.monitor])
            self.searcher.tell(self.suggestion.config_id, self.epoch, score, weights_of(network))
        if self.epoch >= self.suggestion.to_epoch:
            trainer.should_stop = True
