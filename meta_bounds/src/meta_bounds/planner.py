"""How many shots are needed: the planner's reading of any curve of bounds or risks that falls with k."""

from __future__ import annotations

from collections.abc import Callable

from torch import Tensor

from .setting import float64


def min_shots(curve: Callable[[Tensor], Tensor], error: float, most: int = 10**9) -> int | None:
    """The smallest k >= 1 with curve(k) <= error, or None if not even `most` shots suffice.

    On a lower bound it is a necessary number, on an estimator's risk a sufficient one. By doubling and bisection.

    Args:
        curve: k as a float64 scalar -> a value that never rises with k.
        error: what is to be reached, positive.
        most: the largest k tried.
    Raises:
        ValueError: the error is not positive, or most is below 1.
    """
    if not error > 0 or most < 1:
        raise ValueError(f"error must be positive and most at least 1, got {error} and {most}")

    def reached(k: int) -> bool:
        return float(curve(float64(k))) <= error

    high = 1
    while not reached(high):
        if high >= most:
            return None
        high = min(2 * high, most)
    low = high // 2
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if reached(middle) else (middle, high)
    return high
