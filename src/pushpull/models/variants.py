"""Variants of the unit, to find out what in it acts; plain operations, made for study and not for speed."""

from __future__ import annotations

from typing import Any, Literal

import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from pushpull.models.comparators import InhibitedConv2d
from pushpull.unit.arguments import check_avg_kernel_size

Offset = Literal["channel", "zero"]


class VariantPushPullConv2d(InhibitedConv2d):
    """The push-pull unit with another offset m in its pull kernel.

    y = relu(W * x) - alpha * relu(avg_pool(W~ * x)) + b,  W~ = m - W

    `offset="channel"`: m = max + min over (kh, kw) of each filter's each input channel, in place of the
    paper's over the whole filter. `offset="zero"`: m = 0; then with alpha 1 and no pooling the layer is a
    plain convolution, exactly.

    Shapes: x (N, C_in, H, W) -> as `nn.Conv2d`.

    Args:
        offset: as above.
        avg_kernel_size: side of the pooling, 0 (none) or odd.
        others: as `InhibitedConv2d`.
    """

    def __init__(self, *args: Any, offset: Offset, avg_kernel_size: int, **options: Any) -> None:
        super().__init__(*args, **options)
        self.offset, self.avg_kernel_size = offset, check_avg_kernel_size(avg_kernel_size)

    def forward(self, x: Float[Tensor, "n c h w"]) -> Float[Tensor, "n channels out_h out_w"]:
        """Return the inhibited response."""
        kernel = -self.weight
        if self.offset == "channel":
            kernel = kernel + self.weight.amax((2, 3), keepdim=True) + self.weight.amin((2, 3), keepdim=True)
        push = self._conv_forward(x, self.weight, None)
        pull = self._conv_forward(x, kernel, None)
        if self.avg_kernel_size:
            side = self.avg_kernel_size
            pull = F.avg_pool2d(pull, side, 1, side // 2, count_include_pad=False)
        y = F.relu(push) - self.strength * F.relu(pull)
        return y if self.bias is None else y + self.bias[:, None, None]

    def extra_repr(self) -> str:
        """Describe the layer in `print(model)`."""
        return f"{super().extra_repr()}, offset={self.offset}, avg_kernel_size={self.avg_kernel_size}"
