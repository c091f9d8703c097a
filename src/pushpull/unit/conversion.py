"""One convolution becomes one push-pull unit that has its parameters."""

from __future__ import annotations

from torch import nn
from torch.nn.utils import parametrize

from pushpull.errors import InputError
from pushpull.unit.layers import PushPullConv2d

# Exact classes, as a subclass may compute anything; by name, so that timm need not be there.
_PADS_AS_TENSORFLOW = {"timm.layers.conv2d_same.Conv2dSame", "timm.layers.std_conv.StdConv2dSame"}
_STANDARDISES = {"timm.layers.std_conv.StdConv2d", "timm.layers.std_conv.StdConv2dSame"}
_HANDLED = {"torch.nn.modules.conv.Conv2d"} | _PADS_AS_TENSORFLOW | _STANDARDISES


def is_handled(module: nn.Module) -> bool:
    """Whether the class of `module` is one that `push_pull_twin` handles."""
    return _qualified_name(module) in _HANDLED


def push_pull_twin(
    conv: nn.Module, *, alpha: float = 1.0, trainable_alpha: bool = False, avg_kernel_size: int = 3
) -> PushPullConv2d:
    """Return the push-pull unit with the geometry, train flag and very parameters of `conv`; `conv` stays.

    Args:
        conv: an `nn.Conv2d` or one of timm's classes that `replace_first_conv` handles.
        alpha, trainable_alpha, avg_kernel_size: as in `replace_first_conv`.

    Raises:
        InputError: another class of convolution, or an option out of range.
    """
    check_replaceable(conv, type(conv).__name__)
    assert isinstance(conv, nn.Conv2d)
    kind = _qualified_name(conv)
    dynamic_padding = kind in _PADS_AS_TENSORFLOW and getattr(conv, "same_pad", True)
    # On the meta device nothing is allocated, and no random number drawn, for weights that are thrown away.
    twin = PushPullConv2d(
        conv.in_channels,
        conv.out_channels,
        conv.kernel_size,
        conv.stride,
        "tf_same" if dynamic_padding else conv.padding,
        conv.dilation,
        conv.groups,
        bias=conv.bias is not None,
        padding_mode=conv.padding_mode,
        device="meta",
        dtype=conv.weight.dtype,
        alpha=alpha,
        trainable_alpha=trainable_alpha,
        avg_kernel_size=avg_kernel_size,
        weight_eps=float(conv.eps) if kind in _STANDARDISES else None,  # type: ignore[arg-type]
    )
    twin.register_parameter("weight", conv._parameters["weight"])
    twin.register_parameter("bias", conv._parameters["bias"])
    if trainable_alpha:
        start = conv.weight.new_full((conv.out_channels,), float(alpha))
        twin.register_parameter("alpha", nn.Parameter(start))
    twin.training = conv.training
    return twin


def check_replaceable(unit: nn.Module, name: str) -> None:
    """Raise `InputError` unless `unit` is just a convolution of a handled class; messages call it `name`."""
    kind = type(unit).__name__
    if isinstance(unit, PushPullConv2d):
        raise InputError(f"{name!r} is a push-pull unit already")
    if parametrize.is_parametrized(unit):
        raise InputError(
            f"{name!r} has a parametrized weight ({kind}): call torch.nn.utils.parametrize."
            "remove_parametrizations on it first"
        )
    if not is_handled(unit):
        raise InputError(
            f"{name!r} is a {kind} ({_qualified_name(unit)}); push-pull can stand for Conv2d and timm's "
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


def _qualified_name(unit: nn.Module) -> str:
    return f"{type(unit).__module__}.{type(unit).__qualname__}"
