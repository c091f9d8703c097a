"""The push-pull convolution as a module."""

from __future__ import annotations

import math
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.fx import Proxy
from torch.nn.utils import parametrize

from pushpull.errors import InputError, choice
from pushpull.unit.backends.plain import Window, per_filter
from pushpull.unit.functional import (
    IntOrPair,
    check_image,
    check_pull,
    check_strength,
    evenly_padded,
    is_integer,
    is_number,
    padded,
    pair,
    respond,
    same_padding,
)

__all__ = ["PADDING_MODES", "Inhibited", "PushPullConv2d"]

PADDING_MODES = ("zeros", "reflect", "replicate", "circular")

# Exact classes, as a subclass may compute anything; by name, so that timm need not be there.
_PADS_AS_TENSORFLOW = {"timm.layers.conv2d_same.Conv2dSame", "timm.layers.std_conv.StdConv2dSame"}
_STANDARDISES = {"timm.layers.std_conv.StdConv2d", "timm.layers.std_conv.StdConv2dSame"}
HANDLED = {"torch.nn.modules.conv.Conv2d"} | _PADS_AS_TENSORFLOW | _STANDARDISES


class Inhibited(nn.Module):
    """What layers with an inhibition strength share; abstract.

    `create_model(..., alpha=...)` sets the strength of these layers, and `parameter_groups` keeps trained
    ones out of weight decay.

    Attributes:
        alpha: the fixed strength, a float that may be set, or the parameter (C_out,) where it trains.
    """

    alpha: float | nn.Parameter

    @property
    def trainable_alpha(self) -> bool:
        """Whether the inhibition strength is a parameter, or what a tool (pruning, FSDP) makes of one."""
        return isinstance(getattr(self, "alpha", None), Tensor)

    @property
    def strength(self) -> float | Tensor:
        """The strength in effect, never negative: a float, or a tensor (C_out,) where it trains."""
        if not isinstance(self.alpha, Tensor):
            return self.alpha
        # |alpha|, with slope 1 at 0, where abs() has none and would never leave.
        return torch.where(self.alpha < 0, -self.alpha, self.alpha)

    def set_strength(self, alpha: float) -> None:
        """Set the strength in place: the fixed one, or every channel of a trained one.

        Args:
            alpha: a finite number >= 0.

        Raises:
            InputError: any other value.
        """
        if self.trainable_alpha:
            nn.init.constant_(self.alpha, check_strength(alpha))  # type: ignore[arg-type]
        else:
            self.alpha = alpha

    def __setattr__(self, name: str, value: Any) -> None:
        """Check a strength that is set; all else is as in `nn.Module`."""
        if name == "alpha" and not isinstance(value, nn.Parameter):
            fixed, trained = isinstance(vars(self).get(name), float), self._parameters.get(name) is not None
            # Tools that took the parameter away (pruning, FSDP) put a tensor in its place.
            if fixed or trained or not isinstance(value, Tensor):
                value = check_strength(value)
            if trained:
                raise InputError(
                    f"alpha={value} cannot be set: it is a trained parameter; call set_strength instead"
                )
        super().__setattr__(name, value)


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
        padding_mode: "zeros", "reflect", "replicate" or "circular", for both push and pull.
        alpha: inhibition strength, finite and >= 0; where a trained one starts.
        trainable_alpha: train one strength per channel. The parameter is called `alpha`. What acts is its
            absolute value (`strength`), which cannot change sign; `pushpull.parameter_groups` keeps it out of
            weight decay.
        avg_kernel_size: side of the pull response's average pooling, 0 (none) or odd.
        offset: of the pull kernel: "extrema" (the paper's), "mean", "zero" or a share t, as in
            `push_pull_conv2d`.
        weight_eps: None, or standardise each filter (mean 0, variance 1, this epsilon) before use.

    Attributes:
        alpha: the fixed strength, a float that may be set, or the parameter (C_out,) where it trains.
        strength: the strength in effect, never negative: alpha, or the parameter's absolute value.
        gate: None, or a buffer g from 0 (plain convolution) to 1 (the unit), see `pushpull.set_gate`.

    Raises:
        InputError: a ValueError that names the argument and what is allowed.

    Source: Bennabhaktula et al., ICPR 2024, section 3.
    Differs from the paper: b starts at 0, not in U(-1, 1); a trained alpha starts at the argument, not in
    U(0, 1).

    >>> unit = PushPullConv2d(3, 64, kernel_size=7, stride=2, padding=3, alpha=0.5)
    >>> unit(torch.rand(1, 3, 224, 224)).shape
    torch.Size([1, 64, 112, 112])
    """

    weight: nn.Parameter
    bias: nn.Parameter | None
    gate: Tensor | None
    padding: tuple[int, int] | str

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
        offset: str | float = "extrema",
        weight_eps: float | None = None,
    ) -> None:
        super().__init__()
        channels = {"in_channels": in_channels, "out_channels": out_channels, "groups": groups}
        for what, value in channels.items():
            if not is_integer(value, 1):
                raise InputError(f"{what}={value!r} must be a positive integer")
            if is_integer(groups, 1) and value % groups:
                raise InputError(f"{what}={value} must be divisible by groups={groups}")
        self.in_channels, self.out_channels, self.groups = in_channels, out_channels, groups
        self.kernel_size = pair("kernel_size", kernel_size, 1)
        self.stride, self.dilation = pair("stride", stride, 1), pair("dilation", dilation, 1)
        self.padding = (
            _named(padding, self.stride) if isinstance(padding, str) else pair("padding", padding, 0)
        )
        if padding_mode not in PADDING_MODES:
            choice("padding_mode", padding_mode, PADDING_MODES)
        self.padding_mode = padding_mode
        self.avg_kernel_size, self.offset = check_pull(avg_kernel_size, offset)
        if weight_eps is not None and not (is_number(weight_eps) and 0 < weight_eps < math.inf):
            raise InputError(f"weight_eps={weight_eps!r} must be None or a positive number, such as 1e-6")
        self.weight_eps = weight_eps

        placed: dict[str, Any] = {"device": device, "dtype": dtype}
        shape = (out_channels, in_channels // groups, *self.kernel_size)
        self.weight = nn.Parameter(torch.empty(shape, **placed))
        self.register_parameter("bias", nn.Parameter(torch.empty(out_channels, **placed)) if bias else None)
        self.register_buffer("gate", None)
        self._initial_alpha = check_strength(alpha)
        self.alpha = (
            nn.Parameter(torch.empty(out_channels, **placed)) if trainable_alpha else self._initial_alpha
        )
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Draw the weights from a normal distribution of variance 2 / fan-out; b is 0 and alpha its start."""
        nn.init.kaiming_normal_(self.weight, mode="fan_out", nonlinearity="relu")
        if self.bias is not None:
            nn.init.zeros_(self.bias)
        if isinstance(self.alpha, Tensor):
            nn.init.constant_(self.alpha, self._initial_alpha)

    def forward(self, x: Tensor) -> Tensor:
        """Return the inhibited response, (N, C_out, H_out, W_out), to x (N, C_in, H, W); or without the N."""
        if isinstance(x, Proxy):  # tools of torch.fx see one step, as with PyTorch's own layers
            return x.tracer.create_proxy("call_module", x.tracer.path_of_module(self), (x,), {})
        x, weight, window = self.prepared(x)
        if self.gate is None:
            return respond(x, weight, self.bias, self.strength, window)
        y = respond(x, weight, None, self.strength, window)
        y = torch.lerp(window.convolve(x, weight), y, self.gate.to(y.dtype))
        return y if self.bias is None else y + per_filter(self.bias.to(y.dtype))

    def _load_from_state_dict(self, state_dict: dict[str, Any], prefix: str, *args: Any) -> None:
        """A network that was saved half-way brings its gate; one at 1 needs none."""
        saved = state_dict.get(f"{prefix}gate") if self.gate is None else None
        if saved is not None and not saved.is_meta and float(saved) == 1:
            del state_dict[f"{prefix}gate"]
        elif saved is not None:
            self.gate = self.weight.detach().new_ones(())
        super()._load_from_state_dict(state_dict, prefix, *args)

    @property
    def used_weight(self) -> Tensor:
        """The push kernels as they act, (C_out, C_in/groups, kh, kw): standardised with a `weight_eps`."""
        weight: Tensor = self.weight
        if self.weight_eps is None:
            return weight
        # As timm's StdConv2d does it, so that a gate at 0 gives its very response.
        rows = weight.reshape(1, len(weight), -1)
        rows = F.batch_norm(rows, None, None, training=True, momentum=0.0, eps=self.weight_eps)
        return rows.reshape_as(weight)

    def prepared(self, x: Tensor) -> tuple[Tensor, Tensor, Window]:
        """Return x, padded if the convolution cannot pad it itself, the weight that is used, the window."""
        padding = self.padding
        if isinstance(padding, str) or self.padding_mode != "zeros":
            x, padding = self._padded(x)
        sizes = (self.dilation, self.groups, self.avg_kernel_size, self.offset)
        weight = self.weight if self.weight_eps is None else self.used_weight
        return x, weight, Window(self.kernel_size, self.stride, padding, *sizes)

    def _padded(self, x: Tensor) -> tuple[Tensor, tuple[int, int]]:
        """Pad x; return it with the padding that is left to the convolution."""
        check_image(x)
        padding, size = self.padding, x.shape[-2:]
        if padding == "valid":
            return x, (0, 0)
        if padding == "tf_same":
            sides = _tf_same_padding(size, self.kernel_size, self.stride, self.dilation)
        elif padding == "same":
            sides = same_padding(self.kernel_size, self.dilation)
        else:
            sides = [(p, p) for p in padding if isinstance(p, int)]
        if self.padding_mode == "zeros":
            return (padded(x, sides), (0, 0)) if padding == "tf_same" else evenly_padded(x, sides)
        # A mirrored image is one pixel shorter than the image, a wrapped one as long: padding ends there.
        reach = {"reflect": 1, "circular": 0}.get(self.padding_mode)
        if reach is not None and any(max(side) > n - reach for side, n in zip(sides, size, strict=True)):
            raise InputError(
                f"padding {sides} with padding_mode={self.padding_mode!r} is wider than the image "
                f"{tuple(size)} can fill; give larger images or less padding"
            )
        return padded(x, sides, self.padding_mode), (0, 0)

    def extra_repr(self) -> str:
        """Describe the unit in `print(model)`."""
        parts = [f"{self.in_channels}, {self.out_channels}", f"kernel_size={self.kernel_size}"]
        pairs = {"stride": (1, 1), "padding": (0, 0), "dilation": (1, 1)}
        plain = {**pairs, "groups": 1, "padding_mode": "zeros"}
        parts += [f"{k}={getattr(self, k)}" for k, default in plain.items() if getattr(self, k) != default]
        parts += ["bias=False"] if self.bias is None else []
        parts.append("trainable_alpha=True" if self.trainable_alpha else f"alpha={self.alpha}")
        parts.append(f"avg_kernel_size={self.avg_kernel_size}")
        parts += [f"offset={self.offset}"] if self.offset != "extrema" else []
        parts += [f"weight_eps={self.weight_eps}"] if self.weight_eps is not None else []
        parts += ["gated"] if self.gate is not None else []
        return ", ".join(parts)


def push_pull_twin(
    conv: nn.Module,
    *,
    alpha: float = 1.0,
    trainable_alpha: bool = False,
    avg_kernel_size: int = 3,
    offset: str | float = "extrema",
) -> PushPullConv2d:
    """Return the push-pull unit with the geometry, train flag and very parameters of `conv`; `conv` stays.

    Args:
        conv: an `nn.Conv2d` or one of timm's classes that `replace_first_conv` handles.
        alpha, trainable_alpha, avg_kernel_size, offset: as in `PushPullConv2d`.

    Raises:
        InputError: another class of convolution, or an option out of range.
    """
    kind = check_replaceable(conv, type(conv).__name__)
    assert isinstance(conv, nn.Conv2d)
    # On the meta device nothing is allocated, and no random number drawn, for weights that are thrown away.
    twin = PushPullConv2d(
        *(conv.in_channels, conv.out_channels, conv.kernel_size, conv.stride),
        "tf_same" if kind in _PADS_AS_TENSORFLOW and getattr(conv, "same_pad", True) else conv.padding,
        *(conv.dilation, conv.groups, conv.bias is not None, conv.padding_mode),
        *(torch.device("meta"), conv.weight.dtype),
        alpha=alpha,
        trainable_alpha=trainable_alpha,
        avg_kernel_size=avg_kernel_size,
        offset=offset,
        weight_eps=float(conv.eps) if kind in _STANDARDISES else None,  # type: ignore[arg-type]
    )
    for name in ("weight", "bias"):
        twin.register_parameter(name, conv._parameters[name])
    if trainable_alpha:
        start = conv.weight.new_full((conv.out_channels,), float(alpha))
        twin.register_parameter("alpha", nn.Parameter(start))
    twin.training = conv.training
    return twin


def check_replaceable(unit: nn.Module, name: str) -> str:
    """Raise `InputError` unless `unit` is just a convolution of a handled class; return the class by name.

    Messages call the convolution `name`.
    """
    kind = f"{type(unit).__module__}.{type(unit).__qualname__}"
    if isinstance(unit, PushPullConv2d):
        raise InputError(f"{name!r} is a push-pull unit already")
    if parametrize.is_parametrized(unit):
        raise InputError(
            f"{name!r} has a parametrized weight ({type(unit).__name__}): call torch.nn.utils.parametrize."
            "remove_parametrizations on it first"
        )
    if kind not in HANDLED:
        raise InputError(
            f"{name!r} is a {type(unit).__name__} ({kind}); push-pull can replace Conv2d and timm's "
            "Conv2dSame, StdConv2d and StdConv2dSame only: put one of these in its place, or name another"
        )
    extra = [*(set(unit._parameters) ^ {"weight", "bias"}), *unit._buffers, *unit._modules]
    if extra:
        raise InputError(
            f"{name!r} has {', '.join(sorted(extra))} beside or instead of weight and bias (weight_norm, "
            "spectral_norm, pruning?): remove that first (torch.nn.utils.remove_weight_norm, prune.remove)"
        )
    if "forward" in vars(unit):
        raise InputError(f"{name!r} has a forward method of its own, set on the instance: remove that first")
    dtype = unit._parameters["weight"].dtype  # type: ignore[union-attr]
    if not dtype.is_floating_point:
        raise InputError(f"{name!r} has weights of type {dtype}; the unit rectifies, so they must be real")
    return kind


def _named(padding: str, stride: tuple[int, int]) -> str:
    if padding == "same" and stride != (1, 1):
        raise InputError(f"padding='same' needs stride 1, not {stride}; give a number, or 'tf_same'")
    return choice("padding", padding, ("same", "valid", "tf_same"))


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
