from pathlib import Path

from setuptools import find_packages, setup

setup(
    name="graph-metanetworks",
    version="0.1.0",
    description="Graph metanetworks: any network in as a graph of its parameters, its exact symmetries kept",
    long_description=(Path(__file__).parent / "README.md").read_text(encoding="utf-8"),
    long_description_content_type="text/markdown",
    license="MIT",
    python_requires=">=3.10",
    packages=find_packages("src"),
    package_dir={"": "src"},
    package_data={"graph_metanetworks": ["configs/*.yaml"]},
    install_requires=[
        "torch>=2.4",
        "pytorch-lightning>=2.4",
        "jsonargparse[signatures]>=4.35",
        "docstring-parser>=0.16",
        "igraph>=0.11",
        "networkx>=3.2",
        "safetensors>=0.4",
        "numpy>=1.26",
        "scipy>=1.11",
        "scikit-learn>=1.6",
        "scikit-image>=0.22",
        "matplotlib>=3.8",
        "pillow>=10",
        "tqdm>=4.66",
    ],
    extras_require={
        "test": ["pytest>=8", "hypothesis>=6.100", "PyYAML>=6", "torch_geometric>=2.5"],
        "pyg": ["torch_geometric>=2.5"],
        "compiled": ["torch-scatter>=2.1"],
    },
    entry_points={"console_scripts": ["graph-metanetworks = graph_metanetworks.cli:main"]},
    classifiers=[
        "Programming Language :: Python :: 3",
        "Topic :: Scientific/Engineering :: Artificial Intelligence",
    ],
)
