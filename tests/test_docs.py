"""README.md and the site: commands can be given, figures are measured ones, pages ask no other server."""

import ast
import doctest
import importlib.util
import re
import shlex
import shutil
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path
from unittest.mock import patch

import numpy as np
import pytest
from PIL import Image

from pushpull.cli import COMMANDS, command_function
from pushpull.cli.parser import parse
from pushpull.corruptions import REGISTRY

ROOT = Path(__file__).parents[1]
DOCS = ROOT / "docs"
README = ROOT / "README.md"
GUIDES = ("start", "robust", "report", "share", "harden", "train", "evaluation", "export")
# extend.md and scale.md have tests of their own.
PAGES = [
    README,
    *(DOCS / f"{name}.md" for name in GUIDES),
]
MEASURED = ("results", "findings", "speed", "harden")


def blocks(path, language):
    return re.findall(rf"^```{language}\n(.*?)^```$", path.read_text(), re.MULTILINE | re.DOTALL)


def commands(path):
    """The commands of ours on a page, but for those that this version does not have."""
    text = path.read_text()
    shell = "\n".join([*blocks(path, "sh"), *re.findall(r"^    (pushpull .*)$", text, re.MULTILINE)])
    for line in shell.replace("\\\n", " ").splitlines():
        found = re.match(r"(?:\S*/)?pushpull ([a-z]+.*)", line)
        if found and found[1].split()[0] in COMMANDS:
            yield shlex.split(found[1], comments=True)


@pytest.mark.parametrize("path", PAGES, ids=lambda path: path.name)
@patch.dict(REGISTRY)
def test_every_command_can_be_given(path):
    for program in blocks(path, "python"):
        if "@pushpull.register_" in program:
            exec(compile(program, path.name, "exec"), {})
    found = list(commands(path))
    assert found
    for name, *words in found:
        function = command_function(name)
        parse(name, function, words)


def test_options_are_written_with_hyphens():
    """As the help shows them."""
    taken = {"errors.py", "parser.py"}  # which turn one form into the other
    for path in (README, *DOCS.glob("*.md"), *ROOT.glob("src/**/*.py")):
        found = re.findall(r"--[a-z]+_[a-z_]+", path.read_text())
        assert path.name in taken or found == [], path


@pytest.mark.parametrize(
    "path", [README, DOCS / "start.md", DOCS / "robust.md", DOCS / "train.md"], ids=lambda p: p.name
)
def test_every_program_is_python(path):
    for program in blocks(path, "python"):
        ast.parse(program)


def test_readme_shows_a_picture_first_and_its_contents_are_there():
    text = README.read_text()
    headings = re.findall(r"^## (.*)$", text, re.MULTILINE)
    assert text.index("![") < text.index("## ")
    contents = text[text.index("**Contents**") : text.index("## ")]
    assert re.findall(r"\[(.*?)\]", contents) == headings
    for title, anchor in re.findall(r"\[(.*?)\]\(#(.*?)\)", contents):
        assert anchor == title.lower().replace(" ", "-")


def test_every_file_that_readme_names_is_there():
    for target in re.findall(r"\]\(([^)#]+)\)", README.read_text()):
        assert (ROOT / target).exists(), target


def test_what_readme_says_in_python_works():
    import timm

    import pushpull

    names = {}
    programs = blocks(README, "python")
    unit = next(program for program in programs if "PushPullConv2d(" in program)
    exec(compile(f"import pushpull\n{unit}", "README.md", "exec"), names)
    assert names["unit"].kernel_size == (7, 7)
    assert "pushpull_resnet50" in " ".join(programs)
    assert pushpull.models
    assert timm.is_model("pushpull_resnet50")


def test_the_worked_example_of_the_means():
    """Its figures are computed anew; `python` blocks of the page are doctests."""
    page = (DOCS / "metrics.md").read_text()
    example = doctest.DocTestParser().get_doctest(
        "\n".join(blocks(DOCS / "metrics.md", "python")), {}, "metrics", None, 0
    )
    assert len(example.examples) == 10
    assert doctest.DocTestRunner().run(example).failed == 0
    from pushpull.evaluation.metrics import ALEXNET

    for name, share in (("gaussian_noise", "0.17"), ("brightness", "0.27")):
        assert f"{0.15 / ALEXNET.mean_errors[name]:.2f}" == share
        assert f"{ALEXNET.mean_errors[name]:.3f}" in page
        assert share in page


def test_the_cards_figures_are_measured_ones():
    """Every figure of a card stands on a page of results; shares of two rates are computed from them."""
    measured = "\n".join((DOCS / f"{name}.md").read_text() for name in MEASURED).replace("**", "")
    cards = (DOCS / "methods.md").read_text()
    figures = re.findall(r"[+−]?\d+\.\d+ ± \d+\.\d+", cards)
    assert len(figures) > 15
    for figure in figures:
        assert figure in measured, figure
    rates = [
        rate.replace(",", "") for rate in re.findall(r"\d,\d{3}(?= images a second| without any)", cards)
    ]
    assert len(rates) == 3
    for rate in rates:
        assert f"| {rate} (" in measured, rate
    whole = max(map(int, rates))
    shares = [f"{int(rate) / whole:.2f}" for rate in rates if int(rate) < whole]
    assert re.findall(r"0\.\d\d(?= times the rate)", cards) == shares
    assert "1.04 times the plain one's time" in cards
    assert re.search(r"\| resnet50 \| ours, eager \| [^|]*\| 1\.04 ", measured)
    assert re.search(r"\| resnet50, training \| ours, eager \| [^|]*\| 1\.04 ", measured)


class Requests(HTMLParser):
    """Addresses that a page has a browser fetch."""

    def __init__(self):
        super().__init__()
        self.found = []

    def handle_starttag(self, tag, attributes):
        given = dict(attributes)
        if tag in ("script", "img", "iframe", "source") and given.get("src"):
            self.found.append(given["src"])
        if tag == "link" and given.get("rel") not in ("canonical", "next", "prev"):
            self.found.append(given["href"])


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    """The folder of the built site; a warning is an error."""
    pytest.importorskip("material")
    pytest.importorskip("mkdocstrings")
    folder = tmp_path_factory.mktemp("site")
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--quiet", "--site-dir", str(folder)]
    done = subprocess.run(command, cwd=ROOT, check=False, capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, done.stderr
    return folder


def test_the_site_asks_no_other_server(site):
    pages = list(site.glob("*.html"))
    assert len(pages) > 20
    for page in pages:
        requests = Requests()
        requests.feed(page.read_text())
        assert requests.found
        assert [one for one in requests.found if re.match(r"(https?:)?//", one)] == []
    for style in site.glob("assets/**/*.css"):
        assert not re.search(r"url\(['\"]?https?:|@import", style.read_text()), style


def test_the_site_has_the_notebook_and_the_reference(site):
    assert (site / "notebook.ipynb").is_file()
    assert "A photograph through all corruptions" in (site / "notebook.html").read_text()
    assert "push_pull_conv2d" in (site / "api-models.html").read_text()
    assert (site / "files" / "examples" / "serve_onnx.py").is_file()


@pytest.fixture(scope="module")
def browser():
    play = pytest.importorskip("playwright.sync_api")
    path = shutil.which("chromium")
    if path is None:
        pytest.skip("needs chromium")
    with play.sync_playwright() as started:
        yield started.chromium.launch(executable_path=path, args=["--no-sandbox"])


@pytest.mark.parametrize(("width", "scheme"), [(1300, "light"), (390, "dark")])
def test_the_site_opens_from_a_file_and_nothing_sticks_out(site, browser, width, scheme):
    page = browser.new_page(viewport={"width": width, "height": 844}, color_scheme=scheme)
    page.set_default_timeout(120_000)  # ms, on a machine with other work
    wrong = []
    page.on("console", lambda said: wrong.append(said.text) if said.type in ("error", "warning") else None)
    page.on("pageerror", lambda error: wrong.append(str(error)))
    page.on("request", lambda one: wrong.append(one.url) if one.url.startswith("http") else None)
    for name in ("index", "methods", "results", "reliability", "api-models"):
        page.goto((site / f"{name}.html").as_uri())
        assert page.evaluate("document.documentElement.scrollWidth") <= width, name
    assert wrong == []
    page.close()


def test_the_search_works_without_a_server(site, browser):
    page = browser.new_page(viewport={"width": 1300, "height": 844})
    page.set_default_timeout(120_000)  # ms, on a machine with other work
    page.goto((site / "index.html").as_uri())
    page.click("[data-md-component=search-query]")
    page.keyboard.type("strisciuglio")
    page.wait_for_selector(".md-search-result__item", timeout=60_000)
    assert "A card each" in page.locator(".md-search-result__list").inner_text()
    page.close()


def test_the_picture_of_readme_is_drawn_by_its_command(tmp_path, monkeypatch):
    spec = importlib.util.spec_from_file_location("pictures", DOCS / "pictures.py")
    pictures = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(pictures)
    monkeypatch.setattr(pictures, "IMAGES", tmp_path)
    with Image.open(pictures.draw()) as drawn, Image.open(DOCS / "images" / "why.jpg") as shown:
        assert drawn.size == shown.size
        difference = np.abs(np.asarray(drawn, dtype=float) - np.asarray(shown, dtype=float))
    assert difference.mean() < 2, "draw it again: python docs/pictures.py"
