"""Which rule reads which module or function; `register_module` teaches the builder a new one."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from torch import nn

Rule = Callable[..., Any]
MODULES: dict[type[nn.Module], Rule] = {}
FUNCTIONS: dict[Any, Rule] = {}  # a function, or the name of a tensor's method

HOW_TO = (
    "teach the builder with `@register_module({name})` above a rule `def rule(builder, module, *inputs)` that returns "
    "the module's output; `graph_metanetworks.rules` has linear, norm and activation rules to build it from"
)


class UnsupportedModuleError(ValueError):
    """No rule knows how a module or function uses its parameters."""

    def __init__(self, path: str, what: str, why: str = "no rule for it"):
        name = what if what.isidentifier() else "ItsModule"
        super().__init__(f"{path or 'the network'}: {what}: {why}; {HOW_TO.format(name=name)}")
        self.path, self.what = path, what


def register_module(cls: type[nn.Module]) -> Callable[[Rule], Rule]:
    """`@register_module(MyModule)` above `def rule(builder, module, *inputs)`: this class is read by this rule.

    It then counts as one piece: its forward is not traced. Subclasses are read by the rule of their nearest ancestor.
    """

    def keep(rule: Rule) -> Rule:
        MODULES[cls] = rule
        return rule

    return keep


def register_function(*functions: Any) -> Callable[[Rule], Rule]:
    """The same for functions, and for methods of tensors by name."""

    def keep(rule: Rule) -> Rule:
        FUNCTIONS.update(dict.fromkeys(functions, rule))
        return rule

    return keep


def rule_for(module: nn.Module) -> Rule | None:
    """The rule of the class or of its nearest ancestor that has one."""
    return next((MODULES[cls] for cls in type(module).__mro__ if cls in MODULES), None)
