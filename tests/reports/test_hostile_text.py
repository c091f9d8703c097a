"""Names that would be obeyed instead of shown, by a terminal, a browser, an editor or a spreadsheet."""

import csv
import io
import re
import sys
import warnings

import pandas
import pytest
from rich.console import Console

from pushpull.cli import main, parser
from pushpull.errors import InputError, all_printable, printable
from pushpull.reports import compare, write_report
from pushpull.reports.comparable import Entry
from pushpull.reports.comparison import compare_twins
from pushpull.reports.evidence import confusions
from pushpull.reports.markup import fenced, markdown, print_comparison, table_markdown
from pushpull.reports.report_files import long_csv, table_csv, wide_csv, write_table

# Clears the screen, sets the window's title, turns the writing, half of a character, a bell, a second line.
EVIL = "a\x1b[2J\x1b]0;t\x07\u202eb\u2066\udc80\x9b\nc"
OBEYED = re.compile("[\x00-\x09\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069\u200e\u200f\ud800-\udfff]")


@pytest.fixture
def comparison(results):
    changes = {"data": {"label": EVIL, "note": EVIL, "classes": [EVIL]}, "corruption": {"source": EVIL}}
    model = {"name": EVIL, "stem": EVIL, "label": EVIL, "source": EVIL}
    changes |= {"model": model, "preprocessing": {"from": EVIL}}
    entries = [Entry.of([results(**changes)], label=f"{EVIL}{i}", source=f"{EVIL}{i}") for i in range(2)]
    return compare(entries[0], entries[1:], title=EVIL, commands=[EVIL])


def test_text_is_shown_as_python_shows_it():
    assert printable(EVIL) == r"a\x1b[2J\x1b]0;t\x07\u202eb\u2066\udc80\x9b\nc"
    assert printable("naïve 猫\u3000ب\u200cپ 👩\u200d🔬") == "naïve 猫\u3000ب\u200cپ 👩\u200d🔬"


def test_what_is_clean_stays_the_same_object(results):
    clean = compare(Entry.of([results()], label="a"), [Entry.of([results()], label="b")])
    assert all_printable(clean) is clean


def test_a_report_shows_names_and_obeys_none(comparison, tmp_path):
    for path in write_report(comparison, tmp_path):
        if path.suffix != ".png":
            assert OBEYED.search(path.read_text(encoding="utf-8")) is None, path.name
    assert r"a\x1b[2J" in (tmp_path / "index.html").read_text()
    assert r"a\x1b[2J" in (tmp_path / "comparison.csv").read_text()


def test_predictions_show_names_and_obey_none():
    """A set on disk calls its corruptions anything, and so do the predictions on it."""
    name = EVIL.replace("\udc80", "")  # half of a character, which parquet does not hold
    table = {"index": [0], "label": [0], "prediction": [1], "corruption": [name], "severity": [1]}
    (pair,) = confusions([pandas.DataFrame(table)], ["cat", "dog"])
    assert pair["corruption"] == printable(name)


def test_a_terminal_shows_names_and_obeys_none(comparison):
    stream = io.StringIO()
    print_comparison(comparison, Console(file=stream, width=200, highlight=False))
    assert OBEYED.search(stream.getvalue()) is None
    assert r"\x1b[2J" in stream.getvalue()


def test_a_table_shows_names_and_obeys_none(results, tmp_path):
    entries = [Entry.of([results(data={"label": EVIL})], label=f"{EVIL}{i}") for i in range(2)]
    made = compare_twins(entries, {f"{EVIL}1": f"{EVIL}0"}, f"{EVIL}0", title=EVIL)
    about = {"title": EVIL, "facts": [(EVIL, EVIL)], "notes": [EVIL], "command": EVIL, "missing": [EVIL]}
    about |= {"problems": {EVIL: EVIL}, "unasked": [EVIL]}
    for path in write_table(made, tmp_path, about):
        if path.suffix != ".png":
            assert OBEYED.search(path.read_text(encoding="utf-8")) is None, path.name


@pytest.mark.parametrize("start", ["=", "+", "-", "@", "\t=", " ="])
def test_no_cell_of_a_csv_is_a_formula(results, start):
    label = f"{start}HYPERLINK(1)"
    entries = [Entry.of([results(clean=0.5)], label="base"), Entry.of([results()], label=label)]
    made = compare(entries[0], entries[1:])
    cells = [
        cell
        for text in (wide_csv(made), long_csv(made))
        for row in csv.reader(text.splitlines())
        for cell in row
    ]
    cells += [cell for row in csv.reader(table_csv(made).splitlines()) for cell in row]
    assert any("HYPERLINK" in cell for cell in cells)
    texts = [cell for cell in cells if not re.fullmatch(r"-?[\d.]+", cell)]
    assert not [cell for cell in texts if cell.lstrip()[:1] in tuple("=+-@") and cell]
    assert any(cell.startswith("-0.") for cell in cells)  # a number stays one


def test_backticks_end_no_block_of_code(results):
    entries = [Entry.of([results()], label=label) for label in "ab"]
    text = markdown(compare(entries[0], entries[1:], commands=["pushpull compare 'a```b' c"]))
    assert "\n````\npushpull compare 'a```b' c\n````\n" in text
    about = {"title": "t", "facts": [], "notes": [], "command": "ls '````'", "missing": [], "problems": {}}
    assert table_markdown(None, about | {"unasked": []}).endswith("`````sh\nls '````'\n`````\n")
    assert fenced("`") == "```\n`\n```"


def test_errors_and_warnings_of_the_command_line_are_one_clean_line(monkeypatch, capsys):
    def fails(*_):
        # pytest keeps warnings for itself; this is what Python would write.
        print(warnings.formatwarning(UserWarning(EVIL), UserWarning, "f.py", 1), end="", file=sys.stderr)
        raise InputError(EVIL + "x" * 10_000)

    monkeypatch.setattr(parser, "parse", fails)
    before = warnings.formatwarning
    assert main(["train"]) == 2
    said = capsys.readouterr().err
    assert OBEYED.search(said) is None
    warning, error = said.splitlines()
    assert warning == r"pushpull: warning: a\x1b[2J\x1b]0;t\x07\u202eb\u2066\udc80\x9b c"
    assert error.startswith(r"pushpull: error: a\x1b[2J")
    assert len(error) < 3000
    assert warnings.formatwarning is before
