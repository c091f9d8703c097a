"""Kernels change no bit: every corruption with them and with tensors alone; and when tensors are used."""

import subprocess
import sys

import pytest
import torch

from corruptions.test_engine import ALL, pictures
from pushpull.corruptions import SEVERITIES, corrupt
from pushpull.corruptions import geometry as elastic
from pushpull.random import Draws, native

needs_numba = pytest.mark.skipif(not native.installed(), reason="numba is not installed")


@pytest.fixture
def by_tensors(monkeypatch):
    """Return a function that computes without kernels."""

    def compute(function):
        monkeypatch.setenv(native.ENVIRONMENT_VARIABLE, "0")
        result = function()
        monkeypatch.setenv(native.ENVIRONMENT_VARIABLE, "1")
        return result

    monkeypatch.setenv(native.ENVIRONMENT_VARIABLE, "1")
    return compute


@needs_numba
@pytest.mark.parametrize("scale", SEVERITIES)
@pytest.mark.parametrize("name", ALL)
def test_every_corruption_is_the_same_by_tensors(name, scale, by_tensors):
    """Whole images and floats, odd sizes, more images than threads."""
    for severity, size in ((1, (32, 32)), (2, (65, 47)), (3, (96, 131)), (4, (17, 40)), (5, (64, 64))):
        levels = pictures(3, *size, seed=severity)
        for images, how in (
            (levels, {}),
            (levels, {"quantize": False}),
            (levels.float().div(255).add(0.3 / 255).clamp(max=1), {"quantize": False}),
        ):

            def compute(images=images, how=how, severity=severity):
                return corrupt(images, name, severity, scale=scale, index=[0, 7, 2**40], seed=9, **how)

            assert torch.equal(compute(), by_tensors(compute)), (severity, size, images.dtype, how)


@needs_numba
@pytest.mark.parametrize("name", ALL)
def test_photograph_sized_images_are_the_same_by_tensors(name, by_tensors):
    images = pictures(2, 224, 224)
    for severity in (1, 3, 5):

        def compute(severity=severity):
            return corrupt(images, name, severity, index=[3, 4])

        assert torch.equal(compute(), by_tensors(compute)), severity


@needs_numba
@pytest.mark.parametrize("move", [300.0, -1e4, 1e30, torch.inf, torch.nan])
def test_elastic_transform_reads_inside_the_image_whatever_the_map(move, by_tensors):
    """Also where the three points fall together, and where a place is no number."""
    x, params = pictures(2, 21, 18).float() / 255, SEVERITIES["imagenet"]["elastic_transform"][2]
    together = torch.tensor([[0.0, -12.0], [0.0, 0.0], [12.0, 0.0]])
    corners = torch.stack([torch.tensor([[move, 0.0], [0.0, 1.0], [1.0, move]]), together])
    drawn = elastic.ElasticDraws(
        corners, Draws(torch.arange(2), seed=0, name="e", severity=1).uniform(2, 21, 18)
    )

    def compute():
        return elastic.elastic_transform(x, params, drawn)

    assert torch.equal(compute(), by_tensors(compute))
    assert compute().min() >= 0
    assert compute().max() <= 1


@needs_numba
@pytest.mark.parametrize("shape", [(), (1,), (7,), (3, 40, 31)])
def test_random_numbers_are_the_same_by_tensors(shape, by_tensors):
    def compute():
        draws = Draws(torch.tensor([0, 5, -(2**50)]), seed=3, name="fog", severity=2)
        return [
            *(draws.uniform(*shape), draws.uniform(*shape, low=-45.0, high=45.0), draws.normal(*shape)),
            *(draws.integers(0, 5, *shape), draws.integers(-4, 4, *shape), draws.integers(0, 10**5, *shape)),
        ]

    for mine, theirs in zip(compute(), by_tensors(compute), strict=True):
        assert mine.dtype == theirs.dtype
        assert torch.equal(mine, theirs)


def test_gradients_go_through_tensors():
    x = torch.rand(1, 3, 16, 16, requires_grad=True)
    corrupt(x, "contrast", 3, index=[0], quantize=False).sum().backward()
    assert x.grad.abs().sum() > 0
    assert not native.applies(x)
    with torch.no_grad():
        assert native.applies(x) == native.installed()


def test_without_numba_tensors_do_it_all():
    """In a process of its own, in which numba cannot be found."""
    code = (
        "import importlib.util as u; find = u.find_spec\n"
        "u.find_spec = lambda name, *rest: None if name == 'numba' else find(name, *rest)\n"
        "import torch, sys, pushpull.corruptions as c\n"
        "c.corrupt(torch.zeros(1, 3, 16, 16, dtype=torch.uint8), 'glass_blur', 3, index=[0])\n"
        "assert 'numba' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_importing_the_corruptions_does_not_import_numba():
    code = "import sys, pushpull.corruptions; assert 'numba' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)


def test_a_numba_that_does_not_work_is_left_out(tmp_path):
    """As beside a numpy that is too new for it: a warning, and the tensors."""
    (tmp_path / "numba.py").write_text("raise ImportError('Numba needs NumPy 2.3 or less')")
    code = (
        "import sys; sys.path.insert(0, sys.argv[1])\n"
        "import torch, pushpull.corruptions as c\n"
        "c.corrupt(torch.zeros(1, 3, 16, 16, dtype=torch.uint8), 'fog', 3, index=[0])"
    )
    done = subprocess.run([sys.executable, "-c", code, tmp_path], check=True, capture_output=True, text=True)
    assert "numba does not work here (ImportError: Numba needs NumPy 2.3 or less)" in done.stderr
