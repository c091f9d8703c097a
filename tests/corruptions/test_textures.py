"""Where the pictures of frost come from, and how they are prepared."""

import cv2
import numpy as np
import pytest
import torch
from PIL import Image

from pushpull.corruptions import frost_procedural, textures
from pushpull.errors import InputError, MissingFileError

CPU = torch.device("cpu")


def write_photographs(folder, size=(90, 60)):
    """Write five pictures of one colour each, as the benchmark names them."""
    folder.mkdir(parents=True)
    for number, suffix in enumerate(("png", "png", "png", "jpg", "jpg"), start=1):
        Image.new("RGB", size, (20 * number, 100, 200)).save(folder / f"frost{number}.{suffix}")
    return folder


def test_without_photographs_frost_is_drawn(no_photographs):
    assert textures.frost_texture_source() == "procedural"


def test_a_folder_named_by_the_environment(no_photographs, monkeypatch, tmp_path):
    folder = write_photographs(tmp_path / "five")
    monkeypatch.setenv(textures.ENVIRONMENT_VARIABLE, str(folder))
    assert textures.frost_texture_source() == str(folder)
    pixels, sizes = textures.frost_textures(1, 20, 30, CPU)
    assert sizes.tolist() == [[60, 90]] * 5
    # Red comes first: read as RGB, not as OpenCV's BGR.
    np.testing.assert_allclose(pixels[0].mean((1, 2)), [20, 40, 60, 80, 100], atol=2)
    np.testing.assert_allclose(pixels[2].mean((1, 2)), [200] * 5, atol=2)


def test_the_user_s_cache(no_photographs, tmp_path):
    folder = write_photographs(tmp_path / "pushpull" / "frost")
    assert textures.frost_texture_source() == str(folder)


def test_the_package_is_used_without_importing_it(no_photographs, monkeypatch, tmp_path):
    write_photographs(tmp_path / "breaks_on_import" / "frost")
    (tmp_path / "breaks_on_import" / "__init__.py").write_text("raise RuntimeError('imported')\n")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(textures, "PACKAGE", "breaks_on_import")
    assert textures.frost_texture_source() == "breaks_on_import"


def test_a_named_folder_without_the_five_is_an_error(no_photographs, monkeypatch, tmp_path):
    monkeypatch.setenv(textures.ENVIRONMENT_VARIABLE, str(tmp_path))
    with pytest.raises(MissingFileError, match="frost1 to frost5"):
        textures.frost_texture_source()


def test_a_broken_photograph_is_named(no_photographs, monkeypatch, tmp_path):
    folder = write_photographs(tmp_path / "five")
    (folder / "frost3.png").write_bytes(b"not a picture")
    monkeypatch.setenv(textures.ENVIRONMENT_VARIABLE, str(folder))
    with pytest.raises(InputError, match=r"frost3\.png"):
        textures.frost_textures(1, 20, 30, CPU)


@pytest.mark.parametrize(("scale", "off_by_one"), [(0.2, 0.0), (0.3, 0.15)])
def test_resized_as_opencv_linear(scale, off_by_one, no_photographs):
    pixels, sizes = textures.frost_textures(scale, 32, 32, CPU)
    for number, picture in enumerate(textures.draw_frost()):
        source = picture.permute(1, 2, 0).contiguous().numpy()
        theirs = cv2.resize(source, (0, 0), fx=scale, fy=scale, interpolation=cv2.INTER_LINEAR)
        height, width = sizes[number].tolist()
        assert (height, width) == theirs.shape[:2]
        ours = pixels[:, number, :height, :width].permute(1, 2, 0).numpy()
        assert np.abs(ours - theirs).max() <= 1
        assert (ours != theirs).mean() <= off_by_one


def test_enlarged_to_cover_with_kept_proportions(no_photographs):
    sizes = textures.frost_textures(0.2, 100, 110, CPU).sizes
    assert sizes.tolist() == [[100, 150]] * 5


def test_drawn_frost_is_always_the_same_and_five_different_pictures():
    pictures = frost_procedural.draw_frost()
    again = frost_procedural.draw_frost.__wrapped__()
    for picture, repeat in zip(pictures, again, strict=True):
        assert picture.dtype == torch.uint8
        assert torch.equal(picture, repeat)
    assert all(not torch.equal(pictures[i], pictures[j]) for i in range(5) for j in range(i))


def test_drawn_frost_has_the_photographs_brightness_spread_and_detail():
    # Measured on the photographs of the package imagecorruptions 1.1.2.
    means = [(77.7, 149.1, 165.7), (200.8, 205.4, 214.5), (200.8, 205.4, 214.5), (137.6, 152.8, 165.2)]
    laplacians = (26.9, 28.0, 28.0, 46.6)
    for picture, mean, laplacian in zip(frost_procedural.draw_frost(), means, laplacians, strict=False):
        pixels = picture.float()
        np.testing.assert_allclose(pixels.mean((1, 2)), mean, atol=1.5)
        assert 15 < pixels.std((1, 2)).min() < pixels.std((1, 2)).max() < 30
        detail = cv2.Laplacian(pixels.mean(0).numpy(), cv2.CV_32F).std()
        assert detail == pytest.approx(laplacian, rel=0.15)
