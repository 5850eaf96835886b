"""From records to claims: the paper's sentences, each with the number that decides it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import factorial

import torch
from torch import Tensor, nn

from .claims import Claim
from .networks.equivariant import EquivariantLinear
from .networks.families import FAMILIES
from .networks.siren import Siren
from .study import Record, mean_over_seeds
from .symmetry import parameter_permutation
from .tracing import build_parameter_graph
from .zoo import digits

BASELINES = ("deepsets", "dmc", "statnn")
PAPER = {  # R² on the paper's diverse architectures: split -> reader -> value
    "test": {"gmn": 0.975, "dmc": 0.957, "deepsets": 0.562},
    "tenth": {"gmn": 0.918, "dmc": 0.810, "deepsets": 0.126},
    "ood": {"gmn": 0.768, "dmc": -0.134, "deepsets": 0.128},
}


def best(records: Sequence[Record], cells: Sequence[str], number: str) -> tuple[str, float]:
    """The cell with the largest mean over seeds."""
    means = {cell: mean_over_seeds(records, "accuracy", cell, number)[0] for cell in cells}
    name = max(means, key=means.get)
    return name, means[name]


def accuracy_claims(records: Sequence[Record]) -> list[Claim]:
    """Accuracy prediction: in distribution, with a tenth of the data, and on wider nets than any it was trained on."""
    r2, r2_error = mean_over_seeds(records, "accuracy", "gmn", "test_r2")
    tau, tau_error = mean_over_seeds(records, "accuracy", "gmn", "test_tau")
    sets = mean_over_seeds(records, "accuracy", "deepsets", "test_r2")[0]
    tenth, tenth_error = mean_over_seeds(records, "accuracy", "gmn_tenth", "test_r2")
    other_tenth, best_tenth = best(records, [f"{b}_tenth" for b in BASELINES], "test_r2")
    ood, ood_error = mean_over_seeds(records, "accuracy", "gmn", "ood_r2")
    other, best_ood = best(records, BASELINES, "ood_r2")
    family = mean_over_seeds(records, "accuracy", "gmn", "test_mean_r2")[0]
    return [
        Claim("accuracy-r2", "A graph metanet predicts accuracies of six kinds of networks (R²)",
              PAPER["test"]["gmn"], r2, "at least 0.74", r2 >= 0.74, r2_error),
        Claim("accuracy-tau", "It ranks them (Kendall's τ)", 0.908, tau, "at least 0.68", tau >= 0.68, tau_error),
        Claim("accuracy-deepsets", "It beats a set of weights with the same features (R² above DeepSets')",
              PAPER["test"]["gmn"] - PAPER["test"]["deepsets"], r2 - sets, "at least 0.03", r2 - sets >= 0.03),
        Claim("accuracy-family", "It reads weights, not the architecture alone (R² above the family mean's)", None,
              r2 - family, "at least 0.1", r2 - family >= 0.1),
        Claim("accuracy-tenth", "With a tenth of the data it beats every baseline (R² above the best, "
              f"{other_tenth.removesuffix('_tenth')})", PAPER["tenth"]["gmn"] - PAPER["tenth"]["dmc"],
              tenth - best_tenth, "above 0", tenth > best_tenth, tenth_error),
        Claim("accuracy-ood", f"On wider nets than any seen it beats every baseline (R² above the best, {other})",
              PAPER["ood"]["gmn"] - PAPER["ood"]["deepsets"], ood - best_ood, "at least 0.05", ood - best_ood >= 0.05,
              ood_error),
    ]  # fmt: skip


def editing_claims(records: Sequence[Record], threshold: float = 0.042) -> list[Claim]:
    """INR editing: dilation by a change of weights."""
    gmn, error = mean_over_seeds(records, "editing", "gmn", "test_mse")
    flat = mean_over_seeds(records, "editing", "flat", "test_mse")[0]
    np_nfn = mean_over_seeds(records, "editing", "npnfn", "test_mse")[0]
    mean = mean_over_seeds(records, "editing", "gmn", "mean_mse")[0]
    return [
        Claim("editing-mse", "A graph metanet dilates the image that a SIREN holds (squared error)", ".0603, MNIST",
              gmn, f"at most {threshold:g}", gmn <= threshold, error),
        Claim("editing-flat", "An MLP on flat weights does not (its error over the metanet's)", ".306 / .0603, MNIST",
              flat / gmn, "at least 2", flat >= 2 * gmn),
        Claim("editing-npnfn", "NP-NFN, another equivariant editor, is not better (its error over the metanet's)",
              ".0693 / .0603, MNIST", np_nfn / gmn, "at least 1", np_nfn >= gmn),
        Claim("editing-mean", "It is closer than the mean of all targets (that error over the metanet's)", None,
              mean / gmn, "above 1", mean > gmn),
    ]  # fmt: skip


def contrast_claims(records: Sequence[Record]) -> list[Claim]:
    """INR editing: more contrast for colour images by a change of weights."""
    gmn, error = mean_over_seeds(records, "editing", "gmn", "test_mse")
    flat = mean_over_seeds(records, "editing", "flat", "test_mse")[0]
    np_nfn = mean_over_seeds(records, "editing", "npnfn", "test_mse")[0]
    unedited = mean_over_seeds(records, "editing", "gmn", "unedited_mse")[0]
    return [
        Claim("contrast-mse", "A graph metanet adds contrast to the image that a SIREN holds (error below no edit's)",
              ".0197, CIFAR-10", gmn, f"below {unedited:.4f}", gmn < unedited, error),
        Claim("contrast-flat", "An MLP on flat weights is worse (its error over the metanet's)",
              ".031 / .0197, CIFAR-10", flat / gmn, "above 1", flat > gmn),
        Claim("contrast-npnfn", "NP-NFN, another equivariant editor, is not better (its error over the metanet's)",
              ".0203 / .0197, CIFAR-10", np_nfn / gmn, "at least 1", np_nfn >= gmn),
    ]  # fmt: skip


def contrastive_claims(records: Sequence[Record]) -> list[Claim]:
    """Embeddings of sine waves."""
    gmn, error = mean_over_seeds(records, "contrastive", "gmn", "probe_mse")
    flat = mean_over_seeds(records, "contrastive", "flat", "probe_mse")[0]
    untrained = mean_over_seeds(records, "contrastive", "untrained", "probe_mse")[0]
    return [
        Claim("ssl-probe", "Self-supervised embeddings of sine INRs tell amplitude and frequency (squared error)",
              1.13, gmn, "at most 5.2", gmn <= 5.2, error),
        Claim("ssl-untrained", "Training, not the architecture alone, does it (error below the untrained metanet's)",
              None, untrained - gmn, "at least 0.5", untrained - gmn >= 0.5),
        Claim("ssl-flat", "An MLP on flat weights knows no more than the mean (probe's squared error)", "7.39", flat,
              "at least 7.5", flat >= 7.5),
    ]  # fmt: skip


@dataclass(frozen=True)
class Certificate:
    """Of one network: orders of the groups of both styles, change of the function, error of execution."""

    name: str
    exact: int
    paper: int | None
    closed_form: int
    changed: float
    executed: float


def certificates(width: int = 4) -> list[Certificate]:
    """Symmetry certificates of small networks of every kind, in float64; weights and inputs are the same every time."""
    with torch.random.fork_rng(), torch.no_grad():
        torch.manual_seed(0)
        return [certificate(name, *network) for name, network in certified_networks(width).items()]


def certified_networks(width: int) -> dict[str, tuple[nn.Module, Tensor, int]]:
    """Name -> a network with weights from the global generator, an input, and the order of its symmetry group."""
    w, f, images = width, factorial, digits()[0][:3]

    def of_zoo(family: str) -> tuple[nn.Module, Tensor]:
        return FAMILIES[family].build(w), FAMILIES[family].read(images)

    sets = nn.Sequential(EquivariantLinear(4, w), nn.ReLU(), EquivariantLinear(w, 3))
    return {
        "MLP": (*of_zoo("mlp"), f(w) ** 2),
        "CNN": (*of_zoo("cnn"), f(w) ** 3),
        "CNN, group norm": (*of_zoo("cnn_norm"), (2 * f(w // 2) ** 2) ** 3),
        "residual CNN": (*of_zoo("residual"), (2 * f(w // 2) ** 2) ** 2),
        "DeepSets": (sets, torch.randn(3, 5, 4), f(w)),
        "ViT": (*of_zoo("vit"), f(w) * 2 * f(w // 2) ** 4 * f(2 * w)),
        "SIREN": (Siren((2, w, w, 1)), torch.randn(3, 2), f(w) ** 2),
    }


def certificate(name: str, model: nn.Module, x: Tensor, order: int) -> Certificate:
    """Of one network, whose parameters are disturbed so that none of them are equal."""
    model, x = model.double(), x.double()
    for parameter in model.parameters():
        parameter.add_(0.3 * torch.randn_like(parameter))
    graph = build_parameter_graph(model, x)
    output = model(x)
    executed = float((graph.execute(x, values=graph.edge_values(model)) - output).abs().max())
    changed = 0.0
    for phi in graph.automorphism_generators():
        moved = graph.permute(phi, model)
        change = (torch.func.functional_call(model, moved, (x,)) - output).abs().max()
        changed = max(changed, float(change))
    paper = build_parameter_graph(model, x, style="paper").automorphism_count()
    return Certificate(name, graph.automorphism_count(), paper, order, changed, executed)


def certificate_claims(found: Sequence[Certificate], spread: dict[str, float]) -> list[Claim]:
    """Symmetries: groups as theory has them, functions kept, invariant outputs."""
    alike = sum(c.exact == c.closed_form for c in found)
    changed, executed = max(c.changed for c in found), max(c.executed for c in found)
    return [
        Claim("symmetry-orders", "The exact graph has as many automorphisms as its network has symmetries", None,
              f"{alike} of {len(found)}", "all", alike == len(found)),
        Claim("symmetry-function", "Every generator keeps the function (largest change, float64)", "kept", changed,
              "below 1e-10", changed < 1e-10),
        Claim("execution", "The graph alone computes what the network does (largest difference, float64)", "equal",
              executed, "below 1e-10", executed < 1e-10),
        Claim("invariance", "Permuted copies of a network look alike to the metanet, not to an MLP on flat weights "
              "(spreads of both)", "invariant", f"{spread['gmn']:.1g} and {spread['flat']:.1g}",
              "first below 1e-5, second above 1e-3", spread["gmn"] < 1e-5 and spread["flat"] > 1e-3),
    ]  # fmt: skip


def permuted_outputs(copies: int = 50, seed: int = 0) -> dict[str, Tensor]:
    """Outputs (copies, 2) of an untrained invariant metanet and flat MLP on permuted copies of one network."""
    from .baselines import FlatMLP
    from .batch import NetBatch
    from .metanet import InvariantMetanet

    generator = torch.Generator().manual_seed(seed)
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        model = FAMILIES["mlp"].build(8)
        graph = build_parameter_graph(model, torch.zeros(1, 64))
        readers = {"gmn": InvariantMetanet(2, 16, 2), "flat": FlatMLP(graph.layout.total, 2)}
    flat = graph.flatten(model.state_dict())
    hidden = [((graph.node_layer == layer) & (graph.node_type == 0)).nonzero()[:, 0] for layer in (1, 2)]
    rows = []
    for _ in range(copies):
        phi = torch.arange(graph.num_nodes)
        for ids in hidden:
            phi[ids] = ids[torch.randperm(len(ids), generator=generator)]
        moved = torch.empty_like(flat)
        moved[parameter_permutation(graph, phi)] = flat
        rows.append(moved)
    batch = NetBatch([(graph, torch.stack(rows))])
    with torch.no_grad():
        return {name: reader.eval()(batch) for name, reader in readers.items()}
