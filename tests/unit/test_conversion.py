"""Which convolutions become a push-pull unit, exactly, and which are refused by name."""

from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F
from timm.layers import Conv2dSame, MixedConv2d, ScaledStdConv2d, StdConv2d, StdConv2dSame
from torch import nn
from torch.nn.utils import parametrizations, prune

from pushpull import InputError, PushPullConv2d, replace_first_conv


def small(conv: nn.Module | None = None) -> nn.Sequential:
    return nn.Sequential(
        conv or nn.Conv2d(3, 4, 3, padding=1), nn.BatchNorm2d(4), nn.Dropout(), nn.Conv2d(4, 2, 3)
    )


def structure(model: nn.Module) -> list[object]:
    return [(n, id(m), m.training) for n, m in model.named_modules(remove_duplicate=False)]


@pytest.mark.parametrize(
    "conv",
    [
        nn.Conv2d(3, 6, 3, 2, 1),
        nn.Conv2d(3, 6, 4, 2, 1, bias=False),
        nn.Conv2d(3, 6, 5, padding="same", padding_mode="circular"),
        nn.Conv2d(3, 6, 3, dilation=2, groups=3),
        Conv2dSame(3, 6, 3, 2),
        Conv2dSame(3, 6, 4, 3, dilation=2),
        StdConv2d(3, 6, 7, 2, bias=True, eps=1e-3),
        StdConv2dSame(3, 6, 7, 2),
        StdConv2dSame(3, 6, 3, padding=0),
    ],
    ids=lambda conv: f"{type(conv).__name__}-{conv.kernel_size[0]}",
)
def test_the_push_response_is_the_old_convolution(conv: nn.Conv2d) -> None:
    """With strength 0 the unit is relu(conv(x) - b) + b."""
    model = nn.Sequential(conv, nn.ReLU())
    replace_first_conv(model, alpha=0.0, avg_kernel_size=0)
    image = torch.sin(torch.arange(2 * 3 * 17 * 22.0)).reshape(2, 3, 17, 22)
    b = 0 if conv.bias is None else conv.bias[:, None, None]
    torch.testing.assert_close(model[0](image), F.relu(conv(image) - b) + b, atol=1e-5, rtol=1e-5)


def parametrized() -> nn.Module:
    return parametrizations.weight_norm(nn.Conv2d(3, 4, 3, padding=1))


def pruned() -> nn.Module:
    return prune.l1_unstructured(nn.Conv2d(3, 4, 3, padding=1), "weight", 0.5)


def patched() -> nn.Module:
    conv = nn.Conv2d(3, 4, 3, padding=1)
    conv.forward = lambda x: F.conv2d(x, conv.weight.abs())
    return conv


REFUSED: dict[str, tuple[Callable[[], nn.Module], str]] = {
    "push-pull": (lambda: PushPullConv2d(3, 4, 3, padding=1), "'0' is a push-pull unit already"),
    "scaled": (lambda: ScaledStdConv2d(3, 4, 3), "'0' is a ScaledStdConv2d"),
    "mixed": (lambda: MixedConv2d(3, 4, [3, 5]), "'0' is a MixedConv2d"),
    "subclass": (lambda: type("OddConv2d", (nn.Conv2d,), {})(3, 4, 3), "'0' is a OddConv2d"),
    "transposed": (lambda: nn.ConvTranspose2d(3, 4, 3), "'0' is a ConvTranspose2d"),
    "parametrized": (parametrized, "parametrized weight .*remove_parametrizations"),
    "weight norm": (lambda: nn.utils.weight_norm(nn.Conv2d(3, 4, 3)), "weight_g, weight_v .*remove"),
    "pruned": (pruned, "weight_mask, weight_orig .*prune.remove"),
    "patched": (patched, "forward method of its own"),
    "lazy": (lambda: nn.LazyConv2d(4, 3), "lazy layers without weights; run it once"),
    "1x1": (lambda: nn.Conv2d(3, 4, 1), "'0', a 1x1 convolution.*name='0'"),
    "patches": (lambda: nn.Conv2d(3, 4, 4, 4), "'0', a patch embedding.*name='0'"),
    "complex": (lambda: nn.Conv2d(3, 4, 3, dtype=torch.complex64), "complex64"),
}


@pytest.mark.filterwarnings("ignore::FutureWarning", "ignore::UserWarning")
@pytest.mark.parametrize("kind", REFUSED)
def test_refused_by_name_and_unchanged(kind: str) -> None:
    make, message = REFUSED[kind]
    model = small(make())
    before = structure(model)
    with pytest.raises(InputError, match=message) as caught:
        replace_first_conv(model, name="0" if kind == "complex" else None)
    assert "\n" not in str(caught.value)
    assert structure(model) == before
    if kind != "lazy":
        assert "candidates: 3)" in str(caught.value) or "candidates: 0, 3)" in str(caught.value)
