"""`write_corrupted`: a corrupted copy of a data set, on disk."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import closing, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

from pushpull.copies.layouts import LAYOUTS, Task
from pushpull.copies.manifest import (
    check_same,
    differences,
    found_manifest,
    new_manifest,
    remove_copy,
    save_manifest,
)
from pushpull.copies.names import check_folders, class_folders, image_names
from pushpull.copies.plan import CopyPlan, default_shard
from pushpull.copies.processes import run_tasks
from pushpull.corruptions.engine import checked_jpeg_quality, checked_seed
from pushpull.corruptions.textures import frost_texture_source
from pushpull.data import DataConfig, DataSplits, Framing, SkipLimit, UnreadableImageError, load_data
from pushpull.errors import InputError, choice, integer
from pushpull.evaluation.images import EvalData, eval_images
from pushpull.evaluation.options import condition_list, severity_scale
from pushpull.evaluation.results import SEVERITIES, Info
from pushpull.files import LOCK, folder_lock, remove_half_written, writable_folder

ROLES = ("test", "validation", "train")


def write_corrupted(
    data: EvalData,
    destination: Path | str,
    *,
    format: str = "parquet",
    split: str = "test",
    corruptions: str | Iterable[str] = "benchmark",
    severities: int | Iterable[int] = SEVERITIES,
    scale: str | None = None,
    seed: int = 0,
    jpeg_quality: int | None = None,
    framing: Framing | None = None,
    limit: int | None = None,
    shard_images: int | None = None,
    workers: int = 0,
    batch_size: int = 64,
    overwrite: bool = False,
    progress: bool = False,
) -> dict[str, Any]:
    """Write a corrupted copy of a data set; a killed run is continued by the same call.

    Image i of a condition is `corrupt(image, ..., index=[its row in the source split])`. Nothing but the
    arguments up to `shard_images` decides a byte of any file, with one set of library versions.

    Args:
        data: a name, a `DataConfig`, `DataSplits`, an `ImageSplit`, or a tuple of images (uint8,
            (n, 3, H, W)) and labels (n,).
        destination: a folder that is empty, does not exist, or holds this copy or a part of it.
        format: "parquet": the public hub's layout, corruption/severity/test-00000-of-00001.parquet with the
            columns image, label, index. "folder": ImageNet-C's, corruption/severity/class/file. "npy":
            CIFAR-10-C's, NAME.npy (5 n, H, W, 3) uint8, severity by severity, and labels.npy (5 n,) int64.
        split: "test" (what `evaluate` takes), "validation" or "train", where `data` has splits.
        corruptions: names of corruptions, families, "benchmark", "extra" or "all".
        severities: of 1..5.
        scale: "imagenet", "cifar" or "tiny"; None: by the size of the images.
        seed: of the corruptions.
        jpeg_quality: in 1..100: the images are JPEG files of this quality (4:2:0), in .npy files what these
            decode to; 85 is ImageNet-C's. None: PNG, without loss.
        framing: resize and crop before corruption; None: the data's own.
        limit: at most so many images, the same share of every class, always the same ones.
        shard_images: images per shard, which is decoded at a time: the rows of a parquet file. None: by the
            size of the images, at most 1000.
        workers: processes; 0 and 1 work in this one. A script that asks for more needs the usual
            `if __name__ == "__main__"`.
        batch_size: images at a time.
        overwrite: replace the copy at `destination`: delete the files that its manifest names, no others. A
            part of this copy is gone on with.
        progress: show a bar on standard error.

    Returns:
        The manifest, as in manifest.json.

    Raises:
        InputError: an argument that is not as above, a destination that holds something else, images of
            several sizes, more unreadable ones than the data allows, or a worker that was killed.

    Source: the protocol of Hendrycks & Dietterich, ICLR 2019.
    """
    processes, at_a_time = _working(workers, batch_size)
    root = Path(destination).expanduser()
    found_manifest(root)  # a mistake in the destination is found before any image is read
    conditions = _conditions(corruptions, severities)
    layout = LAYOUTS[choice("format", format, LAYOUTS)]
    quality = checked_jpeg_quality(jpeg_quality)
    word = checked_seed(seed)
    layout.check(conditions)
    _check_outside(data, root)
    images = eval_images(_chosen_split(data, split), limit=limit, framing=framing)
    folders = class_folders(images.split.classes)
    if format == "folder":
        check_folders(folders, images.split.classes)
    plan = CopyPlan(
        layout=format,
        split=images.split,
        framing=images.framing,
        size=images.size,
        role=split,
        conditions=conditions,
        scale=severity_scale(scale, images.size, corrupted=True),
        seed=word,
        jpeg_quality=quality,
        frost=frost_texture_source() if any(name == "frost" for name, _ in conditions) else None,
        shard=_shard(shard_images, images.size),
        folders=tuple(folders),
        names=tuple(image_names(images.split, folders)) if format != "npy" else (),
    )
    return _complete(plan, images.info, root, processes, at_a_time, overwrite, progress)


def _complete(
    plan: CopyPlan, info: Info, root: Path, workers: int, batch_size: int, overwrite: bool, progress: bool
) -> dict[str, Any]:
    """Bring the copy at `root` to its end, from wherever it is."""
    record = new_manifest(plan, info)
    found = _continued(root, record, overwrite)  # a refusal leaves nothing behind, not even a lock
    if found is not None and found.get("complete") and not overwrite and not (root / LOCK).exists():
        return found  # nothing is written, so that it may lie where nothing can be
    writable_folder(root)
    root.mkdir(parents=True, exist_ok=True)
    with folder_lock(root):
        found = _continued(root, record, overwrite)
        remove_half_written(root)
        if found is not None and _starts_over(found, record, overwrite):
            remove_copy(root, found)
            found = None
        if found is not None and found.get("complete"):
            return found
        if found is None:
            save_manifest(root, record)
        return _made(plan, record, root, workers, batch_size, progress)


def _continued(root: Path, record: dict[str, Any], overwrite: bool) -> dict[str, Any] | None:
    """Return the manifest at `root`, None where there is none; raise unless it may be gone on with."""
    found = found_manifest(root)
    if found is not None and not overwrite:
        check_same(found, record, root)
    return found


def _starts_over(found: dict[str, Any], record: dict[str, Any], overwrite: bool) -> bool:
    """Return whether what is there goes first: all but a part of this copy, which a kill has left."""
    if found.get("removed"):
        return True
    return overwrite and (bool(found.get("complete")) or any(differences(found, record)))


def _made(
    plan: CopyPlan, record: dict[str, Any], root: Path, workers: int, batch_size: int, progress: bool
) -> dict[str, Any]:
    """Do what is left, and return the manifest of the complete copy."""
    layout, split = LAYOUTS[plan.layout], plan.split
    limit = SkipLimit(f"the {split.name} split", len(split), split.unreadable_limit)
    limit.admit(layout.begin(plan, root, plan.decode))
    done: list[Task] = []
    left: list[Task] = []
    for task in layout.tasks(plan):
        (done if layout.is_done(plan, root, task) else left).append(task)
    limit.admit(_found_unreadable(plan, root, done))
    total, before = sum(task.images(plan) for task in [*done, *left]), sum(task.images(plan) for task in done)
    work = run_tasks(plan, root, left, workers, batch_size)
    # Closed here, so that no worker is left when the lock is given back.
    with closing(work), _progress_bar(total, before, enabled=progress) as show:
        for images, skipped in work:
            limit.admit(skipped)
            show(before + images)
    if len(limit.names) == len(split):
        raise InputError(f"{record['label']}: no image could be read; give readable images")
    record = {**record, "complete": True, "skipped": sorted(limit.names)}
    save_manifest(root, record)
    return record


def _found_unreadable(plan: CopyPlan, root: Path, done: list[Task]) -> Iterator[UnreadableImageError]:
    """Yield the errors of the images that an earlier sitting has left out of the files it wrote."""
    for task in {task.shards: task for task in done}.values():  # one condition tells of all
        for position in LAYOUTS[plan.layout].absent(plan, root, task):
            try:
                plan.split.framed(position, plan.framing, plan.size)
            except UnreadableImageError as error:
                yield error


@contextmanager
def _progress_bar(total: int, done: int, *, enabled: bool) -> Iterator[Callable[[int], None]]:
    """Show images written, images per second and the time left on standard error.

    Args:
        total: images of all conditions together.
        done: how many of them an earlier sitting wrote.
        enabled: False: show nothing.

    Yields:
        What to call with the number of images written so far.
    """
    if not enabled:
        yield lambda written: None
        return
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    speed = TextColumn("{task.fields[speed]}")
    columns = (TextColumn("corrupting"), BarColumn(), MofNCompleteColumn(), speed, TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True)) as rich:
        task = rich.add_task("", total=total, completed=done, speed="")

        def show(written: int) -> None:
            speed = rich.tasks[0].speed
            rich.update(task, completed=written, speed=f"{speed:,.0f} images/s" if speed else "")

        yield show


def _working(workers: int, batch_size: int) -> tuple[int, int]:
    remedy = "give a whole number"
    processes, size = integer("workers", workers, remedy), integer("batch_size", batch_size, remedy)
    if processes < 0 or size < 1:
        raise InputError(f"workers={processes}, batch_size={size}: need at least 0 and 1")
    return processes, size


def _shard(shard_images: int | None, size: tuple[int, int]) -> int:
    if shard_images is None:
        return default_shard(size)
    count = integer("shard_images", shard_images, "give a whole number, or none")
    if count < 1:
        raise InputError(f"shard_images={count} is below 1; give a number of images, or none")
    return count


def _conditions(
    corruptions: str | Iterable[str], severities: int | Iterable[int]
) -> tuple[tuple[str, int], ...]:
    listed = condition_list(corruptions, severities)
    conditions = tuple((name, level) for name, level in listed if name is not None and level is not None)
    if not conditions:
        raise InputError("corruptions is empty; name some, or benchmark, extra, all")
    return conditions


def _check_outside(data: EvalData, root: Path) -> None:
    """Raise where the copy would become a part of its own source."""
    name = data.name if isinstance(data, DataConfig) else data
    if isinstance(name, str) and (source := Path(name).expanduser()).is_dir():
        place = root.resolve()
        if place.is_relative_to(source.resolve()):
            raise InputError(f"{root} is inside {name}, which is copied; give a folder beside it")


def _chosen_split(data: EvalData, role: str) -> EvalData:
    """Return `data` with the split that is asked for in the test split's place."""
    choice("split", role, ROLES)
    if isinstance(data, str):
        data = DataConfig(name=data)
    if isinstance(data, DataConfig):
        # All of what there is to train on: nothing is held out of a copy.
        data = load_data(data if role == "test" else replace(data, validation_fraction=0.0))
    if not isinstance(data, DataSplits):
        return data
    wanted = getattr(data, role)
    if wanted is None and data.test is not None and data.test.name == role:
        wanted = data.test  # a validation split is what is evaluated where there is no other
    return replace(data, test=wanted or data.required(role))
