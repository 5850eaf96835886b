"""The projects of the umbrella: every folder with a setup.py. What it declares is read, never executed."""

from __future__ import annotations

import ast
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Requirements:
    """install_requires, and extras_require by extra."""

    install: tuple[str, ...]
    extras: dict[str, tuple[str, ...]]


@dataclass(frozen=True)
class Project:
    folder: Path

    @property
    def name(self) -> str:
        return self.folder.name

    @property
    def command(self) -> str:
        """The console script: the folder's name with dashes."""
        return self.name.replace("_", "-")

    def requirements(self) -> Requirements:
        return read_requirements(self.folder / "setup.py")


def discover(root: Path) -> list[Project]:
    return [Project(setup.parent) for setup in sorted(root.glob("*/setup.py"))]


def read_requirements(setup: Path) -> Requirements:
    """Reads literals, names assigned to them at the top of the file, `a + b` and `[*a, "b"]`.

    Raises:
        ValueError: there is no call of setup(), or its requirements are computed in another way.
    """
    tree = ast.parse(setup.read_text(encoding="utf-8"), filename=str(setup))
    names = {
        target.id: node.value
        for node in tree.body
        if isinstance(node, ast.Assign)
        for target in node.targets
        if isinstance(target, ast.Name)
    }
    calls = [node for node in ast.walk(tree) if isinstance(node, ast.Call) and _called_name(node.func) == "setup"]
    if len(calls) != 1:
        raise ValueError(f"{setup}: expected one call of setup(), found {len(calls)}")
    keywords = {keyword.arg: keyword.value for keyword in calls[0].keywords}

    def value_of(node):
        if isinstance(node, ast.Constant):
            return node.value
        if isinstance(node, ast.Name) and node.id in names:
            return value_of(names[node.id])
        if isinstance(node, (ast.List, ast.Tuple)):
            items = []
            for item in node.elts:
                items += value_of(item.value) if isinstance(item, ast.Starred) else [value_of(item)]
            return items
        if isinstance(node, ast.Dict) and None not in node.keys:
            return {value_of(key): value_of(value) for key, value in zip(node.keys, node.values)}  # noqa: B905
        if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Add):
            return value_of(node.left) + value_of(node.right)
        raise ValueError(f"{setup}, line {node.lineno}: write the requirements as literals, got {ast.unparse(node)}")

    install = value_of(keywords["install_requires"]) if "install_requires" in keywords else []
    extras = value_of(keywords["extras_require"]) if "extras_require" in keywords else {}
    return Requirements(tuple(install), {extra: tuple(wanted) for extra, wanted in extras.items()})


def _called_name(function: ast.expr) -> str | None:
    return getattr(function, "id", None) or getattr(function, "attr", None)
