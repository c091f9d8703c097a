"""What an epoch of training must be, wherever its images come from."""

from dataclasses import replace
from types import SimpleNamespace

import torch
from torch import Tensor

from pushpull.data import DataConfig, load_data
from pushpull.training import AugmentConfig, Recipe
from pushpull.training.loaders import ImageData


def an_epoch_that_goes_on_anywhere(data: DataConfig, given: int) -> list[tuple[Tensor, Tensor]]:
    """Assert that ranks and workers share an epoch, which goes on after `given` batches; return them all."""
    augment = AugmentConfig(crop=8, padding=0, flip=True, policy="trivialaugment")
    recipe = Recipe(data=data, augment=augment, batch_size=6)

    def batches(rank=0, world=1, workers=0, given=0):
        loader = ImageData(replace(recipe, workers=workers), load_data(data))
        device = SimpleNamespace(root_device=torch.device("cpu"))
        loader.trainer = SimpleNamespace(current_epoch=1, global_rank=rank, world_size=world, strategy=device)
        found = loader.train_dataloader()
        found.load_state_dict({"epoch": 1, "given": given})
        return list(found)

    whole = batches()
    for rank in range(3):
        for (images, labels), (some, some_labels) in zip(whole, batches(rank, 3, rank), strict=True):
            assert torch.equal(images[rank::3], some)
            assert torch.equal(labels[rank::3], some_labels)
    for (images, labels), (some, some_labels) in zip(
        whole[given:], batches(workers=2, given=given), strict=True
    ):
        assert torch.equal(images, some)
        assert torch.equal(labels, some_labels)
    return whole
