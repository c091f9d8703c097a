"""The unit on the CPU, some images at a time: the same values and gradients, and what it stays away from."""

from typing import Any

import pytest
import torch
from torch import Tensor
from torch.utils.checkpoint import checkpoint
from torch.utils.flop_counter import FlopCounterMode

from oracles.push_pull import push_pull_oracle
from pushpull.unit.backends import cpu as chunks
from pushpull.unit.functional import push_pull_conv2d
from support import assert_near, random_tensor

CASES = [
    {"avg_kernel_size": 3, "stride": 2, "padding": 3},
    {"avg_kernel_size": 0, "stride": (1, 2), "padding": (0, 2)},
    {"avg_kernel_size": 5, "padding": "same", "dilation": 2, "offset": "mean"},
    # Windows wider than the response: 7 x 7 pixels have 13 x 13 around them.
    {"avg_kernel_size": 13, "stride": 3, "padding": 1},
    {"avg_kernel_size": 3, "groups": 2, "alpha": -0.7, "offset": 0.4},
]


def leaves(groups: int = 1, dtype: torch.dtype = torch.float64, filters: int = 6) -> dict[str, Tensor]:
    shapes = {
        "x": (5, 4, 21, 23),
        "weight": (filters, 4 // groups, 7, 7),
        "bias": (filters,),
        "alpha": (filters,),
    }
    return {
        name: random_tensor(*shape, seed=i, dtype=dtype).requires_grad_()
        for i, (name, shape) in enumerate(shapes.items())
    }


def in_chunks(monkeypatch: pytest.MonkeyPatch, images: int) -> None:
    """Make a chunk of so many images of any size."""
    parts = lambda x, *_: (slice(i, i + images) for i in range(0, len(x), images))  # noqa: E731
    monkeypatch.setattr(chunks, "_parts", parts)


@pytest.mark.parametrize("options", CASES)
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16])
@pytest.mark.parametrize("images", [1, 2, 9])
def test_equals_two_convolutions(
    options: dict[str, Any], dtype: torch.dtype, images: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    in_chunks(monkeypatch, images)
    given = {**leaves(options.get("groups", 1), dtype), **options}
    tensors = [t for t in given.values() if isinstance(t, Tensor)]
    y = push_pull_conv2d(**given)
    assert y.grad_fn is not None
    assert "unit_in_chunks" in y.grad_fn.name()
    exact = {
        k: v.detach().double().requires_grad_() if isinstance(v, Tensor) else v for k, v in given.items()
    }
    expected = push_pull_oracle(**exact)
    assert_near(y, expected)
    cotangent = random_tensor(*y.shape, seed=9, dtype=dtype)
    theirs = [t for t in exact.values() if isinstance(t, Tensor)]
    if dtype == torch.bfloat16:  # Signs near zero differ, and with them whole terms of the gradient.
        assert all(g.isfinite().all() for g in torch.autograd.grad(y, tensors, cotangent))
        return
    ours = torch.autograd.grad(y, tensors, cotangent)
    for one, other in zip(ours, torch.autograd.grad(expected, theirs, cotangent.double()), strict=True):
        assert_near(one, other)


@pytest.mark.parametrize("last", [False, True])
@pytest.mark.parametrize("k", [0, 3])
def test_an_image_is_the_same_in_any_batch(last: bool, k: int) -> None:
    x = random_tensor(5, 3, 40, 41, dtype=torch.float32)
    x = x.contiguous(memory_format=torch.channels_last) if last else x
    weight = random_tensor(64, 3, 7, 7, seed=1, dtype=torch.float32)
    whole = push_pull_conv2d(x, weight, None, 2, 3, avg_kernel_size=k)
    assert torch.equal(whole, push_pull_conv2d(x, weight, None, 2, 3, avg_kernel_size=k))
    assert_near(
        torch.cat([push_pull_conv2d(x[i : i + 1], weight, None, 2, 3, avg_kernel_size=k) for i in range(5)]),
        whole,
    )


@pytest.mark.parametrize("wanted", [["x"], ["weight"], ["bias"], ["alpha"], ["weight", "bias"]])
def test_gradients_of_some_arguments(wanted: list[str]) -> None:
    given = leaves()
    all_of_them = push_pull_conv2d(**given, stride=2)
    expected = torch.autograd.grad(all_of_them.sum(), [given[name] for name in wanted])
    some = {name: t if name in wanted else t.detach() for name, t in given.items()}
    got = torch.autograd.grad(push_pull_conv2d(**some, stride=2).sum(), [some[name] for name in wanted])
    assert all(torch.equal(a, b) for a, b in zip(got, expected, strict=True))


def test_the_cotangent_may_be_laid_out_otherwise() -> None:
    given = leaves()
    y = push_pull_conv2d(**given, stride=2)
    cotangent = random_tensor(*y.shape, seed=9)
    last = cotangent.contiguous(memory_format=torch.channels_last)
    for other in (last, cotangent.transpose(2, 3).contiguous().transpose(2, 3)):
        pairs = zip(
            torch.autograd.grad(y, list(given.values()), cotangent, retain_graph=True),
            torch.autograd.grad(y, list(given.values()), other, retain_graph=True),
            strict=True,
        )
        assert all(torch.equal(a, b) for a, b in pairs)


def test_nothing_of_the_output_s_size_is_kept() -> None:
    given, kept = leaves(filters=64), []
    with torch.autograd.graph.saved_tensors_hooks(lambda t: kept.append(t.numel()) or t, lambda t: t):
        y = push_pull_conv2d(**given)
    assert sum(kept) < y.numel()


def test_gradients_in_batches_and_of_gradients() -> None:
    small = [
        random_tensor(*s, seed=i).requires_grad_() for i, s in enumerate([(2, 1, 4, 4), (2, 1, 2, 2), (2,)])
    ]

    def unit(x: Tensor, weight: Tensor, alpha: Tensor) -> Tensor:
        # x is an argument of the box sum too: it shall be followed once by each way.
        return push_pull_conv2d(2 * x, weight, None, alpha=alpha, padding=1)

    assert torch.autograd.gradcheck(unit, small, check_batched_grad=True)
    assert torch.autograd.gradgradcheck(unit, small)


def test_transforms_forward_mode_and_checkpoints() -> None:
    given = leaves()
    x, weight = given["x"], given["weight"]
    unit = lambda x, weight: push_pull_conv2d(x, weight, stride=2)  # noqa: E731
    y = unit(x, weight)
    assert_near(torch.func.vmap(unit, (0, None))(x[:, None], weight)[:, 0], y)
    of_x, of_weight = torch.autograd.grad(y.sum(), [x, weight])
    assert_near(torch.func.grad(lambda w: unit(x, w).sum())(weight), of_weight)
    tangent = random_tensor(*x.shape, seed=8)
    _, forward = torch.func.jvp(lambda x: unit(x, weight), (x,), (tangent,))
    assert_near(forward.sum(), (of_x * tangent).sum())
    with torch.autograd.forward_ad.dual_level():
        dual = unit(torch.autograd.forward_ad.make_dual(x, tangent), weight)
        assert_near(torch.autograd.forward_ad.unpack_dual(dual).tangent, forward)
    again = torch.autograd.grad(checkpoint(unit, x, weight, use_reentrant=False).sum(), [x, weight])
    assert all(torch.equal(a, b) for a, b in zip(again, (of_x, of_weight), strict=True))


def test_operations_are_counted_as_one_convolution() -> None:
    x, weight = torch.zeros(2, 3, 32, 32), torch.zeros(8, 3, 7, 7)
    with FlopCounterMode(display=False) as counted:
        push_pull_conv2d(x, weight, stride=2, padding=3)
    assert counted.get_total_flops() == 2 * 2 * 8 * 16 * 16 * 3 * 49


@pytest.mark.parametrize("trained", [True, False])
def test_the_operator_is_registered_as_pytorch_wants(trained: bool) -> None:
    x, weight = random_tensor(2, 2, 6, 7).requires_grad_(), random_tensor(4, 1, 3, 2, seed=1).requires_grad_()
    contrast, alpha, bias = (random_tensor(4, seed=s).requires_grad_() for s in (2, 3, 4))
    box = random_tensor(2, 4, 4, 5, seed=5).requires_grad_()
    more = (alpha, bias, 1.0) if trained else (None, None, 0.5)
    given = (x, weight, contrast, box, *more, (1, 2), (0, 2), (1, 1), 2, 3)
    torch.library.opcheck(torch.ops.pushpull.unit_in_chunks.default, given)


@pytest.mark.filterwarnings("ignore:TF32 acceleration")
def test_without_onednn(monkeypatch: pytest.MonkeyPatch) -> None:
    given = leaves(dtype=torch.float32)
    expected = push_pull_conv2d(**given)
    with torch.backends.mkldnn.flags(enabled=False):
        assert_near(push_pull_conv2d(**given), expected)
