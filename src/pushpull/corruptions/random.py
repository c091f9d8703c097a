"""Random numbers that depend on nothing but which image they are for.

A counter-based generator: value number i of stream t of an image is a hash of (seed, corruption, severity,
image index, t, i). So a corrupted image is the same whatever the batch, order, worker or rank, and no global
state is read or changed.
"""

from __future__ import annotations

import math
import zlib

import torch
from torch import Tensor

_GOLDEN = 0x9E3779B9 - (1 << 32)  # 2**32 / golden ratio, odd: spreads consecutive counters


def _mix32_(x: Tensor) -> Tensor:
    """Mix int32 words in place, bijectively, by Wellons' "lowbias32" constants."""
    x ^= (x >> 16).bitwise_and_(0xFFFF)
    x *= 0x7FEB352D
    x ^= (x >> 15).bitwise_and_(0x1FFFF)
    x *= 0x846CA68B - (1 << 32)
    x ^= (x >> 16).bitwise_and_(0xFFFF)
    return x


def _mix64(x: Tensor) -> Tensor:
    """Bijective mixing of int64 words: the finaliser of SplitMix64."""
    x = (x ^ ((x >> 30) & 0x3FFFFFFFF)) * (0xBF58476D1CE4E5B9 - (1 << 64))
    x = (x ^ ((x >> 27) & 0x1FFFFFFFFF)) * (0x94D049BB133111EB - (1 << 64))
    return x ^ ((x >> 31) & 0x1FFFFFFFF)


class Draws:
    """Independent random numbers for every image of a batch; each call is a new stream, equal for equal keys.

    Args:
        index: (N,) int64, which images these are.
        seed: any integer.
        name: corruption; part of the key, so that corruptions are independent of each other.
        severity: part of the key too.
    """

    def __init__(self, index: Tensor, *, seed: int, name: str, severity: int) -> None:
        word = (seed * 0x9E3779B97F4A7C15 + zlib.crc32(name.encode()) * 8 + severity) % (1 << 64)
        offset = torch.tensor(word - (1 << 64) if word >= 1 << 63 else word, device=index.device)
        self._key = _mix64(_mix64(index.to(torch.int64)) + _mix64(offset))
        self._stream = 0

    def _words(self, shape: tuple[int, ...]) -> Tensor:
        """Return (N, *shape) int32 words, uniform over all 2**32 values, from the next stream."""
        self._stream += 1
        key = _mix64(self._key + self._stream)
        low, high = key.to(torch.int32), (key >> 32).to(torch.int32)
        count = math.prod(shape)
        counter = torch.arange(count, dtype=torch.int32, device=key.device) * _GOLDEN
        words = _mix32_(counter + low[:, None])
        words ^= high[:, None]
        return _mix32_(words).view(-1, *shape)

    def uniform(self, *shape: int, low: float = 0.0, high: float = 1.0) -> Tensor:
        """Return (N, *shape) float32, uniform in the open interval (low, high): 2**23 equal steps.

        The values are (k + 1/2) / 2**23, exact in float32; with 24 bits the largest would round to 1.
        """
        unit = (self._words(shape) >> 9).bitwise_and_(0x7FFFFF).float().add_(0.5).mul_(2.0**-23)
        return unit if (low, high) == (0.0, 1.0) else unit.mul_(high - low).add_(low)

    def normal(self, *shape: int) -> Tensor:
        """Return (N, *shape) float32, standard normal, by Box-Muller: two uniforms make two normals."""
        count = math.prod(shape)
        pairs = (count + 1) // 2
        radius = torch.sqrt(-2.0 * torch.log(self.uniform(pairs)))
        angle = self.uniform(pairs) * (2.0 * math.pi)
        both = torch.cat([radius * torch.cos(angle), radius * torch.sin(angle)], dim=1)
        return both[:, :count].reshape(-1, *shape)

    def integers(self, low: int, high: int, *shape: int) -> Tensor:
        """Return (N, *shape) int64, uniform in {low, ..., high - 1}."""
        return low + (self.uniform(*shape) * (high - low)).long().clamp_(max=high - low - 1)
