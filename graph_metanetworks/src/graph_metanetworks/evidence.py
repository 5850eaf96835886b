"""From records to claims: the paper's sentences, each with the number that decides it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

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
        Claim("accuracy_r2", "a graph metanet predicts accuracies of six kinds of networks (R²)",
              PAPER["test"]["gmn"], r2, ">= 0.74", r2 >= 0.74, r2_error),
        Claim("accuracy_tau", "and ranks them (Kendall's τ)", 0.908, tau, ">= 0.68", tau >= 0.68, tau_error),
        Claim("accuracy_deepsets", "it beats a set of weights with the same features (R² above DeepSets')",
              PAPER["test"]["gmn"] - PAPER["test"]["deepsets"], r2 - sets, ">= 0.03", r2 - sets >= 0.03),
        Claim("accuracy_family", "it reads weights, not the architecture alone (R² above the family mean's)", None,
              r2 - family, ">= 0.1", r2 - family >= 0.1),
        Claim("accuracy_tenth", "with a tenth of the data it beats every baseline (R² above the best, "
              f"{other_tenth.removesuffix('_tenth')})", PAPER["tenth"]["gmn"] - PAPER["tenth"]["dmc"],
              tenth - best_tenth, "> 0", tenth > best_tenth, tenth_error),
        Claim("accuracy_ood", f"on wider nets than any seen it beats every baseline (R² above the best, {other})",
              PAPER["ood"]["gmn"] - PAPER["ood"]["deepsets"], ood - best_ood, ">= 0.05", ood - best_ood >= 0.05,
              ood_error),
    ]  # fmt: skip


def editing_claims(records: Sequence[Record], threshold: float = 0.042) -> list[Claim]:
    """INR editing: dilation by a change of weights."""
    gmn, error = mean_over_seeds(records, "editing", "gmn", "test_mse")
    flat = mean_over_seeds(records, "editing", "flat", "test_mse")[0]
    np_nfn = mean_over_seeds(records, "editing", "npnfn", "test_mse")[0]
    mean = mean_over_seeds(records, "editing", "gmn", "mean_mse")[0]
    return [
        Claim("editing_mse", "a graph metanet dilates the image that a SIREN holds (squared error)", ".0603, MNIST",
              gmn, f"<= {threshold:g}", gmn <= threshold, error),
        Claim("editing_flat", "an MLP on flat weights does not (its error over the metanet's)", ".306 / .0603, MNIST",
              flat / gmn, ">= 2", flat >= 2 * gmn),
        Claim("editing_npnfn", "NP-NFN, another equivariant editor, is not better (its error over the metanet's)",
              ".0693 / .0603, MNIST", np_nfn / gmn, ">= 1", np_nfn >= gmn),
        Claim("editing_mean", "and it is closer than the mean of all targets (that error over the metanet's)", None,
              mean / gmn, "> 1", mean > gmn),
    ]  # fmt: skip


def contrast_claims(records: Sequence[Record]) -> list[Claim]:
    """INR editing: more contrast for colour images by a change of weights."""
    gmn, error = mean_over_seeds(records, "editing", "gmn", "test_mse")
    flat = mean_over_seeds(records, "editing", "flat", "test_mse")[0]
    np_nfn = mean_over_seeds(records, "editing", "npnfn", "test_mse")[0]
    unedited = mean_over_seeds(records, "editing", "gmn", "unedited_mse")[0]
    return [
        Claim("contrast_mse", "a graph metanet adds contrast to the image that a SIREN holds (error below no edit's)",
              ".0197, CIFAR-10", gmn, f"< {unedited:.4f}", gmn < unedited, error),
        Claim("contrast_flat", "an MLP on flat weights is worse (its error over the metanet's)",
              ".031 / .0197, CIFAR-10", flat / gmn, "> 1", flat > gmn),
        Claim("contrast_npnfn", "NP-NFN, another equivariant editor, is not better (its error over the metanet's)",
              ".0203 / .0197, CIFAR-10", np_nfn / gmn, ">= 1", np_nfn >= gmn),
    ]  # fmt: skip


def contrastive_claims(records: Sequence[Record]) -> list[Claim]:
    """Embeddings of sine waves."""
    gmn, error = mean_over_seeds(records, "contrastive", "gmn", "probe_mse")
    flat = mean_over_seeds(records, "contrastive", "flat", "probe_mse")[0]
    untrained = mean_over_seeds(records, "contrastive", "untrained", "probe_mse")[0]
    return [
        Claim("ssl_probe", "self-supervised embeddings of sine INRs tell amplitude and frequency (squared error)",
              1.13, gmn, "<= 5.2", gmn <= 5.2, error),
        Claim("ssl_untrained", "training, not the architecture alone, does it (error below the untrained metanet's)",
              None, untrained - gmn, ">= 0.5", untrained - gmn >= 0.5),
        Claim("ssl_flat", "an MLP on flat weights knows no more than the mean (probe's squared error)", "7.39", flat,
              ">= 7.5", flat >= 7.5),
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
    """Symmetry certificates of small networks of every kind, in float64."""
    from math import factorial as f

    w = width
    found = []
    networks: dict[str, tuple[nn.Module, Tensor, int]] = {
        "MLP": (FAMILIES["mlp"].build(w), FAMILIES["mlp"].read(digits()[0][:3]), f(w) ** 2),
        "CNN": (FAMILIES["cnn"].build(w), FAMILIES["cnn"].read(digits()[0][:3]), f(w) ** 3),
        "CNN, group norm": (
            FAMILIES["cnn_norm"].build(w), FAMILIES["cnn_norm"].read(digits()[0][:3]), (2 * f(w // 2) ** 2) ** 3),
        "residual CNN": (
            FAMILIES["residual"].build(w), FAMILIES["residual"].read(digits()[0][:3]), (2 * f(w // 2) ** 2) ** 2),
        "DeepSets": (
            nn.Sequential(EquivariantLinear(4, w), nn.ReLU(), EquivariantLinear(w, 3)), torch.randn(3, 5, 4), f(w)),
        "ViT": (
            FAMILIES["vit"].build(w), FAMILIES["vit"].read(digits()[0][:3]), f(w) * 2 * f(w // 2) ** 4 * f(2 * w)),
        "SIREN": (Siren((2, w, w, 1)), torch.randn(3, 2), f(w) ** 2),
    }  # fmt: skip
    for name, (model, x, order) in networks.items():
        model, x = model.double(), x.double()
        with torch.no_grad(), torch.random.fork_rng():
            torch.manual_seed(0)
            for parameter in model.parameters():
                parameter.add_(0.3 * torch.randn_like(parameter))
        graph = build_parameter_graph(model, x)
        with torch.no_grad():
            output = model(x)
            executed = float((graph.execute(x, values=graph.edge_values(model)) - output).abs().max())
            changed = 0.0
            for phi in graph.automorphism_generators():
                moved = graph.permute(phi, model)
                change = (torch.func.functional_call(model, moved, (x,)) - output).abs().max()
                changed = max(changed, float(change))
        paper = build_parameter_graph(model, x, style="paper").automorphism_count()
        found.append(Certificate(name, graph.automorphism_count(), paper, order, changed, executed))
    return found


def certificate_claims(found: Sequence[Certificate], spread: dict[str, float]) -> list[Claim]:
    """Symmetries: groups as theory has them, functions kept, invariant outputs."""
    alike = sum(c.exact == c.closed_form for c in found)
    changed, executed = max(c.changed for c in found), max(c.executed for c in found)
    return [
        Claim("symmetry_orders", "the exact graph has as many automorphisms as its network has symmetries", None,
              f"{alike} of {len(found)}", "all", alike == len(found)),
        Claim("symmetry_function", "every generator keeps the function (largest change, float64)", "kept", changed,
              "< 1e-10", changed < 1e-10),
        Claim("execution", "the graph alone computes what the network does (largest difference, float64)", "equal",
              executed, "< 1e-10", executed < 1e-10),
        Claim("invariance", "permuted copies of a network look alike to the metanet, not to an MLP on flat weights "
              "(spreads of both)", "invariant", f"{spread['gmn']:.1g} and {spread['flat']:.1g}",
              "first < 1e-5, second > 1e-3", spread["gmn"] < 1e-5 and spread["flat"] > 1e-3),
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
