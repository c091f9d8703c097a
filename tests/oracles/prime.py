"""PRIME as its description has it, slowly: an image at a time, every sum written out; and batch-wide.

`spectral`, `displacement`, `warp` and `colour` are one image's primitives. `reference_batch` is how the
authors' program organises the work: all three primitives on all chains at every step, then a mask; its
strengths, its warp and its band of frequencies are drawn once for the batch. Benchmarks compare with it.
"""

import math

import numpy as np
import torch
from scipy import ndimage


def spectral(image, kernel):
    """Correlate each channel of (3, H, W) with the kernel, zeros outside, clipped."""
    return np.clip([ndimage.correlate(channel, kernel, mode="constant") for channel in image], 0, 1)


def displacement(coefficients, cut, temperature, height, width):
    """(H, W) of px: sqrt(T) n sum_ij c_ij / sqrt(i^2 + j^2) sin(pi i y) sin(pi j x), a term at a time."""
    y, x = np.mgrid[0:height, 0:width].astype(float)
    y, x = y / (height - 1), x / (width - 1)
    field = np.zeros((height, width))
    for i in range(1, cut + 1):
        for j in range(1, cut + 1):
            if i * i + j * j < (cut + 0.5) ** 2:
                wave = np.sin(np.pi * i * y) * np.sin(np.pi * j * x)
                field += coefficients[i - 1, j - 1] / math.sqrt(i * i + j * j) * wave
    return math.sqrt(temperature) * min(height, width) * field


def displacement_rms(cut, temperature, height, width):
    """(H, W) of px: the root mean square of `displacement` over standard normal coefficients."""
    square = np.zeros((height, width))
    y, x = np.mgrid[0:height, 0:width].astype(float)
    y, x = np.pi * y / (height - 1), np.pi * x / (width - 1)
    for i in range(1, cut + 1):
        for j in range(1, cut + 1):
            if i * i + j * j < (cut + 0.5) ** 2:
                square += (np.sin(i * y) * np.sin(j * x)) ** 2 / (i * i + j * j)
    return math.sqrt(temperature) * min(height, width) * np.sqrt(square)


def temperature_range(cut, side):
    """The least and the largest temperature."""
    least = 1 / (math.pi * side**2 * math.log(cut))
    return least, max(least, 4 / (math.pi**3 * cut**2 * math.log(cut)))


def warp(image, dx, dy):
    """Read (3, H, W) at (x - dx, y - dy), kept inside, bilinearly."""
    height, width = image.shape[1:]
    y, x = np.mgrid[0:height, 0:width].astype(float)
    place = [np.clip(y - dy, 0, height - 1), np.clip(x - dx, 0, width - 1)]
    return np.stack([ndimage.map_coordinates(channel, place, order=1) for channel in image])


def colour(image, first, amplitude):
    """x + sum_m a_m sin(pi (first + m) x) for each channel of (3, H, W), clipped; amplitude (3, F)."""
    result = image.astype(float).copy()
    for channel in range(3):
        for m, a in enumerate(amplitude[channel]):
            result[channel] += a * np.sin(np.pi * (first + m) * image[channel])
    return np.clip(result, 0, 1)


def reference_batch(x, *, cut_max, colour_max, temperature, band, generator):
    """PRIME of a batch of (N, 3, H, W) floats by masks, three chains, three deep, in torch."""
    count = len(x)
    draw = _Draw(generator)
    weights = draw.exponential(count, 3)
    weights = weights / weights.sum(1, keepdim=True)
    share = draw.uniform(count, 1, 1, 1)
    chains = x.repeat(3, 1, 1, 1)
    length = draw.integer(1, 4, 3 * count)
    for depth in range(3):
        chosen = draw.integer(0, 3, 3 * count)
        done = (
            _spectral_batch(chains, draw),
            _warp_batch(chains, cut_max, draw),
            _colour_batch(chains, colour_max, temperature, band, draw),
        )
        step = sum(part * (chosen == number).float()[:, None, None, None] for number, part in enumerate(done))
        acts = (depth < length).float()[:, None, None, None]
        chains = acts * step + (1 - acts) * chains
    mixture = torch.einsum("nw,wnchv->nchv", weights, chains.flatten(3).view(3, count, *x.shape[1:]))
    return (1 - share) * x + share * mixture


class _Draw:
    def __init__(self, generator):
        self.generator = generator

    def uniform(self, *shape):
        return torch.rand(shape, generator=self.generator)

    def exponential(self, *shape):
        return -self.uniform(*shape).clamp(min=1e-9).log()

    def normal(self, *shape):
        return torch.randn(shape, generator=self.generator)

    def integer(self, low, high, *shape):
        return torch.randint(low, high, shape, generator=self.generator)

    def one(self, low, high):
        return int(self.integer(low, high, 1))

    def arcsine(self):
        return math.sin(math.pi / 2 * float(self.uniform(1))) ** 2


def _spectral_batch(x, draw):
    kernels = draw.normal(len(x), 1, 3, 3) * (4 * float(draw.uniform(1)))
    kernels[:, 0, 1, 1] += 1
    by_channel = x.transpose(0, 1)
    filtered = torch.nn.functional.conv2d(by_channel, kernels, groups=len(x), padding=1)
    return filtered.transpose(0, 1).clamp(0, 1)


def _warp_batch(x, cut_max, draw):
    side = x.shape[-1]
    highest = draw.one(3, cut_max + 1)
    cut = min(int(2 + draw.arcsine() * (highest - 1)), highest)
    least, largest = temperature_range(cut, side)
    scale = math.sqrt(least + draw.arcsine() * (largest - least)) * side
    k = torch.arange(1, cut + 1).float()
    radius = (k[:, None] ** 2 + k**2).sqrt()
    weight = (radius < cut + 0.5) / radius
    waves = torch.sin(math.pi * torch.linspace(0, 1, side)[:, None] * k)
    place = torch.arange(side).float()
    dx, dy = (scale * waves @ (draw.normal(cut, cut) * weight) @ waves.T for _ in range(2))
    xn, yn = (place - dx).clamp(0, side - 1), (place[:, None] - dy).clamp(0, side - 1)
    x0, y0, x1, y1 = xn.floor().long(), yn.floor().long(), xn.ceil().long(), yn.ceil().long()
    u, v = xn - x0, yn - y0
    upper = (1 - u) * x[..., y0, x0] + u * x[..., y0, x1]
    lower = (1 - u) * x[..., y1, x0] + u * x[..., y1, x1]
    return (1 - v) * upper + v * lower


def _colour_batch(x, colour_max, temperature, band, draw):
    cut = draw.one(1, colour_max + 1)
    first = 1 if band is None else draw.one(1, cut + 1)
    k = torch.arange(first, (cut if band is None else min(first + band - 1, cut)) + 1)
    amplitude = draw.normal(len(x), 3, len(k)) * math.sqrt(temperature * float(draw.uniform(1)))
    values = x.flatten(2)
    waves = torch.sin(values[..., None] * (k * math.pi))
    return (torch.einsum("ncf,ncvf->ncv", amplitude, waves) + values).clamp(0, 1).view(x.shape)
