"""AugMix: chains of simple operations, mixed with the image, and the Jensen-Shannon consistency loss."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int64, UInt8
from torch import Tensor

from pushpull.augment.batch import ImageDraws, mix, register_augmentation, run_chains, sample_mixture
from pushpull.augment.operations import GEOMETRIC, OPS, chosen_magnitudes, ops_work, space

WIDTH, DEPTH = 3, 3  # chains per image; operations of a chain, at most
SEVERITY = 3  # torchvision's, at both scales
AUTHORS_SEVERITY = {"cifar": 3, "imagenet": 1}  # Hendrycks et al., ICLR 2020
_HARDEST = 10

AUGMIX_SPACE = space(0.3, 1 / 3, 30.0, (4, 0), 0.9)  # torchvision's
AUGMIX_NINE = ("autocontrast", "equalize", "posterize", "rotate", "solarize", *GEOMETRIC[:4])
"""The operations that do not overlap with the test corruptions (Hendrycks et al., ICLR 2020)."""


@register_augmentation("augmix", dtype=torch.uint8)
def augmix(images: UInt8[Tensor, "n 3 h w"], draws: ImageDraws) -> Float[Tensor, "n 3 h w"]:
    """Mix every image with chains of torchvision's thirteen operations, brightness and contrast among them.

    y = (1 - m) x + m sum_c w_c chain_c(x), as grey levels, not rounded. An operation's magnitude is one of
    the lowest three of ten.

    Source: torchvision's AugMix, which is what the push-pull paper trained with.
    Differs from torchvision: it drops the fraction of y, which darkens by half a level.
    """
    shares, chosen = sample_mixture(draws, "augmix", WIDTH, DEPTH, len(AUGMIX_SPACE))
    which, coin = draws.named("augmix magnitudes").uniform(2, WIDTH, DEPTH).unbind(1)
    number, level = chosen.clamp(min=0).long(), (which * SEVERITY).long()
    op, magnitude = chosen_magnitudes(AUGMIX_SPACE, _HARDEST, images, number, level, coin)
    return _mixed(images, shares, chosen, op, magnitude)


@register_augmentation("augmix9", dtype=torch.uint8)
def augmix9(images: UInt8[Tensor, "n 3 h w"], draws: ImageDraws, scale: str) -> Float[Tensor, "n 3 h w"]:
    """Mix every image with chains of the authors' nine operations, which no test corruption resembles.

    y as in `augmix`. An operation's level is uniform in 0.1..severity, of 10, and its magnitude as in
    `nine_magnitudes`. It is meant to be trained with `jsd_loss`.

    Source: Hendrycks et al., ICLR 2020.
    Differs from the authors' code: images are read bilinearly with zeros beyond the edge also within a pixel
    of it, where Pillow leaves zeros.
    """
    shares, chosen = sample_mixture(draws, "augmix9", WIDTH, DEPTH, len(AUGMIX_NINE))
    uniform, coin = draws.named("augmix9 magnitudes").uniform(2, WIDTH, DEPTH).unbind(1)
    level = 0.1 + uniform * (AUTHORS_SEVERITY[scale] - 0.1)
    number = chosen.clamp(min=0).long()
    magnitude = nine_magnitudes(level, coin > 0.5, (images.shape[2], images.shape[3]))
    op = torch.tensor([OPS.index(name) for name in AUGMIX_NINE])[number]
    return _mixed(images, shares, chosen, op, magnitude.gather(-1, number[..., None])[..., 0])


def nine_magnitudes(
    level: Float[Tensor, "*n"], negative: Tensor, size: tuple[int, int]
) -> Float[Tensor, "*n 9"]:
    """Return the magnitude of each of the nine operations at a level of 0..10.

    rotate 30 degrees, shear 0.3, translate a third of the side, at level 10, either way; posterize 4 bits
    less one for each 2.5; solarize from 256 less 25.6 for each. All but shear drop the fraction.

    Args:
        level: any shape.
        negative: likewise, bool: which way.
        size: (height, width), px.
    """
    share = level / _HARDEST
    sign = torch.where(negative, -1.0, 1.0)
    values = {
        "posterize": 4 - (share * 4).trunc(),
        "rotate": (share * 30).trunc() * sign,
        # A threshold over 255, which the lowest levels give, inverts nothing.
        "solarize": (256 - (share * 256).trunc()) / 255,
        "shear_x": share * 0.3 * sign,
        "shear_y": share * 0.3 * sign,
        "translate_x": (share * (size[1] / 3)).trunc() * sign,
        "translate_y": (share * (size[0] / 3)).trunc() * sign,
    }
    return torch.stack([values.get(name, torch.zeros_like(level)) for name in AUGMIX_NINE], dim=-1)


def _mixed(images: Tensor, shares: Tensor, chosen: Tensor, op: Tensor, magnitude: Tensor) -> Tensor:
    """Return the mixture of each image with its chains: all but `shares` are (N, width, depth)."""
    op = torch.where(chosen >= 0, op, OPS.index("identity"))
    steps = [
        ops_work(own.ravel(), strength.ravel(), (images.shape[2], images.shape[3]), bilinear=True)
        for own, strength in zip(op.unbind(-1), magnitude.unbind(-1), strict=True)
    ]
    return mix(images, run_chains(images, op.shape[1], steps), shares)


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
