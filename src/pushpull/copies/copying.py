"""`write_corrupted`: a corrupted copy of a data set, on disk."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from pushpull.copies.layouts import LAYOUTS, Task
from pushpull.copies.manifest import (
    check_same,
    differences,
    found_manifest,
    new_manifest,
    remove_copy,
    run_tasks,
    save_manifest,
)
from pushpull.copies.plan import CopyPlan, check_folders, class_folders, image_names
from pushpull.corruptions.engine import checked_jpeg_quality, checked_seed
from pushpull.corruptions.textures import frost_texture_source
from pushpull.data import DataConfig, DataSplits, Framing, SkipLimit, UnreadableImageError, load_data
from pushpull.errors import InputError, Interrupted, choice, integer, signal_of
from pushpull.evaluation.images import EvalData, eval_images
from pushpull.evaluation.options import condition_list, severity_scale
from pushpull.evaluation.results import SEVERITIES, Info
from pushpull.files import LOCK, folder_lock, remove_half_written, user_path, writable_folder

ROLES = ("test", "validation", "train")
_SHARD_PIXELS = 2**26 // 3  # 64 MiB decoded: 445 images of 224 px
_SHARD_IMAGES = 1000  # of small images


@dataclass(frozen=True)
class CopyOptions:
    """What a corrupted copy has in it, and how it is made.

    Args:
        format: parquet: the public hub's layout, corruption/severity/test-00000-of-00001.parquet with the
            columns image, label, index. folder: ImageNet-C's, corruption/severity/class/file. npy:
            CIFAR-10-C's, NAME.npy (5 n, H, W, 3) uint8, severity by severity, and labels.npy (5 n,) int64.
            webdataset: shards, corruption/severity/test-00000-of-00001.tar with ROW.png and ROW.cls. By
            default parquet.
        split: test (what evaluate takes), validation or train. By default test.
        corruptions: Names of corruptions, families (noise, blur, weather, digital), benchmark (the 15), extra
            (the 4 others) or all. By default benchmark; in a gallery all.
        severities: Some of 1 2 3 4 5. By default all.
        scale: The corruptions' constants: imagenet, cifar or tiny. By default those of the nearest image
            size.
        seed: Of the corruptions' random numbers.
        jpeg_quality: Store JPEG of this quality, 1 to 100 (4:2:0), or in .npy files what it decodes to;
            ImageNet-C has 85. By default PNG, without loss.
        limit: At most this many images, the same share of every class, always the same ones.
        shard_images: Images that are decoded at a time: those of a parquet file or a tar. By default up to
            1000, by their size.
        workers: Processes. By default one for each usable core on the command line, in Python only this one.
            A script that asks for more than 1 needs the usual `if __name__ == "__main__"`.
        batch_size: Images at a time, by default 64; does not change results.
        overwrite: Replace the copy or picture that is there. Of a copy the files that its manifest names are
            deleted, no others; a part of the same copy is continued.

    Raises:
        InputError: workers or a batch size out of range; all else is checked together with the data.
    """

    # None where a gallery, which takes some of these, must know what was given.
    format: str | None = None
    split: str | None = None
    corruptions: Sequence[str] | None = None
    severities: Sequence[int] | None = None
    scale: str | None = None
    seed: int = 0
    jpeg_quality: int | None = None
    limit: int | None = None
    shard_images: int | None = None
    workers: int | None = None
    batch_size: int | None = None
    overwrite: bool = False

    def __post_init__(self) -> None:
        self.processes()

    def processes(self) -> tuple[int, int]:
        """Return workers and batch size, with their defaults in Python."""
        remedy = "give a whole number"
        workers = integer("workers", 0 if self.workers is None else self.workers, remedy)
        batch_size = integer("batch_size", 64 if self.batch_size is None else self.batch_size, remedy)
        if workers < 0 or batch_size < 1:
            raise InputError(f"workers={workers}, batch_size={batch_size}: need at least 0 and 1")
        return workers, batch_size


def write_corrupted(
    data: EvalData,
    destination: Path | str,
    options: CopyOptions | None = None,
    *,
    framing: Framing | None = None,
    progress: bool = False,
    **changes: Any,
) -> dict[str, Any]:
    """Write a corrupted copy of a data set; a killed run is continued by the same call.

    Image i of a condition is `corrupt(image, ..., index=[its row in the source split])`. Nothing but the
    data, the framing and the options up to `shard_images` decides a byte of any file, with one set of library
    versions.

    Args:
        data: a name, a `DataConfig`, `DataSplits`, an `ImageSplit`, or a tuple of images (uint8,
            (n, 3, H, W)) and labels (n,).
        destination: a folder that is empty, does not exist, or holds this copy or a part of it.
        options: see `CopyOptions`; each of its fields may be given here by its name instead.
        framing: resize and crop before corruption; None: the data's own.
        progress: show a bar on standard error.
        changes: fields of `CopyOptions`.

    Returns:
        The manifest, as in manifest.json.

    Raises:
        InputError: an argument that is not as above, a destination that holds something else, images of
            several sizes, more unreadable ones than the data allows, or a worker that was killed.

    Source: the protocol of Hendrycks & Dietterich, ICLR 2019.
    """
    options = replace(options or CopyOptions(), **changes)
    root = user_path(destination)
    found_manifest(root)  # a mistake in the destination is found before any image is read
    plan, info = _planned(data, root, options, framing)
    workers, batch_size = options.processes()
    return _complete(plan, info, root, workers, batch_size, options.overwrite, progress)


def _planned(
    data: EvalData, root: Path, options: CopyOptions, framing: Framing | None
) -> tuple[CopyPlan, Info]:
    """Return what is to be made, and what an evaluation would say of the images."""
    severities = SEVERITIES if options.severities is None else options.severities
    listed = condition_list("benchmark" if options.corruptions is None else options.corruptions, severities)
    conditions = tuple((name, level) for name, level in listed if name is not None and level is not None)
    if not conditions:
        raise InputError("corruptions is empty; name some, or benchmark, extra, all")
    form = choice("format", "parquet" if options.format is None else options.format, LAYOUTS)
    layout, role = LAYOUTS[form], "test" if options.split is None else options.split
    quality, seed = checked_jpeg_quality(options.jpeg_quality), checked_seed(options.seed)
    layout.check(conditions)
    _check_outside(data, root)
    images = eval_images(_chosen_split(data, role), limit=options.limit, framing=framing)
    folders = class_folders(images.split.classes)
    if form == "folder":
        check_folders(folders, images.split.classes)
    plan = CopyPlan(
        layout=form,
        split=images.split,
        framing=images.framing,
        size=images.size,
        role=role,
        conditions=conditions,
        scale=severity_scale(options.scale, images.size, corrupted=True),
        seed=seed,
        jpeg_quality=quality,
        frost=frost_texture_source() if any(name == "frost" for name, _ in conditions) else None,
        shard=_shard(options.shard_images, images.size),
        folders=tuple(folders),
        names=tuple(image_names(images.split, folders)) if form in ("parquet", "folder") else (),
    )
    return plan, images.info


def _complete(
    plan: CopyPlan, info: Info, root: Path, workers: int, batch_size: int, overwrite: bool, progress: bool
) -> dict[str, Any]:
    """Bring the copy at `root` to its end, from wherever it is."""
    record = new_manifest(plan, info)
    found = found_manifest(root)
    if found is not None and not overwrite:
        check_same(found, record, root)  # a refusal leaves nothing behind, not even a lock
    if found is not None and found.get("complete") and not overwrite and not (root / LOCK).exists():
        return found  # nothing is written, so that it may lie where nothing can be
    writable_folder(root)
    root.mkdir(parents=True, exist_ok=True)
    with folder_lock(root):
        found = found_manifest(root)  # again: another run may have been there in between
        if found is not None and not overwrite:
            check_same(found, record, root)
        remove_half_written(root)
        # What a killed removal has left goes first; with `overwrite` all but a part of this same copy.
        if found is not None and (
            found.get("removed") or (overwrite and (found.get("complete") or any(differences(found, record))))
        ):
            remove_copy(root, found)
            found = None
        if found is not None and found.get("complete"):
            return found
        if found is None:
            save_manifest(root, record)
        return _made(plan, record, root, workers, batch_size, progress)


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
    try:
        with closing(work), _progress_bar(total, before, enabled=progress) as show:
            for images, skipped in work:
                limit.admit(skipped)
                show(before + images)
    except KeyboardInterrupt as stopped:
        made = before + sum(layout.made(plan, root, task) for task in left)
        raise Interrupted(f"stopped; {made} of {total} images are in {root}", signal_of(stopped)) from None
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
    """Show images written, images per second and the time left; yield what is told how many are written."""
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


def _shard(shard_images: int | None, size: tuple[int, int]) -> int:
    if shard_images is None:
        return max(1, min(_SHARD_IMAGES, _SHARD_PIXELS // (size[0] * size[1])))
    count = integer("shard_images", shard_images, "give a whole number, or none")
    if count < 1:
        raise InputError(f"shard_images={count} is below 1; give a number of images, or none")
    return count


def _check_outside(data: EvalData, root: Path) -> None:
    """Raise where the copy would become a part of its own source."""
    name = data.name if isinstance(data, DataConfig) else data
    if isinstance(name, str) and (source := user_path(name)).is_dir():
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
