"""LightningModules of distillation: from a teacher to one-step students, by distribution matching or by consistency."""

from __future__ import annotations

import copy
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import mse_loss

from .adversarial import ImageHead, VectorHead
from .consistency import ConsistencyDistillation
from .denoisers import DenoiserSpec, copied, load_denoiser, load_students, read_spec
from .distiller import DistillBatch, Distiller
from .dmd import DMD2, DMDWeights
from .networks import bottleneck_shape
from .pairs import fingerprint
from .regression import LPIPSDistance
from .student_stack import clip_each, stacked, unstacked
from .training import StudentTraining

DISTANCES = {"mse": lambda: mse_loss, "lpips": LPIPSDistance}
STAGES = ("dm", "adm")


class Distillation(StudentTraining):
    """Manual optimisation of a `Distiller`; abstract: `build_distiller`.

    Every iteration generates; every `ratio`-th moves the student (TTUR); every one moves the guidance, if there is any,
    on the same samples. The trainer's steps are iterations: only the guidance's optimizer counts where there is one.

    Args:
        teacher: file of the teacher, or `exact`. init: file, or folder of files, the students start from; empty for
            a copy of a teacher of the same network, or a new network beside any other.
        ratio: r, guidance steps for each of the student. guidance_lr: of AdamW for the guidance; 0 for the student's.
        training: see `StudentTraining`; an empty network is the teacher's.
    """

    def __init__(
        self, teacher: str = "exact", init: str = "", ratio: int = 1, guidance_lr: float = 0.0, **training: Any
    ):
        if ratio < 1 or guidance_lr < 0:
            raise ValueError(f"ratio must be at least 1 and guidance_lr at least 0, got {ratio} and {guidance_lr}")
        if not training.get("network", True):
            if teacher == "exact":
                raise ValueError("an exact teacher has no network to copy: name the students' network")
            training["network"] = read_spec(teacher).network
        super().__init__(**training)
        self.automatic_optimization = False
        self.teacher_path, self.init, self.ratio, self.guidance_lr = teacher, init, ratio, guidance_lr
        self.distiller: Distiller | None = None

    def build_distiller(self, teacher: nn.Module) -> Distiller:
        raise NotImplementedError

    def build_rest(self) -> None:
        self.teacher = self.load_teacher(self.teacher_path)
        self.distiller = self.build_distiller(self.teacher)

    def roles(self) -> dict[str, nn.Module]:
        return {"student": self.student, "teacher": self.teacher}

    def initial_networks(self) -> list[nn.Module]:
        """Of the files named by `init`, of the teacher if it has the same network, or new."""
        networks = super().initial_networks()
        if self.init:
            found = load_students(self.init, self.chosen)
            for _, spec in found:
                if spec.network != self.spec.network:
                    raise ValueError(f"{self.init}: expected a {self.spec.network}, got a {spec.network}")
            return [copied(denoiser.net, own) for (denoiser, _), own in zip(found, networks, strict=True)]
        if self.teacher_path != "exact" and read_spec(self.teacher_path).network == self.spec.network:
            teacher = load_denoiser(self.teacher_path)[0]
            return [copied(teacher.net, own) for own in networks]
        return networks

    def training_step(self, batch: DistillBatch, index: int) -> dict[str, Tensor]:
        noise = self.noise()
        moves_student = self.ledger.steps % self.ratio == 0
        optimizers = listed(self.optimizers())
        # Lightning counts the steps of its own wrapper: the guidance's, one an iteration, and not the student's too
        student_optimizer = optimizers[0].optimizer if len(optimizers) > 1 else optimizers[0]
        losses: dict[str, Tensor] = {}
        with torch.set_grad_enabled(moves_student):
            x = self.distiller.generate(batch, noise)
        if moves_student:
            losses |= self.distiller.student_losses(x, batch, noise)
            self.move(student_optimizer, sum(losses.values()), self.student)
            self.distiller.after_student_step()
            self.after_student_step()
        guidance = self.distiller.guidance_losses(x.detach(), batch, noise)
        if guidance:
            self.move(optimizers[1], sum(guidance.values()), self.distiller.guidance)
        for scheduler in listed(self.lr_schedulers()):
            scheduler.step()
        self.ledger.steps += 1
        terms = {name: value.detach() for name, value in {**losses, **guidance}.items()}
        self.log_dict({f"train/{name}": value for name, value in terms.items()}, batch_size=len(batch.labels))
        return terms

    def move(self, optimizer, loss: Tensor, module: nn.Module) -> None:
        """One step of an optimizer; for each student, of its own mean."""
        optimizer.zero_grad()
        self.manual_backward(self.count * loss)
        clip_each(module.parameters(), self.count, self.hparams.clip)
        optimizer.step()

    def configure_optimizers(self) -> list:
        steps = self.training_length()
        student = self.optimizer_of(self.student.parameters(), self.hparams.lr)
        schedules = [self.schedule_of(student, -(-steps // self.ratio) * self.ratio)]
        optimizers = [student]
        if len(self.distiller.guidance):
            rate = self.guidance_lr or self.hparams.lr
            optimizers.append(self.optimizer_of(self.distiller.guidance.parameters(), rate))
            schedules.append(self.schedule_of(optimizers[1], steps))
        return [optimizers, [{"scheduler": s, "interval": "step"} for s in schedules]]


def listed(one_or_many) -> list:
    """Lightning gives a list of several, but the one itself of one."""
    return one_or_many if isinstance(one_or_many, list) else [one_or_many]


class DistillModule(Distillation):
    """DMD2: distribution matching with a fake score, in the stage `dm`, and with an adversarial head in `adm`.

    Args:
        stage: dm or adm. fake: network of the fake score: empty for a copy of the teacher, `student` for a copy of the
            student as it starts, or a name, which starts from the file `fake_init`. fake_init: also a folder of the
            fake scores that an earlier stage left.
        regression_weight: λ_reg, of pairs; 0 without. generator_weight, head_weight: of the adversarial terms in adm.
        distance: of the regression, mse or lpips.
        distillation: see `Distillation`.
    """

    def __init__(
        self,
        stage: str = "dm",
        fake: str = "",
        fake_init: str = "",
        regression_weight: float = 0.25,
        generator_weight: float = 3e-3,
        head_weight: float = 1e-2,
        distance: str = "mse",
        **distillation: Any,
    ):
        super().__init__(**distillation)
        self.fake, self.fake_init, self.fake_network = fake, fake_init, ""
        if stage not in STAGES or distance not in DISTANCES:
            raise ValueError(f"stage is one of {STAGES} and distance of {tuple(DISTANCES)}, got {stage}, {distance}")
        if stage == "adm":
            self.weights = DMDWeights(regression_weight, generator_weight, head_weight)
        else:
            self.weights = DMDWeights(regression_weight)
        self.distance = DISTANCES[distance]()

    def build_distiller(self, teacher: nn.Module) -> DMD2:
        data = getattr(self._trainer, "datamodule", None)
        if self.weights.regression and getattr(data, "pairs", None) is None:
            raise ValueError("regression_weight is not 0, but the data has no pairs: name them, or set it to 0")
        if self.weights.head and not data.real:
            raise ValueError("the adversarial stage needs real samples: set data.real to true")
        if self.weights.regression:
            data.pairs.check_teacher(fingerprint(teacher))
        fakes, self.fake_network = self.initial_fakes(teacher)
        head = None
        if self.weights.head:
            channels, side = bottleneck_shape(self.fake_network, self.spec.shape)
            head = stacked([self.new_head(seed, channels, side) for seed in self.seeds])
        fake = self.spec.wrap(stacked(fakes))
        return DMD2(teacher, self.student, fake, head, self.weights, self.distance, self.ledger)

    def initial_fakes(self, teacher: nn.Module) -> tuple[list[nn.Module], str]:
        """One fake score for each student, and their network's name."""
        fake, start = self.fake, self.fake_init
        if fake == "student":
            return [copy.deepcopy(n) for n in self.initial_networks()], self.spec.network
        if start:
            found = load_students(start, self.chosen)
            return [d.net for d, _ in found], found[0][1].network
        if self.teacher_path == "exact":
            raise ValueError(
                "an exact teacher cannot be copied for the fake score: name its file fake_init, or `student`"
            )
        network = read_spec(self.teacher_path).network
        if fake not in ("", network):
            raise ValueError(f"a fake score {fake!r} unlike the teacher needs fake_init, the file that it starts from")
        return [copy.deepcopy(teacher.net).requires_grad_(True) for _ in self.chosen], network

    def new_head(self, seed: int, channels: int, side: int | None) -> nn.Module:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed + 1)
            return VectorHead(channels) if side is None else ImageHead(channels, side)

    def roles(self) -> dict[str, nn.Module]:
        return {**super().roles(), "fake": self.distiller.fake}

    def exported_fakes(self) -> list[nn.Module]:
        """The fake score of each student, from which a later stage goes on."""
        return [self.spec.wrap(network).eval() for network in unstacked(self.distiller.fake.net)]

    @property
    def fake_spec(self) -> DenoiserSpec:
        """How the fake scores are built."""
        return replace(self.spec, network=self.fake_network)


class ConsistencyModule(Distillation):
    """The second distiller: consistency distillation.

    Args:
        grid_steps: n of the grid of σ. decay: of the slow average that is the target.
    """

    def __init__(self, grid_steps: int = 18, decay: float = 0.95, **distillation: Any):
        super().__init__(**distillation)
        self.grid_steps, self.decay = grid_steps, decay
        self.spec = replace(self.spec, kind="consistency")

    def build_distiller(self, teacher: nn.Module) -> ConsistencyDistillation:
        return ConsistencyDistillation(teacher, self.student, self.grid_steps, self.decay, self.ledger)
