"""Prompts to tokens: frozen random word vectors that need no download. CLIP's encoder is in pretrained.py."""

from __future__ import annotations

import difflib
import re
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from .networks import Text


def words_of(prompt: str) -> list[str]:
    """Its words in lower case."""
    return re.findall(r"[a-z0-9]+", prompt.lower())


class WordEncoder(nn.Module):
    """Each word of a vocabulary has a frozen random vector, to which that of its position is added.

    Args:
        vocabulary: the words that are known. width: of the vectors. length: words a prompt may have.
        seed: of the vectors.
    """

    def __init__(self, vocabulary: Sequence[str], width: int = 32, length: int = 12, seed: int = 0):
        super().__init__()
        self.vocabulary = {word: i for i, word in enumerate(dict.fromkeys(vocabulary))}
        self.length, self.width = length, width
        generator = torch.Generator().manual_seed(seed)
        self.register_buffer("vectors", torch.randn(len(self.vocabulary), width, generator=generator))
        self.register_buffer("positions", 0.5 * torch.randn(length, width, generator=generator))

    def forward(self, prompts: Sequence[str]) -> Text:
        """Tokens (B, length, width).

        Raises:
            ValueError: a prompt without words, with too many, or with one that is not in the vocabulary.
        """
        tokens = self.vectors.new_zeros(len(prompts), self.length, self.width)
        mask = torch.zeros(len(prompts), self.length, dtype=torch.bool, device=tokens.device)
        for row, prompt in enumerate(prompts):
            indices = self._indices(prompt)
            tokens[row, : len(indices)] = self.vectors[indices] + self.positions[: len(indices)]
            mask[row, : len(indices)] = True
        return Text(tokens, mask)

    def mean(self, prompts: Sequence[str]) -> Tensor:
        """The mean word vector of each prompt, (B, width), for comparing captions."""
        return torch.stack([self.vectors[self._indices(prompt)].mean(0) for prompt in prompts])

    def _indices(self, prompt: str) -> Tensor:
        words = words_of(prompt)
        if not 0 < len(words) <= self.length:
            raise ValueError(f"expected 1 to {self.length} words, got {len(words)} in {prompt!r}")
        for word in words:
            if word not in self.vocabulary:
                near = difflib.get_close_matches(word, self.vocabulary, 3) or sorted(self.vocabulary)[:8]
                raise ValueError(
                    f"the word {word!r} of {prompt!r} is unknown to this model; near it: {', '.join(near)}"
                )
        return torch.tensor([self.vocabulary[word] for word in words], device=self.vectors.device)
