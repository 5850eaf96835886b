"""Data: foreign conditions never reach a student; batches depend on (seed, step) alone."""

from types import SimpleNamespace

import pytest
import torch
from torch.utils.data import DataLoader

from multi_student_distill import features
from multi_student_distill.data import ClassFolderData, DigitsData, MixtureData
from multi_student_distill.measure import real_samples
from multi_student_distill.pairs import PairedDataset, fingerprint, sample_pairs, write_pairs
from multi_student_distill.partitioned import StepStream, TensorSource


@pytest.fixture
def shard(tmp_path):
    labels = torch.arange(60) % 10
    x = labels.float()[:, None, None, None].expand(60, 1, 8, 8) / 10  # a pair shows its label
    write_pairs(tmp_path / "a.safetensors", torch.randn(60, 1, 8, 8), x, labels, "teacher", 35)
    return tmp_path


@pytest.mark.parametrize("partition", ["contiguous", "random", "kmeans"])
def test_a_spy_sees_only_conditions_images_and_pairs_of_each_students_part(shard, partition):
    data = DigitsData(parts=3, partition=partition, batch_size=16, pairs=str(shard))
    data.setup("fit")
    images = {tuple(x.flatten().tolist()): int(y) for x, y in zip(data.source.x, data.source.labels, strict=True)}
    for step in range(5):
        batch = data.batch(step)
        for k in range(3):
            rows, part = slice(16 * k, 16 * k + 16), set(data.partition.part(k).tolist())
            for labels in (batch.labels[rows], batch.real_labels[rows], batch.pair_labels[rows]):
                assert set(labels.tolist()) <= part
            assert all(images[tuple(x.flatten().tolist())] in part for x in batch.real[rows])
            assert torch.equal(batch.pair_x[rows][:, 0, 0, 0], batch.pair_labels[rows] / 10)


def test_shared_pairs_reach_every_student_but_conditions_do_not(shard):
    data = DigitsData(parts=5, batch_size=64, pairs=str(shard), shared_pairs=True)
    data.setup("fit")
    batch = data.batch(0)
    assert len(set(batch.pair_labels[:64].tolist())) > 5
    assert set(batch.labels[:64].tolist()) <= {0, 1}


def test_a_student_alone_draws_what_it_draws_beside_others(shard):
    together = DigitsData(parts=3, batch_size=4, pairs=str(shard))
    alone = DigitsData(parts=3, students=[1], batch_size=4, pairs=str(shard))
    for data in (together, alone):
        data.setup("fit")
    for a, b in zip(together.batch(7), alone.batch(7), strict=True):
        assert torch.equal(a[4:8], b)


def test_batches_depend_on_step_rank_and_seed(shard):
    data = DigitsData(batch_size=8)
    data.setup("fit")
    assert torch.equal(data.batch(3).real, data.batch(3).real)
    assert not torch.equal(data.batch(3).real, data.batch(4).real)
    assert not torch.equal(data.batch(3).real, data.batch(3, rank=1).real)


@pytest.mark.parametrize("workers", [0, 2])
def test_the_stream_goes_on_where_it_was_whatever_the_workers(workers):
    data = MixtureData(parts=2, batch_size=4, count=80)
    data.setup("fit")
    stream = iter(DataLoader(StepStream(data, 5, 0), batch_size=None, num_workers=workers))
    for step in range(5, 10):
        assert torch.equal(next(stream).real, data.batch(step).real)


def test_the_loader_starts_at_the_modules_iteration():
    data = MixtureData(batch_size=4, count=80)
    data.setup("fit")
    module = SimpleNamespace(ledger=SimpleNamespace(steps=11))
    data.trainer = SimpleNamespace(lightning_module=module, global_rank=0)
    assert torch.equal(next(iter(data.train_dataloader())).real, data.batch(11).real)


def test_without_real_images_none_are_read():
    data = DigitsData(batch_size=4, real=False)
    data.load = lambda split: pytest.fail("images were read")
    data.setup("fit")
    assert data.batch(0).real.shape == (0, 1, 8, 8)


def test_all_chosen_students_references_and_no_others_are_validated_on():
    data = DigitsData(parts=5, students=[1])
    labels = torch.cat([y for _, y in data.test_dataloader()])
    assert set(labels.tolist()) == {2, 3}


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"parts": 0}, "batch_size and parts must be at least 1"),
        ({"parts": 3, "students": [3]}, r"students must be distinct, among 0 \.\.\. 2, got \[3\]"),
        ({"parts": 3, "students": []}, "students must be distinct"),
        ({"partition": "spectral"}, "unknown partition 'spectral'"),
    ],
)
def test_settings_out_of_range_are_refused(settings, said):
    with pytest.raises(ValueError, match=said):
        DigitsData(**settings)


def test_data_errors_come_before_training(shard):
    data = DigitsData(parts=11)
    with pytest.raises(ValueError, match="got 11 students for 10 conditions"):
        data.setup("fit")
    with pytest.raises(ValueError, match="quadrants are four parts, got 2"):
        DigitsData(parts=2, partition="quadrants").setup("fit")
    with pytest.raises(ValueError, match="pair_count is 61, but there are 60 pairs"):
        DigitsData(pairs=str(shard), pair_count=61).setup("fit")
    labels = torch.zeros(5, dtype=torch.int64)
    write_pairs(shard / "zero" / "a.safetensors", torch.zeros(5, 1, 8, 8), torch.zeros(5, 1, 8, 8), labels, "t", 1)
    with pytest.raises(ValueError, match=r"no pairs with a label in the part \[5, 6, 7, 8, 9\]"):
        DigitsData(parts=2, pairs=str(shard / "zero")).setup("fit")
    with pytest.raises(ValueError, match="unknown layout 'grid'"):
        MixtureData(layout="grid")
    with pytest.raises(ValueError, match="has no exact teacher"):
        DigitsData().exact_teacher()


# pairs


def test_pairs_know_their_teacher(shard):
    pairs = PairedDataset(shard, (1, 8, 8), 10)
    pairs.check_teacher("teacher")
    assert len(pairs) == 60 and pairs.evaluations == 35
    with pytest.raises(ValueError, match="pairs are of another teacher: expected other, got teacher"):
        pairs.check_teacher("other")


def test_shards_are_one_set_but_never_of_two_teachers(shard):
    z = torch.zeros(3, 1, 8, 8)
    labels = torch.tensor([1, 2, 3])
    write_pairs(shard / "b.safetensors", z, z + 1, labels, "teacher", 35)
    assert len(PairedDataset(shard, (1, 8, 8), 10)) == 63
    write_pairs(shard / "c.safetensors", z, z + 1, labels, "another", 35)
    with pytest.raises(ValueError, match="shards of 2 teachers: another, teacher"):
        PairedDataset(shard, (1, 8, 8), 10)


def test_shards_that_do_not_fit_are_refused_by_name(shard):
    z = torch.zeros(3, 1, 8, 8)
    labels = torch.tensor([1, 2, 3])
    with pytest.raises(FileNotFoundError, match="no pairs; `multi-student-distill pairs`"):
        PairedDataset(shard / "nothing", (1, 8, 8), 10)
    cases = [
        ((z, z[:, :, :4], labels), r"expected z and x of \(N, 1, 8, 8\), got \(3, 1, 4, 8\)"),
        ((z, z + 1, labels + 8), r"expected int64 labels 0 \.\.\. 10, got torch.int64 up to 11"),
        ((z, z + 1, labels.float()), "got torch.float32"),
        ((z, z + float("nan"), labels), "holds NaN or infinity"),
    ]
    for number, (tensors, said) in enumerate(cases):
        path = shard / f"case{number}.safetensors"
        write_pairs(path, *tensors, "teacher", 35)
        with pytest.raises(ValueError, match=said):
            PairedDataset(path, (1, 8, 8), 10)


def test_the_fingerprint_tells_teachers_apart(generator):
    a, b = MixtureData().exact_teacher(), MixtureData(layout="rings").exact_teacher()
    assert fingerprint(a) == fingerprint(MixtureData().exact_teacher()) != fingerprint(b)
    z, x, evaluations = sample_pairs(lambda z, y: (2 * z, 7), torch.zeros(5), (2,), 0, batch_size=2)
    assert torch.equal(x, 2 * z) and evaluations == 7


@pytest.mark.parametrize("labels", [[0] * 50 + [1] * 50, [0, 1] * 50], ids=["sorted", "in turn"])
def test_fewer_real_samples_are_of_all_classes_alike(labels):
    source = TensorSource(torch.arange(100.0)[:, None], torch.tensor(labels))
    found, theirs = real_samples(SimpleNamespace(source=source), 10)
    assert torch.bincount(theirs).tolist() == [5, 5] and bool((found.diff(dim=0) > 0).all())
    assert real_samples(SimpleNamespace(source=source), 100)[0].flatten().tolist() == list(range(100))


def test_a_feature_network_is_trained_anew_for_other_data_or_steps_and_where_its_file_is_damaged(tmp_path, monkeypatch):
    trained = []
    monkeypatch.setattr(features, "train_features", lambda *of: trained.append(of) or features.FeatureNetwork(1, 4, 2))
    path, images, labels = tmp_path / "features.pt", torch.zeros(4, 1, 4, 4), torch.tensor([0, 1, 0, 1])
    first = features.stored_features(path, images, labels, 1)
    again = features.stored_features(path, images, labels, 1)
    assert len(trained) == 1 and torch.equal(first.outlet.weight, again.outlet.weight)
    features.stored_features(path, images + 1, labels, 1)
    features.stored_features(path, images + 1, labels, 2)
    assert len(trained) == 3
    path.write_bytes(b"damaged")
    with pytest.warns(UserWarning, match=r"features\.pt: damaged .*, so it is made again"):
        features.stored_features(path, images + 1, labels, 2)
    torch.save({"mark": features.features_mark(images + 1, labels, 2), "made": {"outlet.bias": None}}, path)
    with pytest.warns(UserWarning, match="no weights of a feature network, so it is made again"):
        features.stored_features(path, images + 1, labels, 2)
    assert len(trained) == 5


def test_the_cifar_subset_is_read_as_class_folders(papers_data):
    data = ClassFolderData(str(papers_data / "cifar10" / "cifar10_jpeg_subset.zip"), size=16, batch_size=4, parts=2)
    source = data.load("test")
    assert len(source.labels) == 2000 and torch.bincount(source.labels).tolist() == [200] * 10
    images = source.fetch(torch.arange(50))
    assert images.shape == (50, 3, 16, 16) and float(images.min()) >= -1 and float(images.max()) <= 1
