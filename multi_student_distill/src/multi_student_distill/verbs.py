"""Verbs for one's own runs: distil, launch, sample pairs, measure, time, export, generate, convert."""

from __future__ import annotations

from pathlib import Path

import torch
from pytorch_lightning.callbacks import ModelCheckpoint
from safetensors.torch import save_file

from . import measure
from .captions import read_captions
from .configured import quiet
from .convert_edm import edm_denoiser, read_edm_pickle
from .denoisers import load_denoiser, save_denoiser, student_path
from .edm import edm_sampler
from .experiment import Experiment
from .exporting import export, exported
from .features import FeatureNetwork, train_features
from .launch import Job, launch_all, student_command
from .metrics import frechet_distance, precision_recall
from .pairs import fingerprint, sample_pairs, write_pairs
from .partitioned import PartitionedDataModule
from .results import whole, write_json


def distill(
    configs: str,
    *,
    out: str = "runs/multi_student_distill-students",
    student: int = -1,
    every: int = 500,
    overrides: list[str] | None = None,
) -> int:
    """Train one student, or all of a config, through one or more stages; goes on where it was stopped.

    Args:
        configs: Config names or paths, with commas between the stages of a chain; each starts from the one before.
        out: Folder for students and checkpoints.
        student: Which student; all side by side if left out.
        every: Steps between checkpoints.
        overrides: Settings over the configs of all stages, such as trainer.max_steps=100.
    """
    stages, previous = configs.split(","), ""
    for number, config in enumerate(stages):
        folder = Path(out) / f"{number}_{Path(config).stem}"
        own = "all" if student < 0 else str(student)
        changed = [f"--{change}" for change in overrides or ()]
        changed += [f"--trainer.default_root_dir={folder / 'runs' / own}"]
        changed += ["--trainer.barebones=false", "--trainer.logger=false", "--trainer.enable_checkpointing=true"]
        changed += [f"--data.init_args.students=[{student}]"] * (student >= 0)
        changed += [f"--model.init_args.init={previous}"] * bool(previous)
        if not exported(folder, [max(student, 0)]):
            train(Experiment([config], changed), folder, folder / "runs" / own, every)
        previous = str(folder)
        print(f"students of {config}: {folder}")
    return 0


def train(experiment: Experiment, folder: Path, run: Path, every: int) -> None:
    """Fit from the last checkpoint, if there is one, and export; a checkpoint every so many steps, not the config's."""
    last = sorted(run.rglob("*.ckpt"), key=lambda path: path.stat().st_mtime)
    trainer = experiment.trainer([ModelCheckpoint(every_n_train_steps=every, enable_version_counter=False)])
    trainer.fit(experiment.model, experiment.data, ckpt_path=last[-1] if last else None, weights_only=True)
    if trainer.is_global_zero:
        export(experiment.model, folder)


def launch(
    configs: str,
    *,
    out: str = "runs/multi_student_distill-students",
    backend: str = "process",
    workers: int = 2,
    students: list[int] | None = None,
    overrides: list[str] | None = None,
) -> int:
    """Train every student as a job of its own; one that fails does not stop the others.

    Args:
        configs: As for `distill`.
        out: Folder for students, logs and manifest.json.
        backend: serial, process or slurm.
        workers: Jobs at a time, for process and slurm.
        students: Which students; all of the last config if left out.
        overrides: Settings over all configs, such as trainer.max_steps=100.
    """
    changed = list(overrides or ())
    data = Experiment([configs.split(",")[-1]], [f"--{change}" for change in changed]).data
    chosen = list(range(data.parts)) if students is None else students
    folder = Path(out)
    jobs = [Job(k, student_command(configs, k, folder, changed), str(folder / "logs" / f"{k}.log")) for k in chosen]
    done = launch_all(jobs, backend, workers, folder / "manifest.json")
    for job in done:
        print(f"student {job.student}: {job.status} after {job.ended - job.started:.1f} s, {job.log}")
    return int(any(job.status != "done" for job in done))


def pairs(
    teacher: str, *, out: str, count: int = 6000, steps: int = 18, seed: int = 1, config: str | None = None
) -> int:
    """Sample pairs (z, y, x) of a teacher with Heun's deterministic sampler.

    Args:
        teacher: File of the teacher, or `exact` for that of the config's data.
        out: Shard to write, NAME.safetensors.
        count: Pairs, labels in turn.
        steps: Of the sampler; each takes two evaluations, the last one.
        seed: Of the noise; shards of one folder want different ones.
        config: Names the data, for an exact teacher.
    """
    if teacher == "exact":
        data = data_of(config)
        denoiser, shape, classes = data.exact_teacher(), data.shape, data.classes
    else:
        denoiser, spec = load_denoiser(teacher)
        shape, classes = spec.shape, spec.classes
    if count < 1 or steps < 2:
        raise ValueError(f"count must be at least 1 and steps at least 2, got {count} and {steps}")
    labels = torch.arange(count) % classes
    device = "cuda" if torch.cuda.is_available() else "cpu"
    denoiser.to(device)
    z, x, nfe = sample_pairs(lambda z, y: edm_sampler(denoiser, z, y, steps), labels, shape, seed, device=device)
    write_pairs(out, z, x, labels, fingerprint(denoiser), nfe)
    print(f"{count} pairs of {nfe} evaluations each: {out}")
    return 0


def data_of(config: str | None) -> PartitionedDataModule:
    """The data of a config."""
    if not config:
        raise ValueError("name the data: --config NAME")
    return Experiment([config]).data


def evaluate(
    folder: str, *, config: str, samples: int = 5000, features: str = "trained", out: str | None = None
) -> int:
    """Fréchet distances of routed one-step samples to the data, by student and by class; precision and recall.

    Args:
        folder: Folder of student_k.safetensors.
        config: Names the data and its partition.
        samples: How many to generate, labels in turn.
        features: `trained` for a classifier trained on the data's even rows, `inception` for torchmetrics' (needs the
            extra fid, and weights that it loads), `values` for the samples themselves.
        out: File for the numbers, as JSON.
    """
    data = data_of(config)
    students = measure.loaded(Path(folder), data.partition)
    made, labels = measure.routed_samples(students, data.partition, data.shape, samples)
    real, real_labels = measure.real_samples(data, max(samples, 2000))
    extract = feature_function(features, data, real, real_labels)
    with torch.no_grad():
        found, known = extract(made), extract(real)
    precision, recall = precision_recall(known[:5000], found[:5000])
    own = []
    for k in range(data.partition.students):
        mine, theirs = (torch.isin(y, data.partition.part(k)) for y in (labels, real_labels))
        own.append(frechet_distance(found[mine], known[theirs]))
    scores = {
        "samples": samples,
        "features": features,
        "frechet": frechet_distance(found, known),
        "frechet_of_student": own,
        "frechet_of_class": class_distances(found, labels, known, real_labels),
        "precision": precision,
        "recall": recall,
    }
    if out:
        write_json(out, scores, indent=2)
    for name, value in scores.items():
        print(f"{name}: {value}")
    return 0


def class_distances(
    found: torch.Tensor, labels: torch.Tensor, known: torch.Tensor, real_labels: torch.Tensor
) -> list[float | None]:
    """The Fréchet distance within each class; None where a class has fewer than two samples or images."""
    distances: list[float | None] = []
    for c in range(int(real_labels.max()) + 1):
        mine, theirs = found[labels == c], known[real_labels == c]
        distances.append(frechet_distance(mine, theirs) if min(len(mine), len(theirs)) > 1 else None)
    return distances


def feature_function(name: str, data: PartitionedDataModule, real: torch.Tensor, labels: torch.Tensor):
    """Samples -> features (N, d)."""
    if name == "values":
        return lambda x: x.flatten(1)
    if len(data.shape) != 3:
        raise ValueError(f"features {name!r} are of images, but samples are {data.shape}; choose values")
    if name == "trained":
        network: FeatureNetwork = train_features(real[::2], labels[::2])
        return network
    if name == "inception":
        return inception_features()
    raise ValueError(f"unknown features {name!r}, choose from trained, inception, values")


def inception_features():
    """Inception's 2048 features through torchmetrics."""
    try:
        from torchmetrics.image.fid import FrechetInceptionDistance

        network = FrechetInceptionDistance(feature=2048, normalize=True).inception.eval()
    except Exception as error:  # torch-fidelity is missing, or its weights
        raise ValueError("Inception needs the extra: pip install multi-student-distill[fid]") from error
    return lambda x: torch.cat(
        [network(((p + 1) * 127.5).clamp(0, 255).byte().expand(-1, 3, -1, -1)) for p in x.split(64)]
    )


def bench(folder: str, *, config: str, teacher: str, batch: int = 64) -> int:
    """Time a batch: the teacher's sampler, one student, and mixed labels through the router.

    Args:
        folder: Folder of student_k.safetensors.
        config: Names the data and its partition.
        teacher: File of the teacher.
        batch: Its size, the same for all.
    """
    data = data_of(config)
    students = measure.loaded(Path(folder), data.partition)
    record = measure.latency_record(load_denoiser(teacher)[0], students, data.partition, data.shape, batch)
    print(f"batch {batch}, {record['students']} students of {record['parameters']:,} parameters")
    for name, words in (
        ("teacher", "Heun-18 sampler of the teacher"),
        ("student", "one student"),
        ("routed", "mixed labels, routed"),
    ):
        print(f"{record[name + '_ms']:10.2f} ms  {words}")
    return 0


def export_pipeline(folder: str, *, config: str, out: str = "runs/multi_student_distill-pipeline") -> int:
    """Write a diffusers pipeline of the students of a folder, with the router of a config's partition.

    Args:
        folder: Folder of student_k.safetensors.
        config: Names the data and its partition.
        out: Folder of the pipeline.
    """
    from diffusers import EDMEulerScheduler

    from .pipeline import ClassRouterModel, MultiStudentPipeline, StudentModel, Students

    partition = data_of(config).partition
    loaded = [load_denoiser(student_path(folder, k)) for k in range(partition.students)]
    students = Students([StudentModel.of(denoiser, spec) for denoiser, spec in loaded])
    scheduler = EDMEulerScheduler(sigma_min=0.002, sigma_max=80.0, sigma_data=loaded[0][1].sigma_data)
    MultiStudentPipeline(scheduler, ClassRouterModel.of(partition), students).save_pretrained(out)
    print(f"a pipeline of {len(students)} students: {out}")
    return 0


def generate(
    pipeline: str = "", *, labels: list[int], out: str = "runs/multi_student_distill-generate", seed: int = 0
) -> int:
    """Images of labels from a saved pipeline, one file each.

    Args:
        pipeline: Folder that `export` wrote; left out: the packaged one, five students of digits.
        labels: One an image.
        out: Folder for NUMBER_LABEL.png.
        seed: Of the noise.
    """
    from .pipeline import PACKAGED, MultiStudentPipeline

    pipeline = pipeline or str(PACKAGED)
    if not (Path(pipeline) / "model_index.json").is_file():
        raise ValueError(f"{pipeline}: no model_index.json in it; `multi-student-distill export` writes such folders")
    pipe = MultiStudentPipeline.from_pretrained(pipeline, low_cpu_mem_usage=False)  # students are small
    found = pipe(labels, generator=torch.Generator().manual_seed(seed))
    Path(out).mkdir(parents=True, exist_ok=True)
    for number, (image, label, student) in enumerate(zip(found.images, labels, found.students.tolist(), strict=True)):
        image.save(Path(out) / f"{number:03d}_{label}.png")
        print(f"{number:03d}_{label}.png by student {student}")
    return 0


def convert(pickle: str, *, out: str, diffusers: str | None = None) -> int:
    """Turn an EDM checkpoint into a teacher's file, and a UNet2DModel; its code is never run.

    Args:
        pickle: edm-*.pkl of an ADM network with labels.
        out: File for the teacher, NAME.safetensors.
        diffusers: Folder for the UNet2DModel as well.
    """
    denoiser, spec = edm_denoiser(read_edm_pickle(pickle))
    save_denoiser(out, denoiser, spec)
    if diffusers:
        denoiser.net.unet.save_pretrained(diffusers)
    print(f"{spec.network} of {spec.classes} classes, samples {spec.shape}: {out}")
    return 0


def embed(captions: str, *, model: str, out: str) -> int:
    """Pooled text embeddings of captions, by which prompts are parted in quadrants.

    Args:
        captions: One a line, or a pickled list.
        model: Folder of the Stable Diffusion model.
        out: File for them, NAME.safetensors.
    """
    from .stable_diffusion import pooled_embeddings

    quiet()
    found = pooled_embeddings(read_captions(captions), model)
    with whole(out) as temporary:
        save_file({"pooled": found.contiguous()}, temporary)
    print(f"{len(found)} embeddings of {found.shape[1]}: {out}")
    return 0
