"""What a training shows: a line for each epoch that stays; in a terminal a bar whose clock runs."""

import io
import re
import sys
import time
from types import SimpleNamespace

from pushpull.training import train
from pushpull.training.tracking import TrainingProgress

LINE = r"epoch {}/2  loss \d+\.\d{{3}}  validation error \d+\.\d%  \d+\.\d s"


def terminal(monkeypatch):
    """Make standard error a terminal of 80 columns; not in a fixture, after which pytest sets its own."""
    stream = io.StringIO()
    stream.isatty = lambda: True
    monkeypatch.setattr(sys, "stderr", stream)
    for name, value in {"COLUMNS": "80", "TERM": "xterm"}.items():
        monkeypatch.setenv(name, value)
    return stream


def test_in_a_terminal_the_history_of_epochs_stays_above_the_bar(recipe, few, tmp_path, monkeypatch):
    shown = terminal(monkeypatch)
    train(recipe, tmp_path / "run", splits=few)
    plain = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", shown.getvalue())
    for epoch in (1, 2):
        assert len(re.findall(rf"[\r\n]{LINE.format(epoch)}\r?\n", plain)) == 1
    assert "10/10" in plain
    assert max(map(len, re.split(r"[\r\n]", plain))) <= 80


def test_elsewhere_there_are_the_lines_alone(recipe, few, tmp_path, capsys):
    train(recipe, tmp_path / "run", splits=few)
    lines = capsys.readouterr().err.splitlines()
    assert [bool(re.fullmatch(LINE.format(i + 1), line)) for i, line in enumerate(lines)] == [True, True]


def test_the_clock_runs_before_the_first_step(monkeypatch):
    shown, progress = terminal(monkeypatch), TrainingProgress(bar=True)
    progress.on_fit_start(SimpleNamespace(is_global_zero=True), None)
    time.sleep(1.3)
    progress.on_exception(None, None, None)
    assert "preparing" in shown.getvalue()
    assert "0:00:01" in shown.getvalue()
