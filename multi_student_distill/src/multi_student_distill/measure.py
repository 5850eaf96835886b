"""Measurements of trained students: samples routed to their students, and their distances to the data."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from pathlib import Path

import torch
from torch import Tensor, nn

from .data import MixtureData
from .denoisers import load_denoiser, student_path
from .edm import edm_sampler, one_step
from .features import FeatureNetwork, stored_features
from .metrics import (
    classwise_frechet_distance,
    energy_distance,
    frechet_distance,
    histogram_distance,
    precision_recall,
)
from .networks import parameter_count
from .partition import Partition
from .partitioned import PartitionedDataModule
from .routing import ClassRouter, route
from .step_noise import StepNoise

SAMPLE_STREAM = 6


def loaded(folder: Path, partition: Partition) -> list[nn.Module]:
    """The students of a folder, by number."""
    return [load_denoiser(student_path(folder, k))[0] for k in range(partition.students)]


def generators(students: Sequence[nn.Module]) -> list[Callable[[Tensor, Tensor], Tensor]]:
    """G_k(z, y) of each."""
    return [lambda z, y, own=own: one_step(own, z, y) for own in students]


@torch.no_grad()
def routed_samples(
    students: Sequence[nn.Module], partition: Partition, shape: Sequence[int], count: int, batch_size: int = 1000
) -> tuple[Tensor, Tensor]:
    """One-step samples for all conditions in turn, and their labels: mixed batches, routed."""
    router, own = ClassRouter(partition), generators(students)
    labels = torch.arange(count) % partition.conditions
    z = StepNoise([0], 0, SAMPLE_STREAM).normal(count, *shape)
    parts = [route(own, router(y), x, y) for x, y in zip(z.split(batch_size), labels.split(batch_size), strict=True)]
    return torch.cat(parts), labels


def real_samples(data: PartitionedDataModule, limit: int = 5000) -> tuple[Tensor, Tensor]:
    """Images (n, ...) and labels (n,) of the training set, n <= limit: every m-th of each class of a larger one."""
    labels = data.source.labels
    rows = labels.argsort(stable=True)[:: -(-len(labels) // limit)].sort().values
    return data.source.fetch(rows), labels[rows]


def image_scores(
    samples: Tensor, labels: Tensor, real: Tensor, real_labels: Tensor, features: FeatureNetwork, partition: Partition
) -> dict[str, object]:
    """Fréchet distances pooled, by class and by student, precision and recall, accuracy; of generated images."""
    with torch.no_grad():
        found, known = features(samples), features(real)
        accuracy = float((features.classify(samples).argmax(1) == labels).double().mean())
    precision, recall = precision_recall(known, found)
    of_student = []
    for k in range(partition.students):
        part = partition.part(k)
        mine, theirs = torch.isin(labels, part), torch.isin(real_labels, part)
        of_student.append(frechet_distance(found[mine], known[theirs]))
    return {
        "fd": frechet_distance(found, known),
        "cfd": classwise_frechet_distance(found, labels, known, real_labels),
        "precision": precision,
        "recall": recall,
        "accuracy": accuracy,
        "fd_of_student": of_student,
    }


def image_record(experiment, folder: Path, features_path: Path, samples: int, feature_steps: int) -> dict:
    """What is measured of the students of one cell on images."""
    data: PartitionedDataModule = experiment.data
    real, real_labels = real_samples(data)
    features = stored_features(features_path, real, real_labels, feature_steps)
    students = loaded(folder, data.partition)
    made, labels = routed_samples(students, data.partition, data.shape, samples)
    return {
        "students": len(students),
        "parameters": parameter_count(students[0].net),
        **image_scores(made, labels, real, real_labels, features, data.partition),
    }


def teacher_record(
    teacher: nn.Module, data: PartitionedDataModule, features_path: Path, samples: int, feature_steps: int
) -> dict:
    """The same of the teacher's own sampler."""
    real, real_labels = real_samples(data)
    features = stored_features(features_path, real, real_labels, feature_steps)
    labels = torch.arange(samples) % data.classes
    z = StepNoise([0], 0, SAMPLE_STREAM).normal(samples, *data.shape)
    made, evaluations = edm_sampler(teacher, z, labels)
    partition = Partition.contiguous(data.classes, 1)
    odd = features.classify(real[1::2]).argmax(1) == real_labels[1::2]
    return {
        **image_scores(made, labels, real, real_labels, features, partition),
        "parameters": parameter_count(teacher.net),
        "evaluations": evaluations,
        "held_out_accuracy_of_features": float(odd.double().mean()),
    }


def toy_record(experiment, folder: Path, samples: int) -> dict:
    """What is measured of the students of one cell on a mixture: against fresh exact samples."""
    data: MixtureData = experiment.data
    students = loaded(folder, data.partition)
    made, labels = routed_samples(students, data.partition, data.shape, samples)
    teacher = data.exact_teacher()
    generator = torch.Generator().manual_seed(7)
    true, again = teacher.sample(labels, generator), teacher.sample(labels, generator)
    energies = []
    for c in range(data.classes):
        rows = (labels == c).nonzero().flatten()[:2000]
        energies.append(1000 * energy_distance(made[rows], true[rows]))
    return {
        "students": len(students),
        "parameters": parameter_count(students[0].net),
        "energy": sum(energies) / len(energies),
        "energy_of_class": energies,
        "histogram": histogram_distance(made, true),
        "histogram_of_data": histogram_distance(again, true),
    }


@torch.no_grad()
def latency(call: Callable[[], object], repeats: int = 20) -> float:
    """The least seconds of a call, after two that do not count: other load on the machine only adds."""
    for _ in range(2):
        call()
    taken = []
    for _ in range(repeats):
        start = time.perf_counter()
        call()
        taken.append(time.perf_counter() - start)
    return min(taken)


def latency_record(
    teacher: nn.Module, students: Sequence[nn.Module], partition: Partition, shape: Sequence[int], batch: int = 64
) -> dict:
    """Milliseconds of a batch: the teacher's Heun-18 sampler, one student, and mixed labels through the router."""
    router, own = ClassRouter(partition), generators(students)
    labels = torch.arange(batch) % partition.conditions
    z = StepNoise([0], 0, SAMPLE_STREAM).normal(batch, *shape)
    return {
        "batch": batch,
        "students": len(students),
        "parameters": parameter_count(students[0].net),
        "teacher_ms": 1000 * latency(lambda: edm_sampler(teacher, z, labels), 10),
        "student_ms": 1000 * latency(lambda: own[0](z, labels), 100),
        "routed_ms": 1000 * latency(lambda: route(own, router(labels), z, labels), 100),
    }
