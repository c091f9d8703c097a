"""The augmentations as a torchvision v2 transform, `Augment`, of an image or a batch."""

from __future__ import annotations

from typing import final

from torch import Tensor

from pushpull.augment.entry import AUGMENTATIONS, augment_batch
from pushpull.augment.settings import SCALES
from pushpull.corruptions.arguments import checked_seed
from pushpull.corruptions.batch_transform import BatchTransform, options
from pushpull.errors import choice, integer


@final
class Augment(BatchTransform):
    """Augment images, each by draws of its own: `pushpull.augment.augment_batch` as a transform.

        train = v2.Compose([v2.RandomResizedCrop(224), Augment("prime"), v2.ToImage(),
                            v2.ToDtype(torch.float32, scale=True), v2.Normalize(mean, std)])
        same_image_everywhere = Augment("prime", scale="cifar")(image, index=17)

    It goes after cropping and before normalisation, on an image or on a batch. Inputs and outputs: see
    `corruptions.batch_transform`; dtypes are kept. Boxes, masks and key points stay, though most
    augmentations move pixels. Without an index the draws follow torch's default generator, thus
    `torch.manual_seed` and the seeds of a DataLoader's workers. With one the result is the same whatever the
    batch, worker or order.

    Args:
        name: one of `AUGMENTATIONS`.
        scale: which settings: "cifar" (for about 32 px) or "imagenet" (224).
        seed, epoch: any integers; another of either is another drawing.

    Raises:
        InputError: for an argument that is not as above.
    """

    def __init__(self, name: str, *, scale: str = "imagenet", seed: int = 0, epoch: int = 0) -> None:
        super().__init__()
        self.name = choice("augmentation", name, AUGMENTATIONS)
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
