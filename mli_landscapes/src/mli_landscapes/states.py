"""What a path runs between: the parameters of two networks that have the same names and shapes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn

Endpoint = nn.Module | Mapping[str, Tensor]
SHOWN = 4  # names in an error message


def parameters_of(endpoint: Endpoint, model: nn.Module | None = None) -> dict[str, Tensor]:
    """Parameters by name, without buffers; tied weights once.

    Args:
        endpoint: a module, a state dict, or a checkpoint that holds one under `state_dict`.
        model: tells parameters from buffers in a state dict. Its names may stand there under one common prefix, as
            those of a network inside a LightningModule do.
    Returns:
        Detached tensors that share memory with `endpoint`.
    Raises:
        ValueError: no parameters, or not those of `model`: see `those_of`.
    """
    if isinstance(endpoint, nn.Module) and model is None:
        return checked({name: p.detach() for name, p in endpoint.named_parameters()}, "the module")
    if isinstance(endpoint, nn.Module):
        state = dict(endpoint.named_parameters(remove_duplicate=False))
    else:
        state = endpoint.get("state_dict", endpoint) if isinstance(endpoint, Mapping) else endpoint
    if not isinstance(state, Mapping) or not all(isinstance(value, Tensor) for value in state.values()):
        raise ValueError("expected a module or a state dict of tensors; hand over model.state_dict() or its parameters")
    if model is None:
        return checked({name: value.detach() for name, value in state.items()}, "the state dict")
    return checked(those_of(model, state), "the model")


def those_of(model: nn.Module, state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The parameters of `model` in a state dict, under the model's names.

    Raises:
        ValueError: some are missing or of another shape, or there are others among them; the message names some.
    """
    shapes = {name: p.shape for name, p in model.named_parameters()}
    if not shapes:
        return {}
    prefix = common_prefix(list(shapes), list(state))
    known = {prefix + name for name in model.state_dict()}
    foreign = [name for name in state if name.startswith(prefix) and name not in known]
    if foreign:
        raise ValueError(f"different architectures: the model has no {some(foreign)}")
    found = {name: state[prefix + name].detach() for name in shapes}
    for name, value in found.items():
        if value.shape != shapes[name]:
            raise ValueError(
                f"different architectures: {name} is {tuple(value.shape)}, in the model {tuple(shapes[name])}"
            )
    return found


def checked(state: dict[str, Tensor], owner: str) -> dict[str, Tensor]:
    """The floating tensors of a state.

    Raises:
        ValueError: there are none.
    """
    floating = {name: value for name, value in state.items() if value.is_floating_point()}
    if not floating:
        raise ValueError(f"{owner} has no floating-point parameters to interpolate")
    return floating


def common_prefix(names: Sequence[str], available: Sequence[str]) -> str:
    """The one prefix with which all `names` are among `available`.

    Raises:
        ValueError: there is none, and the message lists names that are missing; or there are several.
    """
    known = set(available)
    prefixes = {key[: -len(names[0])] for key in available if f".{key}".endswith(f".{names[0]}")}
    fitting = [p for p in sorted(sorted(prefixes), key=len) if all(p + name in known for name in names)]
    if not fitting:
        missing = [name for name in names if name not in known]
        raise ValueError(
            f"an end point lacks {some(missing)} of the model; it holds {some(list(available))}: "
            "is it of another architecture?"
        )
    if fitting[0] and len(fitting) > 1:
        raise ValueError(f"several networks of the model's architecture, under {some(fitting)}: hand over one of them")
    return fitting[0]


def matching_states(*endpoints: Endpoint, model: nn.Module | None = None) -> tuple[dict[str, Tensor], ...]:
    """The parameters of all end points, in one order and on the first one's device.

    They are compared by name and shape, and searched for NaN.

    Raises:
        ValueError: names or shapes differ, or a parameter is not finite; the message names some of them.
    """
    states = [parameters_of(endpoint, model) for endpoint in endpoints]
    first = states[0]
    for other in states[1:]:
        lonely = sorted(first.keys() ^ other.keys())
        if lonely:
            raise ValueError(f"the end points are different architectures: only one of them has {some(lonely)}")
        for name, value in first.items():
            if value.shape != other[name].shape:
                raise ValueError(
                    f"the end points are different architectures: {name} is {tuple(value.shape)} in one "
                    f"and {tuple(other[name].shape)} in the other"
                )
    for state in states:
        for name, value in state.items():
            if not torch.isfinite(value).all():
                raise ValueError(f"{name} holds NaN or infinite values: that network diverged")
    return tuple({name: state[name].to(value.device) for name, value in first.items()} for state in states)


def refuse_identical(start: dict[str, Tensor], end: dict[str, Tensor]) -> None:
    """Raises ValueError when two end points are one: a path of length 0 has no shape."""
    if all(torch.equal(value.to(end[name]), end[name]) for name, value in start.items()):
        raise ValueError("start and end are the same weights: was the network trained, or one file given twice?")


def snapshot(module: nn.Module) -> dict[str, Tensor]:
    """A copy of the parameters as they are now, to interpolate from later."""
    return {name: p.detach().clone() for name, p in module.named_parameters()}


def some(names: Sequence[str]) -> str:
    """The first few names, and how many more."""
    more = f" and {len(names) - SHOWN} more" if len(names) > SHOWN else ""
    return ", ".join(names[:SHOWN]) + more if names else "nothing"
