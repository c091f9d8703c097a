import dataclasses
import json
import re

import pandas
import pytest

from pushpull.corruptions import CORRUPTIONS, FAMILIES
from pushpull.errors import InputError, MissingFileError
from pushpull.evaluation.metrics import ALEXNET
from pushpull.reports import Entry, compare, write_report
from pushpull.reports.layout import tables
from pushpull.reports.markup import latex, markdown
from pushpull.reports.report_files import wide_csv

# Bennabhaktula et al., ICPR 2024: E, mCE (the plain mean), R_net of ResNet-50 on ImageNet.
PUBLISHED = [
    ("PushPull avg3", 0.282, 0.645, 1.67),
    ("PushPull avg5", 0.276, 0.645, 2.79),
    ("AutoAugment", 0.269, 0.630, 6.86),
    ("AutoAugment + PP3", 0.283, 0.604, 9.05),
    ("AugMix", 0.269, 0.612, 10.14),
    ("AugMix + PP3", 0.287, 0.590, 10.97),
    ("PRIME", 0.298, 0.522, 21.57),
    ("PRIME + PP3", 0.306, 0.4995, 24.31),
]
IMAGENET = {
    "data": {"classes": [str(i) for i in range(1000)], "label": "ImageNet-1k", "note": None},
    "corruption": {"scale": "imagenet", "frost_textures": "imagecorruptions"},
}


def keys(comparison, *groups):
    return [column.key for column in comparison.group(*groups)]


def note(comparison, start):
    return next(text for text in comparison.footnotes if text.startswith(start))


def test_the_published_table(results):
    entries = [
        Entry.of([results(clean=clean, errors=mean, **IMAGENET)], label=label)
        for label, clean, mean, _ in [("baseline", 0.269, 0.667, 0.0), *PUBLISHED]
    ]
    comparison = compare(entries[0], entries[1:])
    baseline, *rows = comparison.rows
    assert baseline.values["net_reduction_percent"].mean == 0.0
    for row, (label, clean, mean, published) in zip(rows, PUBLISHED, strict=True):
        assert row.label == label
        assert row.values["clean_error"].mean == pytest.approx(clean)
        assert row.values["mean_corruption_error"].mean == pytest.approx(mean)
        # The printed errors have three digits: 0.0005 / (2 x 0.269) is 0.09.
        assert row.values["net_reduction_percent"].mean == pytest.approx(published, abs=0.09)


def test_alexnet_normalised_mce_by_hand(results):
    entries = [Entry.of([results(errors=e, **IMAGENET)], label=str(e)) for e in (0.6, 0.3)]
    comparison = compare(entries[0], entries[1:])
    by_hand = sum(0.6 / ALEXNET.mean_errors[name] for name in CORRUPTIONS) / 15
    assert comparison.rows[0].values["mce_alexnet"].mean == pytest.approx(by_hand)
    assert comparison.rows[1].values["mce_alexnet"].mean == pytest.approx(by_hand / 2)
    assert comparison.rows[1].values["mce_baseline"].mean == pytest.approx(0.5)
    assert note(comparison, "mCE vs AlexNet:")


@pytest.mark.parametrize("change", [{"scale": "tiny"}, {"scale": "cifar"}, {}])
def test_alexnet_stands_only_beside_imagenet(results, change):
    options = {"corruption": {"scale": "imagenet", **change}}
    if change:
        options["data"] = IMAGENET["data"]
    comparison = compare(
        Entry.of([results(**options)], label="a"), [Entry.of([results(**options)], label="b")]
    )
    assert "mce_alexnet" not in keys(comparison, "main")
    assert "defined for ImageNet-C only" in note(comparison, "mCE vs AlexNet is not shown")


def test_seeds_are_averaged_and_paired(seeds):
    # Baseline and run by seed: R_net is 100 ((E0 - E) + (M0 - M)) / (2 E0).
    baseline = seeds("plain", [(0.20, 0.40), (0.25, 0.50)])
    run = seeds("pp3", [(0.18, 0.38), (0.25, 0.40)])
    comparison = compare(baseline, [run])
    first, second = comparison.rows
    assert first.values["mean_corruption_error"].mean == pytest.approx(0.45)
    assert first.values["mean_corruption_error"].std == pytest.approx(0.1 / 2**0.5)
    by_seed = [100 * (0.02 + 0.02) / 0.40, 100 * (0.00 + 0.10) / 0.50]
    assert second.values["net_reduction_percent"].mean == pytest.approx(sum(by_seed) / 2)
    assert second.values["net_reduction_percent"].std == pytest.approx(abs(by_seed[0] - by_seed[1]) / 2**0.5)
    assert second.differences["mean_corruption_error"].mean == pytest.approx(-0.06)
    assert second.differences["mean_corruption_error"].std == pytest.approx(0.08 / 2**0.5)
    # The ratios divide by the baseline's mean over seeds: 0.39 / 0.45.
    assert second.values["mce_baseline"].mean == pytest.approx(0.39 / 0.45)
    assert second.values["relative_mce_baseline"].mean == pytest.approx((0.39 - 0.215) / (0.45 - 0.225))
    assert (first.pairing, second.pairing) == ("is the baseline", "paired by seed")
    assert note(comparison, "R_net and differences are paired: each seed")
    assert second.values["clean_error"].n == 2


def test_other_seeds_are_set_against_the_baselines_mean(seeds):
    baseline = seeds("plain", [(0.20, 0.40), (0.25, 0.50), (0.30, 0.60)])
    run = seeds("pp3", [(0.18, 0.38), (0.25, 0.40)])
    comparison = compare(baseline, [run])
    row = comparison.rows[1]
    by_seed = [100 * (0.07 + 0.12) / 0.50, 100 * (0.00 + 0.10) / 0.50]
    assert row.values["net_reduction_percent"].mean == pytest.approx(sum(by_seed) / 2)
    assert row.pairing == "against the baseline's mean over seeds"
    assert note(comparison, "R_net and differences are paired by seed where").endswith("are: resnet14 pp3.")


def test_unknown_seeds_are_not_paired(results):
    entries = [Entry.of([results(stem, None)]) for stem in ("plain", "pp3")]
    assert compare(entries[0], entries[1:]).rows[1].pairing == "against the one baseline run"


def test_one_run_a_model_has_no_spread_and_says_so(results):
    comparison = compare(Entry.of([results()]), [Entry.of([results("pp3")])])
    assert all(figure.std is None for row in comparison.rows for figure in row.values.values())
    assert note(comparison, "One run per model")


def test_families_corruptions_and_curves_by_hand(results):
    errors = {
        name: [0.01 * (number + severity) for severity in range(5)] for number, name in enumerate(CORRUPTIONS)
    }
    comparison = compare(Entry.of([results(errors=errors)]), [Entry.of([results("pp3")])])
    row = comparison.rows[0]
    # Noise holds corruptions 0, 1, 2: their means are 2, 3, 4 percent.
    assert row.values["family_noise"].mean == pytest.approx(0.03)
    assert row.values["snow"].mean == pytest.approx(0.09)
    assert row.curves["noise"][4].mean == pytest.approx(0.05)
    assert row.curves["mean"][0].mean == pytest.approx(0.07)
    assert set(row.curves) == {*CORRUPTIONS, *FAMILIES, "mean"}
    assert keys(comparison, "family") == [f"family_{name}" for name in FAMILIES]
    assert keys(comparison, "corruption") == list(CORRUPTIONS)


def test_fewer_corruptions_have_no_means_and_the_reason_is_said(results):
    errors = {name: [0.5] * 5 for name in (*FAMILIES["noise"], "fog")}
    comparison = compare(Entry.of([results(errors=errors)]), [Entry.of([results("pp3", errors=errors)])])
    assert keys(comparison, "main") == ["clean_error"]
    assert keys(comparison, "family") == ["family_noise"]
    assert "means need all 15 x 5, but only 4 of the 15 were" in note(
        comparison, "Mean corruption error, mCE"
    )


def test_fewer_severities_have_neither_means_nor_families(results):
    options = {"errors": {name: [0.2, 0.4] for name in CORRUPTIONS}, "severities": [1, 5]}
    comparison = compare(Entry.of([results(**options)]), [Entry.of([results("pp3", **options)])])
    assert keys(comparison, "main", "family") == ["clean_error"]
    assert comparison.rows[0].values["fog"].mean == pytest.approx(0.3)
    assert "severity 1, 5 only" in comparison.group("corruption")[0].metric


def test_extra_corruptions_enter_no_mean(results):
    errors = {name: [0.4] * 5 for name in CORRUPTIONS} | {"saturate": [1.0] * 5}
    comparison = compare(Entry.of([results(errors=errors)]), [Entry.of([results("pp3", errors=errors)])])
    values = comparison.rows[0].values
    assert values["mean_corruption_error"].mean == pytest.approx(0.4)
    assert values["family_digital"].mean == pytest.approx(0.4)
    assert values["saturate"].mean == 1.0
    assert keys(comparison, "extra") == ["saturate"]


def test_without_clean_images_what_needs_them_is_left_out(results):
    comparison = compare(Entry.of([results(clean=None)]), [Entry.of([results("pp3", clean=None)])])
    assert keys(comparison, "main") == ["mean_corruption_error", "mce_baseline"]
    assert note(comparison, "E, relative mCE and R_net are not shown")


def test_a_perfect_baseline_leaves_the_ratios_out_with_the_reason(results):
    comparison = compare(Entry.of([results(clean=0.0, errors=0.0)]), [Entry.of([results("pp3")])])
    assert keys(comparison, "main") == ["clean_error", "mean_corruption_error"]
    assert "undefined" in note(comparison, "R_net is not shown")
    assert "undefined" in note(comparison, "mCE vs baseline is not shown")


def test_best_is_by_the_printed_value_and_ties_share_it(results):
    entries = [
        Entry.of([results(errors=error)], label=label)
        for label, error in (("a", 0.50), ("b", 0.40001), ("c", 0.40002))
    ]
    comparison = compare(entries[0], entries[1:])
    best = {column.key: comparison.best(column) for column in comparison.columns}
    assert best["mean_corruption_error"] == {"b", "c"}
    assert best["net_reduction_percent"] == {"b", "c"}


def test_json_is_whole_and_strict(seeds):
    comparison = compare(seeds("plain", [(0.2, 0.4), (0.3, 0.5)]), [seeds("pp3", [(0.2, 0.3), (0.2, 0.3)])])
    value = json.loads(json.dumps(comparison.to_json(), allow_nan=False))
    assert value["schema"] == "pushpull-comparison/1"
    assert value["rows"][1]["values"]["mean_corruption_error"] == {"mean": 0.3, "std": 0.0, "n": 2}
    assert value["setting"]["counts"]["fog"]["5"] == 1000


def test_rows_of_the_same_name_are_told_apart_by_their_source(seeds, tmp_path, results):
    results("plain", 0, errors=0.3).save(tmp_path / "again" / "seed0")
    results("plain", 1, errors=0.3).save(tmp_path / "again" / "seed1")
    comparison = compare(seeds("plain", [(0.2, 0.4), (0.3, 0.5)]), [tmp_path / "again"])
    assert [row.label for row in comparison.rows] == [
        f"resnet14 plain ({tmp_path / name})" for name in ("plain", "again")
    ]


def test_what_cannot_be_compared_is_refused(seeds, tmp_path, results):
    baseline = seeds("plain", [(0.2, 0.4)])
    with pytest.raises(InputError, match="only a baseline was given"):
        compare(baseline, [])
    with pytest.raises(InputError, match="given more than once"):
        compare(baseline, [baseline])
    with pytest.raises(MissingFileError, match="does not exist"):
        compare(tmp_path / "absent", [baseline])
    with pytest.raises(InputError, match="two rows are called 'resnet14 plain seed 0"):
        compare(Entry.of([results()]), [Entry.of([results()])])
    results("pp3", 0, corruption={"seed": 7}).save(tmp_path / "other")
    with pytest.raises(InputError, match="corruption seed is 7, not 0"):
        compare(baseline, [tmp_path / "other"])


def test_a_seed_of_the_baseline_that_was_measured_otherwise_is_refused(tmp_path, results):
    results(seed=0).save(tmp_path / "plain" / "seed0")
    results(seed=1, images=10).save(tmp_path / "plain" / "seed1")
    with pytest.raises(InputError, match="number of images is 10, not 1000"):
        compare(tmp_path / "plain", [Entry.of([results("pp3")])])


def test_mixed_versions_are_said(results):
    import dataclasses

    other = dataclasses.replace(results("pp3"), versions={"pushpull": "0.2.0", "torch": "2.6.0"})
    comparison = compare(Entry.of([results()]), [Entry.of([other])])
    assert note(comparison, "Results of different package versions").endswith("pushpull 0.1.0, 0.2.0.")


def test_a_set_of_other_corruptions_has_a_mean_of_its_own(results, tmp_path):
    bar = {"plasma_noise": [0.1, 0.2, 0.3, 0.4, 0.5], "sparkles": [0.5] * 5}
    both = compare(Entry.of([results(errors=bar)]), [Entry.of([results("pp3", errors=bar)])])
    titles = [column.title for column in both.columns]
    assert titles == ["E (clean)", "mean of the set", "plasma noise", "sparkles"]
    assert both.rows[0].values["mean_of_set"].mean == pytest.approx(0.4)
    notes = " ".join(both.footnotes)
    assert "none of the benchmark's 15" in notes
    assert "speckle" not in notes
    assert len(write_report(both, tmp_path)) == 10
    extra = {"speckle_noise": [0.5] * 5, "fog": [0.4] * 5}
    titles = [column.title for column in compare(*pair(results, errors=extra)).columns]
    assert titles == ["E (clean)", "fog", "speckle noise"]


def pair(results, **options):
    return Entry.of([results(**options)]), [Entry.of([results("pp3", **options)])]


DISK = {"source": "on disk", "seed": None, "frost_textures": "as on disk", "name": "CIFAR-10-C", "files": {}}


def test_images_on_disk_and_in_memory_are_compared_and_named(results):
    memory, disk = results(), results("pp3", corruption=DISK)
    for first, second in ((memory, disk), (disk, memory)):
        both = compare(Entry.of([first]), [Entry.of([second])])
        facts = dict(both.setting.summary())
        assert facts["Corrupted images"] == "in memory and on disk (CIFAR-10-C)"
        assert facts["Corruption seed"] == "0"
        assert any(
            "not the same for all" in note and "pp3 seed 0: on disk" in note for note in both.footnotes
        )
    same = {"label": "resnet14"}
    disk, memory = results(model=same, corruption=DISK), results("pp3", model=same)
    both = compare(Entry.of([disk], source="a"), [Entry.of([memory], source="b")])
    assert any("resnet14: on disk; resnet14: in memory" in note for note in both.footnotes)
    alone = compare(*pair(results, corruption=DISK))
    facts = dict(alone.setting.summary())
    assert (facts["Corrupted images"], facts["Corruption seed"]) == ("on disk (CIFAR-10-C)", "none")
    assert not any("not the same for all" in note for note in alone.footnotes)


def test_other_sets_and_other_seeds_beside_a_set_are_refused(results):
    fog, other = ({**DISK, "files": {"fog": digest}} for digest in "ab")
    first, second = results(corruption=fog), results("pp3", corruption=other)
    with pytest.raises(InputError, match=r"list of the set's files is .*, not"):
        compare(Entry.of([first]), [Entry.of([second])])
    memory = [Entry.of([results(stem, corruption={"seed": n})]) for n, stem in enumerate(("pp0", "pp3"))]
    with pytest.raises(InputError, match="corruption seed is 1, not 0"):
        compare(Entry.of([first]), memory)
    with pytest.raises(InputError, match="jpeg quality is 85, not None"):
        compare(Entry.of([results()]), [Entry.of([results("pp3", corruption={"jpeg_quality": 85})])])


def test_precisions_that_differ_are_noted(results):
    half = dataclasses.replace(results("pp3"), precision="bf16")
    both = compare(Entry.of([results()]), [Entry.of([half])])
    assert "Networks computed in different precisions: bf16; fp32." in both.footnotes


def test_a_comparison_as_data(seeds, tmp_path):
    comparison = compare(seeds("plain", [(0.1, 0.4), (0.2, 0.5)]), [seeds("pp3", [(0.2, 0.3)])])
    plain, pp3 = (row.label for row in comparison.rows)
    assert comparison.mean == {plain: pytest.approx(0.45), pp3: pytest.approx(0.3)}
    assert [name for name, _ in comparison.worst(2)[pp3]] == ["gaussian_noise", "shot_noise"]
    assert comparison.worst(1)[pp3][0][1] == pytest.approx(0.3)
    frame = comparison.conditions()
    assert frame.shape == (3 * 76, 11)
    one = frame[(frame.row == plain) & (frame.seed == 1) & (frame.corruption == "fog")]
    assert (one.severity.tolist(), one.top1_error.tolist()) == ([1, 2, 3, 4, 5], [0.5] * 5)
    assert str(comparison).splitlines()[0] == comparison.title
    assert "15.0 ± 7.1" in str(comparison)
    assert "<td>15.0 ± 7.1</td>" in comparison._repr_html_()
    assert comparison.plot()._repr_png_().startswith(b"\x89PNG")
    write_report(comparison, tmp_path / "report")
    text = (tmp_path / "report" / "results_long.csv").read_text()
    assert '"Top-1 error, fog, severity 3, fraction",0.500000,"resnet14 plain, seed 1"' in text


def test_results_in_memory_and_a_single_run(results, seeds):
    plain, pp3 = results("plain", errors=0.5), results("pp3", errors=0.3)
    both = compare(plain, pp3)
    assert list(both.mean.values()) == pytest.approx([0.5, 0.3])
    folders = seeds("plain", [(0.1, 0.4)]), seeds("pp3", [(0.2, 0.3)])
    assert len(compare(folders[0], str(folders[1])).rows) == 2


def test_a_comparison_without_means_shows_its_corruptions(results):
    fog = [results(stem, clean=None, errors={"fog": [0.25]}, severities=[3]) for stem in ("plain", "pp3")]
    assert "fog" in str(compare(*fog))
    assert "25.0" in compare(*fog)._repr_html_()


def test_tables_by_severity_on_demand(seeds):
    comparison = compare(seeds("plain", [(0.1, 0.4)]), [seeds("pp3", [(0.2, 0.3)])])
    asked = dataclasses.replace(comparison, per_severity=True)
    assert [len(tables(asked)), len(tables(comparison))] == [5, 3]
    caption, heads, lines = tables(asked)[-1]
    assert caption == f"{comparison.rows[1].label}: error by severity, percent"
    assert heads == ["severity", "1", "2", "3", "4", "5"]
    assert lines[-1][0] == "JPEG compression"
    assert [cell.text for cell in lines[-1][1]] == ["30.0"] * 5
    assert "| severity | 1 | 2 | 3 | 4 | 5 |" in markdown(asked)
    assert r"\toprule" in latex(asked)
    assert wide_csv(asked).splitlines()[0].endswith("jpeg_compression_4,jpeg_compression_5")


def test_intervals_over_images_stand_under_the_tables(results, tmp_path):
    places = []
    for name, wrong in (("a", range(0, 100, 2)), ("b", range(0, 100, 4))):
        places.append(tmp_path / name)
        results(name, seed=None, images=100, clean=len(wrong) / 100).save(places[-1])
        table = pandas.DataFrame({"index": range(100), "label": 0, "prediction": 0, "confidence": 1.0})
        table.loc[list(wrong), "prediction"] = 1
        table.assign(corruption="clean", severity=0).to_parquet(places[-1] / "predictions.parquet")
    said = note(compare(places[0], places[1:]), "Over the test images")
    assert re.search(r"resnet14 a seed None: E 50\.0 \[(39|40|41)\.0, (59|60|61)\.0\]", said)
    assert re.search(r"b seed None minus resnet14 a seed None: E −25\.0 \[−3\d\.0, −1\d\.0\]", said)
    (places[1] / "predictions.parquet").unlink()
    assert "Over the test images" not in " ".join(compare(places[0], places[1:]).footnotes)
    table[:50].assign(corruption="clean", severity=0).to_parquet(places[1] / "predictions.parquet")
    said = note(compare(places[0], places[1:]), "Intervals over the test images are not shown")
    assert "different images (50 and 100)" in said
