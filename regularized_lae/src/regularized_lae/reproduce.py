"""The experiments of the README: the paper's protocol with seeds, finer grids and longer budgets than the demo."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import torch

from . import figures
from .claims import Claim, claims_table, mean_and_error
from .demo import best_runs
from .evidence import scaling_claims, subspace_only
from .experiment import Experiment
from .metrics import haar_alignment
from .recorder import Record
from .results import save_figure, write_result
from .sweep import best_rate, budget, records_of

ORDER = ("uniform", "nonuniform", "nested", "nested_sampled", "vae", "rag", "rag_balanced", "gha", "eigengame")


def reproduce(
    experiment: str = "all", *, out: str = "runs/regularized_lae-reproduce", mnist_dir: str = "data/mnist"
) -> int:
    """Measure what the README quotes; a run that was stopped goes on where it was.

    Args:
        experiment: scaling, mnist (needs mnist_dir), synthetic (the paper's size, for a GPU), or all (the first).
        out: Folder for results and figures.
        mnist_dir: Folder with t10k-images-idx3-ubyte(.gz), for mnist.
    """
    chosen = ["scaling"] if experiment == "all" else [experiment]
    for name in chosen:
        if name not in EXPERIMENTS:
            raise ValueError(f"unknown experiment {name!r}, choose from all, {', '.join(EXPERIMENTS)}")
    for name in chosen:
        EXPERIMENTS[name](Path(out), mnist_dir)
    return 0


def scaling(out: Path, _: str) -> None:
    """Steps against k at d = 128, three seeds."""
    write_sweep(out, "scaling", ["reproduce_scaling"], "regularized-lae reproduce scaling")


def synthetic(out: Path, _: str) -> None:
    """The paper's Figure 4 at its own size."""
    write_sweep(out, "synthetic", ["synthetic"], "regularized-lae reproduce synthetic")


def write_sweep(out: Path, name: str, configs: Sequence[str], command: str, overrides: Sequence[str] = ()) -> None:
    """Sweep, then a JSON of steps and claims, and the figures of steps and curves."""
    experiment = Experiment(configs, overrides)
    records = experiment.finish_all(out / "cells" / Path(configs[-1]).stem, name)
    settings = experiment.settings
    methods = present(records)
    middle = settings.thresholds[min(1, len(settings.thresholds) - 1)]
    claims = []
    if len(settings.thresholds) == 3:
        claims = [subspace_only(records, [k for k in settings.latents if k >= 5]), *scaling_claims(records, settings)]
    write(out, name, command, experiment, rows(records, settings, methods), claims)
    drawn = [m for m in methods if m in figures.MARKERS]
    steps = figures.steps_figure(records, list(settings.latents), drawn, middle, budget(records))
    save_figure(out / f"{name}_steps.png", steps)
    lae = [m for m in methods if m not in settings.references]
    best = best_runs(records, max(settings.latents), settings.thresholds, lae)
    save_figure(out / f"{name}_curves.png", figures.curves_figure(best))
    print(markdown(records, settings, methods))
    print(claims_table(claims))


def mnist(out: Path, mnist_dir: str) -> None:
    """The paper's methods, the linear VAE and sampled nested dropout on MNIST images, k = 20."""
    base = "reproduce_mnist"
    records: list[Record] = []
    experiment = None
    for over in ((), ("reproduce_mnist_vae",), ("reproduce_mnist_nested_sampled",)):
        configs = [base, *over]
        current = Experiment(configs, [f"--data.init_args.data_dir={mnist_dir}"])
        records += current.finish_all(out / "cells" / configs[-1], " + ".join(configs))
        experiment = experiment or current
    settings, methods = experiment.settings, present(records)
    ends = final_states(records, methods, experiment)
    table = rows(records, settings, methods)
    write(out, "mnist", "regularized-lae reproduce mnist --mnist_dir DIR", experiment, table, [], ends=ends)
    curves = figures.protocol_figure(records, methods, haar_alignment(settings.latents[0]))
    save_figure(out / "mnist_curves.png", curves)
    decoders = {
        figures.NAMES[m]: run.decoder[:, :10]
        for m, run in closest_runs(records, methods).items()
        if m not in settings.references
    }
    decoders["principal axes"] = experiment.data.truth.axes[:, :10]
    save_figure(out / "mnist_decoders.png", figures.decoder_figure(decoders, experiment.data.image_shape))
    print(markdown(records, settings, methods))
    print(
        "\n| method | optimizer | rate | steps | axis alignment | subspace distance | held-out error |\n"
        + "|---" * 7
        + "|"
    )
    for end in ends:
        aligned = f"{end['alignment']:.3f} ± {end['alignment_stderr']:.3f}"
        measured = f"{aligned} | {max(end['subspace'], 0):.0e} | {end['held_out_error']:.3f}"
        print(
            f"| {figures.NAMES[end['method']]} | {end['optimizer']} | {end['rate']:g} | {end['steps']} | {measured} |"
        )


EXPERIMENTS: dict[str, Callable[[Path, str], None]] = {"scaling": scaling, "mnist": mnist, "synthetic": synthetic}


def present(records: Sequence[Record]) -> list[str]:
    """The methods that were run, in the order of the story."""
    found = {r.run.method for r in records}
    return [m for m in ORDER if m in found]


def rows(records: Sequence[Record], settings, methods: Sequence[str]) -> list[dict]:
    """Steps at the best rate for every k, method, threshold and family of optimizers; null where nothing arrived."""
    table = []
    for k in settings.latents:
        for method in methods:
            for family, optimizers in (("sgd", ("gd", "nesterov")), ("adam", ("adam",))):
                if not any(
                    r.run.method == method and r.run.optimizer in optimizers and r.latents == k for r in records
                ):
                    continue
                for threshold in settings.thresholds:
                    best = best_rate(records, method, k, threshold, optimizers)
                    row = {"k": k, "method": method, "family": family, "threshold": threshold, "steps": None}
                    if best:
                        row |= {
                            "steps": round(best.steps, 1),
                            "stderr": round(best.stderr, 1),
                            "optimizer": best.optimizer,
                            "rate": best.rate,
                            "edge": best.on_edge,
                        }
                    table.append(row)
    return table


def closest_runs(records: Sequence[Record], methods: Sequence[str]) -> dict[str, Record]:
    """The first seed at the optimizer and rate that end closest to the axes (uniform L2: to the subspace)."""
    chosen = {}
    for method in methods:
        keys = {(r.latents, r.run.optimizer, r.run.rate) for r in records if r.run.method == method}
        groups = [records_of(records, method, *key) for key in keys]
        groups = [group for group in groups if all(r.diverged_at is None for r in group)]
        curve = "subspace" if method == "uniform" else "alignment"
        chosen[method] = min(groups, key=lambda group: sum(getattr(r, curve)[-1] for r in group))[0]
    return chosen


def final_states(records: Sequence[Record], methods: Sequence[str], experiment: Experiment) -> list[dict]:
    """The end of every method with every optimizer, at the rate that ends closest.

    `held_out_error` is the reconstruction error of the decoder's span on held-out images over that of the exact
    components.
    """
    held_out = experiment.data.held_out
    ends = []
    for method in methods:
        for optimizer in experiment.settings.optimizers:
            mine = [r for r in records if r.run.method == method and r.run.optimizer == optimizer]
            if not mine:
                continue
            run = closest_runs(mine, [method])[method].run
            seeds = records_of(mine, method, mine[0].latents, optimizer, run.rate)
            k = seeds[0].latents
            exact = residual(experiment.data.truth.axes[:, :k], held_out)
            errors = [residual(torch.linalg.qr(r.decoder.double()).Q, held_out) / exact for r in seeds]
            end = {
                "method": method,
                "optimizer": optimizer,
                "rate": run.rate,
                "steps": max(r.last_step for r in seeds),
                "held_out_error": round(sum(errors) / len(errors), 4),
            }
            for measure in ("alignment", "subspace", "imbalance"):
                mean, error = mean_and_error([getattr(r, measure)[-1] for r in seeds])
                end[measure], end[f"{measure}_stderr"] = float(f"{mean:.3g}"), error and float(f"{error:.2g}")
            ends.append(end)
    return ends


def residual(basis: torch.Tensor, samples: torch.Tensor) -> float:
    """Mean squared error of samples (n, d) projected on an orthonormal basis (d, k)."""
    return float((samples - samples @ basis @ basis.mT).square().sum() / len(samples))


def write(
    out: Path, name: str, command: str, experiment: Experiment, table: list[dict], claims: Sequence[Claim], **more
) -> None:
    """`out`/NAME.json: what was measured, at which seeds and rates."""
    grid = {"seeds": list(experiment.model.hparams.seeds), "rates": list(experiment.model.hparams.rates)}
    write_result(out / f"{name}.json", command, claims, ("matplotlib",), **grid, steps=table, **more)


def markdown(records: Sequence[Record], settings, methods: Sequence[str]) -> str:
    """The README's table: steps ± standard error at the best rate, SGD and Adam, to each threshold."""
    limit = budget(records)
    lines = [
        "| k | method | optimizers | " + " | ".join(f"to {t:g}" for t in settings.thresholds) + " |",
        "|---" * (3 + len(settings.thresholds)) + "|",
    ]
    for k in settings.latents:
        for method in methods:
            for family, optimizers in (("SGD", ("gd", "nesterov")), ("Adam", ("adam",))):
                if any(r.run.method == method and r.run.optimizer in optimizers and r.latents == k for r in records):
                    found = [
                        figures.best_label(best_rate(records, method, k, t, optimizers), limit)
                        for t in settings.thresholds
                    ]
                    lines.append(f"| {k} | {figures.NAMES[method]} | {family} | " + " | ".join(found) + " |")
    return "\n".join(lines)
