"""Launch the Triton kernels: layouts, tiles, grids and devices. Importing this imports triton."""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor

from pushpull.unit.backends.triton import inhibit, stem, tiles

# Elements of a program's tile: at 4 warps 16 a thread, few enough for the registers, and the tile's rim,
# read again by its neighbours, is about half of it.
_TILE = 2048
# Tiles of one backward program where there are many: its three sums a channel then are a hundredth of the
# response. Where there are few tiles, one a program keeps the GPU's multiprocessors busy.
_TILES, _MANY = 8, 2**14
_STRIP_ROWS = 4
_INT32 = 2**31


class Layout(NamedTuple):
    """A batch (N, C, H, W) whose images are dense and follow each other: contiguous or channels_last."""

    shape: Sequence[int]
    last: bool

    @classmethod
    def of(cls, t: Tensor) -> Layout:
        """The layout of a tensor that is one or the other; contiguous where it is both."""
        return cls(t.shape, not t.is_contiguous())

    @property
    def steps(self) -> tuple[int, int]:
        """Elements from pixel to pixel and from channel to channel."""
        _, c, h, w = self.shape
        return (c, 1) if self.last else (1, h * w)

    @property
    def wide(self) -> bool:
        """Whether offsets within an image, and a tile's width beyond it, exceed 32 bits."""
        _, c, h, w = self.shape
        return 2 * c * h * w >= _INT32

    def tiles(self) -> dict[str, int]:
        """Rows, columns and channels of a tile: powers of two, long where memory runs on."""
        _, c, h, w = self.shape
        channels = min(64 if self.last else 4, _power(c))
        pixels = _TILE // channels
        columns = min(max(8, 256 // channels) if self.last else 32, _power(w))
        return {"TH": min(pixels // columns, _power(h)), "TW": columns, "BC": channels}


def probe(device: torch.device) -> None:
    """Run a kernel on the device; raise what Triton raises."""
    target = torch.empty(1, device=device)
    _run(tiles.touch, 1, target, [target])


def inhibited(
    push: Tensor, contrast: Tensor, box: Tensor, alpha: Tensor | None, bias: Tensor | None, number: float,
    side: int, keep: bool, y: Tensor, signs: Tensor,
) -> None:  # fmt: skip
    """Fill y, and the signs where `keep`; all have the layout of `push`."""
    layout = Layout.of(push)
    n, c, h, w = layout.shape
    tile = layout.tiles()
    programs = n * _count(h, tile["TH"]) * _count(w, tile["TW"]) * _count(c, tile["BC"])
    kept = signs if keep else None
    tensors = [push, contrast, box, alpha, bias, y, kept, number, c, h, w, box.shape[1], *layout.steps]
    constants = {"BIASED": bias is not None, "KEEP": keep, "WIDE": layout.wide, **tile}
    _run(inhibit.forward, programs, push, tensors, **constants, **_unit(side, alpha, box))


def gradients(
    of_y: Tensor, signs: Tensor, push: Tensor | None, contrast: Tensor, box: Tensor, alpha: Tensor | None,
    number: float, side: int, of_push: Tensor,
) -> Tensor:  # fmt: skip
    """Fill the gradient of the response; return those of contrast, bias and alpha, (3, C)."""
    layout = Layout.of(signs)
    n, c, h, w = layout.shape
    tile = layout.tiles()
    count = n * _count(h, tile["TH"]) * _count(w, tile["TW"])
    together = _TILES if count * _count(c, tile["BC"]) >= _MANY else 1
    programs = _count(count, together)
    partial = torch.empty(3, programs, c, dtype=torch.float32, device=signs.device)
    tensors = [of_y, signs, push, contrast, box, alpha, of_push, partial]
    numbers = [number, count, c, h, w, box.shape[1], *layout.steps]
    constants = {"WIDE": layout.wide, "TILES": together, "num_warps": 8, **tile, **_unit(side, alpha, box)}
    _run(inhibit.backward, programs * _count(c, tile["BC"]), signs, tensors + numbers, **constants)
    if alpha is None:
        partial[2].zero_()
    return partial.sum(1)


def box_gradient(
    of_y: Tensor, signs: Tensor, contrast: Tensor, alpha: Tensor | None, number: float, of_box: Tensor
) -> None:
    """Fill the gradient of the box."""
    layout = Layout.of(signs)
    n, c, h, w = layout.shape
    groups = of_box.shape[1]
    tile = Layout((n, c // groups, h, w), layout.last).tiles()
    programs = n * groups * _count(h, tile["TH"]) * _count(w, tile["TW"])
    given = [of_y, signs, contrast, alpha, of_box, number, c, h, w, groups, *layout.steps]
    _run(inhibit.backward_box, programs, signs, given, TRAINED=alpha is not None, WIDE=layout.wide, **tile)


def box_mean(
    x: Tensor, kernel: Sequence[int], stride: Sequence[int], before: Sequence[int], dilation: Sequence[int],
    side: int, box: Tensor,
) -> None:  # fmt: skip
    """Fill the box (N, groups, H, W) of an image of any layout."""
    n, groups, h, w = box.shape
    _, channels, h_in, w_in = x.shape
    rows = torch.empty(n, groups, h, w_in, dtype=torch.float32, device=x.device)
    tile = Layout((n, 1, h, w_in), False).tiles()
    del tile["BC"]
    tiles_down = n * groups * _count(h, tile["TH"])
    vertical, horizontal = zip(kernel, stride, before, dilation, strict=True)
    given = [x, rows, channels // groups, h_in, w_in, h, groups, *x.stride(), *vertical]
    _run(tiles.sum_rows, tiles_down * _count(w_in, tile["TW"]), x, given, **tile)
    given = [rows, box, w_in, h, w, *horizontal]
    _run(tiles.sum_columns, tiles_down * _count(w, tile["TW"]), x, given, SIDE=side, **tile)


def pooled(
    push: Tensor, contrast: Tensor, box: Tensor, alpha: Tensor | None, scale: Tensor, shift: Tensor,
    number: float, side: int, y: Tensor,
) -> None:  # fmt: skip
    """Fill y (N, C, ceil(H / 2), ceil(W / 2)), which has the layout of `push`."""
    layout, out = Layout.of(push), Layout(y.shape, not push.is_contiguous())
    n, c, h, w = layout.shape
    *_, h_out, w_out = out.shape
    channels = min(64 if layout.last else 4, _power(c))
    columns = min(_TILE // 2 // channels, 64, _power(w_out))
    programs = n * _count(h_out, _STRIP_ROWS) * _count(w_out, columns) * _count(c, channels)
    tensors = [push, contrast, box, alpha, scale, shift, y]
    numbers = [number, c, h, w, h_out, w_out, box.shape[1], *layout.steps, *out.steps, _STRIP_ROWS]
    constants = {"WIDE": layout.wide, "TW": columns, "BC": channels, **_unit(side, alpha, box)}
    _run(stem.pooled, programs, push, tensors + numbers, **constants)


def _unit(side: int, alpha: Tensor | None, box: Tensor) -> dict[str, Any]:
    """The constants that say what kind of unit it is: its mean, its strength, its groups."""
    return {"SIDE": side, "TRAINED": alpha is not None, "SHARED": box.shape[1] == 1}


def _run(
    kernel: Any, programs: int, on: Tensor, arguments: list[Any], num_warps: int = 4, **sizes: Any
) -> None:
    """Run a kernel on the device of `on`, which need not be the current one."""
    if not programs:
        return
    guard = torch.cuda.device(on.device) if on.device.type == "cuda" else contextlib.nullcontext()
    with guard:
        kernel[(programs,)](*arguments, **sizes, num_warps=num_warps)


def _count(length: int, step: int) -> int:
    return -(-length // step)


def _power(number: int) -> int:
    """The least power of two that is no smaller."""
    return 1 << max(0, number - 1).bit_length()
