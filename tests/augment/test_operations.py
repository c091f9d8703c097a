"""The batched operations against torchvision's, an image at a time."""

import math

import pytest
import torch
from torchvision.transforms import v2
from torchvision.transforms.v2 import functional as F

from augment.made import pictures
from pushpull.augment.operations import OPS, apply_ops, equalize_table

# torchvision's arithmetic of an operation, with the magnitude as its policies have it.
_THEIRS = v2.TrivialAugmentWide()
_TITLE = {
    "identity": "Identity",
    "shear_x": "ShearX",
    "shear_y": "ShearY",
    "translate_x": "TranslateX",
    "translate_y": "TranslateY",
    "autocontrast": "AutoContrast",
}
_MAGNITUDES = {
    "shear_x": [-0.99, -0.3137, 0.0, 0.2137, 0.7213],
    "shear_y": [-0.99, -0.3137, 0.0, 0.2137, 0.7213],
    "translate_x": [-14.2, -3.0, 0.0, 0.9, 9.99],
    "translate_y": [-14.2, -3.0, 0.0, 0.9, 9.99],
    "rotate": [-135.0, -27.0, 0.0, 13.1, 90.0],
    "posterize": [0.0, 2.0, 4.0, 7.0, 8.0],
    "solarize": [0.0, 0.21, 0.5, 0.9, 1.0],
}
_FACTORS = [-0.99, -0.4, 0.0, 0.33, 0.99]


def _theirs(name, image, magnitude, interpolation):
    title = _TITLE.get(name, name.capitalize())
    mode = v2.InterpolationMode(interpolation)
    return _THEIRS._apply_image_or_video_transform(image, title, magnitude, mode, {torch.Tensor: None})


@pytest.mark.parametrize("interpolation", ["nearest", "bilinear"])
@pytest.mark.parametrize("name", OPS)
def test_every_operation_is_torchvisions_image_by_image(name, interpolation):
    magnitudes = torch.tensor(_MAGNITUDES.get(name, _FACTORS)).tolist()  # as float32, which policies draw
    images = pictures(len(magnitudes), 37, 30)
    op = torch.full((len(images),), OPS.index(name))
    ours = apply_ops(images, op, torch.tensor(magnitudes), bilinear=interpolation == "bilinear")
    theirs = torch.stack(
        [_theirs(name, image, m, interpolation) for image, m in zip(images, magnitudes, strict=True)]
    )
    apart = (ours.int() - theirs.int()).abs()
    if name in ("shear_x", "shear_y", "rotate") and interpolation == "nearest":
        # Both round a place in float32; within 1e-5 px of the middle between two pixels they may take
        # different ones.
        assert (apart > 0).double().mean() < 2e-3
    else:
        # Both compute in float32, in another order, and drop or round the fraction.
        assert apart.max() <= 1
        assert (apart > 0).double().mean() < 1e-3


@pytest.mark.parametrize("name", ["shear_x", "shear_y"])
def test_round_shears_differ_from_torchvisions_in_the_middle_between_pixels_only(name):
    # By 0.2 px a px whole lines are read in the middle between two pixels, or have values of half a level:
    # which way they go is a matter of float32's last bit.
    images, op = pictures(4, 37, 30), torch.full((4,), OPS.index(name))
    magnitudes = torch.tensor([-0.3, -0.1, 0.2, 0.3])
    for interpolation in ("nearest", "bilinear"):
        ours = apply_ops(images, op, magnitudes, bilinear=interpolation == "bilinear")
        pairs = zip(images, magnitudes.tolist(), strict=True)
        theirs = torch.stack([_theirs(name, image, m, interpolation) for image, m in pairs])
        apart = (ours.int() - theirs.int()).abs()
        assert (apart > 0).double().mean() < 2e-2
        assert interpolation == "nearest" or apart.max() <= 1


def test_operations_in_one_batch_do_not_touch_each_other():
    images = pictures(3 * len(OPS), 20, 24)
    op = torch.arange(len(images)) % len(OPS)
    magnitude = torch.linspace(0.05, 0.9, len(images))
    magnitude = torch.where(op == OPS.index("posterize"), 3.0, magnitude)
    before = images.clone()
    together = apply_ops(images, op, magnitude)
    assert torch.equal(images, before)
    apart = [apply_ops(images[i : i + 1], op[i : i + 1], magnitude[i : i + 1]) for i in range(len(images))]
    assert torch.equal(together, torch.cat(apart))


def test_flat_channels_stay_as_they_are():
    flat = torch.full((1, 3, 16, 16), 77, dtype=torch.uint8)
    for name in ("autocontrast", "equalize"):
        assert torch.equal(apply_ops(flat, torch.tensor([OPS.index(name)]), torch.zeros(1)), flat)
        assert torch.equal(getattr(F, name)(flat), flat)


def test_equalize_by_hand():
    # 510 pixels of levels 10, 20, 30 and 765 of the highest, 40: step = 3 * 510 // 255 = 6, and
    # (510 i + 3) // 6 = 85 i: 0, 85, 170, 255.
    levels = torch.tensor([10] * 510 + [20] * 510 + [30] * 510 + [40] * 765, dtype=torch.uint8)
    image = levels.view(1, 1, 45, 51).expand(1, 3, -1, -1)
    assert equalize_table(image)[0, 1, [10, 20, 30, 40]].tolist() == [0, 85, 170, 255]


def test_a_turn_by_a_right_angle_is_exact():
    images = pictures(1, 24, 24)
    turned = apply_ops(images, torch.tensor([OPS.index("rotate")]), torch.tensor([90.0]))
    assert torch.equal(turned, images.rot90(1, (2, 3)))
    assert math.isclose(images.double().mean(), turned.double().mean())
