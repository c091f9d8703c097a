import copy

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

import pushpull
from pushpull import plot
from pushpull.corruptions import CORRUPTIONS, corrupt
from pushpull.data import Preprocessing
from pushpull.errors import InputError
from pushpull.models import Network
from pushpull.unit.functional import pull_kernel, push_pull_conv2d
from support import random_tensor


def shown(panel):
    return np.asarray(panel.images[0].get_array())


def titles(figure):
    return [panel.get_title() for panel in figure.axes]


def layer(channels=3, **options):
    unit = pushpull.PushPullConv2d(channels, 5, 3, padding=1, **options)
    unit.weight.data = random_tensor(5, channels, 3, 3).float()
    return unit


@pytest.fixture
def pixels():
    return torch.randint(256, (3, 32, 40), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))


def test_a_sheet_holds_the_clean_image_and_each_corruption_of_it(pixels):
    figure = plot.corruptions(pixels, severities=4, scale="cifar", seed=3)
    assert titles(figure)[:2] == ["clean", "gaussian noise"]
    assert len(figure.axes) == 16 == 1 + len(CORRUPTIONS)
    assert np.array_equal(shown(figure.axes[0]), pixels.permute(1, 2, 0))
    for panel, name in zip(figure.axes[1:], CORRUPTIONS, strict=True):
        expected = corrupt(pixels[None], name, 4, scale="cifar", seed=3, index=[0])[0]
        assert np.array_equal(shown(panel), expected.permute(1, 2, 0)), name
    assert figure.get_supxlabel() == "severity 4, 40 x 32 px, cifar scale, seed 3"


def test_several_severities_are_a_row_a_corruption(pixels):
    figure = plot.corruptions(pixels, ["fog", "contrast"], (1, 5), scale="cifar")
    assert titles(figure) == ["clean", "severity 1", "severity 5", "", "", ""]
    assert [panel.texts[0].get_text() for panel in figure.axes[::3]] == ["fog", "contrast"]
    expected = corrupt(pixels[None], "contrast", 5, scale="cifar", seed=0, index=[0])[0]
    assert np.array_equal(shown(figure.axes[5]), expected.permute(1, 2, 0))


def test_an_image_may_come_in_any_form(pixels, tmp_path):
    array = pixels.permute(1, 2, 0).numpy()
    Image.fromarray(array).save(tmp_path / "a.png")
    for image in (array, pixels.float() / 255, Image.fromarray(array), tmp_path / "a.png"):
        figure = plot.corruptions(image, "fog", scale="cifar")
        assert np.array_equal(shown(figure.axes[0]), array)
    grey = plot.corruptions(pixels[0], "fog", scale="cifar")
    assert np.array_equal(shown(grey.axes[0]), np.stack([pixels[0].numpy()] * 3, axis=2))
    large = plot.corruptions(np.zeros((300, 400, 3), dtype=np.uint8), "fog")
    assert shown(large.axes[0]).shape == (224, 224, 3)


@pytest.mark.parametrize(
    ("image", "said"),
    [
        (torch.rand(2, 3, 32, 32), "shape (2, 3, 32, 32)"),
        (torch.full((3, 32, 32), 200.0), "outside [0, 1]"),
        (torch.zeros(3, 32, 32, dtype=torch.int64), "torch.int64"),
        (torch.zeros(3, 8, 8), "too small"),
    ],
)
def test_what_is_no_image_is_refused(image, said):
    with pytest.raises(InputError) as error:
        plot.corruptions(image, "fog")
    assert said in str(error.value)


@pytest.mark.parametrize("offset", ["extrema", "mean", "zero", 0.5])
def test_push_stands_above_pull_on_one_scale(offset):
    unit = layer(offset=offset)
    figure = plot.kernels(unit, filters=[3, 1])
    push = unit.weight.detach().double()
    pull = pull_kernel(push, offset)
    for column, number in enumerate((3, 1)):
        scale = max(push[number].abs().max(), pull[number].abs().max())
        for panel, kernel in ((figure.axes[column], push), (figure.axes[2 + column], pull)):
            expected = (0.5 + 0.5 * kernel[number] / scale).permute(1, 2, 0)
            assert np.allclose(shown(panel), expected)
    assert titles(figure) == ["3", "1", "", ""]
    assert f"pull offset: {offset}, strength 1" in figure.get_supxlabel()


def test_a_plain_convolution_has_kernels_alone():
    conv = nn.Conv2d(1, 4, 3)
    figure = plot.kernels(nn.Sequential(nn.Identity(), conv))
    assert [panel.texts[0].get_text() for panel in figure.axes if panel.texts] == ["kernel"]
    assert len(figure.axes) == 4
    weight = conv.weight.detach()[2, 0]
    assert np.allclose(shown(figure.axes[2])[..., 0], 0.5 + 0.5 * weight / weight.abs().max())
    with pytest.raises(InputError, match="no pull response"):
        plot.responses(conv)


def test_a_standardised_kernel_is_shown_as_it_acts():
    unit = layer(weight_eps=1e-6)
    rows = unit.weight.detach().flatten(1)
    used = ((rows - rows.mean(1, True)) / rows.std(1, correction=0, keepdim=True)).reshape(5, 3, 3, 3)
    assert torch.allclose(unit.used_weight, used, atol=1e-4)
    scale = max(used[0].abs().max(), pull_kernel(used)[0].abs().max())
    expected = (0.5 + 0.5 * used[0] / scale).permute(1, 2, 0)
    assert np.allclose(shown(plot.kernels(unit).axes[0]), expected, atol=1e-4)


@pytest.mark.parametrize("offset", ["extrema", "mean", "zero"])
@pytest.mark.parametrize("channels", [1, 3])
def test_responses_are_those_of_the_unit(pixels, channels, offset):
    unit = layer(channels, offset=offset, alpha=0.5)
    before = copy.deepcopy(unit.state_dict())
    figure = plot.responses(unit, pixels, filters=[4])
    x = pixels[None].double() / 255
    if channels == 1:
        x = (0.299 * x[:, :1] + 0.587 * x[:, 1:2]) + 0.114 * x[:, 2:]
    weight = unit.weight.detach().double()
    push = torch.conv2d(x, weight, padding=1)
    pull = nn.AvgPool2d(3, 1, 1, count_include_pad=False)(
        torch.conv2d(x, pull_kernel(weight, offset), padding=1)
    )
    y = push_pull_conv2d(x, weight, padding=1, alpha=0.5, offset=offset)
    image, pushed, pulled, difference = map(shown, figure.axes)
    assert np.array_equal(image, pixels.permute(1, 2, 0))
    assert np.allclose(pushed, push[0, 4].relu())
    assert np.allclose(pulled, pull[0, 4].relu())
    assert np.allclose(difference, y[0, 4])
    assert titles(figure) == ["image", "push", "pull", "push \u2212 0.5 pull"]
    low, high = figure.axes[3].images[0].get_clim()
    assert low == -high < 0
    assert figure.axes[1].images[0].get_clim() == figure.axes[2].images[0].get_clim()
    assert all(torch.equal(value, unit.state_dict()[name]) for name, value in before.items())


def test_a_networks_own_preprocessing_comes_before_its_layer(pixels):
    unit = layer()
    own = Preprocessing((0.5, 0.4, 0.3), (0.2, 0.2, 0.2))
    network = Network(nn.Sequential(unit), "mine", preprocessing=own)
    (_, push, *_) = plot.responses(network, pixels, filters=[0]).axes
    expected = torch.conv2d(own(pixels[None].double() / 255), unit.weight.detach().double(), padding=1)
    assert np.allclose(shown(push), expected[0, 0].relu())


def test_the_filters_that_answer_most_are_chosen(pixels):
    unit = layer(1)
    unit.weight.data[2] *= 100
    (first, *_) = plot.responses(unit, pixels, filters=2).axes
    assert first.texts[0].get_text() == "filter 2"


@pytest.mark.parametrize("filters", [[5], [-1], [], 0, True, "1"])
def test_filters_that_are_not_there_are_refused(filters):
    with pytest.raises(InputError, match="filters"):
        plot.kernels(layer(), filters=filters)


def test_a_layer_that_takes_no_image_is_refused(pixels):
    with pytest.raises(InputError, match="16 channels"):
        plot.responses(layer(16), pixels)
    with pytest.raises(InputError, match="model is a str"):
        plot.kernels("resnet18")


def test_one_result_shows_its_families(results):
    (panel,) = plot.severities(results(clean=0.1, errors=0.4)).axes
    said = [text.get_text().strip("\u200b") for text in panel.get_legend().get_texts()]
    assert said == ["mean of the 15", "noise", "blur", "weather", "digital"]
    for line in panel.lines:
        assert list(line.get_xdata()) == [0, 1, 2, 3, 4, 5]
        assert list(line.get_ydata()) == pytest.approx([10, 40, 40, 40, 40, 40])
    assert panel.get_title(loc="left") == "resnet14 plain seed 0"


def test_several_results_are_a_line_each(results, tmp_path):
    errors = {"fog": [0.1, 0.2], "snow": [0.3, 0.4]}
    one = results(errors=errors, severities=[1, 3], clean=None)
    two = results("pp3", errors=errors, severities=[1, 3])
    two.save(tmp_path / "results.json")
    (panel,) = plot.severities(one, tmp_path, labels=["$a", "_b"]).axes
    assert [text.get_text() for text in panel.get_legend().get_texts()] == ["\u200b\\$a", "\u200b_b"]
    assert list(panel.lines[0].get_xdata()) == [1, 3]
    assert list(panel.lines[0].get_ydata()) == pytest.approx([20, 30])
    assert list(panel.lines[1].get_xdata()) == [0, 1, 3]
    assert list(panel.lines[1].get_ydata()) == pytest.approx([20, 20, 30])
    assert panel.get_title(loc="left") == "mean of the 2"


def test_results_that_say_nothing_of_each_other_are_refused(results):
    with pytest.raises(InputError, match="different corruptions"):
        plot.severities(results(), results(errors={"fog": [0.1] * 5}))
    for other in (results(images=10), results(corruption={"scale": "tiny"})):
        with pytest.raises(InputError, match="images or severity scales"):
            plot.severities(results(), other)
    with pytest.raises(InputError, match="no corruption"):
        plot.severities(results(errors={}))
    with pytest.raises(InputError, match="no results"):
        plot.severities()
    with pytest.raises(InputError, match="1 labels for 2"):
        plot.severities(results(), results(), labels=["a"])


def test_a_notebook_shows_a_figure_by_itself(pixels):
    assert plot.corruptions(pixels, "fog", scale="cifar")._repr_png_().startswith(b"\x89PNG")
