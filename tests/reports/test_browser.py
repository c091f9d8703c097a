"""The page in a real browser: nothing fails, nothing is fetched, nothing overflows, and it can be used."""

import shutil

import pandas
import pytest

from pushpull.corruptions import CORRUPTIONS
from pushpull.reports import Entry, compare
from pushpull.reports.comparison import side_by_side
from pushpull.reports.evidence import Evidence
from pushpull.reports.page import page

sync_api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
pytestmark = pytest.mark.skipif(
    CHROMIUM is None, reason="no chromium here (Debian: apt-get install chromium)"
)

# Contrast of every text with what lies under it, by WCAG's formula; pictures and hidden text left out.
CONTRAST = """() => {
  const numbers = (text) => text.match(/[\\d.]+/g).map(Number);
  const parse = (text) => [...numbers(text), 1].slice(0, 4);
  const over = (a, b) => [0, 1, 2].map((i) => a[i] * a[3] + b[i] * (1 - a[3]));
  const linear = (v) => v <= .03928 ? v / 12.92 : ((v + .055) / 1.055) ** 2.4;
  const light = (c) => c.slice(0, 3).map((v) => linear(v / 255))
    .reduce((sum, v, i) => sum + v * [.2126, .7152, .0722][i], 0);
  const ground = (element) => {
    const layers = [];
    for (let at = element; at; at = at.parentElement)
      layers.push(parse(getComputedStyle(at).backgroundColor));
    return layers.reverse().reduce((under, layer) => over(layer, under), [255, 255, 255]);
  };
  const found = [];
  for (const element of document.querySelectorAll("body *")) {
    const own = [...element.childNodes].some((node) => node.nodeType === 3 && node.textContent.trim());
    if (!own || !element.checkVisibility() || ["SCRIPT", "STYLE"].includes(element.tagName)) continue;
    const style = getComputedStyle(element), under = ground(element);
    const ink = over(parse(element instanceof SVGElement ? style.fill : style.color), under);
    const [a, b] = [light(ink), light(under)].sort((x, y) => y - x);
    const ratio = (a + .05) / (b + .05);
    const said = `${element.tagName} ${element.textContent.trim().slice(0, 30)} ${ratio.toFixed(2)}`;
    if (ratio < 4.5) found.push(said);
  }
  return found;
}"""
OVERFLOWING = """() => [...document.querySelectorAll("body *")].filter((element) =>
  !element.closest(".scroll, pre, [hidden]") && element.checkVisibility()
  && element.getBoundingClientRect().right > document.documentElement.clientWidth + 1
).map((element) => element.outerHTML.slice(0, 80))"""


def nine(results):
    spread = {name: [0.02 * n + 0.03 * s for s in range(1, 6)] for n, name in enumerate(CORRUPTIONS)}
    runs = []
    for n in range(9):
        of_seeds = [
            results(
                f"stem{n}",
                seed,
                clean=0.1 + 0.01 * n,
                errors={k: [e * (1 - n / 20) for e in v] for k, v in spread.items()},
            )
            for seed in (0, 1)
        ]
        runs.append(Entry.of(of_seeds, label=f"a network of a long name, kind {n}"))
    return compare(runs[0], runs[1:])


@pytest.fixture(scope="module")
def pages(results, tmp_path_factory):
    """Files of a page of one result, of two and of nine."""
    folder = tmp_path_factory.mktemp("pages")
    spread = {name: [0.02 * n + 0.03 * s for s in range(1, 6)] for n, name in enumerate(CORRUPTIONS)}
    data = {"classes": ["cat", "dog"]}
    one = Entry.of([results(errors=spread, images=300, data=data)])
    two = Entry.of([results("pp3", errors=0.3, images=300, data=data)])
    made = {"one": side_by_side([one]), "two": compare(one, [two]), "nine": nine(results)}
    long = {"data": {"classes": ["<b>" + "x" * 300, "dog"], "label": "y" * 300}}
    entries = [Entry.of([results(errors=0.3, **long)], label=f"{'z' * 300}{n}") for n in range(2)]
    answers = {"index": [0, 1], "label": [0, 1], "prediction": [1, 0], "confidence": [0.9, 0.8]}
    table = pandas.DataFrame(answers | {"corruption": "fog", "severity": 1})
    shown = Evidence({entries[0].label: [table]})
    (folder / "long.html").write_text(page(side_by_side(entries[:1]), evidence=shown), encoding="utf-8")
    made["long two"] = side_by_side(entries)
    for name, comparison in made.items():
        (folder / f"{name}.html").write_text(page(comparison), encoding="utf-8")
    return folder


@pytest.fixture(scope="module")
def browser():
    with sync_api.sync_playwright() as playwright:
        launched = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield launched
        launched.close()


@pytest.fixture
def opened(browser, pages):
    """Open a page at a width and in a scheme; its complaints and requests are kept on it."""
    there = []

    def open_page(name, width=1300, scheme="light"):
        tab = browser.new_page(viewport={"width": width, "height": 844}, color_scheme=scheme)
        tab.set_default_timeout(120_000)  # ms, on a machine with other work
        tab.complaints, tab.asked = [], []
        tab.on("console", lambda message: tab.complaints.append(message.text))
        tab.on("pageerror", lambda error: tab.complaints.append(str(error)))
        tab.on("request", lambda request: tab.asked.append(request.url))
        tab.goto((pages / f"{name}.html").as_uri())
        there.append(tab)
        return tab

    yield open_page
    for tab in there:
        tab.close()


@pytest.mark.parametrize("name", ["one", "two", "nine", "long", "long two"])
@pytest.mark.parametrize("width", [390, 1300])
def test_nothing_fails_nothing_is_fetched_and_nothing_overflows(opened, pages, name, width):
    tab = opened(name, width)
    for summary in tab.locator("summary").all():
        summary.click()
    assert tab.complaints == []
    assert [url for url in tab.asked if not url.startswith("data:")] == [(pages / f"{name}.html").as_uri()]
    assert tab.evaluate("document.documentElement.scrollWidth") <= width
    assert tab.evaluate(OVERFLOWING) == []


@pytest.mark.parametrize("name", ["long", "long two"])
def test_a_name_of_any_length_leaves_the_figures_in_sight(opened, name):
    """No cell, and so no column, is wider than the screen of a telephone."""
    widths = "[...document.querySelectorAll('th, td, caption span')].map((one) => one.offsetWidth)"
    assert max(opened(name, 390).evaluate(widths)) <= 390


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("name", ["one", "two"])
def test_text_can_be_read_in_both_schemes(opened, name, scheme):
    assert opened(name, scheme=scheme).evaluate(CONTRAST) == []


def names(tab):
    return tab.locator("#weak tbody th").all_text_contents()


def test_tables_sort_by_click_and_by_key(opened):
    tab = opened("one")
    before, column = names(tab), tab.locator("#weak thead th").nth(0)
    column.locator("button").click()
    assert names(tab) == sorted(before, key=str.lower)
    assert column.get_attribute("aria-sort") == "ascending"
    mean = tab.locator("#weak thead th").nth(1)
    mean.locator("button").focus()
    tab.keyboard.press("Enter")
    assert names(tab) == before[::-1], "the page begins with the worst"
    assert (mean.get_attribute("aria-sort"), column.get_attribute("aria-sort")) == ("ascending", "none")
    tab.keyboard.press("Space")
    assert names(tab) == before
    assert mean.get_attribute("aria-sort") == "descending"


def test_negative_numbers_sort_as_numbers(opened):
    tab = opened("two")
    table = tab.locator("#classes table")
    table.locator("thead button").nth(2).click()
    values = [
        float(t.replace("−", "-")) for t in table.locator("tbody tr td:nth-child(3)").all_text_contents()
    ]
    assert values == sorted(values)


def test_a_panel_tells_its_values_to_pointer_and_keyboard(opened):
    tab = opened("two")
    panel, tip = tab.locator("#severity svg[tabindex]").first, tab.locator("#tip")
    assert tip.is_hidden()
    panel.locator(".hit").nth(3).hover()
    assert tip.inner_text().startswith("mean of the 15, 3\nresnet14 plain seed 0: ")
    tab.mouse.move(0, 0)
    assert tip.is_hidden()
    panel.focus()
    tab.keyboard.press("ArrowRight")
    assert tip.inner_text().startswith("mean of the 15, clean\n")
    assert tip.get_attribute("aria-live") == "polite"
    tab.keyboard.press("Escape")
    assert tip.is_hidden()


def test_the_name_of_a_line_stays_in_sight_when_a_table_scrolls(opened):
    tab = opened("nine", 390)
    box = tab.locator("#results .scroll").last
    box.evaluate("box => { box.scrollLeft = 400; }")
    assert box.evaluate("box => box.scrollLeft") > 300
    left = box.locator("tbody th").first.bounding_box()["x"]
    assert left == pytest.approx(box.bounding_box()["x"], abs=1)
