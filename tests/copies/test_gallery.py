"""The gallery: every tile where it belongs, sizes, files, mistakes in one line."""

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from pushpull.cli import main
from pushpull.copies import draw_gallery, gallery, sample_image
from pushpull.corruptions import CORRUPTIONS, EXTRA_CORRUPTIONS, REGISTRY, corrupt, register_corruption


def holds(sheet, tile):
    """Return how often a picture is on the sheet, looked for at every pixel of its first colour."""
    pixels, part = np.asarray(sheet), np.asarray(tile)
    height, width = part.shape[:2]
    corners = np.argwhere((pixels[: -height + 1, : -width + 1] == part[0, 0]).all(-1))
    return sum(np.array_equal(pixels[y : y + height, x : x + width], part) for y, x in corners)


def test_our_own_image_is_always_the_same_and_colourful():
    image = sample_image()
    assert image.size == (256, 256)
    assert image.mode == "RGB"
    assert image.tobytes() == sample_image().tobytes()
    assert np.asarray(image).std(axis=(0, 1)).min() > 40


def test_tiles_are_the_engines_images():
    image = Image.fromarray(np.random.default_rng(0).integers(0, 256, (32, 32, 3), dtype=np.uint8))
    sheet = draw_gallery(image, corruptions=("contrast", "fog"), severities=(2, 5), seed=3)
    clean = torch.from_numpy(np.array(image)).permute(2, 0, 1)[None]
    for name in ("contrast", "fog"):
        for severity in (2, 5):
            made = corrupt(clean, name, severity, scale="cifar", seed=3, index=[0])[0]
            tile = Image.fromarray(made.permute(1, 2, 0).numpy()).resize((160, 160), Image.Resampling.NEAREST)
            assert holds(sheet, tile) == 1
    assert holds(sheet, image.resize((160, 160), Image.Resampling.NEAREST)) == 2


def test_rows_go_by_family_with_the_extra_one_last():
    names = sorted((*CORRUPTIONS, *EXTRA_CORRUPTIONS), key=gallery._order)
    assert names[:4] == ["gaussian_noise", "shot_noise", "impulse_noise", "speckle_noise"]
    assert [name for name in names if name in EXTRA_CORRUPTIONS] == [names[3], names[8], names[13], names[18]]


def test_large_images_are_framed_as_imagenet_c_and_others_not(monkeypatch):
    seen = []

    def record(images, *arguments, **options):
        seen.append((tuple(images.shape[2:]), options["scale"]))
        return images

    monkeypatch.setattr(gallery, "corrupt", record)
    for size, scale in (((500, 400), None), ((64, 64), None), ((48, 40), "tiny")):
        sheet = draw_gallery(Image.new("RGB", size), corruptions="fog", severities=1, scale=scale)
        assert sheet.size[0] > 300
    assert seen == [((224, 224), "imagenet"), ((64, 64), "tiny"), ((40, 48), "tiny")]


def test_the_command(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    Image.new("L", (32, 32), 90).save("cat.png")
    few = ["--corruptions", "contrast", "--severities", "1"]
    assert main(["corrupt", "--gallery", "cat.png", *few]) == 0
    assert main(["corrupt", "cat.png", "all.jpg", "--gallery", *few]) == 0
    assert "all.jpg" in capsys.readouterr().out
    with Image.open("cat-gallery.png") as one, Image.open("all.jpg") as other:
        assert one.size == other.size
        assert other.format == "JPEG"
    assert main(["corrupt", "--gallery", *few]) == 0
    assert main(["corrupt", "sample", "own.png", "--gallery", *few]) == 0
    assert (tmp_path / "sample-gallery.png").read_bytes() == (tmp_path / "own.png").read_bytes()


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        (["missing.png"], "missing.png does not exist"),
        (["text.png"], "text.png is not a readable image"),
        (["."], "is a folder"),
        (["cat.png", "out.gif"], "out.gif ends in '.gif'"),
        (["cat.png", "cat.png"], "cat.png exists; --overwrite replaces it"),
        (["cat.png", "--workers", "2"], "--workers 2 means nothing with --gallery"),
        (["cat.png", "--tile", "20"], "tile=20 is below 40"),
        (["cat.png", "--tile", "100000"], "px, above 150 megapixels; give a smaller tile"),
        (["cat.png", "--resize", "999999", "--crop", "32"], "resize=999999 would make the image 999999 x"),
        (["small.png"], "8x8 are too small"),
    ],
)
def test_mistakes_are_one_line(tmp_path, monkeypatch, capsys, arguments, text):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "text.png").write_text("no image", encoding="utf-8")
    for name, size in (("cat", (32, 32)), ("odd", (40, 50)), ("small", (8, 8))):
        Image.new("RGB", size).save(f"{name}.png")
    assert main(["corrupt", "--gallery", *arguments]) == 2
    error = capsys.readouterr().err.strip()
    assert text in error
    assert "\n" not in error


def test_a_picture_that_fills_the_memory_is_refused_by_its_header(tmp_path, monkeypatch, capsys, recwarn):
    path = tmp_path / "large.png"
    Image.new("1", (12_000, 12_000)).save(path)
    monkeypatch.setattr(Image.Image, "load", lambda self: pytest.fail("it was decoded"))
    assert main(["corrupt", str(path), str(tmp_path / "g.png"), "--gallery"]) == 2
    error = capsys.readouterr().err
    assert "12000 x 12000 px, above 89 megapixels" in error
    assert error.count("\n") == 1
    assert not [warning for warning in recwarn if "Bomb" in str(warning.category)]


def test_a_photograph_of_any_size_has_the_nearest_scale_and_a_note(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Image.new("RGB", (112, 80)).save("photo.png")
    arguments = ["photo.png", "--corruptions", "Fog", "gaussian noise", "--severities", "1"]
    said = r"^images of 80x112 px are corrupted with the constants of the nearest size, scale=tiny \(64x64\)"
    with pytest.warns(UserWarning, match=said):
        assert main(["corrupt", "--gallery", *arguments]) == 0
    assert Path("photo-gallery.png").is_file()


def test_a_corruption_of_ones_own_has_a_row_too():
    if "test_gallery_dim" not in REGISTRY:
        register_corruption("test_gallery_dim", severities=[0.9, 0.8, 0.7, 0.6, 0.5])(
            lambda x, share: x * share
        )
    try:
        assert draw_gallery(Image.new("RGB", (32, 32)), corruptions="test_gallery_dim", severities=1)
    finally:
        REGISTRY.pop("test_gallery_dim")
