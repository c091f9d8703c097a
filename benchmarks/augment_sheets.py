"""Sheets of augmented samples to look at: one named row an augmentation, the clean image and some draws.

    python benchmarks/augment_sheets.py --output sheets                # the package's own picture
    python benchmarks/augment_sheets.py --images photographs/*.jpg --sizes 224 32 --output sheets

    python benchmarks/augment_sheets.py --sizes 112 --scale imagenet --draws 7 --jpeg --output docs/images

Writes OUTPUT/augment-<scale>-<size>-<image>.png with all augmentations and PRIME's primitives one at a time,
and OUTPUT/augment-<scale>-<size>-<image>-<augmentation>.png for each with `--each`.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import torch
from PIL import Image, ImageDraw, ImageFont
from torch import Tensor
from torchvision.transforms.v2 import functional as F

from pushpull.augment import AUGMENTATIONS, ImageDraws, augment_batch
from pushpull.augment.prime import PRIME, PRIMITIVES, primitive
from pushpull.copies import sample_image
from pushpull.files import atomic_path

_GAP_PX = 3
_SMALLEST_PX = 96  # smaller pictures are enlarged by whole pixels
_LABEL_PX, _HEAD_PX = 196, 26  # left of the pictures and above them
_ROWS = (*list(AUGMENTATIONS)[1:], *(f"prime: {name}" for name in PRIMITIVES))


def main(arguments: list[str] | None = None) -> None:
    """Write the sheets."""
    options = _options(arguments)
    for size in options.sizes:
        scale = options.scale or ("cifar" if size <= 64 else "imagenet")
        for path in options.images or [None]:
            picture = sample_image(size) if path is None else _square(Image.open(path).convert("RGB"), size)
            image, name = F.pil_to_tensor(picture), "sample" if path is None else path.stem
            stem = f"augment-{scale}-{size}-{name}"
            rows = [_row(image, row, scale, options.draws, options.seed) for row in _ROWS]
            end = "jpg" if options.jpeg else "png"
            _write(options.output / f"{stem}.{end}", _labelled(rows))
            for row, pictures in zip(_ROWS, rows, strict=True):
                if options.each:
                    _write(options.output / f"{stem}-{row.replace(': ', '-')}.{end}", pictures)


def _labelled(rows: list[Tensor]) -> Tensor:
    """Return the rows below each other, each with its name on the left, and what the columns are above."""
    pictures = torch.cat(rows, dim=1)
    height, width = pictures.shape[1] + _HEAD_PX, pictures.shape[2] + _LABEL_PX
    sheet = Image.new("RGB", (width, height), "white")
    sheet.paste(F.to_pil_image(pictures), (_LABEL_PX, _HEAD_PX))
    draw, font, row_px = ImageDraw.Draw(sheet), ImageFont.load_default(16), rows[0].shape[1]
    for number, name in enumerate(_ROWS):
        middle = _HEAD_PX + number * row_px + row_px // 2
        draw.text((_LABEL_PX - 10, middle), name, fill="black", font=font, anchor="rm")
    for left, head in ((0, "as it is"), (row_px, "drawn")):
        draw.text((_LABEL_PX + left, _HEAD_PX - 5), head, fill="black", font=font, anchor="ls")
    return F.pil_to_tensor(sheet)


def _options(arguments: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        "--images", nargs="*", type=Path, help="image files; default: the package's own picture"
    )
    parser.add_argument("--sizes", nargs="*", type=int, default=[32, 224], help="px a side")
    parser.add_argument("--scale", choices=["cifar", "imagenet"], help="default: cifar up to 64 px")
    parser.add_argument("--draws", type=int, default=8, help="augmented samples a row")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--each", action="store_true", help="one file an augmentation beside the sheet")
    parser.add_argument("--jpeg", action="store_true", help="smaller files, quality 85")
    parser.add_argument("--output", type=Path, required=True, help="folder")
    return parser.parse_args(arguments)


def _square(picture: Image.Image, size: int) -> Image.Image:
    side = min(picture.size)
    left, top = (picture.width - side) // 2, (picture.height - side) // 2
    box = (left, top, left + side, top + side)
    return picture.resize((size, size), Image.Resampling.BICUBIC, box=box)


def _row(image: Tensor, name: str, scale: str, draws: int, seed: int) -> Tensor:
    """Return (3, height, width) uint8: the clean image and its draws."""
    copies = image.expand(draws, -1, -1, -1).contiguous()
    if name in AUGMENTATIONS:
        drawn = augment_batch(copies, name, index=torch.arange(draws), seed=seed, scale=scale)
    else:
        numbers = ImageDraws(torch.arange(draws), "sheet", seed=seed)
        levels = primitive(copies / 255, name.split(": ")[1], PRIME[scale], numbers) * 255
        drawn = levels.round().to(torch.uint8)
    return torch.cat([_framed(picture) for picture in (image, *drawn)], dim=2)


def _framed(picture: Tensor) -> Tensor:
    """Enlarge to be seen, and leave a white gap to the next."""
    factor = max(1, _SMALLEST_PX // picture.shape[-1])
    large = picture.repeat_interleave(factor, 1).repeat_interleave(factor, 2)
    return torch.nn.functional.pad(large, (0, _GAP_PX, 0, _GAP_PX), value=255)


def _write(path: Path, sheet: Tensor) -> None:
    form = {"format": "JPEG", "quality": 85} if path.suffix == ".jpg" else {"format": "PNG"}
    with atomic_path(path) as temporary:
        Image.fromarray(sheet.permute(1, 2, 0).contiguous().numpy()).save(temporary, **form)


if __name__ == "__main__":
    main()
