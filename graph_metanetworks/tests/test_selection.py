"""Learning rates are chosen on validation data: no test net is looked at, and the configs have what was chosen."""

import json
from pathlib import Path

import pytest
import torch
from pytorch_lightning import Trainer

from graph_metanetworks import study
from graph_metanetworks.accuracy import AccuracyPrediction
from graph_metanetworks.cli import main
from graph_metanetworks.editing import INREditing
from graph_metanetworks.experiment import Experiment
from graph_metanetworks.selection import Trial, best_trials, select_rates, selection_table, untried, validation_error
from graph_metanetworks.siren_data import DigitSirens, SirenData
from graph_metanetworks.zoo_data import NetData, ZooData

RESULTS = Path(__file__).parents[1] / "results"
GRID = '{"cells": ["statnn"], "rates": [1e-3, 1e-2], "beyond": [1e-4, 3e-2]}'


def fast(grid=GRID, section="accuracy"):
    return Experiment(["reproduce", "fast"], [f"--study.{section}.grid={grid}", "--study.seeds=[0]"])


def prepared(experiment, folder, section="accuracy"):
    experiment.prepare(folder, "networks", (section,))
    return experiment


@pytest.fixture
def untested(monkeypatch):
    """Parts other than train and val cannot be loaded, and nothing can be judged."""

    def guarded(loader):
        def load(self, part, shuffle=False):
            assert part in ("train", "val")
            return loader(self, part, shuffle)

        return load

    for kind in (NetData, SirenData):
        monkeypatch.setattr(kind, "loader", guarded(kind.loader))
    monkeypatch.setattr(study, "JUDGES", {})


def test_no_test_net_is_looked_at(untested, tmp_path):
    trials = select_rates(prepared(fast(), tmp_path), "accuracy", tmp_path)
    assert {one.rate for one in trials} >= {1e-3, 1e-2} and len({one.error for one in trials}) == len(trials)
    editing = fast('{"cells": ["gmn", "flat"], "rates": [1e-3, 1e-2], "beyond": [1e-4, 3e-2]}', "editing")
    select_rates(prepared(editing, tmp_path, "editing"), "editing", tmp_path)
    with pytest.raises(AssertionError):
        NetData().loader("test")


def test_the_error_is_that_of_the_validation_part(tmp_path):
    nets = ZooData(str(tmp_path), ["mlp"], [4], [20], [6], [2], steps=[2, 4])
    nets.setup()
    module = AccuracyPrediction("statnn", 8, 1)
    batch = next(iter(nets.val_dataloader()))
    assert len(batch.accuracy) == len(nets.parts["val"]) == 2
    expected = (module.eval()(batch.nets) - batch.accuracy).square().mean()
    assert validation_error(module, nets) == pytest.approx(float(expected), rel=1e-6)
    sirens = DigitSirens(str(tmp_path), 20, val=7, test=5, steps=2, batch_size=4)
    sirens.setup()
    editor = INREditing("flat", 8)
    batch = sirens.batch(range(8, 15))
    expected = (editor(batch.nets) - batch.target).square().mean().detach()
    assert validation_error(editor, sirens) == pytest.approx(float(expected), rel=1e-6)


def test_fit_logs_the_validation_error(tmp_path):
    nets = ZooData(str(tmp_path), ["mlp"], [4], [20], [6], [2], steps=[2, 4])
    silent = {"logger": False, "enable_checkpointing": False, "enable_progress_bar": False}
    trainer = Trainer(accelerator="cpu", max_epochs=1, enable_model_summary=False, **silent)
    module = AccuracyPrediction("statnn", 8, 1)
    trainer.fit(module, datamodule=nets)
    assert float(trainer.callback_metrics["val/squared_error"]) == pytest.approx(validation_error(module, nets))


def test_what_was_trained_for_the_choice_is_not_trained_again(tmp_path):
    experiment = prepared(fast(), tmp_path)
    trials = select_rates(experiment, "accuracy", tmp_path)
    files = {path: path.stat().st_mtime_ns for path in (tmp_path / "trained").iterdir()}
    assert len(files) == len(trials) and select_rates(fast(), "accuracy", tmp_path) == trials
    cell = '{"statnn": {"model.init_args.reader": "statnn", "model.init_args.rate": 1e-2}}'
    chosen = Experiment(["reproduce", "fast"], [f"--study.accuracy.cells={cell}", "--study.seeds=[0]"])
    (record,) = chosen.finish_all(tmp_path, "metanets", ("accuracy",))
    assert record.seconds == next(one.seconds for one in trials if one.rate == 1e-2)
    assert files == {path: path.stat().st_mtime_ns for path in (tmp_path / "trained").iterdir()}
    alone = chosen.finish_all(tmp_path / "alone", "metanets", ("accuracy",))[0]
    assert torch.allclose(torch.tensor(alone.arrays["ood_predicted"]), torch.tensor(record.arrays["ood_predicted"]))


def test_rates_are_tried_until_the_best_has_worse_neighbours():
    ladder = [1, 2, 3, 4, 5]
    assert untried(ladder, {2: 0.2, 3: 0.1, 4: 0.3}) == []
    assert untried(ladder, {2: 0.1, 3: 0.2, 4: 0.3}) == [1]
    assert untried(ladder, {2: 0.3, 3: 0.2, 4: 0.1}) == [5]
    assert untried(ladder, {4: 0.2, 5: 0.1}) == [] and untried(ladder, {3: 0.1}) == [2, 4]


def test_the_least_error_wins_and_is_shown_in_bold():
    trials = [Trial("accuracy", "gmn", 1e-3, 0.3, 1), Trial("accuracy", "gmn", 1e-2, 0.2, 1)]
    trials.append(Trial("accuracy", "dmc", 1e-3, 0.1, 1))
    assert {key: one.rate for key, one in best_trials(trials).items()} == {
        ("accuracy", "gmn"): 1e-2,
        ("accuracy", "dmc"): 1e-3,
    }
    assert selection_table(trials).splitlines()[2:] == [
        "| accuracy, gmn | 0.30000 | **0.20000** |",
        "| accuracy, dmc | **0.10000** | – |",
    ]


@pytest.mark.parametrize(
    ("grid", "said"),
    [
        ('{"cells": ["gmn"], "rates": []}', "accuracy: one or more rates expected in its grid"),
        ('{"cells": ["nope"], "rates": [1e-3, 1e-2, 1]}', r"no cell \['nope'\], choose from gmn, deepsets"),
    ],
)
def test_grids_that_make_no_sense_are_refused(grid, said, tmp_path):
    with pytest.raises(ValueError, match=said):
        select_rates(fast(grid), "accuracy", tmp_path)


def test_the_command_writes_validation_errors_only(tmp_path, monkeypatch, untested, capsys):
    from graph_metanetworks import reproduce as module

    over = [f"--study.accuracy.grid={GRID}"]
    monkeypatch.setattr(module, "Experiment", lambda configs, given=(): Experiment([*configs, "fast"], [*given, *over]))
    with pytest.raises(SystemExit) as stopped:
        main(["reproduce", "accuracy-selection", "--out", str(tmp_path)])
    assert stopped.value.code == 0 and "accuracy, statnn" in capsys.readouterr().out
    content = json.loads((tmp_path / "accuracy-selection.json").read_text())
    assert set(content["trials"][0]) == {"experiment", "cell", "rate", "error", "seconds"}
    assert content["chosen"] == [{"experiment": "accuracy", "cell": "statnn", "rate": content["chosen"][0]["rate"]}]


@pytest.mark.skipif(not RESULTS.is_dir(), reason="results/ is in the repository, not in the wheel")
@pytest.mark.parametrize(
    ("name", "chosen"),
    [
        ("reproduce", "accuracy-selection"),
        ("demo", "accuracy-selection"),
        ("reproduce", "editing-selection"),
        ("demo", "editing-selection"),
        ("reproduce_mnist", "mnist-selection"),
    ],
)
def test_the_configs_have_the_rates_that_were_chosen(name, chosen, tmp_path):
    experiment = Experiment([name])
    for one in json.loads((RESULTS / f"{chosen}.json").read_text())["chosen"]:
        cell = experiment.cell(one["experiment"], one["cell"], {}, tmp_path)
        assert cell.model.hparams.rate == one["rate"], one
