from pathlib import Path

from setuptools import find_packages, setup

setup(
    name="multi-student-distill",
    version="0.1.0",
    description="Several one-step diffusion students, each for its part of the conditions, behind one pipeline",
    long_description=(Path(__file__).parent / "README.md").read_text(encoding="utf-8"),
    long_description_content_type="text/markdown",
    license="MIT",
    python_requires=">=3.10",
    packages=find_packages("src"),
    package_dir={"": "src"},
    package_data={"multi_student_distill": ["configs/*.yaml", "weights/**/*"]},
    install_requires=[
        "torch>=2.4",
        "pytorch-lightning>=2.4",
        "jsonargparse[signatures]>=4.35",
        "docstring-parser>=0.16",
        "torchmetrics>=1.4",
        "diffusers>=0.30",
        "safetensors>=0.4.3",
        "scikit-learn>=1.4",
        "numpy>=1.26",
        "scipy>=1.12",
        "pillow>=10.2",
        "matplotlib>=3.8",
        "tqdm>=4.66",
    ],
    extras_require={
        "test": ["pytest>=8", "hypothesis>=6.100", "lmdb>=1.4", "submitit>=1.5", "transformers>=4.40"],
        "lmdb": ["lmdb>=1.4"],
        "slurm": ["submitit>=1.5"],
        "text": ["transformers>=4.40"],
        "lpips": ["lpips>=0.1.4"],
        "fid": ["torch-fidelity>=0.3"],
    },
    entry_points={"console_scripts": ["multi-student-distill = multi_student_distill.cli:main"]},
    classifiers=[
        "Programming Language :: Python :: 3",
        "Topic :: Scientific/Engineering :: Artificial Intelligence",
    ],
)
