import json
from pathlib import Path

import pytest
import torch
import yaml

from latte3d.command import config_path
from latte3d.experiment import Experiment
from latte3d.scores import named_color
from latte3d.shapes import COLORS
from latte3d.study import StudySettings

SIZES = {"resolution": 8, "point_widths": [8], "voxels": [4], "widths": [8, 16], "text_width": 8, "points": 64}
STAGE = {"sizes": SIZES, "cells": 12, "size": 16, "samples": 12}
CONFIG = {
    "seed_everything": 0,
    "trainer": {
        "accelerator": "cpu", "logger": False, "enable_checkpointing": False, "enable_model_summary": False,
        "enable_progress_bar": False, "max_epochs": -1, "max_steps": 2, "limit_val_batches": 0,
    },
    "model": {"class_path": "latte3d.stages.ReconstructionStage", "init_args": STAGE},
    "data": {
        "class_path": "latte3d.data.ProceduralData",
        "init_args": {"each": 1, "held_out_each": 1, "bodies": ["ball"], "size": 16, "sets": 1, "points": 64},
    },
    "study": {
        "cells": {
            "zero": {},
            "one": {
                "after": "zero",
                "model": "latte3d.stages.VolumetricStage",
                "model.init_args.prior": None,
                "model.init_args.alpha": 1.0,
            },
        }
    },
}  # fmt: skip


SLIDE = {
    "model": "latte3d.stages.VolumetricStage",
    "model.init_args.prior": "multi_view",
    "model.init_args.amortise_alpha": True,
    "model.init_args.size": 32,
}


@pytest.fixture
def config(tmp_path):
    (tmp_path / "tiny.yaml").write_text(yaml.safe_dump(CONFIG))
    return str(tmp_path / "tiny.yaml")


def test_a_cell_starts_from_another_and_both_are_made_once(config, tmp_path):
    result = Experiment([config]).finish("one", tmp_path / "cells")
    assert set(result.scores) == {"iou_text", "iou_cloud", "color_text", "color_cloud"}
    assert len(result.scores["iou_text"]) == 2 and result.checkpoint.exists()
    files = {path: path.stat().st_mtime_ns for path in (tmp_path / "cells").iterdir()}
    assert len(files) == 4
    assert Experiment([config]).finish("one", tmp_path / "cells") == result
    assert {path: path.stat().st_mtime_ns for path in (tmp_path / "cells").iterdir()} == files


def test_what_decides_a_result_is_in_its_fingerprint(config, tmp_path):
    first = Experiment([config]).finish("zero", tmp_path / "cells")
    other = Experiment([config], ["--trainer.max_steps=1"]).finish("zero", tmp_path / "cells")
    assert first.fingerprint != other.fingerprint
    later = Experiment([config], ["--model.init_args.seed=1"]).finish("one", tmp_path / "cells")
    again = Experiment([config]).finish("one", tmp_path / "cells")
    assert later.fingerprint != again.fingerprint  # by the cell that it starts from
    assert json.loads(next((tmp_path / "cells").glob("one-*.json")).read_text())["made"]["seconds"] > 0


def test_what_is_measured_otherwise_is_measured_again(config, tmp_path):
    sliding = {"study.cells": CONFIG["study"]["cells"] | {"slide": {**SLIDE, "after": "zero"}}}

    def slide(*alphas):
        experiment = Experiment([config]).with_settings(sliding | {"study.alphas": alphas})
        return experiment.finish("slide", tmp_path / "cells")

    def stamp():
        (zero,) = (tmp_path / "cells").glob("zero-*.json")
        return zero.stat().st_mtime_ns

    assert "iou_cloud@1" in slide(0.0, 1.0).scores
    before = stamp()
    scores = slide(0.25, 0.75).scores
    assert {"iou_cloud@0.25", "iou_cloud@0.75"} <= set(scores) and "iou_cloud@1" not in scores
    assert stamp() == before  # of the cell that it starts from nothing changed


def test_a_cell_whose_checkpoint_is_gone_is_trained_again(config, tmp_path):
    first = Experiment([config]).finish("zero", tmp_path / "cells")
    first.checkpoint.unlink()
    again = Experiment([config]).finish("zero", tmp_path / "cells")
    assert again.checkpoint == first.checkpoint and again.checkpoint.is_file() and again.scores == first.scores


def test_cells_that_do_not_exist_or_run_in_circles_are_refused():
    study = StudySettings({"a": {"after": "b"}, "b": {"after": "a"}, "c": {"after": "d"}})
    with pytest.raises(ValueError, match="start from one another: a <- b <- a"):
        study.chain("a")
    with pytest.raises(ValueError, match="unknown cell 'd', choose from a, b, c"):
        study.chain("c")


def test_the_demos_cells_are_chains():
    cells = yaml.safe_load(Path(config_path("demo")).read_text())["study"]["cells"]
    assert StudySettings(cells).chain("surface") == ["stage0", "full", "surface"]
    assert StudySettings(cells).chain("no_init") == ["no_init"]
    for name, changed in cells.items():
        for setting in changed:
            part = setting.partition(".")[0]
            assert part in ("after", "trainer", "model"), name


def test_a_pattern_does_not_change_the_name_of_a_colour():
    for name, color in COLORS.items():
        assert named_color(torch.tensor([color, [0.3 * c for c in color]])) == name


def test_cells_side_by_side_are_those_one_after_another(config, tmp_path):
    alone = Experiment([config], ["--study.workers=1"]).finish_all(tmp_path / "alone", "cells")
    both = Experiment([config], ["--study.workers=2"]).finish_all(tmp_path / "both", "cells")
    assert set(alone) == set(both) == {"zero", "one"}
    assert all(alone[cell].scores == both[cell].scores for cell in alone)


def test_a_curve_is_scored_on_the_way(config, tmp_path):
    experiment = Experiment([config], ["--study.curve_every=1"])
    result = experiment.finish("zero", tmp_path / "cells")
    assert [point["step"] for point in result.curve] == [1, 2]
    assert result.curve[0]["seconds"] < result.curve[1]["seconds"] <= result.seconds
    assert set(result.curve[0]) > set(result.scores)


def test_a_config_over_another_adds_cells_and_may_shorten_all(config, tmp_path):
    study = StudySettings({"a": {}}, more={"b": {"after": "a"}})
    assert study.chain("b") == ["a", "b"]
    short = Experiment([config], ["--study.most_steps=1", "--study.curve_every=1"]).finish("zero", tmp_path / "cells")
    assert [point["step"] for point in short.curve] == [1]
    half = Experiment([config], ["--study.share=0.5", "--study.curve_every=1"]).finish("zero", tmp_path / "half")
    assert [point["step"] for point in half.curve] == [1]


def test_drawn_cells_are_judged_and_amortised_ones_slide(config, tmp_path):
    changed = {"study.drawn": ["zero"], "study.prompts": 1, "study.alphas": [0.0, 1.0]}
    experiment = Experiment([config]).with_settings(changed)
    scores = experiment.finish("zero", tmp_path / "cells").scores
    assert len(scores["retrieval"]) == 9 and len(scores["silhouette"]) == 2
    assert {"detail_text", "detail_cloud"} < set(scores)
