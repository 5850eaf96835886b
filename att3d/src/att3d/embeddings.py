"""A cache of prompt embeddings, in memory and, given a folder, in safetensors files."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from .results import whole
from .text import TextEncoder


def read_embedding(path: Path) -> Tensor:
    """The embedding (T, D) in a file.

    Raises:
        ValueError: it holds none, or one that is not finite.
    """
    try:
        found = load_file(path)["embedding"]
    except Exception as error:  # safetensors raises what the header brings about
        raise ValueError(f"{path}: not the embedding of a prompt ({error}); remove it, it is made anew") from error
    if found.ndim != 2 or not found.is_floating_point() or not bool(found.isfinite().all()):
        raise ValueError(f"{path}: expected a finite embedding (T, D), got {tuple(found.shape)}; remove it")
    return found


class EmbeddingCache:
    """Embeddings (P, T, D) of prompts, each encoded once.

    Args:
        encoder: who encodes. folder: where files stay, none if empty.
    """

    def __init__(self, encoder: TextEncoder, folder: str = ""):
        self.encoder, self.folder = encoder, folder
        self._known: dict[str, Tensor] = {}

    def key(self, prompt: str, suffix: str = "") -> str:
        """sha256 of encoder, prompt and suffix."""
        return hashlib.sha256("\0".join([self.encoder.name, prompt, suffix]).encode()).hexdigest()

    def path(self, prompt: str, suffix: str = "") -> Path:
        return Path(self.folder) / f"{self.key(prompt, suffix)}.safetensors"

    def __call__(self, prompts: Sequence[str], suffixes: Sequence[str] | None = None) -> Tensor:
        """Embeddings (P, T, D) of prompts, each followed by its suffix."""
        parts = list(zip(prompts, suffixes or [""] * len(prompts), strict=True))
        if missing := [part for part in dict.fromkeys(parts) if not self._find(*part)]:
            for part, embedding in zip(missing, self.encoder.encode([p + s for p, s in missing]), strict=True):
                self._keep(*part, embedding.contiguous().clone())
        return torch.stack([self._known[self.key(*part)] for part in parts])

    def _find(self, prompt: str, suffix: str) -> bool:
        key = self.key(prompt, suffix)
        if key not in self._known and self.folder and (path := self.path(prompt, suffix)).is_file():
            self._known[key] = read_embedding(path)
        return key in self._known

    def _keep(self, prompt: str, suffix: str, embedding: Tensor) -> None:
        self._known[self.key(prompt, suffix)] = embedding
        if self.folder:
            with whole(self.path(prompt, suffix)) as temporary:
                save_file({"embedding": embedding}, temporary)
