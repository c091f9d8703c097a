"""A split of a data set: labels, identities, and images that are decoded when they are asked for."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol, TypeVar

import torch
from jaxtyping import Int64, UInt8
from PIL import Image
from torch import Tensor

from pushpull.data.decode import SkipLimit, UnreadableImageError, decoding_threads, image_size, open_rgb
from pushpull.data.labels import numbered, whole_labels
from pushpull.data.preprocessing import Framing, to_tensor
from pushpull.errors import InputError

AS_IS = Framing()
_CHUNK = 64  # images per task: long enough that a thread's start does not count
_QUIET_SECONDS = 2.0  # a progress bar that flashes by is no help
UNLABELLED = -1

T = TypeVar("T")


class ImageSource(Protocol):
    """Where the images of a whole split come from, by row."""

    def name(self, row: int) -> str:
        """Return what an error calls the image."""

    def open(self, row: int) -> Image.Image:
        """Return the image as RGB; raises `UnreadableImageError`."""

    def size(self, row: int) -> tuple[int, int]:
        """Return (height, width) in px without decoding; raises `UnreadableImageError`."""


class TensorSource:
    """Images that are already decoded: (n, 3, H, W) uint8."""

    def __init__(self, images: UInt8[Tensor, "n 3 h w"], origin: str) -> None:
        self.images, self.origin = images, origin

    def name(self, row: int) -> str:
        """Return the split and the row."""
        return f"{self.origin} row {row}"

    def open(self, row: int) -> Image.Image:
        """Return one image."""
        return Image.fromarray(self.images[row].permute(1, 2, 0).contiguous().numpy())

    def size(self, row: int) -> tuple[int, int]:
        """Return (height, width), the same for all."""
        return self.images.shape[2], self.images.shape[3]


class TableSource:
    """Encoded images in one column of a Hugging Face data set: bytes, {bytes, path}, or a piece of a tar.

    Args:
        dataset: a `datasets.Dataset`; memory-mapped or in memory.
        column: the one with the images.
        origin: the split, as an error calls it.
        root: the folder that paths must not leave; None: the paths were listed here, not read from a file.
        beside: where relative paths start; None: at the root.
    """

    def __init__(
        self, dataset: Any, column: str, origin: str, root: Path | None = None, beside: Path | None = None
    ) -> None:
        # Arrow rows give the stored bytes: no decoder runs, whatever the column's feature type says.
        self._rows = dataset.select_columns([column]).with_format("arrow")
        self._column, self._origin = column, origin
        self._root, self._beside = root and root.resolve(), beside or root

    def _cell(self, row: int) -> tuple[bytes | Path | Mapping[str, Any] | None, str]:
        value = self._rows[int(row)].column(self._column)[0].as_py()
        if not isinstance(value, dict):
            return value, f"{self._origin} row {row}"
        if self._root is None and "tar" in value:  # listed here: a file's word for it would be no reason
            return value, f"{self._beside and self._beside / value['tar']}: {value['path']}"
        content, path = value.get("bytes"), value.get("path")
        if content is None and path:
            return self._allowed(path, row), str(path)
        return content, f"{self._origin} row {row}" + (f" ({path})" if path else "")

    def _allowed(self, path: str, row: int) -> Path:
        if self._root is None or self._beside is None:
            return Path(path)
        file = self._beside / path
        if "\0" in path or not file.resolve().is_relative_to(self._root):
            raise InputError(
                f"{self._origin} row {row} names the file {path!r}, which is not in {self._root}; "
                "move it there, or store the image itself (bytes)"
            )
        return file

    def _content(self, row: int) -> tuple[bytes | Path, str]:
        content, name = self._cell(row)
        if content is None:
            raise UnreadableImageError(name, "no image stored")
        if isinstance(content, Mapping):
            return self._piece(content, name), name
        return content, name

    def _piece(self, place: Mapping[str, Any], name: str) -> bytes:
        """Return a member of a tar; no tar stays open: a thousand would be too many for one process."""
        assert self._beside is not None
        try:
            with open(self._beside / place["tar"], "rb") as file:
                file.seek(place["offset"])
                return file.read(place["size"])
        except OSError as error:
            raise UnreadableImageError(name, error.strerror or str(error)) from error

    def name(self, row: int) -> str:
        """Return the path of an image file, or the split and the row."""
        return self._cell(row)[1]

    def file_name(self, row: int) -> str | None:
        """Return the path that the image has or had, None where the table knows none; reads no image."""
        value = self._rows[int(row)].column(self._column)[0]
        names = [field.name for field in value.type] if hasattr(value, "keys") else []
        return value["path"].as_py() if "path" in names else None

    def encoded(self, row: int) -> bytes:
        """Return the stored file of one image; raises `UnreadableImageError`."""
        content, name = self._content(row)
        try:
            return content.read_bytes() if isinstance(content, Path) else content
        except OSError as error:
            raise UnreadableImageError(name, error.strerror or str(error)) from error

    def shuffled(self, rows: Int64[Tensor, " n"], generator: torch.Generator) -> Int64[Tensor, " n"]:
        """Return the positions of `rows` in a random order; a table far away has one of its own."""
        near = getattr(self._rows, "shuffled", None)
        return near(rows, generator) if near else torch.randperm(len(rows), generator=generator)

    def open(self, row: int) -> Image.Image:
        """Decode one image."""
        return open_rgb(*self._content(row))

    def size(self, row: int) -> tuple[int, int]:
        """Read one image's header."""
        return image_size(*self._content(row))


@dataclass(frozen=True)
class ResidentImages:
    """Decoded images in memory, without the unreadable ones.

    Args:
        images: (n, 3, H, W) uint8.
        labels: (n,) int64.
        index: (n,) int64, row numbers in the source split.
        skipped: names of the images that could not be read.
    """

    images: UInt8[Tensor, "n 3 h w"]
    labels: Int64[Tensor, " n"]
    index: Int64[Tensor, " n"]
    skipped: list[str]


@dataclass(eq=False)
class ImageSplit:
    """Images with labels, decoded when they are asked for.

    Args:
        name: of the split in its source, such as "test" or "validation".
        classes: the names of the labels.
        labels: (n,) int64 in 0..len(classes)-1.
        index: (n,) int64, the row number of each image in the source split: its identity, which corruptions
            are drawn from, so that it stays the same through every subset.
        source: the images by row.
        unreadable_limit: share of the images that may be skipped where they cannot be decoded (rounded down).
        memory_limit_gib: up to this size `eval_batches` keeps the split decoded in memory.
    """

    name: str
    classes: list[str]
    labels: Int64[Tensor, " n"]
    index: Int64[Tensor, " n"]
    source: ImageSource
    unreadable_limit: float = 0.001
    memory_limit_gib: float = 4.0
    skipped: list[str] = field(default_factory=list, init=False)
    _resident: dict[Framing, ResidentImages] = field(default_factory=dict, init=False, repr=False)

    @classmethod
    def from_tensors(
        cls,
        images: Tensor,
        labels: Tensor | Sequence[int],
        classes: Sequence[str] | None = None,
        *,
        name: str = "test",
    ) -> ImageSplit:
        """Return a split of images, (n, 3, H, W) uint8, that are in memory; their row is their `index`.

        Without `classes` the labels are called "0", "1", ...

        Raises:
            InputError: images not (n, 3, H, W) uint8, labels that are not whole numbers, of another length or
                outside the classes.
        """
        if images.ndim != 4 or images.shape[1] != 3 or images.dtype != torch.uint8:
            raise InputError(
                f"images are {tuple(images.shape)} {images.dtype}; give (n, 3, H, W) torch.uint8"
            )
        labels = whole_labels(labels, name)
        if labels.shape != (len(images),):
            raise InputError(f"labels are {tuple(labels.shape)} for {len(images)} images; give one per image")
        if classes is None:
            classes = numbered([labels], name)
        if len(labels) and not 0 <= int(labels.min()) <= int(labels.max()) < len(classes):
            raise InputError(
                f"labels are {int(labels.min())}..{int(labels.max())} for {len(classes)} classes; "
                f"give labels in 0..{len(classes) - 1}"
            )
        source = TensorSource(images.cpu(), name)
        return cls(name, list(classes), labels, torch.arange(len(images)), source)

    def __len__(self) -> int:
        return len(self.labels)

    def __getstate__(self) -> dict[str, Any]:
        # A worker that streams has no use for the decoded copy.
        return {**self.__dict__, "_resident": {}}

    def image_name(self, position: int) -> str:
        """Return what errors and lists of skipped images call the image at `position`."""
        return self.source.name(int(self.index[position]))

    def image(self, position: int) -> Image.Image:
        """Return the image at `position` in 0..len-1 as RGB; raises `UnreadableImageError` that names it."""
        return self.source.open(int(self.index[position]))

    def framed(self, position: int, framing: Framing, size: tuple[int, int]) -> UInt8[Tensor, "3 h w"]:
        """Return the image at `position`, framed, as (3, *size) uint8.

        Raises:
            UnreadableImageError: it cannot be decoded.
            InputError: it is smaller than the crop, or its framed (height, width) in px is not `size`.
        """
        row = int(self.index[position])
        return self.frame(self.source.open(row), row, framing, size)

    def frame(
        self, image: Image.Image, row: int, framing: Framing, size: tuple[int, int]
    ) -> UInt8[Tensor, "3 h w"]:
        """Return the image of a row of the source, framed; as `framed`, also in what it raises."""
        if framing.output_size((image.height, image.width)) != size:
            raise InputError(
                f"{self.source.name(row)} is {image.height} x {image.width} px, "
                f"the first is {size[0]} x {size[1]} once framed, but all must agree; replace or remove it, "
                "or frame clean images (--resize and --crop, in Python Framing(256, 224))"
            )
        return to_tensor(framing.apply(image, lambda: self.source.name(row)))

    def framed_size(self, framing: Framing) -> tuple[int, int]:
        """Return (height, width) in px that all images have once framed: that of the first readable one.

        Raises:
            InputError: no image is readable.
        """
        if framing.crop is not None:
            return framing.crop, framing.crop
        for row in self.index.tolist():
            try:
                return framing.output_size(self.source.size(row))
            except UnreadableImageError:
                continue
        raise InputError(f"the {self.name} split has no readable image; give one that has")

    def subset(self, positions: Tensor | Sequence[int]) -> ImageSplit:
        """Return the images at `positions` in that order; each keeps its `index`.

        Raises:
            InputError: a position outside 0..len-1.
        """
        chosen = torch.as_tensor(positions, dtype=torch.int64)
        if len(chosen) and not 0 <= int(chosen.min()) <= int(chosen.max()) < len(self):
            raise InputError(
                f"positions {int(chosen.min())}..{int(chosen.max())} are not all in 0..{len(self) - 1}"
            )
        return dataclasses.replace(self, labels=self.labels[chosen], index=self.index[chosen])

    def shuffled(self, generator: torch.Generator) -> Int64[Tensor, " n"]:
        """Return all positions in a random order; of a remote table in one that keeps row groups together."""
        own = getattr(self.source, "shuffled", None)
        return own(self.index, generator) if own else torch.randperm(len(self), generator=generator)

    def fits(self, framing: Framing, limit_gib: float | None = None) -> bool:
        """Return whether the framed split takes at most `limit_gib` (default: the split's own) decoded."""
        height, width = self.framed_size(framing) if len(self) else (0, 0)
        limit = self.memory_limit_gib if limit_gib is None else limit_gib
        return len(self) * 3 * height * width <= limit * 2**30

    def resident(self, framing: Framing = AS_IS) -> ResidentImages:
        """Return all readable images as one uint8 tensor; the second call with a framing is free.

        Raises:
            InputError: more unreadable images than allowed, or sizes that differ once framed.
        """
        if framing not in self._resident:
            if isinstance(self.source, TensorSource) and framing == AS_IS:
                images = self.source.images
                whole = torch.equal(self.index, torch.arange(len(images)))
                chosen = images if whole else images[self.index]
                self._resident[framing] = ResidentImages(chosen, self.labels, self.index, [])
            else:
                self._resident[framing] = _decoded(self, framing)
                self.note_skipped(self._resident[framing].skipped)
        return self._resident[framing]

    def note_skipped(self, names: Sequence[str]) -> None:
        """Record images that were skipped; `skipped` lists each once."""
        self.skipped.extend(name for name in names if name not in self.skipped)


@dataclass
class RawData:
    """A data set before any choice is made: labels may be `UNLABELLED` (-1).

    Args:
        classes: names of the labels.
        splits: "train", "validation", "test", those that there are.
        remarks: what was decided on the way, one sentence each.
        note: a warning that belongs to every figure on this data.
    """

    classes: list[str]
    splits: dict[str, ImageSplit]
    remarks: list[str] = field(default_factory=list)
    note: str | None = None


def _decoded(split: ImageSplit, framing: Framing) -> ResidentImages:
    count = len(split)
    size = split.framed_size(framing) if count else (0, 0)
    images = torch.empty(count, 3, *size, dtype=torch.uint8)

    def decode(start: int) -> list[tuple[int, UnreadableImageError]]:
        failures = []
        for position in range(start, min(start + _CHUNK, count)):
            try:
                images[position] = split.framed(position, framing, size)
            except UnreadableImageError as error:
                failures.append((position, error))
        return failures

    limit = SkipLimit(f"the {split.name} split", count, split.unreadable_limit)
    lost: list[int] = []
    with ThreadPoolExecutor(max_workers=decoding_threads()) as pool:
        tasks = [pool.submit(decode, start) for start in range(0, count, _CHUNK)]
        try:
            for task in with_progress(tasks, f"reading {split.name}"):
                failures = task.result()
                limit.admit(error for _, error in failures)
                lost.extend(position for position, _ in failures)
        finally:
            pool.shutdown(cancel_futures=True)
    keep = torch.ones(count, dtype=torch.bool)
    keep[lost] = False
    kept = keep.nonzero()[:, 0]
    # Moved down over the lost ones in place: a copy would double the memory.
    for new, old in enumerate(kept.tolist() if lost else ()):
        if new != old:
            images[new] = images[old]
    return ResidentImages(images[: len(kept)], split.labels[kept], split.index[kept], limit.names)


def with_progress(tasks: list[Future[T]], title: str) -> Iterator[Future[T]]:
    """Yield the tasks in order as they finish, with a bar once it has taken two seconds."""
    start, done = time.monotonic(), 0
    for task in tasks:
        try:
            task.exception(timeout=max(0.0, start + _QUIET_SECONDS - time.monotonic()))
        except TimeoutError:
            break
        yield task
        done += 1
    else:
        return
    from rich.console import Console
    from rich.progress import Progress

    with Progress(console=Console(stderr=True), transient=True) as progress:
        bar = progress.add_task(title, total=len(tasks), completed=done)
        for task in tasks[done:]:
            task.exception()
            progress.advance(bar)
            yield task
