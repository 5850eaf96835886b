"""The figures of the demo and of `reproduce`: records and images to matplotlib figures; the caller saves them."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from torch import Tensor

from .claims import mean_and_error
from .evidence import by_seed, column, rows
from .pictures import tiles

WIDTH, DPI = 6.4, 150
COLOURS = {
    "amortised": "#D55E00",
    "unseen": "#E69F00",
    "per_prompt": "#0072B2",
    "per_prompt_pairs": "#56B4E9",
    "another prompt": "#009E73",
    "random": "#999999",
}
MARKERS = {
    "amortised": "o",
    "unseen": "^",
    "per_prompt": "s",
    "per_prompt_pairs": "D",
    "another prompt": "v",
    "random": "D",
}
LABELS = {
    "amortised": "one network, trained prompts",
    "unseen": "one network, unseen prompts",
    "per_prompt": "per-prompt optimisation",
    "per_prompt_pairs": "per-prompt, two views a step",
}


def new_figure(height: float) -> Figure:
    """A figure of the house's width."""
    return Figure(figsize=(WIDTH, height), dpi=DPI, layout="constrained")


def curves(records: Sequence[dict], name: str) -> dict[str, list[tuple[float, float, float]]]:
    """(budget, mean, standard error over seeds) of trained and unseen prompts, and of per-prompt optimisation."""
    found = {}
    for label, wanted in (
        ("amortised", {"method": "amortised", "unseen": False}),
        ("unseen", {"method": "amortised", "unseen": True}),
        ("per_prompt", {"method": "per_prompt", "unseen": False}),
    ):
        budgets = sorted(set(column(rows(records, **wanted), "budget")))
        found[label] = [(b, *mean_and_error(by_seed(records, name, budget=b, **wanted))) for b in budgets]
    return found


def budgets_figure(records: Sequence[dict]) -> Figure:
    """IoU, PSNR and R-probability against rendered frames for each training prompt."""
    figure = new_figure(2.9)
    panels = figure.subplots(1, 3)
    titles = {"iou": "IoU with the true shape", "psnr": "PSNR in dB", "r_probability": "R-probability"}
    for axes, (name, title) in zip(panels, titles.items(), strict=True):
        for label, points in curves(records, name).items():
            if points:
                x, y, error = np.array(points, dtype=float).T
                axes.errorbar(x, y, np.nan_to_num(error), color=COLOURS[label], marker=MARKERS[label], markersize=4,
                              capsize=2, label=LABELS[label])  # fmt: skip
        axes.set_title(title, fontsize=9)
        axes.set_xscale("log")
        ticks = sorted(set(column(records, "budget")))
        axes.set_xticks(ticks, [f"{t:g}" for t in ticks], fontsize=8)
        axes.minorticks_off()
        axes.tick_params(labelsize=8)
    panels[1].set_xlabel("rendered frames for each training prompt", fontsize=9)
    figure.legend(*panels[0].get_legend_handles_labels(), loc="outside lower center", ncols=3, fontsize=8)
    return figure


def grid_figure(
    prompts: Sequence[str], made: Tensor, baseline: Tensor | None, true: Tensor, unseen: set[str]
) -> Figure:
    """Every prompt: the network's render, per-prompt optimisation where it has one, and the truth; unseen ones framed.

    Args:
        made, true: (P, 3, H, W). baseline: (P, 3, H, W), NaN where there is no scene.
    """
    across, size = 3, made.shape[-1]
    lines = -(-len(prompts) // across)
    step, block = size + 4, 5 * size  # a line's height, a column's width
    sheet = np.ones((lines * step + size // 2, across * block, 3))
    figure = new_figure(WIDTH * sheet.shape[0] / sheet.shape[1] + 0.2)
    axes = figure.subplots()
    for number, prompt in enumerate(prompts):
        top, left = number % lines * step + size // 2, number // lines * block + 2 * size - 6
        images = [made[number], baseline[number] if baseline is not None else None, true[number]]
        for place, image in enumerate(images):
            if image is not None and bool(image.isfinite().all()):
                x = left + place * (size + 2)
                sheet[top : top + size, x : x + size] = image.permute(1, 2, 0).clamp(0, 1).numpy()
        axes.text(left - 3, top + size / 2, prompt.replace(" ", "\n", 1), fontsize=6, ha="right", va="center")
        if prompt in unseen:
            axes.add_patch(Rectangle((left - 1, top - 1), size + 1, size + 1, fill=False, color="#E69F00", linewidth=2))
        if number % lines == 0:
            for place, title in enumerate(("one\nnetwork", "per\nprompt", "truth")):
                x = left + place * (size + 2) + size / 2
                axes.text(x, top - 3, title, fontsize=6.5, ha="center", va="bottom")
    axes.imshow(sheet, interpolation="nearest")
    axes.axis("off")
    return figure


def strips_figure(strips: Sequence[tuple[str, Tensor]]) -> Figure:
    """Interpolations, a row each: (title, images (n, 3, H, W)); halfway beside the cross-fade of the ends."""
    count, size = len(strips[0][1]), strips[0][1].shape[-1]
    figure = new_figure((WIDTH / (count + 1) + 0.3) * len(strips) + 0.1)
    for axes, (title, images) in zip(figure.subplots(len(strips), 1, squeeze=False)[:, 0], strips, strict=True):
        shown = torch.cat([images, (images[:1] + images[-1:]) / 2]).clamp(0, 1)
        axes.imshow(tiles(shown, count + 1).permute(1, 2, 0).numpy(), interpolation="nearest")
        axes.set_title(title, fontsize=7, loc="left", pad=2)
        axes.axis("off")
        for place, label in enumerate([*(f"a = {a:.2g}" for a in np.linspace(0, 1, count)), "cross-fade"]):
            axes.text(place * (size + 2) + size / 2, size + 1, label, fontsize=6, ha="center", va="top")
    return figure


def finetune_figure(records: Sequence[dict]) -> Figure:
    """PSNR of unseen prompts against steps, from each start: mean and standard error over prompts and seeds."""
    figure = new_figure(2.8)
    axes = figure.subplots()
    for start in dict.fromkeys(column(records, "start")):
        own = [r for r in records if r["start"] == start]
        steps = [step for step, _ in own[0]["curve"]]
        values = np.array([[v for r in own for v in r["curve"][i][1]] for i in range(len(steps))])
        error = values.std(1, ddof=1) / np.sqrt(values.shape[1])
        look = {"color": COLOURS[start], "marker": MARKERS[start], "markersize": 4, "capsize": 2}
        axes.errorbar(steps, values.mean(1), error, label=f"{start}, lr {own[0]['rate']:g}", **look)
    axes.set(xlabel="steps of fine-tuning", ylabel="PSNR on unseen prompts, dB")
    axes.legend(title="start", fontsize=8, title_fontsize=8)
    return figure


def scaling_figure(records: Sequence[dict]) -> Figure:
    """IoU and R-precision of seen and unseen prompts against the part of 64 prompts that is trained on."""
    figure = new_figure(2.8)
    panels = figure.subplots(1, 2)
    for axes, name, title in zip(
        panels, ("iou", "r_precision"), ("IoU with the true shape", "R-precision"), strict=True
    ):
        for label, wanted in (
            ("amortised", {"method": "amortised", "unseen": False}),
            ("unseen", {"method": "amortised", "unseen": True}),
            ("per_prompt", {"method": "per_prompt", "unseen": False}),
        ):
            shares = sorted(set(column(rows(records, **wanted), "share")))
            stats = [mean_and_error(by_seed(records, name, share=s, **wanted)) for s in shares]
            if stats:
                y, error = np.array(stats, dtype=float).T
                axes.errorbar([100 * s for s in shares], y, np.nan_to_num(error), color=COLOURS[label],
                              marker=MARKERS[label], markersize=4, capsize=2, label=LABELS[label])  # fmt: skip
        axes.set(title=title, xlabel="prompts trained on, %")
        axes.title.set_fontsize(9)
    figure.legend(*panels[0].get_legend_handles_labels(), loc="outside lower center", ncols=3, fontsize=8)
    return figure


def rates_figure(records: Sequence[dict]) -> Figure:
    """IoU and PSNR of trained prompts against the learning rate, by method and budget."""
    figure = new_figure(2.8)
    panels = figure.subplots(1, 2)
    for axes, name, title in zip(panels, ("iou", "psnr"), ("IoU with the true shape", "PSNR in dB"), strict=True):
        for method in ("amortised", "per_prompt", "per_prompt_pairs"):
            for budget, style in zip(sorted(set(column(records, "budget"))), ("--", "-", ":"), strict=False):
                own = rows(records, method=method, budget=budget, unseen=False)
                rates = sorted(set(column(own, "rate")))
                means = [np.mean(column(rows(own, rate=rate), name)) for rate in rates]
                axes.plot(rates, means, style, color=COLOURS[method], marker=MARKERS[method], markersize=4,
                          label=f"{LABELS[method].removesuffix(', trained prompts')}, {budget:g} frames")  # fmt: skip
        axes.set(title=title, xlabel="learning rate", xscale="log")
        every = sorted(set(column(records, "rate")))
        axes.set_xticks(
            every, [f"{rate:g}" for rate in every], fontsize=6.5, rotation=60, ha="right", rotation_mode="anchor"
        )
        axes.minorticks_off()
        axes.title.set_fontsize(9)
    figure.legend(*panels[0].get_legend_handles_labels(), loc="outside lower center", ncols=2, fontsize=8)
    return figure
