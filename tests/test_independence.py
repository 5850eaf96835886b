"""Each project works when it is the only folder that someone kept, and all of them are one house."""

import ast
import re
import sys
from pathlib import Path

import pytest

from conftest import ROOT
from gallery import paper_title
from projects import Project, discover, read_requirements

PAPERS = [
    "regularized_lae",
    "mli_landscapes",
    "meta_bounds",
    "graph_metanetworks",
    "forecasting_model_search",
    "flexible_fewshot",
    "spacemesh",
    "multi_student_distill",
    "att3d",
    "latte3d",
]
PROJECTS = discover(ROOT)
SECTIONS = [
    "Quick start",
    "Results",
    "From the paper to the code",
    "Real data",
    "Scaling out",
    "What is not reproduced",
    "Citing",
]
HOUSE_COPIES = ["cache.py", "claims.py", "command.py", "configured.py", "results.py"]
WHERE_NEEDED = ["finite.py", "idx.py", "resuming.py", "../../tests/damages.py"]  # alike where a project has them
IMPORTED_AS = {  # where it is not the distribution's name with underscores
    "faiss-cpu": {"faiss"},
    "matplotlib": {"matplotlib", "mpl_toolkits"},
    "open-clip-torch": {"open_clip"},
    "opencv-python-headless": {"cv2"},
    "pillow": {"PIL"},
    "pyyaml": {"yaml"},
    "scikit-image": {"skimage"},
    "scikit-learn": {"sklearn"},
}

each_project = pytest.mark.parametrize("project", PROJECTS, ids=lambda project: project.name)


def imports(folder: Path) -> dict[str, str]:
    """The first name of every module imported under `folder` -> a file that does so. Relative imports are left out."""
    found = {}
    for path in sorted(folder.rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            modules = []
            if isinstance(node, ast.Import):
                modules = [alias.name for alias in node.names]
            elif isinstance(node, ast.ImportFrom) and node.level == 0:
                modules = [node.module]
            found |= {module.partition(".")[0]: str(path.relative_to(folder.parent)) for module in modules}
    return found


def declared(project: Project) -> set[str]:
    requirements = project.requirements()
    names = set()
    for requirement in [*requirements.install, *sum(requirements.extras.values(), ())]:
        distribution = re.match(r"[\w.-]+", requirement)[0].lower().replace("_", "-")
        names |= IMPORTED_AS.get(distribution, {distribution.replace("-", "_")})
    return names


@each_project
def test_no_project_imports_another(project):
    others = {other.name for other in PROJECTS} - {project.name}
    crossing = {name: where for name, where in imports(project.folder).items() if name in others}
    assert crossing == {}


@each_project
@pytest.mark.parametrize("folder", ["src", "tests", "benchmarks"])
def test_every_import_is_declared_in_setup_py(project, folder):
    own = {project.name}
    if folder != "src":  # a test may import its conftest, a benchmark the file beside it
        own |= {path.stem for path in (project.folder / folder).rglob("*")}
    allowed = own | declared(project) | set(sys.stdlib_module_names)
    undeclared = {name: where for name, where in imports(project.folder / folder).items() if name not in allowed}
    assert undeclared == {}


@each_project
def test_every_project_has_the_same_layout(project):
    package = f"src/{project.name}"
    needed = ["README.md", "pyproject.toml", "tests", "benchmarks"]
    needed += [f"{package}/{file}" for file in ("__init__.py", "__main__.py", "cli.py", "demo.py", *HOUSE_COPIES)]
    needed += [f"{package}/configs/{config}.yaml" for config in ("demo", "fast")]
    assert [path for path in needed if not (project.folder / path).exists()] == []


@each_project
def test_every_readme_tells_how_to_cite_the_paper(project):
    assert re.search(r"@(in)?(proceedings|article|misc)\{", (project.folder / "README.md").read_text(encoding="utf-8"))


@each_project
def test_every_readme_begins_with_the_name_and_the_papers_title(project):
    text = (project.folder / "README.md").read_text(encoding="utf-8")
    assert text.startswith(f"# {project.name}\n\n**") and len(paper_title(project.name)) > 20


@each_project
def test_every_readme_has_the_sections_of_the_house_in_their_order(project):
    text = (project.folder / "README.md").read_text(encoding="utf-8")
    headings = re.findall(r"^## (.+)$", text, re.MULTILINE)
    assert [heading for heading in headings if heading in SECTIONS] == SECTIONS


@pytest.mark.parametrize("name", [*HOUSE_COPIES, *WHERE_NEEDED])
def test_the_house_copies_are_alike_to_the_byte(name):
    copies = [project.folder / "src" / project.name / name for project in PROJECTS]
    texts = {path.read_bytes() for path in copies if path.is_file()}  # the layout test names a missing one
    assert len(texts) <= 1


@pytest.mark.parametrize("paper", PAPERS)
def test_the_readme_has_a_row_for_every_paper_with_what_was_measured_and_a_figure(paper):
    rows = [line for line in (ROOT / "README.md").read_text(encoding="utf-8").splitlines() if line.startswith("| [")]
    (row,) = [row for row in rows if f"[`{paper}`]({paper})" in row.split("|")[1]]
    assert len(row.split("|")[3].strip()) > 40 and f'src="{paper}/results/' in row.split("|")[4]


def test_every_project_is_one_of_the_papers():
    assert {project.name for project in PROJECTS} == set(PAPERS)


def test_every_link_and_figure_of_the_readme_exists():
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    targets = re.findall(r"\]\((?!https?:)([^)#]+)\)", text) + re.findall(r'src="([^"]+)"', text)
    assert [target for target in targets if not (ROOT / target).exists()] == []


@pytest.mark.parametrize("project", PROJECTS, ids=lambda project: project.name)
def test_the_console_script_is_the_folder_with_dashes(project):
    text = (project.folder / "setup.py").read_text(encoding="utf-8")
    assert re.search(rf"\b{project.command}\s*=\s*{project.name}\b", text)


def test_requirements_are_read_through_names_sums_and_stars(tmp_path):
    setup = tmp_path / "setup.py"
    setup.write_text(
        "import setuptools\n"
        "TEST = ['pytest', 'scipy>=1']\n"
        "setuptools.setup(install_requires=['torch'] + ['numpy'], extras_require={'test': TEST, 'all': [*TEST, 'x']})\n"
    )
    requirements = read_requirements(setup)
    assert requirements.install == ("torch", "numpy")
    assert requirements.extras == {"test": ("pytest", "scipy>=1"), "all": ("pytest", "scipy>=1", "x")}


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("print('no call')", r"setup\.py: expected one call of setup\(\), found 0"),
        ("setup(install_requires=open('r.txt').readlines())", r"line 1: write the requirements as literals, got open"),
        ("setup(install_requires=UNKNOWN)", "got UNKNOWN"),
        ("setup(extras_require={**MORE})", r"got \{\*\*MORE\}"),
    ],
)
def test_requirements_that_are_computed_are_refused_by_line(tmp_path, text, said):
    setup = tmp_path / "setup.py"
    setup.write_text(text)
    with pytest.raises(ValueError, match=said):
        read_requirements(setup)


def test_an_undeclared_import_would_be_found(tmp_path):
    (tmp_path / "src").mkdir()
    (tmp_path / "src" / "late.py").write_text("def f():\n    import os, yaml.nodes\n    from . import sibling\n")
    (tmp_path / "setup.py").write_text("setup(install_requires=['PyYAML>=6', 'scikit_learn', 'jsonargparse[all]'])")
    assert set(imports(tmp_path / "src")) == {"os", "yaml"}
    assert declared(Project(tmp_path)) == {"yaml", "sklearn", "jsonargparse"}
