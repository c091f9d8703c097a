"""A network of one's own, with push-pull inhibition in its first layer."""

from torch import nn

import pushpull


def build():
    """Return a network of two classes; its trained weights would be loaded here, or given by --weights."""
    model = nn.Sequential(
        nn.Conv2d(3, 16, 3, stride=2, padding=1),
        nn.ReLU(),
        nn.Conv2d(16, 32, 3, stride=2, padding=1),
        nn.ReLU(),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(32, 2),
    )
    pushpull.replace_first_conv(model, avg_kernel_size=3)
    return model
