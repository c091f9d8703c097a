"""A network comes and leaves more robust: the whole of it, on digits, in seconds."""

import copy
import inspect
import json
from dataclasses import replace

import pytest
import torch
from torch import nn

from pushpull import InputError, PushPullConv2d, create_model, harden, load_network
from pushpull.data import Batch, DataConfig, ImageSplit, Preprocessing, load_data
from pushpull.evaluation import Results
from pushpull.models.network import Network
from pushpull.training import harden as hardening
from pushpull.training.harden import HardenOptions
from pushpull.training.hardensteps import (
    Point,
    between,
    chosen,
    fitted,
    mixed_batches,
    planned,
    restate_norms,
)
from pushpull.unit.gate import gates

OWN = """
import torch
from torch import nn

def build():
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(3, 8, 3, 2, 1), nn.BatchNorm2d(8), nn.ReLU(), nn.Conv2d(8, 16, 3, 2, 1), nn.BatchNorm2d(16),
        nn.ReLU(), nn.AdaptiveAvgPool2d(2), nn.Flatten(), nn.Linear(64, 10),
    )
"""
QUICK = HardenOptions(
    stem="pp3",
    policy="augmix9",
    jsd=1.0,
    teacher_weight=0.5,
    epochs=2,
    max_lr=0.01,
    freeze_norms=False,  # it is no pretrained network
    batch_size=20,
    limit=20,
    device="cpu",
)


@pytest.fixture(scope="module")
def few():
    whole = load_data("digits")
    parts = {name: getattr(whole, name).subset(range(60)) for name in ("train", "validation", "test")}
    return replace(whole, **parts)


@pytest.fixture(scope="module")
def own(tmp_path_factory):
    path = tmp_path_factory.mktemp("own") / "mine.py"
    path.write_text(OWN)
    return f"{path}:build"


@pytest.fixture(scope="module")
def done(few, own, tmp_path_factory):
    folder = tmp_path_factory.mktemp("hardened")
    return harden(own, few, QUICK, output=folder, progress=False, clean_loss=100)


def test_it_writes_all_that_is_promised_and_the_two_results_compare(done):
    names = {path.name for path in done.folder.iterdir()}
    assert {"before", "after", "training", "model.safetensors", "points.json", "harden.json"} <= names
    for name, results in (("before", done.before), ("after", done.after)):
        assert Results.load(done.folder / name) == results
        assert results.complete
        assert len(results.corrupted) == 15
    assert done.before.preprocessing == done.after.preprocessing
    assert done.before.corruption["scale"] == "cifar"
    points = json.loads((done.folder / "points.json").read_text())
    tried = [(point["share"], point["restated"]) for point in points["points"]]
    assert tried == [
        (0, False),
        *((share, new) for share in (0.2, 0.4, 0.6, 0.8, 1.0) for new in (False, True)),
    ]
    assert points["share"] == done.share
    text = "\n".join(done.sentences())
    change = 100 * (done.after.mean - done.before.mean)
    assert f"{change:+z.1f} points, 95 % interval" in text
    assert "-0.0" not in text
    low, high = done.changes["mean_corruption_error"][1:]
    assert low <= change / 100 <= high
    for part in ("Clean accuracy:", "Mean corruption error (top-1, over 15", "Better:", "Worse:", "Kept:"):
        assert part in text


def test_the_file_of_weights_loads_into_the_users_own_function_with_its_stem(done, own):
    again = load_network(own, weights=str(done.folder / "model.safetensors"))
    images = torch.rand(4, 3, 32, 32)
    assert isinstance(again.model[0], PushPullConv2d)
    assert torch.equal(again.model.eval()(images), done.network.model(images))
    assert again.classes == done.network.classes
    assert again.preprocessing == done.network.preprocessing


def test_the_same_call_is_done_and_another_is_refused(done, few, own):
    digest = (done.folder / "model.safetensors").read_bytes()
    again = harden(own, few, QUICK, output=done.folder, progress=False, clean_loss=100)
    assert again.after == done.after
    assert (done.folder / "model.safetensors").read_bytes() == digest
    with pytest.raises(InputError, match="holds the hardening of another options"):
        harden(own, few, QUICK, output=done.folder, progress=False, epochs=3, clean_loss=100)


def test_nothing_is_lost_where_nothing_may_be_and_the_network_is_not_changed(few, tmp_path, capsys):
    model = _trained_on(few)
    before = copy.deepcopy(model.state_dict())
    result = harden(model, few, QUICK, output=tmp_path, epochs=1, max_lr=3.0, clean_loss=0, freeze_norms=True)
    assert "points weighed" in capsys.readouterr().err
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    assert isinstance(model[0], nn.Conv2d)
    points = result.points
    assert not any(point.restated for point in points), "statistics that were held are not taken anew"
    assert points[[p.share for p in points].index(result.share)].clean_error <= points[0].clean_error
    if result.share == 0:
        assert type(result.network.model[0]) is nn.Conv2d, "as it came, without a closed gate"
        images = torch.rand(2, 3, 32, 32)
        assert torch.equal(result.network.model(images), model.eval()(images))


def test_a_network_that_says_nothing_is_told_its_mean_and_std(few, own, recwarn):
    images = torch.rand(2, 3, 32, 32)
    for said, expected in (({}, 0.0), ({"mean": (0.5, 0.5, 0.5), "std": [0.2, 0.2, 0.2]}, -2.5)):
        network, _ = fitted(own, few, HardenOptions(**said))
        assert network.preprocessing(images * 0).unique().tolist() == [expected]
        assert any("nothing says what size, mean" in str(one.message) for one in recwarn) != bool(said)
        recwarn.clear()
    with pytest.raises(InputError, match="--mean and --std go together"):
        fitted(own, few, HardenOptions(mean=(0, 0, 0)))


def _trained_on(few):
    torch.manual_seed(0)
    model = nn.Sequential(nn.Conv2d(3, 4, 5, 2), nn.ReLU(), nn.Flatten(), nn.Linear(4 * 14 * 14, 10))
    images, labels = few.train.resident().images.float() / 255, few.train.labels
    optimizer = torch.optim.SGD(model.parameters(), 0.1)
    for _ in range(30):
        optimizer.zero_grad()
        nn.functional.cross_entropy(model(images), labels).backward()
        optimizer.step()
    return model


def test_the_chosen_point_keeps_the_clean_error():
    points = [Point(0, 0.20, 0.5), Point(0.4, 0.204, 0.4), Point(0.8, 0.21, 0.3), Point(1, 0.25, 0.2)]
    assert [chosen(points, loss).share for loss in (0, 0.5, 1, 10)] == [0, 0.4, 0.8, 1]
    assert chosen([Point(0, 0.2, 0.3), Point(1, 0.2, 0.3)], 1).share == 0, "no gain, no change"


def test_between_mixes_weights_statistics_and_gate_but_no_counters():
    first = nn.Sequential(PushPullConv2d(3, 4, 3), nn.BatchNorm2d(4))
    second = copy.deepcopy(first)
    for model, gate, value in ((first, 0.0, 1.0), (second, 1.0, 3.0)):
        model[0].gate = torch.tensor(gate)
        nn.init.constant_(model[0].weight, value)
        model[1].running_mean.fill_(value)
    second[1].num_batches_tracked += 7
    mixed = between(first, second, 0.25)
    assert gates(mixed) == [0.25]
    assert mixed[0].weight[0, 0, 0, 0].item() == mixed[1].running_mean[0].item() == 1.5
    assert int(mixed[1].num_batches_tracked) == 7


def test_norms_are_restated_over_the_images_and_nothing_else_moves():
    model = nn.Sequential(nn.Conv2d(3, 4, 1), nn.BatchNorm2d(4), nn.Dropout(0.5)).eval()
    images = torch.randint(256, (8, 3, 5, 5), dtype=torch.uint8)
    labels = torch.zeros(8, dtype=torch.int64)
    restate_norms(model, Preprocessing(), [Batch(images, labels, labels)], torch.device("cpu"))
    response = model[0](images.float() / 255)
    torch.testing.assert_close(model[1].running_mean, response.mean((0, 2, 3)))
    torch.testing.assert_close(model[1].running_var, response.var((0, 2, 3)))
    assert (model[1].momentum, model[1].training, model.training) == (0.1, False, False)


def _first_classes(few, names):
    """Return the images of as many classes as there are names, under these."""
    parts = {}
    for part in ("train", "validation", "test"):
        split = getattr(few, part)
        keep = (split.labels < len(names)).nonzero()[:, 0]
        images = split.subset(keep).resident().images
        parts[part] = ImageSplit.from_tensors(images, split.labels[keep], names, name=part)
    return replace(few, classes=names, config=DataConfig("photographs"), **parts)


def test_a_network_of_imagenet_keeps_the_rows_of_the_datas_classes(few, tmp_path):
    torch.manual_seed(0)
    model = nn.Sequential(nn.Conv2d(3, 4, 3, 2), nn.ReLU(), nn.Flatten(), nn.Linear(900, 1000)).eval()
    names = ["tench", "English springer", "church", "golf ball"]
    data = _first_classes(few, names)
    images = torch.rand(2, 3, 32, 32)
    options = replace(QUICK, stem="plain", epochs=1, clean_loss=0, max_lr=1e-6)  # as good as no training
    result = harden(model, data, options, output=tmp_path, progress=False)
    rows = [0, 217, 497, 574]
    assert result.network.model[-1].weight.shape == (4, 900)
    torch.testing.assert_close(result.network.model(images), model(images)[:, rows], rtol=1e-3, atol=1e-3)


class _Heads(nn.Module):
    """Two heads whose mean counts, a convolution as a third, and a layer that only looks like a head."""

    def __init__(self, classes):
        super().__init__()
        self.conv = nn.Conv2d(3, 8, 3, 2)
        self.one, self.two = (nn.Linear(8, classes) for _ in range(2))
        self.three = nn.Conv2d(8, classes, 1)
        self.squeeze = nn.Linear(8, 8)

    def forward(self, x):
        x = self.conv(x).relu()
        third = self.three(x).mean((2, 3))
        x = self.squeeze(x.mean((2, 3)))
        return (self.one(x) + self.two(x) + third) / 3


def test_all_heads_are_cut_to_the_datas_classes_and_so_is_the_users_own_network_when_it_is_loaded(
    few, tmp_path
):
    (tmp_path / "wide.py").write_text(
        "import torch\nfrom torch import nn\n"
        + inspect.getsource(_Heads)
        + "\ndef build():\n    torch.manual_seed(0)\n    return _Heads(1000)\n"
    )
    own, names = f"{tmp_path / 'wide.py'}:build", ["tench", "English springer", "church"]
    data = _first_classes(few, names)
    options = replace(QUICK, batch_size=8, alpha=0.5, clean_loss=100)
    result = harden(own, data, options, output=tmp_path / "out", progress=False, epochs=1)
    images = torch.rand(2, 3, 32, 32)
    again = load_network(own, weights=str(tmp_path / "out" / "model.safetensors")).model.eval()
    assert again.one.weight.shape == again.two.weight.shape == (3, 8)
    assert (again.three.out_channels, again.squeeze.out_features) == (3, 8)
    assert result.share == 0 or again.conv.alpha == 0.5
    assert torch.equal(again(images), result.network.model(images))


def test_where_a_hidden_layer_looks_like_a_head_the_last_one_is_cut(few):
    torch.manual_seed(0)
    model = nn.Sequential(nn.Flatten(), nn.Linear(3072, 10), nn.ReLU(), nn.Linear(10, 10))
    order = few.classes[::-1]
    network, cut = fitted(Network(model, "mine", classes=order), few, QUICK)
    images = torch.rand(2, 3, 32, 32)
    assert cut == ["3"]
    assert torch.equal(network.model(images), model(images).flip(1))


def test_the_file_says_the_stem_and_strength_that_the_network_has(few, tmp_path):
    model = create_model("resnet8", stem="pp5", input_style="cifar", num_classes=10, alpha=0.25)
    network = Network(model, "resnet8", stem="pp5", input_style="cifar")
    result = harden(network, few, QUICK, output=tmp_path, progress=False, epochs=1, clean_loss=100)
    assert result.after.model["stem"] == "pp5"
    again = load_network(tmp_path / "model.safetensors").model.eval()
    images = torch.rand(2, 3, 32, 32)
    assert (again.conv1.avg_kernel_size, again.conv1.alpha) == (5, 0.25)
    assert torch.equal(again(images), result.network.model(images))
    with pytest.raises(InputError, match=r"alpha=0\.5 is for a new push-pull stem"):
        harden(network, few, QUICK, output=tmp_path / "b", progress=False, alpha=0.5)


def test_images_that_are_no_squares_are_trained_on_whole(few, tmp_path):
    torch.manual_seed(0)
    model = nn.Sequential(nn.Conv2d(3, 4, 3, 2, 1), nn.Flatten(), nn.Linear(4 * 16 * 12, 10))
    parts = {}
    for part in ("train", "validation", "test"):
        split = getattr(few, part).resident()
        images = split.images[..., :24].clone()
        parts[part] = ImageSplit.from_tensors(images, split.labels, few.classes, name=part)
    data = replace(few, image_size=(32, 24), config=DataConfig("photographs"), **parts)
    assert harden(model, data, QUICK, output=tmp_path, progress=False, epochs=1).after.complete


def test_what_is_done_is_not_weighed_again(done, few, own, monkeypatch):
    monkeypatch.setattr("pushpull.training.harden.weighed", None)
    monkeypatch.setattr("pushpull.training.harden.train", None)
    again = harden(own, few, QUICK, output=done.folder, progress=False, clean_loss=100)
    assert (again.points, again.share) == (done.points, done.share)


class _Still(nn.Conv2d):
    """Of which the weight would train, the bias (and with it the head) not."""

    def __init__(self, *shape):
        super().__init__(*shape)
        self.bias.requires_grad_(False)

    def forward(self, x):
        return super().forward(x).detach()


class _Broken(nn.Conv2d):
    def forward(self, x):
        return super().forward(x) * torch.nan


@pytest.mark.parametrize(
    ("model", "changes", "message"),
    [
        (nn.Conv2d(3, 4, 8, 8), {}, "a patch embedding"),
        (nn.Conv2d(3, 4, 8, 8), {"stem": "plain", "batch_size": 61}, "batch_size=61 is more than the 60"),
        (nn.Conv2d(3, 4, 8, 8), {"stem": "plain", "epochs": 0}, "epochs=0 must be at least 1"),
        (nn.Conv2d(3, 4, 8, 8), {"stem": "plain", "batch_size": 0}, "batch_size=0 must be at least 2"),
        (nn.Conv2d(3, 4, 8, 8), {"stem": "plain", "alpha": 1}, "leave it out"),
        (nn.Conv2d(3, 4, 8, 8).requires_grad_(False), {"stem": "plain"}, "no parameter of .* trains"),
        (nn.Conv2d(3, 4, 9, 8, 1), {"stem": "strisciuglio"}, "has no gate to open"),
        (nn.Conv2d(3, 4, 8, 8).half(), {}, r"in fp32 \(RuntimeError.*its weights as fp32"),
        (nn.utils.weight_norm(nn.Conv2d(3, 4, 8, 8)), {}, "cannot be copied .*remove_weight_norm"),
        (torch.jit.script(nn.Conv2d(3, 4, 8, 8)), {"stem": "plain"}, "to train .*give the Python model"),
        (_Still(3, 4, 8, 8), {"stem": "plain"}, r"no parameter of .* trains.*without torch\.no_grad"),
        (_Broken(3, 4, 8, 8), {"stem": "plain"}, "gives logits that are NaN"),
    ],
)
@pytest.mark.filterwarnings("ignore:.*weight_norm:FutureWarning")
def test_what_cannot_be_trained_is_refused_before_anything_is_measured(
    model, changes, message, few, tmp_path
):
    head = nn.Linear(64, 10).requires_grad_(model.bias.requires_grad)
    whole = nn.Sequential(model, nn.Flatten(), head)
    with pytest.raises(InputError, match=message) as error:
        harden(whole, few, QUICK, output=tmp_path / "out", progress=False, **changes)
    assert "\n" not in str(error.value)
    assert not (tmp_path / "out").exists()


def test_a_training_that_diverges_says_what_harden_can_do(few, own, tmp_path):
    with pytest.raises(InputError, match=r"training loss is nan in epoch 1; give a lower max_lr"):
        harden(own, few, QUICK, output=tmp_path, progress=False, max_lr=1e30)


def test_a_budget_fits_epochs_and_images(few, own, tmp_path, capsys):
    options = replace(QUICK, budget="3s", limit=None, epochs=50)
    result = harden(own, few, options, output=tmp_path, progress=False)
    plan = json.loads((tmp_path / "harden.json").read_text())["plan"]
    assert 1 <= plan["epochs"] < 50
    assert result.before.data["images"] == plan["limit"]
    assert "budget 3s:" in capsys.readouterr().err
    hours = planned(replace(QUICK, budget="9h", limit=7), load_network(own), few)
    assert (hours["epochs"], hours["limit"], hours["images"]) == (2, 7, 60)
    none = planned(replace(QUICK, budget="0.001s", limit=7, batch_size=50), load_network(own), few)
    assert (none["epochs"], none["limit"], none["images"]) == (1, 7, 60)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"budget": "soon"}, "budget='soon' is not a time; give one such as 90s, 30m or 2h"),
        ({"budget": "0m"}, "budget='0m' is not a time"),
        ({"clean_loss": -1}, "clean_loss=-1 must be from 0"),
        ({"teacher_weight": 1}, "teacher_weight=1 must be"),
        ({"size": 0}, "size=0 must be a positive"),
        ({"max_lr": 0}, "max_lr=0 must be positive"),
        ({"ema": 1.5}, "ema=1.5 must be 0 or more and below 1, or null"),
        ({"policy": "none", "jsd": 12.0}, "give jsd=0, or a policy"),
    ],
)
def test_options_that_cannot_be(options, message):
    with pytest.raises(InputError, match=message):
        HardenOptions(**options)


def test_what_cannot_be_hardened_is_refused_with_the_remedy(few, tmp_path):
    patches = nn.Sequential(nn.Conv2d(3, 4, 8, 8), nn.Flatten(), nn.Linear(64, 10))
    with pytest.raises(InputError, match=r"a patch embedding.*--stem plain"):
        harden(patches, few, QUICK, output=tmp_path / "a", progress=False)
    wide = nn.Sequential(nn.Flatten(), nn.Linear(3072, 7))
    with pytest.raises(InputError, match="7 outputs, the data 10 classes"):
        harden(wide, few, QUICK, output=tmp_path / "b", progress=False)
    with pytest.raises(InputError, match="did you mean 'epochs'"):
        harden(patches, few, QUICK, output=tmp_path / "c", progress=False, epoch=3)
    assert not (tmp_path / "c").exists()


def test_statistics_are_taken_over_all_classes_though_the_data_is_in_their_order(few):
    by_class = few.train.labels.argsort(stable=True)
    ordered = replace(few, train=few.train.subset(by_class))
    batches = mixed_batches(ordered, 0)
    assert sum(len(batch.labels) for batch in batches) == len(few.train)
    assert all(len(batch.labels.unique()) >= 8 for batch in batches)


def test_the_device_that_is_named_trains(few, own):
    network, _ = fitted(own, few, QUICK)
    for device, found in (("cuda:1", ("cuda", [1])), ("cuda", ("cuda", 1)), ("cpu", ("cpu", 1))):
        recipe = hardening._recipe(network, few, replace(QUICK, device=device))
        assert (recipe.accelerator, recipe.devices) == found
