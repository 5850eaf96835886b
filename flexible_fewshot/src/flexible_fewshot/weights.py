"""Filling a module with the weights of a file."""

from __future__ import annotations

from torch import Tensor, nn


def load_weights(module: nn.Module, state: dict[str, Tensor], where: str) -> None:
    """`load_state_dict` whose complaint is one line.

    Raises:
        ValueError: a name is missing or unknown, or a shape differs.
    """
    own = module.state_dict()
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
