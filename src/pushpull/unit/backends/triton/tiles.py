"""What the Triton kernels share (where a program works, offsets, the window's sum), and those for the box.

The box is the sum of the image over the kernel's window, averaged as the pull is: first over the channels of
a group and the window's rows, then over its columns and the pooling's pixels. x is read once, and what lies
between has one channel.
"""

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


@triton.jit
def sum_rows(
    x, rows, members, H_in, W_in, H, groups, image_step, channel_step, row_step, column_step, kernel,
    stride, before, dilation,
    TH: tl.constexpr, TW: tl.constexpr,
):  # fmt: skip
    """rows (N, groups, H, W_in) = the sum over a group's channels and the window's rows."""
    plane, h, w, _ = place(tl.program_id(0), 1, H, W_in, TH, TW, 1)
    image, group = (plane // groups).to(tl.int64), plane % groups
    real = (h < H) & (w < W_in)
    total = tl.zeros([TH * TW], dtype=tl.float32)
    for member in range(members):
        channel = x + image * image_step + (group * members + member).to(tl.int64) * channel_step
        for tap in range(kernel):
            row = h * stride - before + tap * dilation
            at = row.to(tl.int64) * row_step + w.to(tl.int64) * column_step
            total += tl.load(channel + at, mask=real & (row >= 0) & (row < H_in), other=0.0).to(tl.float32)
    tl.store(rows + image_start(plane, 1, H, W_in) + h.to(tl.int64) * W_in + w, total, mask=real)


@triton.jit
def sum_columns(
    rows, box, W_in, H, W, kernel, stride, before, dilation,
    SIDE: tl.constexpr, TH: tl.constexpr, TW: tl.constexpr,
):  # fmt: skip
    """box (N, groups, H, W) = the mean over the pooling's pixels of the sum over the window's columns."""
    plane, h, w, _ = place(tl.program_id(0), 1, H, W, TH, TW, 1)
    start = image_start(plane, 1, H, W_in)
    total = tl.zeros([TH * TW], dtype=tl.float32)
    for i in range(SIDE):
        row = h + (i - SIDE // 2)
        for j in range(SIDE):
            column = w + (j - SIDE // 2)
            real = (row >= 0) & (row < H) & (column >= 0) & (column < W)
            for tap in range(kernel):
                source = column * stride - before + tap * dilation
                at = start + row.to(tl.int64) * W_in + source
                total += tl.load(rows + at, mask=real & (source >= 0) & (source < W_in), other=0.0)
    at = image_start(plane, 1, H, W) + h.to(tl.int64) * W + w
    tl.store(box + at, total * share(h, w, H, W, SIDE), mask=(h < H) & (w < W))
