"""Corruptions on accelerators: nothing stays behind on the CPU; where there is a GPU, the results."""

import pytest
import torch
from torch._subclasses.fake_tensor import FakeTensorMode

from corruptions.test_engine import ALL, pictures
from pushpull import random
from pushpull.corruptions import corrupt, filters, textures

needs_cuda = pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
# Water drops grow along edges until nothing changes, which the host has to see.
HOST_DECIDES = {("spatter", 1), ("spatter", 2), ("spatter", 3)}


@pytest.fixture
def device_caches():
    """Forget, afterwards, tables made for a device that is only pretended."""
    yield
    for table in (filters._line_blocks, random._mixed_counter, textures._prepared):
        table.cache_clear()


@pytest.mark.parametrize("name", ALL)
@pytest.mark.parametrize("size", [(40, 64), (224, 224)])
def test_everything_is_on_the_device_and_the_host_never_waits(name, size, device_caches):
    """On tensors without values: mixing devices raises, and so does reading a value back."""
    severities = [severity for severity in range(1, 6) if (name, severity) not in HOST_DECIDES]
    for severity in severities:
        corrupt(pictures(1, *size), name, severity, index=[0])  # what is kept on the host
        with FakeTensorMode(allow_non_fake_inputs=True):
            images = torch.empty(3, 3, *size, dtype=torch.uint8, device="cuda")
            index = torch.empty(3, dtype=torch.int64, device="cuda")
            result = corrupt(images, name, severity, index=index)
        assert (result.device.type, result.dtype, result.shape) == ("cuda", torch.uint8, images.shape)


@needs_cuda
@pytest.mark.parametrize("name", ALL)
@pytest.mark.parametrize(("scale", "side"), [("cifar", 32), ("imagenet", 224)])
def test_a_gpu_gives_the_cpus_images(name, scale, side):
    images = pictures(8, side, side)
    for severity in (1, 3, 5):
        here = corrupt(images, name, severity, scale=scale, index=range(8))
        there = corrupt(images.cuda(), name, severity, scale=scale, index=range(8)).cpu()
        assert ((here.int() - there.int()).abs() <= 1).float().mean() >= 0.999


@needs_cuda
@pytest.mark.parametrize("name", ALL)
def test_on_a_gpu_too_an_image_does_not_depend_on_its_batch(name):
    images = pictures(70, 64, 48).cuda()
    whole = corrupt(images, name, 3, scale="tiny", index=range(70))
    for part in (slice(0, 1), slice(1, 67), slice(67, 70)):
        again = corrupt(images[part], name, 3, scale="tiny", index=list(range(70))[part])
        assert torch.equal(again, whole[part])
