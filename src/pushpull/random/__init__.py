"""Random numbers that depend on nothing but which image they are for.

A counter-based generator: value number i of stream t of an image is a hash of (seed, name, severity,
image index, t, i). So a corrupted image is the same whatever the batch, order, worker or rank, and no global
state is read or changed.

In eager tensors each operation is a pass over memory, so the cost is the number of operations: one value here
takes five on integers and three to become a float. (Philox4x32-10 would take about a hundred.) On the CPU
`native.random` does all of them in one pass, where numba is installed.
"""

from __future__ import annotations

import math
import zlib
from functools import lru_cache
from typing import Any

import numpy as np
import torch
from torch import Tensor

from pushpull.random import native
from pushpull.random.native import BITS, FIRST_SEGMENT, GOLDEN, MAGNITUDE, ODD, PART_BITS, SEGMENT_BITS


def _mix32_(x: Tensor) -> Tensor:
    """Mix int32 words in place, bijectively, by Wellons' "lowbias32" constants."""
    x ^= (x >> 16).bitwise_and_(0xFFFF)
    x *= 0x7FEB352D
    x ^= (x >> 15).bitwise_and_(0x1FFFF)
    x *= ODD
    x ^= (x >> 16).bitwise_and_(0xFFFF)
    return x


def _mix64(x: Tensor) -> Tensor:
    """Bijective mixing of int64 words: the finaliser of SplitMix64."""
    x = (x ^ ((x >> 30) & 0x3FFFFFFFF)) * (0xBF58476D1CE4E5B9 - (1 << 64))
    x = (x ^ ((x >> 27) & 0x1FFFFFFFFF)) * (0x94D049BB133111EB - (1 << 64))
    return x ^ ((x >> 31) & 0x1FFFFFFFF)


@lru_cache(maxsize=8)
@torch.inference_mode(False)  # kept for calls that autograd may follow
def _mixed_counter(count: int, device: torch.device) -> Tensor:
    """Return `count` distinct well-mixed int32 words: what all streams make of the numbers 0, 1, 2, ..."""
    return _mix32_(_mix32_(torch.arange(count, dtype=torch.int32, device=device) * GOLDEN))


class Draws:
    """Independent random numbers for every image of a batch; each call is a new stream, equal for equal keys.

    Args:
        index: (N,) int64, which images these are.
        seed: any integer.
        name: what the numbers are for, such as a corruption; part of the key, so that each has its own.
        severity: part of the key too.
    """

    def __init__(self, index: Tensor, *, seed: int, name: str, severity: int) -> None:
        word = (seed * 0x9E3779B97F4A7C15 + zlib.crc32(name.encode()) * 8 + severity) % (1 << 64)
        offset = torch.tensor(word - (1 << 64) if word >= 1 << 63 else word, device=index.device)
        self._key = _mix64(_mix64(index.to(torch.int64)) + _mix64(offset))
        self._stream = 0

    def _next_key(self) -> tuple[Tensor, Tensor]:
        """Return what makes the next stream: (N,) int32 masks and (N,) int32 odd factors."""
        self._stream += 1
        key = _mix64(self._key + self._stream)
        return key.to(torch.int32), (key >> 32).to(torch.int32) | 1

    def _words(self, shape: tuple[int, ...]) -> Tensor:
        """Return (N, *shape) int32 words from the next stream; their upper bits are the better ones.

        The counter's mixed word, by exclusive or with one half of the stream's key and times the other, goes
        through one more round of mixing. Its shift is arithmetic, which saves the mask: it maps x and ~x to
        one word, evenly.
        """
        low, odd = self._next_key()
        count = math.prod(shape)
        words = _counter(count, low.device) ^ low[:, None]
        words *= odd[:, None]
        words ^= words >> 16
        words *= ODD
        return words.view(-1, *shape)

    def _filled(self, shape: tuple[int, ...], kernel: str, dtype: torch.dtype, *constants: Any) -> Tensor:
        """Return (N, *shape) from the next stream by a kernel of `pushpull.random.loops`."""
        from pushpull.random import loops as kernels

        low, odd = self._next_key()
        count = math.prod(shape)
        out = torch.empty(len(low), count, dtype=dtype, device="cpu")
        native.run(getattr(kernels, kernel), len(low), out, _counter(count, low.device), low, odd, *constants)
        return out.view(-1, *shape)

    def uniform(self, *shape: int, low: float = 0.0, high: float = 1.0) -> Tensor:
        """Return (N, *shape) float32, uniform in the open interval (low, high): 2**23 equal steps.

        For (0, 1) the values are (k + 1/2) / 2**23, exact in float32; with 24 bits the largest would round
        to 1.
        """
        step = (high - low) * 2.0**-BITS
        first = (low + high) / 2 + step / 2
        if native.applies(self._key):
            return self._filled(shape, "uniform", torch.float32, np.float32(first), np.float32(step))
        words = self._words(shape)
        words >>= 32 - BITS
        return words.float().mul_(step).add_(first)

    def normal(self, *shape: int) -> Tensor:
        """Return (N, *shape) float32, standard normal: the inverse of its distribution, by interpolation.

        A word's sign is the number's, its other 31 bits say how far out: linear between 64 places in every
        octave of the probability down to 2^-32, within 3e-5 of the inverse; the largest number is 6.3.
        Additions, products and look-ups only, so that every device gives the same bits.
        """
        if native.applies(self._key):
            table = _normal_table(torch.device("cpu"))
            return self._filled(shape, "normal", torch.float32, table)
        words = self._words(shape)
        level, slope = _normal_table(words.device)
        place = words.bitwise_and(MAGNITUDE).float().add_(0.5).view(torch.int32)
        part = place.bitwise_and((1 << PART_BITS) - 1).float()
        segment = (place >> PART_BITS).sub_(FIRST_SEGMENT).view(-1)
        size = slope.index_select(0, segment).view_as(part).mul_(part)
        size += level.index_select(0, segment).view_as(part)
        return torch.where(words < 0, -size, size)

    def integers(self, low: int, high: int, *shape: int) -> Tensor:
        """Return (N, *shape) int32, uniform in {low, ..., high - 1} up to 2**-23, for high - low < 2**23."""
        span = high - low
        if native.applies(self._key):
            return self._filled(shape, "integers", torch.int32, low, span)
        words = self._words(shape)
        if span > 1 << (31 - BITS):
            words = words.long()  # else the product below fits into 32 bits, at half the cost
        words >>= 32 - BITS
        words += 1 << (BITS - 1)
        words *= span
        words >>= BITS
        return words.add_(low).int()


def _counter(count: int, device: torch.device) -> Tensor:
    """Return `count` words of the mixed counter; its tables have few lengths, since each is kept."""
    return _mixed_counter(1 << max(count - 1, 0).bit_length(), device)[:count]


@lru_cache(maxsize=8)
@torch.inference_mode(False)
def _normal_table(device: torch.device) -> Tensor:
    """Return (2, segments) float32: each segment's number at its beginning, and what a part adds.

    Segments are those of floating-point numbers g in [1/2, 2^31]: 2^6 an octave. g stands for the
    probability g / 2^32 of a number further out than -ndtri(g / 2^32).
    """
    bits = torch.arange((32 << SEGMENT_BITS) + 1, dtype=torch.int32).add_(FIRST_SEGMENT) << PART_BITS
    bounds = -torch.special.ndtri(bits.view(torch.float32).double() * 2.0**-32)
    slope = (bounds[1:] - bounds[:-1]) * 2.0**-PART_BITS
    # The last bound is reached too, by words that round up to it: the median, 0.
    return torch.stack([bounds, torch.cat([slope, slope.new_zeros(1)])]).float().to(device)
