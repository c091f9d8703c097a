"""What the Triton kernels share: where a program works, offsets, rectification, the window's sum."""

from __future__ import annotations

import triton
import triton.language as tl


@triton.jit
def touch(target):
    """Write a number: the least that shows that kernels can be built and run."""
    tl.store(target, 1.0)


@triton.jit
def place(index, C, H, W, TH: tl.constexpr, TW: tl.constexpr, BC: tl.constexpr):
    """The image, rows and columns (TH * TW pixels) and channels of tile `index`; channels vary first."""
    channel_blocks = tl.cdiv(C, BC)
    across, down = tl.cdiv(W, TW), tl.cdiv(H, TH)
    c = (index % channel_blocks) * BC + tl.arange(0, BC)
    index = index // channel_blocks
    pixel = tl.arange(0, TH * TW)
    w = (index % across) * TW + pixel % TW
    index = index // across
    h = (index % down) * TH + pixel // TW
    return index // down, h, w, c


@triton.jit
def image_start(image, C, H, W):
    """Elements before an image of C x H x W; a batch may have more than 2**31."""
    return image.to(tl.int64) * C * H * W


@triton.jit
def offsets(h, w, W, step):
    """Elements before each pixel of an image whose pixels lie `step` apart."""
    return (h * W + w) * step


@triton.jit
def relu(value):
    """Zero where negative; NaN stays, as in PyTorch."""
    return tl.where(value < 0, 0.0, value)


@triton.jit
def share(h, w, H, W, SIDE: tl.constexpr):
    """One over the number of real pixels in the window around each pixel; finite outside the image too."""
    rows = tl.minimum(h + SIDE // 2, H - 1) - tl.maximum(h - SIDE // 2, 0) + 1
    columns = tl.minimum(w + SIDE // 2, W - 1) - tl.maximum(w - SIDE // 2, 0) + 1
    return 1.0 / tl.maximum(rows * columns, 1).to(tl.float32)


@triton.jit
def window_sum(image, h, w, channels, channel_real, H, W, pixel_step, SIDE: tl.constexpr):
    """(pixels, channels): the sum in float32 over the real pixels of each window of one image."""
    total = tl.zeros([h.shape[0], channels.shape[0]], dtype=tl.float32)
    # Rows are a loop and columns are unrolled: 13 x 13 loads in a row would take long to compile.
    for i in range(SIDE):
        row = h + (i - SIDE // 2)
        for j in tl.static_range(SIDE):
            column = w + (j - SIDE // 2)
            real = (row >= 0) & (row < H) & (column >= 0) & (column < W)
            at = offsets(row, column, W, pixel_step)
            mask = real[:, None] & channel_real[None, :]
            total += tl.load(image + at[:, None] + channels[None, :], mask=mask, other=0.0).to(tl.float32)
    return total


@triton.jit
def box_at(box, image, h, w, c, real, mask, C, H, W, groups, SHARED: tl.constexpr):
    """(pixels, 1 or channels): the box at these pixels; channels of one group share it, SHARED: all do."""
    pixels = image_start(image, groups, H, W) + h * W + w
    if SHARED:
        sums = tl.load(box + pixels, mask=real, other=0.0)[:, None]
    else:
        group = c // (C // groups)
        sums = tl.load(box + pixels[:, None] + group[None, :] * H * W, mask=mask, other=0.0)
    return sums
