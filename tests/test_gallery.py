"""The page runs/index.html and the terminal table, on runs made up for the purpose."""

import base64
import json
import re
import subprocess
import sys
from html.parser import HTMLParser

import pytest

import gallery
from claims import read_run, read_runs, show
from claims_table import table
from conftest import ROOT

PIXEL = base64.b64decode(
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="
)
CLAIM = {"id": "c", "statement": "It converges", "paper": 17, "measured": 23.4, "threshold": "≥ 10", "holds": True}
CONTENT = {"project": "x", "seed": 0, "seconds": 65, "fast": False, "command": "x demo", "claims": [], "figures": []}


@pytest.fixture
def write(tmp_path):
    """Writes tmp_path/NAME/claims.json, with other fields than the usual."""

    def write(name, *claims, **fields):
        folder = tmp_path / name
        folder.mkdir()
        (folder / "pixel.png").write_bytes(PIXEL)
        (folder / "claims.json").write_text(json.dumps({**CONTENT, "claims": claims, **fields}))
        return folder

    return write


class Page(HTMLParser):
    """The page as a browser would see it: tags with attributes, the text, and whether every tag was closed."""

    EMPTY = ("meta", "img")

    def __init__(self, html):
        super().__init__()
        self.tags, self.text, self.open = [], "", []
        self.feed(html)

    def handle_starttag(self, tag, attributes):
        self.tags.append((tag, dict(attributes)))
        if tag not in self.EMPTY:
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.text += data

    def all(self, tag):
        return [attributes for name, attributes in self.tags if name == tag]


def page_of(folder, names=None):
    html = gallery.page(read_runs(folder, names))
    page = Page(html)
    assert page.open == []
    return page


def test_the_page_shows_each_claim_with_its_numbers_and_verdict(write, tmp_path):
    write("alpha", CLAIM, {**CLAIM, "statement": "It is fast", "holds": False, "stderr": 0.5})
    text = page_of(tmp_path).text
    for shown in ("It converges", "17", "23.4", "≥ 10", "23.40 ±\xa00.50", "does not hold", "x demo", "1 min 5 s"):
        assert shown in text


def test_a_project_stands_under_its_papers_title(write, tmp_path):
    write("spacemesh", CLAIM), write("unknown", CLAIM)
    page = gallery.page(read_runs(tmp_path))
    title = "SpaceMesh: A Continuous Representation for Learning Manifold Surface Meshes"
    assert page.count('<p class="paper">') == 1 and f'<p class="paper">{title}</p>' in page


def test_the_page_counts_what_holds_and_what_does_not(write, tmp_path):
    write("alpha", CLAIM, CLAIM, {**CLAIM, "holds": False})
    write("beta", CLAIM)
    text = page_of(tmp_path).text
    for shown in ("2 of 2 projects finished", "3 claims hold", "1 does not hold", "2 min 10 s in all", "2 of 3 hold"):
        assert shown in text


def test_a_failing_claim_is_told_apart_by_word_and_mark(write, tmp_path):
    write("alpha", CLAIM, {**CLAIM, "holds": False})
    rows = [row["class"] for row in page_of(tmp_path).all("tr") if "class" in row]
    assert rows == ["holds", "fails"]
    assert "FAILS  It converges" in table(read_runs(tmp_path))


def test_a_fast_run_says_that_its_numbers_mean_nothing_and_is_not_counted(write, tmp_path):
    write("alpha", CLAIM, {**CLAIM, "holds": False}, fast=True)
    text, terminal = page_of(tmp_path).text, table(read_runs(tmp_path))
    for shown in (text, terminal):
        assert "fast run: numbers mean nothing" in shown
        assert "0 claims hold" in shown
        assert "2 not counted (fast run)" in shown
        assert "FAILS" not in shown
    assert text.count("not judged") == 2


def test_text_from_a_demo_is_never_markup(write, tmp_path):
    attack = "</style><script>alert(1)</script><img src=x onerror=alert(1)>\"'&"
    claim = {**CLAIM, "statement": attack, "measured": attack, "paper": attack}
    write("alpha", claim, command=attack, figures=[attack])
    page = page_of(tmp_path)
    assert len(page.all("script")) == 1  # the page's own
    assert len(page.all("img")) == 1  # the empty one of the dialog
    assert page.text.count("alert(1)</script>") == 5


def test_the_page_is_whole_without_network(write, tmp_path):
    write("alpha", CLAIM, figures=["pixel.png"])
    page = page_of(tmp_path)
    loads = [attributes[key] for _, attributes in page.tags for key in ("src", "href", "action") if key in attributes]
    assert loads
    assert all(value.startswith(("data:image/", "#")) for value in loads)
    assert not re.search(r"@import|url\(", (ROOT / "tools" / "gallery.css").read_text())
    assert page.all("link") == []


def test_figures_are_embedded_and_described(write, tmp_path):
    write("alpha", CLAIM, figures=["pixel.png"])
    (image,) = [image for image in page_of(tmp_path).all("img") if "src" in image]
    assert base64.b64decode(image["src"].removeprefix("data:image/png;base64,")) == PIXEL
    assert image["alt"] == "Figure of alpha: Pixel"


@pytest.mark.parametrize(
    ("figure", "said"),
    [
        ("gone.png", "The figure gone.png is missing"),
        ("null\0.png", "is missing"),
        ("mesh.obj", "mesh.obj is no image that a page can show"),
    ],
)
def test_a_figure_that_cannot_be_shown_is_named(write, tmp_path, figure, said):
    write("alpha", CLAIM, figures=[figure])
    assert said in page_of(tmp_path).text


def test_both_colour_schemes_and_narrow_screens_are_provided_for(write, tmp_path):
    style = (ROOT / "tools" / "gallery.css").read_text()
    assert "prefers-color-scheme: dark" in style
    assert "max-width: 46rem" in style
    metas = page_of(tmp_path).all("meta")
    assert {"name": "color-scheme", "content": "light dark"} in metas
    assert {"name": "viewport", "content": "width=device-width, initial-scale=1"} in metas


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_text_colours_reach_the_contrast_of_wcag_aa(scheme):
    light, dark = re.findall(r":root \{(.*?)\}", (ROOT / "tools" / "gallery.css").read_text(), re.DOTALL)
    colours = dict(re.findall(r"--([a-z-]+): (#[0-9a-f]{6})", light + (dark if scheme == "dark" else "")))
    on = {"paper": ["ink", "soft", "holds", "fails"], "fails-tint": ["ink", "fails", "soft"], "fast-tint": ["fast"]}
    for ground, inks in on.items():
        for ink in inks:
            assert contrast(colours[ink], colours[ground]) >= 4.5, (ink, ground)


def contrast(one, other):
    """(L1 + 0.05) / (L2 + 0.05) of the relative luminances, WCAG 2.1."""
    lighter, darker = sorted((luminance(one), luminance(other)), reverse=True)
    return (lighter + 0.05) / (darker + 0.05)


def luminance(colour):
    channels = [int(colour[start : start + 2], 16) / 255 for start in (1, 3, 5)]
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in channels]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def test_a_run_without_claims_did_not_finish_and_one_without_folder_was_not_run(tmp_path):
    (tmp_path / "alpha").mkdir()
    names = ["alpha", "beta"]
    terminal = table(read_runs(tmp_path, names))
    assert "alpha · did not finish" in terminal
    assert "beta · not run" in terminal
    page = page_of(tmp_path, names)
    assert [section["id"] for section in page.all("section")] == ["alpha"]
    assert "beta not run" in page.text


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ('{"project": ', "Expecting value"),
        ("[]", "expected an object, got a list"),
        ("{}", "'seconds' is missing"),
        (json.dumps({**CONTENT, "seconds": -1}), "'seconds' must be finite and not negative, got -1"),
        ('{"seconds": NaN}', "'seconds' must be finite and not negative, got nan"),
        ('{"seconds": 1%s}' % ("0" * 400), "too large"),
        (json.dumps({**CONTENT, "claims": {}}), "'claims' must be a list, got an object"),
        (json.dumps({**CONTENT, "claims": ["holds"]}), "expected an object in claim 1, got text"),
        (json.dumps({**CONTENT, "claims": [CLAIM, {**CLAIM, "holds": "yes"}]}), "'holds' in claim 2 must be true"),
        (json.dumps({**CONTENT, "claims": [{**CLAIM, "measured": []}]}), "must be a number or text or null, got"),
        (json.dumps({**CONTENT, "figures": [1]}), "'figures' must be a list of paths"),
        (b"\xff", "can't decode byte"),
    ],
)
def test_a_malformed_file_gets_one_clear_line(tmp_path, content, said):
    (tmp_path / "alpha").mkdir()
    (tmp_path / "alpha" / "claims.json").write_bytes(content if isinstance(content, bytes) else content.encode())
    problem = read_run(tmp_path / "alpha").problem
    assert re.match(f"claims.json cannot be read: .*{said}", problem)
    assert f"alpha · {problem}" in table(read_runs(tmp_path))
    assert problem in page_of(tmp_path).text


def test_a_long_statement_is_wrapped_within_the_terminal(write, tmp_path):
    write("alpha", {**CLAIM, "statement": "words and " * 40, "measured": "a long account of what came out of it"})
    lines = table(read_runs(tmp_path), width=80).splitlines()
    assert len(lines) > 10
    assert max(map(len, lines)) <= 80


def test_no_runs_make_a_page_and_a_table(tmp_path):
    assert "0 of 0 projects finished" in table(read_runs(tmp_path))
    assert "0 of 0 projects finished" in page_of(tmp_path).text


@pytest.mark.parametrize(
    ("value", "stderr", "shown"),
    [
        (None, None, "–"),
        ("17x", None, "17x"),
        (0, None, "0"),
        (12345, None, "12,345"),
        (0.98765432, None, "0.9877"),
        (12345.678, None, "12,346"),
        (1.5, None, "1.5"),
        (1.23456e-13, None, "1.23e-13"),
        (3.21e9, None, "3.21e+09"),
        (float("nan"), None, "nan"),
        (0.871, 0.0123, "0.871 ±\xa00.012"),
        (1234, 56, "1,234 ±\xa056"),
        (3e-9, 1e-10, "3.00e-09 ±\xa01.00e-10"),
        (0.5, 0.0, "0.5"),
    ],
)
def test_numbers_are_shown_with_the_digits_that_count(value, stderr, shown):
    assert show(value, stderr) == shown


@pytest.mark.parametrize("tool", ["gallery.py", "claims_table.py"])
def test_the_tools_run_alone_on_a_folder_of_runs(write, tmp_path, tool):
    write("alpha", CLAIM)
    done = subprocess.run([sys.executable, ROOT / "tools" / tool, tmp_path], capture_output=True, text=True)
    assert done.returncode == 0
    assert ("index.html" if tool == "gallery.py" else "It converges") in done.stdout
