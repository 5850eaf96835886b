"""Batches as they come: a tensor, a tuple of tensors, or an iterable of either such as a DataLoader."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import torch
from torch import Tensor


def as_batches(data: Any) -> Iterable:
    """Something that can be iterated again and again: one batch becomes a list of one, an iterator a list.

    Raises:
        ValueError: `data` is neither a batch nor an iterable of batches.
    """
    if isinstance(data, Tensor | Mapping) or (isinstance(data, tuple) and any(isinstance(x, Tensor) for x in data)):
        return [data]
    if isinstance(data, Iterator):
        return list(data)
    if not isinstance(data, Iterable) or isinstance(data, str | bytes):
        raise ValueError(f"data must be a batch or an iterable of batches, got {type(data).__name__}")
    return data


def tensors_in(batch: Any) -> Iterator[Tensor]:
    """All tensors of a nested batch, in order."""
    if isinstance(batch, Tensor):
        yield batch
    elif isinstance(batch, Mapping):
        for value in batch.values():
            yield from tensors_in(value)
    elif isinstance(batch, list | tuple):
        for value in batch:
            yield from tensors_in(value)


def rows_of(batch: Any) -> int:
    """Number of examples in a batch: the length of its first tensor.

    Raises:
        ValueError: it holds no tensor with rows.
    """
    first = next(tensors_in(batch), None)
    if first is None or first.ndim == 0 or len(first) == 0:
        raise ValueError(f"a batch needs a tensor with rows, got {type(batch).__name__}")
    return len(first)


def first_item(batch: Any) -> Any:
    """The usual input of a model: the first element of a tuple or list, or the tensor itself.

    Raises:
        ValueError: the batch has no first element, such as a dict.
    """
    if isinstance(batch, Tensor):
        return batch
    if isinstance(batch, list | tuple) and batch:
        return batch[0]
    raise ValueError(
        f"what of a {type(batch).__name__} batch does the model take? Pass inputs=, a function from a batch to the "
        "model's argument or to a tuple of them"
    )


def to_device(batch: Any, device: torch.device) -> Any:
    """The batch with every tensor on `device`; containers keep their type."""
    if isinstance(batch, Tensor):
        return batch.to(device, non_blocking=True)
    if isinstance(batch, Mapping):
        return {key: to_device(value, device) for key, value in batch.items()}
    if isinstance(batch, tuple) and hasattr(batch, "_fields"):
        return type(batch)(*(to_device(value, device) for value in batch))
    if isinstance(batch, list | tuple):
        return type(batch)(to_device(value, device) for value in batch)
    return batch
