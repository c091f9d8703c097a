"""An augmentation of one's own: a grey square covers a random place of every image."""

import torch

import pushpull


@pushpull.register_augmentation("cutout")
def cutout(images, draws):
    """Cover a square of a quarter of the shorter side; each image draws its own place."""
    height, width = images.shape[-2:]
    side = min(height, width) // 4
    covered = []
    for length in (height, width):
        first = draws.integers(0, length - side + 1, 1)
        place = torch.arange(length, device=images.device)
        covered.append((place >= first) & (place < first + side))
    rows, columns = covered
    return images.masked_fill(rows[:, None, :, None] & columns[:, None, None, :], 0.5)
