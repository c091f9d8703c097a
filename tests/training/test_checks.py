from dataclasses import replace

import pytest
import torch
from torch import nn
from torchvision.models.googlenet import GoogLeNetOutputs

from pushpull.cli import train as command
from pushpull.data import DataConfig, Framing, Preprocessing, load_data
from pushpull.errors import InputError
from pushpull.training import AugmentConfig, ModelConfig, OptimConfig, Recipe, read_recipe, train
from pushpull.training.loaders import check_augment
from pushpull.training.module import Classifier, check_network


@pytest.fixture(scope="module")
def digits():
    return load_data("digits")


def test_a_crop_for_small_images_on_large_ones_is_refused(digits):
    photographs = replace(digits, framing=Framing(256, 224), image_size=(224, 224))
    with pytest.raises(
        InputError, match=r"crop=32 .*224x224.* set augment\.crop=224 and augment\.resize=256"
    ):
        check_augment(AugmentConfig(), photographs)
    with pytest.raises(InputError, match=r"differ in size.*set augment\.crop=224"):
        check_augment(AugmentConfig(crop=None), photographs)
    with pytest.raises(InputError, match=r"crop=41 is larger than images of 32x32 with padding 4"):
        check_augment(AugmentConfig(crop=41), digits)
    check_augment(AugmentConfig(resize=256, crop=176), photographs)
    check_augment(AugmentConfig(crop=None), digits)
    check_augment(AugmentConfig(crop=24), digits)


def test_a_network_that_does_not_suit_the_images_is_refused():
    model = nn.Sequential(nn.Conv2d(3, 4, 7), nn.BatchNorm2d(4), nn.AdaptiveAvgPool2d(1), nn.Flatten())
    check_network(model, "mine", Preprocessing(), {(8, 8), (9, 7)}, 4)
    assert model.training
    assert model[1].num_batches_tracked == 0
    with pytest.raises(
        InputError, match=r"mine cannot take images of 5x5 .* set preprocessing\.size"
    ) as caught:
        check_network(model, "mine", Preprocessing(), {(5, 5)}, 4)
    assert "\n" not in str(caught.value)
    check_network(model, "mine", Preprocessing(size=(8, 8)), {(5, 5)}, 4)
    with pytest.raises(InputError, match=r"mine gives \(1, 4\) for an image, not 10 logits"):
        check_network(model, "mine", Preprocessing(), {(8, 8)}, 10)


def test_such_a_network_is_refused_before_a_run_is_deleted(digits, tmp_path):
    recipe = Recipe(model=ModelConfig("torchvision:alexnet"), accelerator="cpu")
    (tmp_path / "model.safetensors").touch()
    with pytest.raises(InputError, match="alexnet cannot take images of 32x32"):
        train(recipe, tmp_path, overwrite=True, splits=digits)
    assert [path.name for path in tmp_path.iterdir()] == ["model.safetensors"]


def test_a_device_that_is_not_there_is_refused(digits, tmp_path):
    recipe = Recipe(model=ModelConfig("resnet8"), accelerator="cuda", devices=64)
    with pytest.raises(InputError, match=r"accelerator='cuda' with devices=64 cannot be had here"):
        train(recipe, tmp_path / "run", splits=digits)
    assert not (tmp_path / "run").exists()


def test_a_run_is_called_after_the_folder_of_its_data(tmp_path, monkeypatch):
    called = []
    monkeypatch.setattr(command, "train", lambda recipe, folder, **_: called.append(str(folder)))
    (tmp_path / "pictures").mkdir()
    monkeypatch.chdir(tmp_path / "pictures")
    for name in (".", "../pictures/", "owner/pictures"):
        command.train_command(Recipe(data=DataConfig(name)))
    assert called == ["runs/pictures-resnet14-plain-seed0"] * 3


def test_side_heads_are_trained_too():
    class Headed(nn.Module):
        def __init__(self):
            super().__init__()
            self.main, self.aside = nn.Linear(3, 2), nn.Linear(3, 2)

        def forward(self, x):
            x = x.mean((2, 3))
            return GoogLeNetOutputs(self.main(x), self.aside(x), None)

    module = Classifier(Headed(), Preprocessing(), OptimConfig(), 4, channels_last=False)
    images, labels = torch.randint(0, 256, (5, 3, 4, 4), dtype=torch.uint8), torch.tensor([0, 1, 0, 1, 1])
    outputs = module(images)
    losses = [nn.functional.cross_entropy(logits, labels) for logits in outputs[:2]]
    torch.testing.assert_close(module.training_step((images, labels), 0), losses[0] + 0.3 * losses[1])


def test_every_path_of_a_recipe_is_recorded_in_full(digits, tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    few = replace(digits, train=digits.train.subset(range(40)), validation=None, test=None)
    base = Recipe(model=ModelConfig("resnet8"), epochs=1, batch_size=20, accelerator="cpu")
    first = train(base, "first", progress=False, splits=few)
    (tmp_path / "classes.txt").write_text("1\n2\n")
    recipe = replace(
        base,
        model=replace(base.model, weights="first/model.safetensors"),
        data=DataConfig(classes="~/classes.txt"),
    )
    resolved = read_recipe(train(recipe, "second", progress=False, splits=few) / "recipe.yaml")
    assert resolved.model.weights == str((tmp_path / first / "model.safetensors").resolve())
    assert resolved.data.classes == str((tmp_path / "classes.txt").resolve())
