"""All that is to be measured on a GPU, by one command, in stages of falling value.

    benchmarks/gpu_prepare.sh                          # before, where there is a package index
    python benchmarks/gpu.py --output DIR              # every stage, 8 minutes
    python benchmarks/gpu.py --output DIR --stage unit # one
    python benchmarks/gpu.py --output DIR --dry-run    # tiny, on the CPU, in under three minutes
    python benchmarks/gpu.py --markdown DIR            # no run: the pages' tables from DIR's files

Each stage is a process of its own with its own time: a hang or a crash ends that stage and no other. It
leaves DIR/STAGE.json, what it had measured when its time was over included, and prints a line.
"""

from __future__ import annotations

import argparse
import datetime
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
import xml.etree.ElementTree as ElementTree
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

from gpu_tables import fill_pages, line
from repository import ROOT, SHARED
from timing import machine

from pushpull.errors import InputError, choice
from pushpull.files import write_json

HERE = Path(__file__).resolve().parent
TABLE = "cifar10-resnet18"
_TAIL_CHARACTERS = 2000  # of what a part said before it failed
_END_S = 10.0  # kept for writing what was found
_LEAST_S = 5.0  # a stage with less is not begun


class Part(NamedTuple):
    """One command of a stage: what it is called, its arguments, and how to read what it leaves."""

    name: str
    command: list[str]
    read: Callable[[Path], Any]


class Stage(NamedTuple):
    """A stage: how much of the time it may take, in seconds of the usual 8 minutes, and its parts."""

    seconds: float
    parts: Callable[[argparse.Namespace, Path], Iterator[Part]]


def _read_json(path: Path) -> Any:
    return json.loads(path.read_text(encoding="utf-8")) if path.is_file() else None


def _program(name: str, *arguments: str) -> list[str]:
    return [sys.executable, str(HERE / f"{name}.py"), *arguments]


def _right(options: argparse.Namespace, folder: Path) -> Iterator[Part]:
    """Every test for devices, the unit's first; a part each, so that one that hangs takes no other along."""
    unit = ROOT / "tests/unit/triton"
    others = sorted(str(path) for path in unit.glob("test_*.py") if path.name != "test_cuda.py")
    tests = {"augmentations": [str(ROOT / "tests/augment/test_devices.py")]}
    if not options.dry_run:
        tests |= {"corruptions": [str(ROOT / "tests/corruptions/test_devices.py")], "kernels": others}
        tests = {"unit": [str(unit / "test_cuda.py")], **tests}
    for name, files in tests.items():
        report = folder / f"{name}.xml"
        pytest = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", f"--junitxml={report}"]
        yield Part(name, [*pytest, *files], lambda _, report=report: _test_report(report))


def _test_report(path: Path) -> dict[str, Any] | None:
    """Return how many tests passed, and the names and messages of those that failed."""
    if not path.is_file():
        return None
    suites = list(ElementTree.parse(path).getroot().iter("testsuite"))
    counts = {key: sum(int(suite.get(key, 0)) for suite in suites) for key in ("tests", "skipped")}
    failed = [
        {"test": f"{case.get('classname')}.{case.get('name')}", "said": (found.get("message") or "")[:500]}
        for suite in suites
        for case in suite.iter("testcase")
        for found in (*case.findall("failure"), *case.findall("error"))
    ]
    passed = counts["tests"] - counts["skipped"] - len(failed)
    return {"passed": passed, "skipped": counts["skipped"], "failed": failed}


def _unit(options: argparse.Namespace, folder: Path) -> Iterator[Part]:
    """The unit beside a plain layer, at both geometries and both precisions; the stem; ResNet-50's step."""
    if options.dry_run:
        tiny = "--cpu --rows layer --formats channels_last --batch 2 --size 32 --repeats 1 --no-compile"
        settings = {"imagenet bf16": f"{tiny} --layer cifar"}
    else:
        first = "--batch 256 --size 224 --formats channels_last --repeats 15"
        small = "--batch 512 --size 32 --formats channels_last --repeats 15 --layer cifar --rows layer"
        settings = {
            "imagenet bf16": f"{first} --dtype bf16 --rows layer stem training --networks resnet50",
            "imagenet fp32": f"{first} --dtype fp32 --rows layer",
            "cifar bf16": f"{small} --dtype bf16",
            "cifar fp32": f"{small} --dtype fp32",
            "imagenet bf16, contiguous": first.replace("channels_last", "contiguous") + " --rows layer",
        }
    for name, words in settings.items():
        path = folder / f"unit-{name.replace(' ', '-').replace(',', '')}.json"
        yield Part(name, _program("unit", *words.split(), "--output", str(path)), _reader(path))


def _corruptions(options: argparse.Namespace, folder: Path) -> Iterator[Part]:
    """Images per second of each of the 19, severity 3, batch 256."""
    tiny = ["--corruptions", "fog", "contrast", "--batches", "2", "--no-peers", "--repeats", "3"]
    for scale, size in (("cifar", "32"),) if options.dry_run else (("imagenet", "224"), ("cifar", "32")):
        path = folder / f"corruptions-{scale}.json"
        words = ["--scale", scale, "--sizes", size, "--data", str(options.data), "--output", str(path)]
        words += tiny if options.dry_run else ["--no-cpu"]
        yield Part(scale, _program("corruptions", *words), _reader(path))


def _evaluation(options: argparse.Namespace, folder: Path) -> Iterator[Part]:
    """`evaluate` over 15 x 5 conditions beside the network alone."""
    path = folder / "evaluation.json"
    words = "--model resnet50 --precision bf16 --compile --channels-last --images 5000 --batch-size 250"
    if options.dry_run:
        words = "--cpu --model resnet18 --size 32 --images 2 --batch-size 2 --threads 1"
    command = _program("evaluation_rate", *words.split(), "--data", str(options.data), "--output", str(path))
    yield Part("resnet50", command, _reader(path))


def _training(options: argparse.Namespace, folder: Path) -> Iterator[Part]:
    """Images per second of the training loop, and an epoch in seconds."""
    path = folder / "training.json"
    words = ["--dry-run"] if options.dry_run else []
    yield Part("training", _program("gpu_training", *words, "--output", str(path)), _reader(path))


def _science(options: argparse.Namespace, folder: Path) -> Iterator[Part]:
    """A table of ResNet-18 on CIFAR-10 (JPEG q75), continued from its archive another day."""
    archive = options.output / "science.zip"
    for known in (
        archive,
        options.data.parent / archive.name,
    ):  # from a run before, brought along with the data
        if known.is_file() and not options.runs.exists():
            with zipfile.ZipFile(known) as packed:
                packed.extractall(options.runs)
    command = [sys.executable, "-m", "pushpull", "reproduce"]
    if options.dry_run:
        words = ["cifar10-small", "--dry-run", "--data", "digits", "--rows", "baseline"]
    else:
        words = [TABLE, "--data", str(options.data / "cifar10"), "--minutes", str(options.science_minutes)]
    words += ["--output", str(options.runs), "--quiet"]
    yield Part("table", [*command, *words], lambda _: _packed(options.runs, archive))


def _packed(runs: Path, archive: Path) -> dict[str, Any] | None:
    """Put the table and the runs' small files into one archive, which travels; return what is in it.

    Weights stay behind: a run that is measured needs none to be a row of the table.
    """
    if not runs.is_dir():
        return None
    archive.parent.mkdir(parents=True, exist_ok=True)
    names = []
    with zipfile.ZipFile(archive, "w", zipfile.ZIP_DEFLATED) as target:
        for path in sorted(runs.rglob("*")):
            if path.is_file() and path.suffix in (".json", ".yaml", ".csv", ".md", ".tex"):
                names.append(str(path.relative_to(runs)))
                target.write(path, names[-1])
    results = [name for name in names if name.endswith("results.json")]
    return {"archive": archive.name, "files": len(names), "evaluated_runs": len(results)}


def _reader(path: Path) -> Callable[[Path], Any]:
    return lambda _: _read_json(path)


STAGES = {
    "right": Stage(70, _right),
    "unit": Stage(90, _unit),
    "corruptions": Stage(45, _corruptions),
    "evaluation": Stage(120, _evaluation),
    "training": Stage(80, _training),
    "science": Stage(75, _science),
}


def run_stage(name: str, options: argparse.Namespace, seconds: float) -> dict[str, Any]:
    """Run a stage's parts for at most so long; return its record, which says what went wrong."""
    began = time.monotonic()
    record: dict[str, Any] = {"stage": name, "dry_run": options.dry_run, "parts": {}, "errors": {}}
    with tempfile.TemporaryDirectory() as folder:
        for part in STAGES[name].parts(options, Path(folder)):
            left = seconds - (time.monotonic() - began)
            error = _run(part.command, left) if left > 0 else "not begun: the stage's time was over"
            if error:
                record["errors"][part.name] = error
            found = part.read(Path(folder))
            if found is not None:
                record["parts"][part.name] = found
    record["seconds"] = round(time.monotonic() - began, 1)
    record["machine"] = machine()
    record["date"] = datetime.datetime.now(datetime.UTC).strftime("%Y-%m-%d")
    return record


def _run(command: list[str], seconds: float) -> str | None:
    """Run a command; return why it did not end well, with the end of what it said."""
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT / "src"), *_paths()])}
    with tempfile.TemporaryFile("w+", encoding="utf-8", errors="replace") as said:
        process = subprocess.Popen(
            command, stdout=said, stderr=subprocess.STDOUT, cwd=ROOT, env=environment, start_new_session=True
        )
        try:
            code = process.wait(seconds)
            problem = f"exit code {code}" if code else None
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)  # its workers too
            process.wait()
            problem = f"stopped after {seconds:.0f} s"
        said.seek(0)
        return f"{problem}: {said.read()[-_TAIL_CHARACTERS:].strip()}" if problem else None


def _paths() -> list[str]:
    return [path for path in os.environ.get("PYTHONPATH", "").split(os.pathsep) if path]


def run(options: argparse.Namespace) -> int:
    """Run the stages until the time is over; return how many went wrong."""
    deadline = time.monotonic() + 60 * options.minutes
    names = [options.stage] if options.stage else list(STAGES)
    wrong = 0
    for number, name in enumerate(names):
        left = deadline - time.monotonic() - _END_S
        if left < _LEAST_S:
            print(f"{name}: not begun, the {options.minutes:g} minutes are over", flush=True)
            continue
        # What is left is shared by the stages ahead, by their usual times: what one leaves unused is theirs.
        seconds = left * STAGES[name].seconds / sum(STAGES[other].seconds for other in names[number:])
        options.science_minutes = max(seconds - 5, 5) / 60
        record = run_stage(name, options, seconds)
        write_json(options.output / f"{name}.json", record)
        wrong += bool(record["errors"])
        print(line(record), flush=True)
    return wrong


def main(arguments: list[str] | None = None) -> int:
    """Measure, or fill the pages."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--output", type=Path, help="folder for the files")
    parser.add_argument("--stage", help=", ".join(STAGES))
    parser.add_argument("--minutes", type=float, default=8.0)
    parser.add_argument("--data", type=Path, default=SHARED / "data", help="folder with cifar10/ and more")
    parser.add_argument("--runs", type=Path, help="folder of the table's runs; default: beside the output")
    parser.add_argument("--dry-run", action="store_true", help="tiny, on the CPU")
    parser.add_argument("--markdown", type=Path, metavar="DIR", help="fill the pages from DIR; no run")
    options = parser.parse_args(arguments)
    if options.markdown:
        fill_pages(ROOT, options.markdown)
        return 0
    if options.output is None:
        raise InputError("--output is missing; give a folder for the files")
    if options.stage is not None:
        choice("stage", options.stage, STAGES)
    if options.minutes <= 0:
        raise InputError(f"minutes={options.minutes:g} is not positive; 8 is usual")
    options.output, options.data = options.output.resolve(), options.data.resolve()
    options.runs = (options.runs or options.output.with_name(f"{options.output.name}-runs")).resolve()
    return 1 if run(options) else 0


if __name__ == "__main__":
    try:
        sys.exit(main())
    except InputError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(2)
