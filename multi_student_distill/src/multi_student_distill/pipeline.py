"""Several one-step students behind one diffusers pipeline, saved and loaded with them whatever their sizes.

    pipe = MultiStudentPipeline.from_pretrained("folder")
    images = pipe([3, 7, 7, 1], generator=torch.Generator().manual_seed(0)).images

A batch of mixed labels runs each student that it needs once. A pipeline's keyword arguments would lose the students on
saving, and a list of them is no component: they are one model, which keeps each in a folder of its own.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from diffusers import ConfigMixin, DiffusionPipeline, ModelMixin, SchedulerMixin, UNet2DConditionModel
from diffusers.configuration_utils import register_to_config
from diffusers.utils import BaseOutput
from diffusers.utils.torch_utils import randn_tensor
from PIL import Image
from torch import Tensor, nn

from .denoisers import DenoiserSpec
from .edm import EDMDenoiser, one_step
from .partition import Partition
from .routing import ClassRouter, EmbeddingRouter, route

LIST_FILE = "students.json"
PACKAGED = Path(__file__).parent / "weights" / "digits"  # five students; the README's commands for digits made it


class ClassRouterModel(ModelMixin, ConfigMixin):
    """`ClassRouter` as a component: labels -> students."""

    @register_to_config
    def __init__(self, conditions: int = 1):
        super().__init__()
        self.router = ClassRouter(Partition(torch.zeros(conditions, dtype=torch.int64)))

    @classmethod
    def of(cls, partition: Partition) -> ClassRouterModel:
        """The router of a partition."""
        model = cls(partition.conditions)
        model.router = ClassRouter(partition)
        return model

    def forward(self, labels: Tensor) -> Tensor:
        return self.router(labels)


class EmbeddingRouterModel(ModelMixin, ConfigMixin):
    """`EmbeddingRouter` as a component: pooled text embeddings -> students."""

    @register_to_config
    def __init__(self, width: int = 768):
        super().__init__()
        self.router = EmbeddingRouter(torch.zeros(width, 2), torch.zeros(3))

    @classmethod
    def of(cls, router: EmbeddingRouter) -> EmbeddingRouterModel:
        """The component of a router."""
        model = cls(len(router.axes))
        model.router.load_state_dict(router.state_dict())
        return model

    def forward(self, embeddings: Tensor) -> Tensor:
        return self.router(embeddings)


class StudentModel(ModelMixin, ConfigMixin):
    """One denoiser as a component: its network by name, and its sizes."""

    @register_to_config
    def __init__(
        self,
        network: str = "mlp-64x2",
        shape: Sequence[int] = (1, 8, 8),
        classes: int = 10,
        sigma_data: float = 0.5,
        kind: str = "edm",
    ):
        super().__init__()
        self.denoiser = DenoiserSpec(network, tuple(shape), classes, sigma_data, kind).build()

    @classmethod
    def of(cls, denoiser: EDMDenoiser, spec: DenoiserSpec) -> StudentModel:
        """The component of a trained denoiser."""
        model = cls(spec.network, list(spec.shape), spec.classes, spec.sigma_data, spec.kind)
        model.denoiser.load_state_dict(denoiser.state_dict())
        return model.eval()

    def forward(self, z: Tensor, labels: Tensor) -> Tensor:
        """G(z, y)."""
        return one_step(self.denoiser, z, labels)


STUDENT_CLASSES = {"StudentModel": StudentModel, "UNet2DConditionModel": UNet2DConditionModel}


class Students(ModelMixin, ConfigMixin):
    """K students, each saved in a folder of its own, `student_0/` and so on; their sizes may differ.

    Args:
        students: `StudentModel`s, or UNet2DConditionModels of Stable Diffusion.
    """

    config_name = LIST_FILE

    def __init__(self, students: Sequence[nn.Module]):
        super().__init__()
        if not len(students):
            raise ValueError("expected at least one student, got none")
        unknown = [type(s).__name__ for s in students if type(s).__name__ not in STUDENT_CLASSES]
        if unknown:
            raise ValueError(f"students are {' or '.join(STUDENT_CLASSES)}, got {unknown[0]}")
        self.students = nn.ModuleList(students)

    def __len__(self) -> int:
        return len(self.students)

    def __getitem__(self, student: int) -> nn.Module:
        return self.students[student]

    def save_pretrained(self, save_directory, **kwargs) -> None:
        """Every student in `student_k/`, and their classes in a list."""
        folder = Path(save_directory)
        folder.mkdir(parents=True, exist_ok=True)
        (folder / LIST_FILE).write_text(json.dumps([type(s).__name__ for s in self.students]))
        for k, student in enumerate(self.students):
            student.save_pretrained(folder / f"student_{k}", **kwargs)

    @classmethod
    def from_pretrained(cls, path, subfolder: str | None = None, torch_dtype=None, **_) -> Students:
        """The inverse."""
        folder = Path(path) / (subfolder or "")
        try:
            names = json.loads((folder / LIST_FILE).read_text())
            if not isinstance(names, list) or not names:
                raise ValueError("an empty list")
            kinds = [STUDENT_CLASSES[name] for name in names]
        except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
            raise ValueError(f"{folder / LIST_FILE}: no list of students in it ({type(error).__name__})") from error
        own = {"low_cpu_mem_usage": False} | ({} if torch_dtype is None else {"torch_dtype": torch_dtype})
        return cls([kind.from_pretrained(folder / f"student_{k}", **own) for k, kind in enumerate(kinds)])


@dataclass
class MultiStudentOutput(BaseOutput):
    """images: tensors (N, C, S, S) in [-1, 1], array (N, S, S, C) in [0, 1], or PIL images. students: of each."""

    images: Tensor | np.ndarray | list[Image.Image]
    students: Tensor


class MultiStudentPipeline(DiffusionPipeline):
    """One-step class-conditional generation, each label by its student.

    Args:
        scheduler: an EDMEulerScheduler, for those who sample the students in more steps. router: `ClassRouterModel`.
        students: `Students`.
    """

    def __init__(self, scheduler: SchedulerMixin, router: ClassRouterModel, students: Students):
        super().__init__()
        self.register_modules(scheduler=scheduler, router=router, students=students)
        if router.router.students > len(students):
            raise ValueError(f"the router knows {router.router.students} students, but there are {len(students)}")

    @property
    def shape(self) -> tuple[int, ...]:
        """Of one sample."""
        return tuple(self.students[0].config.shape)

    @torch.no_grad()
    def __call__(
        self,
        class_labels: Sequence[int] | Tensor,
        generator: torch.Generator | list[torch.Generator] | None = None,
        latents: Tensor | None = None,
        output_type: str = "pil",
    ) -> MultiStudentOutput:
        """Samples for labels (N,).

        Args:
            latents: z, standard normal (N, *shape); drawn from `generator` if left out.
            output_type: pil, np (in [0, 1]) or pt (in [-1, 1], as the networks give).
        """
        if output_type not in ("pil", "np", "pt"):
            raise ValueError(f"output_type is pil, np or pt, got {output_type!r}")
        labels = torch.as_tensor(class_labels, dtype=torch.int64, device=self.device)
        chosen = self.router(labels)
        dtype = self.students[0].dtype
        if latents is None:
            latents = randn_tensor((len(labels), *self.shape), generator=generator, device=self.device, dtype=dtype)
        if tuple(latents.shape) != (len(labels), *self.shape):
            raise ValueError(f"expected latents {(len(labels), *self.shape)}, got {tuple(latents.shape)}")
        samples = route(list(self.students.students), chosen, latents.to(self.device, dtype), labels)
        return MultiStudentOutput(as_output(samples, output_type), chosen)


def as_output(samples: Tensor, kind: str) -> Tensor | np.ndarray | list[Image.Image]:
    """Tensors in [-1, 1] as they are, as an array (N, S, S, C) in [0, 1], or as PIL images."""
    if kind == "pt":
        return samples
    if samples.ndim != 4 or samples.shape[1] not in (1, 3):
        raise ValueError(
            f"only grey or colour images can be {kind}, got samples {tuple(samples.shape[1:])}; ask for pt"
        )
    array = (samples.float().cpu().clamp(-1, 1) / 2 + 0.5).permute(0, 2, 3, 1).numpy()
    if kind == "np":
        return array
    pixels = (array * 255).round().astype(np.uint8)
    return [Image.fromarray(p[..., 0] if p.shape[-1] == 1 else p) for p in pixels]
