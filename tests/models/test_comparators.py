"""What the unit is compared with, against slow, literal versions."""

import math
from itertools import pairwise

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

from pushpull import InputError, parameter_groups, replace_first_conv
from pushpull.models import STEMS, create_model, resnet8, resnet18, resnet50
from pushpull.models.comparators import (
    BlurAfterConv2d,
    BlurBeforeConv2d,
    BlurMaxPool2d,
    InhibitedConv2d,
    StrisciuglioConv2d,
    blur,
    taking_over,
)
from pushpull.unit.tracing import first_convolution
from support import assert_near, random_tensor

OTHERS = ["pp3_balanced", "strisciuglio", "strisciuglio_alpha", "blurpool", "blur_after_conv"]


def conv(kernel: int = 3, stride: int = 1, *, bias: bool = True) -> nn.Conv2d:
    layer = nn.Conv2d(2, 4, kernel, stride, kernel // 2, bias=bias, dtype=torch.float64)
    layer.weight.data = random_tensor(*layer.weight.shape, seed=1)
    if bias:
        layer.bias.data = random_tensor(4, seed=2)
    return layer


def enlarged(kernel: Tensor) -> Tensor:
    """Bilinear, corners aligned, value by value: place i of 2k+1 lies at i (k - 1) / (2k)."""
    k = kernel.shape[-1]
    large = torch.zeros(*kernel.shape[:2], 2 * k + 1, 2 * k + 1, dtype=kernel.dtype)
    for i in range(2 * k + 1):
        for j in range(2 * k + 1):
            y, x = i * (k - 1) / (2 * k), j * (k - 1) / (2 * k)
            for row in range(k):
                for column in range(k):
                    share = max(0, 1 - abs(y - row)) * max(0, 1 - abs(x - column))
                    large[..., i, j] += share * kernel[..., row, column]
    return large


@pytest.mark.parametrize(("kernel", "stride"), [(3, 1), (7, 2)])
def test_strisciuglio(kernel: int, stride: int) -> None:
    plain = conv(kernel, stride)
    layer = taking_over(StrisciuglioConv2d, plain, alpha=0.7)
    x = random_tensor(2, 2, 19, 18, seed=3)
    push = F.conv2d(x, plain.weight, plain.bias, stride, kernel // 2)
    pull = F.conv2d(x, -enlarged(plain.weight), -plain.bias, stride, kernel)  # of side 2k+1: centred by k
    assert_near(layer(x), push.relu() - 0.7 * pull.relu())


def test_strisciuglios_trained_strength_stays_positive_and_is_not_decayed() -> None:
    model = resnet8(stem="strisciuglio_alpha")
    assert torch.equal(model.conv1.alpha, torch.full((16,), 0.5))
    assert model.no_weight_decay() == {"conv1.alpha"}
    assert [group["weight_decay"] for group in parameter_groups(model, 0.1)] == [0.1, 0.0]
    with torch.no_grad():
        model.conv1.alpha.fill_(-2.0)
    assert torch.equal(model.conv1.strength, torch.full((16, 1, 1), 2.0))


@pytest.mark.parametrize("kind", [StrisciuglioConv2d])
def test_a_strength_is_checked_when_it_is_set(kind: type[InhibitedConv2d]) -> None:
    fixed, trained = kind(2, 4, 3), kind(2, 4, 3, trainable_alpha=True)
    fixed.alpha = 2
    assert fixed.strength == 2.0
    for wrong in (-3.0, "x", math.inf, math.nan, True, None):
        with pytest.raises(InputError, match="must be a finite number of at least 0"):
            fixed.alpha = wrong
        with pytest.raises(InputError, match="must be a finite number of at least 0"):
            trained.set_strength(wrong)
    assert fixed.alpha == 2.0
    assert torch.equal(trained.alpha, torch.ones(4))
    with pytest.raises(InputError, match=r"alpha=0\.5 cannot be set: it is a trained parameter"):
        trained.alpha = 0.5


def folded_by_class(model: nn.Module) -> nn.Module:
    """What tools do that know nothing of these layers: an `nn.Conv2d` and the norm behind it become one."""
    children = list(model.named_children())
    for (name, layer), (behind, norm) in pairwise(children):
        if isinstance(layer, nn.Conv2d) and isinstance(norm, nn.BatchNorm2d):
            model.add_module(name, fuse_conv_bn_eval(layer, norm))
            model.add_module(behind, nn.Identity())
    return model


@pytest.mark.parametrize("stem", OTHERS)
def test_folding_by_class_leaves_what_it_must_not_touch(stem: str) -> None:
    torch.manual_seed(0)
    model, x = resnet8(stem=stem), random_tensor(2, 3, 16, 16, dtype=torch.float32)
    nn.init.uniform_(model.bn1.bias, -1, 1)
    model(x)  # the batch norms' statistics
    before = model.eval()(x)
    assert_near(folded_by_class(model)(x), before)
    touched = isinstance(model.bn1, nn.Identity)
    assert touched == (stem in ("blurpool", "blur_after_conv"))  # linear: folding them is exact


def test_a_layer_is_drawn_printed_and_stored_as_a_convolution() -> None:
    torch.manual_seed(5)
    plain = nn.Conv2d(2, 4, 3, 2, 1)
    torch.manual_seed(5)
    layer = StrisciuglioConv2d(2, 4, 3, 2, 1)
    assert all(torch.equal(value, plain.state_dict()[key]) for key, value in layer.state_dict().items())
    assert str(layer) == f"Strisciuglio{str(plain)[:-1]}, alpha=1.0)"
    assert list(layer.state_dict()) == ["weight", "bias"]
    taken = taking_over(StrisciuglioConv2d, plain)
    assert taken.weight is plain.weight
    assert taken.bias is plain.bias
    model = resnet8(stem="strisciuglio")
    assert first_convolution(model) is model.conv1
    with pytest.raises(InputError, match="'conv1' is a StrisciuglioConv2d"):
        replace_first_conv(model)
    with pytest.raises(InputError, match="kernel_size=0 must be an integer of at least 1"):
        StrisciuglioConv2d(2, 4, 0)


def literal_blur(x: Tensor, stride: int) -> Tensor:
    weights = {-1: 0.25, 0: 0.5, 1: 0.25}
    height, width = x.shape[-2:]

    def mirrored(place: int, size: int) -> int:
        if size == 1:
            return 0
        return -place if place < 0 else 2 * (size - 1) - place if place >= size else place

    rows = []
    for i in range(0, height, stride):
        row = [
            sum(
                weights[a] * weights[b] * x[..., mirrored(i + a, height), mirrored(j + b, width)]
                for a in weights
                for b in weights
            )
            for j in range(0, width, stride)
        ]
        rows.append(torch.stack(row, -1))
    return torch.stack(rows, -2)


@pytest.mark.parametrize(
    "size", [(7, 6), (1, 6), (7, 1), (1, 1), (2, 2)], ids=lambda size: "x".join(map(str, size))
)
@pytest.mark.parametrize("stride", [1, 2])
def test_blur_and_what_is_made_of_it(stride: int, size: tuple[int, int]) -> None:
    x = random_tensor(2, 2, *size)
    assert_near(blur(x, stride), literal_blur(x, stride))
    plain = conv(3, stride)
    every_pixel = F.conv2d(x, plain.weight, plain.bias, 1, 1)
    assert_near(taking_over(BlurAfterConv2d, plain)(x), literal_blur(every_pixel, stride))
    before = taking_over(BlurBeforeConv2d, conv(), blur_stride=stride)
    assert_near(before(x), F.conv2d(literal_blur(x, stride), before.weight, before.bias, 1, 1))


def test_blurpool_blurs_wherever_a_network_drops_pixels() -> None:
    x = random_tensor(2, 3, 32, 32, dtype=torch.float32)
    torch.manual_seed(0)
    plain = resnet18(stem="plain")
    torch.manual_seed(0)
    model = resnet18(stem="blurpool").eval()
    model.load_state_dict(plain.state_dict())  # the names of the weights are the same
    assert type(model.conv1) is nn.Conv2d
    assert model.conv1.stride == (2, 2)
    assert isinstance(model.maxpool, BlurMaxPool2d)
    pooled = F.max_pool2d(x, 3, 1, 1)
    assert_near(model.maxpool(x), literal_blur(pooled, 2))

    block, y = model.layer2[0], random_tensor(2, 64, 8, 8, dtype=torch.float32)
    inner = F.relu(block.bn1(F.conv2d(y, block.conv1.weight, None, 1, 1)))
    inner = block.bn2(F.conv2d(literal_blur(inner, 2), block.conv2.weight, None, 1, 1))
    shortcut = block.downsample[1](F.conv2d(literal_blur(y, 2), block.downsample[0].weight))
    assert_near(block(y), F.relu(inner + shortcut))
    strides = [m.stride for n, m in model.named_modules() if isinstance(m, nn.Conv2d) and n != "conv1"]
    assert set(strides) == {(1, 1)}
    assert model(x).shape == (2, 1000)


@pytest.mark.parametrize("size", [(1, 1), (2, 2), (1, 9), (5, 3)], ids=lambda size: "x".join(map(str, size)))
@pytest.mark.parametrize("stem", ["blurpool", "blur_after_conv"])
def test_blurred_networks_take_images_of_any_size(stem: str, size: tuple[int, int]) -> None:
    model = resnet8(stem=stem).eval()
    assert model(random_tensor(2, 3, *size, dtype=torch.float32)).isfinite().all()


@pytest.mark.parametrize("stem", ["blurpool", "blur_after_conv"])
def test_blurred_networks_are_traced_for_any_size(stem: str) -> None:
    model = resnet8(stem=stem, num_classes=4).eval()
    auto = torch.export.Dim.AUTO  # as `pushpull export --dynamic_size`
    sizes = ({0: auto, 2: auto, 3: auto},)
    exported = torch.export.export(model, (torch.rand(2, 3, 24, 29),), dynamic_shapes=sizes).module()
    compiled = torch.compile(model, fullgraph=True, dynamic=True, backend="eager")
    for size in ((1, 3, 32, 32), (3, 3, 9, 14)):
        x = random_tensor(*size, dtype=torch.float32)
        assert_near(exported(x), model(x))
        assert_near(compiled(x), model(x))


def test_blurpool_in_bottlenecks_and_in_networks_for_small_images() -> None:
    with torch.device("meta"):
        block = resnet50(stem="blurpool").layer2[0]
    assert block.conv2.stride == (1, 1)
    assert [type(block.conv3), block.conv3.blur_stride] == [BlurBeforeConv2d, 2]
    small = resnet8(stem="blurpool")
    assert type(small.conv1) is nn.Conv2d
    assert [type(b[0].conv2) for b in (small.layer1, small.layer2, small.layer3)] == [
        nn.Conv2d,
        BlurBeforeConv2d,
        BlurBeforeConv2d,
    ]
    assert small.layer3(small.layer2(small.layer1(torch.rand(1, 16, 32, 32)))).shape == (1, 64, 8, 8)


@pytest.mark.parametrize("stem", OTHERS)
@pytest.mark.parametrize("name", ["resnet8", "resnet18"])
def test_every_other_stem_trains_and_shares_the_plain_weights(name: str, stem: str) -> None:
    def make(stem: str) -> nn.Module:
        torch.manual_seed(3)
        return create_model(name, stem=stem, input_style="cifar", num_classes=7)

    plain, model = make("plain"), make(stem)
    values = plain.state_dict()
    assert all(
        torch.equal(value, values[key]) for key, value in model.state_dict().items() if "alpha" not in key
    )
    x = random_tensor(2, 3, 32, 32, dtype=torch.float32)
    assert not torch.allclose(model.eval()(x), plain.eval()(x), atol=1e-4)
    model(x).square().mean().backward()
    assert all(parameter.grad.isfinite().all() for parameter in model.parameters())


@pytest.mark.parametrize("stem", ["pp3", "pp3_alpha", "pp3_balanced", "strisciuglio", "strisciuglio_alpha"])
def test_a_strength_reaches_the_unit(stem: str) -> None:
    model = create_model("resnet8", stem=stem, input_style="cifar", num_classes=10, alpha=2.5)
    assert torch.as_tensor(model.conv1.strength).mean().item() == 2.5
    text = str(model.conv1)
    assert "alpha=2.5" in text or "trainable_alpha=True" in text


def test_strengths_and_layers_that_cannot_be() -> None:
    options = {"input_style": "cifar", "num_classes": 10}
    for stem in ("plain", "blurpool"):
        with pytest.raises(InputError, match="alpha=2 needs a push-pull stem"):
            create_model("resnet8", stem=stem, alpha=2, **options)
    for stem in ("pp3", "pp3_alpha", "strisciuglio"):
        with pytest.raises(InputError, match="finite number of at least 0"):
            create_model("resnet8", stem=stem, alpha=-1.0, **options)
        with pytest.raises(InputError, match="finite number of at least 0"):
            create_model("resnet8", stem=stem, alpha=math.nan, **options)
    with pytest.raises(InputError, match="'blurpool' is for networks of ours"):
        create_model("timm:resnet18", stem="blurpool")
    with pytest.raises(InputError, match="without groups or dilation"):
        taking_over(BlurAfterConv2d, nn.Conv2d(4, 4, 3, groups=2))


def test_the_balanced_stem_is_without_offset_and_twice_as_strong() -> None:
    plain, x = conv(), random_tensor(2, 2, 9, 8, seed=3)
    push = F.conv2d(x, plain.weight, None, 1, 1)
    pull = nn.AvgPool2d(3, 1, 1, count_include_pad=False)(F.conv2d(x, -plain.weight, None, 1, 1))
    layer = STEMS["pp3_balanced"](plain)
    assert_near(layer(x), push.relu() - 2 * pull.relu() + plain.bias[:, None, None])
    assert layer.weight is plain.weight
    weaker = create_model("resnet8", stem="pp3_balanced", input_style="cifar", num_classes=7, alpha=0.5)
    assert weaker.conv1.strength == 0.5


@pytest.mark.parametrize("stem", ["pp3_balanced", "strisciuglio", "blur_after_conv"])
def test_layers_stand_in_networks_of_libraries_too(stem: str) -> None:
    torch.manual_seed(3)
    plain = create_model("timm:resnet18", num_classes=7)
    torch.manual_seed(3)
    model = create_model("timm:resnet18", stem=stem, num_classes=7)
    assert type(model.conv1) is not nn.Conv2d
    values = plain.state_dict()
    assert all(torch.equal(value, values[key]) for key, value in model.state_dict().items())
    assert model(random_tensor(2, 3, 64, 64, dtype=torch.float32)).shape == (2, 7)
