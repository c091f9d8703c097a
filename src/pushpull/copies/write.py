"""`write_corrupted`: a corrupted copy of a data set, on disk."""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

from pushpull.copies.forms import FORMS
from pushpull.copies.job import Job, default_shard
from pushpull.copies.manifest import (
    check_same,
    differences,
    found_manifest,
    new_manifest,
    remove_copy,
    save_manifest,
)
from pushpull.copies.progress import copy_bar
from pushpull.copies.store import Store
from pushpull.copies.workers import Shop, run_here, run_in_processes, units_of
from pushpull.corruptions.arguments import checked_output, checked_seed
from pushpull.corruptions.textures import frost_texture_source
from pushpull.data import DataConfig, DataSplits, Framing, SkipLimit, UnreadableImageError, load_data
from pushpull.errors import InputError, choice, integer
from pushpull.evaluation.images import EvalData, EvalImages, eval_images
from pushpull.evaluation.results import SEVERITIES, DataInfo
from pushpull.evaluation.settings import condition_list, severity_scale
from pushpull.files import writable_folder

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
        shard_images: images a shard: what a kill may lose of one condition, and a parquet file's rows. None:
            by the size of the images, at most 1000.
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
    form = FORMS[choice("format", format, FORMS)]
    quality = checked_output(True, jpeg_quality).jpeg_quality
    word = checked_seed(seed)
    form.check(conditions)
    _check_outside(data, root)
    images = eval_images(_chosen_split(data, split), limit=limit, framing=framing)
    job = _job(images, format, split, conditions, scale, word, quality, shard_images)
    return _complete(job, images.info, root, processes, at_a_time, overwrite, progress)


def _job(
    images: EvalImages,
    form: str,
    role: str,
    conditions: tuple[tuple[str, int], ...],
    scale: str | None,
    seed: int,
    jpeg_quality: int | None,
    shard_images: int | None,
) -> Job:
    return Job.make(
        form=form,
        split=images.split,
        framing=images.framing,
        size=images.size,
        role=role,
        conditions=conditions,
        scale=severity_scale(scale, images.size, corrupted=True),
        seed=seed,
        jpeg_quality=jpeg_quality,
        frost=frost_texture_source() if any(name == "frost" for name, _ in conditions) else None,
        shard=_shard(shard_images, images.size),
    )


def _complete(
    job: Job, info: DataInfo, root: Path, workers: int, batch_size: int, overwrite: bool, progress: bool
) -> dict[str, Any]:
    """Bring the copy at `root` to its end, from wherever it is."""
    store, record = Store(root), new_manifest(job, info)
    found = _continued(root, record, overwrite)  # a refusal leaves nothing behind, not even a lock
    if found is not None and found.get("complete") and not overwrite and not store.hidden.exists():
        return found  # nothing is written, so that it may lie where nothing can be
    writable_folder(root)
    with store.locked():
        found = _continued(root, record, overwrite)
        store.prepare()
        if found is not None and _starts_over(found, record, overwrite):
            remove_copy(store, found)
            found = None
        if found is None or not found.get("complete"):
            record = _made(job, record, Shop(job, store, batch_size), workers, progress, fresh=found is None)
        else:
            record = found
        store.clean()
    return record


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
    job: Job, record: dict[str, Any], shop: Shop, workers: int, progress: bool, *, fresh: bool
) -> dict[str, Any]:
    """Do what is left, and return the manifest of the complete copy."""
    store, form = shop.store, FORMS[job.form]
    if fresh:
        save_manifest(store, record)
        store.forget()  # marks without a manifest are nobody's
    form.begin(job, store)
    limit = SkipLimit(f"the {job.split.name} split", len(job.split), job.split.unreadable_limit)
    known = store.done()
    limit.admit(UnreadableImageError(*skipped) for skipped in store.skipped(known))
    units = units_of(job, known, workers)
    steps = run_in_processes(shop, units, workers) if min(workers, len(units)) > 1 else run_here(shop, units)
    total = len(job.conditions) * len(job.split)
    # Closed here, so that no worker is left when the lock is given back.
    with closing(steps), copy_bar(total, _images(job, known), enabled=progress) as show:
        for _ in steps:
            fresh_marks = store.done() - known
            limit.admit(UnreadableImageError(*skipped) for skipped in store.skipped(fresh_marks))
            known |= fresh_marks
            show(_images(job, known))
    if len(limit.names) == len(job.split):
        raise InputError(f"{record['label']}: no image could be read; give readable images")
    for corruption in record["corruptions"]:
        form.finish(job, store, corruption)
    record = {**record, "complete": True, "skipped": sorted(limit.names)}
    save_manifest(store, record)
    return record


def _images(job: Job, keys: set[str]) -> int:
    """Return how many images these tasks have."""
    return sum(len(job.positions(int(key.rpartition("-")[2]))) for key in keys)


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
