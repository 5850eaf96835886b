"""Pairs (z, y, x̂) of a teacher's deterministic sampler, in safetensors shards that name the teacher.

A shard holds z and x (N, ...), labels (N,) int64, and in its metadata the teacher's fingerprint and the number of
evaluations (NFE) that each x̂ took.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from .results import whole


def fingerprint(module: nn.Module) -> str:
    """What tells one teacher from another: a hash of its weights and buffers, those that are not saved included."""
    digest = hashlib.sha256()
    tensors = [*module.named_parameters(), *module.named_buffers()]
    for name, value in sorted(tensors):
        digest.update(name.encode())
        digest.update(value.detach().cpu().contiguous().float().numpy().tobytes())
    return digest.hexdigest()[:16]


def write_pairs(path: str | Path, z: Tensor, x: Tensor, labels: Tensor, teacher: str, evaluations: int) -> None:
    """One shard, by way of a temporary file."""
    tensors = {"z": z.contiguous(), "x": x.contiguous(), "labels": labels.contiguous()}
    with whole(path) as temporary:
        save_file(tensors, temporary, metadata={"teacher": teacher, "evaluations": str(evaluations)})


class PairedDataset:
    """All pairs of a shard or of a folder of shards, memory-mapped.

    Args:
        path: a .safetensors file, or a folder of them. shape: of one sample. classes: of the labels; None for
            conditions that are no classes.
    Raises:
        FileNotFoundError: nothing there. ValueError: a shard that is not as described, or shards of two teachers.
    """

    def __init__(self, path: str | Path, shape: Sequence[int], classes: int | None):
        path = Path(path)
        shards = [path] if path.is_file() else sorted(path.glob("*.safetensors"))
        if not shards:
            raise FileNotFoundError(f"{path}: no pairs; `multi-student-distill pairs` makes some")
        found = [read_shard(shard, tuple(shape), classes) for shard in shards]
        teachers = {metadata["teacher"] for _, metadata in found}
        if len(teachers) > 1:
            raise ValueError(f"{path}: shards of {len(teachers)} teachers: {', '.join(sorted(teachers))}")
        self.teacher = teachers.pop()
        self.evaluations = int(found[0][1]["evaluations"])
        self.z, self.x, self.labels = (
            parts[0] if len(parts) == 1 else torch.cat(parts) for parts in ([t[k] for t, _ in found] for k in "zxl")
        )

    def __len__(self) -> int:
        return len(self.labels)

    def check_teacher(self, teacher: str) -> None:
        """Raise ValueError unless these are the pairs of the teacher with this fingerprint."""
        if teacher != self.teacher:
            raise ValueError(f"pairs are of another teacher: expected {teacher}, got {self.teacher}; make them anew")


def read_shard(path: Path, shape: tuple[int, ...], classes: int | None) -> tuple[dict[str, Tensor], dict[str, str]]:
    """z, x and labels (as `l`) of one shard, and its metadata."""
    try:
        with safe_open(path, framework="pt") as file:
            metadata = file.metadata() or {}
            names = set(file.keys())
            if not {"z", "x", "labels"} <= names or not {"teacher", "evaluations"} <= set(metadata):
                raise ValueError(f"{path}: expected z, x, labels and the metadata teacher, evaluations")
            z, x, labels = (file.get_tensor(name) for name in ("z", "x", "labels"))
    except (SafetensorError, OSError) as error:
        raise ValueError(f"{path}: not a safetensors file ({error})") from error
    if not metadata["evaluations"].isdecimal():
        raise ValueError(f"{path}: evaluations must be a number, got {metadata['evaluations']!r}")
    if x.shape != (len(labels), *shape) or z.shape != x.shape or not len(labels):
        raise ValueError(f"{path}: expected z and x of (N, {', '.join(map(str, shape))}), got {tuple(x.shape)}")
    if labels.dtype != torch.int64 or (classes is not None and (labels.min() < 0 or labels.max() >= classes)):
        raise ValueError(f"{path}: expected int64 labels 0 ... {classes}, got {labels.dtype} up to {int(labels.max())}")
    if not bool(x.isfinite().all()) or not bool(z.isfinite().all()):
        raise ValueError(f"{path}: z or x holds NaN or infinity")
    return {"z": z, "x": x, "l": labels}, metadata


@torch.no_grad()
def sample_pairs(
    sampler: Callable[[Tensor, Tensor], tuple[Tensor, int]],
    labels: Tensor,
    shape: Sequence[int],
    seed: int,
    batch_size: int = 1000,
    device: torch.device | str = "cpu",
) -> tuple[Tensor, Tensor, int]:
    """z and x̂ (N, ...) for the given conditions, and the evaluations each took."""
    generator = torch.Generator().manual_seed(seed)
    z = torch.randn(len(labels), *shape, generator=generator)
    found, evaluations = [], 0
    for start in range(0, len(labels), batch_size):
        rows = slice(start, start + batch_size)
        x, evaluations = sampler(z[rows].to(device), labels[rows].to(device))
        found.append(x.cpu())
    return z, torch.cat(found), evaluations
