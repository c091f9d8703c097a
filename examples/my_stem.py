"""A first layer of one's own: divisive normalisation, another inhibition of the visual cortex."""

import torch.nn.functional as F
from torch import nn

import pushpull


class Divisive(nn.Module):
    """A convolution whose responses are divided by the energy of all channels nearby."""

    def __init__(self, conv: nn.Conv2d) -> None:
        super().__init__()
        self.conv = conv

    def forward(self, x):
        y = self.conv(x)
        energy = F.avg_pool2d(y.square().mean(1, keepdim=True), 5, stride=1, padding=2)
        return y / (1 + energy).sqrt()


@pushpull.register_stem("mine")
def divisive(conv):
    """Return the layer that stands in the place of a network's first convolution, with its weights."""
    return Divisive(conv)
