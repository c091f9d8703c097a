"""Weather: snow, frost and fog."""

from __future__ import annotations

import math
from functools import lru_cache
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from pushpull.corruptions.blur import motion_blur_apply
from pushpull.corruptions.registry import Canvas, register_corruption
from pushpull.corruptions.textures import PHOTOGRAPHS, frost_textures
from pushpull.random import Draws, native

_GRAY = (0.299, 0.587, 0.114)  # OpenCV's RGB2GRAY, ITU-R BT.601
_FIRST_WIBBLE = 100.0

_Between = tuple[Tensor, Tensor, Tensor]


class Snow(NamedTuple):
    """Flakes N(`loc`, `scale`), zoomed, cut at `threshold`, motion-blurred; `mix` of the image is kept."""

    loc: float
    scale: float
    zoom: float
    threshold: float
    blur_radius_px: int
    blur_sigma_px: float
    mix: float


class SnowDraws(NamedTuple):
    """Random part of snow.

    Attributes:
        field: (N, h, w) standard normal, only the centre that the zoom enlarges.
        angle_deg: (N,) in (-135, -45), the direction of fall.
    """

    field: Tensor
    angle_deg: Tensor


def sample_snow(draws: Draws, params: Snow, canvas: Canvas) -> SnowDraws:
    """Draw the centre of the noise field, ceil(size / zoom) on each side, and the direction of fall."""
    zoom = params.zoom
    field = draws.normal(math.ceil(canvas.height / zoom), math.ceil(canvas.width / zoom))
    return SnowDraws(field, draws.uniform(low=-135.0, high=-45.0))


@register_corruption(
    "snow",
    family="weather",
    severities={
        "imagenet": (
            Snow(0.1, 0.3, 3.0, 0.5, 10, 4, 0.8),
            Snow(0.2, 0.3, 2.0, 0.5, 12, 4, 0.7),
            Snow(0.55, 0.3, 4.0, 0.9, 12, 8, 0.7),
            Snow(0.55, 0.3, 4.5, 0.85, 12, 8, 0.65),
            Snow(0.55, 0.3, 2.5, 0.85, 12, 12, 0.55),
        ),
        "cifar": (
            Snow(0.1, 0.2, 1.0, 0.6, 8, 3, 0.95),
            Snow(0.1, 0.2, 1.0, 0.5, 10, 4, 0.9),
            Snow(0.15, 0.3, 1.75, 0.55, 10, 4, 0.9),
            Snow(0.25, 0.3, 2.25, 0.6, 12, 6, 0.85),
            Snow(0.3, 0.3, 1.25, 0.65, 14, 12, 0.8),
        ),
        "tiny": (
            Snow(0.1, 0.2, 1.0, 0.6, 8, 3, 0.8),
            Snow(0.1, 0.2, 1.0, 0.5, 10, 4, 0.8),
            Snow(0.15, 0.3, 1.75, 0.55, 10, 4, 0.7),
            Snow(0.25, 0.3, 2.25, 0.6, 12, 6, 0.65),
            Snow(0.3, 0.3, 1.25, 0.65, 14, 12, 0.6),
        ),
    },
    sample=sample_snow,
)
def snow(x: Tensor, params: Snow, drawn: SnowDraws) -> Tensor:
    """Whiten an image and add falling flakes.

    y = mix x + (1 - mix) max(x, 1.5 gray(x) + 0.5) + layer + rot180(layer), where the layer is a N(loc,
    scale) field with its centre enlarged, set to 0 under the threshold, cut to 8 bits, and motion-blurred.

    Args:
        x: (N, 3, H, W) in [0, 1].
        params: see `Snow`.
        drawn: the random part, from `sample_snow`.

    Returns:
        (N, 3, H, W), not clipped.
    """
    radius, sigma, mix = params.blur_radius_px, params.blur_sigma_px, params.mix
    layer = flakes(drawn.field, params, x.shape[-2], x.shape[-1])
    layer = motion_blur_apply(layer[:, None], radius, sigma, drawn.angle_deg)
    if native.applies(x, layer):
        from pushpull.corruptions import weather_loops

        return native.images_by(weather_loops.snow, x, layer[:, 0], _GRAY, mix, 1 - mix)
    red, green, blue = x.unbind(1)
    gray = (_GRAY[0] * red + _GRAY[1] * green + _GRAY[2] * blue)[:, None]
    whitened = torch.maximum(x, gray * 1.5 + 0.5)
    return mix * x + (1 - mix) * whitened + (layer + layer.flip(-2, -1))


def flakes(field: Tensor, params: Snow, height: int, width: int) -> Tensor:
    """Return the layer of snow before it is blurred, (N, height, width) in multiples of 1/255."""
    if native.applies(field):
        rows = _enlarged(field.shape[1], params.zoom, height, field.device)
        columns = _enlarged(field.shape[2], params.zoom, width, field.device)
        numbers = map(np.float32, (params.scale, params.loc, params.threshold))
        layer = torch.empty(len(field), height, width, dtype=torch.float32)
        from pushpull.corruptions import weather_loops

        native.run(weather_loops.flakes, len(field), layer, field, *rows, *columns, *numbers)
        return layer
    layer = zoom_to_fill(field * params.scale + params.loc, params.zoom, height, width)
    layer = torch.where(layer < params.threshold, 0.0, layer).clamp_(0, 1)
    return (layer * 255).floor_().div_(255)


def zoom_to_fill(crop: Tensor, zoom: float, height: int, width: int) -> Tensor:
    """Enlarge (N, h, w) bilinearly to round(h zoom) x round(w zoom), corners aligned, and cut the centre out.

    This is scipy's zoom of order 1 followed by the benchmark's trim: the first pixel left is (enlarged -
    wanted) // 2.
    """
    return _stretch(_stretch(crop, zoom, height).mT, zoom, width).mT


def _stretch(x: Tensor, zoom: float, wanted: int) -> Tensor:
    """Enlarge the rows of (N, h, w) and cut `wanted` of them from the middle."""
    low, weight = _enlarged(x.shape[1], zoom, wanted, x.device)
    following = (low + 1).clamp_(max=x.shape[1] - 1)
    return x[:, low] * (1 - weight)[:, None] + x[:, following] * weight[:, None]


@lru_cache(maxsize=64)
@torch.inference_mode(False)  # kept for calls that autograd may follow
def _enlarged(size: int, zoom: float, wanted: int, device: torch.device) -> tuple[Tensor, Tensor]:
    """Return, for each row, int64 which it lies at or behind, and float32 the share of the one after that."""
    enlarged = round(size * zoom)
    first = (enlarged - wanted) // 2
    place = torch.arange(first, first + wanted, dtype=torch.float64) * ((size - 1) / max(enlarged - 1, 1))
    low = place.long().clamp_(max=max(size - 2, 0))
    return low.to(device), (place - low).float().to(device)


class FrostDraws(NamedTuple):
    """Random part of frost.

    Attributes:
        photograph: (N,) in {0, ..., 4}.
        corner: (N, 2) in (0, 1), the crop's upper left corner (row, column) as a share of the places it can
            have.
    """

    photograph: Tensor
    corner: Tensor


def sample_frost(draws: Draws, params: tuple[float, float, float], canvas: Canvas) -> FrostDraws:
    """Draw which of the five photographs, and where its crop begins."""
    return FrostDraws(draws.integers(0, PHOTOGRAPHS).long(), draws.uniform(2))


@register_corruption(
    "frost",
    family="weather",
    severities={
        "imagenet": ((1, 0.4, 1), (0.8, 0.6, 1), (0.7, 0.7, 1), (0.65, 0.7, 1), (0.6, 0.75, 1)),
        "cifar": ((1, 0.2, 0.2), (1, 0.3, 0.2), (0.9, 0.4, 0.2), (0.85, 0.4, 0.2), (0.75, 0.45, 0.2)),
        "tiny": ((1, 0.3, 0.3), (0.9, 0.4, 0.3), (0.8, 0.45, 0.3), (0.75, 0.5, 0.3), (0.7, 0.55, 0.3)),
    },
    sample=sample_frost,
    limits=lambda params: {"photograph": (0, PHOTOGRAPHS - 1), "corner": (0.0, 1.0)},
)
def frost(x: Tensor, params: tuple[float, float, float], drawn: FrostDraws) -> Tensor:
    """Lay a random crop of a photograph of frost over an image.

    y = a x + b crop, the crop's corner uniform over {0, ..., size - crop size - 1} on each axis.
    `textures.frost_texture_source()` says which photographs these are.

    Args:
        x: (N, 3, H, W) in [0, 1].
        params: a, b, and what the photographs are resized by.
        drawn: the random part, from `sample_frost`.

    Returns:
        (N, 3, H, W), not clipped.
    """
    image_weight, frost_weight, texture_scale = params
    pixels, every_size, smallest = frost_textures(texture_scale, x.device)
    wanted = torch.tensor(x.shape[-2:], device=x.device)
    sizes = every_size[drawn.photograph]
    large = max(x.shape[-2:]) > smallest
    covering = _covering(sizes, wanted) if large else sizes
    places = (covering - wanted).clamp_(min=1)
    corner = torch.minimum((drawn.corner * places).long(), places - 1)
    lines = [corner[:, [i]] + torch.arange(side, device=x.device) for i, side in enumerate(x.shape[-2:])]
    source, weights = (pixels, drawn.photograph), (float(image_weight), frost_weight / 255)
    if compiled := native.applies(x, corner):
        from pushpull.corruptions import weather_loops
    if large:
        scale = sizes / covering
        between = [_between(at, scale[:, [i]], sizes[:, [i]]) for i, at in enumerate(lines)]
        if compiled:
            edges = *between[0], *between[1]
            return native.images_by(weather_loops.frost_enlarged, x, *source, *edges, *weights)
        crop = _crop_enlarged(*source, *between)
    elif compiled:
        return native.images_by(weather_loops.frost, x, *source, corner, *weights)
    else:
        crop = _crop(*source, *lines).float()  # not to torch's default type of number
    return image_weight * x + (frost_weight / 255) * crop


def _crop(pixels: Tensor, photograph: Tensor, rows: Tensor, columns: Tensor) -> Tensor:
    """Return (N, 3, H, W): rows (N, H) and columns (N, W) of photographs (N,) of `pixels` (3, 5, h, w)."""
    stride = pixels.shape[-1]
    start = photograph * (pixels.shape[-2] * stride)
    index = start[:, None, None] + rows[:, :, None] * stride + columns[:, None, :]
    return pixels.flatten(1)[:, index].transpose(0, 1)


def _covering(sizes: Tensor, wanted: Tensor) -> Tensor:
    """Return the sizes (N, 2) of photographs enlarged, in proportion, until they cover `wanted` (2,)."""
    enlarge = (wanted / sizes).amax(dim=1, keepdim=True).clamp_(min=1.0)
    return torch.maximum((sizes * enlarge - 1e-4).ceil().long(), wanted)


def _between(places: Tensor, scale: Tensor, size: Tensor) -> _Between:
    """Find places (N, n) of photographs enlarged by 1 / `scale` (N, 1) in those of `size` (N, 1).

    Returns:
        near, far, weight, (N, n) each: a place is near (1 - weight) + far weight.
    """
    source = ((places.float() + 0.5) * scale.float() - 0.5).clamp_(min=0.0)
    near = torch.minimum(source.long(), size - 1)
    return near, torch.minimum(near + 1, size - 1), source - near


def _crop_enlarged(pixels: Tensor, photograph: Tensor, rows: _Between, columns: _Between) -> Tensor:
    """Return a crop of enlarged photographs, bilinear, in whole grey levels: see `_crop`."""
    right, down = columns[2][:, None, None, :], rows[2][:, None, :, None]
    upper, lower = (
        _crop(pixels, photograph, row, columns[0]) * (1 - right)
        + _crop(pixels, photograph, row, columns[1]) * right
        for row in rows[:2]
    )
    return (upper * (1 - down) + lower * down).round_()


def sample_fog(draws: Draws, params: tuple[float, float], canvas: Canvas) -> Tensor:
    """Draw (N, S * S - 1), the noise of every octave of a map, from the coarsest to the finest.

    The map's side S is the power of two that covers the image.
    """
    side = 1 << (max(canvas.height, canvas.width) - 1).bit_length()
    return draws.uniform(side * side - 1, low=-1.0, high=1.0)


@register_corruption(
    "fog",
    family="weather",
    severities={
        "imagenet": ((1.5, 2), (2, 2), (2.5, 1.7), (2.5, 1.5), (3, 1.4)),
        "cifar": ((0.2, 3), (0.5, 3), (0.75, 2.5), (1, 2), (1.5, 1.75)),
        "tiny": ((0.4, 3), (0.7, 3), (1, 2.5), (1.5, 2), (2, 1.75)),
    },
    sample=sample_fog,
)
def fog(x: Tensor, params: tuple[float, float], noise: Tensor) -> Tensor:
    """Veil an image with a plasma fractal.

    y = (x + strength map) max(x) / (max(x) + strength), the maximum over the whole image.

    Args:
        x: (N, 3, H, W) in [0, 1].
        params: strength and wibble decay.
        noise: the random part, from `sample_fog`.
    """
    strength, decay = params
    if native.applies(x, noise):
        from pushpull.corruptions import weather_loops

        return native.images_by(weather_loops.fog, x, noise, _kicks(noise, decay), float(strength))
    veil = plasma(noise, decay)[:, None, : x.shape[-2], : x.shape[-1]]
    brightest = x.amax(dim=(1, 2, 3), keepdim=True)
    return (x + strength * veil) * (brightest / (brightest + strength))


def plasma(noise: Tensor, decay: float) -> Tensor:
    """Return (N, S, S) diamond-square maps on a torus, each scaled to [0, 1].

    Every octave halves the grid's step: the centre of each square becomes the mean of its corners plus noise,
    then the middle of each edge the mean of its four neighbours plus noise. The noise is uniform in
    +-wibble^2, with wibble 100 in the first octave and divided by `decay` after each.

    Args:
        noise: (N, S * S - 1) in (-1, 1); an octave with n x n squares takes 3 n^2 values: centres, then the
            edges along rows, then those along columns.
        decay: the larger, the smoother the map.
    """
    grid = noise.new_zeros(len(noise), 1, 1)
    used = 0
    for wibble in _kicks(noise, decay).tolist():
        n = grid.shape[1]
        kicks = noise[:, used : used + 3 * n * n].view(-1, 3, n, n) * wibble
        pairs = grid + grid.roll(-1, 1)
        centre = (pairs + pairs.roll(-1, 2)) / 4 + kicks[:, 0]
        along_row = (centre + centre.roll(1, 1) + grid + grid.roll(-1, 2)) / 4 + kicks[:, 1]
        along_column = (centre + centre.roll(1, 2) + pairs) / 4 + kicks[:, 2]
        upper = torch.stack([grid, along_row], dim=-1)
        lower = torch.stack([along_column, centre], dim=-1)
        grid = torch.stack([upper, lower], dim=2).view(-1, 2 * n, 2 * n)
        used += 3 * n * n
    grid = grid - grid.amin(dim=(1, 2), keepdim=True)
    return grid / grid.amax(dim=(1, 2), keepdim=True)


def _kicks(noise: Tensor, decay: float) -> NDArray[np.float32]:
    """Return the size of the noise of each octave that (N, S * S - 1) is for, float32."""
    octaves = (noise.shape[1] + 1).bit_length() // 2
    return np.array([(_FIRST_WIBBLE / decay**octave) ** 2 for octave in range(octaves)], dtype=np.float32)
