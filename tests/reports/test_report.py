"""`pushpull report`: one page of one result or of several, with what stands beside them."""

import math
import re
import shutil

import pandas
import pytest
import torch

import pushpull
from pushpull.cli import main
from pushpull.corruptions import CORRUPTIONS
from pushpull.errors import InputError
from pushpull.reports import Entry, compare
from pushpull.reports.comparison import side_by_side
from pushpull.reports.evidence import (
    Evidence,
    _push_and_pull,
    confusions,
    first_layer,
    kernel_sheet,
    reliability_bins,
    responses,
)
from pushpull.reports.gather import _asker, _images, _network, gather
from pushpull.reports.page import page
from pushpull.reports.sections import classes, settled
from pushpull.unit.layers import PushPullConv2d
from reports.test_page import Outline

RECIPE = """
model: {name: resnet8, stem: pp3, input_style: cifar}
data: {name: digits, fraction: 0.05}
preprocessing: {mean: [0.5, 0.5, 0.5], std: [0.5, 0.5, 0.5]}
augment: {flip: false}
epochs: 1
batch_size: 16
accelerator: cpu
"""


def text_of(html):
    return " ".join(Outline(html).text.split())


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A trained run with predictions of three corruptions at severity 3."""
    folder = tmp_path_factory.mktemp("report")
    (folder / "recipe.yaml").write_text(RECIPE)
    assert main(["train", "--config", str(folder / "recipe.yaml"), "--output", str(folder / "run")]) == 0
    few = ["--corruptions", "fog", "gaussian_noise", "contrast", "--severities", "3", "--limit", "40"]
    assert main(["evaluate", str(folder / "run"), *few, "--save_predictions", "--quiet"]) == 0
    return folder / "run"


def test_one_result_is_a_page_that_begins_with_the_answer(results, tmp_path):
    errors = {name: [0.1] * 5 for name in CORRUPTIONS} | {"glass_blur": [0.2, 0.3, 0.4, 0.6, 0.7]}
    results(errors=errors, images=500).save(tmp_path / "run")
    html = pushpull.report(tmp_path / "run", tmp_path / "out").read_text()
    text = text_of(html)
    assert "Of 500 images 20.0 % wrong clean" in text
    assert "worst: glass blur, more than half wrong from severity 4 up." in text
    assert "Only 500 images" in text
    ranked = html.partition('id="weak"')[2].partition("</table>")[0]
    assert ranked.index("<b>44.0</b>") < ranked.index("gaussian noise"), "the worst comes first"
    shown = html.partition("<body>")[2].partition('id="method"')[0]
    assert "baseline" not in shown
    assert "R_net" not in text
    assert not (tmp_path / "out" / "differences.png").exists()
    assert (tmp_path / "out" / "error_by_severity.png").exists()


def test_the_seeds_of_one_model_are_one_result(seeds, tmp_path):
    folder = seeds("plain", [(0.20, 0.40), (0.30, 0.50)])
    text = text_of(pushpull.report(folder, tmp_path / "out").read_text())
    assert "How robust is resnet14 plain?" in text
    assert "25.0 ± 7.1" in text
    assert "paired" not in text


@pytest.mark.parametrize(
    ("model", "said"),
    [
        ({"epochs": "1 of 40"}, "is not finished: 1 of 40 epochs"),
        ({"adapted": "batch norms, 64 images"}, "Adapted to the test images"),
    ],
)
def test_an_unfinished_or_adapted_network_is_said_first(results, tmp_path, model, said):
    results(model=model).save(tmp_path / "run")
    html = pushpull.report(tmp_path / "run", tmp_path / "out", pictures=False).read_text()
    banners = [part.partition("</p>")[0] for part in html.split('class="banner" role="note">')[1:]]
    assert any(said in banner for banner in banners)


def test_the_command_writes_the_page_and_says_where(seeds, tmp_path, capsys):
    plain, other = seeds("plain", [(0.2, 0.4)]), seeds("pp3", [(0.2, 0.3)])
    assert main(["report", str(plain), str(other), "--output", str(tmp_path / "out"), "--title", "Ours"]) == 0
    assert (
        capsys.readouterr().out
        == f"Open {tmp_path / 'out' / 'index.html'}; tables and figures are beside it.\n"
    )
    text = text_of((tmp_path / "out" / "index.html").read_text())
    assert text.startswith("Ours ")
    assert "No predictions were saved of" in text
    assert "is not the folder of a run" in text


def test_mistakes_are_one_line(tmp_path, capsys):
    assert main(["report", str(tmp_path / "absent")]) == 2
    assert "absent does not exist" in capsys.readouterr().err
    with pytest.raises(InputError, match="no run was given"):
        pushpull.report([], tmp_path / "out")


def test_a_run_with_predictions_shows_all_there_is(run, tmp_path):
    html = pushpull.report(run, tmp_path / "out").read_text()
    text = text_of(html)
    for needed in (
        "What is taken for what under corruption", "Calibration", "ECE, percent", "Examples it gets wrong",
        "push kernels of 3 x 3, below each its pull kernel", "push minus pull", "% sure",
    ):  # fmt: skip
        assert needed in text
    assert "No predictions" not in text
    assert "No pictures" not in text
    assert all(a.startswith(("#", "data:")) for a in Outline(html).addresses)


def test_examples_are_the_images_that_were_evaluated(run):
    comparison = side_by_side([run])
    with_predictions = gather(comparison)
    assert with_predictions.examples
    row = comparison.rows[0]
    network = _network(row)
    images = _images(row, network)
    saved = _asker(row, with_predictions, images, {})("fog", 3, range(10))
    computed = _asker(row, Evidence(), images, {row.label: network})("fog", 3, range(10))
    assert [answer for answer, _ in saved] == [answer for answer, _ in computed]
    assert [sure for _, sure in saved] == pytest.approx([sure for _, sure in computed], abs=1e-5)


@pytest.mark.parametrize(
    "what", ["another run's", "damaged", "of words", "empty", "of an unknown class", "a part"]
)
def test_predictions_that_are_not_of_the_results_are_not_shown(run, tmp_path, what):
    """The page is there all the same and says why; nothing of them is on it."""
    copy = tmp_path / "copy"
    copy.mkdir()
    shutil.copy(run / "results.json", copy)
    table, file = pandas.read_parquet(run / "predictions.parquet"), copy / "predictions.parquet"
    if what == "another run's":
        table["prediction"] = (table["prediction"] + 1) % 10
    elif what == "of words":
        table["confidence"] = table["confidence"].astype(str)
    elif what == "of an unknown class":
        table.loc[table["prediction"] != table["label"], "prediction"] = 12
    elif what == "a part":
        table = table[table["corruption"] != "fog"]
    (table[:0] if what == "empty" else table).to_parquet(file)
    if what == "damaged":
        file.write_bytes(file.read_bytes()[:-40])
    text = text_of(pushpull.report(copy, tmp_path / "out", pictures=False).read_text())
    assert "What is taken for what" not in text
    assert re.search(
        rf"No confusions, reliability and bootstrap of resnet8 pp3[^:]*: {re.escape(str(file))} ", text
    )
    assert "evaluate again with --save-predictions" in text
    assert "No predictions were saved" not in text


def test_other_weights_than_the_evaluated_are_not_shown(run, results, tmp_path):
    results(model={"source": str(run), "weights_sha256": "0" * 64}).save(tmp_path / "other")
    found = gather(side_by_side([tmp_path / "other"]))
    assert not found.kernels
    assert any("are not those that were evaluated" in remark for remark in found.remarks)


def test_bold_is_what_the_interval_settles(results):
    def entry(stem, errors):
        return Entry.of([results(stem, seed, errors=error) for seed, error in enumerate(errors)])

    comparison = compare(entry("plain", [0.4, 0.41]), [entry("pp3", [0.3, 0.31])])
    row, column = comparison.rows[1], comparison.columns[1]
    assert settled(row, column, Evidence()), "every seed is better by the same"
    over_images = {row.label: {column.key: (-0.12, 0.01)}}
    assert not settled(row, column, Evidence(differences=over_images)), "other images could undo it"
    html = page(comparison, evidence=Evidence(differences=over_images))
    assert "hollow" in html
    assert "10.0 points fewer wrong under corruption than resnet14 plain" in text_of(html)
    assert ("may be chance" in html) == (column.key == "mean_corruption_error")
    assert "may be chance" not in page(comparison)


def test_confusions_and_reliability_by_hand():
    table = pandas.DataFrame(
        {
            "index": [0, 1, 2, 0, 1, 2],
            "label": [0, 1, 1, 0, 1, 1],
            "prediction": [0, 1, 1, 0, 0, 0],
            "confidence": [0.95, 0.95, 0.99, 0.5, 0.52, 0.9],
            "corruption": ["clean"] * 3 + ["fog"] * 3,
            "severity": [0, 0, 0, 1, 1, 1],
        }
    )
    assert confusions([table], ["cat", "dog"]) == [
        {"label": "dog", "answer": "cat", "share": 1.0, "corruption": "fog"}
    ]
    bins = reliability_bins([table], corrupted=True, least=1)
    assert bins == [(pytest.approx(0.51), 0.5, 2), (pytest.approx(0.9), 0.0, 1)]
    assert reliability_bins([table], corrupted=False, least=2) == [(pytest.approx(0.963333), 1.0, 3)]


def test_an_answer_that_is_not_a_number_is_no_class():
    """Logits with a NaN: the answer is -1 and its confidence NaN."""
    table = pandas.DataFrame(
        {"index": [0, 1], "label": [0, 1], "prediction": [-1, 1], "confidence": [math.nan, 0.9]}
        | {"corruption": "fog", "severity": 1}
    )
    assert confusions([table], ["cat", "dog"])[0]["answer"] == "no answer"
    assert reliability_bins([table], corrupted=True, least=1) == [(pytest.approx(0.9), 1.0, 1)]


def test_classes_are_ranked_and_of_several_models_by_their_change(results):
    data = {"classes": ["cat", "dog"]}
    single = side_by_side([Entry.of([results(errors=0.4, data=data)])])
    assert classes(single)["rows"] == [
        ("cat", [pytest.approx(40), pytest.approx(20)]),
        ("dog", [pytest.approx(40), pytest.approx(20)]),
    ]
    both = compare(
        Entry.of([results(errors=0.4, data=data)], label="a"),
        [Entry.of([results(errors=0.3, data=data)], label="b")],
    )
    assert classes(both)["rows"][0] == ("cat", [pytest.approx(40), pytest.approx(-10)])


def test_push_minus_pull_is_what_the_unit_answers():
    torch.manual_seed(0)
    unit = PushPullConv2d(3, 8, 3, padding=1, bias=False, alpha=0.7, offset="mean")
    model = torch.nn.Sequential(unit, torch.nn.ReLU())
    assert first_layer(model) is unit
    x = torch.rand(2, 3, 16, 16)
    push, pull = _push_and_pull(unit, x)
    torch.testing.assert_close((push - pull), unit(x))
    image = (x[0] * 255).to(torch.uint8)
    (row,) = responses(model, unit, [("clean", image, x[:1])])
    assert row["name"] == "clean"
    assert [alt for _, alt in row["pictures"]] == [
        "clean",
        "push, clean",
        "pull, clean",
        "push minus pull, clean",
    ]
    assert kernel_sheet(unit)["alt"] == "8 push kernels of 3 x 3, below each its pull kernel"
    assert kernel_sheet(torch.nn.Conv2d(3, 4, 5))["alt"] == "4 push kernels of 5 x 5"
