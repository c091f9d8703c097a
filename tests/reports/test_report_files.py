import json

import pytest

from pushpull.cli import main
from pushpull.cli.report import compare_command
from pushpull.errors import InputError, MissingFileError
from pushpull.reports import compare, write_report

FILES = [
    "index.html",
    "comparison.md",
    "comparison.tex",
    "comparison.csv",
    "results_long.csv",
    "comparison.json",
    "error_by_severity.png",
    "error_by_severity.svg",
    "differences.png",
    "differences.svg",
]


@pytest.fixture
def runs(seeds):
    return seeds("plain", [(0.20, 0.40), (0.30, 0.50)]), seeds("pp3", [(0.25, 0.40), (0.35, 0.40)])


def test_a_folder_that_cannot_be_made_is_one_clear_line(runs, tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(InputError, match=r"file cannot be written .*give another folder"):
        write_report(compare(runs[0], runs[1:]), tmp_path / "file")


def test_the_command_prints_and_writes_ten_files(runs, tmp_path, capsys):
    folder = tmp_path / "deep" / "report"
    compare_command(str(runs[0]), [str(runs[1])], output=str(folder), title="Ours")
    printed = capsys.readouterr().out
    assert printed.startswith("Ours\n")
    assert f"Report: {folder / 'index.html'} (with 9 tables" in printed
    assert sorted(path.name for path in folder.iterdir()) == sorted(FILES)
    assert all((folder / name).stat().st_size for name in FILES)
    assert json.loads((folder / "comparison.json").read_text())["title"] == "Ours"
    command = f"pushpull compare {runs[0]} {runs[1]} --output {folder}"
    assert command in (folder / "comparison.md").read_text()


def test_the_command_without_output_writes_nothing(runs, tmp_path, capsys):
    before = sorted(tmp_path.rglob("*"))
    compare_command(str(runs[0]), [str(runs[1])])
    assert sorted(tmp_path.rglob("*")) == before
    assert "mean corruption error" in " ".join(capsys.readouterr().out.split())


def test_a_missing_baseline_is_an_error(runs, tmp_path):
    with pytest.raises(MissingFileError, match="absent does not exist"):
        compare_command(str(tmp_path / "absent"), [str(runs[1])])


@pytest.mark.parametrize(
    ("form", "begin"),
    [
        ("markdown", "# resnet14 pp3 against resnet14 plain\n"),
        ("latex", "% resnet14 pp3 against resnet14 plain\n"),
        ("csv", "model,baseline,runs,seeds,data,"),
        ("json", '{\n "schema": "pushpull-comparison/1",'),
    ],
)
def test_the_command_prints_other_formats_and_nothing_beside_them(runs, tmp_path, capsys, form, begin):
    arguments = ["compare", *map(str, runs), "--format", form, "--output", str(tmp_path / "out")]
    assert main(arguments) == 0
    printed = capsys.readouterr()
    assert printed.out.startswith(begin)
    assert "Report" not in printed.out
    assert "Report: " in printed.err
    name = {"markdown": "comparison.md", "latex": "comparison.tex"}.get(form, f"comparison.{form}")
    assert (tmp_path / "out" / name).read_text() == printed.out


def test_an_unknown_format_is_one_line(runs, capsys):
    assert main(["compare", *map(str, runs), "--format", "word"]) == 2
    assert "format" in capsys.readouterr().err
