"""Prompt sets: factor files with a held-out rule (YAML), prompt libraries (JSON), and plain lines of text."""

from __future__ import annotations

import json
import random
import string
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import Any

import yaml

SETS = Path(__file__).parent / "prompt_sets"


@dataclass(frozen=True)
class PromptLibrary:
    """Prompts to train on, and those that are held out: `unseen` never enters 3-D training."""

    name: str
    train: tuple[str, ...]
    unseen: tuple[str, ...] = ()

    @property
    def prompts(self) -> tuple[str, ...]:
        """All, the candidates of retrieval."""
        return tuple(dict.fromkeys([*self.train, *self.unseen]))


def read_prompts(source: str, train_share: float | None = None, split_seed: int = 0) -> PromptLibrary:
    """The library of a packaged set by name, or of a file .yaml, .json or .txt.

    Args:
        train_share: train on a seeded part of all prompts instead of by the file's own rule.
    Raises:
        FileNotFoundError: neither a packaged set nor a file. ValueError: a malformed file, by name.
    """
    packaged = {path.stem: path for path in sorted(SETS.glob("*.yaml"))}
    path = packaged.get(source, Path(source))
    if not path.is_file():
        raise FileNotFoundError(f"{source}: no such file, and none of the packaged sets {', '.join(packaged)}")
    readers = {".yaml": read_factors, ".yml": read_factors, ".json": read_library, ".txt": read_lines}
    if path.suffix not in readers:
        raise ValueError(f"{path}: expected .yaml (factors), .json (library) or .txt (lines)")
    library = readers[path.suffix](path)
    if train_share is None:
        return library
    return by_fraction(path, library.prompts, {"train": train_share, "seed": split_seed})


def text_of(path: Path) -> str:
    """Raises ValueError: the file is not UTF-8 text."""
    try:
        return path.read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise ValueError(f"{path}: not UTF-8 text ({error.reason} at byte {error.start})") from error


def read_lines(path: Path) -> PromptLibrary:
    """One prompt a line, all to train on; empty lines are skipped."""
    lines = [line.strip() for line in text_of(path).splitlines()]
    return PromptLibrary(path.stem, checked(path, [line for line in lines if line], "lines"))


def read_library(path: Path) -> PromptLibrary:
    """{"train": [...], "val": [...], "test": [...]}, or {NAME: [...]} with one list to train on.

    Raises:
        ValueError: not UTF-8, not JSON, other keys, or a list that `checked` refuses.
    """
    try:
        content = json.loads(text_of(path))
    except (json.JSONDecodeError, RecursionError) as error:
        raise ValueError(f"{path}: not JSON ({error})") from error
    if not isinstance(content, dict) or not content:
        raise ValueError(f'{path}: expected an object such as {{"train": [...], "test": [...]}}')
    if "train" not in content:
        if len(content) != 1:
            raise ValueError(f"{path}: expected train, val and test, or a single list, got {', '.join(content)}")
        ((name, prompts),) = content.items()
        return PromptLibrary(name, checked(path, prompts, name))
    if unknown := set(content) - {"train", "val", "test"}:
        raise ValueError(f"{path}: unknown key {sorted(unknown)[0]!r}, choose from train, val, test")
    train = checked(path, content["train"], "train")
    held = [*checked(path, content.get("val", []), "val", True), *checked(path, content.get("test", []), "test", True)]
    overlap = set(train) & set(held)
    if overlap:
        warnings.warn(
            f"{path}: {len(overlap)} held-out prompts are also trained on and do not count as unseen", stacklevel=2
        )
    unseen = tuple(dict.fromkeys(prompt for prompt in held if prompt not in set(train)))
    return PromptLibrary(path.stem, train, unseen)


def checked(path: Path, prompts: Any, key: str, empty: bool = False) -> tuple[str, ...]:
    """The prompts without duplicates, which warn.

    Raises:
        ValueError: not a list of strings, a blank one, or none at all.
    """
    if not isinstance(prompts, list):
        raise ValueError(f"{path}: {key} must be a list of prompts, got {type(prompts).__name__}")
    for number, prompt in enumerate(prompts):
        if not isinstance(prompt, str) or not prompt.strip():
            raise ValueError(f"{path}: {key}[{number}] must be a prompt, got {prompt!r}")
    if not prompts and not empty:
        raise ValueError(f"{path}: {key} holds no prompt")
    once = tuple(dict.fromkeys(prompts))
    if len(once) < len(prompts):
        warnings.warn(f"{path}: {key} repeats {len(prompts) - len(once)} prompts", stacklevel=3)
    return once


# factor files


def read_factors(path: Path) -> PromptLibrary:
    """template: a string with {factor} fields; factors: {factor: [words]}; holdout: {rule: ..., ...}.

    Raises:
        ValueError: not UTF-8, not YAML, a template that the factors do not fill, or a rule that leaves nothing.
    """
    try:
        content = yaml.safe_load(text_of(path))
    except (yaml.YAMLError, TypeError, OverflowError, RecursionError) as error:
        raise ValueError(f"{path}: not YAML ({str(error).partition(chr(10))[0]})") from error
    if not isinstance(content, dict) or not {"template", "factors"} <= set(content) <= {
        "template", "factors", "holdout"
    }:  # fmt: skip
        raise ValueError(f"{path}: expected template, factors and perhaps holdout")
    template, factors = content["template"], content["factors"]
    if not isinstance(template, str) or not isinstance(factors, dict) or not all(isinstance(f, str) for f in factors):
        raise ValueError(f"{path}: expected text under template, and lists by names under factors")
    try:
        fields = [field for _, field, _, _ in string.Formatter().parse(template) if field is not None]
    except ValueError as error:
        raise ValueError(f"{path}: {template!r:.60} is no template ({error})") from error
    if set(fields) != set(factors) or not all(field.isidentifier() for field in fields):
        raise ValueError(f"{path}: template has the fields {', '.join(fields)}, factors give {', '.join(factors)}")
    lists = [checked(path, factors[name], name) for name in factors]
    places = list(product(*(range(len(words)) for words in lists)))
    try:
        prompts = [
            template.format(**{name: words[i] for name, words, i in zip(factors, lists, place, strict=True)})
            for place in places
        ]
    except (ValueError, LookupError, AttributeError) as error:
        raise ValueError(f"{path}: {template!r:.60} cannot be filled with the factors ({error})") from error
    rule = content.get("holdout") or {"rule": "none"}
    name = rule.get("rule") if isinstance(rule, dict) else rule
    if not isinstance(name, str) or name not in HOLDOUTS:
        raise ValueError(f"{path}: unknown holdout rule {name!r}, choose from {', '.join(HOLDOUTS)}")
    try:
        return HOLDOUTS[name](path, prompts, rule | {"places": places})
    except (TypeError, ArithmeticError) as error:
        raise ValueError(f"{path}: the holdout rule {name} cannot take {rule} ({error})") from error


def split(path: Path, prompts: Sequence[str], held: Sequence[bool]) -> PromptLibrary:
    """Raises ValueError: all are held out."""
    train = tuple(prompt for prompt, out in zip(prompts, held, strict=True) if not out)
    if not train:
        raise ValueError(f"{path}: the holdout rule leaves no prompt to train on")
    return PromptLibrary(path.stem, train, tuple(p for p, out in zip(prompts, held, strict=True) if out))


def by_none(path: Path, prompts: Sequence[str], rule: Mapping) -> PromptLibrary:
    return split(path, prompts, [False] * len(prompts))


def by_latin(path: Path, prompts: Sequence[str], rule: Mapping) -> PromptLibrary:
    """Held out where the indices sum to `remainder` modulo `modulus`: every pair of values stays in training."""
    modulus, remainder = rule.get("modulus", 3), rule.get("remainder", 0)
    return split(path, prompts, [sum(place) % modulus == remainder for place in rule["places"]])


def by_diagonal(path: Path, prompts: Sequence[str], rule: Mapping) -> PromptLibrary:
    """Held out where all factors have the same index."""
    return split(path, prompts, [len(set(place)) == 1 for place in rule["places"]])


def by_fraction(path: Path, prompts: Sequence[str], rule: Mapping) -> PromptLibrary:
    """Trained on a seeded part `train` of all; smaller parts of one seed are within the larger ones.

    Raises:
        ValueError: a part that is none.
    """
    share, seed = rule.get("train", 0.5), rule.get("seed", 0)
    if not 0 < share <= 1:
        raise ValueError(f"{path}: the part to train on must be in (0, 1], got {share}")
    order = list(range(len(prompts)))
    random.Random(seed).shuffle(order)
    chosen = set(order[: max(1, round(share * len(prompts)))])
    return split(path, prompts, [number not in chosen for number in range(len(prompts))])


def by_list(path: Path, prompts: Sequence[str], rule: Mapping) -> PromptLibrary:
    """Held out are the named `prompts`.

    Raises:
        ValueError: one that the factors do not make.
    """
    named = rule.get("prompts", [])
    if unknown := [prompt for prompt in named if prompt not in prompts]:
        raise ValueError(f"{path}: held-out prompt {unknown[0]!r} is none of the {len(prompts)} that the factors make")
    return split(path, prompts, [prompt in named for prompt in prompts])


HOLDOUTS = {"none": by_none, "latin": by_latin, "diagonal": by_diagonal, "fraction": by_fraction, "explicit": by_list}
