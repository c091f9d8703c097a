"""What follows the convolution, by kernels, against plain operations in double precision."""

from typing import Any

import pytest
import torch
from torch import Tensor

from pushpull.unit.backends import triton as kernels
from support import assert_near
from unit.triton.made import (
    REGISTRATION,
    assert_like_double_precision,
    cotangent,
    exact,
    expected,
    fresh,
    inputs,
)

# Odd sizes, tiles that are not full, several tiles of channels, windows wider than the image.
SINGLE, BRAIN, HALF = torch.float32, torch.bfloat16, torch.float16
CASES: list[tuple[torch.dtype, tuple[int, int, int, int], int, dict[str, Any]]] = [
    (SINGLE, (2, 5, 17, 33), 3, {}),
    (BRAIN, (2, 3, 5, 33), 3, {"alpha": 1.0}),
    (SINGLE, (1, 66, 5, 9), 3, {"last": True, "groups": 2}),
    (BRAIN, (1, 66, 5, 4), 5, {"last": True, "alpha": 1.0}),
    (HALF, (2, 5, 7, 33), 0, {"alpha": -0.7, "bias": False}),
    (SINGLE, (1, 3, 6, 5), 9, {"last": True, "alpha": 1.0}),
    (HALF, (1, 1, 1, 1), 3, {"last": True}),
    (BRAIN, (2, 9, 1, 17), 3, {"groups": 3}),
]


@pytest.mark.parametrize("case", range(len(CASES)))
def test_values_and_gradients(case: int, device: torch.device) -> None:
    dtype, shape, side, chosen = CASES[case]
    assert_like_double_precision(inputs(shape, device, dtype, **chosen), side)


def test_several_tiles_a_program(device: torch.device, monkeypatch: pytest.MonkeyPatch) -> None:
    from pushpull.unit.backends.triton import launch

    monkeypatch.setattr(launch, "_MANY", 0)
    # Nine tiles, one image's spread over two programs.
    given = inputs((3, 5, 17, 17), device, torch.float32, last=True)
    assert launch.Layout.of(given["push"]).tiles() == {"TH": 8, "TW": 32, "BC": 8}
    assert_like_double_precision(given, 3)


def test_offsets_of_64_bits(device: torch.device, monkeypatch: pytest.MonkeyPatch) -> None:
    from pushpull.unit.backends.triton import launch

    monkeypatch.setattr(launch, "_INT32", 0)
    for last in (False, True):
        assert_like_double_precision(inputs((2, 5, 6, 7), device, torch.float32, last=last), 3)


def test_nothing_is_done_for_no_images(device: torch.device) -> None:
    given = inputs((0, 4, 5, 6), device, torch.float32)
    y = kernels.inhibited(**given, side=3)
    assert y.shape == (0, 4, 5, 6)
    y.sum().backward()
    assert given["contrast"].grad.tolist() == given["bias"].grad.tolist() == [0.0] * 4


def test_layouts_that_no_convolution_gives(device: torch.device) -> None:
    given = inputs((2, 4, 3, 8), device, torch.float32)
    right = kernels.inhibited(**given, side=3)
    wide = torch.cat([given["push"].detach()] * 2, dim=3)
    strange = {**given, "push": wide[..., :8]}
    assert torch.equal(kernels.inhibited(**strange, side=3), right)
    of_y = cotangent(exact(given), 3).float()
    for other in (of_y.transpose(2, 3).contiguous().transpose(2, 3), of_y[:1].expand(2, -1, -1, -1)):
        one = torch.autograd.grad(right, given["push"], other, retain_graph=True)
        two = torch.autograd.grad(right, given["push"], other.contiguous(), retain_graph=True)
        assert torch.equal(one[0], two[0])


def test_the_same_bits_again(device: torch.device) -> None:
    given = inputs((2, 6, 9, 8), device, torch.float32)
    tensors = list(given.values())
    y = kernels.inhibited(**given, side=3)
    of_y = torch.randn_like(y)
    first, second = (torch.autograd.grad(y, tensors, of_y, retain_graph=True) for _ in range(2))
    assert all(torch.equal(a, b) for a, b in zip(first, second, strict=True))


def test_what_is_not_a_number_stays(device: torch.device) -> None:
    given = inputs((1, 3, 6, 7), device, torch.float32)
    with torch.no_grad():
        given["push"][0, 1, 2, 3] = torch.nan
        given["box"][0, 0, 5, 6] = torch.nan
    found = kernels.inhibited(**given, side=3)
    assert torch.equal(found.isnan(), expected(exact(given), 3).isnan())
    assert 9 < found.isnan().sum() < 15


def test_only_signs_are_kept_where_alpha_is_fixed(device: torch.device) -> None:
    given = inputs((1, 3, 6, 7), device, torch.float32, alpha=1.0)
    kept: list[Tensor] = []
    with torch.autograd.graph.saved_tensors_hooks(lambda t: kept.append(t) or t, lambda t: t):
        kernels.inhibited(**given, side=3)
    large = [t.dtype for t in kept if t.numel() == 3 * 6 * 7]
    assert large == [torch.uint8]


def test_gradients_of_gradients(device: torch.device) -> None:
    for alpha in (None, 0.5):
        given = inputs((2, 4, 5, 6), device, torch.float32, groups=2, alpha=alpha)
        e = exact(given)
        of_y = cotangent(e, 3)
        weights = [fresh(*t.shape).to(device) for t in given.values() if isinstance(t, Tensor)]
        results = []
        for y, leaves in ((kernels.inhibited(**given, side=3), given), (expected(e, 3), e)):
            tensors = [t for t in leaves.values() if isinstance(t, Tensor)]
            again = of_y.to(y.dtype).clone().requires_grad_()
            first = torch.autograd.grad(y, tensors, again, create_graph=True)
            total = sum((g * w.to(y.dtype)).sum() for g, w in zip(first, weights, strict=True))
            assert isinstance(total, Tensor)
            both = [*tensors[:3], again]
            results.append(torch.autograd.grad(total, both, allow_unused=True, materialize_grads=True))
        for one, other in zip(*results, strict=True):
            assert_near(one, other)


def test_the_operators_are_registered_as_pytorch_wants(device: torch.device) -> None:
    given = inputs((2, 2, 3, 4), device, torch.float32)
    operator = torch.ops.pushpull.inhibit.default
    torch.library.opcheck(operator, (*given.values(), 1.0, 1, True), test_utils=REGISTRATION)
