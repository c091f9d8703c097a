"""`pushpull corrupt`, killed at random moments until it is complete, against a run that nobody disturbed.

    python benchmarks/corrupt_kill.py --kills 10

Each sitting is a process of its own, ended by SIGKILL: some during the start, most at a random moment of the
work; half the time its worker processes are killed with it, else they have to notice by themselves. What was
done before a kill must not be done again, and in the end every byte must be the same.
"""

from __future__ import annotations

import argparse
import hashlib
import os
import platform
import random
import signal
import subprocess
import sys
import tempfile
import time
from contextlib import suppress
from pathlib import Path

from pushpull.files import HALF_WRITTEN


def start(arguments: argparse.Namespace, destination: Path) -> subprocess.Popen[bytes]:
    """Begin a run in a process group of its own."""
    # Quiet: Python's resource tracker tells of the locks that a killed process could not give back.
    command = [
        sys.executable,
        "-W",
        "ignore::UserWarning",
        "-m",
        "pushpull",
        "corrupt",
        arguments.data,
        str(destination),
        "--quiet",
    ]
    command += ["--format", arguments.format, "--workers", str(arguments.workers)]
    command += ["--shard_images", str(arguments.shard_images)]
    command += ["--limit", str(arguments.limit)] if arguments.limit else []
    return subprocess.Popen(command, start_new_session=True, stdout=subprocess.DEVNULL)


BESIDE = ("manifest.json", "classes.txt", "files.txt", "labels.npy")  # written anew by each sitting, or first


def made(destination: Path) -> dict[str, int]:
    """Return the files with images that are done and when each was, ns."""
    files = (path for path in destination.rglob("*") if path.is_file() and path.name not in BESIDE)
    return {
        str(path.relative_to(destination)): path.stat().st_mtime_ns
        for path in files
        if not path.name.startswith(".")
    }


def digest(root: Path) -> dict[str, str]:
    """Return path -> SHA-256 of every file below a folder, hidden ones too."""
    files = sorted(path for path in root.rglob("*") if path.is_file())
    return {str(path.relative_to(root)): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


def alive(group: int) -> bool:
    """Return whether a process of a group runs; the dead may wait in /proc to be noticed."""
    for path in Path("/proc").glob("[0-9]*/stat"):
        with suppress(OSError):  # it ended meanwhile
            state, _, its_group = path.read_text().rpartition(")")[2].split()[:3]
            if int(its_group) == group and state not in "ZX":
                return True
    return False


def seconds_to_end(group: int, longest: float = 10.0) -> float | None:
    """Return after how many seconds no process of a group ran, None if one stayed."""
    began = time.monotonic()
    while time.monotonic() - began < longest:
        if not alive(group):
            return time.monotonic() - began
        time.sleep(0.01)
    return None


def undisturbed(arguments: argparse.Namespace, destination: Path) -> tuple[float, float]:
    """Make the copy to compare with; return the seconds until the first file was done, and those after."""
    began = time.monotonic()
    process = start(arguments, destination)
    while process.poll() is None and not made(destination):
        time.sleep(0.02)
    first = time.monotonic() - began
    if process.wait() != 0:
        raise SystemExit("the undisturbed run failed")
    return first, time.monotonic() - began - first


def killed(arguments: argparse.Namespace, destination: Path, chance: random.Random, longest: float) -> str:
    """Run until a random moment, kill, and say what was found."""
    before, began = made(destination), time.monotonic()
    process = start(arguments, destination)
    at_start = chance.random() < 0.2
    if not at_start:
        while process.poll() is None and len(made(destination)) <= len(before):
            time.sleep(0.01)
    time.sleep(chance.uniform(0, 2.0 if at_start else longest))
    whole_group = chance.random() < 0.5
    seconds = time.monotonic() - began
    if process.poll() is not None:
        return "complete before the kill"
    (os.killpg if whole_group else os.kill)(process.pid, signal.SIGKILL)
    process.wait()
    gone = seconds_to_end(process.pid)
    after = made(destination)
    again = [name for name, when in before.items() if after.get(name) != when]
    if gone is None or again:
        raise SystemExit(f"workers left: {gone is None}; done again: {again}")
    left = sum(
        path.is_file() and HALF_WRITTEN.fullmatch(path.name) is not None for path in destination.rglob("*")
    )
    what = (
        "all processes" if whole_group else f"main process (the others ended by themselves in {gone:.2f} s)"
    )
    return f"{seconds:5.1f} s, {what}: {len(after)} files done, {left} files half written"


def main() -> int:
    """Run, kill, run again, compare."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", default="digits")
    parser.add_argument("--format", default="folder", choices=("parquet", "folder", "npy"))
    parser.add_argument("--limit", type=int)
    parser.add_argument("--shard_images", type=int, default=60)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--kills", type=int, default=10)
    parser.add_argument("--seed", type=int, default=0, help="of the moments")
    arguments = parser.parse_args()
    chance = random.Random(arguments.seed)
    print(f"{platform.machine()}, {os.cpu_count()} CPUs, Python {platform.python_version()}")
    print(", ".join(f"{name} {value}" for name, value in vars(arguments).items()))
    with tempfile.TemporaryDirectory() as folder:
        whole, pieces = Path(folder, "whole"), Path(folder, "pieces")
        first, work = undisturbed(arguments, whole)
        print(f"undisturbed: {first:.1f} s to the first file, {work:.1f} s for the others")
        for number in range(1, arguments.kills + 1):
            found = killed(arguments, pieces, chance, 1.4 * work / arguments.kills)
            print(f"kill {number:2}: {found}", flush=True)
        last = start(arguments, pieces)
        if last.wait() != 0:
            raise SystemExit("the last run failed")
        expected, found = digest(whole), digest(pieces)
    same = expected == found
    print(f"then left alone: {len(found)} files, {'every byte the same' if same else 'DIFFERENT'}")
    return 0 if same else 1


if __name__ == "__main__":
    sys.exit(main())
