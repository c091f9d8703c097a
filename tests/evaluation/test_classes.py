"""Which outputs and which rows belong to the data's classes."""

import json

import pytest
import torch
from timm import create_model
from timm.data import ImageNetInfo
from torch import nn
from torchvision.models import ResNet18_Weights

from data.made import image_folder
from data.published import folder_set
from pushpull.cli import main
from pushpull.data import ImageSplit, Preprocessing, load_data
from pushpull.errors import InputError
from pushpull.evaluation import Results, evaluate
from pushpull.evaluation.classes import Outputs, matched_by_row

IMAGENET = ImageNetInfo().label_names()
# As ImageNet-A and -R: some wnids of ImageNet-1k, sorted.
SOME = [IMAGENET[n] for n in (6, 11, 300, 301, 302, 999)]


class Says(nn.Module):
    """Prefers a number of outputs in turn: logits fall along `order`."""

    def __init__(self, order, outputs=1000):
        super().__init__()
        self.order, self.outputs = order, outputs

    def forward(self, x):
        logits = torch.full((len(x), self.outputs), -1.0)
        logits[:, self.order] = torch.arange(len(self.order), 0, -1).float()
        return logits


def run(data, model, **options):
    options = {"corruptions": (), "preprocessing": Preprocessing(), "progress": False} | options
    return evaluate(model, data, **options)


def test_wnid_folders_take_their_logits_of_1000(tmp_path, capsys):
    image_folder(tmp_path / "imagenet-a", dict.fromkeys(SOME, 2), size=(32, 32))
    data = load_data(str(tmp_path / "imagenet-a"))
    assert data.test.classes == SOME
    # Outputs 5 and 7 are none of the data's classes: that they come first does not count.
    results = run(data, Says([5, 7, 300, 6, 11, 301, 302]), output=tmp_path, corruptions="contrast")
    assert results.clean.class_errors == [1.0, 1.0, 0.0, 1.0, 1.0, 1.0]
    assert results.clean.top5_error == pytest.approx(1 / 6)
    assert results.corrupted["contrast"][1].class_errors == results.clean.class_errors
    assert results.data["logits"] == "subset of 1000"
    assert Results.load(tmp_path) == results
    assert run(data, Says([5, 7, 300]), output=tmp_path, corruptions="contrast").data == results.data
    assert run(data, Says([0], outputs=6)).data["logits"] is None


def test_a_file_that_does_not_say_which_logits_does_not_say_all(tmp_path):
    data = ImageSplit.from_tensors(torch.zeros(6, 3, 32, 32, dtype=torch.uint8), range(6), SOME)
    run(data, Says([6]), output=tmp_path)
    record = json.loads((tmp_path / "results.json").read_text())
    assert record["data"].pop("logits") == "subset of 1000"
    (tmp_path / "results.json").write_text(json.dumps(record))
    assert "logits" not in run(data, Says([6]), output=tmp_path).data
    again = run(data, Says([6]), output=tmp_path, corruptions="contrast", severities=1)
    assert again.data["logits"] == "subset of 1000"


def test_all_1000_wnids_are_in_the_usual_order_of_outputs(tmp_path):
    image_folder(tmp_path / "sketch", dict.fromkeys(IMAGENET, 1))
    results = run(str(tmp_path / "sketch"), Says([300]))
    assert [n for n, error in enumerate(results.clean.class_errors) if error == 0] == [300]
    assert results.data["logits"] is None


def test_numbered_folders_are_sorted_as_numbers(tmp_path):
    image_folder(tmp_path / "v2", dict.fromkeys(map(str, range(1000)), 1))
    results = run(str(tmp_path / "v2"), Says([300]))
    assert results.data["classes"] == [str(n) for n in range(1000)]
    assert [n for n, error in enumerate(results.clean.class_errors) if error == 0] == [300]
    image_folder(tmp_path / "gap", dict.fromkeys(["0", "2", "10"], 1))
    assert load_data(str(tmp_path / "gap")).classes == ["0", "10", "2"]


def test_a_network_that_knows_its_classes():
    data = ImageSplit.from_tensors(torch.zeros(2, 3, 32, 32, dtype=torch.uint8), [0, 1], ["dog", "cat"])
    results = run(data, Says([2], outputs=3), model_classes=["ant", "cat", "dog"])
    assert results.clean.class_errors == [0.0, 1.0]
    assert results.data["logits"] == "subset of 3"
    with pytest.raises(
        InputError, match=r"the model has 3 outputs, the data 2 classes, and it has no cat among"
    ):
        run(data, Says([2], outputs=3), model_classes=["ant", "bee", "dog"])
    with pytest.raises(InputError, match=r"4 outputs, the data 2 classes; evaluate on .* named as some of"):
        run(data, Says([2], outputs=4), model_classes=["ant", "cat", "dog"])


def test_as_many_outputs_as_classes_in_another_order():
    logits = torch.arange(1000.0)[None]
    turned = [*IMAGENET[500:], *IMAGENET[:500]]
    assert Outputs(turned).take(logits, 1, 0)[0, :2].tolist() == [500, 501]
    assert Outputs(IMAGENET).take(logits, len(logits), 0).equal(logits)
    assert Outputs(turned, turned).take(logits, len(logits), 0).equal(logits)
    assert Outputs([str(n) for n in range(1000)]).take(logits, len(logits), 0).equal(logits)
    three = torch.tensor([[1.0, 2.0, 3.0]])
    outputs = Outputs(["a", "b", "c"], ["c", "a", "b"])
    assert outputs.take(three, len(three), 0).tolist() == [[2.0, 3.0, 1.0]]
    assert outputs.text is None
    assert Outputs(["a", "b", "x"], ["a", "b", "c"]).take(three, len(three), 0).equal(three)
    with pytest.raises(InputError, match=r"in another order \(a is its output 1\), but no x; give data"):
        Outputs(["a", "x", "c"], ["c", "a", "b"]).take(three, len(three), 0)


def test_folders_are_mapped_to_a_network_that_has_them_in_another_order(tmp_path):
    folder_set(tmp_path, ["fog"], ["a", "b", "c"], per_class=1)
    results = run(None, Says([0], 3), corrupted=tmp_path, corruptions="fog", model_classes=["c", "a", "b"])
    assert results.corrupted["fog"][1].class_errors == [1.0, 1.0, 0.0]


def test_classes_of_longer_names_and_unknown_ones():
    names = [f"{wnid}_name" for wnid in SOME]
    logits = torch.arange(2000.0).reshape(2, 1000)
    outputs = Outputs(names)
    assert outputs.take(logits, 2, 0)[0].tolist() == [6, 11, 300, 301, 302, 999]
    assert outputs.text == "subset of 1000"
    assert Outputs(None).take(logits, len(logits), 0) is logits
    with pytest.raises(InputError, match=r"has no n99999999 among its classes"):
        Outputs([*SOME, "n99999999"]).take(logits, len(logits), 0)
    with pytest.raises(InputError, match=r"the model has 1000 outputs, the data 10 classes; evaluate on"):
        Outputs([str(n) for n in range(10)]).take(logits, len(logits), 0)
    with pytest.raises(InputError, match=r"the model has 2 outputs, the data 6 classes"):
        Outputs(SOME).take(torch.zeros(1, 2), 1, 0)


def test_rows_of_renumbered_classes():
    def split(labels, classes=10):
        images = torch.zeros(len(labels), 3, 16, 16, dtype=torch.uint8)
        return ImageSplit.from_tensors(images, labels, [str(n) for n in range(classes)])

    found = split([4, 2, 4, 7, 2, 7])
    clean = split([0, 9, 0, 1, 9, 1]).subset([0, 2, 3, 5])  # 4 is class 0 now, 7 class 1
    assert matched_by_row(found, clean).labels.tolist() == [0, 0, 1, 1]
    assert matched_by_row(found, clean).index.tolist() == [0, 2, 3, 5]
    # A set that was made of the part alone has its rows and no others.
    assert matched_by_row(split([0, 0, 1, 1]), clean).labels.tolist() == [0, 0, 1, 1]
    mixed = split([0, 9, 0, 0, 9, 1]).subset([0, 2, 3, 5])
    with pytest.raises(InputError, match="other labels than the clean data at 4 of 4 rows"):
        matched_by_row(found, mixed)


def test_readable_names_of_imagenet_are_matched_never_taken_for_the_order_of_the_outputs():
    order = ResNet18_Weights.IMAGENET1K_V1.meta["categories"]
    logits = torch.arange(2000.0).reshape(2, 1000)
    few = ["golf ball", "English_springer", "TENCH"]
    assert Outputs(few).take(logits, 2, 2)[0].tolist() == [574.0, 217.0, 0.0]
    by_name = sorted(order)
    taken = Outputs(by_name).take(logits, 2, 999)[0]
    assert taken.tolist() == [float(order.index(name)) for name in by_name]
    filled = sorted(["no such thing", "nor this", *order[2:]])
    with pytest.raises(InputError, match=r"the data's classes in another order .* but no "):
        Outputs(filled).take(logits, 2, 999)
    numbered = [str(number) for number in range(1000)]
    assert torch.equal(Outputs(numbered).take(logits, 2, 999), logits)


@pytest.mark.parametrize(
    "names", [["tench", "English springer", "church"], [IMAGENET[0], "english_springer", "Church"]]
)
def test_a_weights_file_of_1000_classes_on_data_with_readable_names(names, tmp_path, capsys):
    image_folder(tmp_path / "some", dict.fromkeys(names, 2), size=(32, 32))
    torch.manual_seed(0)
    torch.save(create_model("test_resnet", num_classes=1000).state_dict(), tmp_path / "w.pth")
    arguments = ["--weights", str(tmp_path / "w.pth"), "--data", str(tmp_path / "some"), "--size", "32"]
    assert (
        main(["evaluate", "timm:test_resnet", *arguments, "--corruptions", "none", "--output", str(tmp_path)])
        == 0
    )
    assert "logits of the data's 3 classes: subset of 1000" in capsys.readouterr().out
    assert Results.load(tmp_path).data["classes"] == sorted(names)
