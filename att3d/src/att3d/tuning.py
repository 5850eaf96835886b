"""Fine-tuning w and a copy of ν from an amortised start, and training between prompts: the studies of both."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from pytorch_lightning import Callback, Trainer
from torch import Tensor

from .cameras import ring
from .data import PromptDataModule
from .interpolation import PromptInterpolator
from .metrics import psnr
from .per_prompt import PerPromptBaseline, finetuning
from .quiet import quiet
from .shapes import render_truth
from .study import StudySettings, judged_loss, path_length_ratio
from .training import ATT3D


class Curve(Callback):
    """PSNR against the truth (P,) at some steps."""

    def __init__(self, prompts: Sequence[str], every: int, views: int = 3, resolution: int = 16):
        self.prompts, self.every, self.cameras = list(prompts), every, ring(len(prompts), views)
        self.truth = render_truth(self.prompts, self.cameras, resolution)
        self.resolution = resolution
        self.points: list[tuple[int, list[float]]] = []

    def look(self, step: int, model: PerPromptBaseline) -> None:
        shown = model.scenes(self.prompts).images(self.cameras, self.resolution, 48).rgb.clamp(0, 1)
        self.points.append((step, psnr(shown, self.truth).mean(1).tolist()))

    def on_train_start(self, trainer: Trainer, model: PerPromptBaseline) -> None:
        self.look(0, model)

    def on_train_batch_end(self, trainer: Trainer, model: PerPromptBaseline, *_) -> None:
        if trainer.global_step % self.every == 0:
            self.look(trainer.global_step, model)


def quiet_trainer(steps: int, callbacks: Sequence[Callback] = ()) -> Trainer:
    """A trainer for a few steps, without logs and files."""
    quiet()
    return Trainer(
        accelerator="cpu", max_steps=steps, logger=False, enable_checkpointing=False, enable_progress_bar=False,
        enable_model_summary=False, callbacks=list(callbacks), limit_val_batches=0,
    )  # fmt: skip


def own_data(prompts: Sequence[str], model: ATT3D | PerPromptBaseline) -> PromptDataModule:
    """All of these prompts in every step."""
    data = PromptDataModule(prompts_per_step=0, seed=model.seed)
    data.rows = [(prompt, "") for prompt in prompts]
    return data


def finetune(
    model: ATT3D, prompts: Sequence[str], steps: int = 100, lr: float = 0.01, start: str | None = "amortised",
    callbacks: Sequence[Callback] = (),
) -> PerPromptBaseline:  # fmt: skip
    """The scenes of `prompts` after `steps` more of distillation, each for itself; see `finetuning`."""
    fine = finetuning(model, prompts, lr, start)
    quiet_trainer(steps, callbacks).fit(fine, own_data(prompts, model))
    return fine.eval()


def finetune_records(
    model: ATT3D, trained: Sequence[str], unseen: Sequence[str], settings: StudySettings
) -> list[dict]:
    """PSNR over steps of unseen prompts from three starts, at each of the rates."""
    records = []
    for start in ("amortised", "another prompt", "random"):
        chosen = {"amortised": "amortised", "another prompt": trained[0], "random": None}[start]
        for rate in settings.finetune_rates[start]:
            curve = Curve(unseen, max(1, settings.finetune_steps // 5), 3, settings.resolution)
            finetune(model, unseen, settings.finetune_steps, rate, chosen, [curve])
            records.append({"start": start, "rate": rate, "seed": model.seed, "curve": curve.points})
    return records


# between prompts


def middle_losses(model: ATT3D, pairs: Sequence[tuple[str, str]], a: float) -> Tensor:
    """(1 − a) L(c₁) + a L(c₂) of the scenes at a, for each pair."""
    one, other = [p for p, _ in pairs], [q for _, q in pairs]
    c = torch.lerp(model.embeddings(one), model.embeddings(other), a)
    scenes = model.scenes_of(c)
    return (1 - a) * judged_loss(model, scenes, one) + a * judged_loss(model, scenes, other)


def interpolation_record(model: ATT3D, pairs: Sequence[tuple[str, str]], kappa: float | None) -> dict:
    """Mixture loss at the ends and halfway, straightness of the path in image space, and distance to a cross-fade."""
    ratios, apart = [], []
    for pair in pairs:
        images = model.interpolate(*pair, 9).images(ring(9, 3), model.resolution, 48).rgb.clamp(0, 1)
        ratios.append(path_length_ratio(images))
        apart.append(float((images[4] - (images[0] + images[-1]) / 2).square().mean().sqrt()))
    ends = (middle_losses(model, pairs, 0.0) + middle_losses(model, pairs, 1.0)) / 2
    return {
        "kappa": kappa,
        "seed": model.seed,
        "middle": float(middle_losses(model, pairs, 0.5).mean()),
        "ends": float(ends.mean()),
        "path_ratio": sum(ratios) / len(ratios),
        "from_crossfade": sum(apart) / len(apart),
    }


def between_prompts(
    model: ATT3D, pairs: Sequence[tuple[str, str]], kappa: float | None, steps: int, lr: float
) -> ATT3D:
    """Go on training a model on pairs, interpolated with κ; None trains their ends alone."""
    model.interpolator = None if kappa is None else PromptInterpolator("stochastic_loss", kappa)
    model.lr = lr
    data = PromptDataModule(prompts_per_step=4, pairs=[f"{p} | {q}" for p, q in pairs], seed=model.seed)
    quiet_trainer(steps).fit(model.train(), data)
    return model.eval()
