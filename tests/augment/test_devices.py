"""Augmentations on accelerators: nothing stays behind on the CPU; where there is a GPU, the results."""

import pytest
import torch

from augment.made import pictures
from pushpull import random
from pushpull.augment import AUGMENTATIONS, ImageDraws, augment_batch, prime

needs_cuda = pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
_RANDOM = [name for name in AUGMENTATIONS if name != "none"]


@pytest.fixture
def device_caches():
    """Forget, afterwards, tables made for a device without values."""
    yield
    for module in (prime, random):
        for table in vars(module).values():
            if hasattr(table, "cache_clear"):
                table.cache_clear()


@pytest.mark.parametrize("name", _RANDOM)
@pytest.mark.parametrize(("scale", "size"), [("cifar", (32, 40)), ("imagenet", (224, 224))])
def test_everything_is_on_the_device_and_the_host_never_waits(name, scale, size, device_caches):
    """On a device without values: mixing devices raises, and so does reading a value back."""
    images = torch.empty(12, 3, *size, dtype=torch.uint8, device="meta")
    # Past the arguments' checks: there is no autocast for such a device.
    result = AUGMENTATIONS[name](images, ImageDraws(torch.arange(12), name, device="meta"), scale)
    assert (result.device.type, result.dtype, result.shape) == ("meta", torch.uint8, images.shape)


def test_a_default_device_does_not_matter():
    images = pictures(6)
    expected = [augment_batch(images, name, index=range(6)) for name in _RANDOM]
    # As torch.set_default_device does, which torch 2.6 cannot undo.
    with torch.device("meta"):
        found = [augment_batch(images, name, index=torch.arange(6, device="cpu")) for name in _RANDOM]
    assert all(torch.equal(a, b) for a, b in zip(expected, found, strict=True))


@needs_cuda
@pytest.mark.parametrize("name", _RANDOM)
@pytest.mark.parametrize(("scale", "side"), [("cifar", 32), ("imagenet", 224)])
def test_a_gpu_gives_the_cpus_images(name, scale, side):
    images = pictures(16, side, side)
    here = augment_batch(images, name, index=range(16), scale=scale)
    there = augment_batch(images.cuda(), name, index=range(16), scale=scale).cpu()
    assert ((here.int() - there.int()).abs() <= 1).float().mean() >= 0.995


@needs_cuda
@pytest.mark.parametrize("name", _RANDOM)
def test_on_a_gpu_too_an_image_does_not_depend_on_its_batch(name):
    images = pictures(70, 64, 48).cuda()
    whole = augment_batch(images, name, index=range(70))
    for part in (slice(0, 1), slice(1, 67), slice(67, 70)):
        again = augment_batch(images[part], name, index=list(range(70))[part])
        assert torch.equal(again, whole[part])
