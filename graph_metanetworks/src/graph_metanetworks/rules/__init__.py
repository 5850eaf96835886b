"""How every known module and function is drawn. Importing this package fills the registry."""

from .attention import attention
from .elementwise import elementwise
from .linear import convolution, linear
from .norm import norm
from .shape import structural
from .sums import add, attach, couple, matmul, multiply, reduce
from .whole import equivariant_linear, triplane

__all__ = [
    "add",
    "attach",
    "attention",
    "convolution",
    "couple",
    "elementwise",
    "equivariant_linear",
    "linear",
    "matmul",
    "multiply",
    "norm",
    "reduce",
    "structural",
    "triplane",
]
