"""A corruption of one's own: slanted streaks of rain, more of them at every severity."""

import torch

import pushpull


@pushpull.register_corruption("rain", severities=[0.002, 0.004, 0.008, 0.015, 0.03])
def rain(images, share, draws):
    """Brighten streaks that begin at a share of the pixels and fall by an eighth of the image's height."""
    height, width = images.shape[-2:]
    begins = draws.uniform(1, height, width) < share
    streaks = torch.zeros_like(begins)
    for step in range(max(height // 8, 1)):
        streaks |= begins.roll((step, step // 3), dims=(2, 3))
    return images + 0.6 * streaks * (1 - images)
