"""The leaderboard: what it enters, what it keeps apart, and what a browser shows of it."""

import os
import re
import shutil
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

import pushpull.reports
from pushpull.cli import main
from pushpull.evaluation.results import Results
from pushpull.reports import report
from pushpull.reports.leaderboard import leaderboard

CHROMIUM = os.environ.get("CHROMIUM") or shutil.which("chromium") or shutil.which("google-chrome")
MEAN = "Mean corruption error (plain mean over 15 x 5, not AlexNet-normalised)"


@pytest.fixture
def folder(results: Callable[..., Results], tmp_path: Path) -> Path:
    """Three models on one setting, one on fewer images, one of clean images only, one of another data set."""
    photos = {"name": "photos", "label": "<b>photos</b>", "sha256": "1" * 64, "note": None}
    for name, day, result in (
        ("plain", 1, results("plain", errors=0.5)),
        ("pp3", 2, results("pp3", errors=0.3)),
        ("pp5", 3, results("pp5", errors=0.4)),
        ("few", 4, results("pp0", errors=0.1, images=100)),
        ("clean", 5, replace(results("pp1", errors={}), corrupted={})),
        ("photos", 6, results("plain", errors=0.6, data=photos)),
        ("half", 7, results("half", complete=False)),
    ):
        place = tmp_path / "runs" / name
        place.mkdir(parents=True)
        replace(result, created=f"2026-01-0{day}T00:00:00+00:00").save(place)
    (tmp_path / "runs" / "pp3" / "index.html").write_text("a report")
    shutil.copytree(tmp_path / "runs" / "pp3", tmp_path / "runs" / "shared" / "pp3")
    return tmp_path / "runs"


def test_only_what_was_measured_alike_stands_together(folder: Path, tmp_path: Path) -> None:
    page = leaderboard([folder], tmp_path / "pages" / "board.html").read_text()
    parts = page.split("<section ")[1:]
    assert [part.split("<h2>")[1].split("</h2>")[0] for part in parts] == [
        "digits (demonstration, not evidence), images: 1000 (test split), 32 x 32 pixels",
        "digits (demonstration, not evidence), images: 100 (test split), 32 x 32 pixels",
        "&lt;b&gt;photos&lt;/b&gt;",
    ]
    of = [[line for line in part.splitlines() if f'<tr data-metric="{MEAN}"' in line] for part in parts]
    assert ["pp0" in of[1][0], len(of[1]), len(of[2])] == [True, 1, 1]
    assert [line.split('data-model="resnet14 ')[1][:5].strip() for line in of[0]] == [
        "pp3 s",
        "pp5 s",
        "plain",
    ]
    assert "pp1 seed 0" in parts[0], "a result of clean images stands beside those of the same images"
    assert page.count('aria-label="Report of resnet14 pp3 seed 0"') == 2 + 4 + 15, "a copy is entered once"
    assert 'href="../runs/pp3/index.html"' in page
    assert "half/results.json is not complete" in page
    assert "http" not in page.replace("http-equiv", ""), "nothing is fetched"


def test_a_report_above_is_linked_from_the_results_that_it_is_of(
    results: Callable[..., Results], tmp_path: Path
) -> None:
    """`pushpull report` writes runs/report, the quickstart a page above its seeds."""
    runs, weights = tmp_path / "runs", "weights_sha256"
    made = results("plain", errors=0.5, seed=0, model={weights: "a" * 64})
    made.save(runs / "plain")
    results("plain", errors=0.5, seed=1, model={weights: "b" * 64}).save(runs / "other")
    report([runs / "plain"], runs / "report", pictures=False)
    page = leaderboard([runs], tmp_path / "board.html").read_text()
    assert page.count('href="runs/report/index.html"') == page.count('aria-label="Report of')
    assert 'aria-label="Report of resnet14 plain seed 0"' in page
    assert 'aria-label="Report of resnet14 plain seed 1"' not in page, "another network's report"
    made.save(tmp_path / "quick" / "plain" / "seed0")
    report([runs / "plain"], tmp_path / "quick", pictures=False)
    assert 'href="quick/index.html"' in leaderboard([tmp_path / "quick"], tmp_path / "b.html").read_text()


def test_every_colour_of_a_page_is_one_that_the_style_has() -> None:
    folder = Path(pushpull.reports.__file__).parent
    for name in ("page.css", "page.html.j2", "leaderboard.html.j2", "layout.py"):
        text = (folder / "page.css").read_text() + (folder / name).read_text()
        assert set(re.findall(r"var\((--\w+)\)", text)) <= set(re.findall(r"(--\w+):", text)) | {
            "--heat",
            "--strength",
        }


def test_best_and_progress(folder: Path, tmp_path: Path) -> None:
    page = leaderboard([folder], tmp_path / "board.html").read_text()
    part = page.split("<section ")[1]
    rows = part.split(f'<tr data-metric="{MEAN}"')[1:4]
    assert ["best" in row.split("</tr>")[0] for row in rows] == [True, False, False]
    chart = part.split(f'<figure class="progress" data-metric="{MEAN}"')[1].split("</figure>")[0]
    points = [tuple(map(float, one.split(","))) for one in chart.split('points="')[1].split('"')[0].split()]
    assert [y for _, y in points] == [points[0][1], points[0][1], points[0][1], 154.0, 154.0, 154.0]
    assert points[0][1] == 12.0
    assert "<title>resnet14 pp5 seed 0: 40.0, 2026-01-03</title>" in chart


def test_files_that_are_no_results_are_left_out_and_said(folder: Path, tmp_path: Path) -> None:
    """A `results.json` of another program, a damaged one: the others are shown all the same."""
    (folder / "half" / "results.json").write_text('{"accuracy": 0.9}')
    (folder / "clean" / "results.json").write_text('{"schema": "pushpull')
    page = leaderboard([folder], tmp_path / "board.html").read_text()
    assert "half/results.json: schema=None is not" in page
    assert "clean/results.json is not valid JSON" in page
    assert 'aria-label="Report of resnet14 pp3 seed 0"' in page


def test_command_and_mistakes(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(["leaderboard", str(folder), "--output", str(tmp_path / "a.html"), "--title", "Ours"]) == 0
    assert "<h1>Ours</h1>" in (tmp_path / "a.html").read_text()
    assert main(["leaderboard", str(folder / "pp3"), str(folder / "plain" / "results.json")]) == 0
    assert (tmp_path / "leaderboard.html").is_file()
    assert leaderboard([folder], tmp_path / "board") == tmp_path / "board" / "index.html"
    capsys.readouterr()
    (tmp_path / "empty").mkdir()
    (folder / "half" / "results.json").write_text("{}")
    for words, said in (
        ([str(tmp_path / "empty")], "holds no results.json"),
        ([str(folder / "half")], "schema=None"),
        ([str(folder), "--output", "a.txt"], "a folder or a path that ends in .html"),
    ):
        assert main(["leaderboard", *words]) == 2
        error = capsys.readouterr().err
        assert said in error
        assert error.count("\n") == 1


@pytest.fixture
def browser() -> Iterator[Any]:
    sync = pytest.importorskip("playwright.sync_api")
    if CHROMIUM is None:
        pytest.skip("needs chromium")
    with sync.sync_playwright() as player:
        opened = player.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield opened
        opened.close()


@pytest.mark.parametrize("width", [390, 1300])
def test_in_a_browser(folder: Path, tmp_path: Path, browser: Any, width: int) -> None:
    path, problems = leaderboard([folder], tmp_path / "board.html"), []
    page = browser.new_page(viewport={"width": width, "height": 844})
    page.set_default_timeout(120_000)  # ms, on a machine with other work
    page.on("console", lambda message: problems.append(message.text))
    page.on("pageerror", lambda error: problems.append(str(error)))
    page.goto(path.as_uri())
    assert page.evaluate("document.documentElement.scrollWidth") <= width

    def models() -> list[str]:
        return page.locator("section[data-part='1'] th.model:visible").all_inner_texts()

    assert models() == [f"resnet14 {stem} seed 0" for stem in ("pp3", "pp5", "plain")]
    page.select_option("#order", "created")
    assert models() == [f"resnet14 {stem} seed 0" for stem in ("pp5", "pp3", "plain")]
    page.select_option("#metric", "Top-1 error")
    assert len(models()) == 4
    page.select_option("#data", "2")
    assert page.locator("section:visible").count() == 1
    page.select_option("#data", "1")
    if width > 700:
        page.select_option("#metric", MEAN)
        button = page.locator("section[data-part='1'] button[data-column='3']")
        for _ in range(2):
            button.press("Enter")
        assert models()[0] == "resnet14 plain seed 0"
        assert page.locator("section[data-part='1'] th[aria-sort=descending]").count() == 1
    assert problems == []
