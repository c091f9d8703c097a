"""The augmentations as a torchvision v2 transform, `Augment`, of an image or a batch."""

from __future__ import annotations

from typing import final

from torch import Tensor

from pushpull.augment.batch import AUGMENTATIONS, SCALES, augment_batch
from pushpull.corruptions.engine import checked_seed
from pushpull.corruptions.transforms import BatchTransform, options
from pushpull.errors import choice, integer


@final
class Augment(BatchTransform):
    """Augment images, each by random numbers of its own: `augment_batch` as a transform.

    It goes after cropping and before normalisation, on an image or on a batch. It takes what torchvision's v2
    transforms take: RGB tensors (..., 3, H, W), uint8 or floating point in [0, 1], `tv_tensors`, PIL images,
    and samples with them; dtypes are kept. Boxes, masks and key points stay, though most augmentations move
    pixels. Without an index the random numbers follow torch's default generator, thus `torch.manual_seed` and
    the seeds of a DataLoader's workers. With one (`transform(image, index=17)`) the result is the same
    whatever the batch, worker or order.

    Args:
        name: one of `AUGMENTATIONS`.
        scale: which settings: "cifar" (for about 32 px) or "imagenet" (224).
        seed, epoch: any integers; another of either is another drawing.

    Raises:
        InputError: for an argument that is not as above.

    Example:
        >>> import torch
        >>> Augment("prime", scale="cifar")(torch.zeros(3, 32, 32), index=17).shape
        torch.Size([3, 32, 32])
    """

    def __init__(self, name: str, *, scale: str = "imagenet", seed: int = 0, epoch: int = 0) -> None:
        super().__init__()
        AUGMENTATIONS.find(name)
        self.name = name
        self.scale = choice("scale", scale, SCALES)
        self.seed = checked_seed(seed)
        self.epoch = integer("epoch", epoch, "give the number of the pass")

    def _batch(self, images: Tensor, index: Tensor) -> Tensor:
        return augment_batch(
            images, self.name, index=index, seed=self.seed, epoch=self.epoch, scale=self.scale
        )

    def extra_repr(self) -> str:
        """Return the arguments."""
        return f"{self.name!r}, " + options(self, ("scale", "seed", "epoch"))
