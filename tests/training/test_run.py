import json
from dataclasses import replace

import pytest
import torch
import yaml
from safetensors.torch import load_file

from pushpull.data import DataConfig, Framing, ImageSplit, Preprocessing, load_data
from pushpull.errors import InputError, MissingFileError
from pushpull.evaluation import Results
from pushpull.models.loading import read_metadata
from pushpull.training import (
    AugmentConfig,
    ModelConfig,
    OptimConfig,
    OutOfTime,
    Recipe,
    load_run,
    read_recipe,
    train,
)
from pushpull.training.folder import is_finished
from pushpull.training.loaders import ImageData
from pushpull.training.module import Classifier


def _weights(folder):
    return load_file(folder / "model.safetensors")


def _last(folder):
    return torch.load(folder / "last.ckpt", weights_only=True)["state_dict"]


def _same(first, second):
    return first.keys() == second.keys() and all(torch.equal(first[k], second[k]) for k in first)


def test_a_run_folder_holds_all_that_is_promised(few, recipe, tmp_path):
    state = torch.random.get_rng_state()
    folder = train(recipe, tmp_path / "run", progress=False, splits=few)
    assert torch.equal(state, torch.random.get_rng_state())
    assert {path.name for path in folder.iterdir()} == {
        "recipe.yaml",
        "inputs.json",
        "epochs.json",
        "model.safetensors",
        "last.ckpt",
        "logs",
        "results.json",
    }
    resolved = read_recipe(folder / "recipe.yaml")
    assert resolved.model == replace(recipe.model, input_style="cifar")
    assert resolved.preprocessing is not None
    metrics = (folder / "logs" / "metrics.csv").read_text()
    assert "train_loss" in metrics
    assert "validation_error" in metrics
    assert list((folder / "logs").glob("events.out.tfevents*"))

    run = load_run(folder)
    assert (run.name, run.stem, run.seed, run.classes) == ("resnet8", "pp3", 0, [str(d) for d in range(10)])
    assert not run.model.training
    assert _same(run.model.state_dict(), _weights(folder))
    images = few.test.resident(few.framing)
    error = (run.model(run.preprocessing(images.images)).argmax(1) != images.labels).float().mean()
    assert Results.load(folder).clean_error == pytest.approx(float(error))
    assert is_finished(folder, recipe)
    assert not is_finished(folder, replace(recipe, epochs=3))


def test_the_same_recipe_gives_the_same_weights_and_another_seed_others(few, recipe, tmp_path):
    first = train(recipe, tmp_path / "a", progress=False, splits=few)
    torch.rand(7)  # the caller's generator has moved on
    second = train(recipe, tmp_path / "b", progress=False, splits=few)
    assert _same(_last(first), _last(second))
    other = train(replace(recipe, seed=1), tmp_path / "c", progress=False, splits=few)
    assert not _same(_last(first), _last(other))


def test_a_resumed_run_ends_as_an_uninterrupted_one(few, recipe, tmp_path, monkeypatch):
    recipe = replace(recipe, epochs=3, augment=replace(recipe.augment, policy="trivialaugment"))
    whole = train(recipe, tmp_path / "whole", progress=False, splits=few)
    step = Classifier.training_step

    def killed(self, batch, number):
        if self.current_epoch == 2 and number == 1:
            raise RuntimeError("killed")
        return step(self, batch, number)

    monkeypatch.setattr(Classifier, "training_step", killed)
    with pytest.raises(RuntimeError, match="killed"):
        train(recipe, tmp_path / "part", progress=False, splits=few)
    monkeypatch.undo()
    assert not is_finished(tmp_path / "part", recipe)
    part = train(recipe, tmp_path / "part", resume=True, progress=False, splits=few)
    assert _same(_last(whole), _last(part))
    assert _same(_weights(whole), _weights(part))


def test_the_best_weights_are_kept_not_the_last(few, recipe, tmp_path, monkeypatch):
    errors = iter([0.1, 0.5])
    kept = []

    def validation(self):
        self.log("validation_error", next(errors))
        kept.append({k: v.clone() for k, v in self.model.state_dict().items()})

    monkeypatch.setattr(Classifier, "on_validation_epoch_end", validation)
    folder = train(recipe, tmp_path / "run", progress=False, splits=few)
    assert _same(_weights(folder), kept[0])
    assert not _same(_weights(folder), kept[1])


def test_without_a_validation_split_the_last_weights_are_kept(few, recipe, tmp_path):
    folder = train(recipe, tmp_path / "run", progress=False, splits=replace(few, validation=None))
    last = {key.removeprefix("model."): value for key, value in _last(folder).items() if "model." in key}
    assert _same(_weights(folder), last)


def test_a_checkpoint_that_is_missing_or_broken_is_an_error(few, recipe, tmp_path):
    with pytest.raises(MissingFileError, match="nothing to resume"):
        train(recipe, tmp_path / "none", resume=True, splits=few)
    assert not (tmp_path / "none").exists()
    folder = train(recipe, tmp_path / "run", progress=False, splits=few)
    with pytest.raises(InputError, match=r"--resume or --overwrite"):
        train(recipe, folder, splits=few)
    with pytest.raises(InputError, match=r"other settings \(epochs\)"):
        train(replace(recipe, epochs=5), folder, resume=True, splits=few)
    content = (folder / "last.ckpt").read_bytes()
    (folder / "last.ckpt").write_bytes(content[: len(content) // 2])
    with pytest.raises(InputError, match="not a readable checkpoint"):
        train(recipe, folder, resume=True, splits=few)
    (folder / "model.safetensors").write_bytes(b"broken")
    with pytest.raises(InputError, match="not a readable safetensors"):
        load_run(folder)
    with pytest.raises(MissingFileError, match="does not exist"):
        load_run(tmp_path / "nothing")
    missing = replace(recipe, model=replace(recipe.model, weights=str(tmp_path / "no.safetensors")))
    with pytest.raises(MissingFileError, match=r"no\.safetensors"):
        train(missing, tmp_path / "fresh", splits=few)


def test_settings_that_do_not_fit_the_data(few, recipe, tmp_path):
    with pytest.raises(InputError, match="batch_size=200 is more than the 100"):
        train(replace(recipe, batch_size=200), tmp_path / "a", progress=False, splits=few)
    with pytest.raises(InputError, match="no train split"):
        train(recipe, tmp_path / "b", progress=False, splits=replace(few, train=None))
    wild = replace(recipe, optim=OptimConfig(initial_lr=1e9, max_lr=1e12))
    with pytest.raises(InputError, match=r"loss is (nan|inf) in epoch 1; lower optim\.max_lr"):
        train(wild, tmp_path / "c", progress=False, splits=few)


def test_a_warm_up_of_one_step(few, recipe, tmp_path):
    short = replace(recipe, epochs=1, batch_size=25, optim=replace(recipe.optim, warmup=0.25))
    assert (train(short, tmp_path / "run", progress=False, splits=few) / "results.json").is_file()


def test_a_trained_strength_is_trained_and_not_decayed(few, recipe, tmp_path):
    model = ModelConfig("resnet8", "pp3_alpha")
    folder = train(replace(recipe, model=model), tmp_path / "run", progress=False, splits=few)
    alpha = _weights(folder)["conv1.alpha"]
    assert alpha.shape == (16,)
    assert not torch.equal(alpha, torch.ones(16))
    groups = torch.load(folder / "last.ckpt", weights_only=True)["optimizer_states"][0]["param_groups"]
    assert sorted(group["weight_decay"] for group in groups) == [0.0, recipe.optim.weight_decay]
    assert [len(group["params"]) for group in groups if group["weight_decay"] == 0.0] == [1]


def test_streamed_data_trains_and_skips_unreadable_images(few, recipe, tmp_path):
    """A memory limit of 0 streams: the images come one by one through the transform of an image."""
    train_split = replace(few.train, memory_limit_gib=0.0)
    streamed = replace(few, train=train_split)
    recipe = replace(recipe, workers=0, epochs=1)
    data = ImageData(recipe, streamed)
    assert data.images is None
    folder = train(recipe, tmp_path / "run", progress=False, splits=streamed)
    assert is_finished(folder, recipe)


def test_images_of_an_epoch_are_each_met_once(few, recipe, tmp_path, monkeypatch):
    seen = []
    step = Classifier.training_step
    marked = ImageSplit.from_tensors(
        torch.arange(100, dtype=torch.uint8).view(100, 1, 1, 1).expand(100, 3, 32, 32), few.train.labels
    )

    def watch(self, batch, number):
        seen.append((self.current_epoch, batch[0][:, 0, 16, 16]))
        return step(self, batch, number)

    monkeypatch.setattr(Classifier, "training_step", watch)
    plain = replace(recipe, augment=AugmentConfig(crop=None, flip=True))
    train(plain, tmp_path / "run", progress=False, splits=replace(few, train=marked))
    epochs = [torch.cat([images for epoch, images in seen if epoch == number]) for number in (0, 1)]
    for order in epochs:
        assert sorted(order.tolist()) == list(range(100))
    assert not torch.equal(epochs[0], epochs[1])


def test_a_folder_of_data_is_recorded_by_its_full_path(few, recipe, tmp_path, monkeypatch):
    (tmp_path / "pictures").mkdir()
    monkeypatch.chdir(tmp_path)
    local = replace(recipe, data=DataConfig("pictures"), epochs=1)
    folder = train(local, "run", progress=False, splits=few)
    values = yaml.safe_load((folder / "recipe.yaml").read_text())
    assert values["data"]["name"] == str(tmp_path / "pictures")
    assert json.loads((folder / "results.json").read_text())["complete"] is not None


def test_such_a_network_is_refused_before_a_run_is_deleted(splits, tmp_path):
    recipe = Recipe(model=ModelConfig("torchvision:alexnet"), accelerator="cpu")
    (tmp_path / "model.safetensors").touch()
    with pytest.raises(InputError, match="alexnet cannot take images of 32x32"):
        train(recipe, tmp_path, overwrite=True, splits=splits)
    assert [path.name for path in tmp_path.iterdir()] == ["model.safetensors"]


def test_a_device_that_is_not_there_is_refused(splits, tmp_path):
    recipe = Recipe(model=ModelConfig("resnet8"), accelerator="cuda", devices=64)
    with pytest.raises(InputError, match=r"accelerator='cuda' with devices=64 is not available here"):
        train(recipe, tmp_path / "run", splits=splits)
    assert not (tmp_path / "run").exists()


def test_a_preserved_start_becomes_the_unit_over_the_training(few, recipe, tmp_path):
    model = replace(recipe.model, start="preserve")
    optim = replace(recipe.optim, gate_share=0.6)
    gated = replace(recipe, model=model, optim=optim, epochs=5)
    calls = iter(range(100))
    with pytest.raises(OutOfTime):
        train(gated, tmp_path / "run", progress=False, splits=few, stop=lambda: next(calls) > 6)
    half = load_run(
        tmp_path / "run"
    )  # the best weights of one whole epoch: 5 of 15 steps of the rise are done
    assert float(half.model.conv1.gate) == pytest.approx(4 / 15)
    folder = train(gated, tmp_path / "run", resume=True, progress=False, splits=few)
    metadata = read_metadata(folder / "model.safetensors")
    assert int(metadata["epoch"]) >= 4, "the weights that count are those behind the open gate"
    assert load_run(folder).model.conv1.gate is None
    whole = train(gated, tmp_path / "whole", progress=False, splits=few)
    assert _same(_weights(folder), _weights(whole))
    with pytest.raises(InputError, match="has no push-pull unit, so no gate"):
        train(
            replace(gated, model=replace(model, stem="plain")), tmp_path / "plain", progress=False, splits=few
        )
    with pytest.raises(InputError, match=r"optim\.gate_share=2 must be from 0 to 1"):
        replace(optim, gate_share=2)


def test_an_average_of_the_weights_is_validated_kept_and_resumed(few, recipe, tmp_path):
    averaged = replace(recipe, optim=replace(recipe.optim, ema=0.9), epochs=3)
    plain = train(replace(recipe, epochs=3), tmp_path / "plain", progress=False, splits=few)
    whole = train(averaged, tmp_path / "whole", progress=False, splits=few)
    assert not _same(_weights(plain), _weights(whole))
    calls = iter(range(100))
    with pytest.raises(OutOfTime):
        train(averaged, tmp_path / "run", progress=False, splits=few, stop=lambda: next(calls) > 6)
    resumed = train(averaged, tmp_path / "run", resume=True, progress=False, splits=few)
    assert _same(_weights(resumed), _weights(whole))


def test_a_network_gets_its_images_in_the_size_that_is_asked_for(few, recipe, tmp_path):
    mean = {"mean": (0.5,) * 3, "std": (0.5,) * 3}
    sized = replace(recipe, size=24, preprocessing=Preprocessing(**mean), epochs=1)
    folder = train(sized, tmp_path / "run", progress=False, splits=few)
    assert load_run(folder).preprocessing == Preprocessing(**mean, size=24)
    assert Results.load(folder).preprocessing["size"] == [24, 24]
    assert is_finished(folder, sized)
    assert not is_finished(folder, replace(sized, size=28))
    with pytest.raises(InputError, match="size"):
        replace(recipe, size=0)


def test_the_framing_of_an_evaluation_belongs_to_the_data(recipe, tmp_path):
    framed = load_data(DataConfig("digits", resize=28, crop=24))
    assert (framed.framing, framed.image_size) == (Framing(28, 24), (24, 24))
    with pytest.raises(InputError, match="crop=40 is larger than resize=28"):
        DataConfig(resize=28, crop=40)


@pytest.mark.parametrize(
    ("capability", "precision", "said"),
    [("AVX2", "bf16", True), ("AVX2", "fp32", False), ("AVX512", "bf16", False)],
)
def test_bfloat16_without_instructions_for_it_is_said_to_be_slow(
    capability, precision, said, few, recipe, tmp_path, monkeypatch, capsys
):
    monkeypatch.setattr(torch.backends.cpu, "get_cpu_capability", lambda: capability)
    few = replace(few, train=few.train.subset(range(20)))
    train(replace(recipe, precision=precision, epochs=1), tmp_path / "run", splits=few)
    assert ("--precision fp32" in capsys.readouterr().err) is said
