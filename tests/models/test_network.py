"""One loaded network, whatever it is named by."""

import pytest
import torch
from torch import nn

import pushpull
from pushpull import InputError, create_model, load_network
from pushpull.models.loading import save_weights
from pushpull.models.network import NetworkSpec

MINE = """
import torch
from torch import nn

def build():
    torch.manual_seed(0)
    return nn.Sequential(nn.Flatten(), nn.Linear(3 * 32 * 32, 10))

def needs(argument):
    return build()

def number():
    return 3

ready = build()
class Net(nn.Sequential):
    pass
"""


@pytest.fixture
def mine(tmp_path):
    path = tmp_path / "mine.py"
    path.write_text(MINE, encoding="utf-8")
    return path


def test_a_function_of_a_file_builds_it(mine):
    network = load_network(f"{mine}:build")
    assert isinstance(network.model, nn.Sequential)
    assert (network.name, network.label, network.source) == ("build", "build", f"{mine}:build")
    assert isinstance(load_network(f"{mine}:ready").model, nn.Sequential)
    assert isinstance(load_network(f"{mine}:Net").model, nn.Sequential)
    assert isinstance(load_network("torch.nn:Identity").model, nn.Identity)


def test_weights_of_a_file_go_into_it(mine, tmp_path):
    model = load_network(f"{mine}:build").model
    with torch.no_grad():
        model[1].weight.fill_(0.5)
    torch.save(model.state_dict(), tmp_path / "w.pth")
    network = load_network(f"{mine}:build", weights=str(tmp_path / "w.pth"))
    assert float(network.model[1].weight.mean()) == 0.5
    assert network.source == str(tmp_path / "w.pth")


@pytest.mark.parametrize(
    ("name", "options", "text"),
    [
        ("needs", {}, "fails without arguments"),
        ("number", {}, "returns a int, not a torch.nn.Module"),
        ("absent", {}, "has no 'absent'; it has .*build"),
        ("build", {"stem": "pp3"}, "builds its own first layer: leave out --stem"),
        ("build", {"model_name": "resnet8"}, "--model-name goes with a file of weights"),
        ("build", {"weights": "none.pth"}, "none.pth does not exist"),
    ],
)
def test_what_is_no_network_is_refused_in_a_line(mine, name, options, text):
    with pytest.raises(InputError, match=text) as caught:
        load_network(f"{mine}:{name}", **options)
    assert "\n" not in str(caught.value)


def test_weights_of_a_network_of_ones_own_ask_for_its_function(mine, tmp_path):
    file = tmp_path / "model.safetensors"
    save_weights(load_network(f"{mine}:build").model, file, {"model": "build", "classes": '["a"]'})
    for spec in (file, tmp_path):
        with pytest.raises(InputError, match=r"weights of build, .*FILE\.py:FUNC.*--weights .*model\.safe"):
            load_network(spec)
    (tmp_path / "recipe.yaml").write_text("model: {name: build}")
    with pytest.raises(InputError, match=r"weights of build, .*FILE\.py:FUNCTION"):
        load_network(tmp_path)


def test_files_that_are_not_there_or_fail(tmp_path):
    with pytest.raises(InputError, match=r"none\.py does not exist; give a Python file"):
        load_network(str(tmp_path / "none.py") + ":build")
    (tmp_path / "broken.py").write_text("1 / 0", encoding="utf-8")
    with pytest.raises(InputError, match=r"broken\.py cannot be imported \(ZeroDivisionError"):
        load_network(str(tmp_path / "broken.py") + ":build")
    with pytest.raises(InputError, match="module 'no_such_package' is not installed"):
        load_network("no_such_package:build")


def test_a_module_and_a_network_are_taken_as_they_are():
    model = create_model("resnet8", input_style="cifar", num_classes=10)
    network = load_network(model)
    assert network.model is model
    assert load_network(network) is network
    assert network.name == "CifarResNet"


def test_one_spec_for_every_kind():
    assert NetworkSpec("timm:resnet18").is_object is False
    with pytest.raises(InputError, match="'resnet19' is not one of"):
        NetworkSpec("resnet19")
    with pytest.raises(InputError, match="resnet18 has no published weights; give --weights FILE"):
        NetworkSpec("resnet18")


def test_the_users_own_network_is_evaluated_and_exported(mine, tmp_path, capsys):
    from pushpull.cli import main

    words = ["--data", "digits", "--limit", "20", "--corruptions", "fog", "--severities", "1", "--quiet"]
    assert main(["evaluate", f"{mine}:build", *words, "--output", str(tmp_path / "out")]) == 0
    results = pushpull.Results.load(tmp_path / "out")
    assert (results.model["name"], results.model["stem"]) == ("build", None)
    words = ["--format", "exported-program", "--data", "digits", "--output", str(tmp_path / "mine.pt2")]
    assert main(["export", f"{mine}:build", *words]) == 0
    assert "build as exported-program" in capsys.readouterr().out
