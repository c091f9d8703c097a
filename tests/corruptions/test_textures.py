"""Where the pictures of frost come from, and how they are prepared."""

import hashlib

import cv2
import numpy as np
import pytest
import torch
import torch.nn.functional as F
from PIL import Image

from pushpull.corruptions import frost_procedural, textures, weather
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
    pixels, sizes, _ = textures.frost_textures(1, CPU)
    assert sizes.tolist() == [[60, 90]] * 5
    # Red comes first: read as RGB, not as OpenCV's BGR.
    np.testing.assert_allclose(pixels[0].float().mean((1, 2)), [20, 40, 60, 80, 100], atol=2)
    np.testing.assert_allclose(pixels[2].float().mean((1, 2)), [200] * 5, atol=2)


def test_the_user_s_cache(no_photographs, tmp_path):
    folder = write_photographs(tmp_path / "pushpull" / "frost")
    assert textures.frost_texture_source() == str(folder)


def add_package(monkeypatch, folder, name="breaks_on_import"):
    """Make a package that has photographs and cannot be imported."""
    write_photographs(folder / name / "frost")
    (folder / name / "__init__.py").write_text("raise RuntimeError('imported')\n")
    monkeypatch.syspath_prepend(folder)
    monkeypatch.setattr(textures, "PACKAGE", name)
    return folder / name / "frost"


def test_the_package_is_used_without_importing_it(no_photographs, monkeypatch, tmp_path):
    folder = add_package(monkeypatch, tmp_path)
    assert textures.frost_texture_source() == str(folder)


def test_the_order_of_places(no_photographs, monkeypatch, tmp_path):
    """Last to first: each place that is added comes before those that were there."""
    found = []
    monkeypatch.setattr(textures, "offline_variable", lambda: None)
    monkeypatch.setattr(textures, "fetch_unasked", lambda: found.append("download"))
    assert textures.frost_texture_source(download=False) == "procedural"
    assert found == []
    assert textures.frost_texture_source() == "procedural"
    assert found == ["download"]
    package = add_package(monkeypatch, tmp_path, "a_package_with_frost")
    assert textures.frost_texture_source() == str(package)
    cache = write_photographs(tmp_path / "pushpull" / "frost")
    assert textures.frost_texture_source() == str(cache)
    named = write_photographs(tmp_path / "named")
    monkeypatch.setenv(textures.ENVIRONMENT_VARIABLE, str(named))
    assert textures.frost_texture_source() == str(named)
    assert found == ["download"]


def test_what_is_downloaded_is_used_at_once(no_photographs, monkeypatch, tmp_path):
    folder = tmp_path / "pushpull" / "frost"
    monkeypatch.setattr(textures, "offline_variable", lambda: None)
    monkeypatch.setattr(textures, "fetch_unasked", lambda: write_photographs(folder))
    assert textures.frost_texture_source() == str(folder)


def test_the_benchmark_s_photographs_have_one_name_wherever_they_are(no_photographs, monkeypatch, tmp_path):
    named, cache = write_photographs(tmp_path / "named"), write_photographs(tmp_path / "pushpull" / "frost")
    sums = {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in sorted(named.iterdir())}
    monkeypatch.setattr(textures, "SHA256", sums)
    assert textures.frost_texture_source() == "benchmark photographs"
    monkeypatch.setenv(textures.ENVIRONMENT_VARIABLE, str(named))
    assert textures.frost_texture_source() == "benchmark photographs"
    Image.new("RGB", (90, 60)).save(named / "frost2.png")
    assert textures.frost_texture_source() == str(named)
    monkeypatch.delenv(textures.ENVIRONMENT_VARIABLE)
    Image.new("RGB", (90, 60)).save(cache / "frost5.jpg")
    assert textures.frost_texture_source() == str(cache)


def test_a_named_folder_without_the_five_is_an_error(no_photographs, monkeypatch, tmp_path):
    monkeypatch.setenv(textures.ENVIRONMENT_VARIABLE, str(tmp_path))
    with pytest.raises(MissingFileError, match="frost1 to frost5"):
        textures.frost_texture_source()


def test_a_broken_photograph_is_named(no_photographs, monkeypatch, tmp_path):
    folder = write_photographs(tmp_path / "five")
    (folder / "frost3.png").write_bytes(b"not a picture")
    monkeypatch.setenv(textures.ENVIRONMENT_VARIABLE, str(folder))
    with pytest.raises(InputError, match=r"frost3\.png"):
        textures.frost_textures(1, CPU)


@pytest.mark.parametrize(("scale", "off_by_one"), [(0.2, 0.0), (0.3, 0.15)])
def test_resized_as_opencv_linear(scale, off_by_one, no_photographs):
    pixels, sizes, _ = textures.frost_textures(scale, CPU)
    for number, picture in enumerate(textures.draw_frost()):
        source = picture.permute(1, 2, 0).contiguous().numpy()
        theirs = cv2.resize(source, (0, 0), fx=scale, fy=scale, interpolation=cv2.INTER_LINEAR)
        height, width = sizes[number].tolist()
        assert (height, width) == theirs.shape[:2]
        ours = pixels[:, number, :height, :width].permute(1, 2, 0).float().numpy()
        assert np.abs(ours - theirs).max() <= 1
        assert (ours != theirs).mean() <= off_by_one


@pytest.mark.parametrize(("height", "width", "covering"), [(100, 110, (100, 150)), (90, 301, (201, 301))])
def test_frost_covers_large_images_with_kept_proportions(no_photographs, height, width, covering):
    """Photographs of 80 x 120 (400 x 600 at 0.2), enlarged bilinearly to whole levels, then cut."""
    params = (0, 1, 0.2)
    drawn = weather.FrostDraws(torch.tensor([3, 1]), torch.tensor([[0.0, 0.0], [0.5, 0.9]]))
    ours = weather.frost(torch.zeros(2, 3, height, width), params, drawn) * 255
    small = textures.frost_textures(0.2, CPU)[0][:, [3, 1], :80, :120].transpose(0, 1)
    large = F.interpolate(small.float(), size=covering, mode="bilinear")
    places = [max(side - wanted, 1) for side, wanted in zip(covering, (height, width), strict=True)]
    for image, enlarged, corner in zip(ours, large, drawn.corner, strict=True):
        top, left = (min(int(part * place), place - 1) for part, place in zip(corner, places, strict=True))
        expected = enlarged[:, top : top + height, left : left + width]
        assert (image - expected).abs().max() < 0.51


def test_drawn_frost_is_always_the_same_and_five_different_pictures():
    pictures = frost_procedural.draw_frost()
    again = frost_procedural.draw_frost.__wrapped__()
    for picture, repeat in zip(pictures, again, strict=True):
        assert picture.dtype == torch.uint8
        assert torch.equal(picture, repeat)
    assert all(not torch.equal(pictures[i], pictures[j]) for i in range(5) for j in range(i))


@pytest.fixture
def torch_settings():
    """Restore what the test below changes for the whole process."""
    threads = torch.get_num_threads()
    yield
    torch.set_num_threads(threads)
    torch.set_default_dtype(torch.float32)


def test_drawn_frost_is_the_same_whatever_the_threads_and_the_default_type(torch_settings):
    """A loader's worker has one thread, the main process many: both shall lay the same frost."""
    torch.set_num_threads(1)
    expected = frost_procedural.draw_frost()[3]
    for threads, kind in ((2, torch.float32), (3, torch.float64)):
        torch.set_num_threads(threads)
        torch.set_default_dtype(kind)
        assert torch.equal(frost_procedural._draw(3, *frost_procedural._PANES[3]), expected), threads


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
