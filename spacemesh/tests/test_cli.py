"""The command line: the demo's files, verbs on one's own meshes, packaged configs, and one line for bad input."""

import json

import pytest
import torch

from spacemesh import HalfedgeMesh, MeshBatch, demo, read_mesh, write_mesh, write_polygons
from spacemesh.checkpoints import load_model
from spacemesh.cli import main
from spacemesh.data import ProceduralMeshes
from spacemesh.diffusion import VertexDiffusion
from spacemesh.experiment import Experiment
from spacemesh.metrics import edge_scores
from spacemesh.polygons import canonical
from spacemesh.shapes import capped_tube, dodecahedron, icosphere
from spacemesh.study import punctured
from spacemesh.training import ConnectivityTraining

PINCHED = ([0, 1, 2], [0, 3, 4])  # two triangles that share a vertex and no edge
FIGURES = ["fits", "distances", "scores", "learned", "repair", "generated"]


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


def test_the_demo_writes_its_figures_meshes_and_claims(fast_demo):
    code, out = fast_demo
    assert code == 0
    content = json.loads((out / "claims.json").read_text())
    assert set(content) == {"project", "seed", "seconds", "fast", "command", "claims", "figures"}
    assert content["project"] == "spacemesh" and content["fast"] is True and content["seed"] == 0
    assert content["command"] == "spacemesh demo --seed 0 --fast"
    assert len({claim["id"] for claim in content["claims"]}) == len(content["claims"]) == 13
    for claim in content["claims"]:
        assert {"id", "statement", "paper", "measured", "threshold", "holds"} <= set(claim)
        assert isinstance(claim["holds"], bool)
    assert content["figures"] == [f"{name}.png" for name in FIGURES]
    for figure in content["figures"]:
        assert (out / figure).read_bytes()[:8] == b"\x89PNG\r\n\x1a\n"
    read_mesh(out / "meshes" / "tori_true.obj").check()


def test_a_second_demo_in_the_same_folder_reads_what_was_made(fast_demo, capsys):
    _, out = fast_demo
    stamps = {path: path.stat().st_mtime_ns for path in (out / "cells").iterdir()}
    assert run("demo", "--fast", "--out", out) == 0
    assert stamps == {path: path.stat().st_mtime_ns for path in (out / "cells").iterdir()}
    assert "fast run: these numbers mean nothing" in capsys.readouterr().out


def test_another_seed_has_other_weights_meshes_and_fits(fast_demo, tmp_path):
    _, out = fast_demo
    assert run("demo", "--fast", "--seed", 1, "--out", tmp_path) == 0
    fits = json.loads((tmp_path / "cells" / "fits.json").read_text())["made"]
    assert {r["seed"] for r in fits} == {1000}
    weights = [torch.load(p / "cells" / "connectivity.pt", weights_only=True)["made"] for p in (out, tmp_path)]
    assert not torch.equal(*(w["state_dict"]["predictor.place.weight"] for w in weights))
    assert (out / "meshes" / "tori_true.obj").read_text() != (tmp_path / "meshes" / "tori_true.obj").read_text()


def test_a_claim_that_fails_fails_a_strict_demo(fast_demo):
    _, out = fast_demo
    claims = json.loads((out / "claims.json").read_text())["claims"]
    assert run("demo", "--fast", "--strict", "--out", out) == int(not all(c["holds"] for c in claims))


def test_check_describes_a_good_mesh(tmp_path, capsys):
    write_mesh(tmp_path / "tube.obj", capped_tube(6, 3))
    assert run("check", tmp_path / "tube.obj") == 0
    said = capsys.readouterr().out
    assert "18 vertices, 30 edges, 13 faces, 6 boundary edges" in said
    assert "edge-manifold: yes, vertex-manifold: yes, oriented: yes, closed: no" in said
    assert "genus 0, 1 components, 1 boundary loops" in said


def test_check_names_the_faults_of_a_bad_mesh_and_mends_it(tmp_path, capsys):
    fan = torch.rand(5, 3, generator=torch.Generator().manual_seed(0))
    write_polygons(tmp_path / "fan.obj", fan, [[0, 1, 2], [1, 0, 3], [0, 1, 4]])
    assert run("check", tmp_path / "fan.obj", "--mended", tmp_path / "mended.ply") == 1
    said = capsys.readouterr().out
    assert "1 edges with more than two sides, the first: (0, 1)" in said and "not representable" in said
    read_mesh(tmp_path / "mended.ply").check()


def test_check_welds_a_file_that_shares_no_vertices(tmp_path, capsys):
    mesh = dodecahedron()
    corners = [v for face in mesh.to_polygons() for v in face]
    faces = torch.arange(len(corners)).reshape(-1, 5).tolist()
    write_polygons(tmp_path / "soup.obj", mesh.vertices[corners], faces)
    assert run("check", tmp_path / "soup.obj") == 0
    said = capsys.readouterr().out
    assert "40 vertices share the position of another; --weld makes them one" in said and "12 components" in said
    assert run("check", tmp_path / "soup.obj", "--weld") == 0
    assert "20 vertices, 30 edges, 12 faces, 0 boundary edges" in capsys.readouterr().out


def test_fit_mesh_recovers_a_file_exactly(tmp_path, capsys):
    mesh = dodecahedron()
    write_mesh(tmp_path / "solid.off", mesh)
    assert run("fit-mesh", tmp_path / "solid.off", "--out", tmp_path / "fit") == 0
    assert "exact after" in capsys.readouterr().out
    assert canonical(read_mesh(tmp_path / "fit" / "decoded.obj").to_polygons()) == canonical(mesh.to_polygons())
    saved = torch.load(tmp_path / "fit" / "embedding.pt", weights_only=True)
    assert saved["vectors"].shape == (20, sum(saved["sizes"][:2]) + 3 * saved["sizes"][2])


def test_a_fit_that_ran_out_of_steps_says_so(tmp_path, capsys):
    write_mesh(tmp_path / "sphere.obj", icosphere(2))
    assert run("fit-mesh", tmp_path / "sphere.obj", "--steps", 3, "--out", tmp_path / "fit") == 1
    assert "NOT exact after 3 steps" in capsys.readouterr().out


def test_polygons_makes_faces_of_edges(tmp_path, capsys):
    mesh = dodecahedron()
    content = {"positions": mesh.vertices.tolist(), "edges": mesh.edges.tolist()}
    (tmp_path / "edges.json").write_text(json.dumps(content))
    assert run("polygons", tmp_path / "edges.json", "--out", tmp_path / "solid.obj") == 0
    assert "12 faces, genus 0" in capsys.readouterr().out
    assert canonical(read_mesh(tmp_path / "solid.obj").to_polygons()) == canonical(mesh.to_polygons())


def test_repair_closes_a_file_with_the_demos_model(fast_demo, tmp_path, capsys):
    _, out = fast_demo
    mesh = icosphere(1)
    left, removed = punctured(mesh, torch.Generator().manual_seed(0))
    write_polygons(tmp_path / "open.obj", mesh.vertices, left)
    model = out / "cells" / "connectivity.pt"
    assert run("repair", tmp_path / "open.obj", "--ckpt_path", model, "--out", tmp_path / "closed.obj") == 0
    assert f"{len(left)} faces kept" in capsys.readouterr().out
    assert removed and canonical(left) <= canonical(read_polygons_of(tmp_path / "closed.obj"))


def test_connect_makes_a_manifold_of_bare_vertices(tmp_path, capsys):
    (mesh,) = ProceduralMeshes(["tori"], test=1, seed=98).meshes_of("test")
    write_polygons(tmp_path / "vertices.obj", 3 * mesh.vertices, [])
    assert run("connect", tmp_path / "vertices.obj", "--out", tmp_path / "torus.obj") == 0
    assert f"{len(mesh.vertices)} vertices" in capsys.readouterr().out
    found = read_mesh(tmp_path / "torus.obj")
    torch.testing.assert_close(found.vertices, 3 * mesh.vertices)
    assert edge_scores(found.edges, mesh.edges, len(mesh.vertices)).f1 > 0.9


def test_exported_weights_are_the_checkpoints(fast_demo, tmp_path, capsys):
    _, out = fast_demo
    path, trained = tmp_path / "weights.safetensors", out / "cells" / "connectivity.pt"
    assert run("export-weights", trained, "--out", path) == 0 and str(path) in capsys.readouterr().out
    assert path.stat().st_size < 0.75 * trained.stat().st_size
    one, other = (load_model(p, ConnectivityTraining) for p in (path, trained))
    torch.testing.assert_close(one.state_dict(), other.state_dict(), rtol=0.01, atol=1e-4)


def test_the_packaged_model_is_the_config_procedural_and_knows_unseen_meshes():
    packaged, config = load_model(None, ConnectivityTraining), Experiment(["procedural"])
    assert dict(packaged.hparams) == {k: v for k, v in config.model.hparams.items() if not k.startswith("_")}
    data = ProceduralMeshes(train=0, val=0, test=32, seed=99)
    data.setup("test")
    with torch.no_grad():
        scores = [metrics for batch in data.test_dataloader() for _, _, metrics in packaged.evaluated(batch)]
    assert all(score.edge_manifold for score in scores)
    assert sum(score.edges.f1 for score in scores) / len(scores) > 0.95


def read_polygons_of(path):
    return [[int(v) - 1 for v in line.split()[1:]] for line in path.read_text().splitlines() if line.startswith("f ")]


def test_a_mesh_that_a_hole_would_pinch_is_not_shown(monkeypatch):
    def punctured_or_pinched(mesh, generator):
        faces = mesh.to_polygons()
        return (faces[1:], faces[:1]) if len(mesh.vertices) == 12 else (list(PINCHED), faces[:1])

    monkeypatch.setattr(demo, "punctured", punctured_or_pinched)
    model = load_model(None, ConnectivityTraining)
    rows = demo.repair_rows(model, [icosphere(0), icosphere(1), icosphere(0), icosphere(1)])
    assert [len(vertices) for vertices, *_ in rows] == [12, 12]
    assert len(demo.repair_rows(model, [icosphere(0)] * 4, shown=3)) == 3


def test_an_unknown_cell_is_refused_by_name():
    with pytest.raises(ValueError, match="unknown cell 'cow', choose from connectivity, vertices, soup"):
        Experiment(["demo"]).cell("cow")


def test_generate_samples_meshes_in_the_shape_of_a_file(fast_demo, tmp_path, capsys):
    _, out = fast_demo
    write_mesh(tmp_path / "sphere.obj", icosphere(1))
    cells = out / "cells"
    models = ["--vertices_ckpt", cells / "vertices.pt", "--connectivity_ckpt", cells / "connectivity.pt"]
    where = ["--count", 2, "--points", 32, "--out", tmp_path / "made"]
    assert run("generate", tmp_path / "sphere.obj", *models, *where) == 0
    assert capsys.readouterr().out.count("\n") == 2


@pytest.fixture(scope="module")
def fitted(tmp_path_factory):
    """A short run of `fit`, and its last checkpoint."""
    folder = tmp_path_factory.mktemp("fit")
    sizes = ["--data.init_args.train=16", "--data.init_args.val=4", "--data.init_args.test=4"]
    quiet = ["--trainer.enable_progress_bar=false", "--trainer.enable_model_summary=false", "--trainer.accelerator=cpu"]
    where = [f"--trainer.default_root_dir={folder}", "--trainer.max_epochs=2"]
    main(["fit", "--config", "procedural", "--trainer.logger=false", *sizes, *quiet, *where])
    (last,) = folder.rglob("last.ckpt")
    return last


def test_what_fit_trained_can_be_tested_and_loaded(fitted, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    sizes = ["--data.init_args.test=4", "--trainer.logger=false", "--trainer.accelerator=cpu"]
    main(["test", "--config", "procedural", f"--ckpt_path={fitted}", *sizes])
    assert "test/edge_f1" in capsys.readouterr().out
    assert isinstance(load_model(fitted, ConnectivityTraining), ConnectivityTraining)


def test_weights_that_were_never_trained_are_not_tested(capsys):
    assert "--ckpt_path is missing" in error_of(capsys, "test", "--config", "procedural")


@pytest.mark.parametrize("name", ["abc", "shapenet", "thingi10k", "abc_vertices"])
def test_a_paper_scale_config_is_built_and_steps_on_a_batch(name):
    here = ["--trainer.accelerator=cpu", "--trainer.devices=1", "--trainer.strategy=auto", "--trainer.precision=32"]
    slots = ["--model.init_args.slots=64"] if name == "abc_vertices" else []  # 2048 tokens are for a GPU
    model = Experiment([name], [*here, *slots]).model
    meshes = [capped_tube(6, 3), dodecahedron()]
    clouds = [torch.nn.functional.normalize(torch.randn(256, 6), dim=1) for _ in meshes]
    batch = MeshBatch.of(meshes, None, clouds)
    loss = model.loss(batch, 0) if isinstance(model, VertexDiffusion) else model.losses(batch)[0]
    loss.backward()
    parameters = model.denoiser.parameters() if isinstance(model, VertexDiffusion) else model.parameters()
    assert bool(loss.isfinite()) and all(p.grad is not None for p in parameters)
    assert sum(p.numel() for p in model.parameters()) > 3e7


@pytest.mark.parametrize("name", ["reproduce_fit", "reproduce_learn", "reproduce_generate", "collection", "procedural"])
def test_every_cell_of_a_packaged_config_is_built(name):
    experiment = Experiment(["demo", name] if name.startswith("reproduce") else [name])
    for cell in experiment.settings.cells:
        assert experiment.cell(cell).model is not None


@pytest.mark.parametrize(
    ("args", "said"),
    [
        (["check", "no.obj"], "no.obj: no such file"),
        (["fit", "--config", "nothing"], "no config 'nothing': it is neither a file nor one of the packaged abc"),
        (["reproduce", "shapenet"], "unknown experiment 'shapenet', choose from all, fit, learn"),
        (["reproduce", "meshes"], "meshes needs a folder: --meshes_dir DIR"),
        (["reproduce", "all", "--meshes_dir", "no"], "no: no such folder"),
        (["reproduce", "meshes", "--meshes_dir", "."], ".: no OBJ, PLY or OFF files"),
        (["repair", "no.obj", "--ckpt_path", "no.ckpt"], "no.ckpt: no such file"),
        (["fit", "--config", "abc", "--trainer.accelerator=cpu", "--trainer.devices=1"], "data/abc: no such folder"),
        (["fit", "--config", "procedural", "--data.init_args.families=[cows]"], "unknown family 'cows'"),
        (["fit", "--config", "procedural", "--model.init_args.space=2"], "at least 3 space dimensions"),
        (["fit", "--config", "procedural", "--model.init_args.rate=-1"], "rate must be positive"),
    ],
)
def test_bad_input_is_one_line_on_stderr(args, said, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    message = error_of(capsys, *args)
    assert said in message and len(message.strip().splitlines()) == 1 and "Traceback" not in message


def test_a_file_that_is_no_mesh_and_a_checkpoint_of_something_else_are_refused(tmp_path, capsys):
    (tmp_path / "edges.json").write_text("{}")
    assert "expected JSON with positions and edges" in error_of(capsys, "polygons", tmp_path / "edges.json")
    torch.save({"weight": torch.ones(2)}, tmp_path / "plain.pt")
    write_mesh(tmp_path / "solid.obj", dodecahedron())
    message = error_of(capsys, "repair", tmp_path / "solid.obj", "--ckpt_path", tmp_path / "plain.pt")
    assert "plain.pt: not a checkpoint of a ConnectivityTraining" in message


def test_a_malicious_checkpoint_is_not_unpickled(tmp_path, capsys):
    class Bomb:
        def __reduce__(self):
            return (open, (str(tmp_path / "exploded"), "w"))

    torch.save({"state_dict": Bomb()}, tmp_path / "bomb.ckpt")
    write_mesh(tmp_path / "solid.obj", dodecahedron())
    message = error_of(capsys, "repair", tmp_path / "solid.obj", "--ckpt_path", tmp_path / "bomb.ckpt")
    assert "bomb.ckpt: not a checkpoint" in message and not (tmp_path / "exploded").exists()


def test_holes_of_a_file_survive_being_written(tmp_path):
    mesh = capped_tube(6, 3)
    write_mesh(tmp_path / "tube.ply", mesh)
    assert isinstance(again := read_mesh(tmp_path / "tube.ply"), HalfedgeMesh)
    assert again.boundary_loops() == mesh.boundary_loops()
