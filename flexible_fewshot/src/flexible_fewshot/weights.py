"""Filling a module with the weights of a file."""

from __future__ import annotations

from torch import Tensor, nn


def load_weights(module: nn.Module, state: dict[str, Tensor], where: str) -> None:
    """`load_state_dict` whose complaint is one line.

    Raises:
        ValueError: a name is missing or unknown, what is no tensor, or a shape differs.
    """
    own = module.state_dict()
    if other := [name for name, value in state.items() if not isinstance(value, Tensor)]:
        raise ValueError(f"{where}: {other[0]} is a {type(state[other[0]]).__name__}, expected a tensor")
    missing, unknown = sorted(own.keys() - state.keys()), sorted(state.keys() - own.keys())
    shapes = [
        f"{name} is {tuple(state[name].shape)}, expected {tuple(own[name].shape)}"
        for name in own.keys() & state.keys()
        if own[name].shape != state[name].shape
    ]
    if missing or unknown or shapes:
        what = [f"lacks {', '.join(missing[:3])}"] * bool(missing) + [f"has unknown {', '.join(unknown[:3])}"] * bool(
            unknown
        )
        raise ValueError(f"{where}: does not fit {type(module).__name__}: {'; '.join([*what, *shapes[:3]])}")
    module.load_state_dict(state)
