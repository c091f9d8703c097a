"""A full disk and a removed folder are one line; where there is room again the work goes on."""

import re
import resource
import shutil
import subprocess
import sys
from functools import partial
from pathlib import Path

import pytest

from pushpull import Results
from pushpull.cli import main
from pushpull.models.loading import epochs_left

RUN = Path(__file__).parents[1] / "fixtures" / "run_of_ec61bc6"
TRAIN = (
    *("train", "--config", "digits", "--data.fraction", "0.1", "--epochs", "2", "--accelerator", "cpu"),
    *("--workers", "0"),
)
TABLE = """
title: Small
seeds: [0]
base: digits
limit: 20
recipe: {epochs: 1, accelerator: cpu, data: {name: digits, fraction: 0.1}}
rows:
  - {name: plain}
  - {name: other, augment: {padding: 1}}
"""


def start(*words: object, largest: int | None = None) -> subprocess.Popen[str]:
    """Start a command whose files may have at most so many bytes."""
    limit = (
        None if largest is None else partial(resource.setrlimit, resource.RLIMIT_FSIZE, (largest, largest))
    )
    return subprocess.Popen(
        [sys.executable, "-m", "pushpull", *map(str, words)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        preexec_fn=limit,  # noqa: PLW1509 - nothing but a limit is set
    )


def line_of(run: subprocess.Popen[str]) -> str:
    """Wait for the end; return the only line on standard error that is not progress."""
    said = run.communicate(timeout=120)[1]
    lines = [line for line in said.splitlines() if not re.match(r"epoch \d+/|resuming at", line)]
    assert run.returncode == 2, said
    assert len(lines) == 1, said
    assert lines[0].startswith("pushpull: error: ")
    return lines[0]


def test_a_training_without_room_goes_on_when_there_is_some(tmp_path: Path) -> None:
    folder = tmp_path / "run"
    words = (*TRAIN, "--output", folder, "--resume", "auto")
    for largest, file in ((1500, r"\S*"), (100_000, r"\S*model\.safetensors"), (500_000, r"\S*last\.ckpt")):
        line = line_of(start(*words, largest=largest))
        assert re.search(
            rf"{file} cannot be written \(File too large\); finished work is kept: make room", line
        )
        assert not [path for path in folder.rglob(".*") if path.name != ".pushpull.lock"]
    assert main(list(map(str, words))) == 0
    assert epochs_left(folder) is None
    assert Results.load(folder).clean is not None


def test_a_table_without_room_stops_at_once_and_goes_on(tmp_path: Path) -> None:
    (tmp_path / "small.yaml").write_text(TABLE)
    words = ("reproduce", tmp_path / "small.yaml", "--output", tmp_path / "out", "--quiet")
    line = line_of(start(*words, largest=100_000))
    assert "model.safetensors cannot be written (File too large)" in line
    assert not (tmp_path / "out" / "runs" / "other").exists()
    assert main(list(map(str, words))) == 0


def remove_when(run: subprocess.Popen[str], folder: Path, pattern: str) -> None:
    """Remove a folder as soon as it holds a file."""
    while not any(folder.glob(pattern)):
        assert run.poll() is None, run.communicate()
    while folder.exists():
        shutil.rmtree(folder, ignore_errors=True)


@pytest.mark.parametrize(
    ("words", "pattern"),
    [
        ((*TRAIN[:4], "0.5", "--epochs", "50", "--accelerator", "cpu", "--output"), "last.ckpt"),
        (("evaluate", RUN, "--quiet", "--output"), "results.json"),
        (("corrupt", "--quiet", "--workers", "0", "digits"), "*/*/*.parquet"),
        (("corrupt", "--quiet", "--workers", "2", "digits"), "*/*/*.parquet"),
    ],
    ids=["train", "evaluate", "corrupt", "corrupt_by_workers"],
)
def test_a_folder_that_is_removed_stays_removed(words: tuple[str, ...], pattern: str, tmp_path: Path) -> None:
    folder = tmp_path / "out"
    run = start(*words, folder)
    remove_when(run, folder, pattern)
    assert f"{folder} was removed while it was written to" in line_of(run)
    assert not folder.exists()
