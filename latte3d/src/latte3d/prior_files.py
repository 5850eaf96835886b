"""Small priors on disk: half-precision weights with what rebuilds them, in one safetensors file."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open
from safetensors.torch import save_file

from .priors import DepthDiffusionPrior, MultiViewDiffusionPrior, SmallPrior
from .results import whole
from .text import WordEncoder

PACKAGED = Path(__file__).parent / "weights"
KINDS = {kind.__name__: kind for kind in (MultiViewDiffusionPrior, DepthDiffusionPrior)}


def recipe_hash(recipe: Mapping[str, Any]) -> str:
    """Sixteen digits that change with any setting that decides a trained prior."""
    return hashlib.sha256(json.dumps(recipe, sort_keys=True).encode()).hexdigest()[:16]


def write_prior(
    prior: SmallPrior, settings: dict, words: Sequence[str], path: str | Path, recipe: Mapping[str, Any] | None = None
) -> Path:
    """Write a prior by way of a temporary name.

    Args:
        settings: the arguments that it was made with. words: the vocabulary that it was trained with.
        recipe: all that decided its weights; its hash is kept beside them.
    """
    about = {"kind": type(prior).__name__, "settings": json.dumps(settings), "words": json.dumps(list(words))}
    about["recipe"] = recipe_hash(recipe or {})
    state = {name: value.half().contiguous() for name, value in prior.unet.state_dict().items()}
    with whole(path) as temporary:
        save_file(state, temporary, metadata=about)
    return Path(path)


def packaged_recipe(name: str) -> str:
    """The hash of the recipe by which a packaged prior was trained."""
    with safe_open(PACKAGED / f"{name}.safetensors", framework="pt") as content:
        return content.metadata()["recipe"]


def prior_path(name: str | Path) -> Path:
    """The file of a packaged prior by name, or any other.

    Raises:
        ValueError: neither exists, which lists the packaged ones.
    """
    packaged = {path.stem: path for path in sorted(PACKAGED.glob("*.safetensors"))}
    path = packaged.get(str(name), Path(name))
    if not path.is_file():
        known = ", ".join(packaged) or "none"
        raise ValueError(f"no prior {str(name)!r}: it is neither a file nor one of the packaged ones ({known})")
    return path


def read_prior(name: str | Path) -> SmallPrior:
    """A packaged prior by name, or any that `write_prior` wrote; `.text` encodes prompts as in its training.

    Raises:
        ValueError: neither exists, or the file is no prior of ours.
    """
    path = prior_path(name)
    try:
        with safe_open(path, framework="pt") as content:
            about = content.metadata()
            names = content.keys()
            state = {name: content.get_tensor(name).float() for name in names}
        settings, words = json.loads(about["settings"]), json.loads(about["words"])
        with torch.random.fork_rng(devices=[]):  # weights that are replaced at once: no caller's draw is spent on them
            prior = KINDS[about["kind"]](**settings)
        prior.unet.load_state_dict(state)
        prior.text = WordEncoder(words, prior.text_width, prior.text_length)
    except Exception as error:  # a foreign file may fail in any of these
        raise ValueError(f"{path} is no prior of this project: {type(error).__name__}: {error}") from error
    return prior
