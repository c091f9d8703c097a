"""Variants of the unit, to find out what in it acts: the first layers that only docs/findings.md needs.

    pushpull reproduce cifar10-variants --plugins benchmarks/variants.py --data ... --output OUT

Loaded as a plugin, it registers the stems `pp0`, `pp3`, `pp5` with the endings `_channel`, `_zero`,
`_zero_alpha`, `_norm`, and `pp3`, `pp5` with `_late`, `_zero_late`. Plain operations, made for study.
"""

from __future__ import annotations

from functools import partial
from typing import Any, Literal

import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from pushpull import register_stem
from pushpull.models.comparators import InhibitedConv2d, taking_over
from pushpull.unit import pull_kernel
from pushpull.unit.functional import check_pull

Offset = Literal["filter", "channel", "zero"]
Pooling = Literal["first", "late"]
Norm = Literal["behind", "before"]


class VariantPushPullConv2d(InhibitedConv2d):
    """The push-pull unit with another offset m in its pull kernel, another order, or batch norm inside.

    y = relu(norm(P)) - alpha * relu(norm'(avg_pool(Q))) + b,  P = W * x,  Q = W~ * x,  W~ = m - W

    Shapes: x (N, C_in, H, W) -> as `nn.Conv2d`.

    Args:
        offset: m: "filter", max + min of each filter, as in the paper; "channel", of each of its input
            channels; "zero", 0: then with alpha 1 and no pooling the layer is a plain convolution, exactly.
        pooling: "first", as in the paper, or "late": avg_pool(relu(norm'(Q))), so that inhibition by both
            signs of a texture does not cancel before it acts.
        norm: "behind": none here, the network has one behind the layer, as in the paper; "before": norm and
            norm' are batch norms of their own, so that both thresholds are trained.
        avg_kernel_size: side of the pooling, 0 (none) or odd.
        others: as `InhibitedConv2d`.
    """

    def __init__(
        self,
        *args: Any,
        avg_kernel_size: int,
        offset: Offset = "filter",
        pooling: Pooling = "first",
        norm: Norm = "behind",
        **options: Any,
    ) -> None:
        super().__init__(*args, **options)
        self.avg_kernel_size, _ = check_pull(avg_kernel_size, "extrema")
        self.offset, self.pooling, self.norm = offset, pooling, norm
        self.push_norm, self.pull_norm = self._norm_layer(), self._norm_layer()

    def _norm_layer(self) -> nn.Module:
        if self.norm == "behind":
            return nn.Identity()
        return nn.BatchNorm2d(self.out_channels, dtype=self.weight.dtype)

    def forward(self, x: Float[Tensor, "n c h w"]) -> Float[Tensor, "n channels out_h out_w"]:
        """Return the inhibited response."""
        response = self._response(x, self.weight)
        push = F.relu(self.push_norm(response))
        # Without offset the pull response is the push response turned: one convolution is enough.
        pull = -response if self.offset == "zero" else self._response(x, self._pull_kernel())
        if self.pooling == "first":
            pull = F.relu(self.pull_norm(self._pooled(pull)))
        else:
            pull = self._pooled(F.relu(self.pull_norm(pull)))
        y = push - self.strength * pull
        return y if self.bias is None else y + self.bias[:, None, None]

    def _response(self, x: Tensor, kernel: Tensor) -> Tensor:
        return F.conv2d(x, kernel, None, self.stride, self.padding)

    def _pull_kernel(self) -> Tensor:
        if self.offset == "filter":
            return pull_kernel(self.weight)
        return pull_kernel(self.weight.flatten(0, 1)[:, None]).view_as(self.weight)

    def _pooled(self, pull: Tensor) -> Tensor:
        side = self.avg_kernel_size
        return F.avg_pool2d(pull, side, 1, side // 2, count_include_pad=False) if side else pull

    def extra_repr(self) -> str:
        """Describe the layer in `print(model)`."""
        return (
            f"{super().extra_repr()}, avg_kernel_size={self.avg_kernel_size}, offset={self.offset}, "
            f"pooling={self.pooling}, norm={self.norm}"
        )


def variant(conv: nn.Conv2d, **options: Any) -> nn.Module:
    """Return the layer with these options and the very weights of the convolution."""
    return taking_over(VariantPushPullConv2d, conv, **options)


def norm_inside(model: nn.Module, side: int) -> None:
    """Give a network of ours the variant with batch norms of its own, and take out the one behind it."""
    conv: Any = model.get_submodule("conv1")
    model.add_module("conv1", variant(conv, avg_kernel_size=side, norm="before"))
    model.add_module("bn1", nn.Identity())


_ENDINGS: dict[str, dict[str, Any]] = {
    "_channel": {"offset": "channel"},
    "_zero": {"offset": "zero"},
    "_zero_alpha": {"offset": "zero", "trainable_alpha": True},
    "_late": {"pooling": "late"},
    "_zero_late": {"offset": "zero", "pooling": "late"},
}
for _side in (0, 3, 5):
    for _ending, _options in _ENDINGS.items():
        if _side or "late" not in _ending:
            register_stem(f"pp{_side}{_ending}")(partial(variant, avg_kernel_size=_side, **_options))
    register_stem(f"pp{_side}_norm", network=True)(partial(norm_inside, side=_side))
