import json

import pytest
import torch
import trimesh

from latte3d.assets import AssetFolder, check_disjoint, read_captions, read_prompts


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "glbs" / "000-001").mkdir(parents=True)
    for uid, mesh in (("box", trimesh.creation.box()), ("ball", trimesh.creation.icosphere())):
        mesh.visual.vertex_colors = [200, 30, 30, 255]
        mesh.export(str(tmp_path / "glbs" / "000-001" / f"{uid}.glb"))
    trimesh.creation.cone(0.5, 1).export(str(tmp_path / "cone.obj"))
    captions = {"box": "a red box", "ball": ["a ball", "a sphere"], "cone": "a cone"}
    (tmp_path / "captions.json").write_text(json.dumps(captions))
    (tmp_path / "licenses.json").write_text(json.dumps({"box": "CC-BY-4.0"}))
    return tmp_path


def test_meshes_are_found_anywhere_below_and_normalised(folder):
    assets = AssetFolder(folder)
    assert {asset.uid: asset.captions for asset in assets.assets}["ball"] == ("a ball", "a sphere")
    assert assets.rejected == [] and assets.open_meshes == 0
    box = next(asset for asset in assets.assets if asset.uid == "box")
    assert box.license == "CC-BY-4.0"
    mesh = box.mesh()
    assert mesh.vertices.norm(dim=-1).max().item() == pytest.approx(0.9)
    torch.testing.assert_close(mesh.colors, (torch.tensor([200, 30, 30]) / 255).expand_as(mesh.colors))


def test_each_file_that_does_not_serve_is_named_with_its_reason(folder):
    captions = json.loads((folder / "captions.json").read_text())
    captions |= {"gone": "a ghost", "mute": " ", "torn": "a torn file", "sheet": "an open sheet"}
    (folder / "captions.json").write_text(json.dumps(captions))
    (folder / "mute.obj").write_text("v 0 0 0\nv 1 0 0\nv 0 1 0\nf 1 2 3\n")
    (folder / "sheet.obj").write_text("v 0 0 0\nv 1 0 0\nv 0 1 0\nf 1 2 3\n")
    (folder / "torn.glb").write_bytes(b"glTF torn")
    (folder / "alone.obj").write_text("v 0 0 0\nv 1 0 0\nv 0 1 0\nf 1 2 3\n")
    assets = AssetFolder(folder)
    reasons = {rejected.uid: rejected.reason for rejected in assets.rejected}
    assert set(reasons) == {"gone", "mute", "torn", "alone"}
    assert "there is no gone.glb or .gltf or .obj" in reasons["gone"] and "empty" in reasons["mute"]
    assert "torn.glb cannot be read" in reasons["torn"] and "no caption" in reasons["alone"]
    assert assets.open_meshes == 1  # counted, not refused


def test_the_split_is_by_uid_and_repeatable(folder):
    train, held_out = AssetFolder(folder).split(1 / 3, seed=1)
    assert len(train) == 2 and len(held_out) == 1
    assert not {a.uid for a in train} & {a.uid for a in held_out}
    assert AssetFolder(folder).split(1 / 3, seed=1)[1] == held_out
    with pytest.raises(ValueError, match=r"share of 0\.01 leaves one side of 3 assets empty"):
        AssetFolder(folder).split(0.01)


def test_captions_may_come_as_cap3d_writes_them(folder):
    (folder / "captions.json").unlink()
    (folder / "captions.csv").write_text('box,"a box, red"\nball,a ball\n')
    assert read_captions(folder) == {"box": ("a box, red",), "ball": ("a ball",)}
    (folder / "captions.csv").write_text("box\n")
    with pytest.raises(ValueError, match=r"captions\.csv:1: expected uid,caption, got 1 fields"):
        read_captions(folder)
    (folder / "captions.csv").unlink()
    with pytest.raises(ValueError, match=r"neither captions\.json"):
        read_captions(folder)


def test_malformed_folders_are_refused(folder, tmp_path):
    with pytest.raises(FileNotFoundError, match=r"nowhere: no such folder; expected captions\.json"):
        AssetFolder(tmp_path / "nowhere")
    (folder / "captions.json").write_text('{"box": [3]}')
    with pytest.raises(ValueError, match=r"a list of texts for box, got \[3\]"):
        AssetFolder(folder)
    (folder / "captions.json").write_text("[]")
    with pytest.raises(ValueError, match=r"captions\.json: expected an object, got list"):
        AssetFolder(folder)
    (folder / "captions.json").write_text("{")
    with pytest.raises(ValueError, match=r"captions\.json is no readable JSON"):
        AssetFolder(folder)
    (folder / "captions.json").write_text('{"gone": "a ghost"}')
    with pytest.raises(ValueError, match=r"nothing in .* serves \(4 rejected: gone: there is no gone"):
        AssetFolder(folder)


def test_prompts_in_two_splits_are_refused(folder):
    splits = {"train": ["a box", "a ball"], "val": ["a cone"], "test": ["a ball"]}
    (folder / "prompts.json").write_text(json.dumps(splits))
    with pytest.raises(ValueError, match="1 prompts are in train and test, the first is 'a ball'"):
        AssetFolder(folder)
    (folder / "prompts.json").write_text(json.dumps({**splits, "test": ["", "x"]}))
    with pytest.raises(ValueError, match="an empty prompt in test"):
        read_prompts(folder / "prompts.json")
    (folder / "prompts.json").write_text('{"train": []}')
    with pytest.raises(ValueError, match="val is no list"):
        read_prompts(folder / "prompts.json")
    (folder / "prompts.json").write_text(json.dumps({**splits, "test": [["a tree", 3]]}))
    assert AssetFolder(folder).prompts["test"] == ["a tree"]


def test_a_published_library_that_repeats_its_prompts_is_read_but_not_taken_as_held_out(papers_data):
    splits = read_prompts(papers_data / "prompts" / "magic3d_15_prompt_library.json")
    assert len(splits["train"]) == 15 and "A ripe strawberry." in splits["train"]
    with pytest.raises(ValueError, match="15 prompts are in train and val"):
        check_disjoint(splits)
