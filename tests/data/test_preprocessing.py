import numpy as np
import pytest
import torch
from PIL import Image
from torchvision.transforms import v2
from torchvision.transforms.v2 import functional as reference

from pushpull.data.preprocessing import Framing, Preprocessing
from pushpull.errors import InputError


def photograph(height: int, width: int) -> Image.Image:
    return Image.fromarray(np.random.default_rng(0).integers(0, 256, (height, width, 3), dtype=np.uint8))


@pytest.mark.parametrize("size", [(40, 61), (61, 40), (33, 50), (48, 48), (32, 77)])
def test_framing_is_torchvisions(size):
    image = photograph(*size)
    framing = Framing(resize=32, crop=27)
    expected = reference.center_crop(reference.resize(image, 32), 27)
    np.testing.assert_array_equal(np.asarray(framing.apply(image)), np.asarray(expected))
    resized = Framing(resize=32).apply(image)
    assert (resized.height, resized.width) == Framing(resize=32).output_size(size)
    np.testing.assert_array_equal(np.asarray(resized), np.asarray(reference.resize(image, 32)))


def test_framing_without_steps_changes_nothing():
    image = photograph(5, 9)
    np.testing.assert_array_equal(np.asarray(Framing().apply(image)), np.asarray(image))
    assert Framing().output_size((5, 9)) == (5, 9)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"resize": 0}, "resize=0"),
        ({"crop": -3}, "crop=-3"),
        ({"crop": 2.5}, "crop=2.5"),
        ({"resize": 224, "crop": 256}, "crop=256 is larger than resize=224"),
    ],
)
def test_framing_refuses(options, said):
    with pytest.raises(InputError, match=said):
        Framing(**options)


def test_a_crop_larger_than_the_image_names_it():
    with pytest.raises(InputError, match=r"crop=16 is larger than cat\.png \(8 x 20 px\)"):
        Framing(crop=16).apply(photograph(8, 20), lambda: "cat.png")


def test_normalises_uint8_and_float_alike():
    images = torch.arange(2 * 3 * 4 * 4, dtype=torch.uint8).view(2, 3, 4, 4)
    ours = Preprocessing((0.1, 0.2, 0.3), (0.5, 0.25, 2.0))
    expected = v2.Normalize([0.1, 0.2, 0.3], [0.5, 0.25, 2.0])(images.float() / 255)
    torch.testing.assert_close(ours(images), expected)
    torch.testing.assert_close(ours(images.float() / 255), expected)
    assert ours(images.double() / 255).dtype == torch.float64


def test_resizes_before_it_normalises_and_only_where_the_size_differs():
    images = torch.rand(1, 3, 16, 16)
    small = Preprocessing((0.5,) * 3, (0.5,) * 3, size=8)
    assert small.size == (8, 8)
    expected = (v2.Resize((8, 8), antialias=True)(images) - 0.5) / 0.5
    torch.testing.assert_close(small(images), expected)
    same = Preprocessing((0.5,) * 3, (0.5,) * 3, size=(16, 16))
    torch.testing.assert_close(same(images), (images - 0.5) / 0.5)


def test_goes_to_a_dict_and_back():
    ours = Preprocessing([0.1, 0.2, 0.3], [1, 2, 3], size=[32, 24])
    assert ours.to_dict() == {"mean": [0.1, 0.2, 0.3], "std": [1.0, 2.0, 3.0], "size": [32, 24]}
    assert Preprocessing.from_dict(ours.to_dict()) == ours
    with pytest.raises(InputError, match="sizes"):
        Preprocessing.from_dict({"mean": [0, 0, 0], "std": [1, 1, 1], "sizes": 3})


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"std": (1.0, 0.0, 1.0)}, "not positive"),
        ({"mean": (0.5,)}, "not three numbers"),
        ({"mean": 0.5}, "not three numbers"),
        ({"mean": (0.0, float("nan"), 0.0)}, "not finite"),
        ({"size": (32, 0)}, "size=0"),
        ({"size": (1, 2, 3)}, "height, width"),
    ],
)
def test_preprocessing_refuses(options, said):
    with pytest.raises(InputError, match=said):
        Preprocessing(**options)


@pytest.mark.parametrize(
    "images", [torch.zeros(3, 4, 4), torch.zeros(1, 1, 4, 4), torch.zeros(1, 3, 4, 4).long()]
)
def test_refuses_what_is_not_a_batch_of_rgb(images):
    with pytest.raises(InputError, match="images of"):
        Preprocessing()(images)
