"""One image in all corruptions and severities, in one picture."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path

from jaxtyping import UInt8
from PIL import Image, ImageDraw, ImageFont
from torch import Tensor

from pushpull.corruptions import EXTRA_CORRUPTIONS, REGISTRY, corrupt
from pushpull.corruptions.arguments import checked_seed
from pushpull.corruptions.textures import frost_texture_source
from pushpull.data import Framing
from pushpull.data.decode import open_rgb
from pushpull.data.preprocessing import to_tensor
from pushpull.errors import InputError, MissingFileError, integer
from pushpull.evaluation.options import condition_list, severity_scale
from pushpull.evaluation.results import SEVERITIES
from pushpull.files import atomic_path

_LARGE_PX = 224  # a side above it: framed as ImageNet-C's images
TILE_PX = 160
_SMALLEST_TILE_PX = 40  # below, the labels of two rows touch
_MOST_PX = 150_000_000  # of the whole picture: all corruptions at tiles of 1120 px
_GAP, _MARGIN, _BAND, _LABEL, _FAMILY_GAP = 6, 28, 34, 190, 16
_TITLE, _HEADS = 74, 30
_BACKGROUND, _INK, _FAINT = (255, 255, 255), (28, 32, 38), (112, 120, 130)
_FAMILY_COLOURS = {
    "noise": (96, 84, 160),
    "blur": (30, 118, 150),
    "weather": (44, 128, 92),
    "digital": (186, 96, 44),
}
_OWN = "sample"
_SUFFIXES = (".png", ".jpg", ".jpeg")
_JPEG_QUALITY = 85


def sample_image(size_px: int = 256) -> Image.Image:
    """Return a photograph that scikit-learn ships, cut to a square and resized: RGB, `size_px` a side.

    It is its "china.jpg", a temple under a clear sky: fine texture, edges and an even region.
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
        scale: "imagenet", "cifar" or "tiny"; None: by the size of the framed image.
        seed, jpeg_quality: as for `corrupt`; the image has index 0.
        framing: None: Framing(256, 224) for an image with a side above 224 px, none for others.
        tile_px: height of an image on the picture; one that is smaller is enlarged by a whole factor.

    Raises:
        InputError: an argument that is not as above, an image that is too small or needs a scale.
    """
    names, levels = _chosen(corruptions, severities)
    image = sample_image() if image is None else image.convert("RGB")
    if framing is None:
        framing = Framing(256, 224) if max(image.size) > _LARGE_PX else Framing()
    clean = to_tensor(framing.apply(image))
    height, width = clean.shape[1:]
    sheet = _Sheet.of((height, width), names, levels, tile_px)
    scale = severity_scale(scale, (height, width), corrupted=True)
    word = checked_seed(seed)
    subtitle = f"{height}x{width} px, {scale} scale, seed {word}"
    subtitle += "" if jpeg_quality is None else f", stored as JPEG of quality {jpeg_quality}"
    subtitle += f", frost: {Path(frost_texture_source()).name}" if "frost" in names else ""

    def corrupted(name: str, level: int) -> UInt8[Tensor, "3 h w"]:
        one = clean[None]
        return corrupt(one, name, level, scale=scale, seed=word, index=[0], jpeg_quality=jpeg_quality)[0]

    rows = [(name, [clean, *(corrupted(name, level) for level in levels)]) for name in names]
    return sheet.drawn(rows, subtitle)


def _chosen(corruptions: str | Iterable[str], severities: int | Iterable[int]) -> tuple[list[str], list[int]]:
    """Return corruptions in the order of the rows, and severities."""
    listed = condition_list(corruptions, severities)[1:]
    if not listed:
        raise InputError("corruptions is empty; name some, or benchmark, extra, all")
    names = sorted({str(name) for name, _ in listed}, key=_order)
    return names, sorted({int(level) for _, level in listed if level is not None})


def write_gallery(
    source: str | None,
    destination: str | None,
    *,
    overwrite: bool = False,
    corruptions: str | Iterable[str] = "all",
    severities: int | Iterable[int] = SEVERITIES,
    scale: str | None = None,
    seed: int = 0,
    jpeg_quality: int | None = None,
    framing: Framing | None = None,
    tile_px: int = TILE_PX,
) -> Path:
    """Draw the gallery of an image file into a .png or .jpg, and return its path.

    Args:
        source: the image file; "sample" or None: our own image.
        destination: None: the image's name and "-gallery.png", in the current folder.
        overwrite: replace the picture that is there.
        corruptions, severities, scale, seed, jpeg_quality, framing, tile_px: as for `draw_gallery`.

    Raises:
        InputError: a file that is missing or no image, a picture that is there already, another ending; and
            as `draw_gallery`.
    """
    path = _picture_path(source, destination, overwrite)
    picture = draw_gallery(
        _opened(source),
        corruptions=corruptions,
        severities=severities,
        scale=scale,
        seed=seed,
        jpeg_quality=jpeg_quality,
        framing=framing,
        tile_px=tile_px,
    )
    with atomic_path(path) as temporary:
        picture.save(temporary, quality=_JPEG_QUALITY, optimize=True)
    return path


def _picture_path(source: str | None, destination: str | None, overwrite: bool) -> Path:
    stem = _OWN if source is None else Path(source).stem
    path = Path(destination or f"{stem}-gallery.png").expanduser()
    if path.suffix.lower() not in _SUFFIXES:
        raise InputError(f"{path} ends in {path.suffix or 'nothing'!r}; a gallery is a .png or .jpg file")
    if path.exists() and not overwrite:
        raise InputError(f"{path} exists; --overwrite replaces it")
    return path


def _opened(source: str | None) -> Image.Image | None:
    if source in (None, _OWN):
        return None
    path = Path(source).expanduser()
    remedy = "--gallery takes an image file, or 'sample' for a drawn one"
    if not path.exists():
        raise MissingFileError(f"{source} does not exist; {remedy}")
    if path.is_dir():
        raise InputError(f"{source} is a folder; {remedy}")
    return open_rgb(path, str(path))


def _order(name: str) -> tuple[int, bool, int]:
    """Sort by family, the extra one last, in the usual order."""
    families = list(_FAMILY_COLOURS)
    return families.index(REGISTRY[name].family), name in EXTRA_CORRUPTIONS, list(REGISTRY).index(name)


@dataclass(frozen=True)
class _Sheet:
    """Where everything stands, px.

    Args:
        tile: (height, width) of an image on the sheet.
        size: (width, height) of the sheet.
        heads: of the columns.
    """

    tile: tuple[int, int]
    size: tuple[int, int]
    heads: tuple[str, ...]

    @classmethod
    def of(cls, image: tuple[int, int], names: list[str], levels: list[int], tile_px: int) -> _Sheet:
        """Lay out a sheet for an image of (height, width) px.

        Raises:
            InputError: tiles too low for their labels, or a sheet too large for memory.
        """
        height, width = image
        height_px = integer("tile", tile_px, "give a number of pixels")
        if height_px < _SMALLEST_TILE_PX:
            raise InputError(f"tile={height_px} is below {_SMALLEST_TILE_PX}; give a height in pixels")
        factor = height_px // height if height <= height_px else height_px / height
        tile = (round(height * factor), round(width * factor))
        heads = ("clean", *(f"severity {level}" for level in levels))
        families = len({REGISTRY[name].family for name in names})
        across = _left() + len(heads) * (tile[1] + _GAP) - _GAP + _MARGIN
        down = 2 * _MARGIN + _TITLE + _HEADS + len(names) * (tile[0] + _GAP) - _GAP
        down += (families - 1) * _FAMILY_GAP
        if across * down > _MOST_PX:
            raise InputError(
                f"tile={height_px} would make a picture of {across} x {down} px, above "
                f"{_MOST_PX // 10**6} megapixels; give a smaller tile (--tile), or fewer corruptions"
            )
        return cls(tile, (across, down), heads)

    def drawn(self, rows: list[tuple[str, list[UInt8[Tensor, "3 h w"]]]], subtitle: str) -> Image.Image:
        """Return the sheet with all rows on it."""
        sheet = Image.new("RGB", self.size, _BACKGROUND)
        draw = ImageDraw.Draw(sheet)
        draw.text((_MARGIN, _MARGIN), "Common image corruptions", fill=_INK, font=_font(30))
        draw.text((_MARGIN, _MARGIN + 42), subtitle, fill=_FAINT, font=_font(17))
        top = _MARGIN + _TITLE
        for column, head in enumerate(self.heads):
            middle = self._x(column) + self.tile[1] // 2
            draw.text((middle, top + _HEADS - 10), head, fill=_INK, font=_font(17), anchor="ms")
        top += _HEADS
        for family, members in groupby(rows, lambda row: REGISTRY[row[0]].family):
            group = list(members)
            height = len(group) * (self.tile[0] + _GAP) - _GAP
            self._band(sheet, family, top, height)
            for name, images in group:
                self._row(sheet, draw, name, images, top)
                top += self.tile[0] + _GAP
            top += _FAMILY_GAP
        return sheet

    def _row(
        self, sheet: Image.Image, draw: ImageDraw.ImageDraw, name: str, images: list[Tensor], top: int
    ) -> None:
        middle = top + self.tile[0] // 2
        lines = [name.replace("_", " "), *(["not in the mean"] if name in EXTRA_CORRUPTIONS else [])]
        for number, line in enumerate(lines):
            place = (_left() - 16, middle + 22 * number - 11 * (len(lines) - 1))
            draw.text(
                place, line, fill=_FAINT if number else _INK, font=_font(14 if number else 19), anchor="rm"
            )
        for column, image in enumerate(images):
            sheet.paste(self._tile(image), (self._x(column), top))

    def _tile(self, image: UInt8[Tensor, "3 h w"]) -> Image.Image:
        picture = Image.fromarray(image.permute(1, 2, 0).contiguous().numpy())
        smaller = self.tile[0] < picture.height
        way = Image.Resampling.LANCZOS if smaller else Image.Resampling.NEAREST
        return picture.resize((self.tile[1], self.tile[0]), way)

    def _band(self, sheet: Image.Image, family: str, top: int, height: int) -> None:
        """Paint the coloured band of a family, with its name from bottom to top."""
        band = Image.new("RGB", (height, _BAND), _FAMILY_COLOURS[family])
        place = (height // 2, _BAND // 2)
        ImageDraw.Draw(band).text(place, family, fill=_BACKGROUND, font=_font(19), anchor="mm")
        sheet.paste(band.transpose(Image.Transpose.ROTATE_90), (_MARGIN, top))

    def _x(self, column: int) -> int:
        return _left() + column * (self.tile[1] + _GAP)


def _left() -> int:
    """Return where the first column begins."""
    return _MARGIN + _BAND + _LABEL


def _font(size: int) -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    return ImageFont.load_default(size)
