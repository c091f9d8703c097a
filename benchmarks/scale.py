"""What ImageNet-1k costs on cores, computed from rates that are measured here on a few images: docs/scale.md.

    OMP_NUM_THREADS=1 python benchmarks/scale.py

Seconds are those of one core (`time.process_time`): neither other work on the machine counts, nor waiting for
disks. The files are in the page cache. No GPU is used.
"""

from __future__ import annotations

import argparse
import io
import tarfile
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from sklearn.datasets import load_sample_images

from pushpull.copies import write_corrupted
from pushpull.data import Framing, load_data
from pushpull.data.images import ImageSplit

TRAIN, VALIDATION, CONDITIONS = 1_281_167, 50_000, 75
FRAMING = Framing(256, 224)


def main() -> None:
    """Measure, and print a line a figure."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("--members", type=int, default=10_000, help="images in the tar whose index is made")
    parser.add_argument("--photographs", type=int, default=200, help="that are decoded")
    parser.add_argument("--corrupted", type=int, default=16, help="that are corrupted, in 75 conditions")
    options = parser.parse_args()
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as place:
        measure(Path(place), options.members, options.photographs, options.corrupted)


def measure(root: Path, members: int, photographs: int, corrupted: int) -> None:
    """Print the rates, and what they make of ImageNet-1k."""
    shard(root / "many" / "test-0.tar", [bytes(4096)] * members)
    seconds, data = timed(lambda: load_split(root / "many"))
    seconds = min(seconds, timed(lambda: load_split(root / "many"))[0])
    held = data.source._rows.data.nbytes + data.labels.nbytes + data.index.nbytes  # type: ignore[attr-defined]
    show("index of a tar", seconds / members, f"{held / members:.0f} bytes held an image")
    hours = seconds / members * TRAIN / 3600
    print(f"  1,281,167 training images: {60 * hours:.1f} min, {held / members * TRAIN / 2**20:.0f} MiB")

    files = [photograph(number) for number in range(photographs)]
    size = sum(map(len, files)) / photographs
    shard(root / "tar" / "test-0.tar", files)
    for number, content in enumerate(files):
        file = root / "folder" / str(number % 2) / f"{number:05}.jpg"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(content)
    for kind in ("tar", "folder"):
        split = load_split(root / kind)
        seconds = min(timed(lambda split=split: decode(split))[0] for _ in range(3)) / photographs
        show(f"a photograph of 500 x 375 px ({size / 1024:.0f} KiB) from a {kind}, cut to 224", seconds)
        print(f"  an epoch of training images: {seconds * TRAIN / 3600:.1f} core hours")

    small = root / "small"
    shard(small / "test-0.tar", files[:corrupted])
    write_corrupted(str(small), root / "warm", limit=1, framing=FRAMING, format="webdataset")
    for quality in (None, 85):
        seconds, record = timed(lambda quality=quality: copy(small, root / f"copy{quality}", quality))
        made = corrupted * CONDITIONS
        stored = sum(file.stat().st_size for file in (root / f"copy{quality}").rglob("*.tar"))
        kind = "PNG" if quality is None else f"JPEG {quality}"
        show(
            f"a corrupted image of 224 px, written as {kind}",
            seconds / made,
            f"{record['frost_textures']} frost",
        )
        every = VALIDATION * CONDITIONS
        core_hours = seconds / made * every / 3600
        print(f"  50,000 x 75: {core_hours:.1f} core hours, {stored / made * every / 2**30:.0f} GiB")


def shard(path: Path, images: list[bytes]) -> None:
    """Write a tar of images with labels 0 and 1."""
    path.parent.mkdir(parents=True)
    with tarfile.open(path, "w", format=tarfile.USTAR_FORMAT) as tar:
        for number, image in enumerate(images):
            for ending, content in (("cls", str(number % 2).encode()), ("jpg", image)):
                member = tarfile.TarInfo(f"n01440764_{number:06}.{ending}")
                member.size = len(content)
                tar.addfile(member, io.BytesIO(content))


def photograph(number: int) -> bytes:
    """Return a JPEG of 500 x 375 px, as large as ImageNet's: part of one of scikit-learn's photographs."""
    picture = Image.fromarray(load_sample_images().images[number % 2])
    left = number % 64
    picture = picture.crop((left, 0, left + 560, 420)).resize((500, 375), Image.Resampling.BICUBIC)
    buffer = io.BytesIO()
    picture.save(buffer, "JPEG", quality=97)
    return buffer.getvalue()


def load_split(folder: Path) -> ImageSplit:
    """Return the images of a folder."""
    from pushpull.data.load import _found  # without looking at sizes of images, which empty ones lack

    return _found(str(folder), None).splits["test"]


def decode(split: ImageSplit) -> int:
    """Decode and frame every image."""
    return sum(int(np.asarray(split.framed(at, FRAMING, (224, 224))).size > 0) for at in range(len(split)))


def copy(source: Path, target: Path, quality: int | None) -> dict[str, Any]:
    """Write the 15 corruptions at 5 severities in this process."""
    options: dict[str, Any] = {"format": "webdataset", "jpeg_quality": quality, "framing": FRAMING}
    return write_corrupted(load_data(str(source)), target, **options)


def timed(call: Callable[[], Any]) -> tuple[float, Any]:
    """Return the seconds that one core was busy, and what was made."""
    began = time.process_time()
    made = call()
    return time.process_time() - began, made


def show(what: str, seconds: float, more: str = "") -> None:
    """Print one figure."""
    print(f"{what}: {1e3 * seconds:.3f} ms{', ' + more if more else ''}", flush=True)


if __name__ == "__main__":
    main()
