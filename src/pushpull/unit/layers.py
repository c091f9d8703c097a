"""The push-pull convolution as a module."""

from __future__ import annotations

import math
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from pushpull.errors import InputError, choice
from pushpull.unit.arguments import (
    IntOrPair,
    check_avg_kernel_size,
    check_image,
    check_strength,
    is_integer,
    is_strength,
    pair,
    same_padding,
)
from pushpull.unit.functional import push_pull_conv2d
from pushpull.unit.strength import Inhibited

PADDING_MODES = ("zeros", "reflect", "replicate", "circular")


class PushPullConv2d(Inhibited):
    """A convolution whose response is inhibited by that of its opposite-contrast kernel.

    y = relu(conv(x, W)) - alpha * relu(avg_pool(conv(x, W~))) + b,  W~ = max(W) + min(W) - W;
    see `pushpull.functional.push_pull_conv2d`. It takes all that `nn.Conv2d` takes, but is no subclass of it:
    tools that fold a convolution with its batch norm by class would silently break the unit.

    Shapes: x (N, C_in, H, W) or (C_in, H, W), floating point, any range -> as `nn.Conv2d`.

    Args:
        in_channels, out_channels, kernel_size, stride, dilation, groups, bias, device, dtype: as `nn.Conv2d`.
        padding: as `nn.Conv2d`, or "tf_same": TensorFlow's padding to ceil(size / stride), which depends on
            the image's size.
        padding_mode: "zeros", "reflect", "replicate" or "circular", for push and pull alike.
        alpha: inhibition strength, finite and >= 0; where a trained one starts.
        trainable_alpha: train one strength a channel. The parameter is called `alpha`. What acts is its
            absolute value (`strength`), which cannot change sign; `pushpull.parameter_groups` keeps it out of
            weight decay.
        avg_kernel_size: side of the pull response's average pooling, 0 (none) or odd.
        weight_eps: None, or standardise each filter (mean 0, variance 1, this epsilon) before use.

    Attributes:
        alpha: the fixed strength, a float that may be set, or the parameter (C_out,) where it trains.
        strength: the strength in effect, never negative: alpha, or the parameter's absolute value.

    Raises:
        InputError: a ValueError that names the argument and what is allowed.

    Source: Bennabhaktula et al., ICPR 2024, section 3.
    Differs from the paper: b starts at 0, not in U(-1, 1); a trained alpha starts at the argument, not in
    U(0, 1).
    """

    weight: nn.Parameter
    bias: nn.Parameter | None

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: IntOrPair,
        stride: IntOrPair = 1,
        padding: IntOrPair | str = 0,
        dilation: IntOrPair = 1,
        groups: int = 1,
        bias: bool = True,
        padding_mode: str = "zeros",
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
        *,
        alpha: float = 1.0,
        trainable_alpha: bool = False,
        avg_kernel_size: int = 3,
        weight_eps: float | None = None,
    ) -> None:
        super().__init__()
        self.in_channels, self.out_channels, self.groups = _channels(in_channels, out_channels, groups)
        self.kernel_size = pair("kernel_size", kernel_size, 1)
        self.stride = pair("stride", stride, 1)
        self.dilation = pair("dilation", dilation, 1)
        self.padding = _padding(padding, self.stride)
        self.padding_mode = choice("padding_mode", padding_mode, PADDING_MODES)
        self.avg_kernel_size = check_avg_kernel_size(avg_kernel_size)
        self.weight_eps = _standardisation(weight_eps)

        placed: dict[str, Any] = {"device": device, "dtype": dtype}
        shape = (self.out_channels, self.in_channels // self.groups, *self.kernel_size)
        self.weight = nn.Parameter(torch.empty(shape, **placed))
        self.register_parameter(
            "bias", nn.Parameter(torch.empty(self.out_channels, **placed)) if bias else None
        )
        self._initial_alpha = check_strength(alpha)
        self.alpha = (
            nn.Parameter(torch.empty(self.out_channels, **placed)) if trainable_alpha else self._initial_alpha
        )
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Draw the weights from a normal distribution of variance 2 / fan-out; b is 0 and alpha its start."""
        nn.init.kaiming_normal_(self.weight, mode="fan_out", nonlinearity="relu")
        if self.bias is not None:
            nn.init.zeros_(self.bias)
        if self.trainable_alpha:
            self.set_strength(self._initial_alpha)

    def forward(self, x: Tensor) -> Tensor:
        """Return the inhibited response to x (N, C_in, H, W) or (C_in, H, W)."""
        x, padding = self.padded(x)
        return push_pull_conv2d(
            x,
            self.kernel(),
            self.bias,
            self.stride,
            padding,
            self.dilation,
            self.groups,
            alpha=self.strength,
            avg_kernel_size=self.avg_kernel_size,
        )

    def kernel(self) -> Tensor:
        """Return the weight as it is used: standardised where `weight_eps` says so."""
        if self.weight_eps is None:
            return self.weight
        variance, mean = torch.var_mean(self.weight, dim=(1, 2, 3), keepdim=True, correction=0)
        return (self.weight - mean) * torch.rsqrt(variance + self.weight_eps)

    def padded(self, x: Tensor) -> tuple[Tensor, tuple[int, int] | str]:
        """Pad x where the convolution cannot do it itself; return it with the padding that is left to do."""
        check_image(x)
        if self.padding == "tf_same":
            sides = _tf_same_padding(x.shape[-2:], self.kernel_size, self.stride, self.dilation)
        elif self.padding_mode == "zeros" or self.padding == "valid":
            return x, self.padding
        elif self.padding == "same":
            sides = same_padding(self.kernel_size, self.dilation)
        else:
            sides = [(p, p) for p in self.padding if isinstance(p, int)]
        (top, bottom), (left, right) = sides
        _check_reach(self.padding_mode, sides, x.shape[-2:])
        mode = "constant" if self.padding_mode == "zeros" else self.padding_mode
        return F.pad(x, (left, right, top, bottom), mode=mode), (0, 0)

    def extra_repr(self) -> str:
        """Describe the unit in `print(model)`."""
        parts = [f"{self.in_channels}, {self.out_channels}", f"kernel_size={self.kernel_size}"]
        plain = {
            "stride": (1, 1),
            "padding": (0, 0),
            "dilation": (1, 1),
            "groups": 1,
            "padding_mode": "zeros",
        }
        parts += [f"{k}={getattr(self, k)}" for k, default in plain.items() if getattr(self, k) != default]
        parts += ["bias=False"] if self.bias is None else []
        parts.append("trainable_alpha=True" if self.trainable_alpha else f"alpha={self.alpha}")
        parts.append(f"avg_kernel_size={self.avg_kernel_size}")
        parts += [f"weight_eps={self.weight_eps}"] if self.weight_eps is not None else []
        return ", ".join(parts)


def _channels(in_channels: int, out_channels: int, groups: int) -> tuple[int, int, int]:
    for what, value in (("in_channels", in_channels), ("out_channels", out_channels), ("groups", groups)):
        if not is_integer(value, 1):
            raise InputError(f"{what}={value!r} must be a positive integer")
    for what, value in (("in_channels", in_channels), ("out_channels", out_channels)):
        if value % groups:
            raise InputError(f"{what}={value} must be divisible by groups={groups}")
    return in_channels, out_channels, groups


def _standardisation(eps: float | None) -> float | None:
    if eps is not None and not (is_strength(eps) and 0 < eps < math.inf):
        raise InputError(f"weight_eps={eps!r} must be None or a positive number, such as 1e-6")
    return eps


def _padding(padding: IntOrPair | str, stride: tuple[int, int]) -> tuple[int, int] | str:
    if not isinstance(padding, str):
        return pair("padding", padding, 0)
    if padding == "same" and stride != (1, 1):
        raise InputError(f"padding='same' needs stride 1, not {stride}; give a number, or 'tf_same'")
    return choice("padding", padding, ("same", "valid", "tf_same"))


def _check_reach(mode: str, sides: list[tuple[int, int]], size: tuple[int, ...]) -> None:
    """A mirrored image is one pixel shorter than the image, a wrapped one as long: padding ends there."""
    reach = {"reflect": 1, "circular": 0}
    if mode in reach and any(max(side) > n - reach[mode] for side, n in zip(sides, size, strict=True)):
        raise InputError(
            f"padding {sides} with padding_mode={mode!r} is wider than the image {tuple(size)} can fill; "
            "give larger images or less padding"
        )


def _tf_same_padding(
    size: tuple[int, ...], kernel: tuple[int, int], stride: tuple[int, int], dilation: tuple[int, int]
) -> list[tuple[int, int]]:
    """(before, after) zeros, vertical then horizontal, so that the output is ceil(size / stride)."""
    sides = []
    for n, k, s, d in zip(size, kernel, stride, dilation, strict=True):
        span = (k - 1) * d + 1
        # A window as long as the step never needs less than nothing: without max(), sizes may stay symbols.
        total = span - s + -n % s if span >= s else max(span - s + -n % s, 0)
        sides.append((total // 2, total - total // 2))
    return sides
