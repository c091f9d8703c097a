import io
import pickle
import warnings

import numpy as np
import pytest
from PIL import Image

from data.made import encoded, noisy_jpeg, picture
from pushpull.data.decode import UnreadableImageError, image_size, open_rgb
from pushpull.data.preprocessing import to_tensor
from pushpull.errors import InputError


def decoded(image: Image.Image, kind: str = "PNG") -> np.ndarray:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        result = open_rgb(encoded(image, kind), "it")
    assert result.mode == "RGB"
    return np.asarray(result)


def test_grey_is_repeated():
    levels = np.arange(16, dtype=np.uint8).reshape(4, 4) * 16
    np.testing.assert_array_equal(decoded(Image.fromarray(levels)), np.repeat(levels[..., None], 3, axis=2))


def test_transparency_is_dropped_not_blended():
    rgba = np.full((2, 2, 4), (10, 20, 30, 0), dtype=np.uint8)
    assert decoded(Image.fromarray(rgba)).tolist() == [[[10, 20, 30]] * 2] * 2
    grey_alpha = Image.fromarray(rgba[..., :2].copy(), mode="LA")
    assert decoded(grey_alpha).tolist() == [[[10, 10, 10]] * 2] * 2


def test_a_palette_gives_its_colours_with_and_without_transparency():
    image = Image.new("P", (2, 1))
    image.putpalette([255, 0, 0, 0, 0, 255])
    image.putpixel((1, 0), 1)
    assert decoded(image).tolist() == [[[255, 0, 0], [0, 0, 255]]]
    image.info["transparency"] = b"\x00\x80"
    assert decoded(image).tolist() == [[[255, 0, 0], [0, 0, 255]]]


def test_cmyk_and_black_and_white():
    assert decoded(Image.new("CMYK", (1, 1), (0, 255, 255, 0)), "TIFF").tolist() == [[[255, 0, 0]]]
    assert decoded(Image.new("1", (1, 1), 1)).tolist() == [[[255, 255, 255]]]


def test_sixteen_bits_keep_their_high_byte():
    words = np.array([[0, 255, 256, 0x80FF, 0xFFFF]], dtype=np.uint16)
    for kind in ("PNG", "TIFF"):
        assert decoded(Image.fromarray(words), kind)[0, :, 0].tolist() == [0, 0, 1, 128, 255]


def test_exif_orientation_is_not_applied():
    exif = Image.Exif()
    exif[0x0112] = 6  # "rotate by 90 degrees"
    buffer = io.BytesIO()
    picture(7, (4, 10)).save(buffer, format="JPEG", exif=exif)
    upright = open_rgb(buffer.getvalue(), "it")
    assert (upright.height, upright.width) == (4, 10)


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "zero bytes"),
        (b"this is no image", "cannot identify image file"),
        (noisy_jpeg()[:1500], "truncated"),
        (encoded(Image.new("F", (2, 2)), "TIFF"), "floating-point"),
        (encoded(picture(3, (64, 64)))[:-30], ""),
    ],
)
def test_what_cannot_be_read_is_named_in_one_line(content, reason):
    with pytest.raises(UnreadableImageError, match=r"^train row 7 is not a readable image") as caught:
        open_rgb(content, "train row 7")
    assert reason in str(caught.value)
    assert "\n" not in str(caught.value)
    assert " at 0x" not in str(caught.value)


def test_a_missing_file_is_unreadable(tmp_path):
    with pytest.raises(UnreadableImageError, match="No such file"):
        open_rgb(tmp_path / "gone.png", "gone.png")


def test_the_error_survives_a_worker():
    error = pickle.loads(pickle.dumps(UnreadableImageError("row 3", "zero bytes")))
    assert (error.name, error.reason) == ("row 3", "zero bytes")
    assert isinstance(error, InputError)


def test_the_size_is_read_from_the_header_of_a_truncated_file():
    assert image_size(noisy_jpeg((48, 80))[:1500], "it") == (48, 80)


def test_to_tensor_is_channels_first():
    image = Image.new("RGB", (3, 2), (1, 2, 3))
    image.putpixel((2, 1), (9, 8, 7))
    tensor = to_tensor(image)
    assert tensor.shape == (3, 2, 3)
    assert tensor[:, 1, 2].tolist() == [9, 8, 7]
    assert tensor[:, 0, 0].tolist() == [1, 2, 3]
