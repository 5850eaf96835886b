from pathlib import Path

from setuptools import find_packages, setup

setup(
    name="latte3d",
    version="0.1.0",
    description="From a prompt to a textured mesh in one forward pass: amortised geometry and texture, 3D-aware priors",
    long_description=(Path(__file__).parent / "README.md").read_text(encoding="utf-8"),
    long_description_content_type="text/markdown",
    license="MIT",
    python_requires=">=3.10",
    packages=find_packages("src"),
    package_dir={"": "src"},
    package_data={"latte3d": ["configs/*.yaml", "weights/*.safetensors"]},
    install_requires=[
        "torch>=2.4",
        "pytorch-lightning>=2.4",
        "jsonargparse[signatures]>=4.35",
        "docstring-parser>=0.16",
        "torchmetrics>=1.4",
        "diffusers>=0.30",
        "huggingface-hub>=0.24",
        "trimesh>=4.4",
        "pillow>=10",
        "safetensors>=0.4",
        "numpy>=1.26",
        "scipy>=1.12",
        "matplotlib>=3.8",
        "tqdm>=4.66",
    ],
    extras_require={
        "bake": ["xatlas>=0.0.9"],
        "clip": ["transformers>=4.40"],
        "cuda": ["nvdiffrast"],  # not on the package index: see its own instructions
        "test": [
            "pytest>=8",
            "hypothesis>=6.100",
            "PyYAML>=6",
            "transformers>=4.40",
            "xatlas>=0.0.9",
            "scikit-image>=0.22",  # the benchmarks'
            "rtree>=1.2",  # trimesh's ray casting, of the benchmarks
        ],
    },
    entry_points={"console_scripts": ["latte3d = latte3d.cli:main"]},
    classifiers=[
        "Programming Language :: Python :: 3",
        "Topic :: Scientific/Engineering :: Artificial Intelligence",
    ],
)
