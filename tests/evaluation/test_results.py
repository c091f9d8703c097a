"""The results file: round trip, schema, what is refused."""

import json
import math

import pytest

from pushpull.corruptions import CORRUPTIONS
from pushpull.errors import InputError, MissingFileError
from pushpull.evaluation import Condition, Results


def condition(error, classes=2):
    return Condition(error, None, [error] * classes, 10, 0.5)


def example(**changed):
    fields = {
        "model": {
            "label": "resnet14 pp3 seed 0",
            "name": "resnet14",
            "stem": "pp3",
            "source": "runs/x",
            "parameters": 12,
            "seed": 0,
            "weights_sha256": "ab",
        },
        "data": {
            "name": "digits",
            "label": "digits (demonstration, not evidence)",
            "split": "test",
            "images": 10,
            "image_size": [32, 32],
            "classes": ["0", "1"],
            "skipped": [],
            "limit": None,
            "note": None,
        },
        "preprocessing": {"mean": [0.5] * 3, "std": [0.1] * 3, "size": None},
        "corruption": {"scale": "cifar", "seed": 0, "source": "in memory", "frost_textures": "procedural"},
        "versions": {"pushpull": "1"},
        "device": "cpu",
        "created": "2026-01-01T00:00:00+00:00",
        "clean": condition(0.25),
        "corrupted": {"fog": {1: condition(0.5)}},
        "complete": False,
    }
    return Results(**(fields | changed))


def test_round_trip_through_the_file(tmp_path):
    results = example()
    path = results.save(tmp_path)
    assert path == tmp_path / "results.json"
    assert Results.load(path) == results
    assert Results.load(tmp_path) == results
    text = json.loads(path.read_text())
    assert text["schema"] == "pushpull-results/1"
    assert text["corrupted"]["fog"]["1"] == {
        "top1_error": 0.5,
        "top5_error": None,
        "class_errors": [0.5, 0.5],
        "images": 10,
        "seconds": 0.5,
        "ece": None,
        "nll": None,
        "brier": None,
    }
    assert results.save(tmp_path / "other.json") == tmp_path / "other.json"


def test_results_without_a_clean_condition(tmp_path):
    results = example(clean=None)
    assert Results.load(results.save(tmp_path)) == results
    with pytest.raises(InputError, match="clean images were not evaluated"):
        _ = results.clean_error


def test_errors_are_by_severity_and_nan_where_missing():
    results = example().with_condition("fog", 4, condition(0.75)).with_condition("snow", 2, condition(0.125))
    errors = results.errors()
    assert list(errors) == ["fog", "snow"]
    assert errors["fog"] == pytest.approx([0.5, math.nan, math.nan, 0.75, math.nan], nan_ok=True)
    assert errors["snow"] == pytest.approx([math.nan, 0.125, math.nan, math.nan, math.nan], nan_ok=True)
    assert results.clean_error == 0.25
    assert results.label == "resnet14 pp3 seed 0"


def test_with_condition_keeps_severities_in_order_and_leaves_the_original():
    first = example()
    second = first.with_condition("fog", 5, condition(1.0)).with_condition("fog", 3, condition(0.5))
    assert list(second.corrupted["fog"]) == [1, 3, 5]
    assert list(first.corrupted["fog"]) == [1]
    assert second.with_condition(None, None, condition(0.0)).clean_error == 0.0
    assert second.condition("fog", 3) == condition(0.5)
    assert second.condition("fog", 2) is None
    assert second.condition("snow", 2) is None
    assert second.condition(None, None) == condition(0.25)


def broken(**changed):
    return example().to_json() | changed


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ([], "schema=None is not pushpull-results/1"),
        (broken(schema="pushpull-results/2"), "schema='pushpull-results/2' is not"),
        (broken(model={"label": "x"}), "model: name, parameters, seed, source, stem, weights_sha256 missing"),
        (broken(data=None), "data: NoneType where a table belongs"),
        (broken(data={}), "data: classes, image_size"),
        ({"schema": "pushpull-results/1"}, "clean, complete, corrupted"),
        (broken(corrupted={"fog": {"6": {}}}), "fog: severity=6 is outside 1..5"),
        (broken(corrupted={"fog": {"1": {"top1_error": 0.1}}}), "fog: class_errors, images, seconds"),
        (broken(corrupted=[]), "corrupted: list where"),
        (broken(clean=example().to_json()["clean"] | {"top1_error": 25.0}), "outside"),
        (
            broken(clean=example().to_json()["clean"] | {"top1_error": "low"}),
            "clean: top1_error='low' is not float",
        ),
        (
            broken(clean=example().to_json()["clean"] | {"class_errors": [0.5, "x"]}),
            r"clean: class_errors=\[",
        ),
        (broken(clean=example().to_json()["clean"] | {"images": 1.5}), r"clean: images=1\.5 is not int"),
        (broken(clean=example().to_json()["clean"] | {"images": 0}), "clean: a condition of 0 images"),
        (broken(complete="no"), "complete='no' is not bool"),
        (broken(versions=None), r"versions=None is not dict\[str, str\]"),
        (broken(model=example().model | {"label": None}), "model: label=None is not str"),
        (broken(model=example().model | {"seed": True}), r"model: seed=True is not int \| None"),
        (broken(data=example().data | {"skipped": None}), r"data: skipped=None is not list\[str\]"),
        (broken(preprocessing={"mean": 0.5, "std": [1.0], "size": None}), r"preprocessing: mean=0\.5 is not"),
    ],
)
def test_what_is_not_a_results_file_is_refused_in_one_line(tmp_path, value, message):
    path = tmp_path / "results.json"
    path.write_text(json.dumps(value))
    with pytest.raises(InputError, match=message) as caught:
        Results.load(path)
    assert "\n" not in str(caught.value)


def test_a_corruption_without_conditions_is_not_there(tmp_path):
    path = tmp_path / "results.json"
    path.write_text(json.dumps(broken(corrupted={"fog": {}})))
    assert Results.load(path).corrupted == {}


def test_a_missing_file_names_itself(tmp_path):
    with pytest.raises(MissingFileError, match=r"results.json does not exist"):
        Results.load(tmp_path)
    (tmp_path / "results.json").write_text("{")
    with pytest.raises(InputError, match="not valid JSON"):
        Results.load(tmp_path)


def test_keys_of_later_versions_are_ignored(tmp_path):
    value = broken(colour="red")
    value["clean"]["later"] = 0.1
    assert Results.from_json(value) == example()


def test_files_from_before_precision_and_quality_can_be_read(tmp_path):
    path = example().save(tmp_path)
    text = json.loads(path.read_text())
    del text["precision"]
    assert "jpeg_quality" not in text["corruption"]
    path.write_text(json.dumps(text))
    assert Results.load(path) == example()
    path.write_text(json.dumps(text | {"precision": 16}))
    with pytest.raises(InputError, match="precision=16 is not str"):
        Results.load(path)


def test_a_set_on_disk_has_no_seed(tmp_path):
    corruption = {"scale": "none", "seed": None, "source": "on disk", "frost_textures": "as on disk"}
    corruption |= {"name": "C-bar", "layout": "npy", "files": {"sparkles": "ab"}}
    results = example(corruption=corruption)
    assert Results.load(results.save(tmp_path)) == results
    path = example(corruption=corruption | {"files": ["sparkles"]}).save(tmp_path)
    with pytest.raises(InputError, match=r"files=.*'sparkles'.* is not dict"):
        Results.load(path)


def measured():
    """All 15 at 40 %, fog worse, glass blur worst and one severity of snow better."""
    corrupted = {name: {level: condition(0.4) for level in range(1, 6)} for name in CORRUPTIONS}
    corrupted["fog"] = {level: condition(0.6) for level in range(1, 6)}
    corrupted["glass_blur"] = {level: condition(0.8) for level in range(1, 6)}
    corrupted["snow"][1] = Condition(0.3, None, [0.3, 0.3], 10, 0.5, 0.05, 1.2, 0.4)
    return example(corrupted=corrupted, complete=True)


def test_results_as_data():
    results = measured()
    assert results.mean == pytest.approx((0.4 * 13 + 0.6 + 0.8 - 0.02) / 15)
    assert [name for name, _ in results.worst(2)] == ["glass_blur", "fog"]
    assert [error for _, error in results.worst(2)] == pytest.approx([0.8, 0.6])
    assert len(results.worst(99)) == 15
    frame = results.to_dataframe()
    assert frame.shape == (76, 9)
    assert frame.iloc[0][["corruption", "severity", "top1_error"]].tolist() == ["clean", 0, 0.25]
    row = frame[(frame.corruption == "snow") & (frame.severity == 1)].iloc[0]
    assert row[["top1_error", "images", "ece", "nll", "brier"]].tolist() == [0.3, 10, 0.05, 1.2, 0.4]
    assert frame.top5_error.isna().all()
    assert frame.ece.isna().sum() == 75
    with pytest.raises(InputError, match="lack gaussian_noise"):
        assert example().mean
    assert example(clean=None, corrupted={}).to_dataframe().empty


def test_results_show_themselves():
    text = str(measured())
    assert text.splitlines() == [
        "resnet14 pp3 seed 0 on digits (demonstration, not evidence), 10 images: top-1 error in percent",
        "  clean  25.0",
        f"  mean   {100 * measured().mean:.1f}  (plain mean of 15 corruptions x 5 severities)",
        "  worst  glass_blur 80.0, fog 60.0, gaussian_noise 40.0",
    ]
    part = str(example())
    assert "mean   50.0  (of the 1 corruption measured)" in part
    assert part.endswith("not complete")
    hostile = example(model=example().model | {"label": "<b>\x1b[2J"})
    assert "&lt;b&gt;\\x1b[2J" in hostile._repr_html_()
    assert "<td>50.0</td><td></td>" in hostile._repr_html_()
    figure = measured().plot()
    assert figure._repr_png_().startswith(b"\x89PNG")
    names = [label.get_text() for label in figure.axes[0].get_yticklabels()]
    assert names[-2:] == ["fog", "glass blur"]
    with pytest.raises(InputError, match="nothing to draw"):
        example(corrupted={}).plot()
