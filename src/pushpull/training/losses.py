"""Losses beyond the cross-entropy: pure functions of logits."""

from __future__ import annotations

import torch.nn.functional as F
from jaxtyping import Float, Int64
from torch import Tensor


def distillation(
    logits: Float[Tensor, "n classes"],
    teacher: Float[Tensor, "n classes"],
    labels: Int64[Tensor, " n"],
    *,
    temperature: float = 2.0,
    teacher_weight: float = 0.7,
    label_smoothing: float = 0.0,
) -> Tensor:
    """Cross-entropy mixed with the distance to a teacher's softened probabilities.

    w T^2 KL(softmax(teacher / T) || softmax(logits / T)) + (1 - w) CE(logits, labels), mean over the batch

    Args:
        logits, teacher: of the same images; no gradient reaches the teacher's.
        labels: of the images.
        temperature: T > 0.
        teacher_weight: w in [0, 1].
        label_smoothing: of the cross-entropy.

    Source: Hinton, Vinyals, Dean, arXiv 1503.02531; T^2 keeps the gradients' size whatever T is.
    """
    soft = F.kl_div(
        F.log_softmax(logits / temperature, dim=1),
        F.log_softmax(teacher.detach() / temperature, dim=1),
        reduction="batchmean",
        log_target=True,
    )
    hard = F.cross_entropy(logits, labels, label_smoothing=label_smoothing)
    return teacher_weight * temperature**2 * soft + (1 - teacher_weight) * hard
