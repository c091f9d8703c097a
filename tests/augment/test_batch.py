"""`augment_batch`: one result whatever the batch, 8-bit and floating-point images, mistakes."""

from unittest.mock import patch

import pytest
import torch

from augment.made import pictures
from pushpull.augment import (
    AUGMENTATIONS,
    Augment,
    ImageDraws,
    augment_batch,
    batch,
    register_augmentation,
)
from pushpull.errors import InputError

_RANDOM = [name for name in AUGMENTATIONS if name != "none"]


@pytest.mark.parametrize("scale", ["cifar", "imagenet"])
@pytest.mark.parametrize("name", _RANDOM)
def test_an_image_is_augmented_alike_in_any_batch_and_order(name, scale, monkeypatch):
    images, index = pictures(24, 40, 32), torch.arange(1000, 1024)
    before = torch.random.get_rng_state()
    together = augment_batch(images, name, index=index, seed=1, epoch=2, scale=scale)
    assert together.dtype == torch.uint8
    assert together.shape == images.shape
    order = torch.randperm(24, generator=torch.Generator().manual_seed(0))
    shuffled = augment_batch(images[order], name, index=index[order], seed=1, epoch=2, scale=scale)
    assert torch.equal(shuffled, together[order])
    ones = [
        augment_batch(images[i : i + 1], name, index=[1000 + i], seed=1, epoch=2, scale=scale)
        for i in range(24)
    ]
    assert torch.equal(torch.cat(ones), together)
    monkeypatch.setattr(batch, "_PIXELS_PER_THREAD", 5 * 40 * 32)
    assert torch.equal(augment_batch(images, name, index=index, seed=1, epoch=2, scale=scale), together)
    threads = torch.get_num_threads()
    torch.set_num_threads(3 - min(threads, 2))  # 1 for 2 and more, 2 for 1
    try:
        assert torch.equal(augment_batch(images, name, index=index, seed=1, epoch=2, scale=scale), together)
    finally:
        torch.set_num_threads(threads)
    assert torch.equal(before, torch.random.get_rng_state())


@pytest.mark.parametrize("name", _RANDOM)
def test_seed_epoch_view_and_index_each_draw_anew(name):
    images = pictures(1, 32, 32).expand(16, -1, -1, -1)
    index = torch.arange(16)
    first = augment_batch(images, name, index=index, scale="cifar")
    assert len({image.numpy().tobytes() for image in first}) > 6
    for other in ({"seed": 1}, {"epoch": 1}, {"view": 1}):
        assert not torch.equal(augment_batch(images, name, index=index, scale="cifar", **other), first)


@pytest.mark.parametrize("name", _RANDOM)
def test_floating_point_images_give_what_eight_bit_ones_give(name):
    images, index = pictures(16, 24, 24), torch.arange(16)
    bytes_ = augment_batch(images, name, index=index, scale="cifar")
    floats = augment_batch(images / 255, name, index=index, scale="cifar")
    assert floats.dtype == torch.float32
    assert floats.min() >= 0
    assert floats.max() <= 1
    # Rounded to half a level; PRIME's first colour map has a longer table for floats.
    assert (floats * 255 - bytes_).abs().max() <= 0.51
    assert augment_batch(images.double() / 255, name, index=index, scale="cifar").dtype == torch.float64


def test_none_changes_nothing_and_returns_its_own_memory():
    images = pictures(2)
    same = augment_batch(images, "none")
    assert torch.equal(same, images)
    assert same.data_ptr() != images.data_ptr()


def test_without_an_index_torchs_generator_governs():
    images = pictures(4)
    torch.manual_seed(5)
    first = augment_batch(images, "prime", scale="cifar")
    second = augment_batch(images, "prime", scale="cifar")
    torch.manual_seed(5)
    assert torch.equal(augment_batch(images, "prime", scale="cifar"), first)
    assert not torch.equal(first, second)


def test_channels_last_and_empty_batches():
    images = pictures(3)
    strided = images.contiguous(memory_format=torch.channels_last)
    for name in AUGMENTATIONS:
        plain = augment_batch(images, name, index=[0, 1, 2])
        assert torch.equal(augment_batch(strided, name, index=[0, 1, 2]), plain)
        assert augment_batch(images[:0], name).shape == (0, 3, 32, 32)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"name": "augmx"}, "did you mean 'augmix'"),
        ({"scale": "tiny"}, "scale='tiny' is not one of cifar, imagenet"),
        ({"images": torch.zeros(3, 32, 32)}, r"shape \(3, 32, 32\), not \(N, 3, H, W\)"),
        ({"images": torch.zeros(2, 3, 6, 32)}, "6x32 are too small; give at least 8x8"),
        ({"images": torch.zeros(2, 3, 32, 32, dtype=torch.int32)}, "dtype torch.int32; give uint8"),
        ({"images": torch.full((2, 3, 32, 32), -0.5)}, "augment before normalising"),
        ({"images": torch.full((2, 3, 32, 32), float("nan"))}, "outside"),
        ({"images": None}, "not a tensor"),
        ({"index": [1]}, "batch 2 images"),
        ({"index": [0.5, 1.0]}, "give 2 integers"),
        ({"seed": 0.5}, "seed=0.5 is not an integer"),
        ({"epoch": None}, "epoch=None is not an integer"),
        ({"view": "a"}, "view='a' is not an integer"),
    ],
)
def test_mistakes_are_one_clear_line(change, message):
    arguments = {"images": pictures(2), "name": "prime", **change}
    with pytest.raises(InputError, match=message):
        augment_batch(arguments.pop("images"), arguments.pop("name"), **arguments)


@pytest.fixture
def registered():
    """Forget, afterwards, what a test registers."""
    with patch.dict(AUGMENTATIONS):
        yield


def test_an_augmentation_of_ones_own_is_used_by_its_name_like_the_packages(registered):
    @register_augmentation("shade")
    def shade(images, draws, scale):
        assert images.dtype == torch.float32
        floor = {"cifar": 0.5, "imagenet": 0.9}[scale]
        return images.mul_(draws.uniform(1, 1, 1, low=floor))  # in place: it is the function's own copy

    images = pictures(300, 16, 16)
    before = images.clone()
    found = augment_batch(images, "shade", index=torch.arange(300), scale="cifar")
    assert torch.equal(images, before)
    factor = ImageDraws(torch.arange(300), "shade").uniform(1, 1, 1, low=0.5)
    assert torch.equal(found, (images / 255 * factor * 255).round().to(torch.uint8))
    assert torch.equal(Augment("shade", scale="cifar")(images[7], index=7), found[7])
    floats = augment_batch(images.double() / 255, "shade", index=torch.arange(300), scale="cifar")
    assert floats.dtype == torch.float64
    assert ((floats * 255 - found).abs() <= 0.501).all()
    assert shade(images[:1] / 255, ImageDraws(torch.arange(1), "shade"), "imagenet").max() <= 1


@pytest.mark.parametrize("result", [torch.uint8, torch.float32])
def test_one_on_grey_levels_gets_bytes_and_may_return_levels_not_yet_rounded(registered, result):
    @register_augmentation("inverted", dtype=torch.uint8)
    def inverted(images, draws):
        assert images.dtype == torch.uint8
        return (255 - images).to(result) if result == torch.uint8 else 300.4 - images

    images = pictures(2)
    expected = 255 - images if result == torch.uint8 else (300.4 - images).round().clamp(0, 255).byte()
    assert torch.equal(augment_batch(images, "inverted"), expected)
    floats = augment_batch(images / 255, "inverted")
    assert floats.dtype == torch.float32
    assert (floats * 255 - expected).abs().max() <= 0.5001
    assert floats.max() <= 1


def test_bytes_are_grey_levels_whatever_the_function_got(registered):
    register_augmentation("white")(lambda images, draws: torch.full(images.shape, 255, dtype=torch.uint8))
    assert (augment_batch(pictures(2), "white") == 255).all()
    assert (augment_batch(pictures(2) / 255, "white") == 1).all()


def test_one_that_changes_nothing_gives_a_copy(registered):
    register_augmentation("same", dtype=None)(lambda images, draws: images)
    for images in (pictures(2), pictures(2) / 255):
        found = augment_batch(images, "same")
        assert torch.equal(found, images)
        assert found.data_ptr() != images.data_ptr()


def test_mistakes_of_an_own_one_are_one_clear_line(registered):
    with pytest.raises(InputError, match="'prime' exists already"):
        register_augmentation("prime")(lambda images, draws: images)
    with pytest.raises(InputError, match="must be a word"):
        register_augmentation("my rain")(lambda images, draws: images)
    register_augmentation("smaller")(lambda images, draws: images[..., 1:])
    with pytest.raises(InputError, match=r"'smaller' returned \(2, 3, 32, 31\); return a tensor of shape"):
        augment_batch(pictures(2), "smaller")
    register_augmentation("nothing")(lambda images, draws: None)
    with pytest.raises(InputError, match="'nothing' returned NoneType"):
        augment_batch(pictures(2), "nothing")
