"""Word-level language models of the paper's WikiText-2 experiments: an LSTM and a causal Transformer."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn


class LSTMLanguageModel(nn.Module):
    """Embedding, LSTM, linear map to logits. Every window starts from a fresh (zero) state.

    Args:
        vocabulary: V.
        width: of the embedding and of the hidden state.
        layers: LSTM layers.
        dropout: on the embedding, between layers and before the last map.
        tied: the last map's weights are the embedding: one parameter.
    Raises:
        ValueError: a size below 1, or a dropout outside [0, 1).
    """

    def __init__(self, vocabulary: int, width: int = 200, layers: int = 2, dropout: float = 0.0, tied: bool = False):
        super().__init__()
        _check_sizes(vocabulary, width, layers, dropout)
        self.embedding, self.to_logits = _word_maps(vocabulary, width, tied)
        between = dropout if layers > 1 else 0.0  # nn.LSTM warns of a dropout that has nowhere to be
        self.lstm = nn.LSTM(width, width, layers, batch_first=True, dropout=between)
        self.dropout = nn.Dropout(dropout)

    def forward(self, words: Tensor) -> Tensor:
        """Logits of each next word: (B, T), int64 -> (B, T, V)."""
        hidden, _ = self.lstm(self.dropout(self.embedding(words)))  # (B, T, width)
        return self.to_logits(self.dropout(hidden))


class TransformerLanguageModel(nn.Module):
    """Embedding plus sinusoidal positions, causal Transformer layers, linear map to logits. Every window stands alone.

    Args:
        vocabulary: V.
        width: of the embedding and of all layers, their feed-forward part too.
        layers: encoder layers (normalised after each part, as first published).
        heads: attention heads; they share the width evenly.
        dropout: on the embedding and in the layers.
        tied: the last map's weights are the embedding: one parameter.
        context: the longest window.
    Raises:
        ValueError: a size below 1, a width that is odd or does not divide into heads, or a dropout outside [0, 1).
    """

    def __init__(
        self,
        vocabulary: int,
        width: int = 200,
        layers: int = 2,
        heads: int = 2,
        dropout: float = 0.0,
        tied: bool = False,
        context: int = 256,
    ):
        super().__init__()
        _check_sizes(vocabulary, width, layers, dropout)
        if heads < 1 or context < 1 or width % heads or width % 2:
            raise ValueError(
                f"width must be even and a multiple of heads, heads and context >= 1; got {width}, {heads}, {context}"
            )
        self.embedding, self.to_logits = _word_maps(vocabulary, width, tied)
        self.register_buffer("positions", sinusoids(context, width), persistent=False)
        layer = nn.TransformerEncoderLayer(width, heads, dim_feedforward=width, dropout=dropout, batch_first=True)
        self.encoder = nn.TransformerEncoder(layer, layers, enable_nested_tensor=False)
        for copied in self.encoder.parameters():  # the layers are copies of one: draw each its own weights
            if copied.ndim > 1:
                nn.init.xavier_uniform_(copied)
        self.dropout = nn.Dropout(dropout)

    def forward(self, words: Tensor) -> Tensor:
        """Logits of each next word: (B, T), int64 -> (B, T, V).

        Raises:
            ValueError: T is longer than the context.
        """
        length, context = words.shape[1], len(self.positions)
        if length > context:
            raise ValueError(f"a window of {length} words is longer than the context of {context}")
        scale = math.sqrt(self.positions.shape[1])
        hidden = self.dropout(self.embedding(words) * scale + self.positions[:length])  # (B, T, width)
        future = torch.ones(length, length, dtype=torch.bool, device=words.device).triu(1)
        return self.to_logits(self.encoder(hidden, mask=future))


def sinusoids(context: int, width: int) -> Tensor:
    """Position t as sin(t ω_i) in the first half and cos(t ω_i) in the second, ω_i = 10⁴ ^ (-2i / width).

    Returns:
        Shape (context, width), width even.
    """
    frequency = torch.exp(torch.arange(0, width, 2) * (-math.log(1e4) / width))  # (width/2,)
    angle = torch.arange(context)[:, None] * frequency  # (context, width/2)
    return torch.cat([angle.sin(), angle.cos()], dim=1)


def _word_maps(vocabulary: int, width: int, tied: bool) -> tuple[nn.Embedding, nn.Linear]:
    """From words to vectors and from vectors to logits; weights uniform in ±0.1, biases 0."""
    embedding, to_logits = nn.Embedding(vocabulary, width), nn.Linear(width, vocabulary)
    nn.init.uniform_(embedding.weight, -0.1, 0.1)
    nn.init.uniform_(to_logits.weight, -0.1, 0.1)
    nn.init.zeros_(to_logits.bias)
    if tied:
        to_logits.weight = embedding.weight
    return embedding, to_logits


def _check_sizes(vocabulary: int, width: int, layers: int, dropout: float) -> None:
    if min(vocabulary, width, layers) < 1 or not 0 <= dropout < 1:
        raise ValueError(
            "vocabulary, width and layers must be >= 1 and dropout in [0, 1), "
            f"got {vocabulary}, {width}, {layers}, {dropout}"
        )
