"""The Jensen-Shannon consistency loss of AugMix and PRIME."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int64
from torch import Tensor


def jsd_loss(
    logits: Float[Tensor, "n k"],
    views: tuple[Float[Tensor, "n k"], Float[Tensor, "n k"]],
    labels: Int64[Tensor, " n"],
    *,
    weight: float = 12.0,
    label_smoothing: float = 0.0,
) -> Float[Tensor, ""]:
    """Return the cross-entropy of clean images plus `weight` times what three predictions disagree by.

    CE(clean) + weight / 3 sum_i KL(p_i || M), M = (p_1 + p_2 + p_3) / 3 clamped to [1e-7, 1]; the mean over
    images; p_1 of the clean image, p_2 and p_3 of two augmented views.

    Args:
        logits: (N, K), of the clean images.
        views: twice (N, K), of two augmentations of the same images, in the same order.
        labels: (N,) int64 classes, 0..K-1.
        weight: 12 in both papers.
        label_smoothing: of the cross-entropy, in [0, 1).

    Returns:
        A float32 number; the sums are taken in float32 whatever the logits are.

    Source: Hendrycks et al., ICLR 2020, equation 1; Modas et al., ECCV 2022, for CIFAR.

    Example:
        >>> logits = torch.tensor([[2.0, 0.0]])
        >>> round(jsd_loss(logits, (logits, logits), torch.tensor([0])).item(), 3)  # all three agree
        0.127
    """
    logs = torch.stack([F.log_softmax(part.float(), dim=-1) for part in (logits, *views)])
    probabilities = logs.exp()
    middle = probabilities.mean(0).clamp(1e-7, 1.0).log()
    # At p = 0 the log is -inf in float32's softmax of far logits: 0 (-inf) would be NaN.
    apart = (probabilities * (logs.clamp(min=-1e4) - middle)).sum(-1).mean()
    clean = F.cross_entropy(logits.float(), labels, label_smoothing=label_smoothing)
    return clean + weight * apart
