"""Training: pools do not meet, backbones move, features do not depend on the batch, resumes are exact."""

from pathlib import Path

import numpy as np
import pytest
import torch
from pytorch_lightning import Trainer
from pytorch_lightning.callbacks import ModelCheckpoint

from flexible_fewshot import (
    ANIL,
    TADAM,
    DigitsData,
    FacesData,
    FeatureCache,
    FinetuneAttributes,
    FinetuneEpisodes,
    IdentityClassifier,
    LogisticReadout,
    MatchingNet,
    NearestCentroid,
    ProtoNet,
    ResNet50,
    SimCLR,
    SmallEncoder,
    Standardizer,
    SupervisedAttributes,
    TAFENet,
    evaluate,
    extract,
    load_encoder,
    read_episodes,
    read_simclr_resnet50,
    weights_hash,
    write_episodes,
)
from flexible_fewshot.data import FFSLDataModule, LabelledBatches, Steps
from flexible_fewshot.datasets import TabledData
from flexible_fewshot.evaluation import accuracy
from flexible_fewshot.learning import Representation
from flexible_fewshot.study import save_checkpoint
from flexible_fewshot.verbs import load_learner


def data(**options):
    sizes = {"train_size": 400, "val_size": 200, "test_size": 400, "batch_size": 32, "batches": 5, "n_episodes": 40,
             "shots": 5, "queries": 5, "train_shots": 5, "train_queries": 5, "episodes_per_batch": 2}  # fmt: skip
    return FacesData(**{**sizes, **options})


def fit(model, module, steps=3, **options):
    trainer = Trainer(accelerator="cpu", barebones=True, max_steps=steps, max_epochs=-1, **options)
    trainer.fit(model, datamodule=module)
    return model


def test_pools_share_no_image_and_no_identity():
    module = data()
    tables = [module.table(stage) for stage in ("train", "val", "test")]
    for a, b in ((0, 1), (0, 2), (1, 2)):
        assert not set(tables[a].images) & set(tables[b].images)
        same = module.pool(("train", "val", "test")[a]).images[:50, None] == module.pool("test").images[None, :50]
        assert b < 2 or not same.flatten(2).all(-1).any()


def test_episodes_are_frozen_by_the_seed_alone():
    first, again, other = data(), data(batch_size=7), data(seed=1)
    assert torch.equal(first.episodes("test").support, again.episodes("test").support)
    assert not torch.equal(first.episodes("test").support, other.episodes("test").support)
    attributes = {name for context in first.episodes("test").contexts for name in context}
    assert attributes <= set(first.split.test)
    assert {n for c in first.episodes("test", "train").contexts for n in c} <= set(first.split.train)


def test_episodes_can_come_from_a_file(tmp_path):
    module = data()
    chosen = module.sampler("test", "test").sample(100, 7)
    write_episodes(tmp_path / "e.json", chosen, module.table("test"))
    assert torch.equal(data(episodes_file=str(tmp_path / "e.json")).episodes("test").query, chosen.query)


def test_the_published_episodes_of_the_faces_are_those_that_the_seed_draws():
    """results/episodes_faces.json.gz is what others compare on: 600 episodes, ρ = 2.5, seed 0."""
    path = Path(__file__).parent.parent / "results" / "episodes_faces.json.gz"
    if not path.is_file():
        pytest.skip("results/ is not here")
    module = FacesData(n_episodes=600)
    frozen, drawn = read_episodes(path, module.table("test")), module.episodes("test")
    assert torch.equal(frozen.support, drawn.support) and torch.equal(frozen.query, drawn.query)


def test_attribute_methods_never_see_a_test_label():
    module = data()
    assert module.targets().shape == (400, 8) and module.labels == 8
    assert np.array_equal(module.targets(), module.table("train").of(module.split.train))
    oracle = data(label_group="oracle")
    assert oracle.labels == 16 and data(label_group="identity").labels == len(set(oracle.table("train").identities))


@pytest.mark.parametrize(
    "model",
    [
        SimCLR(width=4), SimCLR(width=4, variant="ntxent", optimizer="lars", lr=0.5), SupervisedAttributes(8, width=4),
        FinetuneAttributes(8, width=4), FinetuneEpisodes(width=4), ProtoNet(width=4), MatchingNet(width=4),
        ANIL(width=4), TADAM(width=4), TAFENet(width=4, crop=1.0),
    ],
    ids=lambda m: type(m).__name__,
)  # fmt: skip
def test_every_method_trains_its_backbone(model):
    """A frozen backbone in finetuning is a trap: h must move, and so must the head."""
    before, head = weights_hash(model.encoder), weights_hash(model.head)
    fit(model, data())
    assert weights_hash(model.encoder) != before and weights_hash(model.head) != head
    assert all(torch.isfinite(p).all() for p in model.parameters())


def test_identities_can_be_classified():
    module = data(label_group="identity")
    model = fit(IdentityClassifier(module.labels, width=4), module)
    assert model.head.out_features == module.labels


def test_learning_learns():
    """SA tells its own attributes apart after a few steps; with shuffled labels nothing is better than a coin."""
    module = data(train_size=1500, batch_size=64)
    model = fit(SupervisedAttributes(8, width=8, crop=1.0, lr=1e-2), module, 60)
    features = Standardizer.of(extract(model.encoder, module.pool("train").images))(
        extract(model.encoder, module.pool("test").images)
    )
    episodes = module.episodes("test", "train")
    found = evaluate(features, episodes, LogisticReadout(1e-2))
    assert found.mean > 65
    shuffled = features[torch.randperm(len(features), generator=torch.Generator().manual_seed(0))]
    assert abs(evaluate(shuffled, episodes, NearestCentroid()).mean - 50) < 5


def test_finetuning_starts_from_the_pretrained_encoder_and_discards_its_head(tmp_path):
    module = data()
    save_checkpoint(fit(SimCLR(width=4), module), tmp_path / "u.ckpt")
    tuned = FinetuneAttributes(8, width=4, pretrained=str(tmp_path / "u.ckpt"))
    assert weights_hash(tuned.encoder) == weights_hash(load_encoder(tmp_path / "u.ckpt"))
    fit(tuned, module)
    save_checkpoint(tuned, tmp_path / "ufta.ckpt")
    assert (
        weights_hash(load_encoder(tmp_path / "ufta.ckpt"))
        == weights_hash(tuned.encoder)
        != weights_hash(load_encoder(tmp_path / "u.ckpt"))
    )


def test_the_readout_on_h_is_not_the_readout_on_g():
    """Kept and discarded heads must differ, or the head was never there."""
    module = data()
    model = fit(FinetuneAttributes(8, width=4), module, 5).eval()
    h = extract(model.encoder, module.pool("test").images)
    with torch.no_grad():
        g = model.discarded(h)
    episodes = module.episodes("test")
    on_h, on_g = (evaluate(Standardizer.of(f)(f), episodes, NearestCentroid()).per_episode for f in (h, g))
    assert not np.allclose(on_h, on_g)


def test_features_do_not_depend_on_their_neighbours_in_the_batch():
    """Batch norm in training mode at extraction is a trap."""
    encoder, images = SmallEncoder(4).train(), data().pool("val").images[:60]
    encoder(torch.rand(64, 3, 32, 32))  # some statistics
    order = torch.randperm(60, generator=torch.Generator().manual_seed(0))
    whole = extract(encoder, images)
    assert torch.allclose(extract(encoder, images[order], batch=7), whole[order], atol=1e-5)
    assert encoder.training  # as it was


def test_the_cache_knows_weights_and_images(tmp_path):
    images, cache = data().pool("val").images[:20], FeatureCache(tmp_path / "cache")
    encoder = SmallEncoder(4)
    first = cache.extract(encoder, images)
    stamp = cache.path(encoder, images).stat().st_mtime_ns
    assert torch.equal(cache.extract(encoder, images), first)
    assert cache.path(encoder, images).stat().st_mtime_ns == stamp
    with torch.no_grad():
        encoder.norms[0].bias += 1
    assert not torch.equal(cache.extract(encoder, images), first)
    cache.extract(encoder, 255 - images)
    assert len(list((tmp_path / "cache").iterdir())) == 3
    np.save(cache.path(encoder, images), np.full((20, 3), np.nan, np.float32))
    with pytest.warns(UserWarning, match=r"\.npy: finite features .* expected, got \(20, 3\), so it is made again"):
        again = cache.extract(encoder, images)
    assert torch.equal(again, extract(encoder, images)) and torch.equal(cache.extract(encoder, images), again)
    cache.path(encoder, images).write_bytes(b"nothing")
    with pytest.warns(UserWarning, match=r"\.npy: not readable features .*, so it is made again"):
        assert torch.equal(cache.extract(encoder, images), again)


FITS = {
    "SimCLR": lambda: SimCLR(width=4, optimizer="lars", lr=0.1),
    "attributes": lambda: SupervisedAttributes(8, width=4),
    "episodes": lambda: ProtoNet(width=4),
}


@pytest.mark.parametrize("kind", FITS)
def test_a_resumed_run_ends_where_an_unbroken_one_does(tmp_path, kind):
    def run(folder, steps, resume=None):
        model, module = FITS[kind](), data()
        torch.manual_seed(0)
        for parameter in model.parameters():
            torch.nn.init.normal_(parameter, std=0.1)
        saver = ModelCheckpoint(dirpath=folder, save_last=True, every_n_train_steps=1, save_on_train_epoch_end=False)
        trainer = Trainer(
            accelerator="cpu", max_steps=10, max_epochs=-1, logger=False, callbacks=[saver, _StopAt(steps)],
            enable_progress_bar=False, enable_model_summary=False, num_sanity_val_steps=0, limit_val_batches=0,
        )  # fmt: skip
        trainer.fit(model, datamodule=module, ckpt_path=resume, weights_only=True)
        return model

    whole = run(tmp_path / "whole", 10)
    run(tmp_path / "broken", 7)
    resumed = run(tmp_path / "broken", 10, str(tmp_path / "broken" / "last.ckpt"))
    assert all(torch.equal(a, b) for a, b in zip(whole.parameters(), resumed.parameters(), strict=True))


class _StopAt(ModelCheckpoint):
    """Ends a run early, as if it had been killed, without changing what the scheduler was told."""

    def __init__(self, steps):
        super().__init__(monitor=None, save_top_k=0)
        self.steps = steps

    def on_train_batch_end(self, trainer, *_):
        if trainer.global_step >= self.steps:
            trainer.should_stop = True


@pytest.mark.parametrize("kind", FITS)
def test_a_loss_that_is_no_number_ends_the_run(kind):
    model = FITS[kind]()
    for parameter in model.parameters():
        parameter.data.fill_(torch.nan)
    with pytest.raises(ValueError, match=r"step 0: the training loss is nan, .* lower model.init_args.lr"):
        fit(model, data(), 2)


def test_processes_get_batches_of_their_own():
    order = [Steps(4, rank, 2, lambda: 12) for rank in (0, 1)]
    assert sorted([*order[0], *order[1]]) == list(range(24, 32))
    images = torch.arange(10)[:, None, None, None]
    batches = LabelledBatches(images, torch.arange(10), 3, seed=1)
    epoch = torch.cat([batches[i][1] for i in range(3)]).tolist()
    assert len(set(epoch)) == 9 and epoch != torch.cat([batches[i][1] for i in range(3, 6)]).tolist()


def test_test_validate_and_predict_work_in_lightning():
    module = data()
    model = SupervisedAttributes(8, width=4)
    trainer = Trainer(accelerator="cpu", logger=False, enable_progress_bar=False, enable_model_summary=False,
                      enable_checkpointing=False)  # fmt: skip
    (test,) = trainer.test(model, datamodule=module, verbose=False)
    (val,) = trainer.validate(model, datamodule=module, verbose=False)
    assert 40 < test["test/accuracy"] < 80 and test["test/ci95"] > 0 and 40 < val["val/accuracy"] < 80
    features = torch.cat(trainer.predict(model, datamodule=module))
    assert torch.allclose(features, extract(model.encoder, module.pool("test").images), atol=1e-5)


@pytest.mark.parametrize("learner", [ProtoNet, TADAM])
def test_learners_judge_pools_as_they_judge_images(learner):
    module = data()
    model = fit(learner(width=4), module)
    episodes, images = module.episodes("test").with_shots(3), module.pool("test").images
    found = model.judge(images, episodes)
    with torch.no_grad():
        support, query = (images[r].float() / 255 for r in (episodes.support, episodes.query))
        logits = model.episode_logits(support, episodes.support_y, query)
    right = ((logits > 0) == episodes.query_y.bool()).double().mean(1) * 100
    assert np.allclose(found.per_episode, right.numpy())
    assert set(found.by_context()) == set(episodes.contexts)


def test_a_logit_of_zero_is_half_right():
    assert accuracy(torch.tensor([[0.0, 1.0, -1.0]]), torch.tensor([[1, 1, 1]])).tolist() == pytest.approx([50.0])


def test_evaluation_refuses_rows_that_are_not_there():
    with pytest.raises(ValueError, match="an episode uses row"):
        evaluate(torch.zeros(10, 3), data().episodes("test"), NearestCentroid())
    assert len(evaluate(torch.rand(400, 3), data().sampler("test", "test"), NearestCentroid()).per_episode) == 40


def test_the_oracle_solves_what_the_true_attributes_decide():
    module = data(shots=20, queries=10, n_episodes=60, test_size=1500)
    features = torch.from_numpy(module.table("test").of(module.split.test)).float()
    assert evaluate(features, module.episodes("test"), LogisticReadout(1e-2)).mean > 97


def test_data_modules_refuse_what_they_cannot_do():
    with pytest.raises(ValueError, match="unknown label_group 'all'"):
        data(label_group="all")
    with pytest.raises(ValueError, match="must be >= 1"):
        data(batch_size=0)
    module = FFSLDataModule("faces")
    with pytest.raises(NotImplementedError, match="FFSLDataModule has no data"):
        module.pool("train")
    tabled = TabledData("x", "faces")
    with pytest.raises(NotImplementedError, match="TabledData has no tables"):
        tabled.table("train")
    with pytest.raises(NotImplementedError, match="TabledData has no files"):
        tabled.files(data().table("test"))
    nameless = DigitsData(label_group="identity")
    pool = nameless.pool("train")
    object.__setattr__(pool.table, "identities", None)
    with pytest.raises(ValueError, match="DigitsData knows no identities"):
        _ = nameless.labels


def test_checkpoints_that_do_not_fit_are_refused(tmp_path):
    module = SimCLR(width=4)
    path = tmp_path / "u.ckpt"
    save_checkpoint(module, path)
    with pytest.raises(ValueError, match="holds a SmallEncoder of 32 features, but the encoder is 'small' of width 8"):
        SimCLR(width=8, pretrained=str(path))
    (tmp_path / "broken.ckpt").write_bytes(b"nothing")
    with pytest.raises(ValueError, match=r"broken.ckpt: "):
        load_encoder(tmp_path / "broken.ckpt")
    with pytest.raises(FileNotFoundError, match=r"none.ckpt: no such file"):
        load_encoder(tmp_path / "none.ckpt")
    torch.save({"x": 1}, tmp_path / "other.ckpt")
    with pytest.raises(ValueError, match="expected a checkpoint of `fit`"):
        load_encoder(tmp_path / "other.ckpt")
    torch.save({"state_dict": {"w": torch.zeros(1)}, "hyper_parameters": {}}, tmp_path / "empty.ckpt")
    with pytest.raises(ValueError, match="holds no encoder; its tensors are w"):
        load_encoder(tmp_path / "empty.ckpt")
    content = torch.load(path, weights_only=True)
    content["state_dict"].pop("encoder.convs.0.weight")
    content["state_dict"]["encoder.extra"] = torch.zeros(1)
    torch.save(content, path)
    with pytest.raises(ValueError, match=r"lacks convs.0.weight; has unknown extra"):
        load_encoder(path)


class _Code:
    def __reduce__(self):
        return print, ("ran",)


def test_checkpoints_never_run_code(tmp_path, capsys):
    torch.save({"state_dict": _Code(), "hyper_parameters": {}}, tmp_path / "evil.ckpt")
    with pytest.raises(ValueError, match="refused, since it holds more than tensors"):
        load_encoder(tmp_path / "evil.ckpt")
    with pytest.raises(ValueError, match="not a file of plain tensors"):
        read_simclr_resnet50(tmp_path / "evil.ckpt", 4)
    assert "ran" not in capsys.readouterr().out


def test_a_learner_comes_back_with_its_head(tmp_path):
    model = fit(MatchingNet(width=4), data())
    save_checkpoint(model, tmp_path / "m.ckpt")
    back = load_learner(str(tmp_path / "m.ckpt"))
    assert isinstance(back, MatchingNet) and weights_hash(back) == weights_hash(model)
    content = torch.load(tmp_path / "m.ckpt", weights_only=True)
    content["hyper_parameters"]["_class_path"] = "somewhere.Oracle"
    torch.save(content, tmp_path / "m.ckpt")
    with pytest.raises(ValueError, match=r"expected a learner of .* got 'Oracle'"):
        load_learner(str(tmp_path / "m.ckpt"))


def test_off_the_shelf_weights_fill_a_resnet50_by_name(tmp_path):
    theirs = ResNet50(4)
    named = {f"module.backbone.{k}": v for k, v in theirs.state_dict().items()}
    named["module.projection.conv1.weight"] = torch.zeros(3)
    torch.save({"state_dict": named, "epoch": 7}, tmp_path / "simclr.pt")
    assert weights_hash(read_simclr_resnet50(tmp_path / "simclr.pt", 4)) == weights_hash(theirs)
    model = Representation("resnet50", 4, pretrained=str(tmp_path / "simclr.pt"))
    assert weights_hash(model.encoder) == weights_hash(theirs)
    named.pop("module.backbone.layer3.2.conv1.weight")
    torch.save(named, tmp_path / "part.pt")
    with pytest.raises(ValueError, match=r"lacks layer3.2.conv1.weight"):
        read_simclr_resnet50(tmp_path / "part.pt", 4)
    torch.save({"a": 3}, tmp_path / "odd.pt")
    with pytest.raises(ValueError, match="expected a state dict of tensors"):
        read_simclr_resnet50(tmp_path / "odd.pt", 4)
