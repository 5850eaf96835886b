from pathlib import Path

from setuptools import find_packages, setup

setup(
    name="att3d",
    version="0.1.0",
    description="One network from text to 3-D scenes, trained on many prompts at once by score distillation",
    long_description=(Path(__file__).parent / "README.md").read_text(encoding="utf-8"),
    long_description_content_type="text/markdown",
    license="MIT",
    python_requires=">=3.10",
    packages=find_packages("src"),
    package_dir={"": "src"},
    package_data={"att3d": ["configs/*.yaml", "prompt_sets/*.yaml", "weights/*.safetensors"]},
    install_requires=[
        "torch>=2.4",
        "pytorch-lightning>=2.4",
        "jsonargparse[signatures]>=4.35",
        "docstring-parser>=0.16",
        "torchmetrics>=1.4",
        "nerfacc>=0.5.3,<0.6",
        "diffusers>=0.30",
        "safetensors>=0.4",
        "trimesh>=4.4",
        "scikit-image>=0.24",
        "numpy>=1.26",
        "matplotlib>=3.8",
        "pillow>=10",
        "pyyaml>=6",
        "tqdm>=4.66",
    ],
    extras_require={
        "text": ["transformers>=4.44", "sentencepiece>=0.2"],
        "test": ["pytest>=8", "hypothesis>=6.100", "transformers>=4.44", "sentencepiece>=0.2", "tokenizers>=0.19"],
    },
    entry_points={"console_scripts": ["att3d = att3d.cli:main"]},
    classifiers=[
        "Programming Language :: Python :: 3",
        "Topic :: Scientific/Engineering :: Artificial Intelligence",
    ],
)
