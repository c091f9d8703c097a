"""Triton kernels for the box: the sum of the image over the kernel's window, averaged as the pull is.

First over the channels of a group and the window's rows, then over its columns and the pooling's pixels: x is
read once, and what lies between has one channel.
"""

from __future__ import annotations

import triton
import triton.language as tl
from pushpull.unit.backends.triton.tiles import image_start, place, share


@triton.jit
def sum_rows(
    x,
    rows,
    members,
    H_in,
    W_in,
    H,
    groups,
    image_step,
    channel_step,
    row_step,
    column_step,
    kernel,
    stride,
    before,
    dilation,
    TH: tl.constexpr,
    TW: tl.constexpr,
):
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
    rows,
    box,
    W_in,
    H,
    W,
    kernel,
    stride,
    before,
    dilation,
    SIDE: tl.constexpr,
    TH: tl.constexpr,
    TW: tl.constexpr,
):
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
