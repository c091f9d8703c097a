"""Five drawn pictures of frost, for where the benchmark's photographs are not at hand.

Each is a cloudy pane (noise with a falling spectrum) under ferns of ice: bent stems with side branches at 60
degrees, splatted onto the canvas. The mean and spread of each channel and the amount of fine detail are those
of the photograph it stands for. Deterministic, drawn once a process (about 1 s), not written to disk. In
double precision: in single, the order of sums, which the number of threads decides, would change some levels.

How near: on 1000 images of CIFAR-10 and 50 of ImageNet, at every severity, the mean, the spread, the strength
of the change and five further statistics agree with the published program's as two runs of it do with each
other; the RMS Laplacian does at 224, and at 32 it is 1 to 5 % low (severity 1 to 5).
"""

from __future__ import annotations

import math
from functools import lru_cache

import torch
from torch import Tensor

from pushpull.corruptions import filters
from pushpull.random import Draws

_HEIGHT, _WIDTH = 400, 600
_SOFT_PX = 1.5
_BRANCHES, _POINTS = 24, 24  # side branches of a fern, points a branch


# What each picture shall look like, measured on the photograph of the same number, in grey levels 0..255:
# mean and spread of the channels; standard deviation of the grey picture's 4-neighbour Laplacian; the share
# of the ferns in the spread, the rest being clouds; number of ferns, and their length in px.
_PANES = (
    ((77.7, 149.1, 165.7), (26.9, 16.5, 15.3), 26.9, 0.85, 260, 70.0),
    ((200.8, 205.4, 214.5), (21.4, 22.1, 22.6), 28.0, 0.97, 300, 60.0),
    ((200.8, 205.4, 214.5), (21.4, 22.1, 22.6), 28.0, 0.97, 300, 60.0),
    ((137.6, 152.8, 165.2), (28.5, 28.5, 29.9), 46.6, 0.97, 500, 40.0),
    ((112.4, 123.4, 134.8), (44.4, 43.3, 41.7), 66.1, 0.97, 350, 70.0),
)
_Colour = tuple[float, float, float]


@lru_cache(maxsize=1)
def draw_frost() -> tuple[Tensor, ...]:
    """Return five uint8 (3, 400, 600) RGB pictures, always the same."""
    return tuple(_draw(number, *pane) for number, pane in enumerate(_PANES))


def _draw(
    number: int, means: _Colour, spreads: _Colour, laplacian: float, share: float, count: int, fern_px: float
) -> Tensor:
    draws = Draws(torch.tensor([number]), seed=0, name="frost pane", severity=0)
    clouds, tint = _clouds(draws, 1.6), _clouds(draws, 1.6)
    ferns = _standardised(_ferns(draws, count, fern_px))
    sharp = _standardised(ferns + 0.3 * draws.normal(_HEIGHT, _WIDTH)[0].double())
    soft = _standardised(filters.gaussian_blur(ferns.float(), _SOFT_PX).double())
    # The clouds have next to no Laplacian, so the blend of sharp and soft ferns sets it: bisection.
    wanted = laplacian / (sum(spreads) / 3) / share
    low, high = 0.0, 1.0
    for _ in range(8):
        blend = (low + high) / 2
        detail = _standardised(blend * sharp + (1 - blend) * soft)
        low, high = (low, blend) if float(_laplacian(detail).std()) > wanted else (blend, high)
    relief = share * detail + math.sqrt(1 - share**2) * clouds
    channels = []
    for mean, spread, hue in zip(means, spreads, (0.6, 0.0, -0.2), strict=True):
        channel = relief + hue * tint if spreads[0] > 1.3 * spreads[2] else relief
        channels.append(mean + spread * (channel - channel.mean()) / channel.std())
    return torch.stack(channels).round().clamp(0, 255).to(torch.uint8)


def _clouds(draws: Draws, falloff: float) -> Tensor:
    """Return (400, 600) noise of zero mean and unit spread whose amplitude falls as frequency^-falloff."""
    spectrum = torch.fft.rfft2(draws.normal(_HEIGHT, _WIDTH)[0].double())
    rows = torch.fft.fftfreq(_HEIGHT, dtype=torch.float64)[:, None]
    columns = torch.fft.rfftfreq(_WIDTH, dtype=torch.float64)
    radius = torch.sqrt(rows**2 + columns**2)
    radius[0, 0] = math.inf
    clouds = torch.fft.irfft2(spectrum * radius.pow(-falloff), s=(_HEIGHT, _WIDTH))
    return clouds / clouds.std()


def _ferns(draws: Draws, count: int, fern_px: float) -> Tensor:
    """Return (400, 600): ferns of ice as bright lines, thick at the root, on a dark pane."""
    root = draws.uniform(count, 2)[0].double() * torch.tensor([_HEIGHT, _WIDTH])
    angle = draws.uniform(count, high=2 * math.pi)[0].double()
    bend = draws.uniform(count, low=-0.8, high=0.8)[0].double()
    length = fern_px * draws.uniform(count, low=0.4, high=1.4)[0].double()
    light = draws.uniform(count, low=0.3, high=1.0)[0].double()
    along = torch.linspace(0, 1, _BRANCHES, dtype=torch.float64)
    stem_angle = angle[:, None] + bend[:, None] * along
    stem = root[:, None] + _direction(stem_angle) * (length[:, None] * along)[..., None]
    side = (1.0 - 2.0 * (torch.arange(_BRANCHES) % 2).double()) * (math.pi / 3)
    branch_angle = torch.cat([stem_angle + side, stem_angle], dim=1)
    whole = length[:, None]
    branch_length = torch.cat([0.35 * whole * (1.1 - along), whole.expand(-1, _BRANCHES) / 12], dim=1)
    start = torch.cat([stem, stem], dim=1)
    out = torch.linspace(0, 1, _POINTS, dtype=torch.float64)
    reach = _direction(branch_angle) * branch_length[..., None]
    points = start[:, :, None] + reach[:, :, None] * out[:, None]
    weight = (light[:, None] * branch_length / _POINTS)[..., None] * (1.2 - out)
    return _splat(points.reshape(-1, 2), weight.reshape(-1)).clamp(max=2.0)


def _direction(angle: Tensor) -> Tensor:
    return torch.stack([torch.sin(angle), torch.cos(angle)], dim=-1)


def _splat(points: Tensor, weight: Tensor) -> Tensor:
    """Add weights at fractional (row, column) points, shared bilinearly by four pixels of a torus."""
    low = points.floor()
    part = points - low
    row, column = low.long().unbind(1)
    canvas = torch.zeros(_HEIGHT * _WIDTH, dtype=torch.float64)
    for dy in (0, 1):
        for dx in (0, 1):
            share = (part[:, 0] if dy else 1 - part[:, 0]) * (part[:, 1] if dx else 1 - part[:, 1])
            index = (row + dy) % _HEIGHT * _WIDTH + (column + dx) % _WIDTH
            canvas += torch.bincount(index, weight * share, minlength=len(canvas))
    return canvas.view(_HEIGHT, _WIDTH)


def _standardised(x: Tensor) -> Tensor:
    return (x - x.mean()) / x.std()


def _laplacian(x: Tensor) -> Tensor:
    return x[1:-1, :-2] + x[1:-1, 2:] + x[:-2, 1:-1] + x[2:, 1:-1] - 4 * x[1:-1, 1:-1]
