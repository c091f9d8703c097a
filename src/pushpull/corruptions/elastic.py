"""elastic_transform: a random affine map, then a smooth random displacement of every pixel."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from pushpull.corruptions import filters
from pushpull.corruptions.severities import Elastic
from pushpull.corruptions.types import Canvas, Corruption
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


def sample_elastic(draws: Draws, params: Elastic, canvas: Canvas) -> ElasticDraws:
    """Draw the points' moves, U(-affine, affine) px, and, where alpha > 0, the displacements' noise."""
    corners = draws.uniform(3, 2, low=-params.affine_px, high=params.affine_px)
    noise = draws.uniform(2, canvas.height, canvas.width, low=-1.0, high=1.0) if params.alpha_px else None
    return ElasticDraws(corners, noise)


def elastic_transform(x: Tensor, params: Elastic, drawn: ElasticDraws) -> Tensor:
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
    warped = _affine(x, drawn.corners_px)
    if drawn.noise is None:
        return warped
    smooth = filters.gaussian_blur(drawn.noise, params.sigma_px, truncate=_TRUNCATE, border="reflect")
    return _displace(warped, smooth, params.alpha_px)


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
        return native.images_by("elastic", "affine", x, from_row, from_column)
    places = from_row[:, :, :, None] + from_column[:, :, None]
    return _read(x, places[:, 0], places[:, 1], margin=0.0)


def _displace(x: Tensor, shift: Tensor, gain: float) -> Tensor:
    """Read every pixel `gain` times `shift` (N, 2, H, W) away from its own place."""
    if native.applies(x, shift):
        return native.images_by("elastic", "displace", x, shift, gain)
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
    offsets = torch.tensor([[q, q], [q, -q], [-q, -q]], dtype=torch.float64, device=corners_px.device)
    points = centre + offsets
    moved = points + corners_px.double()
    down, left = moved[:, 0] - moved[:, 1], moved[:, 2] - moved[:, 1]
    determinant = down[:, 0] * left[:, 1] - down[:, 1] * left[:, 0]
    # The original edges are (0, 2q) and (-2q, 0), so the linear part is a scaled adjugate of the moved edges.
    scale = 2.0 * q / determinant
    linear = (
        torch.stack([down[:, 1], -down[:, 0], left[:, 1], -left[:, 0]], dim=1).view(-1, 2, 2)
        * scale[:, None, None]
    )
    middle = moved[:, 1]
    constant = points[1] - (linear * middle[:, None, :]).sum(-1)
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


ELASTIC_TRANSFORM = Corruption("elastic_transform", "digital", elastic_transform, sample_elastic)
