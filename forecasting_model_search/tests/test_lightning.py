"""The Lightning callback: every validated epoch once, not the sanity check, and a stop where the suggestion ends."""

import pytest
import torch
from pytorch_lightning import LightningModule, Trainer
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

from conftest import QUICK
from forecasting_model_search import (
    CheckpointStore,
    Float,
    ForecastingModelSearch,
    SearchSettings,
    SearchSpace,
    SurrogateSettings,
)
from forecasting_model_search.engines.lightning import FMSCheckpointCallback


class Small(LightningModule):
    def __init__(self, rate):
        super().__init__()
        self.rate, self.network = rate, nn.Sequential(nn.Linear(3, 4), nn.ReLU(), nn.Linear(4, 2))

    def training_step(self, batch, _):
        return nn.functional.cross_entropy(self.network(batch[0]), batch[1])

    def validation_step(self, batch, _):
        self.log("val/accuracy", (self.network(batch[0]).argmax(1) == batch[1]).float().mean())

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), self.rate)


def data():
    x = torch.randn(32, 3, generator=torch.Generator().manual_seed(0))
    return DataLoader(TensorDataset(x, (x[:, 0] > 0).long()), 8)


def trainer(callback, folder, **options):
    quiet = {"logger": False, "enable_progress_bar": False, "enable_model_summary": False, "accelerator": "cpu"}
    return Trainer(**quiet, callbacks=[callback], default_root_dir=folder, enable_checkpointing=False, **options)


def searcher():
    network = Small(0.1).network
    return ForecastingModelSearch(
        SearchSpace({"rate": Float(0.01, 1, log=True)}), 6, 10, checkpoints=CheckpointStore({"": network}),
        surrogate=SurrogateSettings("stat"), fitting=QUICK, settings=SearchSettings(step=3),
    )  # fmt: skip


def test_each_validated_epoch_is_told_once_with_its_weights_and_the_training_stops(tmp_path):
    search = searcher()
    suggestion = search.ask()
    module = Small(suggestion.params["rate"])
    callback = FMSCheckpointCallback(search, suggestion, "val/accuracy", "network")
    trainer(callback, tmp_path, max_epochs=50, num_sanity_val_steps=2).fit(module, data(), data())
    assert search.spent == 3 and search.history.reached(suggestion.config_id) == 3
    stored = search.checkpoints.state(suggestion.config_id, 3)
    assert all(torch.equal(stored[k], p) for k, p in module.network.state_dict().items())
    following = search.ask()
    assert following is not None and search.spent == 3


def test_validation_outside_of_fit_tells_nothing(tmp_path):
    search = searcher()
    callback = FMSCheckpointCallback(search, search.ask(), "val/accuracy", "network")
    trainer(callback, tmp_path).validate(Small(0.1), data(), verbose=False)
    assert search.spent == 0


def test_a_metric_that_was_not_logged_is_named(tmp_path):
    search = searcher()
    callback = FMSCheckpointCallback(search, search.ask(), "val/loss", "network")
    with pytest.raises(ValueError, match="the metric 'val/loss' was not logged in validation, only"):
        trainer(callback, tmp_path, max_epochs=1).fit(Small(0.1), data(), data())
