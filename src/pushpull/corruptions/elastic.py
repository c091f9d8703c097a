"""elastic_transform: a random affine map, then a smooth random displacement of every pixel."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

from pushpull.corruptions import filters
from pushpull.corruptions.severities import Elastic
from pushpull.corruptions.types import Canvas, Corruption
from pushpull.random import Draws

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
    height, width = x.shape[-2:]
    size = torch.tensor([width, height], dtype=torch.float64, device=x.device)
    rows = torch.arange(height, dtype=torch.float64, device=x.device)[:, None]
    columns = torch.arange(width, dtype=torch.float64, device=x.device)[:, None]
    # grid_sample counts (x, y) from -1 to 1: between the outer pixels' centres, or between the outer edges.
    inverse = inverse_affine(drawn.corners_px, height, width) * (2 / (size - 1))[:, None]
    from_row = (inverse[:, :, 1, None] * rows.T + inverse[:, :, 2, None] - 1).mT.to(x.dtype)
    from_column = (inverse[:, :, 0, None] * columns.T).mT.to(x.dtype)
    warped = _sample(x, from_row[:, :, None] + from_column[:, None], align_corners=True)
    if drawn.noise is None:
        return warped
    smooth = filters.gaussian_blur(drawn.noise, params.sigma_px, truncate=_TRUNCATE, border="reflect")
    own_x = ((2 * columns + 1) / width - 1).T.to(x.dtype)
    own_y = ((2 * rows + 1) / height - 1).to(x.dtype)
    gain = 2 * params.alpha_px
    shift_x, shift_y = smooth[:, 0] * (gain / width), smooth[:, 1] * (gain / height)
    grid = torch.stack([shift_x + own_x, shift_y + own_y], dim=-1)
    return _sample(warped, grid, align_corners=False)


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


def _sample(x: Tensor, grid: Tensor, *, align_corners: bool) -> Tensor:
    """Bilinear values of x; outside, mirrored about the edge pixels (align_corners) or the outer edges."""
    return F.grid_sample(x, grid, padding_mode="reflection", align_corners=align_corners)


ELASTIC_TRANSFORM = Corruption("elastic_transform", "digital", elastic_transform, sample_elastic)
