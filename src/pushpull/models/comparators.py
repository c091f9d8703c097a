"""What the unit is compared with: other push-pull layers, blurs where pixels are dropped."""

from __future__ import annotations

from itertools import pairwise
from typing import Any, TypeVar

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn.modules.conv import _ConvNd

from pushpull.errors import InputError
from pushpull.unit.functional import IntOrPair, pair
from pushpull.unit.layers import Inhibited

Conv = TypeVar("Conv", bound=_ConvNd)


def taking_over(kind: type[Conv], conv: nn.Conv2d, **options: Any) -> Conv:
    """Return a `kind` with the geometry, train flag and very parameters of `conv`, which stays.

    Raises:
        InputError: `conv` is of a subclass or groups, dilates or pads in a way that these layers do not know.
    """
    zeros = conv.padding_mode == "zeros" and not isinstance(conv.padding, str)
    if type(conv) is not nn.Conv2d or conv.groups != 1 or conv.dilation != (1, 1) or not zeros:
        raise InputError(f"{conv} cannot become a {kind.__name__}: give a Conv2d without groups or dilation")
    geometry: Any = (conv.in_channels, conv.out_channels, conv.kernel_size, conv.stride, conv.padding)
    placed: dict[str, Any] = {"device": "meta", "dtype": conv.weight.dtype}
    make: Any = kind
    twin: Conv = make(*geometry, bias=conv.bias is not None, **placed, **options)
    for name in ("weight", "bias"):
        twin.register_parameter(name, conv._parameters[name])
    # What the layer has of its own is not on the meta device, where the convolution's copy never was needed.
    return twin.train(conv.training).to(conv.weight.device)


class InhibitedConv2d(Inhibited, _ConvNd):
    """A convolution with an inhibition strength; abstract: `forward` is its subclasses'.

    It is drawn, printed and stored as an `nn.Conv2d`, but is no subclass of it: tools that fold a convolution
    with its batch norm by class would silently break it, since its response is not linear in the kernel.

    Args:
        in_channels, out_channels, kernel_size, stride, padding, bias, device, dtype: as `nn.Conv2d`.
        alpha: finite and >= 0; where a trained one starts.
        trainable_alpha: train one strength per channel, called `alpha`; what acts is its absolute value.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: IntOrPair,
        stride: IntOrPair = 1,
        padding: IntOrPair = 0,
        bias: bool = True,
        *,
        alpha: float = 1.0,
        trainable_alpha: bool = False,
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        sizes = (pair("kernel_size", kernel_size, 1), pair("stride", stride, 1), pair("padding", padding, 0))
        # Then dilation, transposed, output_padding, groups.
        fixed = ((1, 1), False, (0, 0), 1)
        given: list[Any] = [in_channels, out_channels, *sizes, *fixed, bias, "zeros", device, dtype]
        super().__init__(*given)
        if trainable_alpha:
            self.alpha = nn.Parameter(torch.empty(self.out_channels, dtype=self.weight.dtype))
        self.set_strength(alpha)

    @property
    def strength(self) -> float | Tensor:
        """The strength in effect, never negative: a float, or a tensor (C_out, 1, 1) where it trains."""
        strength = super().strength
        return strength[:, None, None] if isinstance(strength, Tensor) else strength

    def extra_repr(self) -> str:
        """Describe the layer in `print(model)`: networks that differ in alpha alone are told apart by it."""
        strength = "trainable_alpha=True" if self.trainable_alpha else f"alpha={self.alpha}"
        return f"{super().extra_repr()}, {strength}"


class StrisciuglioConv2d(InhibitedConv2d):
    """The push-pull layer of 2020: inhibited by the negative of its own kernel, enlarged.

    y = relu(K * x + b) - alpha * relu(-up(K) * x - b), up: bilinear enlargement (corners aligned) of a kernel
    of side k to 2 k + 1.

    Shapes: x (N, C_in, H, W) -> as `nn.Conv2d`; both responses are centred on the same pixels.

    Source: Strisciuglio, Lopez-Antequera, Petkov, Neural Computing and Applications 2020.
    Differs from the paper: a trained strength starts at `alpha` in every channel; its absolute value acts.
    """

    def forward(self, x: Float[Tensor, "n c h w"]) -> Float[Tensor, "n channels out_h out_w"]:
        """Return the inhibited response."""
        sides = [2 * side + 1 for side in self.kernel_size]
        enlarged = F.interpolate(self.weight, sides, mode="bilinear", align_corners=True)
        # Centred as the push response is.
        padding: Any = self.padding
        given = zip(padding, sides, self.kernel_size, strict=True)
        wider = [pad + (large - side) // 2 for pad, large, side in given]
        push = F.conv2d(x, self.weight, self.bias, self.stride, self.padding)
        pull = F.conv2d(x, enlarged, self.bias, self.stride, wider)
        return F.relu(push) - self.strength * F.relu(-pull)


def blur(x: Float[Tensor, "n c h w"], stride: int = 1) -> Float[Tensor, "n c out_h out_w"]:
    """Smooth every channel by [1 2 1] / 4 in both directions, mirrored at the border, at each stride.

    out = ceil(size / stride)
    """
    channels = x.shape[1]
    line = torch.tensor([0.25, 0.5, 0.25], dtype=x.dtype, device=x.device)
    kernel = torch.outer(line, line).expand(channels, 1, 3, 3)
    return F.conv2d(_mirrored(x), kernel, stride=stride, groups=channels)


def _mirrored(x: Float[Tensor, "n c h w"]) -> Float[Tensor, "n c h+2 w+2"]:
    """Add a pixel around the image, mirrored at the border: one pixel's mirror image is that pixel."""
    # "reflect" wants two pixels.
    height, width = ("reflect" if side > 1 else "replicate" for side in x.shape[-2:])
    return F.pad(F.pad(x, (1, 1, 0, 0), mode=width), (0, 0, 1, 1), mode=height)


class BlurAfterConv2d(nn.Conv2d):
    """A convolution at every pixel, then a blur that takes the stride.

    y = blur(W * x + b at stride 1), at every stride-th pixel

    Where the stride is 1, as in the first layer of networks for small images, nothing is dropped and the
    response is smoothed all the same.

    Source: Vasconcelos et al., ICCV 2021: low-pass filters behind strided convolutions, before the
    non-linearity. Here on the first layer, with the filter [1 2 1] / 4.
    """

    def forward(self, x: Float[Tensor, "n c h w"]) -> Float[Tensor, "n channels out_h out_w"]:
        """Return the smoothed response."""
        return blur(F.conv2d(x, self.weight, self.bias, 1, self.padding), self.stride[0])


class BlurBeforeConv2d(nn.Conv2d):
    """A convolution at stride 1 of the image blurred at every `blur_stride`th pixel.

    Args:
        blur_stride: pixels from one to the next.
        others: as `nn.Conv2d`.
    """

    def __init__(self, *args: Any, blur_stride: int, **options: Any) -> None:
        super().__init__(*args, **options)
        self.blur_stride = blur_stride

    def forward(self, x: Float[Tensor, "n c h w"]) -> Float[Tensor, "n channels out_h out_w"]:
        """Return the response to the blurred image."""
        return F.conv2d(blur(x, self.blur_stride), self.weight, self.bias, 1, self.padding)

    def extra_repr(self) -> str:
        """Describe the layer in `print(model)`."""
        return f"{super().extra_repr()}, blur_stride={self.blur_stride}"


class BlurMaxPool2d(nn.Module):
    """The largest value at every pixel, then a blur that takes the stride."""

    def __init__(self, pool: nn.MaxPool2d) -> None:
        super().__init__()
        assert isinstance(pool.stride, int)
        self.kernel_size, self.stride, self.padding = pool.kernel_size, pool.stride, pool.padding

    def forward(self, x: Float[Tensor, "n c h w"]) -> Float[Tensor, "n c out_h out_w"]:
        """Return the smoothed maxima."""
        return blur(F.max_pool2d(x, self.kernel_size, 1, self.padding), self.stride)


def blur_before_dropping(model: nn.Module) -> nn.Module:
    """Blur wherever a ResNet behind its first convolution drops pixels, in place; return the network.

    The max-pool takes every pixel, then a blur its stride; in a block the strided 3x3 convolution takes every
    pixel, and after batch norm and relu a blur its stride; in a shortcut the blur comes before the 1x1
    convolution. The first convolution keeps its stride, as in the author's networks. So with a first layer of
    stride 1 and no max-pool (networks for small images) the first layer stays plain and only the blocks
    change. The names of the weights stay.

    Source: Zhang, ICML 2019 (BlurPool), section 3; the filter is the paper's Tri-3, [1 2 1] / 4.
    """
    for module in list(model.modules()):
        for name, child in list(module.named_children()):
            if isinstance(child, nn.MaxPool2d) and child.stride != 1:
                setattr(module, name, BlurMaxPool2d(child))
            elif isinstance(child, nn.Conv2d) and child.stride == (2, 2) and child.kernel_size == (1, 1):
                setattr(module, name, taking_over(BlurBeforeConv2d, child, blur_stride=2))
                getattr(module, name).stride = (1, 1)
        _blur_in_block(module)
    return model


def _blur_in_block(block: nn.Module) -> None:
    """Move the stride of a block's 3x3 convolution into a blur before the convolution that follows it."""
    numbered = [getattr(block, f"conv{number}", None) for number in (1, 2, 3)]
    convs = [conv for conv in numbered if isinstance(conv, nn.Conv2d)]
    for number, (conv, after) in enumerate(pairwise(convs), 1):
        if conv.stride == (2, 2) and conv.kernel_size == (3, 3):
            conv.stride = (1, 1)
            setattr(block, f"conv{number + 1}", taking_over(BlurBeforeConv2d, after, blur_stride=2))
