"""The command line: the demo's files, verbs on one's own checkpoints, packaged configs, and one line for bad input."""

import json
import subprocess
import sys

import numpy as np
import pytest
import torch
from layouts import celeba, imagenet, own_folder, zappos

from flexible_fewshot.bins import binned
from flexible_fewshot.cli import main
from flexible_fewshot.command import CONFIGS, config_path
from flexible_fewshot.demo import seeded
from flexible_fewshot.evidence import accuracies, bin_claims, difference, face_claims, gap, sweep_claims
from flexible_fewshot.experiment import Experiment
from flexible_fewshot.intervals import over_episodes
from flexible_fewshot.reproduce import EXPERIMENTS, paired_rows, table
from flexible_fewshot.results import read_json, write_json
from flexible_fewshot.study import Record, StudySettings, checkpoint_path, read_records

FIGURES = ["bars", "episodes", "shots", "readouts", "t_score", "cam", "toy"]
METHODS = ["RND", "GT", "U", "SA", "SA*", "UFTA", "UFTE", "ProtoNet"]
SMALL = ["data.init_args.train_size=300", "data.init_args.val_size=100", "data.init_args.test_size=300",
         "data.init_args.n_episodes=12", "data.init_args.shots=5", "data.init_args.queries=5"]  # fmt: skip


def run(*args):
    """The exit status of a command in this process."""
    with pytest.raises(SystemExit) as stopped:
        main(list(map(str, args)))
    return stopped.value.code


def error_of(capsys, *args):
    assert run(*args) == 2
    return capsys.readouterr().err


def over(*settings):
    return ["--overrides", json.dumps([*SMALL, *settings])]


@pytest.fixture(scope="module")
def fast_demo(tmp_path_factory):
    out = tmp_path_factory.mktemp("demo") / "out"
    return run("demo", "--fast", "--out", out), out


def test_the_demo_writes_its_figures_and_claims(fast_demo):
    code, out = fast_demo
    assert code == 0
    content = json.loads((out / "claims.json").read_text())
    assert set(content) == {"project", "seed", "seconds", "fast", "command", "claims", "figures"}
    assert content["project"] == "flexible_fewshot" and content["fast"] is True and content["seed"] == 0
    assert content["command"] == "flexible-fewshot demo --seed 0 --fast"
    assert len({claim["id"] for claim in content["claims"]}) == len(content["claims"]) == 13
    for claim in content["claims"]:
        assert {"id", "statement", "paper", "measured", "threshold", "holds"} <= set(claim)
        assert isinstance(claim["holds"], bool)
    assert content["figures"] == [f"{name}.png" for name in FIGURES]
    for figure in content["figures"]:
        assert (out / figure).read_bytes()[:8] == b"\x89PNG\r\n\x1a\n"


def test_a_second_demo_in_the_same_folder_reads_what_was_trained(fast_demo, capsys):
    _, out = fast_demo
    stamps = {path: path.stat().st_mtime_ns for path in (out / "cells").iterdir()}
    claims = json.loads((out / "claims.json").read_text())["claims"]
    assert run("demo", "--fast", "--strict", "--out", out) == int(not all(c["holds"] for c in claims))
    assert stamps == {path: path.stat().st_mtime_ns for path in (out / "cells").iterdir()}
    assert "fast run: these numbers mean nothing" in capsys.readouterr().out


def test_records_without_their_checkpoint_are_made_again_with_it(tmp_path):
    experiment = seeded(["demo", "fast"], 0)
    first = experiment.finish("rho0", 0, "U", tmp_path)
    with pytest.raises(
        FileNotFoundError, match=r"rho0-0-SA.ckpt: no such file; UFTA starts from it, so SA comes first"
    ):
        Experiment(["demo", "fast"], ['--study.methods={"UFTA": {"after": "SA"}}']).finish("rho0", 0, "UFTA", tmp_path)
    checkpoint_path(tmp_path, "rho0", 0, "U").unlink()
    experiment.finish_chain([("rho0", 0, "U"), ("rho0", 0, "UFTA")], tmp_path)
    (again,) = {record.method: record for record in read_records(tmp_path, "rho0", 0, "U")}.values()
    assert checkpoint_path(tmp_path, "rho0", 0, "U").is_file()
    assert again.accuracies == first[-1].accuracies


def test_all_methods_of_the_demo_are_judged_on_the_same_episodes(fast_demo):
    _, out = fast_demo
    records = {}
    for path in (out / "cells").glob("rho2.5-0-*.json"):
        content = json.loads(path.read_text())["made"]
        records[content[0]["method"]] = content
    assert set(records) == set(METHODS)
    sizes = {(r["group"], r["shots"], len(r["accuracies"])) for found in records.values() for r in found}
    assert sizes == {(group, shots, 20) for group in ("train", "test") for shots in (2, 5)}


def test_another_seed_is_another_demo():
    experiment = seeded(["demo", "fast"], 1)
    cell = experiment.cell("rho2.5", 1, "SA*")
    assert [seed for chain in experiment.settings.chains() for _, seed, _ in chain] == [1] * 10
    assert cell.data.seed == cell.model.hparams.seed == experiment.toy.seed == 1


def test_checkpoints_of_the_demo_can_be_judged_extracted_and_finetuned(fast_demo, tmp_path, capsys):
    _, out = fast_demo
    cells = out / "cells"
    u, proto = cells / "rho2.5-0-U.ckpt", cells / "rho2.5-0-ProtoNet.ckpt"
    cache = ["--cache", tmp_path / "cache"]
    assert run("evaluate", u, *over(), *cache, "--out", tmp_path / "u.json") == 0
    assert "± " in capsys.readouterr().out
    assert run("evaluate", proto, "--readout", "own", *over(), *cache, "--against", tmp_path / "u.json") == 0
    assert "ahead of" in capsys.readouterr().out
    for readout in ("nn", "nc"):
        assert run("evaluate", u, "--readout", readout, "--group", "train", "--shots", 2, *over(), *cache) == 0
    assert run("evaluate", "attributes", "--lam", 0.01, *over()) == 0
    assert run("extract", u, *over(), *cache, "--out", tmp_path / "f.npz") == 0
    with np.load(tmp_path / "f.npz") as found:
        assert found["features"].shape == (300, 32) and found["images"][7] == "face-2-000007"
    tuned = tmp_path / "ufta.ckpt"
    assert run("finetune", u, "--out", tuned, *over("--trainer.max_steps=2")) == 0  # with dashes or without
    assert run("evaluate", tuned, *over(), *cache) == 0
    few = over("trainer.max_steps=1", "data.init_args.train_shots=5", "data.init_args.train_queries=5")
    assert run("finetune", u, "--method", "UFTE", "--out", tuned, *few) == 0


def test_frozen_episodes_are_written_and_read(fast_demo, tmp_path, capsys):
    _, out = fast_demo
    frozen = tmp_path / "e.json.gz"
    assert run("episodes", "demo", "--out", frozen, *over()) == 0
    assert "12 episodes of 5 shots" in capsys.readouterr().out
    u = out / "cells" / "rho2.5-0-U.ckpt"
    cache = ["--cache", tmp_path / "cache"]
    for options in ([], ["--episodes", frozen]):
        assert run("evaluate", u, *over(), *options, *cache, "--out", tmp_path / f"{len(options)}.json") == 0
    first, second = (read_json(tmp_path / f"{n}.json") for n in (0, 2))
    assert first["accuracies"] == second["accuracies"]


def test_label_only_results_need_no_pictures(tmp_path, capsys):
    celeba(tmp_path, n=400, pictures=False)
    own = ["--config", "celeba", "--overrides",
           json.dumps([f"data.init_args.data_dir={tmp_path}", "data.init_args.shots=3", "data.init_args.queries=3",
                       "data.init_args.n_episodes=10", "trainer.accelerator=cpu"])]  # fmt: skip
    assert run("transferability", own[1], *own[2:]) == 0
    assert "mean of 13" in capsys.readouterr().out
    assert run("evaluate", "attributes", "--lam", 0.01, *own) == 0
    assert "on 10 episodes of test attributes" in capsys.readouterr().out


def test_the_toy_problem_is_a_command(capsys):
    assert run("toy", "--steps", 30) == 0
    assert "train over test" in capsys.readouterr().out
    assert run("toy", "--steps", 5, "--control") == 0


def test_fit_leaves_a_checkpoint_that_test_and_finetune_take(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    small = ["--trainer.max_steps=2", "--data.init_args.train_size=200", "--data.init_args.test_size=300",
             "--data.init_args.n_episodes=8", "--data.init_args.shots=5", "--data.init_args.queries=5",
             "--trainer.limit_val_batches=0", "--trainer.enable_progress_bar=false"]  # fmt: skip
    main(["fit", "--config", "faces", *small])
    last = tmp_path / "runs" / "flexible_fewshot-faces" / "checkpoints" / "last.ckpt"
    assert last.is_file()
    main(["test", "--config", "faces", *small, f"--ckpt_path={last}"])
    assert "test/accuracy" in capsys.readouterr().out
    assert run("finetune", last, *over("trainer.max_steps=1")) == 0


def test_ones_own_folder_can_be_studied(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    own_folder(tmp_path, n=200)
    settings = [f"data.init_args.data_dir={tmp_path}", f"data.init_args.table_file={tmp_path / 'attributes.csv'}",
                f"data.init_args.split={tmp_path / 'split.yaml'}", "trainer.max_steps=1", "model.init_args.width=4",
                "data.init_args.n_episodes=5", "data.init_args.shots=2", "data.init_args.queries=2", "study.shots=[2]",
                "trainer.accelerator=cpu", "data.init_args.batch_size=8", "trainer.logger=false"]  # fmt: skip
    steps = {
        name: dict(own) for name, own in Experiment(["folder"], [f"--{s}" for s in settings]).settings.methods.items()
    }
    for own in steps.values():
        own.pop("trainer.max_steps", None)
    command = ["study", "folder", "--out", tmp_path / "out", "--overrides"]
    assert run(*command, json.dumps([*settings, f"study.methods={json.dumps(steps)}"])) == 0
    assert "| U-FT-A |" in capsys.readouterr().out


LAYOUTS = {"celeba": celeba, "zappos50k": zappos, "imagenet": imagenet}
PAPER = [m for m in Experiment(["demo", "paper_methods"]).settings.methods if m != "GT"]


@pytest.mark.parametrize("dataset", LAYOUTS)
def test_the_configs_at_the_papers_scale_take_a_step(dataset, tmp_path, monkeypatch):
    """Every method of the main table, at the paper's sizes, on a few random pictures in the official layout."""
    monkeypatch.chdir(tmp_path)
    LAYOUTS[dataset](tmp_path, n=120)
    small = {"trainer.accelerator": "cpu", "trainer.precision": "bf16-mixed", "trainer.devices": 1,
             "trainer.sync_batchnorm": False, "trainer.logger": False, "trainer.callbacks": [],
             "data.init_args.data_dir": str(tmp_path), "data.init_args.shots": 1, "data.init_args.queries": 1,
             "data.init_args.n_episodes": 2, "trainer.enable_progress_bar": False}  # fmt: skip
    experiment = Experiment([f"{dataset}+paper_methods"], [f"--{k}={json.dumps(v) if not isinstance(v, str) else v}"
                                                             for k, v in small.items()])  # fmt: skip
    tiny = {"data.init_args.batch_size": 2, "data.init_args.episodes_per_batch": 1, "data.init_args.train_shots": 1,
            "data.init_args.train_queries": 1, "trainer.max_steps": 1, "trainer.max_epochs": -1}  # fmt: skip
    encoder = {"celeba": "ResNet12", "zappos50k": "ResNet12", "imagenet": "ResNet50"}[dataset]
    size = 224 if dataset == "imagenet" else 84
    few = ["U", "SA", "UFTA", "UFTE"]  # TADAM's conditioning of a ResNet-50 alone has 200 million parameters
    for method in PAPER if dataset == "celeba" else few:
        cell = experiment.cell(dataset, 0, method).with_settings(tiny)
        assert type(cell.model.encoder).__name__ == encoder and cell.model.encoder.features >= 512
        cell.trainer().fit(cell.model, datamodule=cell.data)
        assert cell.data.pool("train").images.shape[2:] == (size, size)
        assert all(torch.isfinite(p).all() for p in cell.model.parameters())


def test_the_configs_at_the_papers_scale_are_for_gpus():
    for name in LAYOUTS:
        text = (CONFIGS / f"{name}.yaml").read_text()
        assert (
            "accelerator: gpu" in text and "precision: bf16-mixed" in text and "use_distributed_sampler: false" in text
        )


def test_every_packaged_config_parses(tmp_path):
    own = {"folder": own_folder, **LAYOUTS}
    for path in CONFIGS.glob("*.yaml"):
        alone = path.stem in ("demo", "faces", "folder", *LAYOUTS)
        overrides = []
        if path.stem in own:
            own[path.stem](tmp_path)
            overrides = [f"--data.init_args.data_dir={tmp_path}", "--trainer.accelerator=cpu"]
        if path.stem == "folder":
            overrides += [f"--data.init_args.table_file={tmp_path / 'attributes.csv'}",
                          f"--data.init_args.split={tmp_path / 'split.yaml'}"]  # fmt: skip
        assert Experiment([path.stem] if alone else ["demo", path.stem], overrides).data is not None


def test_the_demo_and_reproduce_share_their_settings():
    """The same methods with the same settings: the larger study differs in seeds, episodes and breadth alone."""
    demo, large = (Experiment(configs).settings.methods for configs in (["demo"], ["demo", "reproduce_faces"]))
    assert {name: large[name] for name in demo} == demo and set(METHODS) == set(demo)
    assert set(large) - set(demo) == {"ID", "MatchingNet", "ANIL", "TAFENet", "TADAM"}


def test_bad_input_is_one_line(fast_demo, tmp_path, capsys):
    _, out = fast_demo
    u = out / "cells" / "rho2.5-0-U.ckpt"
    assert "unknown experiment 'all of it', choose from all, faces" in error_of(capsys, "reproduce", "all of it")
    assert "no config 'celebb'" in error_of(capsys, "transferability", "celebb")
    assert "unknown readout 'svm', choose from nn, nc, lr, own" in error_of(capsys, "evaluate", u, "--readout", "svm")
    assert "a SimCLR has no map of its own" in error_of(capsys, "evaluate", u, "--readout", "own", *over())
    assert "unknown stage 'dev'" in error_of(capsys, "extract", u, "--stage", "dev", *over())
    assert "no.ckpt: no such file" in error_of(capsys, "extract", tmp_path / "no.ckpt", *over())
    assert "list_attr_celeba.txt: no such file" in error_of(capsys, "transferability", "celeba")
    assert "unknown method 'UFTX', choose from RND" in error_of(capsys, "finetune", u, "--method", "UFTX")
    assert "toy needs steps >= 1" in error_of(capsys, "toy", "--steps", 0)
    write_json(tmp_path / "other.json", {"contexts": [], "accuracies": [], "checkpoint": "x"})
    said = error_of(capsys, "evaluate", u, *over(), "--against", tmp_path / "other.json", "--cache", tmp_path / "c")
    assert "was measured on other episodes" in said
    assert "no such file" in error_of(capsys, "evaluate", u, *over(), "--against", tmp_path / "none.json")
    (tmp_path / "broken.json").write_text("{")
    assert "not a JSON file" in error_of(capsys, "evaluate", u, *over(), "--against", tmp_path / "broken.json")
    assert "the weights would be untrained" in error_of(capsys, "test", "--config", "faces")


def test_python_m_and_help_work():
    found = subprocess.run([sys.executable, "-m", "flexible_fewshot", "--help"], capture_output=True, text=True)
    assert found.returncode == 0
    for verb in ("fit", "demo", "reproduce", "finetune", "extract", "episodes", "evaluate", "transferability", "toy"):
        assert verb in found.stdout


def test_studies_name_what_they_lack(tmp_path):
    with pytest.raises(ValueError, match="names no methods or no conditions"):
        StudySettings().chains()
    settings = StudySettings(methods={"U": {}, "UFTA": {"after": "V"}}, conditions={"c": {}})
    with pytest.raises(ValueError, match="unknown method 'V', choose from U, UFTA"):
        settings.chains()
    with pytest.raises(ValueError, match=r"unknown method 'V', choose from RND"):
        Experiment(["demo"]).cell("rho2.5", 0, "V")
    with pytest.raises(ValueError, match=r"unknown condition 'rho9', choose from rho2\.5, rho0"):
        Experiment(["demo"]).finish("rho9", 0, "U", tmp_path)


def test_what_starts_from_another_follows_it_in_one_process():
    chains = Experiment(["demo"]).settings.chains()
    assert [("rho2.5", 0, "U"), ("rho2.5", 0, "UFTA"), ("rho2.5", 0, "UFTE")] in chains
    assert [("rho0", 0, "U"), ("rho0", 0, "UFTA")] in chains


def made_up(shift, condition="rho2.5", seeds=2):
    """Records in which the methods differ by known amounts."""
    level = {"RND": 60, "GT": 99, "SA": 70, "U": 74, "UFTA": 74 + shift, "SA*": 90}
    random = np.random.default_rng(0)
    noise = {seed: random.normal(0, 5, 300) for seed in range(seeds)}
    return [
        Record(condition, seed, method, group, 20, "lr",
               (mean + 20 * (group == "train" and method == "SA") + noise[seed] + random.normal(0, 1, 300)).tolist())
        for method, mean in level.items() for group in ("train", "test") for seed in range(seeds)
    ]  # fmt: skip


def test_claims_follow_the_measurements():
    records = [*made_up(3), *made_up(0, "rho0")]
    held = {claim.id: claim.holds for claim in face_claims(records)}
    assert all(held.values())
    assert difference(records, "rho2.5", "UFTA", "U").mean == pytest.approx(3, abs=0.2)
    assert gap(records, "rho2.5", "SA").mean == pytest.approx(20, abs=0.5)
    worse = {claim.id: claim.holds for claim in face_claims([*made_up(-4), *made_up(2, "rho0")])}
    assert not worse["ufta-over-u"] and not worse["ufta-over-u-rho0"] and not worse["ufta-over-sa"] and worse["oracle"]
    rhos = [("rho0", 0.0), ("rho2.5", 2.5)]
    assert sweep_claims(records, rhos)[0].holds and not sweep_claims(records, rhos[::-1])[0].holds
    with pytest.raises(ValueError, match="no records of TADAM under rho0 on test attributes"):
        accuracies(records, "rho0", "TADAM")


def test_bins_and_tables_of_results():
    values, scores = np.r_[np.zeros(50), np.ones(50)] + np.tile([-0.1, 0.1], 50), np.linspace(0.5, 0.9, 100)
    found, counts = binned(values, scores, np.array([0.5, 0.7, 0.9]))
    assert [round(f.mean, 3) for f in found] == [0, 1] and counts == [50, 50]
    assert bin_claims(values, (scores > 0.7).astype(int))[0].holds
    lone = binned(np.array([1.0, 2.0, 3.0]), np.array([0.0, 0.0, 1.0]), np.array([0, 0.5, 1]))[0]
    assert lone[0].mean == 1.5 and np.isnan(lone[1].mean)
    rows = table(made_up(3), "rho2.5")
    assert len(rows) == 12 and len(rows[0]["by_seed"]) == 2
    assert rows[0]["mean"] == pytest.approx(over_episodes(np.ravel(made_up(3)[0].accuracies)).mean, abs=1)
    assert set(paired_rows(made_up(3), "rho2.5")) == {"U - SA", "UFTA - SA", "UFTA - U", "SA* - UFTA"}
    assert set(EXPERIMENTS) == {"faces", "sweep", "toy", "digits", "omniglot"}


def test_config_names_are_resolved():
    assert config_path("celeba").endswith("celeba.yaml")
