"""One image in all corruptions and severities, in one picture."""

from __future__ import annotations

import warnings
from collections.abc import Iterable
from functools import partial
from itertools import groupby
from pathlib import Path
from typing import Any

from jaxtyping import UInt8
from PIL import Image, ImageDraw, ImageFont
from torch import Tensor

from pushpull.corruptions import EXTRA_CORRUPTIONS, REGISTRY, corrupt
from pushpull.corruptions.engine import checked_seed
from pushpull.corruptions.textures import frost_texture_source
from pushpull.data import Framing
from pushpull.data.decode import open_rgb
from pushpull.data.preprocessing import to_tensor
from pushpull.errors import InputError, MissingFileError, integer
from pushpull.evaluation.options import condition_list, severity_scale
from pushpull.evaluation.results import SEVERITIES
from pushpull.files import atomic_path, user_path

_LARGE_PX = 224  # a side above it: framed as ImageNet-C's images
TILE_PX = 160
_SMALLEST_TILE_PX = 40  # below, the labels of two rows touch
_MOST_PX = 150_000_000  # of the whole picture: all corruptions at tiles of 1120 px
_GAP, _MARGIN, _BAND, _LABEL, _FAMILY_GAP = 6, 28, 34, 190, 16
_TITLE, _HEADS = 74, 30
_LEFT, _TOP = _MARGIN + _BAND + _LABEL, _MARGIN + _TITLE + _HEADS  # of the first image
_BACKGROUND, _INK, _FAINT = (255, 255, 255), (28, 32, 38), (112, 120, 130)
_FAMILY_COLOURS = {
    "noise": (96, 84, 160),
    "blur": (30, 118, 150),
    "weather": (44, 128, 92),
    "digital": (186, 96, 44),
    "own": (96, 100, 108),  # the user's
}
_OWN = "sample"
_SUFFIXES = (".png", ".jpg", ".jpeg")
_JPEG_QUALITY = 85


def sample_image(size_px: int = 256) -> Image.Image:
    """Return a photograph that scikit-learn ships, cut to a square and resized, RGB.

    It is its "china.jpg", a temple under a clear sky: fine texture, edges and an even region.

    Args:
        size_px: side of the square.
    """
    from sklearn.datasets import load_sample_image

    photograph = Image.fromarray(load_sample_image("china.jpg"))
    side = min(photograph.size)
    left, top = (photograph.width - side) // 2, (photograph.height - side) // 2
    square = photograph.crop((left, top, left + side, top + side))
    return square.resize((size_px, size_px), Image.Resampling.LANCZOS)


def draw_gallery(
    image: Image.Image | None = None,
    *,
    corruptions: str | Iterable[str] = "all",
    severities: int | Iterable[int] = SEVERITIES,
    scale: str | None = None,
    seed: int = 0,
    jpeg_quality: int | None = None,
    framing: Framing | None = None,
    tile_px: int = TILE_PX,
) -> Image.Image:
    """Return a picture with a row per corruption, by family, and the columns clean and every severity.

    Args:
        image: RGB; None: `sample_image()`.
        corruptions: names of corruptions, families, "benchmark", "extra" or "all".
        severities: of 1..5.
        scale: "imagenet", "cifar" or "tiny"; None: by the size of the framed image, the nearest.
        seed, jpeg_quality: as for `corrupt`; the image has index 0.
        framing: None: Framing(256, 224) for an image with a side above 224 px, none for others.
        tile_px: height of an image on the picture; one that is smaller is enlarged by a whole factor.

    Raises:
        InputError: an argument that is not as above, an image that is too small.
    """
    listed = condition_list(corruptions, severities)[1:]
    if not listed:
        raise InputError("corruptions is empty; name some, or benchmark, extra, all")
    names = sorted({str(name) for name, _ in listed}, key=_order)
    levels = sorted({int(level) for _, level in listed if level is not None})
    clean = _framed(sample_image() if image is None else image.convert("RGB"), framing)
    height, width = clean.shape[1:]
    tile, size = _sizes((height, width), names, len(levels) + 1, tile_px)
    scale = severity_scale(scale, (height, width), corrupted=True)
    seed = checked_seed(seed)
    made = partial(corrupt, clean[None], scale=scale, seed=seed, index=[0], jpeg_quality=jpeg_quality)
    rows = {name: [clean, *(made(name, level)[0] for level in levels)] for name in names}
    heads = ["clean", *(f"severity {level}" for level in levels)]
    subtitle = f"{height}x{width} px, {scale} scale, seed {seed}"
    return _drawn(rows, heads, subtitle + _more(names, jpeg_quality), tile, size)


def _framed(image: Image.Image, framing: Framing | None) -> Tensor:
    """Return the pixels that are corrupted, (3, H, W) uint8."""
    if framing is None:
        framing = Framing(256, 224) if max(image.size) > _LARGE_PX else Framing()
    return to_tensor(framing.apply(image))


def _more(names: list[str], jpeg_quality: int | None) -> str:
    """Return what else the subtitle says."""
    stored = "" if jpeg_quality is None else f", stored as JPEG of quality {jpeg_quality}"
    return stored + (f", frost: {Path(frost_texture_source()).name}" if "frost" in names else "")


def write_gallery(
    source: str | None, destination: str | None, *, overwrite: bool = False, **options: Any
) -> Path:
    """Draw the gallery of an image file into a .png or .jpg, and return its path.

    Args:
        source: the image file; "sample" or None: our own image.
        destination: None: the image's name and "-gallery.png", in the current folder.
        overwrite: replace the picture that is there.
        options: as for `draw_gallery`.

    Raises:
        InputError: a file that is missing or no image, a picture that is there already, another ending; and
            as `draw_gallery`.
    """
    stem = _OWN if source is None else Path(source).stem
    path = user_path(destination or f"{stem}-gallery.png")
    if path.suffix.lower() not in _SUFFIXES:
        raise InputError(f"{path} ends in {path.suffix or 'nothing'!r}; a gallery is a .png or .jpg file")
    if path.exists() and not overwrite:
        raise InputError(f"{path} exists; --overwrite replaces it")
    picture = draw_gallery(_opened(source), **options)
    with atomic_path(path) as temporary:
        picture.save(temporary, quality=_JPEG_QUALITY, optimize=True)
    return path


def _opened(source: str | None) -> Image.Image | None:
    if source in (None, _OWN):
        return None
    path = user_path(source)
    remedy = "--gallery takes an image file, or 'sample' for a drawn one"
    if not path.exists():
        raise MissingFileError(f"{source} does not exist; {remedy}")
    if path.is_dir():
        raise InputError(f"{source} is a folder; {remedy}")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", Image.DecompressionBombWarning)  # it is refused
        return open_rgb(path, str(path))


def _order(name: str) -> tuple[int, bool, int]:
    """Sort by family, the extra one last, in the usual order."""
    families = list(_FAMILY_COLOURS)
    return families.index(REGISTRY[name].family), name in EXTRA_CORRUPTIONS, list(REGISTRY).index(name)


def _sizes(
    image: tuple[int, int], names: list[str], columns: int, tile_px: int
) -> tuple[tuple[int, int], tuple[int, int]]:
    """Return (height, width) of a tile and (width, height) of the sheet, px, for an image of (height, width).

    Raises:
        InputError: tiles too low for their labels, or a sheet too large for memory.
    """
    height, width = image
    height_px = integer("tile", tile_px, "give a number of pixels")
    if height_px < _SMALLEST_TILE_PX:
        raise InputError(f"tile={height_px} is below {_SMALLEST_TILE_PX}; give a height in pixels")
    factor = height_px // height if height <= height_px else height_px / height
    tile = (round(height * factor), round(width * factor))
    families = len({REGISTRY[name].family for name in names})
    across = _LEFT + columns * (tile[1] + _GAP) - _GAP + _MARGIN
    down = _TOP + len(names) * (tile[0] + _GAP) - _GAP + (families - 1) * _FAMILY_GAP + _MARGIN
    if across * down > _MOST_PX:
        raise InputError(
            f"tile={height_px} would make a picture of {across} x {down} px, above "
            f"{_MOST_PX // 10**6} megapixels; give a smaller tile (--tile), or fewer corruptions"
        )
    return tile, (across, down)


def _drawn(
    rows: dict[str, list[UInt8[Tensor, "3 h w"]]],
    heads: list[str],
    subtitle: str,
    tile: tuple[int, int],
    size: tuple[int, int],
) -> Image.Image:
    """Return the sheet: names of the corruptions -> images of a row, below the heads of the columns."""
    sheet = Image.new("RGB", size, _BACKGROUND)
    draw, font = ImageDraw.Draw(sheet), ImageFont.load_default
    draw.text((_MARGIN, _MARGIN), "Common image corruptions", fill=_INK, font=font(30))
    draw.text((_MARGIN, _MARGIN + 42), subtitle, fill=_FAINT, font=font(17))
    lefts = [_LEFT + column * (tile[1] + _GAP) for column in range(len(heads))]
    for left, head in zip(lefts, heads, strict=True):
        draw.text((left + tile[1] // 2, _TOP - 10), head, fill=_INK, font=font(17), anchor="ms")
    top = _TOP
    for family, members in groupby(rows, lambda name: REGISTRY[name].family):
        start = top
        for name in members:
            label, middle = name.replace("_", " "), top + tile[0] // 2
            if name in EXTRA_CORRUPTIONS:
                place = (_LEFT - 16, middle + 11)
                draw.text(place, "not in the mean", fill=_FAINT, font=font(14), anchor="rm")
                middle -= 11
            draw.text((_LEFT - 16, middle), label, fill=_INK, font=font(19), anchor="rm")
            for left, image in zip(lefts, rows[name], strict=True):
                picture = Image.fromarray(image.permute(1, 2, 0).contiguous().numpy())
                smaller = tile[0] < picture.height
                way = Image.Resampling.LANCZOS if smaller else Image.Resampling.NEAREST
                sheet.paste(picture.resize((tile[1], tile[0]), way), (left, top))
            top += tile[0] + _GAP
        # The family's band, with its name from bottom to top.
        band = Image.new("RGB", (top - _GAP - start, _BAND), _FAMILY_COLOURS[family])
        place = (band.width // 2, _BAND // 2)
        ImageDraw.Draw(band).text(place, family, fill=_BACKGROUND, font=font(19), anchor="mm")
        sheet.paste(band.transpose(Image.Transpose.ROTATE_90), (_MARGIN, start))
        top += _FAMILY_GAP
    return sheet
