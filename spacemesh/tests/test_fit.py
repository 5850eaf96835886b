"""Fitting one mesh until it is decoded exactly."""

import pytest
import shapes
import torch

from spacemesh.connectivity import Connectivity, Targets
from spacemesh.decode import decode
from spacemesh.embedding import EmbeddingSizes
from spacemesh.families import torus
from spacemesh.files import read_mesh
from spacemesh.fit import FitSettings, PairSampler, fit_mesh, is_in, two_hops
from spacemesh.metrics import same_mesh
from spacemesh.polygons import canonical

BOUNDARY = EmbeddingSizes(hole=2)


@pytest.mark.parametrize("spectral", [True, False], ids=["eigenvectors", "noise"])
def test_every_small_mesh_is_recovered_exactly(mesh, spectral):
    result = fit_mesh(mesh, FitSettings(BOUNDARY, spectral=spectral, steps=300))
    assert result.exact and result.steps < 300
    assert canonical(result.decoded.polygons()) == canonical(mesh.to_polygons())
    tau, bias = (float(number.detach()) for number in (result.connectivity.tau, result.connectivity.hole_bias))
    again = decode(mesh.vertices, result.embedding, tau, bias)
    assert same_mesh(again, mesh)


def test_an_open_tube_keeps_its_two_loops(tube):
    result = fit_mesh(tube, FitSettings(BOUNDARY))
    assert canonical(result.decoded.mesh.boundary_loops()) == canonical(tube.boundary_loops())
    assert result.decoded.mesh.euler_characteristic == 0


def test_a_hub_of_64_neighbours_is_exact_in_two_space_and_two_time_dimensions():
    result = fit_mesh(shapes.bipyramid(64), FitSettings(EmbeddingSizes(2, 2, 8), steps=500))
    assert result.exact


@pytest.mark.parametrize(
    "name", ["bob_small.ply", "sphere_small.ply", "dodecahedron_poly.obj", "icosphere.obj", "cube.obj"]
)
def test_real_meshes_are_recovered_exactly(papers_data, name):
    assert fit_mesh(read_mesh(papers_data / "meshes" / name)).exact


def test_sampled_negatives_and_mined_ones_also_end_in_the_exact_mesh():
    mesh = torus(16, 10, 0.4)
    result = fit_mesh(mesh, FitSettings(dense_limit=50, steps=400))
    assert result.exact and result.history[-1][1].exact


def test_sampling_stands_for_all_pairs_where_none_is_left_to_chance(cube):
    """All 28 pairs of a cube are edges, two steps apart, or the 4 diagonals, which chance draws and mining finds."""
    sampler = PairSampler(cube, FitSettings())
    assert sampler.pairs == 28 - 12 - 12
    pairs, weight = sampler.draw(0)
    assert weight * len(pairs) == pytest.approx(4) and (cube.vertices[pairs[:, 0]] == -cube.vertices[pairs[:, 1]]).all()
    sampler.mine(torch.combinations(torch.arange(8)))
    assert sampler.pairs == 0 and len(sampler.hard) == 16 and len(sampler.draw(1)[0]) == 0
    assert fit_mesh(cube, FitSettings(dense_limit=1)).exact
    assert fit_mesh(shapes.tetrahedron(), FitSettings(dense_limit=1)).exact  # no negatives at all


def test_draws_come_from_seed_and_step_alone(torus):
    draws = [
        PairSampler(torus, FitSettings(seed=seed)).draw(step)[0] for seed, step in [(0, 3), (0, 3), (0, 4), (1, 3)]
    ]
    assert torch.equal(draws[0], draws[1])
    assert not torch.equal(draws[0], draws[2]) and not torch.equal(draws[0], draws[3])


def test_neighbours_of_neighbours(cube):
    assert len(two_hops(cube, 100)) == 8 * 3 / 2 and len(two_hops(cube, 5)) <= 5  # 3 across faces each
    distance = (cube.vertices[two_hops(cube, 100)[:, 0]] != cube.vertices[two_hops(cube, 100)[:, 1]]).sum(1)
    assert set(distance.tolist()) == {2}


def test_membership_in_a_sorted_table():
    assert is_in(torch.tensor([5, 1, 9, 0]), torch.tensor([1, 5, 7])).tolist() == [True, True, False, False]
    assert is_in(torch.tensor([5]), torch.tensor([], dtype=torch.long)).tolist() == [False]


def test_a_fit_that_is_cut_short_says_so_and_reports_every_check():
    seen = []
    mesh = torus(9, 5, 0.4)
    result = fit_mesh(mesh, FitSettings(steps=7, spectral=False, check_every=3), lambda step, _: seen.append(step))
    assert not result.exact and result.steps == 7 and seen == [0, 3, 6, 7] == [step for step, _ in result.history]


def test_one_seed_is_one_result(cube):
    one, two = (fit_mesh(cube, FitSettings(spectral=False, seed=5)) for _ in range(2))
    assert torch.equal(one.embedding.vectors(), two.embedding.vectors())


def test_targets_side_by_side_are_those_of_one_and_the_other(cube, tube):
    both, first, second = Targets.side_by_side([cube, tube]), Targets.of(cube), Targets.of(tube)
    assert torch.equal(both.edges, torch.cat([first.edges, second.edges + 8]))
    assert torch.equal(both.succ, torch.cat([first.succ, second.succ + 24]))
    assert torch.equal(both.tail[both.succ], both.tail) and int(both.hole.sum()) == 14
    assert torch.equal(both.to(torch.device("cpu")).head, both.head)


def test_an_edge_at_the_threshold_is_as_likely_as_not():
    connectivity = Connectivity(tau=2.0, beta=6.0)
    logits = connectivity.edge_logits(torch.tensor([2.0, 1.0, 3.0]))
    assert logits.tolist() == pytest.approx([0.0, 6.0, -6.0], abs=1e-5)


def test_what_cannot_be_fitted_is_refused(tube, cube):
    with pytest.raises(ValueError, match="the mesh has a boundary: give EmbeddingSizes"):
        fit_mesh(tube)
    with pytest.raises(ValueError, match="touch holes twice"):
        fit_mesh(cube.with_holes(torch.ones(6, dtype=torch.bool)))


@pytest.mark.parametrize(
    "wrong", [{"steps": 0}, {"rate": 0.0}, {"large_rate": -1.0}, {"check_every": 0}, {"negatives": 0}]
)
def test_settings_out_of_range_are_refused(wrong):
    with pytest.raises(ValueError, match="must be positive, got FitSettings"):
        FitSettings(**wrong)
