"""Where meshes come from: disjoint seeds, orders that a resumed run sees again, and the layouts of real collections."""

from itertools import pairwise

import numpy as np
import pytest
import shapes
import torch

from spacemesh.batch import MeshBatch
from spacemesh.clouds import chamfer, surface_points
from spacemesh.data import ABC, EpochShuffle, MeshFolder, MeshList, ProceduralMeshes, ShapeNetCore, Thingi10K
from spacemesh.families import shuffled
from spacemesh.files import write_mesh, write_polygons
from spacemesh.halfedge import HalfedgeMesh

SPLITS = ("train", "val", "test")


@pytest.mark.parametrize("seed", [0, 1, 7])
def test_no_seed_is_in_two_splits_nor_in_another_runs(seed):
    data = [ProceduralMeshes(train=10_000_000, val=10_000_000, test=10_000_000, seed=s) for s in (seed, seed + 1)]
    ranges = sorted((d.seeds_of(split) for d in data for split in SPLITS), key=lambda r: r.start)
    assert all(before.stop <= after.start for before, after in pairwise(ranges))


def test_splits_hold_the_families_in_turn_and_different_meshes():
    data = ProceduralMeshes(train=8, val=4, test=4, seed=2)
    assert [data.family_of(i) for i in range(5)] == ["tori", "hulls", "prisms", "polycubes", "tori"]
    train, test = data.meshes("train"), data.meshes("test")
    assert [mesh.genus for mesh in train[::4]] == [1, 1] and {len(f) for f in train[1].to_polygons()} == {3}
    assert all(
        a.vertices.shape != b.vertices.shape or not torch.equal(a.vertices, b.vertices) for a in train for b in test
    )
    again = ProceduralMeshes(train=8, val=4, test=4, seed=2).meshes("train")
    assert all(
        torch.equal(a.vertices, b.vertices) and torch.equal(a.next, b.next) for a, b in zip(train, again, strict=True)
    )


def test_every_epoch_has_an_order_of_its_own_that_comes_again():
    def order(epoch, seed=0):
        sampler = EpochShuffle(40, seed)
        sampler.set_epoch(epoch)
        return list(sampler)

    assert sorted(order(0)) == list(range(40)) and len(EpochShuffle(40, 0)) == 40
    assert order(3) == order(3) and order(3) != order(4) and order(3) != order(3, seed=1)


def test_loaders_give_batches_with_clouds_and_the_numbers_of_their_meshes():
    data = ProceduralMeshes(train=6, val=3, test=2, batch_size=4, cloud_points=50)
    data.setup("fit")
    batches = list(data.train_dataloader())
    assert [len(batch.sizes) for batch in batches] == [4, 2] and batches[0].cloud.shape == (4, 50, 6)
    assert sorted(torch.cat([batch.index for batch in batches]).tolist()) == list(range(6))
    assert len(next(iter(data.val_dataloader())).sizes) == 3
    assert next(iter(data.predict_dataloader())).index.tolist() == [0, 1]
    assert torch.equal(next(iter(data.test_dataloader())).positions, next(iter(data.test_dataloader())).positions)


def test_the_cloud_of_a_mesh_is_always_the_same(cube):
    one, two = MeshList([cube, cube], 10), MeshList([cube, cube], 10)
    assert torch.equal(one[1][2], two[1][2]) and torch.equal(one[1][2], one[1][2])
    assert not torch.equal(one[0][2], one[1][2]) and MeshList([cube], 0)[0][2].shape == (0, 6)


def test_points_lie_on_the_surface_evenly_and_their_normals_point_out(cube, generator):
    points = surface_points(cube, 6000, generator)
    x, n = points[:, :3], points[:, 3:]
    assert torch.allclose(x.abs().amax(1), torch.ones(6000), atol=1e-6)
    assert torch.allclose((x * n).sum(1), torch.ones(6000), atol=1e-6)  # the plane is at distance 1
    share = torch.stack([(n == side).all(1).double().mean() for side in torch.cat([torch.eye(3), -torch.eye(3)])])
    assert torch.allclose(share, torch.full((6,), 1 / 6).double(), atol=0.02)  # four standard errors
    assert chamfer(x[:1], x[:1] + torch.tensor([3.0, 4, 0])) == pytest.approx(5, abs=1e-5)


def test_a_surface_without_area_has_no_points(generator):
    flat = HalfedgeMesh.from_polygons(torch.zeros(8, 3), shapes.CUBE)
    with pytest.raises(ValueError, match="no area to put points on"):
        surface_points(flat, 5, generator)


def test_batches_are_undone(tube, cube, genus_two):
    meshes = [tube, shuffled(cube, cube.vertices, torch.tensor([3, 1, 0, 7, 2, 6, 5, 4])), genus_two]
    batch = MeshBatch.of(meshes)
    assert batch.positions.shape == (3, 48, 3) and batch.sizes.tolist() == [21, 8, 48]
    assert batch.mask.sum(1).tolist() == [21, 8, 48] and not batch.positions[~batch.mask].any()
    for again, mesh in zip(batch.meshes(), meshes, strict=True):
        for name in ("vertices", "tail", "head", "next", "is_hole"):
            assert torch.equal(getattr(again, name), getattr(mesh, name))
    assert batch.index.tolist() == [0, 1, 2] and MeshBatch.of(meshes, [5, 2, 9]).index.tolist() == [5, 2, 9]


@pytest.fixture
def folder(tmp_path):
    """Three splits of good files, and bad ones of four kinds among the training meshes."""
    for split, count in zip(SPLITS, (3, 1, 2), strict=True):
        for i in range(count):
            write_mesh(tmp_path / split / f"{i}.{('obj', 'ply', 'off')[i]}", shapes.dodecahedron())
    x = torch.rand(6, 3)
    write_polygons(tmp_path / "train" / "strip.obj", x, shapes.MOEBIUS)
    write_polygons(tmp_path / "train" / "fin.obj", torch.rand(5, 3), [*shapes.TETRAHEDRON, [0, 1, 4]])
    write_mesh(tmp_path / "train" / "large.obj", shapes.open_tube(sides=30))
    (tmp_path / "train" / "short.off").write_text("OFF\n4 1 0\n")
    (tmp_path / "train" / "notes.txt").write_text("no mesh")
    return tmp_path


def test_a_folder_counts_what_it_refuses(folder, capsys):
    data = MeshFolder(str(folder), most_vertices=50)
    assert [len(data.meshes(split)) for split in SPLITS] == [3, 1, 2]
    assert data.refused["train"] == {"non-orientable": 1, "edge": 1, "large": 1, "unreadable": 1}
    assert "train: 3 meshes, 4 refused (" in capsys.readouterr().out and not data.refused["test"]
    x = data.meshes("train")[0].vertices
    assert torch.allclose(x.mean(0), torch.zeros(3), atol=1e-6) and float(x.square().sum(1).mean()) == pytest.approx(1)


def test_a_folder_mends_what_can_be_mended(folder):
    data = MeshFolder(str(folder), mend=True, most_vertices=50)
    assert len(data.meshes("train")) == 5 and data.refused["train"] == {"large": 1, "unreadable": 1}


def test_limits_take_the_first_files_by_name(folder):
    assert len(MeshFolder(str(folder), limit=1).meshes("test")) == 1


def test_one_folder_is_split_by_name_and_files_stay_where_they_are(tmp_path):
    for i in range(60):
        write_mesh(tmp_path / "all" / f"{i}.obj", shapes.tetrahedron())
    before = {split: {p.name for p in MeshFolder(str(tmp_path)).paths(split)} for split in SPLITS}
    assert sum(map(len, before.values())) == 60 and len(set.union(*before.values())) == 60
    assert len(before["train"]) == pytest.approx(54, abs=9)  # four standard deviations of 60 draws at .9
    for i in range(60, 80):
        write_mesh(tmp_path / "all" / f"{i}.obj", shapes.tetrahedron())
    for split in SPLITS:
        assert before[split] <= {p.name for p in MeshFolder(str(tmp_path)).paths(split)}


def test_a_split_without_its_folder_does_not_borrow_from_the_others(folder):
    (folder / "val" / "0.obj").unlink()
    (folder / "val").rmdir()
    with pytest.raises(FileNotFoundError, match=r"val: no such folder, though there is .*train"):
        MeshFolder(str(folder)).paths("val")


def test_missing_folders_and_meshes_are_named(tmp_path):
    with pytest.raises(FileNotFoundError, match="nowhere: no such folder; give the folder of your meshes"):
        MeshFolder(str(tmp_path / "nowhere")).meshes("train")
    with pytest.raises(FileNotFoundError, match=r"no .obj, .ply.* below it; unpack chunks such as abc_0000_obj_v00.7z"):
        ABC(str(tmp_path)).meshes("train")
    with pytest.raises(FileNotFoundError, match=r"given out by shapenet.org after registration"):
        ShapeNetCore(str(tmp_path)).meshes("train")
    with pytest.raises(FileNotFoundError, match="the package thingi10k downloads the set"):
        Thingi10K(str(tmp_path)).meshes("train")
    (tmp_path / "train").mkdir()
    write_polygons(tmp_path / "train" / "a.obj", torch.zeros(6, 3), shapes.MOEBIUS)
    with pytest.raises(ValueError, match="MeshFolder: the split 'train' has no meshes"):
        MeshFolder(str(tmp_path)).setup("fit")


def test_abc_is_read_from_its_chunks_and_split_by_model(tmp_path):
    chunk = tmp_path / "abc_0000_obj_v00"
    for number in range(30):
        for part in ("trimesh", "curves"):
            write_mesh(chunk / f"{number:08d}" / f"{number:08d}_0a1b_{part}_000.obj", shapes.tetrahedron())
    data = ABC(str(tmp_path))
    paths = [path for split in SPLITS for path in data.paths(split)]
    assert len(paths) == 30 and all("trimesh" in path.name for path in paths)
    other = chunk / "00000003" / "00000003_ffff_trimesh_000.obj"
    assert data.split_of(other) == data.split_of(chunk / "00000003" / "00000003_0a1b_trimesh_000.obj")


def test_shapenet_is_split_as_its_table_says(tmp_path):
    table = ["id,synsetId,subSynsetId,modelId,split"]
    for i, split in enumerate(["train", "val", "test", "train"]):
        write_mesh(tmp_path / "02691156" / f"model{i}" / "models" / "model_normalized.obj", shapes.cube())
        table.append(f"{i},02691156,02691156,model{i},{split}")
    write_mesh(tmp_path / "02691156" / "unlisted" / "models" / "model_normalized.obj", shapes.cube())
    (tmp_path / "all.csv").write_text("\n".join(table) + "\n")
    data = ShapeNetCore(str(tmp_path))
    assert [[p.parts[-3] for p in data.paths(split)] for split in SPLITS] == [
        ["model0", "model3"],
        ["model1"],
        ["model2"],
    ]
    (tmp_path / "all.csv").write_text("id,synsetId\n1,2\n")
    assert len(data.paths("train")) == 2  # the table was read once for all files
    with pytest.raises(ValueError, match=r"all.csv: no column modelId, split"):
        ShapeNetCore(str(tmp_path)).paths("train")
    (tmp_path / "all.csv").unlink()
    data = ShapeNetCore(str(tmp_path))
    assert sum(len(data.paths(split)) for split in SPLITS) == 5


def test_thingi10k_is_read_from_npz_and_raw_files_without_the_corrupt_ones(tmp_path):
    cube = shapes.cube()
    triangles = np.array([[f[0], f[i], f[i + 1]] for f in shapes.CUBE for i in (1, 2)])
    for split in SPLITS:
        (tmp_path / split).mkdir()
        np.savez(tmp_path / split / "32770.npz", vertices=cube.vertices.numpy(), facets=triangles)
        np.savez(tmp_path / split / "49911.npz", vertices=cube.vertices.numpy(), facets=triangles)
    write_mesh(tmp_path / "train" / "32771.stl", cube)
    data = Thingi10K(str(tmp_path))
    assert [p.name for p in data.paths("train")] == ["32770.npz", "32771.stl"]
    assert [(len(m.vertices), len(m.to_polygons()), m.genus) for m in data.meshes("train")] == [(8, 12, 0)] * 2


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"batch_size": 0}, "batch_size must be at least 1"),
        ({"cloud_points": -1}, "cloud_points 0, got 16 and -1"),
        ({"families": ["tori", "teapots"]}, "unknown family 'teapots', choose from tori, hulls"),
        ({"train": -1}, "train, val, test and jitter must be at least 0"),
        ({"jitter": -0.1}, "must be at least 0"),
    ],
)
def test_settings_out_of_range_are_refused(wrong, said):
    with pytest.raises(ValueError, match=said):
        ProceduralMeshes(**wrong)


def test_unknown_and_empty_splits_are_refused():
    with pytest.raises(ValueError, match="unknown split 'dev', choose from train, val, test"):
        ProceduralMeshes().meshes("dev")
    with pytest.raises(ValueError, match="ProceduralMeshes: the split 'val' has no meshes"):
        ProceduralMeshes(val=0).meshes("val")
