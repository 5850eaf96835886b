"""What no project's code may do with a file: run what is in it, or follow what it names."""

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PROJECTS = sorted(path.parent.name for path in ROOT.glob("*/setup.py"))
SAFE_PICKLE = {"pickle.Unpickler", "pickle.UnpicklingError", "pickletools.genops"}  # subclassed, caught, read


def dotted(node):
    """`a.b.c` of a name or attribute, empty for anything else."""
    if isinstance(node, ast.Name):
        return node.id
    return f"{dotted(node.value)}.{node.attr}" if isinstance(node, ast.Attribute) and dotted(node.value) else ""


def nodes(project):
    """(where, node) of all calls, attributes and imports below src and benchmarks."""
    for folder in ("src", "benchmarks"):
        for path in sorted((ROOT / project / folder).rglob("*.py")):
            for node in ast.walk(ast.parse(path.read_text())):
                if isinstance(node, ast.Call | ast.Attribute | ast.ImportFrom):
                    yield f"{path.relative_to(ROOT)}:{node.lineno}", node


def keyword(call, name):
    """The constant that a call passes by this name, None without it."""
    return next((k.value.value for k in call.keywords if k.arg == name and isinstance(k.value, ast.Constant)), None)


def unsafe_call(call):
    """Its name, if it may run what is in a file."""
    name = dotted(call.func)
    refused = {
        "torch.load": keyword(call, "weights_only") is not True,
        "np.load": keyword(call, "allow_pickle") is not False,
        "numpy.load": keyword(call, "allow_pickle") is not False,
        "trimesh.load": keyword(call, "file_type") is None or not (call.args and isinstance(call.args[0], ast.Call)),
    }
    if name.endswith("load_from_checkpoint"):
        return name * (keyword(call, "weights_only") is not True)
    return name * refused.get(name, name.startswith(("yaml.load", "yaml.unsafe", "yaml.full", "joblib.load", "dill.")))


def unsafe_attribute(node):
    """Its name, if it is one of pickle's that unpickle."""
    name = dotted(node)
    return name * (name.startswith("pickle.") and name not in SAFE_PICKLE)


def hidden_import(node):
    """What is imported without its module's name, so that the other two rules would not see it."""
    names = {alias.name for alias in node.names}
    hidden = node.module in ("pickle", "yaml") or (node.module in ("torch", "numpy", "trimesh") and "load" in names)
    return f"from {node.module} import" * hidden


RULES = {ast.Call: unsafe_call, ast.Attribute: unsafe_attribute, ast.ImportFrom: hidden_import}


@pytest.mark.parametrize("project", PROJECTS)
def test_files_are_read_without_running_what_is_in_them(project):
    """weights_only for checkpoints, no pickled objects in arrays, no pickle, safe YAML, meshes from bytes alone."""
    wrong = [f"{where} {what}" for where, node in nodes(project) if (what := RULES[type(node)](node))]
    assert not wrong
