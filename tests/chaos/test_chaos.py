"""Five kills at random moments, in turn of train, evaluate, reproduce and corrupt: the end is the same."""

import subprocess
import sys
from pathlib import Path

PROGRAM = Path(__file__).parents[2] / "benchmarks" / "chaos.py"


def test_killed_at_random_moments_everything_ends_as_undisturbed() -> None:
    jobs = ["--jobs", "train", "evaluate", "reproduce", "corrupt"]  # harden and ranks take a minute more
    command = [sys.executable, PROGRAM, "--kills", "5", "--seed", "1", *jobs]
    done = subprocess.run(command, check=False, capture_output=True, text=True, timeout=1200)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "5 kills, every end the same bit for bit" in done.stdout
