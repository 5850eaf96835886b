"""The experiments of the README: more seeds, learning-rate sweeps, a learned prior, more prompts."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import asdict, replace
from pathlib import Path

import numpy
import torch

from . import evidence, figures
from .claims import Claim, claims_table, mean_and_error
from .configured import one_thread
from .demo import grid_images, pairs_of, strips, trained_model
from .evidence import column, rows
from .experiment import Cell, Experiment
from .guidance.exact import ExactPrior
from .guidance.pixel import PixelGuidance
from .results import save_figure, write_result
from .shape_prior import ShapePrior
from .tuning import between_prompts, finetune_records, interpolation_record


def reproduce(experiment: str = "all", *, out: str = "runs/att3d-reproduce") -> int:
    """Measure what the README quotes; a run that was stopped goes on where it was.

    Args:
        experiment: rates, budgets, finetune, interpolation, rules, scaling, prior, or all of them.
        out: Folder for results and figures.
    """
    chosen = list(EXPERIMENTS) if experiment == "all" else [experiment]
    if chosen[0] not in EXPERIMENTS:
        raise ValueError(f"unknown experiment {experiment!r}, choose from all, {', '.join(EXPERIMENTS)}")
    Path(out).mkdir(parents=True, exist_ok=True)
    for name in chosen:
        EXPERIMENTS[name](Path(out))
    return 0


def swept(experiment: Experiment, cells: Path, title: str) -> tuple[list[dict], list[dict], dict[str, list[float]]]:
    """Records and means of every rate on the sweep's seed, and the rate of largest IoU by method for each budget."""
    s = experiment.settings
    tried = [Cell(m, b, rate, s.sweep_seed) for m in s.methods for b in s.budgets for rate in s.sweep[m]]
    records, table = experiment.finish_all(tried, cells, title), []
    for cell in tried:
        own = rows(records, method=cell.method, budget=cell.budget, rate=cell.rate, unseen=False)
        means = {name: mean_and_error(column(own, name))[0] for name in ("iou", "psnr", "r_probability")}
        table.append({"method": cell.method, "budget": cell.budget, "rate": cell.rate} | means)
    return records, table, {m: [best_row(table, m, b)["rate"] for b in s.budgets] for m in s.methods}


def best_row(table: Sequence[dict], method: str, budget: float) -> dict:
    """The row of largest IoU."""
    return max(rows(table, method=method, budget=budget), key=lambda row: row["iou"])


def rates(out: Path) -> None:
    """Each method at several learning rates, on a seed that no other experiment uses."""
    experiment = Experiment(["demo", "reproduce_rates"])
    records, table, best = swept(experiment, out / "cells", "rates")
    print("largest IoU at the rates", best)
    write(out, "rates", experiment, [], table=table, best=best)
    save_figure(out / "rates.png", figures.rates_figure(records))


def budgets(out: Path) -> None:
    """The comparison at equal frames, three seeds, each method at the rate that `rates` found."""
    experiment, cells = Experiment(["demo", "reproduce_budgets"]), out / "cells"
    records = experiment.finish_all(experiment.cells(), cells, "budgets")
    claims = [*evidence.budget_claims(records), *evidence.unseen_claims(records)]
    write(out, "budgets", experiment, claims, table=budget_table(records), retrieval=accuracy(experiment, cells))
    save_figure(out / "budgets.png", figures.budgets_figure(records))
    with one_thread():
        model, baseline = trained_model(experiment, cells), trained_model(experiment, cells, "per_prompt")
        library = experiment.data.library
        images = grid_images(model, baseline, library.prompts)
        save_figure(out / "grid.png", figures.grid_figure(*images, set(library.unseen)))
        pairs = pairs_of(experiment.settings.pairs)
        save_figure(out / "interpolation.png", figures.strips_figure(strips(model, pairs)))
    print(markdown(budget_table(records)))


def accuracy(experiment: Experiment, cells: Path) -> float:
    """Of the retrieval network on true views that it never saw."""
    return experiment.retrieval(cells).accuracy


def budget_table(records: Sequence[dict]) -> list[dict]:
    """Mean and standard error over seeds, by budget, method and whether prompts were trained on."""
    found = []
    for budget in sorted(set(column(records, "budget"))):
        for method, unseen in (("amortised", False), ("amortised", True), ("per_prompt", False)):
            own = rows(records, budget=budget, method=method, unseen=unseen)
            if not own:
                continue
            row = {"budget": budget, "method": method, "unseen": unseen, "rate": own[0]["rate"]}
            row["seeds"] = len(set(column(own, "seed")))
            for name in ("iou", "psnr", "r_precision", "r_probability"):
                row[name] = mean_and_error(evidence.by_seed(own, name))
            levels = numpy.mean([record["iou_levels"] for record in own], 0)
            row["iou_levels"] = [float(value) for value in levels]
            found.append(row)
    return found


def finetune(out: Path) -> None:
    """Three starts for unseen prompts: rates chosen on the sweep's seed, measured on the others."""
    experiment, cells = Experiment(["demo", "reproduce_budgets"]), out / "cells"
    s, library = experiment.settings, experiment.data.library
    budget = max(b for b in s.budgets if b <= 100)
    rate = dict(zip(s.budgets, s.rates["amortised"], strict=True))[budget]

    def of_seed(seed: int, tried: dict[str, list[float]]) -> list[dict]:
        cell = Cell("amortised", budget, rate, seed)
        own = experiment.cell(cell)
        name = f"finetune-s{seed}-" + "-".join(f"{rate:g}" for rates in tried.values() for rate in rates)

        def take() -> list[dict]:
            model = own.trained(cells / f"{cell.name}.pt")
            return finetune_records(model, library.train, library.unseen, replace(s, finetune_rates=tried))

        return own.records(name, cells, take, [s.finetune_steps, tried])

    swept = of_seed(s.sweep_seed, dict.fromkeys(("amortised", "another prompt", "random"), s.sweep["finetune"]))
    best = {start: [evidence.best_start(swept, start)["rate"]] for start in dict.fromkeys(column(swept, "start"))}
    records = [record for seed in s.seeds for record in of_seed(seed, best)]
    claims = evidence.finetune_claims(records)
    sweep = [{k: r[k] for k in ("start", "rate")} | {"psnr": float(numpy.mean(r["curve"][-1][1]))} for r in swept]
    curve = [{k: r[k] for k in ("start", "rate", "seed")} | {"psnr": [[n, float(numpy.mean(v))] for n, v in r["curve"]]}
             for r in records]  # fmt: skip
    write(out, "finetune", experiment, claims, sweep=sweep, curves=curve)
    save_figure(out / "finetune.png", figures.finetune_figure(records))


def interpolation(out: Path) -> None:
    """Training between prompts from a warm start, by κ, three seeds."""
    experiment, cells = Experiment(["demo", "reproduce_budgets"]), out / "cells"
    s = experiment.settings
    budget = max(b for b in s.budgets if b <= 100)
    rate = dict(zip(s.budgets, s.rates["amortised"], strict=True))[budget]
    pairs, records = pairs_of(s.pairs), []
    for seed in s.seeds:
        cell = Cell("amortised", budget, rate, seed)
        for kappa in (None, *s.kappas):
            own = experiment.cell(cell)

            def take(own=own, cell=cell, kappa=kappa) -> list[dict]:
                model = own.trained(cells / f"{cell.name}.pt")
                model = between_prompts(model, pairs, kappa, s.interpolation_steps, rate / 2)
                return [interpolation_record(model, pairs, kappa)]

            records += own.records(f"interpolation-{kappa}-{s.interpolation_steps}-s{seed}", cells, take, [s.pairs])
    claims = [*evidence.kappa_claims(records), evidence.crossfade_claim(records)]
    write(out, "interpolation", experiment, claims, records=records)


def rules(out: Path) -> None:
    """Distillation plug-ins under one budget, each at the rate that was best on the sweep's seed."""
    experiment, cells = Experiment(["demo", "reproduce_rules"]), out / "cells"
    s = experiment.settings
    _, sweep, best = swept(experiment, cells, "rules: rates")
    trained = [Cell(m, s.budgets[0], best[m][0], seed) for seed in s.seeds for m in s.methods]
    records, table = experiment.finish_all(trained, cells, "rules"), []
    for method in s.methods:
        row = {"rule": "SDS" if method == "amortised" else method, "rate": best[method][0], "seeds": len(s.seeds)}
        for unseen in (False, True):
            for name in ("iou", "psnr", "r_precision"):
                values = evidence.by_seed(records, name, method=method, unseen=unseen)
                row["unseen_" * unseen + name] = mean_and_error(values)
        table.append(row)
    write(out, "rules", experiment, [], table=table, sweep=sweep)
    print(rules_markdown(table))


def scaling(out: Path) -> None:
    """4 × 4 × 4 prompts, trained on a part of them; equal frames for each prompt of the set."""
    experiment, cells = Experiment(["demo", "reproduce_scaling"]), out / "cells"
    s, records = experiment.settings, []
    for seed in s.seeds:
        for share in s.shares:
            for method in s.methods if share == s.shares[-1] else ["amortised"]:
                budget = s.budgets[0] / share if method == "amortised" else s.budgets[0]
                rate = s.rates[method][0]
                changed = {"data.init_args.train_share": share, "data.init_args.split_seed": seed}
                cell = Cell(method, budget, rate, seed)
                found = experiment.finish(cell, cells, changed, f"{method}-64-{share:g}-s{seed}")
                records += [record | {"share": share} for record in found]
    table = []
    for share in s.shares:
        for method, unseen in (("amortised", False), ("amortised", True), ("per_prompt", False)):
            own = rows(records, share=share, method=method, unseen=unseen)
            if own:
                row = {"share": share, "method": method, "unseen": unseen, "prompts": len(own) // len(s.seeds)}
                table.append(
                    row | {n: mean_and_error(evidence.by_seed(own, n)) for n in ("iou", "psnr", "r_precision")}
                )
    write(out, "scaling", experiment, [], table=table)
    save_figure(out / "scaling.png", figures.scaling_figure(records))


def prior(out: Path) -> None:
    """The same comparison with a small diffusion model of our own as the prior."""
    training, cells = Experiment(["reproduce_unet"]), out / "cells"
    folder = cells / "unet"
    if not (folder / "model_index.json").is_file():  # written last
        with one_thread():
            training.trainer().fit(training.model, training.data)
        training.model.save_pretrained(folder)
    guidance = {"class_path": "att3d.guidance.pixel.PixelGuidance", "init_args": {"path": str(folder)}}
    override = [f"--model.init_args.guidance={json.dumps(guidance)}"]
    experiment = Experiment(["demo", "reproduce_prior"], override)
    s = experiment.settings
    _, sweep, best = swept(experiment, cells / "prior", "prior: rates")
    at_best = [(m, b, rate) for m in s.methods for b, rate in zip(s.budgets, best[m], strict=True)]
    chosen = [Cell(*cell, seed) for seed in s.seeds for cell in at_best]
    records = experiment.finish_all(chosen, cells / "prior", "prior")
    claims = [*evidence.budget_claims(records), *evidence.unseen_claims(records)]
    errors = prior_errors(PixelGuidance(str(folder)), ShapePrior())
    write(out, "prior", experiment, claims, table=budget_table(records), sweep=sweep, eps_mse=errors)
    shown = [cell for cell in chosen if cell.seed == s.seeds[0] and cell.budget == s.budgets[-1]]
    with one_thread():
        models = [experiment.cell(cell).trained(cells / "prior" / f"{cell.name}.pt") for cell in shown]
        library = experiment.data.library
        save_figure(out / "prior.png", figures.grid_figure(*grid_images(*models, library.prompts), set(library.unseen)))
    print(markdown(budget_table(records)))


@torch.no_grad()
def prior_errors(network: PixelGuidance, exact: ExactPrior, count: int = 64) -> list[dict]:
    """Mean squared error of ε̂ of both priors on images of the set, by t."""
    generator, found = torch.Generator().manual_seed(0), []
    chosen = torch.randperm(len(exact.data), generator=generator)[:count]
    z = exact.data[chosen].reshape(count, 3, 16, 16)
    names = list(exact.names)
    prompts = [names[b // 4] for b in exact.bucket[chosen].tolist()]
    views = [b % 4 for b in exact.bucket[chosen].tolist()]
    for step in (50, 200, 400, 600, 800):
        t, noise = torch.full((count,), step), torch.randn(z.shape, generator=generator)
        z_t = exact.add_noise(z, noise, t)
        row = {"t": step}
        for name, guide in (("exact", exact), ("unet", network)):
            eps = guide.predict_noise(z_t, t, guide.condition(prompts, views), 1.0)
            row[name] = float((eps - noise).square().mean())
        found.append(row)
    return found


EXPERIMENTS: dict[str, Callable[[Path], None]] = {
    "rates": rates,
    "budgets": budgets,
    "finetune": finetune,
    "interpolation": interpolation,
    "rules": rules,
    "scaling": scaling,
    "prior": prior,
}


def markdown(table: Sequence[dict]) -> str:
    """The comparison as the README shows it."""
    names = {("amortised", False): "one network", ("amortised", True): "one network, unseen prompts",
             ("per_prompt", False): "per-prompt"}  # fmt: skip
    lines = [
        "| frames a prompt | method | learning rate | IoU | PSNR, dB | R-precision | R-probability |",
        "|---" * 7 + "|",
    ]
    for row in table:
        cells = [with_error(row[n], d)
                 for n, d in (("iou", 3), ("psnr", 1), ("r_precision", 2), ("r_probability", 2))]  # fmt: skip
        head = [f"{row['budget']:g}", names[row["method"], row["unseen"]], f"{row['rate']:g}"]
        lines.append("| " + " | ".join([*head, *cells]) + " |")
    return "\n".join(lines)


def rules_markdown(table: Sequence[dict]) -> str:
    """The rules as the README shows them."""
    lines = ["| rule | learning rate | IoU | PSNR, dB | unseen: IoU | unseen: PSNR, dB | unseen: R-precision |",
             "|---" * 7 + "|"]  # fmt: skip
    shown = (("iou", 3), ("psnr", 1), ("unseen_iou", 3), ("unseen_psnr", 1), ("unseen_r_precision", 2))
    for row in table:
        head = [row["rule"], f"{row['rate']:g}"]
        lines.append("| " + " | ".join([*head, *(with_error(row[name], digits) for name, digits in shown)]) + " |")
    return "\n".join(lines)


def with_error(value: tuple[float, float | None], digits: int) -> str:
    """0.71 ± 0.02, or 0.71 for one seed."""
    mean, error = value
    return f"{mean:.{digits}f}" + ("" if error is None else f" ± {error:.{digits}f}")


def write(out: Path, name: str, experiment: Experiment, claims: Sequence[Claim], **tables) -> None:
    """`out`/NAME.json with the command, the versions and the settings, and the claims on the terminal."""
    settings = experiment.described() | {"study": asdict(experiment.settings)}
    settings["trainer"] = {k: v for k, v in settings["trainer"].items() if v is not None}
    packages = ("diffusers", "nerfacc")
    write_result(out / f"{name}.json", f"att3d reproduce {name}", claims, packages, settings=settings, **tables)
    print(claims_table(claims))
