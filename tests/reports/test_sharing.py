"""Networks shared: what is written loads again to the bit, by us and by timm, and says what it is."""

import json
from pathlib import Path
from typing import ClassVar

import huggingface_hub
import pytest
import timm
import torch
import yaml
from huggingface_hub import ModelCard

import pushpull
from export.made import CLASSES, PREPROCESSING, make_run
from pushpull.cli import main
from pushpull.data import Preprocessing
from pushpull.errors import InputError
from pushpull.evaluation import evaluate
from pushpull.models import Network, create_model, hub, libraries
from pushpull.models.hub import hub_name
from pushpull.reports import sharing
from pushpull.training.recipe import LossConfig, ModelConfig
from pushpull.unit.gate import gates, set_gate

IMAGES = torch.randint(256, (5, 3, 32, 32), dtype=torch.uint8, generator=torch.Generator().manual_seed(1))


def logits(network: Network) -> torch.Tensor:
    with torch.no_grad():
        return network.model.eval()(network.preprocessing(IMAGES))


def warm(model: torch.nn.Module, side: int = 32) -> torch.nn.Module:
    """Give running statistics that are not the initial ones."""
    with torch.no_grad():
        model.train()(torch.randn(8, 3, side, side, generator=torch.Generator().manual_seed(0)))
    return model.eval()


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = make_run(tmp_path_factory.mktemp("runs") / "pp3")
    network = pushpull.load_run(folder)
    options = {"severities": (1, 2, 3, 4, 5), "limit": 10, "progress": False}
    evaluate(network, pushpull.load_data("digits"), output=str(folder), **options)
    return folder


@pytest.fixture(scope="module")
def shared(run: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return pushpull.save_pretrained(run, tmp_path_factory.mktemp("shared") / "model", repo="me/digits-pp3")


def test_a_run_comes_back_to_the_bit(run: Path, shared: Path) -> None:
    before, after = pushpull.load_run(run), pushpull.from_pretrained(shared)
    assert torch.equal(logits(before), logits(after))
    assert (after.classes, after.preprocessing) == (CLASSES, PREPROCESSING)
    assert (after.name, after.stem, after.seed, after.label) == (
        before.name,
        before.stem,
        before.seed,
        before.label,
    )
    assert after.data.name == "digits"


@pytest.mark.parametrize("stem", ["plain", "pp3_alpha", "pp5_mean", "pp3_balanced", "strisciuglio"])
def test_a_network_of_create_model_comes_back(stem: str, tmp_path: Path) -> None:
    model = warm(create_model("resnet8", stem=stem, input_style="cifar", num_classes=3))
    expected = Preprocessing((0.1, 0.2, 0.3), (0.9, 0.8, 0.7))
    network = Network(model, "resnet8", classes=["a", "b", "c"], preprocessing=expected)
    after = pushpull.from_pretrained(pushpull.save_pretrained(network, tmp_path / "model"))
    assert torch.equal(logits(network), logits(after))
    assert (after.stem, after.classes, after.preprocessing) == (stem, ["a", "b", "c"], expected)


def test_gate_and_strength_are_kept(tmp_path: Path) -> None:
    model = warm(create_model("resnet8", stem="pp3", input_style="cifar", num_classes=2, alpha=0.6))
    set_gate(model, 0.25)
    network = Network(model, "resnet8", classes=["a", "b"], preprocessing=Preprocessing())
    after = pushpull.from_pretrained(pushpull.save_pretrained(network, tmp_path / "model"))
    assert torch.equal(logits(network), logits(after))
    assert gates(after.model) == [0.25]
    assert float(after.model.conv1.alpha) == pytest.approx(0.6)


def test_a_described_network_of_timm(tmp_path: Path) -> None:
    model = timm.create_model("resnet10t", num_classes=2)
    pushpull.replace_first_conv(model)
    described = Network(warm(model), "timm:resnet10t", stem="pp3", classes=["a", "b"])
    after = pushpull.from_pretrained(pushpull.save_pretrained(described, tmp_path / "model"))
    assert torch.equal(logits(after), logits(Network(model, "", preprocessing=after.preprocessing)))
    wrong = Network(model, "timm:resnet10t", stem="pp5", classes=["a", "b"])
    with pytest.raises(InputError, match="stem=pp5 is not this network"):
        pushpull.save_pretrained(wrong, tmp_path / "other")
    assert not (tmp_path / "other").exists()
    with pytest.raises(InputError, match="ResNet cannot be built again from a name"):
        pushpull.save_pretrained(model, tmp_path / "other")


@pytest.mark.parametrize(
    ("name", "stem"),
    [("resnet8", "pp3_alpha"), ("resnet18", "pp3"), ("timm:resnet10t", "pp3"), ("timm:resnet10t", "plain")],
)
def test_timm_loads_the_folder(name: str, stem: str, tmp_path: Path) -> None:
    style = "imagenet" if ":" in name else "cifar"
    model = warm(create_model(name, stem=stem, input_style=style, num_classes=2))
    network = Network(model, name, classes=["a", "b"], preprocessing=PREPROCESSING)
    folder = pushpull.save_pretrained(network, tmp_path / "model")
    loaded = timm.create_model(f"local-dir:{folder}", pretrained=True).eval()
    assert torch.equal(logits(network), logits(Network(loaded, name, preprocessing=PREPROCESSING)))
    assert loaded.pretrained_cfg["mean"] == list(PREPROCESSING.mean)
    assert loaded.pretrained_cfg["label_names"] == ["a", "b"]
    other = timm.create_model(f"local-dir:{folder}", pretrained=True, num_classes=5)
    assert other(torch.zeros(2, 3, 32, 32)).shape == (2, 5)


def test_the_card_has_the_hubs_metadata_and_the_conventions(run: Path, shared: Path) -> None:
    card = ModelCard.load(shared / "README.md")
    found = {one.metric_type: one for one in card.data.eval_results}
    results = pushpull.Results.load(run)
    assert found["clean_error"].metric_value == pytest.approx(100 * results.clean_error, abs=0.01)
    mean = found["mean_corruption_error"]
    assert "not AlexNet-normalised" in mean.metric_name
    assert mean.dataset_args == {
        "images": 10,
        "image_size": [32, 32],
        "severity_scale": "cifar",
        "corruption_seed": 0,
        "source": "in memory",
    }
    assert card.data.license is None
    text = card.text
    assert "| Task | Dataset | Metric | Value | Model |" in text
    for said in (
        "Severity scale: cifar",
        "Corruption seed: 0",
        "gaussian noise",
        "mean over 15 corruptions c and 5",
    ):
        assert said in text
    assert 'pushpull.from_pretrained("me/digits-pp3")' in text
    assert "## Limits" in text
    assert "## Licence\n\nTo be filled in" in text
    assert "name: resnet8" in text


def test_no_path_of_this_machine_is_shared(tmp_path: Path) -> None:
    folder = make_run(tmp_path / "secret" / "run")
    recipe = yaml.safe_load((folder / "recipe.yaml").read_text())
    recipe["data"]["name"] = str(tmp_path / "secret" / "photos")
    (folder / "recipe.yaml").write_text(yaml.safe_dump(recipe))
    options = {"corruptions": ("fog",), "limit": 10, "progress": False}
    evaluate(pushpull.load_run(folder), pushpull.load_data("digits"), output=str(folder), **options)
    for file in pushpull.save_pretrained(folder, tmp_path / "model").iterdir():
        assert b"secret" not in file.read_bytes(), file


def test_results_of_other_weights_are_not_passed_off(run: Path, tmp_path: Path) -> None:
    network = pushpull.load_run(run)
    with torch.no_grad():
        network.model.fc.bias += 1
    folder = pushpull.save_pretrained(network, tmp_path / "model")
    assert "Not measured yet" in (folder / "README.md").read_text()
    assert not (folder / "results.json").exists()
    with pytest.raises(InputError, match="is of other weights than these"):
        pushpull.save_pretrained(network, tmp_path / "model", results=[run], overwrite=True)
    with pytest.raises(InputError, match="holds a network already; add overwrite"):
        pushpull.save_pretrained(network, tmp_path / "model")


class Api:
    """A stand-in for HfApi that keeps what it is asked."""

    asked: ClassVar[list] = []

    def __init__(self, **_: object) -> None:
        pass

    def create_repo(self, repo: str, **given: object) -> None:
        self.asked.append((repo, given))

    def upload_folder(self, *, folder_path: str, **given: object) -> None:
        self.asked.append((sorted(path.name for path in Path(folder_path).iterdir()), given))


def test_upload(shared: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(huggingface_hub, "HfApi", Api)
    monkeypatch.setattr(Api, "asked", [])
    monkeypatch.setattr(sharing, "hub_answers", lambda: True)
    assert pushpull.push_to_hub(shared, "me/digits", private=True).endswith("/me/digits")
    (repo, made), (files, given) = Api.asked
    assert (repo, made) == ("me/digits", {"private": True, "exist_ok": True})
    assert files == ["README.md", "config.json", "model.safetensors", "recipe.yaml", "results.json"]
    assert given["repo_id"] == "me/digits"
    with pytest.raises(InputError, match="is not a name on the hub"):
        pushpull.push_to_hub(shared, "digits")

    def refuse(*_: object, **__: object) -> None:
        raise OSError("no token")

    monkeypatch.setattr(Api, "create_repo", refuse)
    with pytest.raises(InputError, match=r"could not be uploaded \(OSError: no token\); log in"):
        pushpull.push_to_hub(shared, "me/digits")
    monkeypatch.setattr(sharing, "hub_answers", lambda: False)
    with pytest.raises(InputError, match="no answer from"):
        pushpull.push_to_hub(shared, "me/digits")


def test_names_of_the_hub() -> None:
    assert hub_name("hf:me/net@v1") == ("me/net", "v1")
    assert hub_name("hf:me/net-1.0") == ("me/net-1.0", None)
    for wrong in ("hf:", "hf:net", "hf:a/b/c", "hf:a/b@", "hf:a/b c"):
        with pytest.raises(InputError, match="is not a name on the hub"):
            hub_name(wrong)


@pytest.fixture
def online(shared: Path, monkeypatch: pytest.MonkeyPatch) -> list[dict]:
    """The hub has one network, and notes what it is asked."""
    asked: list[dict] = []

    def download(repo: str, **given: object) -> str:
        asked.append({"repo": repo, **given})
        if repo != "me/digits":
            raise FileNotFoundError(f"404 {repo}")
        return str(shared)

    monkeypatch.setattr(hub, "snapshot_download", download)
    monkeypatch.setattr(hub, "hub_answers", lambda: True)
    return asked


def test_evaluate_a_network_of_the_hub(
    run: Path,
    online: list[dict],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture,
) -> None:
    monkeypatch.chdir(tmp_path)
    words = [
        "evaluate",
        "hf:me/digits@v1",
        "--corruptions",
        "fog",
        "--severities",
        "2",
        "--limit",
        "10",
        "--quiet",
    ]
    assert main(words) == 0
    assert online[-1]["repo"] == "me/digits"
    assert online[-1]["revision"] == "v1"
    results = pushpull.Results.load(tmp_path / "runs" / "evaluate-hf-me-digits-v1")
    assert results.model["source"] == "hf:me/digits@v1"
    assert results.model["weights_sha256"] == pushpull.Results.load(run).model["weights_sha256"]
    assert main(["evaluate", "hf:me/other"]) == 2
    error = capsys.readouterr().err.splitlines()[-1]
    assert error.startswith(
        "pushpull: error: hf:me/other could not be fetched (FileNotFoundError: 404 me/other); check"
    )
    assert main(["evaluate", "hf:me/digits", "--stem", "pp3"]) == 2
    assert "is a shared network and knows its model" in capsys.readouterr().err


def test_without_a_network(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hub, "hub_answers", lambda: False)
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path))
    with pytest.raises(
        InputError, match=r"hf:nobody/nothing could not be fetched \(no answer from .* is not here\)"
    ):
        pushpull.load_network("hf:nobody/nothing")
    assert libraries.hub_answers is not hub.hub_answers


def test_a_folder_without_a_recipe_goes_wherever_a_run_goes(
    tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    model = warm(create_model("resnet8", stem="pp3", input_style="cifar", num_classes=10))
    network = Network(model, "resnet8", classes=CLASSES, preprocessing=PREPROCESSING, label="mine", seed=7)
    folder = pushpull.save_pretrained(network, tmp_path / "model")
    assert json.loads((folder / "config.json").read_text())["model_args"]["stem"] == "pp3"
    after = pushpull.load_network(str(folder))
    assert (after.label, after.seed) == ("mine", 7)
    few = ["--corruptions", "none", "--limit", "10", "--quiet"]
    assert main(["evaluate", str(folder), *few]) == 2
    assert "--data is missing" in capsys.readouterr().err
    assert main(["evaluate", str(folder), "--data", "digits", *few]) == 0


def test_a_teacher_of_the_hub(online: list[dict], tmp_path: Path) -> None:
    recipe = pushpull.Recipe(
        model=ModelConfig("resnet8", "pp3"),
        loss=LossConfig(teacher="hf:me/digits"),
        data=pushpull.DataConfig("digits", fraction=0.1),
        epochs=1,
    )
    folder = pushpull.train(recipe, tmp_path / "student", progress=False)
    assert "teacher: hf:me/digits" in (folder / "recipe.yaml").read_text()
    assert online[-1]["repo"] == "me/digits"
