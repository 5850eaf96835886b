"""LightningModules of denoisers: the teacher, and small students that imitate it before they are distilled.

All train a stack of students, each on its own rows of the batch; `fit` of one student is a stack of one.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import torch
from pytorch_lightning import LightningModule
from torch import Tensor, nn
from torch.optim import AdamW, Optimizer
from torch.optim.lr_scheduler import LambdaLR
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from .denoisers import DenoiserSpec, load_denoiser, load_students
from .distiller import DistillBatch
from .edm import EDMDenoiser, GridSigmas, LogNormalSigmas, edm_loss, edm_sampler, one_step
from .ledger import Ledger, forward_flops
from .metrics import energy_distance
from .networks import build_network
from .regression import regression_loss
from .step_noise import StepNoise, student_seeds
from .student_stack import clip_each, stacked, unstacked
from .teacher_score_matching import tsm_loss

SIGMA_LAWS = {"lognormal": LogNormalSigmas, "grid": GridSigmas}


class StudentTraining(LightningModule):
    """What all modules share: the stack, its seeds, its average, its ledger; the sizes are those of the data.

    Args:
        network: name of the students' network, see `build_network`.
        lr: of AdamW(0.9, 0.999), after a linear warm-up; with `cosine` it falls to zero at the end of training.
        weight_decay: of AdamW. clip: norm to which each student's gradient is cut. warmup: steps.
        ema: decay of the averaged weights, which are what is exported; 0 for the last weights.
        shape, classes, sigma_data, students, seed: linked from the data.
    Raises:
        ValueError: settings out of range.
    """

    def __init__(
        self,
        network: str = "mlp-64x2",
        lr: float = 1e-3,
        weight_decay: float = 0.01,
        warmup: int = 0,
        cosine: bool = True,
        clip: float = 10.0,
        ema: float = 0.0,
        shape: Sequence[int] = (),
        classes: int = 0,
        sigma_data: float = 0.5,
        students: Sequence[int] = (0,),
        seed: int = 0,
    ):
        super().__init__()
        if not lr > 0 or not clip > 0 or warmup < 0 or weight_decay < 0 or not 0 <= ema < 1:
            raise ValueError(
                "lr and clip must be positive, warmup and weight_decay at least 0 and ema in [0, 1), "
                f"got {lr}, {clip}, {warmup}, {weight_decay} and {ema}"
            )
        self.save_hyperparameters()
        self.seed, self.chosen, self.seeds = seed, list(students), student_seeds(seed, students)
        self.spec = DenoiserSpec(network, tuple(shape), classes, sigma_data)
        self.ledger = Ledger()
        self.student: nn.Module | None = None  # built in configure_model, when the data is known
        self.average: AveragedModel | None = None

    # building

    def configure_model(self) -> None:
        """Build once; called before a checkpoint's weights are restored."""
        if self.student is None:
            self.student = self.spec.wrap(stacked(self.initial_networks()))
            self.build_rest()
            self.build_average()
            self.ledger.costs |= {role: self.cost(d) for role, d in self.roles().items()}

    def initial_networks(self) -> list[nn.Module]:
        """One new network for each student, from its own seed."""
        networks = []
        for seed in self.seeds:
            with torch.random.fork_rng(devices=[]):
                torch.manual_seed(seed)
                networks.append(build_network(self.spec.network, self.spec.shape, self.spec.classes))
        return networks

    def build_rest(self) -> None:
        """What a subclass trains with."""

    def build_average(self) -> None:
        """The running average of the student's weights, where one is wanted."""
        if self.hparams.ema:
            self.average = AveragedModel(self.student, multi_avg_fn=get_ema_multi_avg_fn(self.hparams.ema))

    def roles(self) -> dict[str, nn.Module]:
        """Denoisers by the role under which the ledger counts them."""
        return {"student": self.student}

    def cost(self, denoiser: nn.Module) -> float:
        """Floating-point operations of one sample's forward pass."""
        network = getattr(denoiser, "net", None)
        if network is None or not self.spec.classes:
            return 0.0  # a teacher in closed form
        count = len(self.chosen) if hasattr(network, "unstacked") else 1
        weight = next(network.parameters())
        x = torch.zeros(count, *self.spec.shape, device=weight.device, dtype=weight.dtype)
        return forward_flops(network, x, x.new_zeros(count), torch.zeros(count, dtype=torch.int64, device=x.device))

    def load_teacher(self, path: str) -> nn.Module:
        """A teacher's file, or the data's own if `exact`."""
        teacher = self.trainer.datamodule.exact_teacher() if path == "exact" else load_denoiser(path)[0]
        return teacher.requires_grad_(False).eval()

    # training

    @property
    def count(self) -> int:
        """S, the students trained here."""
        return len(self.chosen)

    def noise(self) -> StepNoise:
        """The random numbers of this step and process."""
        return StepNoise(self.seeds, self.ledger.steps, 2 + 2 * self.global_rank, self.device, self.dtype)

    def after_student_step(self) -> None:
        if self.average is not None:
            self.average.update_parameters(self.student)

    def optimizer_of(self, parameters, lr: float) -> Optimizer:
        fused = self.device.type in ("cpu", "cuda")
        return AdamW(parameters, lr, betas=(0.9, 0.999), weight_decay=self.hparams.weight_decay, fused=fused)

    def schedule_of(self, optimizer: Optimizer, steps: int) -> LambdaLR:
        return LambdaLR(optimizer, lr_factor(self.hparams.warmup, self.hparams.cosine, steps))

    def training_length(self) -> int:
        """Iterations."""
        if self.trainer.max_steps < 1:
            raise ValueError("set trainer.max_steps: the data is a stream without end")
        return self.trainer.max_steps

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        checkpoint["ledger"] = self.ledger.state()
        state = checkpoint["state_dict"]
        for name in [n for n in state if n.startswith("teacher.")]:
            del state[name]  # it has a file of its own

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        self.ledger.load(checkpoint["ledger"])
        own = self.state_dict()
        checkpoint["state_dict"] |= {n: own[n] for n in own if n.startswith("teacher.")}

    # use

    def exported(self) -> list[EDMDenoiser]:
        """The trained denoiser of each student: its averaged weights where there are any."""
        trained = self.student if self.average is None else self.average.module
        return [self.spec.wrap(network).eval() for network in unstacked(trained.net)]

    def exported_fakes(self) -> list[nn.Module]:
        """Fake scores, where there are any, from which a later stage goes on."""
        return []

    def generate(self, z: Tensor, labels: Tensor) -> Tensor:
        """One-step samples, each by the student of its label's part."""
        assignment = self.trainer.datamodule.partition.assignment.to(labels.device)
        found = torch.empty_like(z)
        for student, denoiser in zip(self.chosen, self.exported(), strict=True):
            own = assignment[labels] == student
            if own.any():
                found[own] = self.sampled(denoiser.to(self.device), z[own], labels[own])
        return found

    def sampled(self, denoiser: nn.Module, z: Tensor, labels: Tensor) -> Tensor:
        """How this module's denoisers generate: in one step."""
        return one_step(denoiser, z, labels)

    def predict_step(self, batch: tuple[Tensor, Tensor], index: int) -> tuple[Tensor, Tensor]:
        """Samples for the labels of the reference set, and these."""
        z = StepNoise([self.seed], index, 4, self.device, self.dtype).normal(len(batch[1]), *self.spec.shape)
        return self.generate(z, batch[1]), batch[1]

    def validation_step(self, batch: tuple[Tensor, Tensor], index: int) -> None:
        self.report(batch, index, "val")

    def test_step(self, batch: tuple[Tensor, Tensor], index: int) -> None:
        self.report(batch, index, "test")

    def report(self, batch: tuple[Tensor, Tensor], index: int, prefix: str) -> None:
        """The energy distance to the real samples of a batch, on their values."""
        generated, _ = self.predict_step(batch, index)
        distance = energy_distance(generated.flatten(1), batch[0].flatten(1))
        self.log(f"{prefix}/energy_distance", distance, batch_size=len(generated), sync_dist=True)


def lr_factor(warmup: int, cosine: bool, steps: int) -> Callable[[int], float]:
    """The rate's factor at each step: a linear warm-up, then constant or half a cosine down to zero."""

    def factor(step: int) -> float:
        rise = min(1.0, (step + 1) / (warmup + 1))
        return rise * (0.5 * (1 + math.cos(math.pi * min(step, steps) / steps)) if cosine else 1.0)

    return factor


class DenoiserTraining(StudentTraining):
    """Denoisers trained with one optimizer; abstract: `loss` of a batch."""

    def __init__(self, sigma_law: str = "lognormal", **training: Any):
        super().__init__(**training)
        if sigma_law not in SIGMA_LAWS:
            raise ValueError(f"unknown sigma_law {sigma_law!r}, choose from {', '.join(SIGMA_LAWS)}")
        self.save_hyperparameters("sigma_law")
        self.sigma_law = SIGMA_LAWS[sigma_law]()

    def loss(self, batch: DistillBatch, noise: StepNoise) -> Tensor:
        raise NotImplementedError

    def sigma(self, rows: int, noise: StepNoise) -> Tensor:
        """A σ for each row of each student."""
        return self.sigma_law(noise.normal(rows), noise.uniform(rows), self.student.levels)

    def training_step(self, batch: DistillBatch, _) -> Tensor:
        loss = self.loss(batch, self.noise())
        self.ledger.steps += 1
        self.log("train/loss", loss.detach(), batch_size=len(batch.labels))
        return self.count * loss  # for each student, its own mean

    def configure_gradient_clipping(self, optimizer, gradient_clip_val=None, gradient_clip_algorithm=None):
        clip_each(self.student.parameters(), self.count, self.hparams.clip)

    def optimizer_step(self, *args, **kwargs) -> None:
        super().optimizer_step(*args, **kwargs)
        self.after_student_step()

    def configure_optimizers(self) -> dict[str, Any]:
        optimizer = self.optimizer_of(self.student.parameters(), self.hparams.lr)
        schedule = self.schedule_of(optimizer, self.training_length())
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}


class TeacherModule(DenoiserTraining):
    """The teacher μ_T, by EDM's denoising loss."""

    def __init__(self, network: str = "mlp-256x3", **training: Any):
        super().__init__(network=network, **training)

    def loss(self, batch: DistillBatch, noise: StepNoise) -> Tensor:
        rows = len(batch.real) // self.count
        sigma = self.sigma(rows, noise)
        self.ledger.count("student", len(batch.real), backward=True)
        return edm_loss(self.student, batch.real, batch.real_labels, sigma, noise.normal(rows, *self.spec.shape))

    def sampled(self, denoiser: nn.Module, z: Tensor, labels: Tensor) -> Tensor:
        return edm_sampler(denoiser, z, labels)[0]


class TSMModule(DenoiserTraining):
    """Teacher score matching: students imitate the teacher's denoiser on real images of their parts.

    Args:
        teacher: file of the teacher, or `exact`. sigma_law: `grid` reaches the σ of one-step generation.
    """

    def __init__(self, teacher: str = "exact", sigma_law: str = "grid", **training: Any):
        super().__init__(sigma_law=sigma_law, **training)
        self.save_hyperparameters("teacher")

    def build_rest(self) -> None:
        self.teacher = self.load_teacher(self.hparams.teacher)

    def roles(self) -> dict[str, nn.Module]:
        return {"student": self.student, "teacher": self.teacher}

    def loss(self, batch: DistillBatch, noise: StepNoise) -> Tensor:
        rows = len(batch.real) // self.count
        self.ledger.count("student", len(batch.real), backward=True)
        self.ledger.count("teacher", len(batch.real))
        sigma, draw = self.sigma(rows, noise), noise.normal(rows, *self.spec.shape)
        return tsm_loss(self.student, self.teacher, batch.real, batch.real_labels, sigma, draw)


class PostDistillModule(DenoiserTraining):
    """The baseline to TSM: small students regress on the samples of a one-step student of the teacher's size.

    Args:
        generator: file or folder of the one-step students; of a folder, each small student follows its own.
    """

    def __init__(self, generator: str, **training: Any):
        super().__init__(**training)
        self.save_hyperparameters("generator")

    def build_rest(self) -> None:
        found = load_students(self.hparams.generator, self.chosen)
        self.teacher = found[0][1].wrap(stacked([d.net for d, _ in found])).requires_grad_(False).eval()

    def roles(self) -> dict[str, nn.Module]:
        return {"student": self.student, "teacher": self.teacher}

    def loss(self, batch: DistillBatch, noise: StepNoise) -> Tensor:
        z = noise.normal(len(batch.labels) // self.count, *self.spec.shape)
        with torch.no_grad():
            target = one_step(self.teacher, z, batch.labels)
        self.ledger.count("student", len(z), backward=True)
        self.ledger.count("teacher", len(z))
        return regression_loss(one_step(self.student, z, batch.labels), target)
