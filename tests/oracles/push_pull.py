"""The push-pull unit as the paper writes it: two convolutions, no short cuts."""

from typing import Any

import torch
from torch import Tensor, nn
from torch.func import functional_call


def push_pull_oracle(
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,
    *,
    alpha: float | Tensor = 1.0,
    avg_kernel_size: int = 3,
    groups: int = 1,
    offset: str | float = "extrema",
    **options: Any,
) -> Tensor:
    """relu(conv(x, W)) - alpha * relu(avg_pool(conv(x, W~))) + b; `options` are those of `nn.Conv2d`."""
    out_channels, channels, *kernel = weight.shape
    conv = nn.Conv2d(channels * groups, out_channels, tuple(kernel), groups=groups, bias=False, **options)
    largest = torch.stack([w.max() for w in weight]).reshape(-1, 1, 1, 1)
    smallest = torch.stack([w.min() for w in weight]).reshape(-1, 1, 1, 1)
    push = functional_call(conv, {"weight": weight}, x)
    middle = torch.stack([w.sum() / w.numel() for w in weight]).reshape(-1, 1, 1, 1)
    share = {"extrema": 1, "mean": 0, "zero": 0}.get(offset, offset)
    added = share * (largest + smallest) + (1 - share) * 2 * middle
    pull = functional_call(conv, {"weight": -weight + (0 if offset == "zero" else added)}, x)
    if avg_kernel_size:
        pull = nn.AvgPool2d(avg_kernel_size, 1, avg_kernel_size // 2, count_include_pad=False)(pull)
    strength = torch.as_tensor(alpha, dtype=x.dtype).reshape(-1, 1, 1)
    y = push.relu() - strength * pull.relu()
    return y if bias is None else y + bias.reshape(-1, 1, 1)
