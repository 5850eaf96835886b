from pathlib import Path

from setuptools import find_packages, setup

setup(
    name="forecasting-model-search",
    version="0.1.0",
    description="Hyperparameter optimisation that reads the checkpoints: deep-kernel GPs on curves and weights",
    long_description=(Path(__file__).parent / "README.md").read_text(encoding="utf-8"),
    long_description_content_type="text/markdown",
    license="MIT",
    python_requires=">=3.10",
    packages=find_packages("src"),
    package_dir={"": "src"},
    package_data={"forecasting_model_search": ["configs/*.yaml"]},
    install_requires=[
        "torch>=2.4",
        "pytorch-lightning>=2.4",
        "jsonargparse[signatures]>=4.35",
        "docstring-parser>=0.16",
        "gpytorch>=1.13",
        "optuna>=4.2",
        "numpy>=1.26",
        "pandas>=2.2",
        "scipy>=1.12",
        "scikit-learn>=1.6",
        "safetensors>=0.4",
        "matplotlib>=3.8",
        "tqdm>=4.66",
    ],
    extras_require={
        "test": ["pytest>=8", "ray[tune]>=2.40"],
        "ray": ["ray[tune]>=2.40"],
        "postgresql": ["psycopg2-binary>=2.9"],
    },
    entry_points={"console_scripts": ["forecasting-model-search = forecasting_model_search.cli:main"]},
    classifiers=[
        "Programming Language :: Python :: 3",
        "Topic :: Scientific/Engineering :: Artificial Intelligence",
    ],
)
