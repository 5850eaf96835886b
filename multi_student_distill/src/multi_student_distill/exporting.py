"""Students as files at the end of a fit, for the next stage, for `evaluate` and for the pipeline."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from pytorch_lightning import Callback

from .denoisers import save_denoiser, student_path
from .training import StudentTraining


def export(model: StudentTraining, folder: Path) -> None:
    """Every student's file, and the fake scores' where there are any; U-Nets of diffusers as folders."""
    for student, denoiser in zip(model.chosen, model.exported(), strict=True):
        if hasattr(denoiser, "save_pretrained"):
            denoiser.save_pretrained(folder / f"student_{student}")
        else:
            save_denoiser(student_path(folder, student), denoiser, model.spec)
    for student, fake in zip(model.chosen, model.exported_fakes(), strict=False):
        save_denoiser(student_path(folder / "fakes", student), fake, model.fake_spec)


def exported(folder: Path, students: Iterable[int]) -> bool:
    """Whether `export` wrote the files, or folders, of all these students."""
    return all(student_path(folder, k).is_file() or (folder / f"student_{k}").is_dir() for k in students)


class ExportStudents(Callback):
    """Writes `students/student_k.safetensors` below the trainer's default_root_dir, or into `dirpath`."""

    def __init__(self, dirpath: str = ""):
        self.dirpath = dirpath

    def on_train_end(self, trainer, module) -> None:
        if trainer.is_global_zero:
            export(module, Path(self.dirpath or f"{trainer.default_root_dir}/students"))
