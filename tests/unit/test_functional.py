"""`push_pull_conv2d`: values by hand, the original's values, the two-convolution oracle, errors."""

from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from oracles.push_pull import push_pull_oracle
from pushpull.errors import InputError
from pushpull.unit.functional import pull_kernel, push_pull_conv2d
from support import SHARED, assert_near, needs_shared, random_tensor
from unit_options import options, tensors

IMAGE = torch.arange(1.0, 10.0, dtype=torch.float64).reshape(1, 1, 3, 3)
KERNEL = torch.tensor([[[[1.0, -2.0], [3.0, 0.0]]]], dtype=torch.float64)
BIAS = torch.tensor([10.0], dtype=torch.float64)


def gradients(y: Tensor, cotangent: Tensor, inputs: list[Tensor]) -> list[Tensor]:
    return list(torch.autograd.grad(y, inputs, cotangent))


# By hand: m = 3 - 2 = 1, so W~ = [[0, 3], [-2, 1]]; P = [[9, 11], [15, 17]], Q = [[3, 5], [9, 11]].
@pytest.mark.parametrize(
    ("sign", "avg_kernel_size", "expected"),
    [
        (1, 0, [[17.5, 18.5], [20.5, 21.5]]),
        (1, 1, [[17.5, 18.5], [20.5, 21.5]]),
        # All four means run over the same four real pixels: 7.
        (1, 3, [[15.5, 17.5], [21.5, 23.5]]),
        (-1, 3, [[10.0, 10.0], [10.0, 10.0]]),
    ],
)
def test_values_by_hand(sign: int, avg_kernel_size: int, expected: list[list[float]]) -> None:
    y = push_pull_conv2d(sign * IMAGE, KERNEL, BIAS, alpha=0.5, avg_kernel_size=avg_kernel_size)
    assert y.tolist() == [[expected]]


def test_gradients_by_hand() -> None:
    x, weight, bias = (t.clone().requires_grad_() for t in (IMAGE, KERNEL, BIAS))
    alpha = torch.tensor([0.5], dtype=torch.float64, requires_grad=True)
    y = push_pull_conv2d(x, weight, bias, alpha=alpha, avg_kernel_size=0)
    _, of_weight, of_bias, of_alpha = gradients(y.sum(), torch.ones(()).double(), [x, weight, bias, alpha])
    # 1.5 * [[12, 16], [24, 28]], the sums of x under each tap, less 0.5 * 80 at the maximum and the minimum.
    assert of_weight.tolist() == [[[[18.0, -16.0], [-4.0, 42.0]]]]
    assert of_bias.tolist() == [4.0]
    assert of_alpha.tolist() == [-28.0]


def test_pooling_comes_before_rectification() -> None:
    x = torch.tensor([[[[1.0, -3.0]]]])
    # W = W~ = -1: P = Q = [-1, 3], pooled Q = [1, 1]. Rectified first, it would be 1.5.
    y = push_pull_conv2d(x, torch.tensor([[[[-1.0]]]]), avg_kernel_size=3)
    assert y.tolist() == [[[[-1.0, 2.0]]]]


def test_pull_kernel_by_hand() -> None:
    assert pull_kernel(KERNEL).tolist() == [[[[0.0, 3.0], [-2.0, 1.0]]]]
    two = torch.cat([KERNEL, 2 * KERNEL], dim=1)
    # One max and one min a filter, over all its channels: 6 - 4 = 2.
    assert pull_kernel(two).tolist() == [[[[1.0, 4.0], [-1.0, 2.0]], [[0.0, 6.0], [-4.0, 2.0]]]]


@needs_shared
@pytest.mark.parametrize("case", range(7))
def test_parity_with_the_original(case: int) -> None:
    assert SHARED is not None
    with np.load(SHARED / "golden" / "push_pull_unit.npz") as file:
        golden = {k.split("/")[1]: torch.tensor(file[k]) for k in file if k.startswith(f"{case}/")}
    _, stride, padding, avg_kernel_size, groups, trained = golden["config"].tolist()
    names = ["x", "weight", "bias"] + (["alpha"] if trained else [])
    leaves = {name: golden[name].requires_grad_() for name in names}
    alpha = leaves["alpha"] if trained else golden["alpha"].item()
    y = push_pull_conv2d(
        leaves["x"], leaves["weight"], leaves["bias"], stride, padding, 1, groups,
        alpha=alpha, avg_kernel_size=avg_kernel_size,
    )  # fmt: skip
    assert (y - golden["y"]).abs().max() <= 1e-12
    for name, got in zip(names, gradients(y, golden["cotangent"], list(leaves.values())), strict=True):
        assert (got - golden[f"grad_{name}"]).abs().max() <= 1e-12 * max(
            1, golden[f"grad_{name}"].abs().max()
        )


# Torch warns that it may copy x for "same" with an even kernel, as `nn.Conv2d` does.
@pytest.mark.filterwarnings("ignore:Using padding='same' with even kernel lengths")
@settings(max_examples=300, deadline=None)
@given(options())
def test_equals_two_convolutions(o: dict[str, Any]) -> None:
    leaves = tensors(o)
    given_ = {
        name: o[name] for name in ("stride", "padding", "dilation", "groups", "avg_kernel_size", "offset")
    }
    arguments: dict[str, Any] = {"alpha": 1.7, **leaves, **given_}
    got, expected = push_pull_conv2d(**arguments), push_pull_oracle(**arguments)
    assert_near(got, expected)
    cotangent = random_tensor(*expected.shape, seed=o["seed"] + 9)
    ours, theirs = (gradients(y, cotangent, list(leaves.values())) for y in (got, expected))
    for one, other in zip(ours, theirs, strict=True):
        assert_near(one, other)


@pytest.mark.parametrize("groups", [1, 2])
def test_gradcheck(groups: int) -> None:
    shapes = [(1, 2, 4, 5), (2, 2 // groups, 2, 3), (2,), (2,)]
    leaves = [random_tensor(*shape, seed=i).requires_grad_() for i, shape in enumerate(shapes)]

    def unit(x: Tensor, weight: Tensor, bias: Tensor, alpha: Tensor) -> Tensor:
        return push_pull_conv2d(x, weight, bias, (2, 1), (1, 1), 1, groups, alpha=alpha, avg_kernel_size=3)

    assert torch.autograd.gradcheck(unit, leaves)
    assert torch.autograd.gradgradcheck(unit, leaves)


@pytest.mark.parametrize("k", [0, 3])
def test_without_contrast_it_is_a_convolution(k: int) -> None:
    x, half, bias = random_tensor(2, 3, 9, 8), random_tensor(4, 3, 3, 3, seed=1), random_tensor(4, seed=2)
    # A filter whose maximum is minus its minimum has m = 0, so Q = -P.
    weight = half.clamp(-0.5, 0.5)
    y = push_pull_conv2d(x, weight, bias, padding=1, alpha=1.0, avg_kernel_size=k)
    plain = F.conv2d(x, weight, None, padding=1) + bias.reshape(-1, 1, 1)
    assert torch.equal(y, plain) is (k == 0)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
@pytest.mark.parametrize("k", [0, 3])
def test_dtypes(dtype: torch.dtype, k: int) -> None:
    shapes = [(2, 3, 20, 21), (8, 3, 7, 7), (8,), (8,)]
    leaves = [random_tensor(*s, seed=i, dtype=dtype) / (7 if i == 1 else 1) for i, s in enumerate(shapes)]
    for leaf in leaves:
        leaf.requires_grad_()

    def unit(x: Tensor, weight: Tensor, bias: Tensor, alpha: Tensor) -> Tensor:
        return push_pull_conv2d(x, weight, bias, 2, 3, alpha=alpha.abs(), avg_kernel_size=k)

    y = unit(*leaves)
    exact = unit(*(leaf.double() for leaf in leaves))
    assert y.dtype == dtype
    assert_near(y, exact)
    y.sum().backward()
    assert all(leaf.grad is not None and leaf.grad.dtype == dtype for leaf in leaves)


def test_half_precision_does_not_overflow_on_the_way() -> None:
    weight = random_tensor(8, 3, 7, 7, dtype=torch.float16) / 16
    x = torch.full((1, 3, 7, 7), 1000.0, dtype=torch.float16)
    # The window sums to 147,000, float16 ends at 65,504; what is made of it fits.
    y = push_pull_conv2d(x, weight)
    assert_near(y, push_pull_oracle(x.double(), weight.double()))


@pytest.mark.parametrize("k", [0, 3])
def test_autocast(k: int) -> None:
    x, weight, bias = (random_tensor(*s, dtype=torch.float32) for s in [(2, 3, 12, 12), (4, 3, 3, 3), (4,)])
    exact = push_pull_conv2d(x, weight, bias, padding=1, avg_kernel_size=k)
    weight.requires_grad_()
    with torch.autocast("cpu", torch.bfloat16):
        y = push_pull_conv2d(x, weight, bias, padding=1, avg_kernel_size=k)
    assert y.dtype == torch.bfloat16
    assert_near(y, exact)
    y.float().sum().backward()
    assert weight.grad is not None
    assert weight.grad.dtype == torch.float32


@pytest.mark.parametrize("groups", [1, 2])
@pytest.mark.parametrize("k", [0, 3])
def test_memory_format_follows_the_input(groups: int, k: int) -> None:
    x, weight = random_tensor(2, 4, 9, 8), random_tensor(6, 4 // groups, 3, 3)
    rows = push_pull_conv2d(x, weight, groups=groups, avg_kernel_size=k)
    last = push_pull_conv2d(
        x.contiguous(memory_format=torch.channels_last), weight, groups=groups, avg_kernel_size=k
    )
    assert rows.is_contiguous()
    assert last.is_contiguous(memory_format=torch.channels_last)
    assert_near(last, rows)


@pytest.mark.parametrize("k", [0, 3])
def test_empty_batch(k: int) -> None:
    weight = random_tensor(6, 4, 3, 3).requires_grad_()
    y = push_pull_conv2d(torch.empty(0, 4, 9, 8, dtype=torch.float64), weight, avg_kernel_size=k)
    assert y.shape == (0, 6, 7, 6)
    y.sum().backward()
    assert weight.grad is not None
    assert not weight.grad.any()


def test_inputs_are_left_as_they_were() -> None:
    x, weight, bias = random_tensor(1, 2, 6, 6), random_tensor(3, 2, 3, 3), random_tensor(3)
    before = [t.clone() for t in (x, weight, bias)]
    push_pull_conv2d(x, weight, bias)
    assert all(torch.equal(a, b) for a, b in zip((x, weight, bias), before, strict=True))


def test_whole_numbers_of_numpy_are_integers() -> None:
    x, weight = random_tensor(1, 4, 9, 9), random_tensor(6, 2, 3, 3)
    two, three = np.int64(2), np.int64(3)
    y = push_pull_conv2d(
        x, weight, None, two, (two, two), two, two, alpha=np.float64(2), avg_kernel_size=three
    )
    assert_near(y, push_pull_oracle(x, weight, stride=2, padding=2, dilation=2, groups=2, alpha=2.0))


X, W = torch.zeros(2, 4, 8, 9), torch.zeros(6, 4, 3, 3)


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        *[({"avg_kernel_size": k}, f"avg_kernel_size={k!r}") for k in (2, 4, -1, -3, 3.0, True, "3", None)],
        *[({"stride": s}, "stride=") for s in (0, -1, 1.5, True, (1, 2, 3), (1.0, 1), "a", None, (), (1, 0))],
        *[({"padding": p}, "padding=") for p in ("full", -1, (1, -1), 1.5, True, (0, 0, 1), None)],
        *[({"dilation": d}, "dilation=") for d in (0, 2.0, True, (2, 0))],
        ({"padding": "same", "stride": 2}, "padding='same' needs stride 1, not (2, 2)"),
        ({"groups": 0}, "groups=0"),
        ({"groups": 4}, "groups=4 must be positive and divide the 6 output channels"),
        ({"groups": True}, "groups=True"),
        ({"groups": 2.0}, "groups=2.0"),
        ({"groups": 2}, "x has 4 channels; weight (6, 4, 3, 3) with groups=2 needs 8"),
        ({"x": X[:, :3]}, "x has 3 channels"),
        ({"x": X[0, 0]}, "x has shape (8, 9)"),
        ({"x": X[None]}, "x has shape (1, 2, 4, 8, 9)"),
        ({"x": X.to(torch.uint8)}, "x is torch.uint8"),
        ({"x": X.numpy()}, "x is a ndarray"),
        ({"weight": W[0]}, "weight has shape (4, 3, 3)"),
        ({"weight": W[:0]}, "weight has shape (0, 4, 3, 3)"),
        ({"weight": W.numpy()}, "weight is no tensor"),
        ({"weight": torch.zeros(6, 4, 9, 9)}, "the 9x9 kernel"),
        ({"dilation": 4}, "the 3x3 kernel with dilation (4, 4) is larger than the image (8, 9)"),
        ({"x": X[..., :0]}, "is larger than the image (8, 0)"),
        ({"bias": torch.zeros(5)}, "bias has shape (5,); it must be a tensor (6,)"),
        ({"bias": [1.0]}, "bias is [1.0]"),
        ({"alpha": torch.ones(5)}, "alpha has shape (5,)"),
        ({"alpha": torch.ones(6, 1)}, "alpha has shape (6, 1)"),
        ({"alpha": "1"}, "alpha='1'"),
        ({"alpha": None}, "alpha=None"),
        ({"alpha": True}, "alpha=True"),
    ],
)
def test_errors(changed: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError) as caught:
        push_pull_conv2d(**{"x": X, "weight": W, **changed})
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


@settings(max_examples=50, deadline=None)
@given(
    st.floats(-3, 3),
    st.integers(1, 4),
    st.integers(1, 5),
    st.integers(1, 5),
    st.sampled_from([0, 3, 5]),
    st.integers(0, 9),
)
def test_with_the_mean_offset_flat_images_of_any_brightness_cancel(
    brightness: float, channels: int, high: int, wide: int, side: int, seed: int
) -> None:
    weight = random_tensor(6, channels, high, wide, seed=seed, dtype=torch.float64)
    x = torch.full((2, channels, 11, 12), brightness, dtype=torch.float64)
    y = push_pull_conv2d(x, weight, alpha=1.0, avg_kernel_size=side, offset="mean")
    assert_near(y, torch.zeros_like(y))
