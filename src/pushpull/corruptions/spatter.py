"""spatter: drops of water, or specks of mud, on the lens."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from pushpull.corruptions import filters
from pushpull.corruptions.registry import Canvas, register_corruption
from pushpull.random import Draws, native

_WATER = (175 / 255, 238 / 255, 238 / 255)  # pale turquoise
_MUD = (63 / 255, 42 / 255, 20 / 255)
_CANNY_LOW, _CANNY_HIGH = 50.0, 150.0
_MUD_FLOOR = 0.8  # a smoothed mask under this counts as clean
_REACH_PX = 20  # the distance to the nearest edge is cut here
_RELIEF = ((-2.0, -1.0, 0.0), (-1.0, 1.0, 1.0), (0.0, 1.0, 2.0))  # lights the drops from the upper left
# OpenCV's 5 x 5 chamfer distance: the steps (1, 1) and (2, 1) of 1.4 and 2.1969, beside (1, 0) of 1. In
# 65536ths, that all sums are exact; 1.4 rounded up, that a mean which is whole with 1.4 does not fall short.
_DIAGONAL, _KNIGHT = 91751 / 65536, 143976 / 65536
_TAN_22_5, _TAN_67_5 = 0.41421356, 2.41421356


_Params = tuple[float, float, float, float, float, bool]


def sample_spatter(draws: Draws, params: _Params, canvas: Canvas) -> Tensor:
    """Draw the standard normal field (N, H, W) that becomes the liquid."""
    return draws.normal(canvas.height, canvas.width)


@register_corruption(
    "spatter",
    family="weather",
    severities={
        "imagenet": (
            (0.65, 0.3, 4.0, 0.69, 0.6, False),
            (0.65, 0.3, 3.0, 0.68, 0.6, False),
            (0.65, 0.3, 2.0, 0.68, 0.5, False),
            (0.65, 0.3, 1.0, 0.65, 1.5, True),
            (0.67, 0.4, 1.0, 0.65, 1.5, True),
        ),
        "cifar": (
            (0.62, 0.1, 0.7, 0.7, 0.5, False),
            (0.65, 0.1, 0.8, 0.7, 0.5, False),
            (0.65, 0.3, 1.0, 0.69, 0.5, False),
            (0.65, 0.1, 0.7, 0.69, 0.6, True),
            (0.65, 0.1, 0.5, 0.68, 0.6, True),
        ),
        "tiny": (
            (0.62, 0.1, 0.7, 0.7, 0.6, False),
            (0.65, 0.1, 0.8, 0.7, 0.6, False),
            (0.65, 0.3, 1.0, 0.69, 0.6, False),
            (0.65, 0.1, 0.7, 0.68, 0.6, True),
            (0.65, 0.1, 0.5, 0.67, 0.6, True),
        ),
    },
    sample=sample_spatter,
    extra=True,
)
def spatter(x: Tensor, params: _Params, noise: Tensor) -> Tensor:
    """Splash water or mud on images.

    The liquid is N(loc, scale) noise smoothed by sigma, set to 0 under the threshold.
    Water: y = x + colour strength m / max(m), m = liquid * relief of the distance to the liquid's edges.
    Mud: y = (1 - m) x + colour m, m the mask of the liquid smoothed by `strength`, 0 under 0.8.

    Args:
        x: (N, 3, H, W) in [0, 1].
        params: loc, scale, sigma in px, threshold and strength; whether it is mud, else water.
        noise: (N, H, W) standard normal, from `sample_spatter`.

    Returns:
        (N, 3, H, W), not clipped.
    """
    loc, scale, sigma_px, threshold, strength, mud = params
    liquid = filters.gaussian_blur(noise * scale + loc, sigma_px)
    if compiled := native.applies(x, liquid):
        from pushpull.corruptions import spatter_loops
    if mud:
        mask = filters.gaussian_blur((liquid > threshold).to(x.dtype), strength)
        if compiled:
            return native.images_by(spatter_loops.mud, x, mask, _MUD, _MUD_FLOOR)
        mask = torch.where(mask < _MUD_FLOOR, 0.0, mask)[:, None]
        return x * (1 - mask) + x.new_tensor(_MUD).view(3, 1, 1) * mask
    if compiled:
        numbers = threshold, strength
        canny = (_CANNY_LOW, _CANNY_HIGH, _TAN_22_5, _TAN_67_5)
        shape = (_DIAGONAL, _KNIGHT, float(_REACH_PX)), _RELIEF
        return native.images_by(spatter_loops.water, x, liquid, *numbers, _WATER, canny, *shape)
    # As the published program, beyond 8 bits it wraps around.
    liquid = torch.where(liquid < threshold, 0.0, liquid * 255).floor_().remainder_(256)
    drops = liquid * relief(canny_edges(liquid))
    brightest = drops.amax(dim=(1, 2), keepdim=True)
    # No liquid at all: the published program divides 0 by 0; here the image stays as it is.
    drops = (drops / torch.where(brightest > 0, brightest, 1.0) * strength)[:, None]
    return x + x.new_tensor(_WATER).view(3, 1, 1) * drops


def relief(edges: Tensor) -> Tensor:
    """Turn edges (N, H, W), bool, into a lit relief (N, H, W) of whole grey levels 0..255.

    Distance to the nearest edge, cut at 20 px; 3 x 3 mean, fraction dropped; histogram equalised; a 3 x 3
    filter, cut to 0..255; 3 x 3 mean, rounded. Borders reflect-101.
    """
    distance = mean3(chamfer_distance(edges)).floor_()
    lit = _filter3(equalise_levels(distance, _REACH_PX + 1), _RELIEF).clamp_(0, 255)
    return mean3(lit).round_()


def canny_edges(gray: Tensor) -> Tensor:
    """Return Canny's edges, bool (N, H, W), of images of whole grey levels 0..255; thresholds 50 and 150.

    3 x 3 Sobel gradients with the edge pixel repeated, strength |gx| + |gy|; a pixel stays when it is the
    strongest across its edge, of four directions; those above 150 are edges, and those above 50 that touch an
    edge.

    Source: Canny 1986, in OpenCV's form.
    """
    across, along = _sobel(gray)
    strength = across.abs() + along.abs()
    ring = F.pad(strength, (1, 1, 1, 1))
    height, width = gray.shape[-2:]

    def neighbour(dy: int, dx: int) -> Tensor:
        return ring[:, 1 + dy : 1 + dy + height, 1 + dx : 1 + dx + width]

    flat = along.abs() < _TAN_22_5 * across.abs()
    steep = along.abs() > _TAN_67_5 * across.abs()
    falling = (across < 0) ^ (along < 0)
    # On equal strengths OpenCV keeps the right and lower pixel on the axes, and neither on the diagonals.
    horizontal = (strength > neighbour(0, -1)) & (strength >= neighbour(0, 1))
    vertical = (strength > neighbour(-1, 0)) & (strength >= neighbour(1, 0))
    down_right = (strength > neighbour(-1, -1)) & (strength > neighbour(1, 1))
    down_left = (strength > neighbour(-1, 1)) & (strength > neighbour(1, -1))
    diagonal = torch.where(falling, down_left, down_right)
    thin = torch.where(flat, horizontal, torch.where(steep, vertical, diagonal))
    return _grow(thin & (strength > _CANNY_HIGH), thin & (strength > _CANNY_LOW))


def chamfer_distance(edges: Tensor) -> Tensor:
    """Return (N, H, W) float distances, in pixels, to the nearest True of `edges`, cut at 20.

    OpenCV's DIST_L2 with its 5 x 5 mask: the shortest path of steps (1, 0), (1, 1), (2, 1) of
    lengths 1, 1.4, 2.1969. That length is a norm, the largest of four linear forms in (|dx|, |dy|), and it
    grows with |dx|: so the nearest edge of each row suffices, and the result is a minimum over the rows in
    reach.
    """
    row_distance = (~edges).float().mul_(2 * _REACH_PX)
    width, height = edges.shape[-1], edges.shape[-2]
    for shift in (1, 2, 4, 8, 16):  # the sums of these reach 31 px
        if shift < width:
            near = row_distance.clone()
            torch.minimum(near[..., shift:], row_distance[..., :-shift] + shift, out=near[..., shift:])
            torch.minimum(near[..., :-shift], row_distance[..., shift:] + shift, out=near[..., :-shift])
            row_distance = near
    distance = row_distance.clamp(max=float(_REACH_PX))
    # The four forms' parts in |dx|; buffers, because fresh memory costs more here than the arithmetic.
    shallow, knight, slant = _KNIGHT - 2, _KNIGHT - _DIAGONAL, 2 * _DIAGONAL - _KNIGHT
    forms = ((row_distance * shallow, 1.0), (row_distance * slant, knight), (row_distance * knight, slant))
    length, other = torch.empty_like(distance), torch.empty_like(distance)
    for dy in range(1, min(_REACH_PX, height)):
        torch.add(row_distance, shallow * dy, out=length)
        for part, weight in forms:
            torch.maximum(length, torch.add(part, weight * dy, out=other), out=length)
        torch.minimum(distance[:, dy:], length[:, :-dy], out=distance[:, dy:])
        torch.minimum(distance[:, :-dy], length[:, dy:], out=distance[:, :-dy])
    return distance


def equalise_levels(levels: Tensor, count: int) -> Tensor:
    """Equalise the histogram of (N, H, W) whole levels 0..count-1, to whole levels 0..255.

    level k becomes round(255 (c_k - c_first) / (total - c_first)), c_k the number of pixels up to level k and
    `first` the lowest level there is. An image of one level only stays as it is (as OpenCV's equalizeHist).
    """
    flat = levels.flatten(1).long()
    histogram = flat.new_zeros(len(levels), count).scatter_add_(1, flat, torch.ones_like(flat))
    cumulative = histogram.cumsum(1)
    total = cumulative[:, -1:]
    first = torch.where(cumulative > 0, cumulative, total).amin(1, keepdim=True)
    rest = total - first
    scale = torch.full_like(rest, 255, dtype=levels.dtype) / rest.clamp(min=1)
    scaled = ((cumulative - first).clamp_(min=0).to(levels.dtype) * scale).round_()
    table = torch.where(rest > 0, scaled, torch.arange(count, device=levels.device, dtype=levels.dtype))
    return table.gather(1, flat).view_as(levels)


def _grow(strong: Tensor, weak: Tensor) -> Tensor:
    """Return `strong` and everything in `weak` that is connected to it through `weak`, diagonally too."""
    edges = strong
    while True:
        tall = edges.clone()
        tall[:, 1:] |= edges[:, :-1]
        tall[:, :-1] |= edges[:, 1:]
        grown = tall.clone()
        grown[..., 1:] |= tall[..., :-1]
        grown[..., :-1] |= tall[..., 1:]
        grown &= weak
        if torch.equal(grown, edges):
            return edges
        edges = grown


def _sobel(gray: Tensor) -> tuple[Tensor, Tensor]:
    """Return the horizontal and the vertical 3 x 3 Sobel derivative of (N, H, W), edge pixel repeated."""
    padded = filters.pad(gray, 1, 1, 1, 1, "nearest")
    upper, middle, lower = padded[:, :-2], padded[:, 1:-1], padded[:, 2:]
    smooth, difference = upper + 2 * middle + lower, lower - upper
    across = smooth[..., 2:] - smooth[..., :-2]
    along = difference[..., :-2] + 2 * difference[..., 1:-1] + difference[..., 2:]
    return across, along


def mean3(x: Tensor) -> Tensor:
    """3 x 3 mean of (N, H, W), border reflect-101."""
    padded = filters.pad(x, 1, 1, 1, 1, "reflect101")
    rows = padded[:, :-2] + padded[:, 1:-1] + padded[:, 2:]
    return (rows[..., :-2] + rows[..., 1:-1] + rows[..., 2:]) / 9


def _filter3(x: Tensor, kernel: tuple[tuple[float, ...], ...]) -> Tensor:
    """Correlate (N, H, W) with a 3 x 3 kernel, border reflect-101."""
    height, width = x.shape[-2:]
    padded = filters.pad(x, 1, 1, 1, 1, "reflect101")
    total = torch.zeros_like(x)
    for dy, row in enumerate(kernel):
        for dx, weight in enumerate(row):
            if weight:
                total += weight * padded[:, dy : dy + height, dx : dx + width]
    return total
