"""Learning connectivity: what the network may see, what it must not, and what a checkpoint holds."""

from itertools import combinations
from types import SimpleNamespace

import pytest
import pytorch_lightning as pl
import torch
from pytorch_lightning.callbacks import ModelCheckpoint

from spacemesh.batch import MeshBatch
from spacemesh.collection import CollectionTraining
from spacemesh.connectivity import edge_loss, padded_edge_loss
from spacemesh.data import ProceduralMeshes
from spacemesh.diffusion import VertexDiffusion
from spacemesh.embedding import EmbeddingSizes, VertexEmbedding
from spacemesh.families import shuffled
from spacemesh.polygons import canonical
from spacemesh.predictor import ConnectivityPredictor, PointCloudEncoder, nearest
from spacemesh.schedule import one_cycle
from spacemesh.soup import SoupTraining
from spacemesh.spacetime import spacetime_sqdist
from spacemesh.training import ConnectivityTraining

SMALL = {"width": 16, "layers": 1, "heads": 2}
TINY = {"slots": 48, "width": 16, "layers": 1, "heads": 2, "latents": 4, "encoder_layers": 1, "sampling_steps": 5}


@pytest.fixture
def batch():
    return MeshBatch.of(ProceduralMeshes(train=4).meshes("train"))


@pytest.fixture
def model():
    torch.manual_seed(0)
    return ConnectivityTraining(**SMALL).eval()


def trainer(folder, steps, **kwargs):
    return pl.Trainer(
        max_steps=steps,
        accelerator="cpu",
        logger=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        default_root_dir=folder,
        **kwargs,
    )


def test_the_predictor_is_equivariant_to_the_order_of_vertices(model, batch):
    vectors = model(batch.positions[:1, :20], torch.ones(1, 20, dtype=torch.bool))
    order = torch.randperm(20, generator=torch.Generator().manual_seed(0))
    moved = model(batch.positions[:1, order], torch.ones(1, 20, dtype=torch.bool))
    assert torch.allclose(moved, vectors[:, order], atol=1e-5)  # sums in another order, float32


def test_the_predictor_is_blind_to_padding(model, batch):
    for number, size in enumerate(batch.sizes.tolist()):
        alone = model(batch.positions[number : number + 1, :size], torch.ones(1, size, dtype=torch.bool))
        assert torch.allclose(model(batch.positions, batch.mask)[number, :size], alone[0], atol=1e-5)
    junk = batch.positions.masked_fill(~batch.mask[..., None], 77.0)
    assert torch.equal(model(junk, batch.mask)[batch.mask], model(batch.positions, batch.mask)[batch.mask])


def test_shuffled_vertices_decode_to_the_same_mesh(model, batch):
    meshes = batch.meshes()
    orders = [torch.randperm(len(m.vertices), generator=torch.Generator().manual_seed(i)) for i, m in enumerate(meshes)]
    other = MeshBatch.of([shuffled(m, m.vertices, order) for m, order in zip(meshes, orders, strict=True)])
    model.connectivity.tau.data.fill_(1.5)  # untrained, it finds edges at this
    for one, two, order in zip(model.decode(batch), model.decode(other), orders, strict=True):
        assert one.polygons()
        assert canonical([[int(order[v]) for v in face] for face in two.polygons()]) == canonical(one.polygons())


def test_labels_are_not_seen_in_evaluation(model, batch):
    corrupt = batch._replace(
        edges=batch.edges.flip(0) * 0,
        edge_mesh=batch.edge_mesh.flip(0),
        tail=batch.tail.flip(0),
        head=batch.head.flip(0),
        succ=batch.succ.flip(0),
        hole=~batch.hole,
        index=batch.index + 5,
    )
    for one, two in zip(model.decode(batch), model.decode(corrupt), strict=True):
        assert one.polygons() == two.polygons() and torch.equal(one.mesh.edges, two.mesh.edges)


def test_the_loss_of_a_batch_is_the_mean_over_its_meshes_by_edges(model, batch):
    embedding = VertexEmbedding.of(model(batch.positions, batch.mask), model.sizes)
    logits = model.connectivity.edge_logits(spacetime_sqdist(embedding.space, embedding.time))
    meshes = batch.meshes()
    single = [
        len(mesh.edges) * edge_loss(own[:size, :size], mesh.edges)
        for own, size, mesh in zip(logits, batch.sizes.tolist(), meshes, strict=True)
    ]
    together = padded_edge_loss(logits, batch.sizes, batch.edges, batch.edge_mesh)
    assert torch.allclose(together, sum(single) / len(batch.edges), rtol=1e-5)
    assert torch.equal(model.losses(batch)[1]["edge"], together)


def test_training_steps_lower_the_loss(model, batch):
    model.train()
    optimizer = torch.optim.AdamW(model.parameters(), lr=2e-3)
    losses = []
    for _ in range(15):
        loss, _ = model.losses(batch)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < 0.8 * losses[0]


def test_the_nearest_are_found_and_padding_is_not_among_them():
    positions = torch.tensor([[[0.0, 0, 0], [1, 0, 0], [3, 0, 0], [0, 0, 0]]])
    offset, distance, real, scale = nearest(positions, torch.tensor([[True, True, True, False]]), 16)
    assert offset.shape == (1, 4, 3, 3) and distance[0, 0].tolist() == [1, 3, 0]
    assert real[0, :3].sum(-1).tolist() == [2, 2, 2] and scale[0, :3].tolist() == [2, 1.5, 2.5]


def test_jitter_is_for_training_only_and_comes_from_the_step(batch):
    torch.manual_seed(0)
    noisy = ConnectivityTraining(**SMALL, jitter=0.1)
    one, two = (noisy.train().vectors_of(batch)[0] for _ in range(2))
    clean = noisy.eval().vectors_of(batch)[0]
    assert torch.equal(one, two) and not torch.equal(one, clean)
    assert torch.equal(clean, noisy(batch.positions, batch.mask))


def test_jitter_differs_from_process_to_process_and_is_that_of_one_process_alone(batch):
    torch.manual_seed(0)
    noisy = ConnectivityTraining(**SMALL, jitter=0.1).train()
    alone = noisy.vectors_of(batch)[0]

    def at(step, rank, processes):
        noisy.trainer = SimpleNamespace(global_step=step, global_rank=rank, world_size=processes)
        return noisy.vectors_of(batch)[0]

    assert torch.equal(at(0, 0, 1), alone)
    drawn = [at(step, rank, 2) for step in range(2) for rank in range(2)]
    assert all(not torch.equal(one, other) for one, other in combinations(drawn, 2))


def test_a_checkpoint_of_weights_only_holds_the_whole_model(tmp_path):
    torch.manual_seed(0)
    data = ProceduralMeshes(train=8, val=4, test=4, batch_size=4)
    model = ConnectivityTraining(**SMALL, space=6, hole=1)
    run = trainer(tmp_path, 2, enable_checkpointing=False)
    run.fit(model, data)
    run.save_checkpoint(tmp_path / "model.ckpt")
    loaded = ConnectivityTraining.load_from_checkpoint(tmp_path / "model.ckpt", weights_only=True)
    assert loaded.sizes == EmbeddingSizes(6, 4, 8, 1) and loaded.hparams.width == 16
    assert all(
        torch.equal(a, b) for a, b in zip(model.state_dict().values(), loaded.state_dict().values(), strict=True)
    )
    (scores,) = run.test(loaded, data, verbose=False)
    assert set(scores) == {"test/edge_f1", "test/face_f1", "test/exact", "test/edge_manifold"}
    assert scores["test/edge_manifold"] in (0.0, 0.25, 0.5, 0.75, 1.0)
    for (vertices, faces), decoded in zip(
        run.predict(loaded, data)[0], loaded.decode(next(iter(data.test_dataloader()))), strict=True
    ):
        assert torch.equal(vertices, decoded.mesh.vertices) and faces == decoded.mesh.to_polygons()


def test_the_rate_rises_then_falls_to_nothing():
    factor = one_cycle(100, 0.1)
    assert [factor(step) for step in (0, 9, 10)] == pytest.approx([0.1, 1, 1])
    assert factor(55) == pytest.approx(0.5) and factor(100) == pytest.approx(0) and factor(1000) == pytest.approx(0)
    assert one_cycle(1, 0.0)(0) == 1


@pytest.mark.parametrize("wrong", [{"rate": 0.0}, {"face_weight": -1.0}, {"warmup": 1.0}, {"warmup": -0.1}])
def test_rates_out_of_range_are_refused(wrong):
    with pytest.raises(ValueError, match="rate must be positive, face_weight at least 0 and warmup in"):
        ConnectivityTraining(**SMALL, **wrong)


def test_the_predictor_needs_room_for_positions_and_the_encoder_clouds_with_normals():
    with pytest.raises(ValueError, match="at least 3 space dimensions, got 2"):
        ConnectivityPredictor(EmbeddingSizes(space=2))
    with pytest.raises(
        ValueError, match=r"a cloud is \(B, P, 6\), positions and normals, P at least 4, got \(2, 9, 3\)"
    ):
        PointCloudEncoder(4, 16, 2, 1)(torch.zeros(2, 9, 3))
    with pytest.raises(ValueError, match=r"P at least 4, got \(2, 3, 6\)"):
        PointCloudEncoder(4, 16, 2, 1)(torch.zeros(2, 3, 6))


def test_the_points_that_answer_have_no_order_and_the_predictor_sees_the_latents(batch):
    torch.manual_seed(0)
    encoder, cloud = PointCloudEncoder(4, 16, 2, 1).eval(), torch.randn(4, 30, 6)
    latents = encoder(cloud)
    moved = torch.cat([cloud[:, :4], cloud[:, 4:].flip(1)], 1)  # the first four ask
    assert latents.shape == (4, 4, 16) and torch.allclose(encoder(moved), latents, atol=1e-5)
    predictor = ConnectivityPredictor(EmbeddingSizes(), 16, 1, 2, latent=16).eval()
    one, two = (predictor(batch.positions, batch.mask, x) for x in (latents, 2 * latents))
    assert not torch.allclose(one[batch.mask], two[batch.mask])


@pytest.mark.parametrize("kind", [ConnectivityTraining, CollectionTraining])
@pytest.mark.parametrize("hole", [0, 2])
def test_what_is_trained_has_a_gradient_in_every_step_as_ddp_waits_for_it(kind, hole, batch):
    torch.manual_seed(0)
    model = kind(**{"meshes": 10} if kind is CollectionTraining else {}, **SMALL, hole=hole)
    loss, _ = model.losses(batch)
    loss.backward()
    assert [name for name, p in model.named_parameters() if p.requires_grad and p.grad is None] == []


def test_a_denoiser_has_a_gradient_everywhere_in_every_step(clouds):
    torch.manual_seed(0)
    model = VertexDiffusion(**TINY)
    model.loss(next(iter(clouds.test_dataloader())), 0).backward()
    assert [name for name, p in model.named_parameters() if p.requires_grad and p.grad is None] == []


def test_codes_of_a_collection_are_trained_for_the_meshes_of_the_batch_alone(batch):
    torch.manual_seed(0)
    collection = CollectionTraining(meshes=10, width=16, layers=1, heads=2)
    own = batch._replace(index=torch.tensor([2, 3, 5, 7]))
    loss, _ = collection.losses(own)
    loss.backward()
    assert collection.codes.weight.grad.any(1).nonzero().flatten().tolist() == [2, 3, 5, 7]
    placed = collection.placed(own)
    assert placed.positions.shape == batch.positions.shape and not torch.equal(placed.positions, batch.positions)
    assert len(collection.decode(own)) == 4


@pytest.fixture
def clouds():
    return ProceduralMeshes(families=["tori"], train=8, val=4, test=4, batch_size=4, cloud_points=30)


def test_vertices_of_a_seed_are_drawn_again(clouds):
    torch.manual_seed(0)
    model = VertexDiffusion(**TINY).eval()
    cloud = next(iter(clouds.test_dataloader())).cloud
    one, two, other = (model.sample(cloud, seed=seed) for seed in (1, 1, 2))
    assert len(one) == 4 and all(torch.equal(a, b) for a, b in zip(one, two, strict=True))
    assert not all(a.shape == b.shape and torch.equal(a, b) for a, b in zip(one, other, strict=True))
    assert all(len(x) <= 48 and x.shape[1] == 3 and x.isfinite().all() for x in one)


def test_the_average_of_weights_is_in_the_checkpoint_and_samples_come_from_it(clouds, tmp_path):
    torch.manual_seed(0)
    model = VertexDiffusion(**TINY, rate=1e-2, warmup=0.0)
    before = [p.detach().clone() for p in model.denoiser.parameters()]
    run = trainer(tmp_path, 4, enable_checkpointing=False)
    run.fit(model, clouds)
    weights, average = list(model.denoiser.parameters()), list(model.average.shadow_params)
    assert any(not torch.equal(a, w) for a, w in zip(average, weights, strict=True))  # it lags behind
    assert any(not torch.equal(a, b) for a, b in zip(average, before, strict=True))
    run.save_checkpoint(tmp_path / "model.ckpt")
    loaded = VertexDiffusion.load_from_checkpoint(tmp_path / "model.ckpt", weights_only=True)
    assert all(torch.equal(a, b) for a, b in zip(loaded.average.shadow_params, average, strict=True))
    with loaded.averaged():
        assert all(torch.equal(a, b) for a, b in zip(loaded.denoiser.parameters(), average, strict=True))
    assert all(torch.equal(a, b) for a, b in zip(loaded.denoiser.parameters(), weights, strict=True))
    cloud = next(iter(clouds.test_dataloader())).cloud
    assert all(torch.equal(a, b) for a, b in zip(model.eval().sample(cloud), loaded.eval().sample(cloud), strict=True))
    assert "test/loss" in run.test(loaded, clouds, verbose=False)[0]


def test_a_fresh_denoiser_predicts_no_velocity_and_its_loss_is_the_velocitys_mean_square(clouds):
    torch.manual_seed(0)
    model = VertexDiffusion(**TINY)
    batch = next(iter(clouds.test_dataloader()))
    assert not model.denoiser(torch.randn(4, 48, 4), torch.arange(4), torch.randn(4, 4, 16)).any()
    losses = torch.stack([model.loss(batch, seed) for seed in range(20)])
    assert torch.equal(losses[0], model.loss(batch, 0))
    square = float(model.tokens(batch).square().mean())
    assert (
        min(square, 1.0) * 0.9 < float(losses.detach().mean()) < max(square, 1.0) * 1.1
    )  # between those of data and noise


def test_presence_tells_how_many_vertices_there_are(clouds):
    batch = next(iter(clouds.test_dataloader()))
    tokens = VertexDiffusion(**TINY).tokens(batch)
    assert (tokens[..., 3] > 0).sum(1).tolist() == batch.sizes.tolist() and set(tokens[..., 3].unique().tolist()) == {
        -1,
        1,
    }


def test_what_cannot_be_generated_is_refused(batch):
    with pytest.raises(ValueError, match="width must be even for the time's features, got 15"):
        VertexDiffusion(width=15)
    with pytest.raises(ValueError, match="the batch has no point clouds: set cloud_points"):
        VertexDiffusion(**TINY).tokens(batch)
    with pytest.raises(ValueError, match=r"a mesh has .* vertices, the model 4 slots"):
        VertexDiffusion(**{**TINY, "slots": 4}).tokens(batch)


FITS = {
    "connectivity": lambda: ConnectivityTraining(**SMALL, jitter=0.01),
    "collection": lambda: CollectionTraining(meshes=8, **SMALL),
    "soup": lambda: SoupTraining(width=16),
    "diffusion": lambda: VertexDiffusion(**TINY, rate=1e-2),
}


class Killed(pl.Callback):
    """The process ends after so many steps, in the middle of an epoch; what was saved by then is all that is left."""

    def __init__(self, step):
        self.step = step

    def on_train_batch_end(self, trainer, *_):
        if trainer.global_step == self.step:
            raise KeyboardInterrupt


@pytest.mark.parametrize("kind", FITS)
def test_a_killed_fit_resumes_to_the_same_bits(kind, tmp_path):
    def fit(callbacks, **options):
        torch.manual_seed(0)
        model = FITS[kind]()
        data = ProceduralMeshes(families=["tori"], train=8, val=2, test=2, batch_size=4, cloud_points=30)
        trainer(tmp_path, 7, limit_val_batches=0, callbacks=callbacks).fit(model, data, **options)
        return {**model.state_dict(), **dict(enumerate(getattr(model, "average", model).state_dict().values()))}

    def keep():
        return ModelCheckpoint(tmp_path / "kept", save_last=True, every_n_train_steps=3, enable_version_counter=False)

    whole = fit([])
    with pytest.raises(SystemExit):
        fit([keep(), Killed(5)])
    resumed = fit([keep()], ckpt_path=tmp_path / "kept" / "last.ckpt", weights_only=True)
    for one, other in zip(whole.values(), resumed.values(), strict=True):
        assert all(map(torch.equal, one, other)) if isinstance(one, list) else same(one, other)


def same(one, other):
    return torch.equal(one, other) if isinstance(one, torch.Tensor) else one == other


@pytest.mark.parametrize("kind", FITS)
def test_a_loss_that_is_no_number_ends_the_run(kind, tmp_path):
    model = FITS[kind]()
    next(model.parameters()).data.fill_(torch.nan)
    next(p for p in reversed(list(model.parameters())) if p.ndim).data.fill_(torch.nan)
    data = ProceduralMeshes(families=["tori"], train=4, val=2, test=2, batch_size=4, cloud_points=30)
    with pytest.raises(ValueError, match=r"step 0: the training loss is nan, .* lower model.init_args.rate"):
        trainer(tmp_path, 2, enable_checkpointing=False, limit_val_batches=0).fit(model, data)
