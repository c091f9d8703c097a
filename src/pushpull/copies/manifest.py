"""How a corrupted copy is made whole: the manifest, by which a second run continues it, and the processes."""

from __future__ import annotations

import functools
import hashlib
import json
import multiprocessing
import os
import re
import signal
import threading
from collections.abc import Callable, Generator, Iterable, Iterator
from concurrent.futures import FIRST_COMPLETED, ProcessPoolExecutor, ThreadPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from contextlib import closing, suppress
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from pushpull.copies.layouts import LAYOUTS, Task, written
from pushpull.copies.plan import CopyPlan, Decoded
from pushpull.data import ImageSplit, UnreadableImageError
from pushpull.data.images import decoding_threads
from pushpull.errors import InputError
from pushpull.evaluation.continuing import package_versions
from pushpull.evaluation.results import Info
from pushpull.files import HALF_WRITTEN, LOCK, held_elsewhere, read_json
from pushpull.files.registry import Plugins

MANIFEST = "manifest.json"
KIND = "corrupted copy 1"  # another number: a form that this version does not read
_FORMER = ".pushpull"  # earlier versions' folder of what was half done
_CHUNK = 64  # images read by a thread at a time: long enough that its start does not count
_PACKAGES = {"parquet": ("pillow", "pyarrow"), "npy": ("pillow", "numpy")}  # beside what all depend on
# What decides the files; the names of source and label may change between sittings.
_DECISIVE = (
    *("form", "split", "role", "images", "image_size", "framing", "limit", "sha256"),
    *("source_sha256", "corruptions", "severities", "scale", "seed", "jpeg_quality", "frost_textures"),
    *("shard_images", "versions"),
)


def new_manifest(plan: CopyPlan, info: Info) -> dict[str, Any]:
    """Return the manifest of a copy that is about to be made. No time or machine is in it: only the copy."""
    versions = {name: text for name, text in package_versions().items() if name in ("pushpull", "torch")}
    return {
        "kind": KIND,
        "complete": False,
        "form": plan.layout,
        "source": info["name"],
        "label": info["label"],
        "note": info["note"],
        "split": info["split"],
        "role": plan.role,
        "images": info["images"],
        "skipped": [],
        "image_size": info["image_size"],
        "framing": info["framing"],
        "limit": info["limit"],
        "sha256": info["sha256"],
        "source_sha256": source_digest(plan.split, plan.names),
        "corruptions": list(dict.fromkeys(name for name, _ in plan.conditions)),
        "severities": sorted({severity for _, severity in plan.conditions}),
        "scale": plan.scale,
        "seed": plan.seed,
        "jpeg_quality": plan.jpeg_quality,
        "frost_textures": plan.frost,
        "shard_images": plan.shard,
        "shards": plan.shards,
        "classes": list(plan.split.classes),
        "versions": versions | {name: version(name) for name in _PACKAGES.get(plan.layout, ("pillow",))},
    }


def source_digest(split: ImageSplit, names: Iterable[str]) -> str:
    """Return the SHA-256 of the images of a split, as they are stored, and of what their copies are called.

    All bytes are read once: seconds per gigabyte, where a copy decodes them for each of its tasks. Sizes and
    dates would be quicker; but a data set that was moved has other dates, a repainted one may have the same.

    Args:
        split: the images.
        names: of the files in the copy.
    """
    digest = hashlib.sha256("\0".join(names).encode())

    def part(start: int) -> bytes:
        rows = split.index[start : start + _CHUNK].tolist()
        return b"".join(hashlib.sha256(_content(split, row)).digest() for row in rows)

    with ThreadPoolExecutor(decoding_threads()) as pool:
        for some in pool.map(part, range(0, len(split), _CHUNK)):
            digest.update(some)
    return digest.hexdigest()


def _content(split: ImageSplit, row: int) -> bytes:
    """Return a stored file's bytes, or size and pixels of what is not stored as a file."""
    encoded = getattr(split.source, "encoded", None)
    try:
        if encoded is not None:
            return bytes(encoded(row))
        image = split.source.open(row)
        return repr(image.size).encode() + image.tobytes()
    except UnreadableImageError:
        return b""  # counted when it is decoded


def save_manifest(root: Path, record: dict[str, Any]) -> None:
    """Write it whole."""
    with written(root / MANIFEST) as temporary:
        text = json.dumps(record, indent=1, ensure_ascii=False) + "\n"
        # Halves of characters, as of names that are no UTF-8, can stand in JSON as escapes alone.
        text = re.sub("[\ud800-\udfff]", lambda half: f"\\u{ord(half[0]):04x}", text)
        temporary.write_bytes(text.encode())


def found_manifest(root: Path) -> dict[str, Any] | None:
    """Return the manifest of the copy at `root`, None where there is nothing yet.

    Raises:
        InputError: `root` is a file, or holds something that is no corrupted copy.
    """
    if root.exists() and not root.is_dir():
        raise InputError(f"{root} is a file; give a folder that is empty or does not exist")
    path = root / MANIFEST
    if not path.exists():
        names = (item.name for item in root.iterdir()) if root.exists() else ()
        others = sorted(name for name in names if name != LOCK and not HALF_WRITTEN.fullmatch(name))
        if others:
            raise InputError(
                f"{root} holds {others[0]}{', ...' if len(others) > 1 else ''} and no {MANIFEST}: it was not "
                "written by pushpull corrupt; give a folder that is empty or does not exist"
            )
        return None
    record = read_json(path)
    if not isinstance(record, dict) or record.get("kind") != KIND:
        raise InputError(f"{path} is not the manifest of a corrupted copy; give another folder")
    if (root / _FORMER).exists():
        raise InputError(
            f"{root} holds a part of a copy by an earlier version, which cannot be continued; "
            "remove the folder, or give another"
        )
    return record


def check_same(found: dict[str, Any], fresh: dict[str, Any], root: Path) -> None:
    """Raise `InputError` that says what differs, where two manifests are of different copies."""
    said = "; ".join(differences(found, fresh))
    if said:
        raise InputError(
            f"{root} holds another copy ({said}); --overwrite replaces it, another folder keeps both"
        )


def differences(found: dict[str, Any], fresh: dict[str, Any]) -> Iterator[str]:
    """Yield what makes two manifests those of different copies."""
    for key in _DECISIVE:
        there, now = found.get(key), fresh[key]
        if key == "source_sha256" and there != now:
            yield "the source's images or their names have changed since"
        elif isinstance(now, dict) and isinstance(there, dict):
            for part in {**there, **now}:
                if there.get(part) != now.get(part):
                    yield f"{key}.{part} is {_short(there.get(part))} there, {_short(now.get(part))} now"
        elif there != now:
            yield f"{key} is {_short(there)} there, {_short(now)} now"


def _short(value: Any) -> str:
    text = ", ".join(map(str, value)) if isinstance(value, list) else str(value)
    return text if len(text) <= 40 else f"{text[:20]}... ({len(text)} characters)"


def remove_copy(root: Path, record: dict[str, Any]) -> None:
    """Delete the files of the copy that a manifest describes, and the folders that are empty then.

    What else lies there stays. The manifest goes last, so that a kill leaves what can be removed again, and
    says "removed" meanwhile: what is left of the files is no part of a copy that could be gone on with.
    """
    root = root.resolve()
    try:
        files = list(LAYOUTS[record["form"]].files(record, root))
        folders = [root / name for name in record["corruptions"]]
    except (KeyError, TypeError, ValueError) as error:
        raise InputError(f"{root / MANIFEST} is broken ({error}); remove the folder by hand") from error
    for path in (*files, *folders):
        if path == root or not path.resolve().is_relative_to(root):
            raise InputError(f"{root / MANIFEST} names {path}, outside {root}; remove the folder by hand")
    save_manifest(root, {**record, "complete": False, "removed": True})
    for path in files:
        path.unlink(missing_ok=True)
    for folder in folders:
        for place, _, _ in os.walk(folder, topdown=False):
            with suppress(OSError):  # not empty: something that is not ours
                os.rmdir(place)
    (root / MANIFEST).unlink()


_LOOK_SECONDS = 0.25  # between two looks at what is done
_UNITS_PER_WORKER = 3  # more: a better balance; fewer: a shard is decoded less often

Steps = Generator[tuple[int, list[UnreadableImageError]], None, None]


class _StoppedError(Exception):
    """The run ends: what is in hand is dropped."""


def run_tasks(plan: CopyPlan, root: Path, tasks: list[Task], workers: int, batch_size: int) -> Steps:
    """Do the tasks; yield, again and again, how many images are done and which were newly found unreadable.

    Raises:
        InputError: a task's own, or that a worker process was killed.
    """
    units = _units(tasks, workers)
    if min(workers, len(units)) > 1:
        return _in_processes(plan, root, units, workers, batch_size)
    return _here(plan, root, units, batch_size)


def _units(tasks: list[Task], workers: int) -> list[list[Task]]:
    """Return the tasks in lists of the same shards, enough of them to keep all workers busy."""
    together: dict[tuple[int, ...], list[Task]] = {}
    for task in tasks:
        together.setdefault(task.shards, []).append(task)
    parts = -(-_UNITS_PER_WORKER * workers // len(together)) if together and workers > 1 else 1
    # Every parts-th task: corruptions differ in cost far more than neighbours in the list.
    return [some[first::parts] for some in together.values() for first in range(min(parts, len(some)))]


def _run(
    plan: CopyPlan, root: Path, unit: list[Task], batch_size: int, report: Callable[[int], None]
) -> Generator[list[UnreadableImageError], None, None]:
    """Do the tasks of a unit, whose shards are decoded once where there is one; yield after each."""
    skipped: list[UnreadableImageError] = []

    @functools.lru_cache(maxsize=1)
    def decode(shard: int) -> Decoded:
        decoded = plan.decode(shard)
        skipped.extend(decoded[2])
        return decoded

    def corrupted(name: str, severity: int, images: Tensor, positions: list[int]) -> Iterable[Tensor]:
        for batch in plan.corrupted(name, severity, images, positions, batch_size):
            yield batch
            report(len(batch))

    for task in unit:
        LAYOUTS[plan.layout].write(plan, root, task, decode, corrupted)
        yield skipped
        skipped.clear()


def _here(plan: CopyPlan, root: Path, units: list[list[Task]], batch_size: int) -> Steps:
    """Do the units in this process, on one thread as everywhere."""
    done = 0

    def report(images: int) -> None:
        nonlocal done
        done += images

    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        for unit in units:
            for skipped in _run(plan, root, unit, batch_size, report):
                yield done, skipped
    finally:
        torch.set_num_threads(before)


def _in_processes(
    plan: CopyPlan, root: Path, units: list[list[Task]], workers: int, batch_size: int
) -> Steps:
    """Do the units in new processes; yields several times a second."""
    context = multiprocessing.get_context("spawn")  # a fork of a process with threads may hang
    stopped, done = context.Event(), context.Value("q", 0)
    pool = ProcessPoolExecutor(
        min(workers, len(units)),
        mp_context=context,
        initializer=_begin_worker,
        initargs=(Plugins(), plan, root, batch_size, stopped, done),
    )
    try:
        pending = {pool.submit(_run_in_worker, unit) for unit in units}
        while pending:
            finished, pending = wait(pending, _LOOK_SECONDS, FIRST_COMPLETED)
            yield done.value, [UnreadableImageError(*error) for task in finished for error in task.result()]
    except BrokenProcessPool as error:
        raise InputError(
            "a worker process ended early; finished work is kept: give the command again, with fewer "
            "--workers if memory was short. In a script, workers above 1 need the call below "
            "if __name__ == '__main__':"
        ) from error
    finally:
        stopped.set()
        pool.shutdown(cancel_futures=True)


_worker: dict[str, Any] = {}  # what a worker process keeps from unit to unit


def _begin_worker(_: Plugins, plan: CopyPlan, root: Path, batch_size: int, stopped: Any, done: Any) -> None:
    """Prepare a new process."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the main process hears it, and stops the others
    threading.Thread(target=_end_with_parent, daemon=True).start()
    held_elsewhere(root)
    # Whether frost's photographs can be had is settled: no download here.
    os.environ["PUSHPULL_OFFLINE"] = "1"
    torch.set_num_threads(1)  # the processes share the cores; and sums have one order

    def report(images: int) -> None:
        if stopped.is_set():
            raise _StoppedError
        with done.get_lock():
            done.value += images

    _worker["run"] = lambda unit: _run(plan, root, unit, batch_size, report)


def _run_in_worker(unit: list[Task]) -> list[tuple[str, str]]:
    """Do one unit; return name and reason of the images that could not be read."""
    found: dict[str, str] = {}
    with closing(_worker["run"](unit)) as steps:
        for skipped in steps:
            found |= {error.name: error.reason for error in skipped}
    return list(found.items())


def _end_with_parent() -> None:
    """Leave at once when the main process is killed: nobody would read or stop this one."""
    parent = multiprocessing.parent_process()
    assert parent is not None
    parent.join()
    os._exit(1)
