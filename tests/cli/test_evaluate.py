"""`pushpull evaluate`: what a model may be called, defaults, and mistakes in one line."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from data.made import image_folder
from pushpull.cli import main
from pushpull.cli.evaluate import evaluate_command
from pushpull.data import DataConfig, Preprocessing
from pushpull.errors import InputError
from pushpull.evaluation import EvaluationOptions, Results
from pushpull.evaluation.stability import Stability
from pushpull.models import Network, create_model

_OF_NETWORK = ("data", "classes", "weights", "model_name", "stem", "input_style")
OWN = {"size": None, "from": "the network's own"}
FEW = {"corruptions": ("fog",), "severities": (2,), "limit": 20, "quiet": True, "device": "cpu"}
DIGITS = [str(n) for n in range(10)]


def evaluated(model, **given):
    """Call the command: what is of no network or data is an option of the evaluation."""
    own = {name: given.pop(name) for name in _OF_NETWORK if name in given}
    return evaluate_command(model, EvaluationOptions(**given), **own)


@pytest.fixture(autouse=True)
def elsewhere(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


@pytest.fixture(scope="module")
def model():
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return create_model("resnet8", stem="pp3", input_style="cifar", num_classes=10)


def weights(network, path, **metadata):
    save_file({name: tensor.clone() for name, tensor in network.state_dict().items()}, path, metadata or None)
    return str(path)


@pytest.fixture
def run_folder(model, tmp_path, monkeypatch):
    """A folder that `load_run` takes for a run; the loader is a stand-in."""
    folder = tmp_path / "run"
    folder.mkdir()
    loaded = Network(
        model=model,
        source=str(folder),
        data=DataConfig("digits"),
        preprocessing=Preprocessing((0.5, 0.4, 0.3), (0.2, 0.3, 0.4)),
        name="resnet8",
        stem="pp3",
        seed=4,
        classes=DIGITS,
        label="resnet8 pp3 seed 4",
    )
    monkeypatch.setattr("pushpull.cli.evaluate.load_run", lambda path: loaded)
    return folder, loaded


def test_a_run_folder_brings_data_preprocessing_and_place(run_folder, capsys):
    folder, _ = run_folder
    results = evaluated(str(folder), **FEW)
    assert Results.load(folder) == results
    assert results.model["label"] == "resnet8 pp3 seed 4"
    assert (results.model["name"], results.model["stem"], results.model["seed"]) == ("resnet8", "pp3", 4)
    assert results.model["source"] == str(folder)
    assert results.data["name"] == "digits"
    assert results.data["label"] == "digits (demonstration, not evidence)"
    assert results.preprocessing == {"mean": [0.5, 0.4, 0.3], "std": [0.2, 0.3, 0.4], **OWN}
    assert results.data["limit"] == 20
    printed = capsys.readouterr().out
    assert f"{100 * results.clean_error:.1f}" in printed
    assert f"{100 * results.corrupted['fog'][2].top1_error:.1f}   (severity 2)" in printed
    assert str(folder / "results.json") in printed


def test_it_ends_with_the_worst_three_or_with_everything(run_folder, capsys):
    folder, _ = run_folder
    noises = ("gaussian_noise", "shot_noise", "impulse_noise", "fog")
    results = evaluated(str(folder), **FEW | {"corruptions": noises})
    short = capsys.readouterr().out
    assert "95 % interval over images" in short
    assert "plain mean of 4 corruptions x 1 severity" in short
    assert "    noise " in short
    assert "the worst 3 of 4:" in short
    worst = max(noises, key=lambda name: results.corrupted[name][2].top1_error).replace("_", " ")
    assert short.partition("the worst 3 of 4:")[2].split("\n")[1].strip().startswith(worst)
    assert f"as a page: pushpull report {folder}" in short
    evaluate_command(str(folder), EvaluationOptions(**FEW | {"corruptions": noises}), everything=True)
    assert all(f"\n  {name.replace('_', ' ')} " in capsys.readouterr().out for name in noises[:1])


def test_weights_by_name_by_file_and_with_notes_agree(model, tmp_path):
    file = weights(model, tmp_path / "plain.safetensors")
    noted = weights(
        model,
        tmp_path / "noted.safetensors",
        model="resnet8",
        stem="pp3",
        input_style="cifar",
        classes=json.dumps(DIGITS),
        preprocessing=json.dumps(Preprocessing().to_dict()),
    )
    torch.save(model.state_dict(), tmp_path / "a.pth")
    found = [
        evaluated("resnet8", data="digits", weights=file, stem="pp3", **FEW),
        evaluated(file, data="digits", model_name="resnet8", stem="pp3", **FEW),
        evaluated(str(tmp_path / "a.pth"), data="digits", model_name="resnet8", stem="pp3", **FEW),
        evaluated(noted, data="digits", **FEW),
    ]
    assert len({results.model["weights_sha256"] for results in found}) == 1
    assert len({tuple(results.clean.class_errors) for results in found}) == 1
    folders = ["evaluate-resnet8-pp3", "evaluate-plain-pp3", "evaluate-a-pp3", "evaluate-noted"]
    for folder, results in zip(folders, found, strict=True):
        assert Results.load(tmp_path / "runs" / folder) == results
    assert found[0].model["source"] == file
    assert found[0].model["label"] == "resnet8 pp3"


def test_notes_and_options_set_the_preprocessing(model, tmp_path):
    noted = weights(
        model,
        tmp_path / "noted.safetensors",
        model="resnet8",
        stem="pp3",
        preprocessing=json.dumps(Preprocessing((0.1, 0.2, 0.3), (0.4, 0.5, 0.6)).to_dict()),
    )
    assert evaluated(noted, data="digits", **FEW).preprocessing["mean"] == [0.1, 0.2, 0.3]
    given = evaluated(noted, data="digits", mean=(0.5, 0.5, 0.5), std=(0.1, 0.1, 0.1), output="other", **FEW)
    why = "mean and std as asked, size the network's own"
    assert given.preprocessing == {"mean": [0.5] * 3, "std": [0.1] * 3, "size": None, "from": why}


def test_a_library_network_with_its_published_weights(monkeypatch, tmp_path):
    asked = {}

    def create(name, *, stem, pretrained):
        asked.update(name=name, stem=stem, pretrained=pretrained)
        network = create_model("resnet8", input_style="cifar", num_classes=10)
        network.pretrained_cfg = {
            "url": "x",
            "mean": (0.5, 0.5, 0.5),
            "std": (0.25, 0.25, 0.25),
            "input_size": (3, 40, 40),
            "num_classes": classes,
        }
        return network

    monkeypatch.setattr("pushpull.models.network.create_model", create)
    classes = 1000
    results = evaluated("timm:some_net.tag", data="digits", **FEW)
    assert asked == {"name": "timm:some_net.tag", "stem": "plain", "pretrained": True}
    assert results.preprocessing["size"] == [40, 40]
    assert (tmp_path / "runs" / "evaluate-timm-some_net.tag" / "results.json").is_file()
    classes = 21843
    with pytest.raises(InputError, match="published with 21843 classes"):
        evaluated("timm:other", data="digits", **FEW)


def test_classes_in_another_order_are_mapped(run_folder, monkeypatch):
    folder, loaded = run_folder
    straight = evaluated(str(folder), **FEW).clean
    turned = create_model("resnet8", stem="pp3", input_style="cifar", num_classes=10)
    turned.load_state_dict(loaded.model.state_dict())
    with torch.no_grad():
        for parameter in turned.get_submodule("fc").parameters():
            parameter.copy_(parameter.roll(-1, 0))
    other = replace(loaded, model=turned, classes=[*DIGITS[1:], "0"])
    monkeypatch.setattr("pushpull.cli.evaluate.load_run", lambda path: other)
    found = evaluated(str(folder), output="turned", **FEW)
    assert found.clean.class_errors == straight.class_errors
    strange = replace(other, classes=[f"digit {n}" for n in range(10)])
    monkeypatch.setattr("pushpull.cli.evaluate.load_run", lambda path: strange)
    with pytest.warns(UserWarning, match="other class names"):
        evaluated(str(folder), output="others", **FEW)


def test_a_folder_too_high_and_a_class_too_few(model, tmp_path):
    file = weights(model, tmp_path / "a.safetensors")
    options = {"model_name": "resnet8", "stem": "pp3", **FEW}
    image_folder(tmp_path / "up", {f"sketch/{name}": 1 for name in DIGITS}, size=(32, 32))
    with pytest.raises(InputError, match=r"up has 1 class \('sketch'\); .*, give up/sketch"):
        evaluated(file, data="up", **options)
    (tmp_path / "up" / "sketch" / "7").rename(tmp_path / "7")
    with pytest.raises(InputError, match=r"\(for 9 classes: 0, 1, 2, \.\.\.\)"):
        evaluated(file, data="up/sketch", **options)


def test_another_sitting_continues_and_other_settings_are_refused(run_folder, capsys):
    folder, _ = run_folder
    first = evaluated(str(folder), **FEW)
    again = evaluated(str(folder), **(FEW | {"corruptions": ("fog", "contrast")}))
    assert again.corrupted["fog"] == first.corrupted["fog"]
    assert list(again.corrupted) == ["fog", "contrast"]
    with pytest.raises(InputError, match=r"corruption\.seed is 0 there, 1 now"):
        evaluated(str(folder), seed=1, **FEW)
    assert evaluated(str(folder), seed=1, overwrite=True, **FEW).corruption["seed"] == 1
    capsys.readouterr()
    assert list(evaluated(str(folder), output="clean", **(FEW | {"corruptions": ("none",)})).corrupted) == []
    assert "as a page" not in capsys.readouterr().out, "clean images alone have none"


def test_clean_images_alone_have_no_scale_and_no_seed(run_folder, capsys):
    evaluated(str(run_folder[0]), output="clean", **(FEW | {"corruptions": ("none",)}))
    heading = capsys.readouterr().out.splitlines()[0]
    assert heading.endswith("20 images")


def line_of_failure(capsys, *arguments):
    assert main(["evaluate", *map(str, arguments)]) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.startswith("pushpull: error: ")
    assert captured.err.count("\n") == 1
    return captured.err


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["resnet19", "--data", "digits"], "model='resnet19' is not one of"),
        (["runs/none", "--data", "digits"], "runs/none does not exist; give a run folder"),
        (
            ["none.safetensors", "--data", "digits", "--model_name", "resnet8"],
            "none.safetensors does not exist",
        ),
        (["resnet8", "--data", "digits"], "resnet8 has no published weights; give --weights"),
        (["resnet8", "--data", "digits", "--weights", "none.pth"], "none.pth does not exist"),
        (["timm:resnet50"], "--data is missing"),
        (["timm:resnet50", "--data", "digits", "--stem", "pp4"], "stem='pp4' is not one of"),
        (["timm:resnet50", "--data", "digits", "--model_name", "x"], "--model-name goes with a file"),
        (["timm:resnet51", "--data", "digits"], "timm has no classification model 'resnet51'"),
        (["{file}", "--data", "digits"], "does not say which network it is of; give --model-name"),
        (["{file}", "--data", "digits", "--weights", "x"], "is a file of weights: leave out --weights"),
        (["{broken}", "--data", "digits", "--model_name", "resnet8"], "broken.safetensors"),
        (["{folder}", "--stem", "pp3"], "is a run folder and knows its model: leave out --stem"),
        (["{folder}", "--corruptions", "fogg"], "corruption='fogg' is not one of"),
        (["{folder}", "--severities", "0"], "severity=0 is outside 1..5"),
        (["{folder}", "--severities", "1", "6"], "severity=6 is outside 1..5"),
        (["{folder}", "--device", "gpu"], "device='gpu' cannot be used"),
        (["{folder}", "--mean", "0", "0", "0"], "--mean and --std go together"),
        (["{folder}", "--data", "nothing"], "nothing"),
        (["{folder}", "--output", "{file}/x"], "cannot be written"),
        (["{folder}", "--batch_size", "many"], "--batch-size many"),
    ],
)
def test_mistakes_are_one_line_and_exit_code_2(run_folder, model, tmp_path, capsys, arguments, message):
    folder, _ = run_folder
    broken = tmp_path / "broken.safetensors"
    broken.write_bytes(b"nonsense")
    places = {
        "file": weights(model, tmp_path / "w.safetensors"),
        "folder": str(folder),
        "broken": str(broken),
    }
    assert message in line_of_failure(capsys, *(word.format(**places) for word in arguments), "--quiet")
    assert not (folder / "results.json").exists()


def test_the_command_line_reaches_every_parameter(run_folder, capsys):
    folder, _ = run_folder
    words = "--data digits --corruptions noise fog --severities 1 5 --scale tiny --seed 3 --batch_size 8"
    words += " --workers 0 --device cpu --limit 12 --output out --label mine --channels_last --quiet"
    words += " --mean .1 .2 .3 --std .4 .5 .6 --size 40 48 --resize 20 --crop 16"
    assert main(["evaluate", str(folder), *words.split()]) == 0
    results = Results.load("out")
    assert list(results.corrupted) == ["gaussian_noise", "shot_noise", "impulse_noise", "fog"]
    assert list(results.corrupted["fog"]) == [1, 5]
    assert (results.corruption["scale"], results.corruption["seed"]) == ("tiny", 3)
    assert (results.data["limit"], results.label) == (12, "mine")
    given = {"mean": [0.1, 0.2, 0.3], "std": [0.4, 0.5, 0.6], "size": [40, 48]}
    assert results.preprocessing == {**given, "from": "as asked"}
    assert results.data["framing"] == {"resize": 20, "crop": 16}
    assert "network input: 40 x 48 px, mean 0.1 0.2 0.3, std 0.4 0.5 0.6: as asked" in capsys.readouterr().out


def test_help_explains_every_option(capsys):
    with pytest.raises(SystemExit) as caught:
        main(["evaluate", "--help"])
    assert caught.value.code == 0
    printed = " ".join(capsys.readouterr().out.split())
    assert "The corruptions' constants: imagenet, cifar or tiny." in printed
    for option in (
        "data",
        "weights",
        "stem",
        "severities",
        "limit",
        "output",
        "overwrite",
        "device",
        "workers",
    ):
        assert f"--{option}" in printed


def test_weights_of_imagenet_on_a_subset_of_its_classes(tmp_path, capsys):
    wnids = ["n01440764", "n01443537", "n02123045"]
    image_folder(tmp_path / "imagenet-r", dict.fromkeys(wnids, 2), size=(32, 32))
    whole = create_model("resnet8", input_style="cifar", num_classes=1000)
    torch.save(whole.state_dict(), tmp_path / "whole.pth")
    options = FEW | {"corruptions": ("none",)}
    results = evaluated("resnet8", data="imagenet-r", weights="whole.pth", **options)
    assert results.data["logits"] == "subset of 1000"
    assert "logits of the data's 3 classes: subset of 1000" in capsys.readouterr().out
    image_folder(tmp_path / "others", dict.fromkeys(["a", "b"], 2), size=(32, 32))
    with pytest.raises(InputError, match="does not fit the model"):
        evaluated("resnet8", data="others", weights="whole.pth", **options)


def test_quality_and_precision_from_the_command_line(run_folder, capsys):
    words = "--corruptions fog --severities 1 --limit 12 --device cpu --quiet --jpeg_quality 85"
    assert main(["evaluate", str(run_folder[0]), *words.split(), "--precision", "bf16"]) == 0
    results = Results.load(run_folder[0])
    assert (results.corruption["jpeg_quality"], results.precision) == (85, "bf16")
    assert "seed 0, JPEG quality 85" in capsys.readouterr().out


def test_what_nothing_says_of_a_file_of_weights_is_assumed_aloud(tmp_path):
    torch.save(create_model("timm:resnet10t", num_classes=10).state_dict(), tmp_path / "w.pth.tar")
    with pytest.warns(UserWarning, match="ResNet has 10 outputs, unlike the weights"):
        results = evaluated("timm:resnet10t", weights=str(tmp_path / "w.pth.tar"), data="digits", **FEW)
    assert results.preprocessing["size"] is None
    (tmp_path / "mine.py").write_text(
        "from torch.nn import *\ndef build():\n    return Sequential(Flatten(), Linear(3 * 40 * 40, 10))"
    )
    with (
        pytest.warns(UserWarning, match="nothing says what size, mean and std build was trained with"),
        pytest.raises(InputError, match=r"build does not take images of \(3, 32, 32\).*--size"),
    ):
        evaluated("mine.py:build", data="digits", **FEW)
    assert evaluated("mine.py:build", data="digits", size=(40,), **FEW).preprocessing["size"] == [40, 40]


def test_flip_rates_are_measured_by_an_option(tmp_path, capsys):
    run = Path(__file__).parents[1] / "fixtures" / "run_of_ec61bc6"
    words = ["evaluate", str(run), "--limit", "6", "--perturbed", "made", "--output", str(tmp_path)]
    assert main(words) == 0
    out = capsys.readouterr().out
    assert "mean (mFP)" in out
    assert len(Stability.load(tmp_path).flip_rates) == 10
    assert main(words) == 2
    assert "is there already; --overwrite" in capsys.readouterr().err
    assert main([*words, "--adapt", "bn"]) == 2
    assert "leave out --adapt" in capsys.readouterr().err
