"""A data source of one's own: discs and squares of random size, place and colour."""

import torch

import pushpull


def draw(count, seed, side=32):
    """Return (count, 3, side, side) uint8 images and their labels: 0 for a disc, 1 for a square."""
    generator = torch.Generator().manual_seed(seed)
    labels = torch.arange(count) % 2
    radius = (0.15 + 0.2 * torch.rand(count, 1, 1, generator=generator)) * side
    x, y = ((0.35 + 0.3 * torch.rand(count, 1, 1, generator=generator)) * side for _ in range(2))
    dx, dy = (torch.arange(side) - x).abs(), (torch.arange(side)[:, None] - y).abs()
    disc, square = dx.square() + dy.square() < radius.square(), torch.maximum(dx, dy) < 0.9 * radius
    inside = torch.where(labels[:, None, None] == 0, disc, square)[:, None]
    dark, bright = 0.4 * torch.rand(2, count, 3, 1, 1, generator=generator)
    return (torch.where(inside, 0.6 + bright, dark) * 255).to(torch.uint8), labels


@pushpull.register_data("shapes")
def shapes():
    """Return the splits; without a "validation" some of the training images are held out for it."""
    return {"train": draw(600, seed=0), "test": draw(100, seed=1), "classes": ["disc", "square"]}
