from pathlib import Path

from setuptools import find_packages, setup

setup(
    name="spacemesh",
    version="0.1.0",
    description="Per-vertex vectors that decode to manifold polygon meshes, whatever their values",
    long_description=(Path(__file__).parent / "README.md").read_text(encoding="utf-8"),
    long_description_content_type="text/markdown",
    license="MIT",
    python_requires=">=3.10",
    packages=find_packages("src"),
    package_dir={"": "src"},
    package_data={"spacemesh": ["configs/*.yaml", "weights/*.safetensors"]},
    install_requires=[
        "torch>=2.4",
        "pytorch-lightning>=2.4",
        "jsonargparse[signatures]>=4.35",
        "docstring-parser>=0.16",
        "torchmetrics>=1.4",
        "diffusers>=0.30",
        "trimesh>=4.4",
        "plyfile>=1.0",
        "safetensors>=0.4",
        "numpy>=1.26",
        "scipy>=1.12",
        "matplotlib>=3.8",
        "tqdm>=4.66",
    ],
    extras_require={"test": ["pytest>=8", "hypothesis>=6.100"]},
    entry_points={"console_scripts": ["spacemesh = spacemesh.cli:main"]},
    classifiers=[
        "Programming Language :: Python :: 3",
        "Topic :: Scientific/Engineering :: Artificial Intelligence",
    ],
)
