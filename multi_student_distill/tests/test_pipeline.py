"""The pipeline: saved and loaded to the bit with students of mixed sizes; mixed batches, each student once."""

import json

import pytest
import torch
from diffusers import EDMEulerScheduler
from PIL import Image
from sklearn.datasets import load_digits
from sklearn.neighbors import KNeighborsClassifier

import multi_student_distill as msd
from multi_student_distill import PACKAGED, ClassRouter, MultiStudentPipeline, Partition
from multi_student_distill.data import DigitsData
from multi_student_distill.denoisers import DenoiserSpec
from multi_student_distill.pipeline import ClassRouterModel, StudentModel, Students

NETWORKS = ["mlp-8x1", "mlp-16x2", "unet-8-16x1"]


def student(network, seed):
    torch.manual_seed(seed)
    spec = DenoiserSpec(network, (1, 8, 8), 10, 0.5)
    denoiser = spec.build()
    for p in denoiser.parameters():
        torch.nn.init.normal_(p, std=0.1)
    return StudentModel.of(denoiser, spec)


def pipeline():
    students = Students([student(name, k) for k, name in enumerate(NETWORKS)])
    scheduler = EDMEulerScheduler(sigma_min=0.002, sigma_max=80.0, sigma_data=0.5)
    pipe = MultiStudentPipeline(scheduler, ClassRouterModel.of(Partition.contiguous(10, 3)), students)
    pipe.set_progress_bar_config(disable=True)
    return pipe


def samples(pipe, labels, seed=0):
    return pipe(labels, generator=torch.Generator().manual_seed(seed), output_type="pt").images


def test_saved_and_loaded_pipelines_agree_to_the_bit_with_students_of_mixed_sizes(tmp_path):
    pipe = pipeline()
    pipe.save_pretrained(tmp_path)
    again = MultiStudentPipeline.from_pretrained(tmp_path)
    labels = [9, 0, 4, 4, 7, 1]
    assert torch.equal(samples(pipe, labels), samples(again, labels))
    assert [type(s.denoiser.net).__name__ for s in again.students.students] == [
        "ResidualMLP",
        "ResidualMLP",
        "ImageUNet",
    ]
    index = json.loads((tmp_path / "model_index.json").read_text())
    assert index["_class_name"] == "MultiStudentPipeline"
    assert index["students"][1] == "Students" and index["router"][1] == "ClassRouterModel"
    assert (tmp_path / "students" / "student_2" / "diffusion_pytorch_model.safetensors").is_file()
    assert all(getattr(msd, name) for name in ("MultiStudentPipeline", "Students", "ClassRouterModel"))


def test_the_packaged_pipeline_is_of_the_config_digits_and_draws_what_it_is_asked_for():
    pipe, data = MultiStudentPipeline.from_pretrained(PACKAGED), DigitsData(parts=5)
    labels = torch.arange(10).repeat(20)
    assert torch.equal(pipe.router(labels), ClassRouter(data.partition)(labels)) and len(pipe.students) == 5
    drawn = pipe(labels.tolist(), generator=torch.Generator().manual_seed(0), output_type="pt").images
    digits = load_digits()
    nearest = KNeighborsClassifier(5).fit(digits.data / 16, digits.target)
    named = nearest.predict(drawn.flatten(1).numpy())
    assert (torch.from_numpy(named) == labels).float().mean() > 0.9


def test_a_mixed_batch_is_its_requests_one_by_one_and_runs_each_student_once():
    pipe = pipeline()
    labels = [9, 0, 4, 4, 7, 1]
    z = torch.randn(6, 1, 8, 8, generator=torch.Generator().manual_seed(3))
    calls = []
    for k, own in enumerate(pipe.students.students):
        own.register_forward_hook(lambda *_, k=k: calls.append(k))
    found = pipe(labels, latents=z, output_type="pt")
    assert sorted(calls) == [0, 1, 2] and found.students.tolist() == [2, 0, 1, 1, 2, 0]
    for i, label in enumerate(labels):
        alone = pipe([label], latents=z[i : i + 1], output_type="pt").images
        assert torch.allclose(alone[0], found.images[i], atol=1e-6)


def test_images_come_as_pil_arrays_and_tensors():
    pipe = pipeline()
    (image,) = pipe([3], generator=torch.Generator().manual_seed(0)).images
    assert isinstance(image, Image.Image) and image.size == (8, 8) and image.mode == "L"
    array = pipe([3], generator=torch.Generator().manual_seed(0), output_type="np").images
    assert array.shape == (1, 8, 8, 1) and array.min() >= 0 and array.max() <= 1


def test_requests_that_cannot_be_served_are_refused(tmp_path):
    pipe = pipeline()
    with pytest.raises(ValueError, match=r"labels must be in 0 \.\.\. 9, got 3 \.\.\. 10"):
        pipe([3, 10])
    with pytest.raises(ValueError, match="output_type is pil, np or pt, got 'jpg'"):
        pipe([3], output_type="jpg")
    with pytest.raises(ValueError, match=r"expected latents \(1, 1, 8, 8\), got \(2, 1, 8, 8\)"):
        pipe([3], latents=torch.zeros(2, 1, 8, 8))
    with pytest.raises(ValueError, match="the router knows 3 students, but there are 1"):
        MultiStudentPipeline(pipe.scheduler, pipe.router, Students([pipe.students[0]]))
    with pytest.raises(ValueError, match="at least one student"):
        Students([])
    with pytest.raises(ValueError, match="students are StudentModel or UNet2DConditionModel, got Linear"):
        Students([torch.nn.Linear(1, 1)])
    with pytest.raises(ValueError, match="no list of students in it"):
        Students.from_pretrained(tmp_path)
    (tmp_path / "students.json").write_text('["Trojan"]')
    with pytest.raises(ValueError, match=r"no list of students in it \(KeyError\)"):
        Students.from_pretrained(tmp_path)


def test_samples_that_are_no_images_come_as_tensors_only():
    spec = DenoiserSpec("mlp-8x1", (2,), 4, 0.5)
    scheduler = EDMEulerScheduler(sigma_min=0.002, sigma_max=80.0, sigma_data=0.5)
    router = ClassRouterModel.of(Partition.contiguous(4, 1))
    pipe = MultiStudentPipeline(scheduler, router, Students([StudentModel.of(spec.build(), spec)]))
    assert pipe([0, 3], output_type="pt").images.shape == (2, 2)
    with pytest.raises(ValueError, match="ask for pt"):
        pipe([0])
