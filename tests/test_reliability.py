"""The commands of docs/reliability.md: each names files that there are, and words that select a test."""

import re
import shlex
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]


def commands() -> list[str]:
    """Return what is in backticks in the last column of the table."""
    rows = (row for row in (ROOT / "docs/reliability.md").read_text().splitlines() if row.startswith("| "))
    cells = [row.rsplit(" | ", 1)[1].removesuffix("|") for row in list(rows)[2:]]
    assert all("`" in cell for cell in cells), "a row without a command"
    return [command for cell in cells for command in re.findall(r"`([^`]+)`", cell)]


def named(paths: list[Path]) -> set[str]:
    """Return the names of the tests in files and folders."""
    files = [file for path in paths for file in (path.rglob("test_*.py") if path.is_dir() else [path])]
    return {name for file in files for name in re.findall(r"^def (test_\w+)", file.read_text(), re.MULTILINE)}


@pytest.mark.parametrize("command", commands())
def test_it_can_be_run(command: str) -> None:
    words = shlex.split(command)
    chosen = words[words.index("-k") + 1] if "-k" in words else ""
    paths = [ROOT / word for word in words if word.startswith(("tests/", "benchmarks/", ".ci/"))]
    assert paths, "no file is named"
    assert [path for path in paths if not path.exists()] == []
    if "pytest" in words:
        names = named(paths)
        assert names
        for word in chosen.split(" or ") if chosen else []:
            assert any(word in name for name in names), f"-k {word} selects nothing"
