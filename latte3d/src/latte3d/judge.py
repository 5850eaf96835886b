"""An image network that names what it sees, to tell whether a render shows what its prompt asked for.

It is trained on true renders of all kinds of shapes, and never takes part in training a generator.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from .shapes import ATTACHMENTS, BODIES, COLORS, PATTERNS, PROPORTION_WORDS
from .text import words_of

ATTRIBUTES: dict[str, tuple[str, ...]] = {
    "body": tuple(BODIES),
    "proportion": tuple(PROPORTION_WORDS),
    "attachment": ATTACHMENTS,
    "color": tuple(COLORS),
    "second": tuple(COLORS),
    "pattern": PATTERNS,
}
UNTOLD = -1  # of an attribute that a prompt says nothing of


def attributes_of(prompt: str) -> list[int]:
    """The number of each attribute's word in a procedural caption, `UNTOLD` for the second colour of a lone body."""
    words = words_of(prompt)
    body, _, attached = " ".join(words).partition(" with a ")
    alone = body.split()
    known = {word: name for name, synonym in BODIES.items() for word in (name, synonym)}
    proportions = {word: name for name, said in PROPORTION_WORDS.items() for word in said if word}
    found = {
        "body": next(known[word] for word in alone if word in known),
        "proportion": next((proportions[word] for word in alone if word in proportions), "plain"),
        "attachment": next((name for name in ATTACHMENTS if name.split()[-1] in attached.split()), "none"),
        "color": next(word for word in alone if word in COLORS),
        "second": next((word for word in attached.split() if word in COLORS), None),
        "pattern": next((word for word in alone if word in PATTERNS[1:]), "plain"),
    }
    return [UNTOLD if found[name] is None else known.index(found[name]) for name, known in ATTRIBUTES.items()]


class AttributeJudge(nn.Module):
    """Images (N, S, S, 3) in [0, 1] to log-probabilities of each attribute's words, a tuple of (N, K)."""

    def __init__(self, widths: Sequence[int] = (16, 32, 48, 64)):
        super().__init__()
        layers, inputs = [], 3
        for width in widths:
            layers += [nn.Conv2d(inputs, width, 3, stride=2, padding=1), nn.GroupNorm(8, width), nn.SiLU()]
            inputs = width
        self.features = nn.Sequential(*layers, nn.Conv2d(inputs, inputs, 3, padding=1), nn.SiLU())
        self.hidden = nn.Linear(2 * inputs, 128)
        self.names = nn.Linear(128, sum(len(known) for known in ATTRIBUTES.values()))

    def forward(self, images: Tensor) -> tuple[Tensor, ...]:
        found = self.features(images.movedim(-1, 1) * 2 - 1)
        pooled = torch.cat([found.mean((2, 3)), found.amax((2, 3))], 1)
        scores = self.names(F.silu(self.hidden(pooled)))
        return tuple(part.log_softmax(-1) for part in scores.split([len(known) for known in ATTRIBUTES.values()], 1))


def judge_loss(told: Sequence[Tensor], attributes: Tensor) -> Tensor:
    """Mean negative log-probability of the attributes (N, 6) that are told."""
    losses = [F.nll_loss(part, wanted, ignore_index=UNTOLD) for part, wanted in zip(told, attributes.T, strict=True)]
    return torch.stack([loss for loss in losses if torch.isfinite(loss)]).mean()


def agreement(told: Sequence[Tensor], attributes: Tensor, views: int) -> Tensor:
    """How well each object (N / views) fits each prompt: mean over views of its attributes' summed log-probability.

    attributes: (P, 6), of the prompts. A prompt that tells less is asked less; it is given the mean of what it leaves
    out, so that it is not preferred for that.
    """
    total = told[0].new_zeros(len(told[0]) // views, len(attributes))
    for part, wanted in zip(told, attributes.T, strict=True):
        seen = part.unflatten(0, (-1, views)).mean(1)  # (N, K)
        expected = (seen * seen.exp()).sum(-1, keepdim=True)
        total += torch.where(wanted == UNTOLD, expected, seen[:, wanted.clamp(min=0)])
    return total
