"""A cache of prompt embeddings, in memory and, given a folder, in safetensors files."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Sequence
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from .text import TextEncoder


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
            self._known[key] = load_file(path)["embedding"]
        return key in self._known

    def _keep(self, prompt: str, suffix: str, embedding: Tensor) -> None:
        self._known[self.key(prompt, suffix)] = embedding
        if self.folder:
            path = self.path(prompt, suffix)
            path.parent.mkdir(parents=True, exist_ok=True)
            temporary = path.with_suffix(f".{os.getpid()}.tmp")
            save_file({"embedding": embedding}, temporary)
            os.replace(temporary, path)
