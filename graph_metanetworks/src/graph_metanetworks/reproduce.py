"""The experiments of the README: the demo's with more networks, epochs and seeds, and INRs of MNIST images."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from .claims import claims_table
from .configured import quiet
from .demo import all_claims, all_figures
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


@dataclass(frozen=True)
class Study:
    """One of the experiments that train.

    Args:
        section: of the config's study. config: its name. argument: of the data, that takes the path of real files.
        side: of the images that are drawn, in pixels.
    """

    section: str
    config: str = "reproduce"
    argument: str | None = None
    side: int = 8


STUDIES = {
    "accuracy": Study("accuracy"),
    "editing": Study("editing"),
    "contrastive": Study("contrastive"),
    "mnist": Study("editing", "reproduce_mnist", "data_dir", 14),
    "cifar": Study("editing", "reproduce_cifar", "path", 16),
}
EMBEDDED = ("symmetry", "accuracy", "editing", "contrastive")  # need no files
SELECTIONS = {f"{name}-selection": name for name in STUDIES if name != "contrastive"}
EXPERIMENTS = (*EMBEDDED, "mnist", "cifar", *SELECTIONS)


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
        out: Folder for results and figures.
        mnist_dir: Folder with t10k-images-idx3-ubyte.gz and t10k-labels-idx1-ubyte.gz.
        cifar_path: Folder with CIFAR-10's binary batches, or a folder or zip archive of its pictures, train/CLASS/*.
    """
    if experiment not in ("all", *EXPERIMENTS):
        raise ValueError(f"unknown experiment {experiment!r}, choose from all, {', '.join(EXPERIMENTS)}")
    real = {"mnist": ("--mnist_dir", mnist_dir), "cifar": ("--cifar_path", cifar_path)}
    flag, path = real.get(SELECTIONS.get(experiment, experiment), (None, None))
    if path is not None and not Path(path).exists():
        raise FileNotFoundError(f"{path}: no such file or folder; name the data by {flag}")
    folder = Path(out)
    folder.mkdir(parents=True, exist_ok=True)
    quiet()
    for name in EMBEDDED if experiment == "all" else [experiment]:
        if name == "symmetry":
            symmetry(folder)
        elif name in SELECTIONS:
            selection(STUDIES[SELECTIONS[name]], name, folder, path)
        else:
            run(STUDIES[name], name, folder, path)
    return 0


def experiment_of(study: Study, path: str | None) -> Experiment:
    """From its config, with the path of its real files."""
    return Experiment([study.config], [f"--data.init_args.{study.argument}={path}"] if study.argument else [])


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


def selection(study: Study, name: str, out: Path, path: str | None) -> None:
    """Validation errors for a grid of learning rates. Whoever likes the result writes it into the config."""
    experiment, kept = experiment_of(study, path), out / SELECTIONS[name]
    experiment.prepare(kept, f"{name}: networks", (study.section,))
    trials = select_rates(experiment, study.section, kept)
    chosen = [
        {"experiment": one.experiment, "cell": one.cell, "rate": one.rate} for one in best_trials(trials).values()
    ]
    rows, seeds = [vars(one) for one in trials], experiment.settings.seeds[:1]
    write_result(out / f"{name}.json", command_of(name), [], seeds=seeds, chosen=chosen, trials=rows)
    print(selection_table(trials))


def run(study: Study, name: str, out: Path, path: str | None) -> None:
    """One experiment's cells, tables, claims and figures."""
    experiment, section = experiment_of(study, path), study.section
    experiment.prepare(out / name, f"{name}: networks", (section,))
    records = experiment.finish_all(out / name, f"{name}: metanets", (section,))
    claims = contrast_claims(records) if name == "cifar" else all_claims(records)
    if name == "mnist":  # the bound of its error is for digits
        claims = [claim for claim in claims if claim.id != "editing-mse"]
    for file, figure in all_figures(records, study.side).items():
        save_figure(out / (file if name == section else f"{name}_{file}"), figure)
    numbers = [{k: v for k, v in vars(r).items() if k != "arrays"} for r in records]
    write_result(out / f"{name}.json", command_of(name), claims, seeds=experiment.settings.seeds, runs=numbers)
    print(table_of(records, section))
    print(claims_table(claims))


def command_of(name: str) -> str:
    """What measures it again."""
    place = {"mnist": " --mnist_dir DIR", "cifar": " --cifar_path PATH"}.get(SELECTIONS.get(name, name), "")
    return f"graph-metanetworks reproduce {name}{place}"


def table_of(records: Sequence[Record], section: str) -> str:
    if section == "accuracy":
        return accuracy_table(records)
    if section == "editing":
        beside = {"mean_mse": "mean of the training targets", "unedited_mse": "no edit"}
        return errors_table(records, section, "test_mse", EDITORS, beside)
    return errors_table(records, section, "probe_mse", ENCODERS, {"mean_mse": "mean of the training waves"})
