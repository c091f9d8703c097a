"""Commands that a signal ends say how far they are and how to go on, and go on there."""

import re
import shlex
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from pushpull.cli import main
from pushpull.errors import Interrupted
from pushpull.evaluation import Results

RUN = Path(__file__).parents[1] / "fixtures" / "run_of_ec61bc6"
SIGNALS = pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)])


def start(*words: object) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "pushpull", *map(str, words)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def stopped(
    run: subprocess.Popen[str], number: signal.Signals, when: Callable[[], object]
) -> tuple[int, str]:
    """Send a signal as soon as `when()`; return the exit code and standard error."""
    while not when():
        assert run.poll() is None, run.communicate()
        time.sleep(0.02)
    run.send_signal(number)
    said = run.communicate(timeout=60)[1]
    return run.returncode, said


def last_line(said: str) -> str:
    lines = [line for line in said.splitlines() if line.startswith("pushpull: ")]
    assert len(lines) == 1, said
    assert "Traceback" not in said
    return lines[0]


def command(line: str) -> list[str]:
    words = shlex.split(line.partition("go on with: ")[2])
    assert words[0] == "pushpull", line
    return words[1:]


@SIGNALS
def test_evaluate_says_how_many_conditions_there_are(
    number: signal.Signals, code: int, tmp_path: Path
) -> None:
    file = tmp_path / "results.json"
    words = (
        "evaluate",
        RUN,
        "--output",
        tmp_path,
        "--overwrite",
        "--quiet",
        "--corruptions",
        "brightness",
        "contrast",
    )
    found, said = stopped(start(*words), number, file.exists)
    assert found == code, said
    there = re.fullmatch(
        rf"pushpull: stopped; (\d+) of 11 conditions are in {file}; go on with: .*", last_line(said)
    )
    assert there, said
    results = Results.load(file)
    done = (results.clean is not None) + sum(map(len, results.corrupted.values()))
    assert int(there[1]) == done < 11
    assert not results.complete
    again = command(last_line(said))
    assert "--overwrite" not in again
    assert main(again) == 0
    assert Results.load(file).clean == results.clean
    assert Results.load(file).complete


def test_corrupt_says_how_many_images_there_are(tmp_path: Path) -> None:
    words = ("corrupt", "digits", tmp_path / "copy", "--shard_images", "60", "--workers", "0", "--quiet")
    run = start(*words, "--format", "folder", "--limit", "100", "--corruptions", "contrast")
    found, said = stopped(
        run, signal.SIGTERM, lambda: next((tmp_path / "copy").glob("*/*/*/[!.]*.png"), None)
    )
    assert found == 143, said
    there = re.match(r"pushpull: stopped; (\d+) of 500 images are in ", last_line(said))
    assert there, said
    assert 0 < int(there[1]) <= len(list((tmp_path / "copy").glob("*/*/*/[!.]*.png")))
    assert main(command(last_line(said))) == 0


def test_reproduce_says_how_far_its_run_is(tmp_path: Path) -> None:
    table = tmp_path / "small.yaml"
    table.write_text(
        "title: Small\nseeds: [0]\nbase: digits\nlimit: 20\n"
        "recipe: {epochs: 1, accelerator: cpu, data: {name: digits, fraction: 0.1}}\n"
        "rows:\n  - {name: Plain}\n"
    )
    words = ("reproduce", table, "--output", tmp_path / "out", "--quiet")
    results = tmp_path / "out" / "runs" / "plain" / "seed0" / "results.json"
    found, said = stopped(
        start(*words), signal.SIGTERM, lambda: results.exists() and "contrast" in results.read_text()
    )
    line = last_line(said)
    assert found == 143
    assert re.search(
        r"0 of 1 runs are in .*table.md; .*Plain seed 0: stopped; \d+ of 76 conditions are in", line
    )
    assert main(command(line)) == 0


def test_before_anything_is_done_the_same_command_is_named(tmp_path: Path) -> None:
    run = start("evaluate", RUN, "--output", tmp_path / "out", "--quiet")
    time.sleep(2)
    found, said = stopped(run, signal.SIGTERM, lambda: True)
    assert found in (143, -signal.SIGTERM)  # the latter while Python itself began
    if found == 143:
        assert command(last_line(said)) == [
            "evaluate",
            str(RUN),
            "--output",
            str(tmp_path / "out"),
            "--quiet",
        ]


def test_quickstart_names_itself_not_the_run_at_hand(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def train(*_: object, **__: object) -> None:
        raise Interrupted("stopped in epoch 2 of 8 with a checkpoint", 15, go_on="pushpull train")

    monkeypatch.setattr("pushpull.cli.train.train", train)
    words = ["quickstart", "--output", str(tmp_path), "--seeds", "0"]
    assert main(words) == 143
    line = last_line(capsys.readouterr().err)
    assert line.startswith("pushpull: stopped in epoch 2 of 8 with a checkpoint; go on with: ")
    assert command(line) == words


def test_a_second_signal_ends_at_once() -> None:
    program = (
        "import pushpull.cli as cli, time, os, signal\n"
        "def long(*_):\n"
        "    try:\n"
        "        os.kill(os.getpid(), signal.SIGTERM)\n"
        "    finally:\n"
        "        print('told', flush=True)\n"
        "        time.sleep(60)\n"
        "cli._run = long\n"
        "cli.main(['train'])\n"
    )
    run = subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, text=True)
    assert run.stdout is not None
    assert run.stdout.readline() == "told\n"
    run.send_signal(signal.SIGTERM)
    assert run.wait(timeout=5) == -signal.SIGTERM
