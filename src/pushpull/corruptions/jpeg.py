"""jpeg_compression, and JPEG after any other corruption.

On the CPU by libjpeg; on accelerators in integer tensors, with its bits.

Everything lossy in JPEG is integer arithmetic, so it can be done without writing a file: colours to YCbCr,
chroma halved, 8x8 cosine transforms, quantisation, and back. (Huffman coding, left out, loses nothing.) The
arithmetic is that of libjpeg's default encoder and decoder: 13-bit fixed point after Loeffler, Ligtenberg and
Moschytz (ICASSP 1989), triangle ("fancy") upsampling of chroma; the tables are those of ITU-T T.81, annex K,
scaled by quality as libjpeg scales them. Held to libjpeg bit for bit by tests.
"""

from __future__ import annotations

import io
from functools import lru_cache

import torch
from PIL import Image
from torch import Tensor

from pushpull.corruptions.registry import nothing_random, register_corruption

_LUMA = (
    *(16, 11, 10, 16, 24, 40, 51, 61, 12, 12, 14, 19, 26, 58, 60, 55),
    *(14, 13, 16, 24, 40, 57, 69, 56, 14, 17, 22, 29, 51, 87, 80, 62),
    *(18, 22, 37, 56, 68, 109, 103, 77, 24, 35, 55, 64, 81, 104, 113, 92),
    *(49, 64, 78, 87, 103, 121, 120, 101, 72, 92, 95, 98, 112, 100, 103, 99),
)
_CHROMA = (
    *(17, 18, 24, 47, 99, 99, 99, 99, 18, 21, 26, 66, 99, 99, 99, 99),
    *(24, 26, 56, 99, 99, 99, 99, 99, 47, 66, 99, 99, 99, 99, 99, 99),
    *(99,) * 32,
)
_BITS = 13  # of the cosines' fixed point
_PASS_BITS = 2  # kept between the passes along rows and columns


@register_corruption(
    "jpeg_compression",
    family="digital",
    severities={"imagenet": (25, 18, 15, 10, 7), "cifar": (80, 65, 58, 50, 40), "tiny": (65, 58, 50, 40, 25)},
    sample=nothing_random,
    on_bytes=True,
)
def jpeg_compression(levels: Tensor, quality: int, drawn: None = None) -> Tensor:
    """Encode (N, 3, H, W) uint8 as JPEG of `quality` with 4:2:0 chroma, and decode it."""
    if levels.device.type != "cpu":
        return through_tensors(levels, quality)
    # libjpeg takes one image at a time; on a CPU it is many times as fast as tensors, with the same bits.
    decoded = torch.empty_like(levels)
    for image, result in zip(levels.numpy(), decoded.numpy(), strict=True):
        file = io.BytesIO()
        # Pillow puts planes together, and apart, in a third of the time of a transposition in numpy.
        picture = Image.merge("RGB", [Image.fromarray(plane) for plane in image])
        picture.save(file, "JPEG", quality=quality, subsampling="4:2:0")
        for plane, band in zip(result, Image.open(file).split(), strict=True):
            plane[...] = band
    return decoded


def through_tensors(levels: Tensor, quality: int) -> Tensor:
    """Encode (N, 3, H, W) uint8 with `quality` in 1..100 and decode it, on any device."""
    height, width = levels.shape[-2:]
    luma, blue, red = _to_ycc(levels.int())
    luma = _through_blocks(luma, _table(_LUMA, quality, levels.device))[:, :height, :width]
    chroma = _table(_CHROMA, quality, levels.device)
    blue, red = (_through_blocks(_halve(plane), chroma) for plane in (blue, red))
    half = (slice(None), slice((height + 1) // 2), slice((width + 1) // 2))
    blue, red = (_upsample(plane[half])[:, :height, :width] for plane in (blue, red))
    return _to_rgb(luma, blue, red).to(torch.uint8)


@lru_cache(maxsize=64)
def _table(base: tuple[int, ...], quality: int, device: torch.device) -> Tensor:
    """Return (8, 8) int32 divisors of the coefficients."""
    scale = 5000 // quality if quality < 50 else 200 - 2 * quality
    values = [min(max((value * scale + 50) // 100, 1), 255) for value in base]
    return torch.tensor(values, dtype=torch.int32, device=device).view(8, 8)


def _fixed(value: float) -> int:
    """Return a factor of the colour conversion, of five decimals as in libjpeg, in 16-bit fixed point."""
    return int(value * (1 << 16) + 0.5)


def _to_ycc(rgb: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Return Y, Cb, Cr (N, H, W) int32 in 0..255 of (N, 3, H, W)."""
    red, green, blue = rgb.unbind(1)
    half = 1 << 15
    luma = _fixed(0.299) * red + _fixed(0.587) * green + _fixed(0.114) * blue + half
    # The chroma's rounding is a hair less than a half, so that blue and red of 255 stay below 256.
    middle = (128 << 16) + half - 1
    from_blue = half * blue - _fixed(0.16874) * red - _fixed(0.33126) * green + middle
    from_red = half * red - _fixed(0.41869) * green - _fixed(0.08131) * blue + middle
    return luma >> 16, from_blue >> 16, from_red >> 16


def _to_rgb(luma: Tensor, blue: Tensor, red: Tensor) -> Tensor:
    """Return (N, 3, H, W) int32 in 0..255."""
    blue, red, half = blue - 128, red - 128, 1 << 15
    channels = (
        luma + ((_fixed(1.402) * red + half) >> 16),
        luma + ((-_fixed(0.34414) * blue - _fixed(0.71414) * red + half) >> 16),
        luma + ((_fixed(1.772) * blue + half) >> 16),
    )
    return torch.stack(channels, 1).clamp_(0, 255)


def _extend(plane: Tensor, rows: int, columns: int) -> Tensor:
    """Repeat the last row and column of (N, H, W) until the sizes are multiples of `rows` and `columns`."""
    height, width = plane.shape[-2:]
    below, right = -height % rows, -width % columns
    if below:
        plane = torch.cat([plane, plane[:, -1:].expand(-1, below, -1)], 1)
    if right:
        plane = torch.cat([plane, plane[..., -1:].expand(-1, -1, right)], 2)
    return plane


def _halve(plane: Tensor) -> Tensor:
    """Average 2x2 pixels; added before the fraction is dropped: a quarter in even columns, a half in odd."""
    # Whole blocks along rows already here: what lies beyond the image is the last pixel, not the last mean.
    even = _extend(plane, 2, 16)
    total = even[:, ::2, ::2] + even[:, ::2, 1::2] + even[:, 1::2, ::2] + even[:, 1::2, 1::2]
    bias = 1 + torch.arange(total.shape[-1], device=plane.device, dtype=torch.int32) % 2
    return (total + bias) >> 2


def _upsample(plane: Tensor) -> Tensor:
    """Double (N, H, W) by a triangle: three quarters of the nearer pixel and one of the farther, each way."""
    above = torch.cat([plane[:, :1], plane[:, :-1]], 1)
    below = torch.cat([plane[:, 1:], plane[:, -1:]], 1)
    rows = torch.stack([3 * plane + above, 3 * plane + below], 2).flatten(1, 2)
    left = torch.cat([rows[..., :1], rows[..., :-1]], -1)
    right = torch.cat([rows[..., 1:], rows[..., -1:]], -1)
    return torch.stack([(3 * rows + left + 8) >> 4, (3 * rows + right + 7) >> 4], -1).flatten(-2)


def _through_blocks(plane: Tensor, table: Tensor) -> Tensor:
    """Quantise the cosine coefficients of each 8x8 block of (N, H, W) levels; return the levels they give.

    The result is as large as the blocks.
    """
    padded = _extend(plane, 8, 8)
    blocks = padded.unflatten(-1, (-1, 8)).unflatten(1, (-1, 8)).transpose(2, 3) - 128
    levels = _inverse_cosines(_quantised(_cosines(blocks), table)) + 128
    return levels.clamp_(0, 255).transpose(2, 3).flatten(3, 4).flatten(1, 2)


def _quantised(coefficients: Tensor, table: Tensor) -> Tensor:
    """Round coefficients, 8 times too large as `_cosines` leaves them, to multiples of the table's."""
    divisor = table * 8
    size = (coefficients.abs() + divisor // 2).div(divisor, rounding_mode="floor")
    return size * coefficients.sign() * table


def _round_shift(x: Tensor, bits: int) -> Tensor:
    return (x + (1 << (bits - 1))) >> bits


def _factor(value: float) -> int:
    """Return a cosine factor in 13-bit fixed point."""
    return int(value * (1 << _BITS) + 0.5)


def _odd_part(a: Tensor, b: Tensor, c: Tensor, d: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Return the rotations of the transform's odd half, for inputs in the order 7, 5, 3, 1."""
    z1, z2, z3, z4 = a + d, b + c, a + c, b + d
    z5 = (z3 + z4) * _factor(1.175875602)
    z1, z2 = z1 * -_factor(0.899976223), z2 * -_factor(2.562915447)
    z3, z4 = z3 * -_factor(1.961570560) + z5, z4 * -_factor(0.390180644) + z5
    return (
        a * _factor(0.298631336) + z1 + z3,
        b * _factor(2.053119869) + z2 + z4,
        c * _factor(3.072711026) + z2 + z3,
        d * _factor(1.501321110) + z1 + z4,
    )


def _even_rotation(a: Tensor, b: Tensor) -> tuple[Tensor, Tensor]:
    """Return the rotated pair of coefficients 2 (a) and 6 (b)."""
    both = (a + b) * _factor(0.541196100)
    return both + a * _factor(0.765366865), both - b * _factor(1.847759065)


def _cosines(blocks: Tensor) -> Tensor:
    """Return 8 times the cosine coefficients of (..., 8, 8) int32 levels."""
    rows = _forward_pass(blocks, -1, _BITS - _PASS_BITS, scale_up=True)
    return _forward_pass(rows, -2, _BITS + _PASS_BITS, scale_up=False)


def _forward_pass(x: Tensor, dim: int, shift: int, *, scale_up: bool) -> Tensor:
    x0, x1, x2, x3, x4, x5, x6, x7 = x.unbind(dim)
    even = (x0 + x7, x1 + x6, x2 + x5, x3 + x4)
    odd = (x3 - x4, x2 - x5, x1 - x6, x0 - x7)
    s0, s3, s1, s2 = even[0] + even[3], even[0] - even[3], even[1] + even[2], even[1] - even[2]
    whole = (s0 + s1, s0 - s1)
    c0, c4 = (part << _PASS_BITS if scale_up else _round_shift(part, _PASS_BITS) for part in whole)
    c2, c6 = _even_rotation(s3, s2)
    c7, c5, c3, c1 = _odd_part(*odd)
    c1, c2, c3, c5, c6, c7 = (_round_shift(part, shift) for part in (c1, c2, c3, c5, c6, c7))
    return torch.stack([c0, c1, c2, c3, c4, c5, c6, c7], dim)


def _inverse_cosines(coefficients: Tensor) -> Tensor:
    """Return (..., 8, 8) int32 levels less 128 from dequantised coefficients, columns first."""
    columns = _inverse_pass(coefficients, -2, _BITS - _PASS_BITS)
    return _inverse_pass(columns, -1, _BITS + _PASS_BITS + 3)


def _inverse_pass(x: Tensor, dim: int, shift: int) -> Tensor:
    c0, c1, c2, c3, c4, c5, c6, c7 = x.unbind(dim)
    t2, t3 = _even_rotation(c2, c6)
    t0, t1 = (c0 + c4) << _BITS, (c0 - c4) << _BITS
    even = (t0 + t2, t1 + t3, t1 - t3, t0 - t2)
    o0, o1, o2, o3 = _odd_part(c7, c5, c3, c1)
    odd = (o3, o2, o1, o0)
    upper = [e + o for e, o in zip(even, odd, strict=True)]
    lower = [e - o for e, o in zip(even, odd, strict=True)]
    return torch.stack([_round_shift(part, shift) for part in upper + lower[::-1]], dim)
