"""The experiments of the README: the demo's with more networks, epochs and seeds, and INRs of MNIST images."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from .claims import claims_table
from .configured import quiet
from .demo import all_claims, drawings
from .evidence import certificate_claims, certificates, contrast_claims, permuted_outputs
from .experiment import Experiment
from .figures import graph_figure, invariance_figure
from .results import save_figure, write_result
from .selection import best_trials, select_rates, selection_table
from .study import Record
from .tables import accuracy_table, errors_table
from .zoo_data import family_graph

EDITORS = {"gmn": "GMN", "npnfn": "NP-NFN", "flat": "MLP on flat weights"}
ENCODERS = {"gmn": "GMN", "untrained": "GMN, untrained", "flat": "MLP on flat weights"}


def reproduce(
    experiment: str = "all",
    *,
    out: str = "runs/graph_metanetworks-reproduce",
    mnist_dir: str = "data/mnist",
    cifar_path: str = "data/cifar10",
) -> int:
    """Measure what the README quotes; a run that was stopped goes on where it was.

    Args:
        experiment: symmetry, accuracy, editing, contrastive, or all (these four); mnist (needs mnist_dir), cifar (needs
            cifar_path); or how the learning rates were chosen on validation data: NAME-selection with NAME accuracy,
            editing, mnist or cifar.
        out: Folder for results, tables and figures.
        mnist_dir: Folder with t10k-images-idx3-ubyte.gz and t10k-labels-idx1-ubyte.gz.
        cifar_path: Folder with CIFAR-10's binary batches, or a folder or zip archive of its pictures, train/CLASS/*.
    """
    real = {
        "mnist": ("reproduce_mnist", f"data_dir={mnist_dir}", 14),
        "cifar": ("reproduce_cifar", f"path={cifar_path}", 16),
    }
    sections = {"accuracy": "accuracy", "editing": "editing", "contrastive": "contrastive"} | dict.fromkeys(
        real, "editing"
    )
    known = ["symmetry", *sections, *(f"{name}-selection" for name in sections if name != "contrastive")]
    chosen = known[:4] if experiment == "all" else [experiment]
    if not set(chosen) <= set(known):
        raise ValueError(f"unknown experiment {experiment!r}, choose from all, {', '.join(known)}")
    folder = Path(out)
    folder.mkdir(parents=True, exist_ok=True)
    quiet()
    for name in chosen:
        if name == "symmetry":
            symmetry(folder)
            continue
        which = name.removesuffix("-selection")
        config, where, side = real.get(which, ("reproduce", None, 8))
        study = Experiment([config], [f"--data.init_args.{where}"] if where else [])
        if name != which:
            selection(study, sections[which], name, folder / which)
        else:
            run(study, sections[which], name, folder, side)
    return 0


def symmetry(out: Path) -> None:
    """Certificates of small networks of every kind."""
    found = [certificate for width in (4, 6) for certificate in certificates(width)]
    outputs = permuted_outputs()
    spread = {name: float((output - output.mean(0)).abs().max()) for name, output in outputs.items()}
    claims = certificate_claims(found, spread)
    save_figure(out / "invariance.png", invariance_figure(outputs))
    save_figure(out / "graph.png", graph_figure(family_graph("vit", 4)))
    rows = [vars(certificate) for certificate in found]
    write_result(out / "symmetry.json", "graph-metanetworks reproduce symmetry", claims, seeds=[0], certificates=rows)
    print("| network | automorphisms, exact | closed form | paper's style |\n|---|---|---|---|")
    for c in found:
        print(f"| {c.name} | {c.exact:,} | {c.closed_form:,} | {c.paper:,} |")
    print(claims_table(claims))


def selection(experiment: Experiment, section: str, name: str, out: Path) -> None:
    """Validation errors for a grid of learning rates. Whoever likes the result writes it into the config."""
    experiment.prepare(out, f"{name}: networks", (section,))
    trials = select_rates(experiment, section, out)
    chosen = [
        {"experiment": one.experiment, "cell": one.cell, "rate": one.rate} for one in best_trials(trials).values()
    ]
    rows = [vars(one) for one in trials]
    seeds, shown = experiment.settings.seeds[:1], selection_table(trials)
    write_result(out.parent / f"{name}.json", command_of(name), [], seeds=seeds, chosen=chosen, trials=rows)
    (out.parent / f"{name}.md").write_text(shown + "\n", encoding="utf-8")
    print(shown)


def run(experiment: Experiment, section: str, name: str, out: Path, side: int) -> None:
    """One experiment's cells, tables, claims and figures."""
    experiment.prepare(out / name, f"{name}: networks", (section,))
    records = experiment.study(out / name, f"{name}: metanets", (section,))
    claims = contrast_claims(records) if name == "cifar" else all_claims(records)
    if name == "mnist":  # the bound of its error is for digits
        claims = [claim for claim in claims if claim.id != "editing_mse"]
    for file, draw in drawings(records, side).items():
        save_figure(out / (file if name == section else f"{name}_{file}"), draw())
    shown = table_of(records, section)
    numbers = [{k: v for k, v in vars(r).items() if k != "arrays"} for r in records]
    write_result(out / f"{name}.json", command_of(name), claims, seeds=experiment.settings.seeds, runs=numbers)
    (out / f"{name}.md").write_text(shown + "\n", encoding="utf-8")
    print(shown)
    print(claims_table(claims))


def command_of(name: str) -> str:
    """What measures it again."""
    place = {"mnist": " --mnist_dir DIR", "cifar": " --cifar_path PATH"}.get(name.removesuffix("-selection"), "")
    return f"graph-metanetworks reproduce {name}{place}"


def table_of(records: Sequence[Record], section: str) -> str:
    if section == "accuracy":
        return accuracy_table(records)
    if section == "editing":
        beside = {"mean_mse": "mean of the training targets", "unedited_mse": "no edit"}
        return errors_table(records, section, "test_mse", EDITORS, beside)
    return errors_table(records, section, "probe_mse", ENCODERS, {"mean_mse": "mean of the training waves"})
