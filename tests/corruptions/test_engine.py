"""`corrupt`: identity, types, sizes, and one clear line for each mistake; all 19 corruptions."""

import io
import math
from contextlib import ExitStack

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from pushpull import random
from pushpull.corruptions import (
    CORRUPTIONS,
    EXTRA_CORRUPTIONS,
    SEVERITIES,
    apply_corruption,
    corrupt,
    engine,
    filters,
    noise,
    sample_corruption,
)
from pushpull.errors import InputError
from pushpull.random import native

ALL = CORRUPTIONS + EXTRA_CORRUPTIONS
DETERMINISTIC = {
    *("defocus_blur", "zoom_blur", "brightness", "contrast", "pixelate", "jpeg_compression"),
    *("gaussian_blur", "saturate"),
}


def pictures(count, height=24, width=24, seed=0):
    """Return smooth noise, uint8: photographs of nothing."""
    noise = torch.rand(
        count, 3, height // 4 + 1, width // 4 + 1, generator=torch.Generator().manual_seed(seed)
    )
    smooth = torch.nn.functional.interpolate(noise, size=(height, width), mode="bilinear")
    return (smooth * 255).to(torch.uint8)


@pytest.mark.parametrize("name", ALL)
@pytest.mark.parametrize("severity", range(1, 6))
def test_every_corruption_changes_the_image_and_keeps_its_form(name, severity):
    images = pictures(2, 32, 32)
    before = images.clone()
    result = corrupt(images, name, severity, scale="cifar", index=[0, 1])
    assert result.shape == images.shape
    assert result.dtype == torch.uint8
    assert torch.equal(images, before)
    change = (result.int() - images.int()).abs().float().mean((1, 2, 3))
    # Small defocus and glass radii, and pixelation of smooth images, move little.
    assert (change > 0).all()
    assert (change < 150).all()


@settings(max_examples=4, deadline=None)
@pytest.mark.parametrize("name", ALL)
@given(data=st.data())
def test_an_image_is_the_same_alone_in_another_batch_and_order(name, data):
    """Bit for bit, floats too: sizes are drawn so that vectorised loops end unevenly."""
    height, width = data.draw(st.integers(16, 41)), data.draw(st.integers(16, 41))
    scale, severity = data.draw(st.sampled_from(sorted(SEVERITIES))), data.draw(st.integers(1, 5))
    index = torch.tensor(data.draw(st.lists(st.integers(-(2**63), 2**63 - 1), min_size=2, max_size=5)))
    images = pictures(len(index), height, width, seed=height * width).float() / 255
    how = {"scale": scale, "seed": 5, "quantize": False}
    whole = corrupt(images, name, severity, index=index, **how)
    cut = data.draw(st.integers(1, len(index) - 1))
    order = torch.tensor(data.draw(st.permutations(range(len(index)))))
    for part in (slice(0, cut), slice(cut, None), slice(0, 1), order):
        again = corrupt(images[part], name, severity, index=index[part], **how)
        assert torch.equal(again, whole[part])


@pytest.mark.parametrize("name", ALL)
@pytest.mark.parametrize(
    ("size", "scale"), [((224, 200), "imagenet"), ((299, 135), "tiny"), ((65, 47), "cifar")]
)
def test_large_images_are_the_same_alone_and_in_a_batch(name, size, scale):
    """Odd sizes too: planes then begin anywhere in memory, and libraries look at that."""
    images = pictures(3, *size)
    how = {"scale": scale, "quantize": False}
    whole = corrupt(images, name, 2, index=[4, 5, 6], **how)
    for i in range(3):
        assert torch.equal(corrupt(images[i : i + 1], name, 2, index=[4 + i], **how), whole[i : i + 1])


@pytest.fixture
def torch_settings():
    """Restore what the tests below change for the whole process; contexts are entered on what this gives."""
    with ExitStack() as contexts:
        yield contexts
    torch.set_num_threads(THREADS)
    torch.set_float32_matmul_precision("highest")
    torch.set_default_dtype(torch.float32)


THREADS = torch.get_num_threads()
SETTINGS = {
    "threads": lambda _: torch.set_num_threads(2 if THREADS == 1 else 1),
    "matmul precision": lambda _: torch.set_float32_matmul_precision("medium"),
    "default dtype": lambda _: torch.set_default_dtype(torch.float64),
    "short default dtype": lambda _: torch.set_default_dtype(torch.bfloat16),
    "default device": lambda contexts: contexts.enter_context(torch.device("meta")),
}


@pytest.mark.parametrize("setting", SETTINGS)
@pytest.mark.parametrize("name", ALL)
def test_settings_of_torch_change_nothing(name, setting, torch_settings, monkeypatch):
    images = pictures(2, 64, 48)
    how = {"scale": "imagenet", "index": [0, 1], "quantize": False}
    expected = corrupt(images, name, 1, **how)
    SETTINGS[setting](torch_settings)
    for table in (filters._line_blocks, random._mixed_counter, random._normal_table, noise.alias_tables):
        table.cache_clear()
    for compiled_too in "10":
        monkeypatch.setenv(native.ENVIRONMENT_VARIABLE, compiled_too)
        assert torch.equal(corrupt(images, name, 1, **how), expected), compiled_too


@pytest.mark.parametrize("name", ALL)
def test_random_corruptions_follow_index_seed_and_severity(name):
    images = pictures(1, 32, 32).expand(2, -1, -1, -1)
    a = corrupt(images, name, 3, scale="cifar", index=[0, 1])
    b = corrupt(images, name, 3, scale="cifar", index=[0, 1], seed=1)
    same = name in DETERMINISTIC
    assert torch.equal(a[0], a[1]) == same
    assert torch.equal(a, b) == same


@pytest.mark.parametrize("name", ALL)
def test_global_random_state_is_untouched_with_an_index(name):
    state, numpy_state = torch.get_rng_state(), np.random.get_state()[1].copy()
    corrupt(pictures(1), name, 2, scale="cifar", index=[0])
    assert torch.equal(torch.get_rng_state(), state)
    assert np.array_equal(np.random.get_state()[1], numpy_state)


def test_without_an_index_torchs_seed_governs():
    images = pictures(2)
    torch.manual_seed(3)
    first, second = (corrupt(images, "gaussian_noise", 3) for _ in range(2))
    torch.manual_seed(3)
    assert torch.equal(corrupt(images, "gaussian_noise", 3), first)
    assert not torch.equal(first, second)


@pytest.mark.parametrize("name", ALL)
def test_floats_agree_with_bytes(name):
    """Whole grey levels come back from floats too; unquantized ones lie less than a level above."""
    images = pictures(2, 32, 40)
    levels = corrupt(images, name, 2, scale="tiny", index=[7, 8])
    ours = corrupt(images.float() / 255, name, 2, scale="tiny", index=[7, 8])
    assert ours.dtype == torch.float32
    # shot_noise draws once more for what floats have beyond whole levels: next to nothing here.
    assert (ours * 255 == levels).float().mean() > 0.999
    for batch in (images, images.float() / 255):
        exact = corrupt(batch, name, 2, scale="tiny", index=[7, 8], quantize=False)
        assert exact.dtype == torch.float32
        assert 0 <= exact.min() <= exact.max() <= 1
        excess = exact * 255 - levels
        assert ((excess > -1e-2) & (excess < 1.01)).float().mean() > 0.999


@pytest.mark.parametrize("name", ALL)
@pytest.mark.parametrize("kind", [torch.uint8, torch.float32])
def test_sampling_and_applying_is_corrupting(name, kind):
    images = pictures(3, 20, 37)
    images = images if kind == torch.uint8 else images / 255
    how = {"scale": "cifar", "jpeg_quality": 85}
    expected = corrupt(images, name, 3, seed=9, index=[5, 6, 7], **how)
    drawn = sample_corruption(
        name, 3, (20, 37), scale="cifar", seed=9, index=[5, 6, 7], eight_bit=kind == torch.uint8
    )
    assert torch.equal(apply_corruption(images, name, 3, drawn, **how), expected)
    assert (drawn is None) == (name in DETERMINISTIC)


def test_drawn_parameters_can_be_changed_and_fed_back():
    images = pictures(2, 32, 32)
    angle = sample_corruption("motion_blur", 3, (32, 32), scale="cifar", index=[0, 1])
    assert angle.shape == (2,)
    assert angle.abs().max() <= 45
    level, tilted = (
        apply_corruption(images, "motion_blur", 3, torch.full((2,), float(deg)), scale="cifar")
        for deg in (0, 40)
    )
    assert not torch.equal(level, tilted)
    constant_rows = images[:, :, :, :1].expand_as(images).contiguous()
    along_rows = apply_corruption(constant_rows, "motion_blur", 3, torch.zeros(2), scale="cifar")
    assert torch.equal(along_rows, constant_rows)


def test_a_batch_is_cut_into_parts_without_a_trace(monkeypatch):
    images = pictures(5, 24, 24)
    whole = {name: corrupt(images, name, 3, scale="cifar", index=range(5)) for name in ALL}
    monkeypatch.setattr(engine, "_PIXELS_PER_THREAD", 2 * 24 * 24 // torch.get_num_threads())
    for name in ALL:
        assert torch.equal(corrupt(images, name, 3, scale="cifar", index=range(5)), whole[name]), name


@pytest.mark.parametrize("name", ["contrast", "fog"])
def test_jpeg_quality_is_pillows(name):
    images = pictures(2, 33, 40)
    ours = corrupt(images, name, 2, index=[0, 1], jpeg_quality=85)
    for image, plain in zip(ours, corrupt(images, name, 2, index=[0, 1]), strict=True):
        file = io.BytesIO()
        Image.fromarray(plain.permute(1, 2, 0).numpy()).save(file, "JPEG", quality=85)
        assert np.array_equal(image.permute(1, 2, 0).numpy(), np.asarray(Image.open(file)))


def test_float64_and_bfloat16_keep_their_type():
    for dtype in (torch.float64, torch.bfloat16):
        assert corrupt(pictures(1).to(dtype) / 255, "contrast", 1, index=[0]).dtype == dtype


def test_memory_order_of_the_input_does_not_matter():
    images = pictures(2, 20, 33)
    for name in ALL:
        expected = corrupt(images, name, 3, scale="cifar", index=[1, 2])
        ours = corrupt(
            images.contiguous(memory_format=torch.channels_last), name, 3, scale="cifar", index=[1, 2]
        )
        assert torch.equal(ours, expected), name


@pytest.mark.parametrize("name", ALL)
def test_an_empty_batch_is_an_empty_batch(name):
    assert corrupt(pictures(0), name, 3).shape == (0, 3, 24, 24)


@pytest.mark.parametrize("number", [np.int64, np.uint8, torch.tensor])
def test_severity_and_seed_may_be_numpys_and_torchs_integers(number):
    images, expected = pictures(1), corrupt(pictures(1), "shot_noise", 3, seed=7, index=[0])
    assert torch.equal(corrupt(images, "shot_noise", number(3), seed=number(7), index=[0]), expected)


@pytest.mark.parametrize("seed", [-1, -(2**90), 2**63, 2**64 - 1, 2**90 + 1])
def test_any_seed_will_do(seed):
    images = pictures(1)
    ours = corrupt(images, "fog", 3, seed=seed, index=[0])
    assert torch.equal(corrupt(images, "fog", 3, seed=seed % 2**64, index=[0]), ours)


@pytest.mark.parametrize("kind", ["int8", "uint8", "int16", "uint16", "int32", "uint32", "int64", "uint64"])
def test_index_may_be_of_any_type_of_integer(kind):
    images = pictures(2)
    expected = corrupt(images, "gaussian_noise", 3, index=[1, 0])
    array = np.array([0, 1], dtype=kind)[::-1]
    for index in (torch.tensor([1, 0]).to(getattr(torch, kind)), array, list(array), tuple(array)):
        assert torch.equal(corrupt(images, "gaussian_noise", 3, index=index), expected)


@pytest.mark.parametrize("name", ["glass_blur", "gaussian_blur", "elastic_transform", "spatter"])
def test_autocast_changes_nothing(name):
    images = pictures(1, 32, 32)
    expected = corrupt(images, name, 3, scale="cifar", index=[0])
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert torch.equal(corrupt(images, name, 3, scale="cifar", index=[0]), expected)


@pytest.mark.parametrize("name", ALL)
def test_autograd_may_follow_an_evaluation(name):
    """What is kept between calls is not bound to the inference mode it was made in."""
    images = pictures(1, 21, 27).float() / 255
    with torch.inference_mode():
        corrupt(images, name, 2, scale="tiny", index=[0])
    corrupt(images.requires_grad_(), name, 2, scale="tiny", index=[0])


GOOD = pictures(2)
MISTAKES = [
    (
        {"name": "gausian_noise"},
        r"corruption='gausian_noise' is not one of .*did you mean 'gaussian_noise'\?",
    ),
    ({"severity": 0}, r"severity=0 is outside 1\.\.5"),
    ({"severity": 6}, r"severity=6 is outside 1\.\.5"),
    ({"severity": True}, "severity=True is not an integer"),
    ({"severity": 2.0}, r"severity=2\.0 is not an integer"),
    ({"severity": "3"}, "severity='3' is not an integer"),
    ({"scale": "cifar10"}, r"scale='cifar10' is not one of imagenet, cifar, tiny; did you mean 'cifar'\?"),
    ({"severity": np.float64(2)}, r"severity=np\.float64\(2\.0\) is not an integer"),
    ({"seed": True}, "seed=True is not an integer; give any whole number"),
    ({"seed": 1.5}, r"seed=1\.5 is not an integer"),
    ({"images": GOOD.numpy()}, "images is a ndarray, not a tensor"),
    ({"images": GOOD[0]}, r"shape \(3, 24, 24\), not \(N, 3, H, W\)"),
    ({"images": GOOD.permute(0, 2, 3, 1)}, r"shape \(2, 24, 24, 3\)"),
    ({"images": GOOD[..., :15]}, "images of 24x15 are too small; give at least 16x16"),
    ({"images": GOOD.int()}, r"dtype torch\.int32; give uint8"),
    ({"images": GOOD.float()}, r"outside \[0, 1\]; corrupt before normalising"),
    ({"images": (GOOD / 255).to(torch.float8_e4m3fn)}, r"dtype torch\.float8_e4m3fn; give uint8"),
    ({"images": (GOOD / 255).to(torch.float8_e5m2)}, r"dtype torch\.float8_e5m2; give uint8"),
    ({"images": GOOD.to("meta")}, "is a meta tensor; give a plain one"),
    ({"images": (GOOD / 255).to_sparse()}, "is a sparse_coo tensor; give a plain one"),
    ({"images": torch.quantize_per_tensor(GOOD / 255, 0.1, 0, torch.quint8)}, "is a quantized tensor"),
    ({"images": torch.full((2, 3, 16, 16), 1.0 + 2**-20)}, r"spans 1\.000001\.\.1\.000001, outside \[0, 1\]"),
    ({"images": GOOD / 255 - 0.5}, r"outside \[0, 1\]"),
    ({"images": torch.full((2, 3, 16, 16), float("nan"))}, r"spans nan\.\.nan, outside \[0, 1\]"),
    ({"jpeg_quality": 0}, r"jpeg_quality=0 is outside 1\.\.100"),
    ({"jpeg_quality": 85.0}, r"jpeg_quality=85\.0 is not an integer"),
    ({"jpeg_quality": 85, "quantize": False}, "jpeg_quality=85 goes through 8 bits"),
    ({"quantize": 1}, "quantize=1 is neither True nor False; give one of them"),
    ({"index": [0]}, r"index has the shape \(1,\), the batch 2 images"),
    ({"index": [[0, 1]]}, r"index has the shape \(1, 2\)"),
    ({"index": 3}, r"index has the shape \(\), the batch 2 images"),
    ({"index": [0.0, 1.0]}, r"index has the dtype torch\.float64"),
    ({"index": [True, False]}, r"index has the dtype torch\.bool"),
    ({"index": ["a", "b"]}, "index of type list holds no integers"),
    ({"index": [0, 2**70]}, "index of type list holds no integers"),
]


@pytest.mark.parametrize(("change", "message"), MISTAKES)
def test_a_mistake_gets_one_clear_line(change, message):
    arguments = {"images": GOOD, "name": "contrast", "severity": 3, "index": [0, 1], **change}
    with pytest.raises(InputError, match=message) as caught:
        corrupt(**arguments)
    assert "\n" not in str(caught.value)


DRAWN_MISTAKES = [
    ("fog", None, "drawn is a NoneType, fog takes a Tensor"),
    ("contrast", torch.zeros(2), "drawn is a Tensor, contrast takes a NoneType"),
    ("motion_blur", torch.zeros(1), r"drawn has \(1,\) float32 where motion_blur takes \(2,\) float32"),
    ("motion_blur", torch.zeros(2, dtype=torch.int64), r"drawn has \(2,\) int64 where motion_blur"),
    ("shot_noise", noise.ShotDraws(torch.zeros(2, 3, 24, 24), torch.zeros(2, 3, 24, 24)), "takes nothing"),
    ("impulse_noise", torch.zeros(2, 3, 4, 4), r"drawn has \(2, 3, 4, 4\) float32 where impulse_noise takes"),
]


@pytest.mark.parametrize(("name", "drawn", "message"), DRAWN_MISTAKES)
def test_what_was_not_drawn_for_these_images_is_refused(name, drawn, message):
    with pytest.raises(InputError, match=message):
        apply_corruption(GOOD, name, 3, drawn)


@pytest.mark.parametrize("native_too", ["0", "1"])
@pytest.mark.parametrize(
    ("name", "part", "value", "message"),
    [
        ("glass_blur", "down_px", 2, r"drawn\.down_px of glass_blur spans -2\.\.2; give values in -2\.\.1"),
        ("glass_blur", "right_px", -(10**8), r"drawn\.right_px of glass_blur spans -1e\+08\.\."),
        ("shot_noise", "level", 1.5, r"drawn\.level of shot_noise spans .*\.\.1\.5; give values in 0\.\.1"),
        ("shot_noise", "level", math.nan, r"drawn\.level of shot_noise spans nan\.\.nan"),
        ("frost", "photograph", 5, r"drawn\.photograph of frost spans .*\.\.5; give values in 0\.\.4"),
        ("frost", "corner", -0.1, r"drawn\.corner of frost spans -0\.1\.\."),
    ],
)
def test_a_change_that_reads_outside_the_image_is_refused(
    name, part, value, message, native_too, monkeypatch
):
    """By a compiled loop it would read, and take for pixels, whatever lies there in memory."""
    monkeypatch.setenv(native.ENVIRONMENT_VARIABLE, native_too)
    drawn = sample_corruption(name, 3, (24, 24), index=[0, 1])
    getattr(drawn, part).view(-1)[0] = value
    with pytest.raises(InputError, match=message):
        apply_corruption(GOOD, name, 3, drawn)


@pytest.mark.parametrize("severity", [1, 3, 5])
@pytest.mark.parametrize("name", ALL)
def test_gradients_are_numbers_in_black_white_and_grey_too(name, severity):
    x = torch.rand(3, 3, 16, 17, generator=torch.Generator().manual_seed(0))
    x[0], x[1], x[2, :, :5] = 0.0, 1.0, 0.5
    result = corrupt(x.requires_grad_(), name, severity, scale="cifar", index=[0, 1, 2], quantize=False)
    if name in ("shot_noise", "glass_blur", "pixelate", "jpeg_compression"):
        assert not result.requires_grad
        return
    (gradient,) = torch.autograd.grad(result.sum(), x)
    assert gradient.isfinite().all()


def test_gradients_of_torch_func_are_autograds():
    x = pictures(2, 16, 17).float() / 255

    def total(x):
        return corrupt(x, "fog", 3, index=[0, 1], quantize=False).square().sum()

    (expected,) = torch.autograd.grad(total(y := x.clone().requires_grad_()), y)
    assert torch.equal(torch.func.grad(total)(x), expected)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"index": 5}, "index=5 is not a sequence"),
        ({"index": None}, "index=None is not a sequence"),
        ({"size": 32}, r"size=32 is not \(height, width\)"),
        ({"size": (32, 32.5)}, r"size=32\.5 is not an integer"),
        ({"size": (8, 32)}, "images of 8x32 are too small"),
    ],
)
def test_what_cannot_be_drawn_for_is_refused(change, message):
    with pytest.raises(InputError, match=message):
        sample_corruption(**{"name": "fog", "severity": 3, "size": (32, 32), "index": [0], **change})
