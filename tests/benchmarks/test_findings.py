"""The findings' intervals from a table written by hand."""

import csv
import math

import pytest
from scipy.stats import t

from pushpull.errors import InputError
from pushpull.reports.comparison import FRAME_COLUMNS


def written(path, rows):
    with path.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(FRAME_COLUMNS)
        for row, minus, figure, seeds, mean, std in rows:
            writer.writerow([row, minus, figure, "", "fraction", seeds, mean, std, "", ""])
    return path


def table(path, figures):
    rows = [("baseline", "", name, "0 1 2", 0.3, 0.01) for name in figures]
    for name in figures:
        rows.append(("A", "baseline", name, "0 1 2", -0.02, 0.01))
        rows.append(("B", "baseline", name, "0 1", 0.001, 0.02))
        rows.append(("C", "A", name, "0", 0.05, ""))
    return written(path, rows)


def test_the_spread_is_pooled_over_rows_by_degrees_of_freedom(program, tmp_path, capsys, monkeypatch):
    findings = program("findings")
    path = table(tmp_path / "table.csv", findings.FIGURES)
    rows = findings.read_differences(path)
    assert [(row.row, row.twin, row.seeds) for row in rows] == [
        ("A", "baseline", 3),
        ("B", "baseline", 2),
        ("C", "A", 1),
    ]
    std, freedom = findings.pooled(rows, "clean_error")
    assert freedom == 3
    assert std == pytest.approx(math.sqrt((2 * 1.0**2 + 1 * 2.0**2) / 3))
    half = findings.half_widths(rows)[0]["clean_error"]
    assert half == pytest.approx(t.ppf(0.975, 3) * std / math.sqrt(3))

    monkeypatch.setattr("sys.argv", ["findings.py", str(path), "--figure", str(tmp_path / "out" / "f.png")])
    findings.main()
    printed = capsys.readouterr().out.splitlines()
    assert printed[2].startswith(f"| A | 3 | −2.0 ± {half:.1f} |")
    assert printed[4].startswith("| C − A | 1 | **+5.0 ± ")
    assert (tmp_path / "out" / "f.png").read_bytes()[1:4] == b"PNG"
    assert len({panel.get_xlim() for panel in findings.forest(rows).axes}) == 1


def test_an_interval_that_leaves_zero_out_is_bold(program):
    findings = program("findings")
    assert findings._cell(-2.04, 1.0) == "**−2.0 ± 1.0**"
    assert findings._cell(0.04, 1.0) == "+0.0 ± 1.0"


def test_single_seeds_have_no_spread(program, tmp_path):
    findings = program("findings")
    rows = [("A", "baseline", name, "0", 0.1, "") for name in findings.FIGURES]
    with pytest.raises(InputError, match="train more seeds"):
        findings.table(findings.read_differences(written(tmp_path / "table.csv", rows)))


def test_mistakes_are_one_line(program, tmp_path, capsys, monkeypatch):
    findings = program("findings")
    rows = [("A", "baseline", name, "0", 0.1, "") for name in findings.FIGURES]
    single, none = written(tmp_path / "single.csv", rows), written(tmp_path / "none.csv", [])
    for path, said in (
        (single, "train more seeds"),
        (none, "no row with a twin"),
        (tmp_path / "x", "not exist"),
    ):
        monkeypatch.setattr("sys.argv", ["findings.py", str(path)])
        with pytest.raises(SystemExit, match="2"):
            findings.main()
        assert said in capsys.readouterr().err
