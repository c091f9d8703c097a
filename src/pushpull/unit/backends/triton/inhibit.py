"""Triton kernels for what follows the convolution, forward and backward, each one pass over the response.

y = relu(P) - alpha * relu(m * B - mean(P)) + b. A pixel's signs, P > 0 and Q > 0, go into one byte for the
gradients: half of what keeping P in half precision would take, and no window of a window to compute again.
"""

from __future__ import annotations

import triton
import triton.language as tl

from pushpull.unit.backends.triton.tiles import box_at, image_start, offsets, place, relu, share, window_sum

# Bits of the byte of signs; Triton reads globals that are constant expressions only.
PUSH = tl.constexpr(1)
PULL = tl.constexpr(2)


@triton.jit
def forward(
    push, contrast, box, alpha, bias, y, signs, strength,
    C, H, W, groups, pixel_step, channel_step,
    SIDE: tl.constexpr, TRAINED: tl.constexpr, BIASED: tl.constexpr, KEEP: tl.constexpr,
    SHARED: tl.constexpr, WIDE: tl.constexpr, TH: tl.constexpr, TW: tl.constexpr, BC: tl.constexpr,
):  # fmt: skip
    """Write y and, where KEEP, the signs. WIDE: offsets within an image need 64 bits."""
    image, h, w, c = place(tl.program_id(0), C, H, W, TH, TW, BC)
    if WIDE:
        h, c = h.to(tl.int64), c.to(tl.int64)
    real, channel_real = (h < H) & (w < W), c < C
    mask = real[:, None] & channel_real[None, :]
    start, channels = image_start(image, C, H, W), c * channel_step
    at = offsets(h, w, W, pixel_step)[:, None] + channels[None, :]
    response = tl.load(push + start + at, mask=mask, other=0.0).to(tl.float32)
    total = window_sum(push + start, h, w, channels, channel_real, H, W, pixel_step, SIDE)
    sums = box_at(box, image, h, w, c, real, mask, C, H, W, groups, SHARED)
    m = tl.load(contrast + c, mask=channel_real, other=0.0)
    pull = m[None, :] * sums - total * share(h, w, H, W, SIDE)[:, None]
    inhibition = relu(pull)
    if TRAINED:
        inhibition *= tl.load(alpha + c, mask=channel_real, other=0.0)[None, :]
    else:
        inhibition *= strength
    result = relu(response) - inhibition
    if BIASED:
        result += tl.load(bias + c, mask=channel_real, other=0.0)[None, :]
    tl.store(y + start + at, result.to(y.dtype.element_ty), mask=mask)
    if KEEP:
        # Not "> 0": the gradient passes at NaN, as in PyTorch.
        byte = tl.where(response <= 0, 0, PUSH) + tl.where(pull <= 0, 0, PULL)
        tl.store(signs + start + at, byte.to(tl.uint8), mask=mask)


@triton.jit
def pull_gradient_sum(of_y, signs, h, w, channels, channel_real, H, W, pixel_step, SIDE: tl.constexpr):
    """(pixels, channels): the sum over each window of the gradient where Q > 0, over its pixels' counts."""
    total = tl.zeros([h.shape[0], channels.shape[0]], dtype=tl.float32)
    for i in range(SIDE):
        row = h + (i - SIDE // 2)
        for j in tl.static_range(SIDE):
            column = w + (j - SIDE // 2)
            real = (row >= 0) & (row < H) & (column >= 0) & (column < W)
            at = offsets(row, column, W, pixel_step)[:, None] + channels[None, :]
            mask = real[:, None] & channel_real[None, :]
            value = tl.load(of_y + at, mask=mask, other=0.0).to(tl.float32)
            open_ = (tl.load(signs + at, mask=mask, other=0) & PULL) != 0
            total += tl.where(open_, value, 0.0) * share(row, column, H, W, SIDE)[:, None]
    return total


@triton.jit
def backward(
    of_y, signs, push, contrast, box, alpha, of_push, partial, strength, tiles,
    C, H, W, groups, pixel_step, channel_step,
    SIDE: tl.constexpr, TRAINED: tl.constexpr, SHARED: tl.constexpr, WIDE: tl.constexpr, TH: tl.constexpr,
    TW: tl.constexpr, BC: tl.constexpr, TILES: tl.constexpr,
):  # fmt: skip
    """Write the gradient of P, and this program's sums for m, b and alpha: `partial` (3, programs, C).

    A program does TILES tiles of the same channels, one after the other, and adds them up pixel by pixel; the
    sums of the programs are added up afterwards, in an order that does not depend on which was done first.
    """
    channel_blocks = tl.cdiv(C, BC)
    block = tl.program_id(0) // channel_blocks
    channel_block = tl.program_id(0) % channel_blocks
    c = channel_block * BC + tl.arange(0, BC)
    channel_real = c < C
    scale = tl.zeros([BC], dtype=tl.float32) + strength
    if TRAINED:
        scale = tl.load(alpha + c, mask=channel_real, other=0.0)
    m = tl.load(contrast + c, mask=channel_real, other=0.0)
    of_contrast = tl.zeros([TH * TW, BC], dtype=tl.float32)
    of_bias = tl.zeros([TH * TW, BC], dtype=tl.float32)
    of_alpha = tl.zeros([TH * TW, BC], dtype=tl.float32)
    for i in range(TILES):
        tile = block * TILES + i
        image, h, w, channel = place(tile * channel_blocks + channel_block, C, H, W, TH, TW, BC)
        if WIDE:
            h, channel = h.to(tl.int64), channel.to(tl.int64)
        real = (h < H) & (w < W) & (tile < tiles)
        mask = real[:, None] & channel_real[None, :]
        # The last program's tiles may lie behind the batch, where nothing may be read.
        visible = channel_real & (tile < tiles)
        start, channels = image_start(image, C, H, W), channel * channel_step
        at = offsets(h, w, W, pixel_step)[:, None] + channels[None, :]
        value = tl.load(of_y + start + at, mask=mask, other=0.0).to(tl.float32)
        byte = tl.load(signs + start + at, mask=mask, other=0)
        total = pull_gradient_sum(
            of_y + start, signs + start, h, w, channels, visible, H, W, pixel_step, SIDE
        )
        result = tl.where((byte & PUSH) != 0, value, 0.0) + scale[None, :] * total
        tl.store(of_push + start + at, result.to(of_push.dtype.element_ty), mask=mask)
        sums = box_at(box, image, h, w, channel, real, mask, C, H, W, groups, SHARED)
        through = tl.where((byte & PULL) != 0, value, 0.0)
        of_bias += value
        of_contrast += through * sums
        if TRAINED:
            mean = window_sum(push + start, h, w, channels, visible, H, W, pixel_step, SIDE)
            mean *= share(h, w, H, W, SIDE)[:, None]
            of_alpha += tl.where(mask, through * (m[None, :] * sums - mean), 0.0)
    programs = tl.num_programs(0) // channel_blocks
    row = partial + block.to(tl.int64) * C + c
    following = programs.to(tl.int64) * C
    tl.store(row, -scale * tl.sum(of_contrast, 0), mask=channel_real)
    tl.store(row + following, tl.sum(of_bias, 0), mask=channel_real)
    if TRAINED:
        tl.store(row + 2 * following, -tl.sum(of_alpha, 0), mask=channel_real)


@triton.jit
def backward_box(
    of_y, signs, contrast, alpha, of_box, strength,
    C, H, W, groups, pixel_step, channel_step,
    TRAINED: tl.constexpr, WIDE: tl.constexpr, TH: tl.constexpr, TW: tl.constexpr, BC: tl.constexpr,
):  # fmt: skip
    """Write the gradient of the box: less the sum over a group's channels of alpha m gradient(Q > 0)."""
    plane, h, w, _ = place(tl.program_id(0), 1, H, W, TH, TW, 1)
    if WIDE:
        h = h.to(tl.int64)
    image, group, members = plane // groups, plane % groups, C // groups
    real = (h < H) & (w < W)
    start = image_start(image, C, H, W)
    total = tl.zeros([TH * TW], dtype=tl.float32)
    for first in range(0, members, BC):
        member = first + tl.arange(0, BC)
        inside = member < members
        c = group * members + member
        if WIDE:
            c = c.to(tl.int64)
        mask = real[:, None] & inside[None, :]
        at = start + offsets(h, w, W, pixel_step)[:, None] + (c * channel_step)[None, :]
        value = tl.load(of_y + at, mask=mask, other=0.0).to(tl.float32)
        open_ = (tl.load(signs + at, mask=mask, other=0) & PULL) != 0
        factor = tl.load(contrast + c, mask=inside, other=0.0)
        if TRAINED:
            factor *= tl.load(alpha + c, mask=inside, other=0.0)
        else:
            factor *= strength
        total += tl.sum(tl.where(open_, value, 0.0) * factor[None, :], 1)
    at = image_start(plane, 1, H, W) + h * W + w
    tl.store(of_box + at, -total, mask=real)
