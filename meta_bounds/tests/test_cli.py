"""The command line: the demo's files, packaged configs, own verbs, and one line for bad input."""

import csv
import json
import subprocess
import sys

import pytest
import torch
from test_data import write_omniglot

from meta_bounds import reproduce
from meta_bounds.claims import Claim, claims_table, exit_status, write_claims
from meta_bounds.cli import main
from meta_bounds.command import CONFIGS, config_path, plain_message, with_config_paths
from meta_bounds.data import SinusoidData
from meta_bounds.demo import seeded
from meta_bounds.experiment import Experiment
from meta_bounds.gradient_map import GradientMAP
from meta_bounds.learners import MAML, draw_episode
from meta_bounds.theory import TheorySettings


def run(*args):
    """The exit status of a command in this process."""
    with pytest.raises(SystemExit) as stopped:
        main(list(map(str, args)))
    return stopped.value.code


def error_of(capsys, *args):
    assert run(*args) == 2
    return capsys.readouterr().err


@pytest.fixture(scope="module")
def fast_demo(tmp_path_factory):
    out = tmp_path_factory.mktemp("demo") / "out"
    return run("demo", "--fast", "--out", out), out


def test_the_demo_writes_its_figures_tables_and_claims(fast_demo):
    code, out = fast_demo
    assert code == 0
    content = json.loads((out / "claims.json").read_text())
    assert set(content) == {"project", "seed", "seconds", "fast", "command", "claims", "figures"}
    assert content["project"] == "meta_bounds" and content["fast"] is True and content["seed"] == 0
    assert content["command"] == "meta-bounds demo --seed 0 --fast"
    assert len({claim["id"] for claim in content["claims"]}) == len(content["claims"]) == 17
    for claim in content["claims"]:
        assert {"id", "statement", "paper", "measured", "threshold", "holds"} <= set(claim)
        assert isinstance(claim["holds"], bool)
    assert len(content["figures"]) == 9
    for figure in content["figures"]:
        assert (out / figure).read_bytes()[:8] == b"\x89PNG\r\n\x1a\n"
    with open(out / "learners.csv", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert {row["learner"] for row in rows} == {"maml", "anil", "fine_tuned", "pooled", "single_task", "basis_map"}


def test_a_second_demo_in_the_same_folder_reads_what_was_trained(fast_demo, capsys):
    _, out = fast_demo
    stamps = {path: path.stat().st_mtime_ns for path in (out / "cells").glob("*.json")}
    assert run("demo", "--fast", "--out", out) == 0
    assert len(stamps) == 6
    assert stamps == {path: path.stat().st_mtime_ns for path in (out / "cells").glob("*.json")}
    assert "fast run: these numbers mean nothing" in capsys.readouterr().out


def test_another_seed_is_another_demo():
    first, other = (seeded(["demo", "fast"], seed) for seed in (0, 2))
    assert set(first.data.seeds) == {0, 1} and set(other.data.seeds) == set(other.model.seeds) == {200, 201}
    assert (first.theory.seed, other.theory.seed) == (0, 2)


def test_a_study_in_two_processes_is_the_same(tmp_path, fast_demo):
    experiment = Experiment(["demo", "fast"], ["--study.workers=2", "--study.learners=[pooled, basis_map]"])
    records = experiment.finish_all(tmp_path, "two processes")
    assert len(records) == 2 * 6 * 10
    alone = json.loads((fast_demo[1] / "cells" / "pooled.json").read_text())["made"]
    assert [vars(record) for record in records[:60]] == alone


def test_the_experiments_of_the_readme_come_through(tmp_path, monkeypatch, capsys):
    """Shrunk to seconds: they only have to write their files."""
    write_omniglot(tmp_path, "images_background_small1")
    write_omniglot(tmp_path, "images_background_small2", alphabet="Other")

    class Short(Experiment):
        def __init__(self, configs, overrides=()):
            small = ["--trainer.max_steps=2", "--data.init_args.novel_tasks=4", "--study.alone_steps=2"]
            if configs == ["reproduce_omniglot"]:
                small += ["--data.init_args.tasks=[2,3,4]", "--data.init_args.shots=[1,2]"]
            if configs == ["reproduce_noise"]:
                small += ["--data.init_args.shots=[5,10]", "--data.init_args.seeds=[0,1]"]
            if configs == ["reproduce_sinusoids"]:
                small += ["--data.init_args.tasks=[2,3,4]", "--data.init_args.seeds=[0,1]"]
            super().__init__(configs, [*overrides, *small])

    class Few(TheorySettings):
        def __init__(self, seed=0, **_):
            super().__init__(designs=3, draws=50, instances=2, seed=seed)

    monkeypatch.setattr(reproduce, "Experiment", Short)
    monkeypatch.setattr(reproduce, "SEEDS", (0,))
    monkeypatch.setattr(reproduce, "TheorySettings", Few)
    out = tmp_path / "out"
    assert run("reproduce", "--out", out) == 0
    assert run("reproduce", "omniglot", "--out", out, "--omniglot_dir", tmp_path) == 0
    results = {path.stem: json.loads(path.read_text()) for path in out.glob("*.json")}
    assert set(results) == {"theory", "sinusoids", "novel_noise", "diabetes", "omniglot"}
    for result in results.values():
        assert {"command", "seeds", "versions", "claims"} <= set(result)
    drawn = {path.stem for path in out.glob("*.png")}
    assert drawn >= {"samples", "noise", "chain", "sinusoids", "novel_noise", "omniglot", "polynomials"}
    assert "| single task | – |" in capsys.readouterr().out


def test_sweep_bound_and_risk_print_and_write_tables(tmp_path, capsys):
    assert run("sweep", "exchange", "--out", tmp_path) == 0
    assert (tmp_path / "exchange.csv").read_text().startswith("d,J,bits\n2,")
    path = tmp_path / "bound.csv"
    assert run("bound", "--d", "[1,3]", "--M", "2", "--k", "[1,5]", "--out", path) == 0
    rows = list(csv.DictReader(path.read_text().splitlines()))
    assert (
        len(rows) == 4
        and rows[0]["theorem_3"] == "vacuous"
        and float(rows[2]["theorem_3"]) > float(rows[3]["theorem_3"])
    )
    assert run("risk", "--d", "3", "--M", "4", "--n", "9", "--k", "[2,4]", "--designs", "5") == 0
    table = capsys.readouterr().out
    assert table.count("| map |") == 2 and table.count("| least_squares |") == 1 and "floor: tr Σ" in table


def test_adapt_reads_a_file(tmp_path, capsys):
    path = tmp_path / "tasks.csv"
    generator = torch.Generator().manual_seed(0)
    lines = ["task,a,b,y"]
    for task in range(5):
        theta = torch.tensor([1.0, -2.0]) + 0.3 * torch.randn(2, generator=generator)
        features = torch.randn(12, 2, generator=generator)
        targets = features @ theta + 0.1 * torch.randn(12, generator=generator)
        lines += [f"t{task},{x[0]:.4f},{x[1]:.4f},{y:.4f}" for x, y in zip(features, targets, strict=True)]
    path.write_text("\n".join(lines))
    assert run("adapt", path, "--novel", "t3", "--k", "2") == 0
    printed = capsys.readouterr().out
    assert "4 training tasks; task t3: 2 rows to adapt to, 10 to test on" in printed
    errors = {line.split("|")[1].strip(): float(line.split("|")[2]) for line in printed.splitlines()[-4:]}
    assert errors["hierarchical MAP"] < errors["other tasks' mean"]


def test_fit_test_and_predict_with_packaged_configs(tmp_path, capsys):
    quiet = ["--trainer.logger=false", "--trainer.enable_progress_bar=false", f"--trainer.default_root_dir={tmp_path}"]
    small = ["--data.init_args.seeds=[0,1]", "--data.init_args.shots=[5,10]", "--data.init_args.noises=[0.0]"]
    common = ["--config", "sinusoid", "--trainer.accelerator=cpu", *quiet, *small]
    main(["fit", *common, "--trainer.max_epochs=50"])
    checkpoint = next(tmp_path.rglob("last.ckpt"))
    main(["test", *common, f"--ckpt_path={checkpoint}"])
    assert "test/error_k10_noise0" in capsys.readouterr().out
    main(["predict", *common, f"--ckpt_path={checkpoint}"])
    learner = MAML.load_from_checkpoint(checkpoint, weights_only=True)
    assert learner.hparams.layers == 6 and len(learner.seeds) == 2


def test_the_gradient_map_fits_and_tests_from_its_config(tmp_path, capsys):
    common = ["--config=gradient_map", "--trainer.logger=false", f"--trainer.default_root_dir={tmp_path}"]
    main(["fit", *common, "--trainer.enable_progress_bar=false"])
    main(["test", *common, f"--ckpt_path={next(tmp_path.rglob('last.ckpt'))}", "--trainer.enable_progress_bar=false"])
    assert "test/distance_to_closed_form" in capsys.readouterr().out


def test_a_fit_that_was_killed_goes_on_to_the_same_bits(tmp_path):
    def fit(folder, steps, *more):
        main([
            "fit", "--config=sinusoid", "--trainer.accelerator=cpu", "--trainer.logger=false",
            f"--trainer.default_root_dir={folder}", "--trainer.enable_progress_bar=false",
            f"--trainer.max_steps={steps}",
            "--data.init_args.seeds=[0]", "--data.init_args.steps_per_epoch=7", "--model.init_args.layers=2",
            "--trainer.callbacks.init_args.every_n_train_steps=5", "--trainer.limit_val_batches=0", *more,
        ])  # fmt: skip
        return torch.load(next(folder.rglob("last.ckpt")), weights_only=True)["state_dict"]

    whole = fit(tmp_path / "whole", 20)
    fit(tmp_path / "killed", 10)
    resumed = fit(tmp_path / "killed", 20, f"--ckpt_path={next((tmp_path / 'killed').rglob('last.ckpt'))}")
    assert all(torch.equal(whole[name], resumed[name]) for name in whole)


def test_all_packaged_configs_build_their_objects(tmp_path):
    paper = Experiment(["sinusoid"], ["--trainer.accelerator=cpu"])
    assert isinstance(paper.model, MAML) and isinstance(paper.data, SinusoidData)
    assert len(paper.model.seeds) == 30 and paper.model.hparams.layers == 6 and paper.trainer([]).max_epochs == 500
    assert isinstance(Experiment(["gradient_map"]).model, GradientMAP)
    for name in ("omniglot", "reproduce_omniglot"):
        built = Experiment([name], ["--data.init_args.data_dir=nowhere", "--trainer.accelerator=cpu"])
        assert (built.model.inputs, built.model.outputs, built.model.classifies) == (225, 5, True)
    for name in ("reproduce_sinusoids", "reproduce_noise"):
        assert len(Experiment([name]).model.seeds) == len(Experiment([name]).data.runs)


def test_the_paper_s_stack_of_thirty_runs_steps():
    """50 tasks, n = 200 with 100 to adapt to, 25 episodes, six layers: one meta-step through five inner ones."""
    more = ["--data.init_args.samples=200", "--model.init_args.support=100", "--model.init_args.query=100"]
    paper = Experiment(["sinusoid"], ["--trainer.accelerator=cpu", "--data.init_args.seeds=[0,1,2]", *more])
    episode = draw_episode(paper.data.all_tasks(), 25, 100, 100, torch.Generator().manual_seed(0))
    loss = paper.model.episode_loss(*episode)
    loss.sum().backward()
    assert loss.shape == (3, 25) and all(torch.isfinite(w.grad).all() for w in paper.model.weights)


def test_bad_command_lines_are_one_line(tmp_path, capsys):
    assert "no config 'nope'" in (text := error_of(capsys, "fit", "--config", "nope")) and "demo, fast" in text
    assert "unknown experiment 'fig9', choose from all, theory" in error_of(capsys, "reproduce", "fig9")
    assert "unknown sweep 'fig9', choose from all, noise" in error_of(capsys, "sweep", "fig9")
    assert "M + 1 <= J is needed, got M = 9 and J = 9" in error_of(capsys, "bound", "--d", "3", "--M", "9")
    assert "variance must be positive" in error_of(capsys, "bound", "--sigma", "0")
    assert "k must be a whole number of at least 1, got 0" in error_of(capsys, "bound", "--k", "0")
    assert "n must be a whole number of at least 1, got 0" in error_of(capsys, "risk", "--n", "[5,0]")
    assert "k must not be an empty list" in error_of(capsys, "risk", "--k", "[]")
    assert "novel_variance must be positive" in error_of(capsys, "risk", "--novel_variance", "-1")
    assert "unknown features 'x', choose from polynomial, gaussian" in error_of(capsys, "risk", "--features", "x")
    assert "at least 2 designs, got 1" in error_of(capsys, "risk", "--designs", "1")
    assert "got d = 9: use gaussian" in error_of(capsys, "risk", "--d", "9")
    assert "unknown task 'x', choose from sex1-middle" in error_of(capsys, "adapt", "diabetes", "--novel", "x")
    text = error_of(capsys, "fit", "--config=demo", "--data.init_args.tasks=[0]")
    assert text.endswith("tasks must be at least 1, got [0]\n")
    over = [f"--data.init_args.data_dir={tmp_path}", "--trainer.accelerator=cpu"]
    text = error_of(capsys, "fit", "--config=omniglot", *over)
    assert "images_background_small1.zip" in text and "Traceback" not in text
    assert "--ckpt_path is missing" in error_of(capsys, "test", "--config", "demo")


def test_names_of_configs_become_paths_in_every_spelling():
    demo = str(CONFIGS / "demo.yaml")
    assert with_config_paths(["fit", "--config", "demo", "--config=demo", "-c", "demo"]) == [
        *("fit", "--config", demo, f"--config={demo}", "-c", demo)
    ]
    assert config_path(demo) == demo
    assert plain_message(ValueError("as it is")) == "as it is"


def test_python_m_is_the_same_command():
    done = subprocess.run([sys.executable, "-m", "meta_bounds", "--help"], capture_output=True, text=True)
    verbs = ("demo", "reproduce", "bound", "risk", "sweep", "adapt", "fit", "predict")
    assert done.returncode == 0 and all(verb in done.stdout for verb in verbs)


def test_a_claim_that_fails_is_shown_as_failing_and_strict_says_so(tmp_path):
    claims = [Claim("a", "First.", 0.5, 0.25, "below 1", True, 0.01), Claim("b", "Second.", None, "many", 3, False)]
    path = write_claims(tmp_path, "p", 1, 2.34, False, "p demo", claims, ["f.png"])
    content = json.loads(path.read_text())
    assert content["seconds"] == 2.3 and content["claims"][0]["stderr"] == 0.01 and "stderr" not in content["claims"][1]
    table = claims_table(claims)
    assert "holds     First." in table and "measured: 0.25 ± 0.01" in table and "DOES NOT  Second." in table
    assert [exit_status(claims, False), exit_status(claims, True), exit_status(claims[:1], True)] == [0, 1, 0]
