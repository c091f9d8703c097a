"""`pushpull reproduce` on digits, from the table file to the files of the table."""

import json
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from pushpull.errors import InputError
from pushpull.evaluation import Results
from pushpull.files import InUseError
from pushpull.reports import read_table, reproduce, reproduction
from pushpull.reports.table_runs import Clock, runs_of


def assert_same_run(first: Path, second: Path) -> None:
    one, two = (load_file(folder / "model.safetensors") for folder in (first, second))
    assert one.keys() == two.keys()
    assert all(torch.equal(one[key], two[key]) for key in one)
    left, right = Results.load(first), Results.load(second)
    assert left.complete
    assert left.errors() == right.errors()
    assert left.clean_error == right.clean_error


def test_the_table_and_all_that_is_promised(whole, table, capsys):
    names = {path.name for path in whole.iterdir()}
    kinds = ("md", "csv", "json", "tex", "html", "png", "svg")
    assert names == {"runs", *(f"table.{kind}" for kind in kinds)}
    value = json.loads((whole / "table.json").read_text())
    assert value["complete"]
    assert [row["name"] for row in value["rows"]] == ["baseline", "PP3"]
    assert value["recipes"]["PP3"]["model"]["stem"] == "pp3"
    results = [Results.load(whole / "runs" / slug / "seed0") for slug in ("baseline", "pp3")]
    expected = results[1].clean_error - results[0].clean_error
    assert value["rows"][1]["differences"]["clean_error"]["mean"] == pytest.approx(expected)
    text = (whole / "table.md").read_text()
    assert "demonstration, not evidence" in text
    assert "10 (test split), limited to 10" in text
    assert f"pushpull reproduce {table} --output {whole}" in text

    before = {path: path.stat().st_mtime_ns for path in whole.glob("runs/*/*/*.safetensors")}
    reproduce(table, output=str(whole), quiet=True)
    assert before == {path: path.stat().st_mtime_ns for path in whole.glob("runs/*/*/*.safetensors")}
    printed = capsys.readouterr().out
    assert "trained" not in printed
    assert "remain" not in printed


def test_a_finished_run_of_another_recipe_is_not_deleted(copied, table):
    folder = copied / "runs" / "baseline" / "seed0"
    (folder / "last.ckpt").unlink()
    before = {name: (folder / name).read_bytes() for name in ("model.safetensors", "results.json")}
    with pytest.raises(InputError):
        reproduce(table, rows=["baseline"], epochs=1, output=str(copied), quiet=True)
    assert before == {name: (folder / name).read_bytes() for name in before}


def test_weights_lost_before_they_were_measured_are_trained_again(copied, whole, table, capsys):
    folder = copied / "runs" / "baseline" / "seed0"
    (folder / "model.safetensors").unlink()
    (folder / "results.json").unlink()
    reproduce(table, rows=["baseline"], output=str(copied), quiet=True)
    printed = capsys.readouterr().out
    assert "baseline seed 0: model.safetensors is gone: trained again from the start" in printed
    assert "remain" not in printed
    assert_same_run(folder, whole / "runs" / "baseline" / "seed0")


def test_a_measured_run_needs_no_weights_any_more(copied, table, capsys):
    folder = copied / "runs" / "baseline" / "seed0"
    (folder / "model.safetensors").unlink()
    before = (folder / "results.json").read_bytes()
    reproduce(table, rows=["baseline"], output=str(copied), quiet=True)
    assert "trained again" not in capsys.readouterr().out
    assert not (folder / "model.safetensors").exists()
    assert (folder / "results.json").read_bytes() == before


def test_another_limit_is_refused_with_what_helps_here(copied, table, capsys):
    with pytest.raises(InputError, match="1 of 1 runs failed"):
        reproduce(table, rows=["baseline"], limit=5, output=str(copied), quiet=True)
    results = copied / "runs" / "baseline" / "seed0" / "results.json"
    printed = capsys.readouterr().out
    assert f"; give another --output, or remove {results} to measure again" in printed
    assert "--overwrite" not in printed


KILLED = """
import os, signal, sys
from pushpull.reports import reproduce
from pushpull.training import run
from pushpull.training.module import Classifier

run._CHECKPOINT_EVERY_S, step = 0.0, Classifier.training_step

def killed(self, batch, number):
    if self.current_epoch == 1 and number == 2:
        os.kill(os.getpid(), signal.SIGKILL)
    return step(self, batch, number)

Classifier.training_step = killed
reproduce(sys.argv[1], rows=["baseline"], output=sys.argv[2], quiet=True)
"""


def test_killed_in_the_middle_of_an_epoch_it_goes_on_to_the_same_result(whole, table, tmp_path):
    done = subprocess.run([sys.executable, "-c", KILLED, table, tmp_path], check=False, capture_output=True)
    assert done.returncode == -signal.SIGKILL, done.stderr.decode()
    state = torch.load(tmp_path / "runs" / "baseline" / "seed0" / "last.ckpt", weights_only=True)
    assert state["epoch"] == 1
    reproduce(table, rows=["baseline"], output=str(tmp_path), quiet=True)
    assert_same_run(tmp_path / "runs" / "baseline" / "seed0", whole / "runs" / "baseline" / "seed0")
    assert not list(tmp_path.glob("**/.*"))  # nothing half-written stays


class Ticking(Clock):
    """Time is over after so many questions; `left` is set anew for each sitting."""

    left = 0

    def over(self):
        self.left -= 1
        return self.left < 0

    def before_next(self):
        return self.over


def test_stopped_by_the_time_limit_again_and_again(whole, table, tmp_path, monkeypatch, capsys):
    """The first sitting ends in training (8 steps), the second in the evaluation (76 conditions)."""
    monkeypatch.setattr(reproduction, "Clock", Ticking)
    sittings, complete = 0, False
    while not complete:
        monkeypatch.setattr(Ticking, "left", 50 if sittings else 5)
        reproduce(table, rows=["baseline"], output=str(tmp_path), minutes=8, quiet=True)
        complete = json.loads((tmp_path / "table.json").read_text())["complete"]
        sittings += 1
        printed = capsys.readouterr().out
        if sittings == 1:
            assert "baseline seed 0: stopped, the time is over" in printed
            assert "1 of 1 runs remain (baseline seed 0). Go on with:\n  pushpull reproduce" in printed
            assert "**Not complete:** 1 runs" in (tmp_path / "table.md").read_text()
            state = torch.load(tmp_path / "runs" / "baseline" / "seed0" / "last.ckpt", weights_only=True)
            assert state["global_step"] < 8
    assert sittings == 3
    assert_same_run(tmp_path / "runs" / "baseline" / "seed0", whole / "runs" / "baseline" / "seed0")


def test_the_clock(monkeypatch):
    now = [100.0]
    monkeypatch.setattr("pushpull.reports.table_runs.time.monotonic", lambda: now[0])
    clock = Clock(1.0)
    too_late = clock.before_next()
    asked = []
    for seconds in (20.0, 15.0, 30.0):  # at 0, 20 (longest 20), 35 (longest 20), 65
        asked.append(too_late())
        now[0] += seconds
    assert asked == [False, False, False]
    assert too_late()
    assert clock.over()
    late = Clock(1.0)
    now[0] += 50.0
    first = late.before_next()
    assert not first()  # however little is left, one piece is done
    now[0] += 4.0
    assert not first()  # the next may end at 58 s
    now[0] += 3.0
    assert first()  # 57 and 4 are more than 60
    assert not Clock(None).before_next()()


def test_a_run_is_worked_on_by_one_process(whole, table, tmp_path, capsys):
    row = read_table(table).rows[0]
    [run], [again] = (runs_of([row], [0], tmp_path) for _ in range(2))
    with run.locked(), pytest.raises(InUseError), again.locked():
        pass
    with run.locked():
        reproduce(table, rows=["baseline"], output=str(tmp_path), quiet=True)
    assert "baseline seed 0: another process works on it" in capsys.readouterr().out
    assert not run.folder.exists()
    holder = f"""
import sys
from pathlib import Path
from filelock import FileLock
lock = FileLock({str(run.folder.with_suffix(".lock"))!r})
lock.acquire()
print("held", flush=True)
sys.stdin.read()
"""
    with subprocess.Popen(
        [sys.executable, "-c", holder], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as other:
        assert other.stdout.readline() == b"held\n"
        with pytest.raises(InUseError), run.locked():
            pass
        other.kill()
        other.wait()
        with run.locked():  # a killed process holds nothing
            pass


def test_a_dry_run_takes_two_steps_of_each_row_named(table, tmp_path, capsys):
    reproduce(table, rows=["baseline", "blurpool"], output=str(tmp_path), dry_run=True, limit=3, quiet=True)
    folder = tmp_path / "dry-run" / "runs" / "blurpool" / "seed0"
    assert torch.load(folder / "last.ckpt", weights_only=True)["global_step"] == 2
    results = Results.load(folder)
    assert results.data["note"] == "dry run, not results"
    assert (results.data["images"], sum(map(len, results.corrupted.values()))) == (3, 75)
    assert "**dry run, not results**" in (tmp_path / "dry-run" / "table.md").read_text()
    said = capsys.readouterr().out
    assert "The dry run works for baseline, BlurPool." in said
    assert not set("*|│%") & set(said)  # neither Markdown nor errors
    svg = (tmp_path / "dry-run" / "table.svg").read_text()
    assert "bars" not in svg
    assert "seed 0 per model" in svg


def test_mistakes_stop_before_anything_is_trained(table, tmp_path):
    out = str(tmp_path / "out")
    for options, message in (
        ({"rows": ["PP4"]}, "row='PP4' is not one of baseline, PP3, BlurPool"),
        ({"seeds": [1, 1]}, "at least one seed, each once"),
        ({"minutes": 0.0}, "minutes=0.0 must be above 0"),
        ({"limit": 0}, "limit=0 is below 1"),
        ({"limit": 0, "dry_run": True}, "limit=0 is below 1"),
        ({"limit": -3, "dry_run": True}, "limit=-3 is below 1"),
        ({"epochs": 0}, "epochs=0 must be at least 1"),
        ({"data": "nowhere"}, "'nowhere' does not exist"),
        ({"accelerator": "tpu"}, "accelerator='tpu' is not one of"),
    ):
        with pytest.raises(InputError, match=message):
            reproduce(table, output=out, quiet=True, **options)
    with pytest.raises(InputError, match=r"needs a list of 100 classes, .* give one with --classes"):
        reproduce("imagenet100", output=out, quiet=True)
    names = tmp_path / "names.txt"
    names.write_text("a\nb\n")
    with pytest.raises(InputError, match=r"names 2 classes; .* has 100"):
        reproduce("imagenet100", output=out, classes=str(names), quiet=True)
    assert not Path(out).exists()
