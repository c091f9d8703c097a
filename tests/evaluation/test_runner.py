"""`evaluate`: what it counts, what it leaves alone, how it continues, what it refuses."""

import json
import math
import warnings

import numpy as np
import pytest
import torch
from torch import nn

from pushpull.corruptions import CORRUPTIONS
from pushpull.data import ImageSplit, Preprocessing
from pushpull.errors import InputError
from pushpull.evaluation import Results, evaluate, metrics

SOME = ("shot_noise", "fog", "contrast")


def run(model, data, **options):
    defaults = {
        "corruptions": SOME,
        "severities": (1, 3, 5),
        "preprocessing": Preprocessing(),
        "progress": False,
    }
    return evaluate(model, data, **(defaults | options))


def timeless(value):
    """JSON of results without what differs between two sittings."""
    value = json.loads(json.dumps(value))
    value.pop("created")
    for condition in [value["clean"], *(c for by in value["corrupted"].values() for c in by.values())]:
        condition.pop("seconds")
    return value


def test_errors_are_those_of_a_plain_loop(network, split, corruptor):
    preprocessing = Preprocessing(mean=(0.4, 0.5, 0.6), std=(0.2, 0.3, 0.4))
    results = run(network, split, preprocessing=preprocessing, batch_size=16, seed=5)
    data = split.resident()
    network.eval()
    for name, severity in [(None, None), *((n, s) for n in SOME for s in (1, 3, 5))]:
        images = data.images
        if name:
            images = corruptor(images, name, severity, scale="cifar", seed=5, index=data.index)
        with torch.no_grad():
            logits = network(preprocessing(images))
        order = logits.argsort(dim=1, descending=True)
        wrong = order[:, 0] != data.labels
        condition = results.condition(name, severity)
        assert condition.images == 53
        assert condition.top1_error == pytest.approx(wrong.float().mean().item())
        missed = (order[:, :5] != data.labels[:, None]).all(dim=1)
        assert condition.top5_error == pytest.approx(missed.float().mean().item())
        for label in range(10):
            expected = wrong[data.labels == label].float().mean().item()
            assert condition.class_errors[label] == pytest.approx(expected)
    assert 0.5 < results.clean_error < 1


def test_batch_size_and_workers_change_nothing(network, split, corruptor):
    first, *others = (timeless(run(network, split, batch_size=size).to_json()) for size in (1, 7, 64))
    assert all(other == first for other in others)
    split.memory_limit_gib = 0.0  # streamed
    for workers in (0, 1):
        assert timeless(run(network, split, batch_size=9, workers=workers).to_json()) == first


def test_what_is_recorded(network, split, corruptor, tmp_path):
    results = run(
        network,
        split,
        output=tmp_path,
        seed=3,
        name="small",
        stem="pp3",
        source="somewhere",
        model_seed=7,
        preprocessing=Preprocessing((0.1, 0.2, 0.3), (0.4, 0.5, 0.6), 48),
    )
    assert Results.load(tmp_path) == results
    assert results.complete
    assert results.model["label"] == "small pp3 seed 7"
    assert results.model["parameters"] == sum(p.numel() for p in network.parameters())
    assert len(results.model["weights_sha256"]) == 64
    assert results.preprocessing == {
        "mean": [0.1, 0.2, 0.3],
        "std": [0.4, 0.5, 0.6],
        "size": [48, 48],
        "from": "as asked",
    }
    assert results.corruption["scale"] == "cifar"
    assert results.corruption["seed"] == 3
    assert results.data["images"] == 53
    assert results.data["image_size"] == [32, 32]
    assert results.data["classes"] == [str(n) for n in range(10)]
    assert results.versions["torch"] == torch.__version__
    assert results.device == "cpu"
    assert {call[2:4] for call in corruptor.calls} == {("cifar", 3)}
    assert run(network, split, corruptions=()).model["label"] == "SmallNet"


def test_train_flags_and_gradients_are_as_before(network, split, corruptor):
    network.train()
    network.norm.eval()
    before = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    state = torch.get_rng_state()
    run(network, split, device="cpu")
    assert torch.equal(torch.get_rng_state(), state)
    assert network.training
    assert network.drop.training
    assert not network.norm.training
    assert all(torch.equal(tensor, before[name]) for name, tensor in network.state_dict().items())
    # Neither weights nor kept images are inference tensors: the model can go on training on them.
    images = split.resident().images
    images[0] += 0
    network(images.float()).sum().backward()
    assert network.conv.weight.grad is not None


def test_flags_are_restored_after_an_error(network, split, corruptor):
    corruptor.fail_at = 1
    network.train()
    with pytest.raises(KeyboardInterrupt):
        run(network, split)
    assert network.training
    assert network.conv.training


def test_a_killed_evaluation_continues(network, split, corruptor, tmp_path):
    whole = run(network, split, output=tmp_path / "whole")
    corruptor.calls.clear()
    corruptor.fail_at = 7
    with pytest.raises(KeyboardInterrupt):
        run(network, split, output=tmp_path / "killed")
    partial = Results.load(tmp_path / "killed")
    assert not partial.complete
    assert sum(len(by) for by in partial.corrupted.values()) == 6
    corruptor.calls.clear()
    corruptor.fail_at = None
    run(network, split, output=tmp_path / "killed", batch_size=8)
    assert {call[:2] for call in corruptor.calls} == {("contrast", 1), ("contrast", 3), ("contrast", 5)}
    files = [tmp_path / folder / "results.json" for folder in ("whole", "killed")]
    first, second = (timeless(json.loads(file.read_text())) for file in files)
    assert first == second == timeless(whole.to_json())
    assert list(first["corrupted"]) == list(second["corrupted"])
    assert sorted(path.name for path in (tmp_path / "killed").iterdir()) == ["results.json"]


def test_more_conditions_are_added_and_done_ones_kept(network, split, corruptor, tmp_path):
    first = run(network, split, output=tmp_path, corruptions="fog", severities=2, label="once")
    second = run(network, split, output=tmp_path, corruptions="fog,snow", severities=(1, 2), label="twice")
    assert second.corrupted["fog"][2] == first.corrupted["fog"][2]
    assert second.created == first.created
    assert {name: list(by) for name, by in second.corrupted.items()} == {"fog": [1, 2], "snow": [1, 2]}
    assert second.label == "twice"
    assert second.complete


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"seed": 1}, "corruption.seed is 0 there, 1 now"),
        ({"scale": "tiny"}, "corruption.scale is 'cifar' there, 'tiny' now"),
        ({"limit": 20}, "data.images is 53 there, 20 now; data.limit is None there, 20 now"),
        ({"preprocessing": Preprocessing(size=64)}, "preprocessing.size"),
        ({"preprocessing": Preprocessing(mean=(0.5, 0.5, 0.5))}, "preprocessing.mean"),
    ],
)
def test_another_evaluation_is_not_continued(network, split, corruptor, tmp_path, change, named):
    run(network, split, output=tmp_path, corruptions="fog")
    before = (tmp_path / "results.json").read_text()
    with pytest.raises(InputError, match=r"--overwrite replaces it, another --output") as caught:
        run(network, split, output=tmp_path, **change)
    assert named in str(caught.value)
    assert (tmp_path / "results.json").read_text() == before
    results = run(network, split, output=tmp_path, corruptions="snow", overwrite=True, **change)
    assert list(Results.load(tmp_path).corrupted) == ["snow"] == list(results.corrupted)


def test_a_clean_error_that_training_left_gives_way(network, split, corruptor, tmp_path):
    run(network, split, output=tmp_path, corruptions=(), source=str(tmp_path))
    results = run(network, split, output=tmp_path, limit=20, corruptions="fog", source=str(tmp_path))
    assert results.clean.images == results.corrupted["fog"][1].images == 20
    assert Results.load(tmp_path) == results


def test_another_clean_error_is_not_replaced(network, split, corruptor, tmp_path):
    first = run(network, split, output=tmp_path, corruptions=())
    with pytest.raises(InputError, match=r"data.images is 53 there, 52 now.*--overwrite replaces it"):
        run(network, split.subset(range(52)), output=tmp_path, corruptions=())
    assert Results.load(tmp_path) == first
    assert run(network, split, output=tmp_path, corruptions="fog", seed=3).clean == first.clean


def test_other_weights_data_and_textures_are_not_continued(network, split, corruptor, tmp_path, monkeypatch):
    run(network, split, output=tmp_path, corruptions="fog")
    images = split.resident().images.clone()
    images[0, 0, 0, 0] += 1
    with pytest.raises(InputError, match=r"data.sha256"):
        run(network, ImageSplit.from_tensors(images, split.labels), output=tmp_path)
    monkeypatch.setattr("pushpull.evaluation.conditions.frost_texture_source", lambda **_: "elsewhere")
    assert run(network, split, output=tmp_path, corruptions="fog,frost").corruption["frost_textures"]
    monkeypatch.setattr("pushpull.evaluation.conditions.frost_texture_source", lambda **_: "here")
    with pytest.raises(InputError, match=r"corruption.frost_textures is 'elsewhere' there, 'here' now"):
        run(network, split, output=tmp_path)
    monkeypatch.undo()
    with torch.no_grad():
        network.head.bias[0] += 1
    with pytest.raises(InputError, match=r"model.weights_sha256"):
        run(network, split, output=tmp_path)


def test_limit_is_stratified_fixed_and_the_same_for_clean_and_corrupted(network, split, corruptor):
    results = run(network, split, limit=20)
    used = {tuple(sorted(call[4])) for call in corruptor.calls}
    assert len(used) == 1
    (rows,) = used
    assert len(rows) == 20 == results.data["limit"] == results.data["images"]
    assert set(rows) <= set(split.index.tolist())
    assert results.clean.images == results.corrupted["fog"][1].images == 20
    counts = torch.bincount(torch.tensor([row // 2 * 7 % 10 for row in rows]), minlength=10)
    assert counts.tolist() == [2] * 10
    assert timeless(run(network, split, limit=20, batch_size=3).to_json()) == timeless(results.to_json())
    assert run(network, split, limit=53, corruptions=()).data["limit"] is None
    with pytest.raises(InputError, match="limit=0 is below 1"):
        run(network, split, limit=0)


def test_nan_logits_are_wrong_and_warned_about(split, corruptor):
    class Broken(nn.Module):
        def forward(self, x):
            logits = torch.nn.functional.one_hot(split.labels, 10).float()
            logits[3] = math.nan
            return logits

    with pytest.warns(RuntimeWarning, match="clean: NaN logits for 1 of 53 images, counted as wrong"):
        results = run(Broken(), split, corruptions=())
    assert results.clean_error == pytest.approx(1 / 53)
    assert results.clean.top5_error == pytest.approx(1 / 53)


class Fixed(nn.Module):
    def __init__(self, output):
        super().__init__()
        self.output = output

    def forward(self, x):
        return self.output(x)


def test_equal_logits_do_not_count_as_right(split, corruptor):
    results = run(Fixed(lambda x: torch.zeros(len(x), 10)), split, corruptions=())
    first, five = (split.labels < 1).float().mean().item(), (split.labels < 5).float().mean().item()
    assert results.clean_error == pytest.approx(1 - first)
    assert results.clean.top5_error == pytest.approx(1 - five)


@pytest.mark.parametrize(
    ("output", "message"),
    [
        (lambda x: (torch.zeros(len(x), 10),), "returned a tuple, not a tensor of logits"),
        (lambda x: {"logits": torch.zeros(len(x), 10)}, "returned a dict"),
        (lambda x: torch.zeros(len(x), 10, 1), r"shape \(53, 10, 1\)"),
        (lambda x: torch.zeros(1, 10), r"shape \(1, 10\), torch.float32 for 53 images"),
        (lambda x: torch.zeros(len(x), 10, dtype=torch.long), r"torch.int64"),
        (lambda x: torch.zeros(len(x), 1000), "the model has 1000 outputs, the data 10 classes"),
        (lambda x: torch.zeros(len(x), 9), "the model has 9 outputs, the data 10 classes"),
    ],
)
def test_outputs_that_are_no_logits_of_this_data(split, output, message):
    with pytest.raises(InputError, match=message) as caught:
        run(Fixed(output), split)
    assert "\n" not in str(caught.value)


def test_a_tuple_of_images_and_labels(split, corruptor, tmp_path):
    images, labels = split.resident().images, split.labels
    few = labels < 4
    data = (images[few], labels[few])
    # The data cannot tell how many classes there are: more outputs than labels are fine, fewer are not.
    results = run(
        Fixed(lambda x: torch.eye(10)[:1].repeat(len(x), 1)), data, corruptions="fog", output=tmp_path
    )
    assert results.data["classes"] == [str(n) for n in range(10)]
    assert results.clean.class_errors == [0.0, 1.0, 1.0, 1.0, *[None] * 6]
    assert Results.load(tmp_path) == results
    with pytest.raises(InputError, match="the model has 3 outputs, the data the label 3"):
        run(Fixed(lambda x: torch.zeros(len(x), 3)), data)


def test_top5_only_with_more_than_five_classes(split, corruptor):
    images = split.resident().images
    results = run(Fixed(lambda x: torch.zeros(len(x), 5)), (images, split.labels % 5), corruptions=())
    assert results.clean.top5_error is None


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"corruptions": ("fogg",)}, "corruption='fogg' is not one of .*did you mean 'fog'"),
        ({"severities": (0,)}, r"severity=0 is outside 1\.\.5"),
        ({"severities": (1, 6)}, r"severity=6 is outside 1\.\.5"),
        ({"severities": ()}, "severities is empty"),
        ({"severities": "1,2"}, "severity='1' is not an integer"),
        ({"severities": (1, 2.0)}, r"severity=2\.0 is not an integer"),
        ({"severities": None}, "severity=None is not an integer"),
        ({"corruptions": ("fog", 3)}, "corruption=3 is not one of"),
        ({"seed": 1.5}, r"seed=1\.5 is not an integer"),
        ({"limit": 2.5}, r"limit=2\.5 is not an integer"),
        ({"model_seed": "a"}, "model_seed='a' is not an integer"),
        ({"batch_size": 2.5}, r"batch_size=2\.5 is not an integer"),
        ({"scale": "huge"}, "scale='huge' is not one of imagenet, cifar, tiny"),
        ({"batch_size": 0}, "batch_size=0"),
        ({"workers": -1}, "workers=-1"),
        ({"device": "gpu"}, "device='gpu' cannot be used here"),
        ({"preprocessing": "imagenet"}, "preprocessing='imagenet' is not a Preprocessing"),
    ],
)
def test_bad_options_are_refused_before_anything_is_written(network, split, tmp_path, options, message):
    with pytest.raises(InputError, match=message) as caught:
        run(network, split, output=tmp_path / "new", **options)
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "new" / "results.json").exists()


def test_a_model_that_is_no_module(split):
    with pytest.raises(InputError, match=r"the model is a function, not a torch\.nn\.Module"):
        run(lambda x: x, split)


def test_numpys_integers_are_integers(network, split, tmp_path):
    options = {"corruptions": "fog", "seed": 3, "limit": 20, "batch_size": 8, "model_seed": 2}
    plain = run(network, split, severities=(1, 3), **options)
    numbers = {key: np.int64(value) if isinstance(value, int) else value for key, value in options.items()}
    results = run(network, split, severities=np.array([1, 3]), output=tmp_path, **numbers)
    assert timeless(results.to_json()) == timeless(plain.to_json())
    assert Results.load(tmp_path) == results
    assert list(run(network, split, severities=np.int64(3), **options).corrupted["fog"]) == [3]


@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16, torch.float16])
def test_a_network_of_another_precision(network, split, corruptor, dtype):
    plain = run(network, split, corruptions="fog")
    results = run(network.to(dtype), split, corruptions="fog")
    assert network.conv.weight.dtype == dtype
    assert results.clean_error == pytest.approx(plain.clean_error, abs=3 / 53)


def test_data_that_cannot_be_evaluated(network, split):
    with pytest.raises(InputError, match="data of type int"):
        run(network, 3)
    with pytest.raises(InputError, match="holds no images"):
        run(network, split.subset(torch.arange(0)))
    split.labels = split.labels.clone()
    split.labels[0] = -1
    with pytest.raises(InputError, match="holds the label -1"):
        run(network, split)


def test_scale_follows_the_size_the_nearest_with_a_note(corruptor):
    def of(side, **options):
        images = torch.zeros(2, 3, side, side, dtype=torch.uint8)
        model = Fixed(lambda x: torch.zeros(len(x), 2))
        data = (images, torch.tensor([0, 1]))
        return run(model, data, corruptions="fog", severities=1, **options).corruption["scale"]

    assert [of(32), of(64), of(224)] == ["cifar", "tiny", "imagenet"]
    said = r"images of 96x96 px are .* nearest size, scale=tiny \(64x64\); there are imagenet and cifar too"
    with pytest.warns(UserWarning, match=said):
        assert of(96) == "tiny"
    with pytest.warns(UserWarning, match="of 150x150 px"):
        assert of(150) == "imagenet"
    assert of(96, scale="imagenet") == "imagenet"


@pytest.mark.parametrize("given", ["none", ["none"], "None", (), []])
def test_none_is_the_clean_images_only_in_python_too(network, split, corruptor, given):
    results = run(network, split, corruptions=given)
    assert results.clean is not None
    assert results.corrupted == {}


@pytest.mark.parametrize(
    ("given", "names"),
    [
        ("Fog", ["fog"]),
        ("gaussian noise, FOG", ["gaussian_noise", "fog"]),
        (["Gaussian-Noise"], ["gaussian_noise"]),
        ([" Extra "], ["speckle_noise", "gaussian_blur", "spatter", "saturate"]),
    ],
)
def test_corruptions_are_known_in_any_spelling(network, split, corruptor, given, names):
    assert list(run(network, split, corruptions=given, severities=1).corrupted) == names


def test_clean_images_may_be_of_any_size(corruptor, tmp_path):
    def evaluated(side, **options):
        images = torch.zeros(2, 3, side, side, dtype=torch.uint8)
        model = Fixed(lambda x: torch.zeros(len(x), 2))
        return run(model, (images, torch.tensor([0, 1])), output=tmp_path / str(side), **options)

    assert evaluated(8, corruptions=()).clean_error == 0.5
    assert evaluated(96, corruptions=()).corruption["scale"] == "none"
    assert evaluated(96, corruptions="fog", scale="tiny").corruption["scale"] == "tiny"
    with pytest.raises(InputError, match="images of 8x8 are too small to be corrupted; give at least 16x16"):
        evaluated(8, corruptions="fog", scale="tiny")


def test_an_output_that_cannot_be_written_stops_before_computing(network, split, corruptor, tmp_path):
    (tmp_path / "file").write_text("")
    network.forward = None
    with pytest.raises(InputError, match=r"file.* cannot be written \(.*\); give another"):
        run(network, split, output=tmp_path / "file" / "deeper")
    (tmp_path / "results.json").mkdir()
    with pytest.raises(InputError, match="is a folder"):
        run(network, split, output=tmp_path)
    assert corruptor.calls == []


def test_the_models_own_preprocessing_is_used(network, split, corruptor):
    plain = run(network, split, preprocessing=None, corruptions=())
    assumed = "none known: images as they are, in [0, 1] (assumed)"
    assert plain.preprocessing == {"mean": [0.0] * 3, "std": [1.0] * 3, "size": None, "from": assumed}
    network.pretrained_cfg = {
        "url": "x",
        "mean": (0.5, 0.4, 0.3),
        "std": (0.2, 0.2, 0.2),
        "input_size": (3, 40, 40),
    }
    own = run(network, split, preprocessing=None, corruptions=())
    assumed = {"from": "of its configuration (assumed)"}
    assert own.preprocessing == {"mean": [0.5, 0.4, 0.3], "std": [0.2] * 3, "size": [40, 40], **assumed}
    given = run(
        network, split, preprocessing=Preprocessing((0.5, 0.4, 0.3), (0.2, 0.2, 0.2), 40), corruptions=()
    )
    assert own.clean.class_errors == given.clean.class_errors != plain.clean.class_errors


def test_channels_last_and_a_progress_bar_change_no_result(network, split, corruptor, capsys):
    plain = run(network, split)
    fancy = run(network, split, channels_last=True, progress=True)
    assert timeless(fancy.to_json()) == timeless(plain.to_json())
    captured = capsys.readouterr()
    assert "10/10 conditions" in captured.err
    assert captured.out == ""


def test_the_real_corruptions_all_fifteen(network, split):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        results = evaluate(
            network, split, limit=10, severities=(1, 5), progress=False, preprocessing=Preprocessing()
        )
        again = evaluate(network, split, limit=10, severities=(1, 5), batch_size=3, progress=False)
        again.preprocessing["from"] = "as asked"
    assert tuple(results.corrupted) == CORRUPTIONS
    assert timeless(results.to_json()) == timeless(again.to_json())
    with pytest.raises(InputError, match="lacks severity 2, 3, 4"):
        metrics.mean_corruption_error(results.errors())


def test_jpeg_quality_reaches_the_corruption_and_is_recorded(network, split, corruptor, tmp_path):
    options = {"corruptions": "contrast", "severities": (1,)}
    plain = run(network, split, **options)
    results = run(network, split, jpeg_quality=10, output=tmp_path, **options)
    assert plain.corruption["jpeg_quality"] is None
    assert Results.load(tmp_path).corruption["jpeg_quality"] == 10
    assert results.errors()["contrast"][0] == plain.errors()["contrast"][0]  # the stand-in has no JPEG
    assert corruptor.qualities == {None, 10}
    with pytest.raises(InputError, match=r"corruption.jpeg_quality is 10 there, None now"):
        run(network, split, output=tmp_path, **options)
    with pytest.raises(InputError, match=r"jpeg_quality=0 is outside 1\.\.100"):
        run(network, split, jpeg_quality=0)


def test_precision_is_of_the_network_alone_recorded_and_decisive(network, split, corruptor, tmp_path):
    seen = []
    network.conv.register_forward_hook(lambda module, given, output: seen.append(output.dtype))
    results = run(network, split, corruptions="fog", severities=1, precision="bf16", output=tmp_path)
    assert set(seen) == {torch.bfloat16}
    assert not torch.is_autocast_enabled("cpu")
    assert results.precision == "bf16" == Results.load(tmp_path).precision
    assert results.clean_error == pytest.approx(run(network, split, corruptions=()).clean_error, abs=5 / 53)
    with pytest.raises(InputError, match="precision is bf16 there, fp32 now"):
        run(network, split, corruptions="fog", output=tmp_path)
    with pytest.raises(InputError, match="precision='int8' is not one of fp32, bf16, fp16"):
        run(network, split, precision="int8")


def test_compile_compiles_the_network(network, split, corruptor, monkeypatch):
    compiled = []
    monkeypatch.setattr(torch, "compile", lambda model: compiled.append(model) or model)
    plain = run(network, split, corruptions="fog", severities=1)
    results = run(network, split, corruptions="fog", severities=1, compile=True)
    assert compiled == [network]
    assert results.precision == "fp32, compiled"
    assert results.errors()["fog"][0] == plain.errors()["fog"][0]
