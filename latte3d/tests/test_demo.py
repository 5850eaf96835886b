"""The demo end to end in seconds, and what its numbers become."""

import json

import numpy as np
import pytest
import torch

import latte3d.demo as demonstration
import latte3d.reproduce as reproduction
from latte3d import evidence, figures
from latte3d.cli import main
from latte3d.evidence import Run
from latte3d.experiment import Experiment
from latte3d.gallery import middle
from latte3d.study import CellResult
from latte3d.textured_mesh import read_mesh

SCORES = ("iou_text", "iou_cloud", "color_text", "color_cloud")


def cell(name, value, **more):
    scores = {score: [value, value] for score in SCORES} | {key: [v] * 20 for key, v in more.items()}
    curve = [{"step": s, "seconds": s / 10, **dict.fromkeys(SCORES, value)} for s in (10, 20)]
    return CellResult(name, "f", f"{name}.ckpt", scores, 2.0, curve)


def made_up(seed=0, full=0.6, without=0.5):
    drawn = {"detail_cloud": full, "detail_text": full, "silhouette": 0.9, "retrieval": 1.0}
    amortised = {f"{s}@{a}": a for s in SCORES for a in (0, 1)}
    cells = [
        cell("stage0", 0.3), cell("full", full, **drawn), cell("surface", full, **drawn | {"detail_cloud": full + 0.2}),
        cell("no_init", without), cell("no_shape", without), cell("no_prior", 0.2), cell("amortised", 0.5, **amortised),
    ]  # fmt: skip
    return Run({one.name: one for one in cells}, [0.4, 0.5], [0.4])


def test_claims_hold_by_their_measurements_alone():
    held = {claim.id: claim.holds for claim in evidence.learning_claims([made_up()])}
    assert held == {
        "text-iou": True,
        "regularisation": True,
        "initialisation": True,
        "colour": False,
        "no-prior": True,
    }
    missed = {claim.id: claim.holds for claim in evidence.learning_claims([made_up(without=0.58)])}
    assert not missed["regularisation"] and not missed["initialisation"]
    held = {claim.id: claim.holds for claim in evidence.surface_claims([made_up()])}
    assert held == {"colour-surface": False, "detail": True, "retrieval": True, "no-fog": True}
    assert evidence.alpha_claim([made_up()], (0, 1)).measured == 1.0
    assert evidence.frozen_claim(0.0).holds and not evidence.frozen_claim(1e-9).holds
    assert evidence.latency_claim({"text": 0.1, "networks": 0.1}).holds


def test_errors_are_over_seeds():
    claims = evidence.learning_claims([made_up(0, 0.6), made_up(1, 0.62)])
    gap = next(claim for claim in claims if claim.id == "regularisation")
    assert gap.measured == pytest.approx(0.11) and gap.stderr == pytest.approx(0.01)
    assert evidence.mean_and_error([1.0]) == (1.0, None)
    records = [{"seed": s, "before": -2.0, "after": -1.0 - s} for s in (0, 1)]
    assert evidence.optimisation_claim(records).measured == pytest.approx(0.5)


def test_figures_are_drawn_of_one_seed_and_of_several():
    for runs in ([made_up()], [made_up(0), made_up(1, 0.7)]):
        for figure in (
            figures.arms_figure(runs),
            figures.curves_figure(runs),
            figures.alpha_figure(runs, (0, 1)),
        ):
            assert figure.get_size_inches()[0] == figures.WIDTH
    figure = figures.gallery_figure({"a red ball with a blue cube": [torch.rand(8, 8, 3)] * 2}, ("one", "two"))
    figure.canvas.draw()
    figures.latency_figure({"networks": 0.1, "export": 0.1}, 0.3, 600).canvas.draw()


def test_crops_are_of_the_middle():
    picture = torch.zeros(8, 8, 3)
    picture[2:6, 2:6] = 1
    assert torch.equal(middle(picture, 4), torch.ones(4, 4, 3))


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A demo that was run in this process."""
    out = tmp_path_factory.mktemp("demo")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Experiment, "finish_all", one_after_another)
        with pytest.raises(SystemExit) as stopped:
            main(["demo", "--fast", "--out", str(out), "--seed", "3"])
    assert stopped.value.code == 0
    return out


def one_after_another(self, folder, _):
    return {cell: self.finish(cell, folder) for cell in self.settings.cells}


def test_a_fast_demo_writes_figures_meshes_weights_and_claims(folder):
    content = json.loads((folder / "claims.json").read_text())
    assert content["project"] == "latte3d" and content["fast"] and content["seed"] == 3
    assert len(content["claims"]) == 11 and all(set(c) >= {"id", "holds", "measured"} for c in content["claims"])
    assert all((folder / name).stat().st_size > 0 for name in content["figures"])
    assert np.isfinite([c["measured"] for c in content["claims"]]).all()
    assert next(c for c in content["claims"] if c["id"] == "frozen")["holds"]
    assert len(list((folder / "cells").glob("*.ckpt"))) == 6
    assert len(read_mesh(folder / "one_pass.glb").faces) > 10


def test_a_second_demo_trains_nothing(folder):
    before = {path: path.stat().st_mtime_ns for path in (folder / "cells").iterdir()}
    demonstration.seeded(["demo", "fast"], 3).finish("surface", folder / "cells")
    assert {path: path.stat().st_mtime_ns for path in (folder / "cells").iterdir()} == before


def test_reproduce_finishes_its_experiments_and_names_unknown_ones(tmp_path, monkeypatch, capsys):
    short = ["--study.seeds=[3]", "--study.curve_every=1", "--study.optimised=1", "--study.optimised_steps=1"]
    monkeypatch.setattr(Experiment, "finish_all", one_after_another)
    made = Experiment

    def fast(configs, overrides=()):
        return made([*configs, "fast"], [*overrides, *short])

    for module in (reproduction, demonstration):
        monkeypatch.setattr(module, "Experiment", fast)
    with pytest.raises(SystemExit) as stopped:
        main(["reproduce", "--out", str(tmp_path)])
    assert stopped.value.code == 0
    for name in ("arms", "alpha", "optimisation"):
        content = json.loads((tmp_path / f"{name}.json").read_text())
        assert content["command"] == f"latte3d reproduce {name}" and content["claims"]
    pictures = {"gallery.png", "detail.png", "arms.png", "curves.png", "alpha.png", "latency.png"}
    assert pictures == {path.name for path in tmp_path.glob("*.png")}
    with pytest.raises(SystemExit):
        main(["reproduce", "nothing", "--out", str(tmp_path)])
    assert "unknown experiment 'nothing', choose from all, arms, alpha, optimisation" in capsys.readouterr().err
