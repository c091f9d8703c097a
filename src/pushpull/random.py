"""Random numbers that depend on nothing but which image they are for.

A counter-based generator: value number i of stream t of an image is a hash of (seed, name, severity,
image index, t, i). So a corrupted image is the same whatever the batch, order, worker or rank, and no global
state is read or changed.

In eager tensors each operation is a pass over memory, so the cost is the number of operations: one value here
takes five on integers and three to become a float. (Philox4x32-10 would take about a hundred.)
"""

from __future__ import annotations

import math
import zlib
from functools import lru_cache

import torch
from torch import Tensor

_GOLDEN = 0x9E3779B9 - (1 << 32)  # 2**32 / golden ratio, odd: spreads consecutive counters
_ODD = 0x846CA68B - (1 << 32)  # of Wellons' "lowbias32"
_BITS = 23  # of a word that become a number: then (k + 1/2) / 2**23 is exact in float32, and under 1


def _mix32_(x: Tensor) -> Tensor:
    """Mix int32 words in place, bijectively, by Wellons' "lowbias32" constants."""
    x ^= (x >> 16).bitwise_and_(0xFFFF)
    x *= 0x7FEB352D
    x ^= (x >> 15).bitwise_and_(0x1FFFF)
    x *= _ODD
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
    return _mix32_(_mix32_(torch.arange(count, dtype=torch.int32, device=device) * _GOLDEN))


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

    def _words(self, shape: tuple[int, ...]) -> Tensor:
        """Return (N, *shape) int32 words from the next stream; their upper bits are the better ones.

        The counter's mixed word, by exclusive or with one half of the stream's key and times the other, goes
        through one more round of mixing. Its shift is arithmetic, which saves the mask: it maps x and ~x to
        one word, evenly.
        """
        self._stream += 1
        key = _mix64(self._key + self._stream)
        low, odd = key.to(torch.int32)[:, None], (key >> 32).to(torch.int32)[:, None] | 1
        count = math.prod(shape)
        # Tables of few lengths, since each is kept: the next power of two.
        table = _mixed_counter(1 << max(count - 1, 0).bit_length(), key.device)
        words = table[:count] ^ low
        words *= odd
        words ^= words >> 16
        words *= _ODD
        return words.view(-1, *shape)

    def _scaled(self, shape: tuple[int, ...], middle: float, width: float) -> Tensor:
        """Return (N, *shape) float32, uniform over 2**23 equal steps of `width` about `middle`."""
        step = width * 2.0**-_BITS
        words = self._words(shape)
        words >>= 32 - _BITS
        return torch.add(words.new_tensor(middle + step / 2, dtype=torch.float32), words.float(), alpha=step)

    def uniform(self, *shape: int, low: float = 0.0, high: float = 1.0) -> Tensor:
        """Return (N, *shape) float32, uniform in the open interval (low, high): 2**23 equal steps.

        For (0, 1) the values are (k + 1/2) / 2**23, exact in float32; with 24 bits the largest would round
        to 1.
        """
        return self._scaled(shape, (low + high) / 2, high - low)

    def normal(self, *shape: int) -> Tensor:
        """Return (N, *shape) float32, standard normal, by Box-Muller: two uniforms make two normals."""
        count = math.prod(shape)
        pairs = (count + 1) // 2
        radius = self.uniform(pairs).log_().mul_(-2.0).sqrt_()
        angle = self._scaled((pairs,), 0.0, 2.0 * math.pi)
        both = radius.new_empty(len(radius), 2 * pairs)
        torch.mul(radius, torch.cos(angle), out=both[:, :pairs])
        torch.mul(radius, angle.sin_(), out=both[:, pairs:])
        return both[:, :count].reshape(-1, *shape)

    def integers(self, low: int, high: int, *shape: int) -> Tensor:
        """Return (N, *shape) int32, uniform in {low, ..., high - 1} up to 2**-23, for high - low < 2**23."""
        span = high - low
        words = self._words(shape)
        if span > 1 << (31 - _BITS):
            words = words.long()  # else the product below fits into 32 bits, at half the cost
        words >>= 32 - _BITS
        words += 1 << (_BITS - 1)
        words *= span
        words >>= _BITS
        return words.add_(low).int()
