"""Triton kernel for a stem at inference: unit, batch norm, relu and 3x3/2 max-pool in one pass over P."""

from __future__ import annotations

import triton
import triton.language as tl

from pushpull.unit.backends.triton.tiles import box_at, image_start, offsets, relu, share


@triton.jit
def larger(one, other):
    """The larger; NaN where one is NaN, as PyTorch's max-pool has it."""
    return tl.where((one > other) | (one != one), one, other)


@triton.jit
def window_sums(image, row, w, channels, channel_real, H, W, pixel_step, SIDE: tl.constexpr):
    """Of a row's three pixels around column 2 w: P itself, and the sums of P over their windows.

    The windows overlap: SIDE + 2 loads a row give all three sums, where each alone would take SIDE.
    """
    zero = tl.zeros([w.shape[0], channels.shape[0]], dtype=tl.float32)
    left, middle, right, at_left, at_middle, at_right = zero, zero, zero, zero, zero, zero
    for i in range(SIDE):
        y = row + (i - SIDE // 2)
        for j in tl.static_range(SIDE + 2):
            x = 2 * w - 1 + (j - SIDE // 2)
            real = (y >= 0) & (y < H) & (x >= 0) & (x < W)
            at = offsets(y, x, W, pixel_step)[:, None] + channels[None, :]
            mask = real[:, None] & channel_real[None, :]
            value = tl.load(image + at, mask=mask, other=0.0).to(tl.float32)
            if j < SIDE:
                left += value
            if j > 0 and j <= SIDE:
                middle += value
            if j > 1:
                right += value
            if j == SIDE // 2:
                at_left = tl.where(i == SIDE // 2, value, at_left)
            if j == SIDE // 2 + 1:
                at_middle = tl.where(i == SIDE // 2, value, at_middle)
            if j == SIDE // 2 + 2:
                at_right = tl.where(i == SIDE // 2, value, at_right)
    return left, middle, right, at_left, at_middle, at_right


@triton.jit
def normalised(
    response, total, box, image, row, column, c, m, strength, scale, shift,
    C, H, W, groups,
    SIDE: tl.constexpr, SHARED: tl.constexpr,
):  # fmt: skip
    """relu(scale * (relu(P) - alpha * relu(Q)) + shift) at pixels of a row, -inf where there is none."""
    real = (row >= 0) & (row < H) & (column >= 0) & (column < W)
    mask = real[:, None] & (c < C)[None, :]
    sums = box_at(box, image, row, column, c, real, mask, C, H, W, groups, SHARED)
    pull = m[None, :] * sums - total * share(row, column, H, W, SIDE)[:, None]
    inhibited = relu(response) - strength[None, :] * relu(pull)
    return tl.where(real[:, None], relu(inhibited * scale[None, :] + shift[None, :]), float("-inf"))


@triton.jit
def row_maximum(
    push, box, image, row, w, c, m, strength, scale, shift,
    C, H, W, groups, pixel_step, channel_step,
    SIDE: tl.constexpr, SHARED: tl.constexpr,
):  # fmt: skip
    """(pixels, channels): the largest of a row's three pixels around column 2 w."""
    start = image_start(image, C, H, W)
    left, middle, right, at_left, at_middle, at_right = window_sums(
        push + start, row, w, c * channel_step, c < C, H, W, pixel_step, SIDE
    )
    x = 2 * w
    one = normalised(
        at_left, left, box, image, row, x - 1, c, m, strength, scale, shift, C, H, W, groups, SIDE, SHARED
    )
    two = normalised(
        at_middle, middle, box, image, row, x, c, m, strength, scale, shift, C, H, W, groups, SIDE, SHARED
    )
    three = normalised(
        at_right, right, box, image, row, x + 1, c, m, strength, scale, shift, C, H, W, groups, SIDE, SHARED
    )
    return larger(larger(one, two), three)


@triton.jit
def pooled(
    push, contrast, box, alpha, scale, shift, y, number,
    C, H, W, H_out, W_out, groups, pixel_step, channel_step, out_pixel_step, out_channel_step, strip,
    SIDE: tl.constexpr, TRAINED: tl.constexpr, SHARED: tl.constexpr, WIDE: tl.constexpr, TW: tl.constexpr,
    BC: tl.constexpr,
):  # fmt: skip
    """Write y; a program goes down `strip` of its rows, each of which needs two new rows of pixels."""
    channel_blocks, across, strips = tl.cdiv(C, BC), tl.cdiv(W_out, TW), tl.cdiv(H_out, strip)
    index = tl.program_id(0)
    c = (index % channel_blocks) * BC + tl.arange(0, BC)
    index = index // channel_blocks
    w = (index % across) * TW + tl.arange(0, TW)
    index = index // across
    first, image = (index % strips) * strip, index // strips
    channel_real = c < C
    strength = tl.zeros([BC], dtype=tl.float32) + number
    if TRAINED:
        strength = tl.load(alpha + c, mask=channel_real, other=0.0)
    m = tl.load(contrast + c, mask=channel_real, other=0.0)
    factor = tl.load(scale + c, mask=channel_real, other=0.0)
    added = tl.load(shift + c, mask=channel_real, other=0.0)
    if WIDE:
        first, c = first.to(tl.int64), c.to(tl.int64)
    target = y + image_start(image, C, H_out, W_out)
    best = tl.full([TW, BC], float("-inf"), dtype=tl.float32)
    # `strip` is no constant, so that the loop is not unrolled: it would take ten seconds to compile.
    for i in range(2 * strip + 1):
        found = row_maximum(
            push, box, image, 2 * first - 1 + i, w, c, m, strength, factor, added, C, H, W, groups,
            pixel_step, channel_step, SIDE, SHARED,
        )  # fmt: skip
        best = larger(best, found)
        # Every second row ends the three of one output and begins those of the next.
        ends, h = i % 2 == 0, first + i // 2 - 1
        at = offsets(h, w, W_out, out_pixel_step)[:, None] + (c * out_channel_step)[None, :]
        mask = (ends & (i > 0) & (h < H_out) & (w < W_out))[:, None] & channel_real[None, :]
        tl.store(target + at, best.to(y.dtype.element_ty), mask=mask)
        best = tl.where(ends, found, best)
