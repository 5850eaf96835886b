"""Frozen text encoders: prompts -> token embeddings (P, T, D), padded to a fixed T."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from functools import lru_cache

import torch
from torch import Tensor


class TextEncoder:
    """Abstract. `name` identifies it in caches; encoders are no modules, so that no checkpoint holds their weights."""

    name: str
    num_tokens: int
    embed_dim: int

    def encode(self, prompts: Sequence[str]) -> Tensor:
        """Embeddings (P, T, D) on the CPU; positions without a token are zero."""
        raise NotImplementedError


class HashTokenEncoder(TextEncoder):
    """Each word is a Gaussian vector seeded by its md5: no network, no vocabulary, any word changes the embedding.

    Args:
        num_tokens: T, the most words. embed_dim: D.
    Raises:
        ValueError: one of them is below 1.
    """

    def __init__(self, num_tokens: int = 8, embed_dim: int = 32):
        if min(num_tokens, embed_dim) < 1:
            raise ValueError(f"num_tokens and embed_dim must be at least 1, got {num_tokens} and {embed_dim}")
        self.num_tokens, self.embed_dim = num_tokens, embed_dim
        self.name = f"hash-{num_tokens}-{embed_dim}"

    def encode(self, prompts: Sequence[str]) -> Tensor:
        """Embeddings (P, T, D).

        Raises:
            ValueError: a prompt without words or with more than T.
        """
        out = torch.zeros(len(prompts), self.num_tokens, self.embed_dim)
        for row, prompt in zip(out, prompts, strict=True):
            words = prompt.lower().replace(",", " ").split()
            if not 1 <= len(words) <= self.num_tokens:
                raise ValueError(
                    f"{prompt!r} has {len(words)} words, the encoder takes 1 to {self.num_tokens}: raise num_tokens"
                )
            row[: len(words)] = torch.stack([hashed(word, self.embed_dim) for word in words])
        return out


@lru_cache(maxsize=100_000)
def hashed(word: str, dim: int) -> Tensor:
    """N(0, I) of a word, the same on every machine."""
    seed = int.from_bytes(hashlib.md5(word.encode()).digest()[:8], "little") >> 1
    return torch.randn(dim, generator=torch.Generator().manual_seed(seed))


class TransformersEncoder(TextEncoder):
    """A text encoder of a diffusion model through transformers: the last hidden states, padding masked to zero.

    Args:
        path: a folder, or a hub id; with `text_encoder/` and `tokenizer/` (a diffusion model's layout), or plain.
        num_tokens: T; longer prompts are cut, as the diffusion model cuts them.
    """

    kind = ""

    def __init__(self, path: str, num_tokens: int = 77):
        from .guidance.loading import load_text_encoder  # transformers is an extra

        self.path, self.num_tokens = path, num_tokens
        self.tokenizer, self.model = load_text_encoder(path, self.kind)
        self.embed_dim = self.model.config.hidden_size if self.kind == "clip" else self.model.config.d_model
        self.name = f"{self.kind}-{path}-{num_tokens}"

    @torch.no_grad()
    def encode(self, prompts: Sequence[str]) -> Tensor:
        tokens = self.tokenizer(
            list(prompts), padding="max_length", max_length=self.num_tokens, truncation=True, return_tensors="pt"
        )
        mask = tokens.attention_mask
        states = self.model(tokens.input_ids, attention_mask=mask).last_hidden_state
        return (states * mask[..., None]).float()


class CLIPTextEncoder(TransformersEncoder):
    """Of Stable Diffusion."""

    kind = "clip"


class T5TextEncoder(TransformersEncoder):
    """Of DeepFloyd IF (T5-XXL, D = 4096)."""

    kind = "t5"
