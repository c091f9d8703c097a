"""A corruption of the user's own: registered, then used like any other."""

from unittest.mock import patch

import pytest
import torch

from pushpull import Corrupt, InputError, RandomCorruption, corrupt, evaluate, register_corruption
from pushpull.corruptions import CORRUPTIONS, EXTRA_CORRUPTIONS, REGISTRY, sample_corruption
from pushpull.evaluation import metrics


@pytest.fixture(autouse=True)
def tidy():
    """What a test registers is gone after it."""
    with patch.dict(REGISTRY):
        yield


@pytest.fixture
def rain():
    @register_corruption("rain", severities=[0.1, 0.2, 0.3, 0.4, 0.5])
    def rain(images, amount, draws):
        drops = draws.uniform(*images.shape[-2:]) < amount
        return torch.where(drops[:, None], torch.ones(()), images)

    return rain


def pictures(count=4, side=16):
    return torch.randint(0, 200, (count, 3, side, side), dtype=torch.uint8)


def test_it_depends_on_the_image_alone(rain):
    images, index = pictures(), torch.tensor([5, 9, 2, 7])
    whole = corrupt(images, "rain", 3, index=index)
    alone = torch.cat([corrupt(images[[i]], "rain", 3, index=index[[i]]) for i in range(4)])
    assert torch.equal(whole, alone)
    assert whole.dtype == torch.uint8
    share = (whole == 255).float().mean()
    assert 0.2 < share < 0.4
    assert not torch.equal(whole, corrupt(images, "rain", 3, index=index, seed=1))


def test_it_is_a_transform_and_a_condition(rain):
    images = pictures(1)[0]
    assert Corrupt("rain", 5)(images).shape == images.shape
    assert RandomCorruption(["rain", "fog"])(images).shape == images.shape
    network = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(3 * 32 * 32, 2))
    data = (pictures(6, 32), torch.arange(6) % 2)
    results = evaluate(network, data, corruptions=["rain"], severities=(1, 5), progress=False)
    assert list(results.corrupted["rain"]) == [1, 5]
    assert "rain" not in CORRUPTIONS + EXTRA_CORRUPTIONS
    with pytest.raises(InputError, match="the errors lack gaussian_noise"):
        metrics.mean_corruption_error(results.errors())


def test_a_deterministic_one_takes_two_arguments_and_scales_have_their_own_constants():
    given = []

    @register_corruption("dim", severities={"cifar": [(1,), (2,), (3,), (4,), (5,)]})
    def dim(images, params):
        given.append(params)
        return images.mul_(0.5)  # its own copy

    images = pictures()
    before = images.clone()
    corrupt(images.float() / 255, "dim", 4, scale="cifar")
    corrupt(images, "dim", 4, scale="cifar")
    assert given == [(4,), (4,)]
    assert torch.equal(images, before)
    with pytest.raises(InputError, match=r"dim has no constants for scale='imagenet', only for cifar"):
        corrupt(images, "dim", 4)


@pytest.mark.parametrize(
    ("function", "text"),
    [
        (lambda images, amount: None, "returned NoneType; return images"),
        (lambda images, amount: images[:, :1], r"returned \(2, 1, 16, 16\) torch\.float32; return images"),
        (lambda images, amount: images > 0, "returned .*torch.bool"),
    ],
)
def test_what_it_returns_is_checked(function, text):
    register_corruption("odd", severities=[1, 2, 3, 4, 5])(function)
    with pytest.raises(InputError, match=text):
        corrupt(pictures(2), "odd", 1)


def test_values_outside_are_clipped():
    register_corruption("bright", severities=[1, 2, 3, 4, 5])(lambda images, amount: images + amount)
    assert corrupt(pictures(), "bright", 2).min() == 255


@pytest.mark.parametrize(
    ("name", "severities", "text"),
    [
        ("fog", [1, 2, 3, 4, 5], "corruption 'fog' exists already"),
        ("two words", [1, 2, 3, 4, 5], "must be a word"),
        ("short", [1, 2], "has 2 values|are 2 values; give five"),
        ("none", 3, "are 3; give five"),
        ("other", {"mnist": [1, 2, 3, 4, 5]}, "scale='mnist' is not one of imagenet, cifar, tiny"),
    ],
)
def test_mistakes_in_registering(name, severities, text):
    with pytest.raises(InputError, match=text):
        register_corruption(name, severities=severities)(lambda images, amount: images)


def test_it_cannot_be_drawn_apart(rain):
    with pytest.raises(InputError, match="rain draws its random numbers while it is applied: use corrupt"):
        sample_corruption("rain", 1, (16, 16), index=[0])


def test_an_unknown_name_is_refused_with_the_nearest(rain):
    with pytest.raises(InputError, match="did you mean 'rain'"):
        corrupt(pictures(), "rains", 1)


def test_on_the_command_line_by_a_file(tmp_path, capsys):
    from pushpull.cli import main

    (tmp_path / "mine.py").write_text(
        "import pushpull\n"
        "@pushpull.register_corruption('sleet', severities=[.1, .2, .3, .4, .5])\n"
        "def sleet(images, amount):\n    return images * (1 - amount) + amount\n",
        encoding="utf-8",
    )
    words = ["--corruptions", "sleet", "--severities", "1", "--limit", "4", "--format", "folder", "--quiet"]
    for workers in ("1", "2"):  # new processes load the file too
        out = str(tmp_path / workers)
        told = ["--plugins", str(tmp_path / "mine.py"), "--workers", workers, "--shard_images", "2"]
        assert main(["corrupt", "digits", out, *words, *told]) == 0
    made = [sorted(path.read_bytes() for path in (tmp_path / w).rglob("*.png")) for w in ("1", "2")]
    assert made[0] == made[1]
    assert len(made[0]) == 4
