"""Pictures for the tests of augmentations: smooth, of many colours, with some noise."""

import torch


def pictures(count, height=32, width=32, seed=0):
    """Return (count, 3, height, width) uint8, each its own, none of them using all levels."""
    generator = torch.Generator().manual_seed(seed)
    coarse = torch.rand(count, 3, 5, 5, generator=generator)
    smooth = torch.nn.functional.interpolate(coarse, (height, width), mode="bicubic", align_corners=True)
    noisy = smooth + 0.05 * torch.randn(smooth.shape, generator=generator)
    return (noisy.clamp(0, 1) * 200 + 20).to(torch.uint8)
