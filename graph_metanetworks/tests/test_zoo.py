"""The zoo, its split, and that no label leaks: what is predicted comes from weights."""

import pytest
import torch
from pytorch_lightning import Callback, Trainer
from pytorch_lightning.callbacks import ModelCheckpoint

from graph_metanetworks.accuracy import AccuracyPrediction, kendall, r_squared, recalibrated
from graph_metanetworks.networks.families import FAMILIES, patches, placed_patches
from graph_metanetworks.networks.resnet18 import ResNet18
from graph_metanetworks.sampling import BudgetSampler, EpochOrder
from graph_metanetworks.study import family_means, scores
from graph_metanetworks.tracing import build_parameter_graph
from graph_metanetworks.zoo import Recipe, digits, train_nets
from graph_metanetworks.zoo_data import Net, ZooData, collate_labelled, family_graph
from graph_metanetworks.zoo_files import cached_nets, read_nets, write_nets

QUICK = Recipe(steps=(3, 30))


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return str(tmp_path_factory.mktemp("zoo"))


def quiet_trainer(**options):
    silent = {
        "logger": False,
        "enable_checkpointing": False,
        "enable_progress_bar": False,
        "enable_model_summary": False,
    }
    return Trainer(accelerator="cpu", **silent, **options)


@pytest.mark.parametrize("family", FAMILIES)
def test_every_family_is_drawn_and_run_by_its_graph(family):
    kind = FAMILIES[family]
    model, x = kind.build(6).double(), kind.read(digits()[0][:3].double())
    graph = build_parameter_graph(model, x)
    with torch.no_grad():
        assert float((graph.execute(x, values=graph.edge_values(model)) - model(x)).abs().max()) < 1e-10


def test_nets_of_a_stack_train_as_they_would_alone():
    """The first of three nets has the same weights in a stack of three and under a longer budget of the others."""
    nets = train_nets("mlp", 4, 3, QUICK, seed=1)
    assert nets.accuracy.shape == (3,) and set(nets.state) == {
        f"{i}.{k}" for i in (0, 2, 4) for k in ("weight", "bias")
    }
    model = FAMILIES["mlp"].build(4)
    model.load_state_dict({name: value[1] for name, value in nets.state.items()})
    images, labels = digits()
    with torch.no_grad():
        found = (model(images[1000:].flatten(1)).argmax(1) == labels[1000:]).float().mean()
    assert float(found) == pytest.approx(float(nets.accuracy[1]), abs=1e-6)


def test_patches_are_two_by_two_pixels_in_reading_order():
    image = torch.arange(64.0).view(1, 8, 8)
    assert patches(image)[0, 1].tolist() == [2, 3, 10, 11] and patches(image)[0, 4].tolist() == [16, 17, 24, 25]
    assert placed_patches(image).shape == (1, 16, 8)


def test_a_zoo_is_trained_once_and_read_again(folder):
    first = cached_nets(folder, "mlp", 4, 5, QUICK, 0)
    again = cached_nets(folder, "mlp", 4, 5, QUICK, 0)
    assert torch.equal(first.accuracy, again.accuracy)
    assert all(torch.equal(first.state[name], again.state[name]) for name in first.state)
    other = cached_nets(folder, "mlp", 4, 5, QUICK, 1)
    assert not torch.equal(first.accuracy, other.accuracy)


def test_unknown_families_and_bad_files_are_refused(tmp_path):
    with pytest.raises(ValueError, match="unknown family 'rnn', choose from mlp"):
        train_nets("rnn", 4, 2, QUICK, 0)
    with pytest.raises(ValueError, match="at least one network expected, got 0"):
        train_nets("mlp", 4, 0, QUICK, 0)
    with pytest.raises(FileNotFoundError, match=r"no such file; a \.safetensors file"):
        read_nets(tmp_path / "none.safetensors")
    (tmp_path / "bad.safetensors").write_bytes(b"nonsense")
    with pytest.raises(ValueError, match="not a readable safetensors file"):
        read_nets(tmp_path / "bad.safetensors")
    nets = train_nets("mlp", 4, 2, QUICK, 0)
    nets.state["0.bias"][0, 0] = torch.nan
    write_nets(tmp_path / "nan.safetensors", nets)
    with pytest.raises(ValueError, match=r"state\.0\.bias has values that are not finite"):
        read_nets(tmp_path / "nan.safetensors")
    from safetensors.torch import save_file

    save_file({"x": torch.zeros(1)}, tmp_path / "other.safetensors")
    with pytest.raises(ValueError, match="accuracy, family and width expected, it holds x"):
        read_nets(tmp_path / "other.safetensors")


@pytest.fixture(scope="module")
def data(folder):
    found = ZooData(folder, ["mlp", "cnn_norm"], [4, 6], [40, 20], [8], [10], steps=[3, 60])
    found.setup()
    return found


def test_parts_are_disjoint_and_wider_nets_are_tested_only(data):
    parts = {name: {id(net) for net in nets} for name, nets in data.parts.items()}
    names = list(parts)
    assert all(not parts[a] & parts[b] for i, a in enumerate(names) for b in names[:i])
    flats = [tuple(net.flat[:5].tolist()) for nets in data.parts.values() for net in nets]
    assert len(set(flats)) == len(flats)
    assert {net.width for part in ("train", "val", "test") for net in data.parts[part]} == {4, 6}
    assert {net.width for net in data.parts["ood"]} == {8}
    assert [len(data.parts[part]) for part in ("train", "val", "test", "ood")] == [84, 12, 24, 20]


def test_a_tenth_trains_on_less_and_is_tested_on_the_same(data, folder):
    tenth = ZooData(folder, ["mlp", "cnn_norm"], [4, 6], [40, 20], [8], [10], train_share=0.1, steps=[3, 60])
    tenth.setup()
    assert len(tenth.parts["train"]) == 8
    for part in ("val", "test", "ood"):
        pairs = zip(tenth.parts[part], data.parts[part], strict=True)
        assert all(torch.equal(a.flat, b.flat) for a, b in pairs)


def test_widths_that_are_trained_on_cannot_be_held_out():
    with pytest.raises(ValueError, match=r"widths \[8\] are both trained on and held out"):
        ZooData(widths=[8, 6], counts=[2, 2], ood_widths=[8, 16], ood_counts=[2, 2])
    with pytest.raises(ValueError, match="as many counts as widths expected, got 1 and 2"):
        ZooData(widths=[8, 6], counts=[2])
    with pytest.raises(ValueError, match=r"train_share in \(0, 1\] expected, got 0"):
        ZooData(train_share=0.0)


def test_a_batch_holds_weights_and_labels_and_nothing_of_family_or_width(data):
    batch = next(iter(data.train_dataloader()))
    assert batch._fields == ("nets", "accuracy")
    assert not any("family" in name or "width" in name or "accuracy" in name for name in vars(batch.nets))


def shuffled_labels(nets, generator):
    """The same nets with labels exchanged among those of one architecture: its mean is what is left to learn."""
    groups = {}
    for i, net in enumerate(nets):
        groups.setdefault((net.family, net.width), []).append(i)
    result = list(nets)
    for members in groups.values():
        order = torch.randperm(len(members), generator=generator).tolist()
        for i, j in zip(members, order, strict=True):
            old = nets[i]
            result[i] = Net(old.graph, old.flat, nets[members[j]].accuracy, old.family, old.width)
    return result


def test_labels_shuffled_within_architectures_leave_the_family_mean(data):
    """With labels exchanged among nets of one architecture nothing beyond the architecture's mean can be learned."""
    true = torch.tensor([net.accuracy for net in data.parts["test"]])

    def trained_on(nets):
        copy = ZooData(**{**data.hparams, "order_seed": 1})
        copy.parts = {**data.parts, "train": nets}
        module = AccuracyPrediction(width=8, depth=2, rate=1e-2)
        quiet_trainer(max_epochs=45, limit_val_batches=0).fit(module, datamodule=copy)
        module.eval()
        with torch.no_grad():
            return torch.cat([module(batch.nets) for batch in copy.loader("test")])

    mean = r_squared(family_means(data.parts["train"], data.parts["test"]), true)
    nets = shuffled_labels(data.parts["train"], torch.Generator().manual_seed(0))
    assert sorted(net.accuracy for net in nets) == sorted(net.accuracy for net in data.parts["train"])
    blind, seeing = r_squared(trained_on(nets), true), r_squared(trained_on(data.parts["train"]), true)
    assert blind < mean + 0.1
    assert seeing > max(blind, mean) + 0.1


class StopEarly(Callback):
    """As if somebody had stopped the run after its second epoch."""

    def on_train_epoch_end(self, trainer, module):
        trainer.should_stop = trainer.current_epoch == 1


def test_a_resumed_fit_ends_where_an_unbroken_one_does(data, tmp_path):
    def fit(name, stops, resume=None):
        keep = ModelCheckpoint(tmp_path / name, save_last=True, save_on_train_epoch_end=True)
        silent = {"logger": False, "enable_progress_bar": False, "enable_model_summary": False}
        trainer = Trainer(accelerator="cpu", max_epochs=4, callbacks=[keep, *stops], **silent)
        module = AccuracyPrediction(width=8, depth=1)
        copy = ZooData(**data.hparams)
        copy.parts = data.parts
        trainer.fit(module, datamodule=copy, ckpt_path=resume, **({"weights_only": True} if resume else {}))
        return module.state_dict()

    whole = fit("whole", [])
    fit("parts", [StopEarly()])
    resumed = fit("parts", [], str(tmp_path / "parts" / "last.ckpt"))
    assert all(torch.equal(whole[name], resumed[name]) for name in whole)


def test_orders_depend_on_seed_and_epoch_alone():
    order = EpochOrder(10, seed=0)
    first = list(order)
    assert sorted(first) == list(range(10)) and list(order) == first and len(order) == 10
    order.set_epoch(1)
    assert list(order) != first
    assert list(EpochOrder(4, 0, shuffle=False)) == [0, 1, 2, 3]


def test_processes_share_out_batches_evenly():
    edges = [3] * 10
    samplers = [BudgetSampler(edges, 9, 2, EpochOrder(10, 0), rank, 2) for rank in (0, 1)]
    batches = [list(sampler) for sampler in samplers]
    assert len(batches[0]) == len(batches[1]) == len(samplers[0])
    seen = [i for part in batches for batch in part for i in batch]
    assert len(set(seen)) == len(seen) and max(len(b) for part in batches for b in part) == 2


def test_scores_are_those_of_their_definitions():
    true = torch.tensor([0.1, 0.4, 0.5, 0.9])
    assert r_squared(true, true) == 1 and r_squared(true.mean().expand(4), true) == 0
    assert kendall(true, true) == 1 and kendall(-true, true) == -1 and kendall(torch.ones(4), true) == 0
    assert recalibrated(0.3 - 2 * true, true) == pytest.approx(1) and recalibrated(torch.ones(4), true) == 0
    assert scores(true, true, ["a", "a", "a", "b"])["within_tau"] == 1


def test_collated_nets_keep_their_labels_whatever_their_architecture():
    graphs = family_graph("mlp", 4), family_graph("vit", 4)
    nets = [Net(graphs[i % 2], torch.full((graphs[i % 2].layout.total,), float(i)), i / 10, "", 4) for i in range(5)]
    batch = collate_labelled(nets)
    assert len(batch.nets.groups) == 2
    first = batch.nets.restore(torch.cat([flat[:, 0] for _, flat in batch.nets.groups]))
    assert torch.allclose(first, 10 * batch.accuracy)


def test_resnet_18_has_its_known_number_of_parameters_and_edges():
    graph = build_parameter_graph(ResNet18(), torch.zeros(1, 3, 64, 64), style="paper")
    assert graph.num_parameters == 11_689_512 and graph.num_edges == 11_691_432


@pytest.mark.parametrize("reader", ["gmn", "statnn"])
def test_a_loss_that_is_no_number_ends_the_run(data, reader):
    module = AccuracyPrediction(reader, width=8, depth=1)
    for parameter in module.parameters():
        parameter.data.fill_(torch.nan)
    copy = ZooData(**data.hparams)
    copy.parts = data.parts
    with pytest.raises(ValueError, match=r"step 0: the training loss is nan, .* lower model.init_args.rate"):
        quiet_trainer(max_steps=2, limit_val_batches=0).fit(module, datamodule=copy)
