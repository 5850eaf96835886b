"""The pages of `make docs` show what each project offers to import."""

import sys

import docs


def test_names_that_are_imported_when_asked_for_are_on_the_page(tmp_path, monkeypatch):
    package = tmp_path / "lazy_project"
    package.mkdir()
    (package / "__init__.py").write_text(
        '"""A method."""\n__all__ = ["late"]\n'
        "def __getattr__(name):\n    if name != 'late':\n        raise AttributeError(name)\n"
        "    from .inner import late\n    return late\n"
    )
    (package / "inner.py").write_text('def late(x):\n    """Twice.\n\n    Args:\n        x: a number.\n    """\n')
    monkeypatch.syspath_prepend(tmp_path)
    index = docs.write(["lazy_project"], tmp_path / "pages")
    page = (index.parent / "lazy_project.html").read_text()
    assert index.is_file() and 'id="late"' in page and "a number." in page
    sys.modules.pop("lazy_project")
