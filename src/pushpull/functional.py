"""Push-pull convolution as pure functions of tensors."""

from __future__ import annotations

from collections.abc import Sequence
from numbers import Integral, Real

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from pushpull.chunks import Steps
from pushpull.chunks_op import inhibited_in_chunks
from pushpull.errors import InputError
from pushpull.plain import inhibited, mean
from pushpull.routes import undisturbed

IntOrPair = int | Sequence[int]

# Sums of products of half-precision responses lose what makes them cancel, so those are done in float32.
_WIDER = {torch.float16: torch.float32, torch.bfloat16: torch.float32}


def pull_kernel(weight: Tensor) -> Tensor:
    """Return the opposite-contrast kernel of every filter.

    W~ = -W + (max(W) + min(W)), max and min over each output filter.

    Args:
        weight: (C_out, C_in/groups, kh, kw), floating point.

    Returns:
        Tensor of the same shape; gradients flow through max and min.

    Source: Bennabhaktula et al., ICPR 2024, section 3.
    """
    return _contrast(weight)[:, None, None, None] - weight


def push_pull_conv2d(
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,
    stride: IntOrPair = 1,
    padding: IntOrPair | str = 0,
    dilation: IntOrPair = 1,
    groups: int = 1,
    *,
    alpha: float | Tensor = 1.0,
    avg_kernel_size: int = 3,
) -> Tensor:
    """Convolve with push and pull kernels and subtract the rectified responses.

    P = conv(x, W);  Q = avg_pool(conv(x, W~));  y = relu(P) - alpha * relu(Q) + b,
    with W~ = m - W and m = max(W) + min(W) a filter. conv(x, W~) is computed as m * S - P, S the sum of x
    over the window: one convolution and a one-channel box filter, not two convolutions.

    Args:
        x: (N, C_in, H, W) or (C_in, H, W), floating point, any range.
        weight: (C_out, C_in/groups, kh, kw), the push kernels W.
        bias: (C_out,), added after the subtraction, or None.
        stride: step of the window in pixels, one number or (vertical, horizontal).
        padding: zeros on each side in pixels, one number or a pair, or "same" or "valid".
        dilation: spacing of the kernel's taps in pixels.
        groups: groups of channels that are convolved apart.
        alpha: inhibition strength: a number, a scalar tensor or (C_out,).
        avg_kernel_size: side of the average pooling (stride 1, mean over real pixels only) of the pull
            response, before its rectification; 0 or 1 for none, else odd.

    Returns:
        (N, C_out, H_out, W_out), with the shape, dtype and memory format that `conv2d` gives. In half
        precision and under autocast the convolution runs in half and what follows in float32.

    Raises:
        InputError: a ValueError; shapes that do not fit, an even or negative pooling size, a bad stride.

    Source: Bennabhaktula et al., ICPR 2024, section 3.
    """
    window = _check(x, weight, bias, stride, padding, dilation, groups, alpha, avg_kernel_size)
    if x.dim() == 3:
        y = push_pull_conv2d(
            x[None],
            weight,
            bias,
            stride,
            padding,
            dilation,
            groups,
            alpha=alpha,
            avg_kernel_size=avg_kernel_size,
        )
        return y[0]

    if x.device.type == "cpu" and undisturbed(x, weight, bias, alpha):
        return _in_chunks(x, weight, bias, window, groups, alpha, avg_kernel_size)
    push = F.conv2d(x, weight, None, window.stride, window.padding_argument, window.dilation, groups)
    wide = _WIDER.get(push.dtype, push.dtype)
    box = _box_mean(x.to(wide), window, groups, weight.shape[0], avg_kernel_size)
    strength = alpha.to(wide) if isinstance(alpha, Tensor) else alpha
    added = None if bias is None else bias.to(wide)
    y = inhibited(push.to(wide), _contrast(weight.to(wide)), box, strength, added, avg_kernel_size)
    return y.to(push.dtype)


def same_padding(kernel: tuple[int, int], dilation: tuple[int, int]) -> list[tuple[int, int]]:
    """Return (before, after) pixels, vertical then horizontal, that "same" adds: an odd one goes after."""
    total = [d * (k - 1) for k, d in zip(kernel, dilation, strict=True)]
    return [(t // 2, t - t // 2) for t in total]


def is_integer(value: object, minimum: int) -> bool:
    """Whether `value` is a whole number (True is not) of at least `minimum`."""
    return isinstance(value, Integral) and not isinstance(value, bool) and int(value) >= minimum


def is_strength(alpha: object) -> bool:
    """Whether `alpha` is a number; True is not: `alpha=True` is a slip for `trainable_alpha=True`."""
    return isinstance(alpha, Real) and not isinstance(alpha, bool)


def pair(what: str, value: IntOrPair, minimum: int) -> tuple[int, int]:
    """Return `value` as (vertical, horizontal) integers of at least `minimum`, or raise `InputError`."""
    numbers = tuple(value) if isinstance(value, Sequence) else (value, value)
    if len(numbers) == 1:
        numbers = (numbers[0], numbers[0])
    if len(numbers) != 2 or not all(is_integer(n, minimum) for n in numbers):
        raise InputError(f"{what}={value!r} must be an integer of at least {minimum} or a pair of them")
    return int(numbers[0]), int(numbers[1])


def check_avg_kernel_size(size: int) -> int:
    """Return a valid pooling size, or raise `InputError`: an even one would shift the pull response."""
    if not is_integer(size, 0) or (size > 0 and size % 2 == 0):
        raise InputError(f"avg_kernel_size={size!r} must be 0 (no pooling) or odd and positive: 1, 3, 5, ...")
    return int(size)


def check_image(x: Tensor) -> None:
    """Raise `InputError` unless x is a floating-point image or a batch of them."""
    if not isinstance(x, Tensor):
        raise InputError(f"x is a {type(x).__name__}; it must be a tensor (N, C_in, H, W) or (C_in, H, W)")
    if x.dim() not in (3, 4):
        raise InputError(f"x has shape {tuple(x.shape)}; it must be (N, C_in, H, W) or (C_in, H, W)")
    if not x.is_floating_point():
        raise InputError(f"x is {x.dtype}; it must be floating point: x.float() / 255 for 8-bit images")


class _Window:
    """Where the kernel is laid on the image: the checked stride, padding and dilation."""

    def __init__(
        self, kernel: tuple[int, int], stride: IntOrPair, padding: IntOrPair | str, dilation: IntOrPair
    ) -> None:
        self.kernel = kernel
        self.stride = pair("stride", stride, 1)
        self.dilation = pair("dilation", dilation, 1)
        self.padding_argument: tuple[int, int] | str
        if isinstance(padding, str):
            self.padding_argument = padding
            self.sides = self._named(padding)
        else:
            self.padding_argument = pair("padding", padding, 0)
            self.sides = [(p, p) for p in self.padding_argument]

    def _named(self, padding: str) -> list[tuple[int, int]]:
        if padding == "valid":
            return [(0, 0), (0, 0)]
        if padding != "same":
            raise InputError(f"padding={padding!r} must be an integer, a pair, 'same' or 'valid'")
        if self.stride != (1, 1):
            raise InputError(
                f"padding='same' needs stride 1, not {self.stride}; give the padding as a number"
            )
        return same_padding(self.kernel, self.dilation)

    def output_size(self, size: Sequence[int]) -> list[int]:
        """Return the height and width of the response to an image of this height and width."""
        spans = [d * (k - 1) + 1 for k, d in zip(self.kernel, self.dilation, strict=True)]
        padded = [n + sum(side) for n, side in zip(size, self.sides, strict=True)]
        return [(p - span) // s + 1 for p, span, s in zip(padded, spans, self.stride, strict=True)]


def _contrast(weight: Float[Tensor, "o i kh kw"]) -> Float[Tensor, " o"]:
    """m = max(W) + min(W) of each filter: what a pull kernel adds to -W."""
    return weight.amax(dim=(1, 2, 3)) + weight.amin(dim=(1, 2, 3))


def _in_chunks(
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    window: _Window,
    groups: int,
    alpha: float | Tensor,
    avg_kernel_size: int,
) -> Tensor:
    """The unit on the CPU, some images at a time; autocast and uneven padding are seen to here."""
    convolved, kernels = _as_autocast(x), _as_autocast(weight)
    wide = _WIDER.get(convolved.dtype, convolved.dtype)
    (top, bottom), (left, right) = window.sides
    if top == bottom and left == right:
        padding = (top, left)
    else:
        padding = (0, 0)
        convolved = F.pad(convolved, (left, right, top, bottom))
    steps = Steps(window.stride, padding, window.dilation, groups, avg_kernel_size, wide)
    box = _box_mean(x.to(wide), window, groups, weight.shape[0], avg_kernel_size)
    strength = alpha.to(wide).expand(weight.shape[0]) if isinstance(alpha, Tensor) else alpha
    added = None if bias is None else bias.to(wide)
    return inhibited_in_chunks(convolved, kernels, _contrast(weight.to(wide)), box, strength, added, steps)


def _as_autocast(t: Tensor) -> Tensor:
    """The tensor as a convolution under autocast takes it."""
    if torch.is_autocast_enabled("cpu") and t.dtype != torch.float64:
        return t.to(torch.get_autocast_dtype("cpu"))
    return t


def _box_mean(x: Tensor, window: _Window, groups: int, out_channels: int, avg_kernel_size: int) -> Tensor:
    """The box sum, averaged as the pull response is: (N, 1, H, W), or (N, C_out, H, W) for several groups."""
    box = mean(_box_sum(x, window, groups), avg_kernel_size)
    return box if groups == 1 else box.repeat_interleave(out_channels // groups, dim=1)


def _box_sum(x: Tensor, window: _Window, groups: int) -> Tensor:
    """Sum of x over the window and a group's channels: (N, groups, H, W).

    Windows of a strided view, one side after the other, instead of a convolution with ones: autocast cannot
    round it, its cost is kh + kw additions a pixel of one channel, and its size is the convolution's by the
    same formula, so that torch.export proves them equal for every height, width and stride.
    """
    total = x.sum(1, keepdim=True) if groups == 1 else x.unflatten(1, (groups, -1)).sum(2)
    (top, bottom), (left, right) = window.sides
    total = F.pad(total, (left, right, top, bottom))
    (kh, kw), (dh, dw), (sh, sw) = window.kernel, window.dilation, window.stride
    total = total.unfold(-2, dh * (kh - 1) + 1, sh)[..., ::dh].sum(-1)
    total = total.unfold(-1, dw * (kw - 1) + 1, sw)[..., ::dw].sum(-1)
    return total


def _check(
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    stride: IntOrPair,
    padding: IntOrPair | str,
    dilation: IntOrPair,
    groups: int,
    alpha: float | Tensor,
    avg_kernel_size: int,
) -> _Window:
    """Raise `InputError` for arguments that do not fit together; return the window they describe."""
    check_image(x)
    _check_parameters(weight, bias, alpha)
    out_channels, channels, *kernel = weight.shape
    if not is_integer(groups, 1) or out_channels % groups:
        raise InputError(f"groups={groups!r} must be positive and divide the {out_channels} output channels")
    if x.shape[-3] != channels * groups:
        raise InputError(
            f"x has {x.shape[-3]} channels; weight {tuple(weight.shape)} with groups={groups} "
            f"needs {channels * groups}"
        )
    check_avg_kernel_size(avg_kernel_size)
    window = _Window((kernel[0], kernel[1]), stride, padding, dilation)
    if min(window.output_size(x.shape[-2:])) < 1:
        raise InputError(
            f"the {kernel[0]}x{kernel[1]} kernel with dilation {window.dilation} is larger than the image "
            f"{tuple(x.shape[-2:])} with padding {padding!r}; give larger images or more padding"
        )
    return window


def _check_parameters(weight: Tensor, bias: Tensor | None, alpha: float | Tensor) -> None:
    if not isinstance(weight, Tensor) or weight.dim() != 4 or 0 in weight.shape:
        found = f"has shape {tuple(weight.shape)}" if isinstance(weight, Tensor) else "is no tensor"
        raise InputError(f"weight {found}; it must be (C_out, C_in/groups, kh, kw)")
    filters = weight.shape[0]
    if bias is not None and not (isinstance(bias, Tensor) and tuple(bias.shape) == (filters,)):
        found = f"has shape {tuple(bias.shape)}" if isinstance(bias, Tensor) else f"is {bias!r}"
        raise InputError(f"bias {found}; it must be a tensor ({filters},) or None")
    if isinstance(alpha, Tensor):
        if tuple(alpha.shape) not in [(filters,), (1,), ()]:
            raise InputError(f"alpha has shape {tuple(alpha.shape)}; it must be ({filters},) or a scalar")
    elif not is_strength(alpha):
        raise InputError(f"alpha={alpha!r} must be a number or a tensor ({filters},)")
