"""Every long command, killed at random and gone on with, against undisturbed runs.

    python benchmarks/chaos.py --kills 100

Each sitting is a process of its own (a fork of this one, which has all imported, so that the moments fall
into the work), ended by SIGKILL or SIGTERM, then begun again by the same command. A sitting that gets to its
end is compared with the undisturbed run, bit for bit but for times; then the next begins in a new folder. A
sitting that SIGTERM ends must say in one line how far it is; none may leave processes or a traceback.

The jobs: train, evaluate, reproduce, corrupt, harden, and ranks, which is train on two ranks (gloo) with
torchrun's variables. There SIGTERM goes to both and SIGKILL to one; the other must end by itself within a
minute, with one line that names it; where it still waits for it to begin, it is ended as torchrun would, and
counted.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import platform
import random
import shutil
import signal
import socket
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple, NoReturn

import torch

import pushpull.cli.corrupt
import pushpull.cli.evaluate
import pushpull.cli.train
import pushpull.reports.reproduction
import pushpull.training.harden  # noqa: F401 - so that forks need not
from pushpull.cli import main as pushpull_main
from pushpull.files import HALF_WRITTEN
from pushpull.training import run as training

DIGITS = ("--accelerator", "cpu", "--workers", "0", "--batch_size", "16", "--data.fraction", "0.2")
TABLE = """
title: Chaos
seeds: [0]
base: digits
limit: 10
recipe: {epochs: 2, accelerator: cpu, workers: 0, data: {name: digits, fraction: 0.1}}
rows:
  - {name: plain}
  - {name: push-pull, twin: plain, model: {stem: pp3}}
"""


class Job(NamedTuple):
    """What is killed: a command for an output folder, and what its end is compared by."""

    words: Callable[[Path], list[str]]
    state: Callable[[Path], dict[str, Any]]
    ranks: int = 1


def start(words: list[str], log: Path, variables: dict[str, str] | None = None) -> int:
    """Begin a command in a process, and process group, of its own; return its number."""
    sys.stdout.flush()
    pid = os.fork()
    if pid:
        return pid
    code = 1
    try:
        os.setsid()
        file = os.open(log, os.O_CREAT | os.O_WRONLY | os.O_TRUNC)
        os.dup2(file, 1)
        os.dup2(file, 2)
        sys.argv = ["pushpull", *words]
        os.environ.update(variables or {})
        training._CHECKPOINT_EVERY_S = 0.2  # within epochs too, which take a second
        code = pushpull_main(words)
        sys.stdout.flush()
    finally:
        os._exit(code)


def launched(world: int) -> list[dict[str, str]]:
    """Return the variables that torchrun would give to each of several ranks; to one alone none."""
    if world == 1:
        return [{}]
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        port = str(one.getsockname()[1])
    common = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port}
    common |= {"WORLD_SIZE": str(world), "LOCAL_WORLD_SIZE": str(world)}
    return [common | {"RANK": str(rank), "LOCAL_RANK": str(rank)} for rank in range(world)]


def exit_codes(pids: list[int], seconds: float, known: list[int | None] | None = None) -> list[int | None]:
    """Return how processes ended, None for those that still run after so many seconds.

    Args:
        pids: the processes.
        seconds: from now.
        known: what was returned before: those that had ended are gone.
    """
    until, codes = time.monotonic() + seconds, known or [None] * len(pids)
    while True:
        for at, pid in enumerate(pids):
            if codes[at] is None:
                done, status = os.waitpid(pid, os.WNOHANG)
                codes[at] = os.waitstatus_to_exitcode(status) if done else None
        if None not in codes or time.monotonic() > until:
            return codes
        time.sleep(0.002)


def group_ends(group: int, seconds: float = 10.0) -> bool:
    """Whether no process of a group runs after so many seconds."""
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        try:
            os.killpg(group, 0)
        except ProcessLookupError:
            return True
        time.sleep(0.01)
    return False


def results(path: Path) -> dict[str, Any]:
    """Return what a results file says, without times."""
    found = json.loads(path.read_text())
    for condition in (found["clean"], *(one for by in found["corrupted"].values() for one in by.values())):
        if condition is not None:
            del condition["seconds"]
    del found["created"], found["model"]["source"]
    return found


def digest(value: Any) -> str:
    """Return the SHA-256 of tensors in lists and dictionaries, by their bits."""
    if isinstance(value, torch.Tensor):
        return hashlib.sha256(value.contiguous().view(-1).view(torch.uint8).numpy().tobytes()).hexdigest()
    if isinstance(value, dict):
        return digest([[str(key), digest(value[key])] for key in sorted(value, key=str)])
    if isinstance(value, list | tuple):
        return hashlib.sha256("\n".join(map(digest, value)).encode()).hexdigest()
    return hashlib.sha256(repr(value).encode()).hexdigest()


def run_state(folder: Path) -> dict[str, Any]:
    """Return weights, checkpoint and, where it was evaluated, results of a run folder."""
    checkpoint = torch.load(folder / "last.ckpt", weights_only=True)
    kept = ("state_dict", "optimizer_states", "lr_schedulers", "epoch", "global_step")
    return {
        "weights": hashlib.sha256((folder / "model.safetensors").read_bytes()).hexdigest(),
        "checkpoint": {key: digest(checkpoint[key]) for key in kept},
        "epochs": (folder / "epochs.json").read_text(),
        "recipe": (folder / "recipe.yaml").read_text(),
        "results": results(folder / "results.json") if (folder / "results.json").is_file() else None,
    }


def harden_state(folder: Path) -> dict[str, Any]:
    """Return the training of a hardening, what it chose, and the results before and after."""
    return {
        "training": run_state(folder / "training"),
        "points": json.loads((folder / "points.json").read_text()),
        "weights": hashlib.sha256((folder / "model.safetensors").read_bytes()).hexdigest(),
        "results": [results(folder / part / "results.json") for part in ("before", "after")],
    }


def table_state(folder: Path) -> dict[str, Any]:
    """Return the runs of a table, and its figures."""
    runs = sorted((folder / "runs").glob("*/seed*/recipe.yaml"))
    there = {str(path.parent.relative_to(folder)): run_state(path.parent) for path in runs}
    return there | {"complete": json.loads((folder / "table.json").read_text())["complete"]}


def files_state(folder: Path) -> dict[str, str]:
    """Return the digest of every file of a folder, hidden ones too."""
    files = (path for path in sorted(folder.rglob("*")) if path.is_file())
    return {str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


def jobs(network: Path, table: Path) -> dict[str, Job]:
    """Return the commands by name.

    Args:
        network: a run folder, to evaluate.
        table: a table file.
    """
    train = ["train", "--config", "digits", "--epochs", "3", *DIGITS, "--resume", "auto", "--output"]
    few = ["--corruptions", "blur", "noise", "--limit", "40", "--quiet", "--output"]
    copy = [
        "--format",
        "folder",
        "--corruptions",
        "noise",
        "digital",
        "--limit",
        "30",
        "--quiet",
        "--workers",
    ]
    quick = ["--epochs", "1", "--limit", "4", "--policy", "augmix9", "--jsd", "1", "--batch_size", "16"]
    quick += ["--device", "cpu", "--workers", "0"]
    return {
        "train": Job(lambda folder: [*train, str(folder)], run_state),
        "evaluate": Job(
            lambda folder: ["evaluate", str(network), *few, str(folder)],
            lambda folder: results(folder / "results.json"),
        ),
        "reproduce": Job(
            lambda folder: ["reproduce", str(table), "--quiet", "--output", str(folder)], table_state
        ),
        "corrupt": Job(lambda folder: ["corrupt", "digits", str(folder), *copy, "0"], files_state),
        "harden": Job(lambda folder: ["harden", str(network), *quick, "--output", str(folder)], harden_state),
        "ranks": Job(lambda folder: [*train, str(folder), "--data.fraction", "0.05"], run_state, ranks=2),
    }


class Chaos:
    """Kills of one job, one after another.

    Args:
        name: of the job.
        job: what is killed.
        place: a folder for its outputs.
        chance: draws moments and signals.
    """

    def __init__(self, name: str, job: Job, place: Path, chance: random.Random) -> None:
        self.name, self.job, self.place, self.chance = name, job, place, chance
        self.logs, self.number = [place / f"{name}-{rank}.log" for rank in range(job.ranks)], 0
        whole, began = place / f"{name}-whole", time.monotonic()
        self.sitting(whole, None)
        self.seconds, self.expected = time.monotonic() - began, job.state(whole)
        self.folder = self.next_folder()
        self.counts: Counter[str] = Counter()

    def next_folder(self) -> Path:
        """Return a folder that does not exist."""
        self.number += 1
        return self.place / f"{self.name}-{self.number}"

    def sitting(self, folder: Path, kill: tuple[float, int] | None) -> bool:
        """Run until a moment, or to the end; return whether it was killed."""
        pids = [
            start(self.job.words(folder), log, variables)
            for log, variables in zip(self.logs, launched(self.job.ranks), strict=True)
        ]
        codes = exit_codes(pids, 600 if kill is None else kill[0])
        killed = None in codes and kill is not None
        if killed and kill is not None:
            codes = self.killed(pids, codes, kill[1])
        said = [log.read_text(errors="replace") for log in self.logs]
        expected = {0} | ({-kill[1], 128 + kill[1]} if kill and killed else set())
        if killed and len(pids) > 1:  # the rank that was left says which one had ended
            expected |= {2, -signal.SIGTERM}
        lines_missing = (143 in codes and not any("go on with: " in text for text in said)) or (
            2 in codes and not any("ended before the others" in text for text in said)
        )
        bad = not expected.issuperset(codes) or any("Traceback" in text for text in said)
        if bad or lines_missing or not all(map(group_ends, pids)):
            self.give_up(pids, f"exit codes {codes} after {kill}; it said:\n" + "\n---\n".join(said))
        return killed and any(codes)

    def killed(self, pids: list[int], codes: list[int | None], number: int) -> list[int | None]:
        """Send a signal to the ranks that run, SIGKILL to one of them; return how all ended."""
        running = [at for at, code in enumerate(codes) if code is None]
        if number == signal.SIGKILL:
            running = [self.chance.choice(running)]
        for at in running:
            os.kill(pids[at], number)
        codes = exit_codes(pids, 60 if number == signal.SIGKILL else 30, codes)
        if None in codes and codes.count(None) < len(codes):  # before the ranks had found each other
            self.counts["waiting ranks ended as torchrun does"] += 1
            for pid in (pid for pid, code in zip(pids, codes, strict=True) if code is None):
                os.kill(pid, signal.SIGTERM)
            codes = exit_codes(pids, 30, codes)
        if None in codes:
            self.give_up(pids, f"exit codes {codes} long after {number}")
        return codes

    def give_up(self, pids: list[int], why: str) -> NoReturn:
        """End what runs, and the program."""
        for pid in pids:
            with suppress(ProcessLookupError):
                os.killpg(pid, signal.SIGKILL)
        raise SystemExit(f"{self.name}: {why}")

    def kill_once(self) -> None:
        """Kill a sitting at a moment; where it comes to its end before, compare and begin anew."""
        while True:
            number = self.chance.choice((signal.SIGKILL, signal.SIGTERM))
            began = time.monotonic()
            if self.sitting(self.folder, (self.chance.uniform(0, 0.8 * self.seconds), number)):
                self.counts[number.name] += 1
                print(f"{self.name}: {number.name}", flush=True)
                return
            # The first run may have compiled loops, or have had less of the machine.
            self.seconds = max(2.0, min(self.seconds, time.monotonic() - began))
            self.compare()

    def compare(self) -> None:
        """Compare what is complete with the undisturbed run."""
        found = self.job.state(self.folder)
        half = [str(path) for path in self.folder.rglob(".*") if HALF_WRITTEN.fullmatch(path.name)]
        if found != self.expected or half:
            raise SystemExit(
                f"{self.name}: {self.folder} differs from the undisturbed run; half written: {half}"
            )
        self.counts["ends compared"] += 1
        shutil.rmtree(self.folder)
        self.folder = self.next_folder()

    def finish(self) -> None:
        """Let what was killed last come to its end, and compare."""
        self.sitting(self.folder, None)
        self.compare()


def main() -> int:
    """Kill, go on, compare."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    names = ("train", "evaluate", "reproduce", "corrupt", "harden", "ranks")
    parser.add_argument("--jobs", nargs="+", default=names, choices=names)
    parser.add_argument("--kills", type=int, default=100, help="in all, in turn")
    parser.add_argument("--minutes", type=float, help="kill no more after so many")
    parser.add_argument("--seed", type=int, default=0, help="of the moments")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    print(f"{platform.machine()}, {os.cpu_count()} CPUs, Python {platform.python_version()}", end=", ")
    print(f"torch {torch.__version__}")
    began, chance = time.monotonic(), random.Random(arguments.seed)
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder)
        (place / "table.yaml").write_text(TABLE)
        offered = jobs(place / "network", place / "table.yaml")
        if {"evaluate", "harden"}.intersection(arguments.jobs):
            pid = start(offered["train"].words(place / "network"), place / "network.log")
            if exit_codes([pid], 600) != [0]:
                raise SystemExit((place / "network.log").read_text())
        chaos = [Chaos(name, offered[name], place, chance) for name in arguments.jobs]
        for one in chaos:
            print(f"{one.name}: {one.seconds:.1f} s undisturbed", flush=True)
        kills = 0
        while kills < arguments.kills:
            if arguments.minutes is not None and time.monotonic() - began > 60 * arguments.minutes:
                break
            chaos[kills % len(chaos)].kill_once()
            kills += 1
        for one in chaos:
            one.finish()
            print(f"{one.name}: {', '.join(f'{count} {what}' for what, count in sorted(one.counts.items()))}")
    print(f"{kills} kills, every end the same bit for bit, {time.monotonic() - began:.0f} s")
    return 0


if __name__ == "__main__":
    sys.exit(main())
