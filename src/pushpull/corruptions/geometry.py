"""Corruptions that move pixels: elastic_transform, pixelate."""

from __future__ import annotations

from functools import lru_cache
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from pushpull.corruptions import filters
from pushpull.corruptions.constants import FIXED_POINT_BITS
from pushpull.corruptions.registry import Canvas, nothing_random, register_corruption
from pushpull.random import Draws, native

_TRUNCATE = 3.0  # standard deviations after which the smoothing kernel is cut, as published


class ElasticDraws(NamedTuple):
    """Random part of elastic_transform.

    Attributes:
        corners_px: (N, 3, 2), how far (x, y) each of the three reference points moves.
        noise: (N, 2, H, W) in (-1, 1), the displacements (x, y) before smoothing; None where only the affine
            acts.
    """

    corners_px: Tensor
    noise: Tensor | None


def sample_elastic(draws: Draws, params: tuple[float, float, float], canvas: Canvas) -> ElasticDraws:
    """Draw the points' moves, U(-affine, affine) px, and, where alpha > 0, the displacements' noise."""
    alpha_px, _, affine_px = params
    corners = draws.uniform(3, 2, low=-affine_px, high=affine_px)
    noise = draws.uniform(2, canvas.height, canvas.width, low=-1.0, high=1.0) if alpha_px else None
    return ElasticDraws(corners, noise)


@register_corruption(
    "elastic_transform",
    family="digital",
    severities={
        "imagenet": (
            *((488.0, 170.8, 24.4), (488.0, 19.52, 48.8)),
            *((12.2, 2.44, 4.88), (17.08, 2.44, 4.88), (29.28, 2.44, 4.88)),
        ),
        "cifar": (
            *((0.0, 0.0, 2.56), (1.6, 6.4, 2.24)),
            *((2.56, 1.92, 1.92), (3.2, 1.28, 1.6), (3.2, 0.96, 0.96)),
        ),
        "tiny": (
            *((0.0, 0.0, 5.12), (3.2, 19.2, 3.84)),
            *((6.4, 5.12, 3.84), (6.4, 1.92, 1.92), (10.24, 1.92, 1.28)),
        ),
    },
    sample=sample_elastic,
)
def elastic_transform(x: Tensor, params: tuple[float, float, float], drawn: ElasticDraws) -> Tensor:
    """Map an image affinely, then displace every pixel by smoothed noise.

    y(p) = warped(p + alpha * (G_sigma * noise)(p)), warped(p) = x(A^-1 p), with A the affine map that moves
    the three reference points by `drawn.corners_px`. Both samplings are bilinear; the first continues the
    image by mirroring about the edge pixel (OpenCV's reflect-101), the second with the edge pixel repeated
    (scipy's "reflect").

    Args:
        x: (N, 3, H, W) in [0, 1].
        params: alpha, sigma and affine, in pixels.
        drawn: the random part, from `sample_elastic`.

    Source: Hendrycks & Dietterich 2019, after Simard et al. 2003.
    Differs from the published program: the reference points stand about (W // 2, H // 2), which it swaps.
    """
    alpha_px, sigma_px, _ = params
    warped = _affine(x, drawn.corners_px)
    if drawn.noise is None:
        return warped
    smooth = filters.gaussian_blur(drawn.noise, sigma_px, truncate=_TRUNCATE, border="reflect")
    return _displace(warped, smooth, alpha_px)


def _affine(x: Tensor, corners_px: Tensor) -> Tensor:
    """Map images affinely."""
    height, width = x.shape[-2:]
    rows = torch.arange(height, dtype=torch.float64, device=x.device)
    columns = torch.arange(width, dtype=torch.float64, device=x.device)
    inverse = inverse_affine(corners_px, height, width)
    # (N, 2, H) and (N, 2, W): where a pixel is read is the sum of what its row and its column say.
    from_row = (inverse[:, :, 1, None] * rows + inverse[:, :, 2, None]).to(x.dtype)
    from_column = (inverse[:, :, 0, None] * columns).to(x.dtype)
    if native.applies(x, from_row):
        from pushpull.corruptions import loops

        return native.images_by(loops.affine, x, from_row, from_column)
    places = from_row[:, :, :, None] + from_column[:, :, None]
    return _read(x, places[:, 0], places[:, 1], margin=0.0)


def _displace(x: Tensor, shift: Tensor, gain: float) -> Tensor:
    """Read every pixel `gain` times `shift` (N, 2, H, W) away from its own place."""
    if native.applies(x, shift):
        from pushpull.corruptions import loops

        return native.images_by(loops.displace, x, shift, gain)
    rows = torch.arange(x.shape[-2], dtype=x.dtype, device=x.device)[:, None]
    columns = torch.arange(x.shape[-1], dtype=x.dtype, device=x.device)
    return _read(x, shift[:, 0] * gain + columns, shift[:, 1] * gain + rows, margin=0.5)


def inverse_affine(corners_px: Tensor, height: int, width: int) -> Tensor:
    """Return (N, 2, 3) float64: from a pixel (x, y, 1) of the result to the place it is read from.

    With c = (W // 2, H // 2) and q = min(H, W) // 3 the points c + (q, q), c + (q, -q), c - (q, q) move by
    `corners_px` (N, 3, 2). Solved in closed form from the two edges at the middle point, elementwise, so that
    an image's map does not depend on its batch.
    """
    q = min(height, width) // 3
    centre = torch.tensor([width // 2, height // 2], dtype=torch.float64, device=corners_px.device)
    points = centre + torch.tensor([[q, q], [q, -q], [-q, -q]], dtype=torch.float64, device=centre.device)
    moved = points + corners_px.double()
    down, left = moved[:, 0] - moved[:, 1], moved[:, 2] - moved[:, 1]
    determinant = down[:, 0] * left[:, 1] - down[:, 1] * left[:, 0]
    # The original edges are (0, 2q) and (-2q, 0), so the linear part is a scaled adjugate of the moved edges.
    scale = 2.0 * q / determinant
    adjugate = torch.stack([down[:, 1], -down[:, 0], left[:, 1], -left[:, 0]], dim=1).view(-1, 2, 2)
    linear = adjugate * scale[:, None, None]
    constant = points[1] - (linear * moved[:, 1, None]).sum(-1)
    return torch.cat([linear, constant[..., None]], dim=2)


def _read(x: Tensor, right: Tensor, down: Tensor, margin: float) -> Tensor:
    """Return the bilinear values of x (N, C, H, W) at places (N, H, W), mirrored by `_folded` outside."""
    height, width = x.shape[-2:]
    right, down = _folded(right, width, margin), _folded(down, height, margin)
    left, top = right.clamp(max=width - 2).floor_(), down.clamp(max=height - 2).floor_()
    right, down = (right - left)[:, None], (down - top)[:, None]
    place = top.long().mul_(width).add_(left.long()).flatten(1)[:, None].expand(-1, x.shape[1], -1)
    pixels = x.flatten(2)
    lines = []
    # In place: fresh memory takes longer than the arithmetic.
    for below in (0, width):
        near, far = (pixels[..., below + step :].gather(2, place).view_as(x) for step in (0, 1))
        lines.append(near.mul_(1 - right).add_(far.mul_(right)))
    return lines[0].mul_(1 - down).add_(lines[1].mul_(down))


def _folded(position: Tensor, size: int, margin: float) -> Tensor:
    """Mirror positions into 0..size-1: about places `margin` px beyond the first and the last.

    For a margin of 0 (about the pixels) and of 0.5 (about the edges between them and their mirror images).
    """
    last = size - 1
    period = 2.0 * (last + 2.0 * margin)
    position = (position + margin).abs_()
    position = position - (position * float(np.float32(1.0) / np.float32(period))).floor_() * period
    position = torch.minimum(position, period - position) - margin
    # What is no number, from an affine map that is none, becomes 0.
    return torch.where(position > 0, position, 0.0).clamp_(max=last)


@register_corruption(
    "pixelate",
    family="digital",
    severities={
        "imagenet": (0.6, 0.5, 0.4, 0.3, 0.25),
        "cifar": (0.95, 0.9, 0.85, 0.75, 0.65),
        "tiny": (0.9, 0.8, 0.7, 0.6, 0.5),
    },
    sample=nothing_random,
    on_bytes=True,
)
def pixelate(levels: Tensor, factor: float, drawn: None) -> Tensor:
    """Shrink (N, 3, H, W) uint8 to int(size factor) and enlarge it again, both by the BOX filter."""
    height, width = levels.shape[-2:]
    size = (int(height * factor), int(width * factor))
    if native.applies(levels):
        from pushpull.corruptions import loops

        taps = *_box_taps(height, size[0]), *_box_taps(width, size[1])
        nearest = _nearest(size[0], height), _nearest(size[1], width)
        planes = levels.flatten(0, 1)
        return native.images_by(loops.pixelate, planes, *taps, *nearest).view_as(levels)
    levels = box_resize(levels, *size)
    for dim, wanted in ((-1, width), (-2, height)):
        levels = levels.index_select(dim, _nearest(levels.shape[dim], wanted).to(levels.device))
    return levels


def _nearest(before: int, after: int) -> Tensor:
    """Return which pixel each one is when BOX enlarges."""
    return _box_taps(before, after)[0][0]


def box_resize(levels: Tensor, height: int, width: int) -> Tensor:
    """Resize (..., H, W) uint8 as Pillow does with BOX: along rows, rounded, then along columns.

    Pillow 13 swaps the two where the height is over twice the width; there this may differ by a level.
    """
    levels = levels.int()
    for dim, size in ((-1, width), (-2, height)):
        if size != levels.shape[dim]:
            levels = _box_resize_axis(levels, size, dim)
    return levels.to(torch.uint8)


def _box_resize_axis(levels: Tensor, size: int, dim: int) -> Tensor:
    """Resize one axis; the sum of 8-bit levels times 22-bit weights fits into int32."""
    sources, weights = (table.to(levels.device) for table in _box_taps(levels.shape[dim], size))
    total: Tensor | int = 1 << (FIXED_POINT_BITS - 1)
    for source, weight in zip(sources, weights, strict=True):
        total = levels.index_select(dim, source) * (weight if dim == -1 else weight[:, None]) + total
    assert isinstance(total, Tensor)
    return total >> FIXED_POINT_BITS


@lru_cache(maxsize=64)
def _box_taps(before: int, after: int) -> tuple[Tensor, Tensor]:
    """Return (taps, after) source positions int64 and fixed-point weights int32 of Pillow's BOX filter."""
    scale = before / after
    width = max(scale, 1.0)
    shrink = 1.0 / width  # Pillow multiplies by it, which decides ties at the box's edge
    rows = []
    for place in range(after):
        centre = (place + 0.5) * scale
        first = max(int(centre - 0.5 * width + 0.5), 0)
        last = min(int(centre + 0.5 * width + 0.5), before)
        rows.append([s for s in range(first, last) if -0.5 < (s - centre + 0.5) * shrink <= 0.5])
    taps = max(map(len, rows))
    sources = torch.tensor([row + [0] * (taps - len(row)) for row in rows])
    whole = 1 << FIXED_POINT_BITS
    weights = [[int(0.5 + whole / len(row))] * len(row) + [0] * (taps - len(row)) for row in rows]
    return sources.t().contiguous(), torch.tensor(weights, dtype=torch.int32).t().contiguous()
