import pickle

import pytest
import torch
from PIL import Image

from pushpull.augment import AUGMENTATIONS, augment_batch
from pushpull.errors import InputError
from pushpull.training.loaders import ImageTransform, apply_policy, random_crop_flip
from pushpull.training.recipe import AugmentConfig


def _images(n=6, height=9, width=8, seed=0):
    return torch.randint(
        1, 256, (n, 3, height, width), generator=torch.Generator().manual_seed(seed), dtype=torch.uint8
    )


def _generator(seed=0):
    return torch.Generator().manual_seed(seed)


def test_every_crop_is_a_window_of_the_padded_image_mirrored_or_not():
    images = _images(40)
    crops = random_crop_flip(images, _generator(), crop=7, padding=2, flip=True)
    padded = torch.nn.functional.pad(images, (2, 2, 2, 2))
    corners, mirrored = set(), 0
    for image, crop in zip(padded, crops, strict=True):
        found = [
            (top, left, flip)
            for top in range(7)
            for left in range(6)
            for flip in (False, True)
            if torch.equal(
                crop, (lambda w: w.flip(-1) if flip else w)(image[:, top : top + 7, left : left + 7])
            )
        ]
        assert found
        corners.add(found[0][:2])
        mirrored += found[0][2]
    assert len(corners) > 15  # of 42
    assert 8 < mirrored < 32  # of 40


def test_no_padding_full_crop_and_no_flip_change_nothing():
    images = _images(height=8)
    assert torch.equal(random_crop_flip(images, _generator(), crop=8, padding=0, flip=False), images)


def test_without_a_crop_an_image_stays_whole():
    images = _images()
    assert torch.equal(random_crop_flip(images, _generator(), crop=None, padding=4, flip=False), images)
    flipped = random_crop_flip(images, _generator(), crop=None, padding=4, flip=True)
    for image, result in zip(images, flipped, strict=True):
        assert torch.equal(result, image) or torch.equal(result, image.flip(-1))
    assert not torch.equal(flipped, images)


def test_a_crop_larger_than_a_streamed_image_is_refused():
    image = Image.fromarray(_images(1)[0].permute(1, 2, 0).numpy())
    with pytest.raises(InputError, match=r"crop=13 .* 9x8"):
        ImageTransform(AugmentConfig(crop=13, padding=2), 0, 0)(image, 0)


def test_a_crop_larger_than_the_image_is_refused():
    with pytest.raises(InputError, match=r"crop=13 .* 9x8"):
        random_crop_flip(_images(), _generator(), crop=13, padding=2, flip=False)


@pytest.mark.parametrize("policy", [name for name in AUGMENTATIONS if name != "none"])
def test_a_policy_is_drawn_for_each_image_whatever_the_batch(policy):
    images, index = _images(12, 16, 16), torch.arange(100, 112)
    config = AugmentConfig(policy=policy)
    before = torch.random.get_rng_state()
    together = apply_policy(images, index, config, seed=1, epoch=2)
    assert torch.equal(before, torch.random.get_rng_state())
    apart = torch.cat([apply_policy(images[i : i + 1], index[i : i + 1], config, 1, 2) for i in range(12)])
    assert torch.equal(together, apart)
    assert not torch.equal(together, apply_policy(images, index, config, seed=1, epoch=3))
    assert not torch.equal(together, apply_policy(images, index, config, seed=2, epoch=2))
    # the same picture twelve times: with one draw for all, all would come out alike
    same = apply_policy(images[:1].expand(12, -1, -1, -1), index, config, seed=1, epoch=2)
    assert len({image.numpy().tobytes() for image in same}) > 4


def test_the_scale_follows_the_images_unless_the_recipe_names_it():
    index = torch.arange(2)
    for size, named, expected in ((64, None, "cifar"), (65, None, "imagenet"), (64, "imagenet", "imagenet")):
        images = _images(2, size, size)
        ours = apply_policy(images, index, AugmentConfig(policy="prime", scale=named), 0, 0)
        assert torch.equal(ours, augment_batch(images, "prime", index=index, scale=expected))


def test_recipes_know_every_augmentation():
    for name in AUGMENTATIONS:
        assert AugmentConfig(policy=name).policy == name
    with pytest.raises(InputError, match=r"augment.policy='prim' is not one of none, .* mean 'prime'"):
        AugmentConfig(policy="prim")


@pytest.mark.parametrize("policy", ["autoaugment", "augmix9", "prime"])
def test_a_streamed_image_is_augmented_as_a_resident_one(policy):
    images = _images(1, 16, 16)
    config = AugmentConfig(crop=None, flip=False, policy=policy)
    streamed = ImageTransform(config, 3, 4)(Image.fromarray(images[0].permute(1, 2, 0).numpy()), 7)
    assert torch.equal(streamed, apply_policy(images, torch.tensor([7]), config, 3, 4)[0])


def test_a_streamed_image_is_augmented_by_its_number_alone():
    transform = ImageTransform(
        AugmentConfig(resize=20, crop=16, padding=0, flip=True, policy="autoaugment"), 3, 4
    )
    image = Image.fromarray(_images(1, 40, 30)[0].permute(1, 2, 0).numpy())
    first = transform(image, 7)
    assert first.shape == (3, 16, 16)
    assert torch.equal(first, pickle.loads(pickle.dumps(transform))(image, 7))
    others = [transform(image, number) for number in range(8, 16)]
    assert any(not torch.equal(first, other) for other in others)
