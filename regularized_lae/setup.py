from pathlib import Path

from setuptools import find_packages, setup

setup(
    name="regularized-lae",
    version="0.1.0",
    description="Linear autoencoders that learn ordered principal components, and the rotation augmented gradient",
    long_description=(Path(__file__).parent / "README.md").read_text(encoding="utf-8"),
    long_description_content_type="text/markdown",
    license="MIT",
    python_requires=">=3.10",
    packages=find_packages("src"),
    package_dir={"": "src"},
    package_data={"regularized_lae": ["configs/*.yaml"]},
    install_requires=[
        "torch>=2.4",
        "pytorch-lightning>=2.4",
        "jsonargparse[signatures]>=4.35",
        "docstring-parser>=0.16",
        "numpy>=1.26",
        "scipy>=1.11",
        "scikit-learn>=1.6",
        "matplotlib>=3.8",
        "tqdm>=4.66",
    ],
    extras_require={"test": ["pytest>=8", "hypothesis>=6.100", "PyYAML>=6"]},
    entry_points={"console_scripts": ["regularized-lae = regularized_lae.cli:main"]},
    classifiers=[
        "Programming Language :: Python :: 3",
        "Topic :: Scientific/Engineering :: Artificial Intelligence",
    ],
)
