"""One model's figures on several sets: which there are, against literal values, and what is refused."""

from dataclasses import replace

import pytest

from pushpull.cli import main
from pushpull.corruptions import CORRUPTIONS
from pushpull.errors import InputError
from pushpull.evaluation.metrics import ALEXNET
from pushpull.evaluation.stability import Stability
from pushpull.reports.aggregate import aggregate

IMAGENET = {
    "data": {"classes": [str(i) for i in range(1000)], "label": "ImageNet-1k", "note": None},
    "corruption": {"scale": "imagenet", "frost_textures": "imagecorruptions"},
}
BAR = {"corruption": {"source": "on disk", "name": "ImageNet-C-bar", "files": {}, "seed": None}}
STEADY = Stability("a", "ImageNet-P", 10, {"tilt": 0.1, "snow": 0.2}, {"tilt": 1.0, "snow": 3.0})


def figures(frame, name):
    rows = frame[frame["set"] == name]
    return dict(zip(rows.metric, rows.value, strict=True))


def test_the_figures_of_each_set_by_hand(results):
    of_bar = {"sparkles": [0.5] * 5, "plasma_noise": [0.7] * 5}
    own = {
        "C": results(errors=0.4, clean=0.2, **IMAGENET),
        "C-bar": results(errors=of_bar, clean=0.2, **BAR),
        "A": results(errors={}, clean=0.9, data={"label": "ImageNet-A", "sha256": "a"}),
        "P": STEADY,
    }
    base = [
        results("base", errors=0.5, clean=0.3, **IMAGENET),
        results("base", errors={"sparkles": [0.6] * 5, "plasma_noise": [0.7] * 5}, clean=0.3, **BAR),
        results("base", errors={}, clean=0.95, data={"label": "ImageNet-A", "sha256": "a"}),
        replace(STEADY, flip_rates={"tilt": 0.2, "snow": 0.2}, top5_distances={"tilt": 2.0, "snow": 2.0}),
    ]
    frame = aggregate(own, base)
    assert list(frame["set"].unique()) == ["C", "C-bar", "A", "P"]
    of_alexnet = sum(0.4 / ALEXNET.mean_errors[name] for name in CORRUPTIONS) / 15
    relative = sum(0.2 / (ALEXNET.mean_errors[name] - ALEXNET.clean_error) for name in CORRUPTIONS) / 15
    expected = {
        "C": {
            "error": 0.2,
            "mean corruption error": 0.4,
            "mCE vs AlexNet": of_alexnet,
            "rCE vs AlexNet": relative,
            "relative robustness": 0.1,
            "mCE vs baseline": 0.8,
            "rCE vs baseline": 1.0,
        },
        "C-bar": {
            "error": 0.2,
            "mean of the set": 0.6,
            "relative robustness": 0.05,
            "mCE vs baseline": (0.5 / 0.6 + 1) / 2,
            "rCE vs baseline": (0.3 / 0.3 + 0.5 / 0.4) / 2,
        },
        "A": {"error": 0.9, "relative robustness": 0.05},
        "P": {"mFP": 0.15, "mFR vs baseline": 0.75, "mean T5D": 2.0, "mT5D vs baseline": 1.0},
    }
    for name, values in expected.items():
        assert figures(frame, name) == pytest.approx(values)
    assert (frame.convention != "").all()


def test_without_a_baseline_or_with_another_there_is_nothing_against_it(results):
    alone = figures(aggregate({"C": results(errors=0.4)}), "C")
    assert list(alone) == ["error", "mean corruption error"]
    other = results("base", errors=0.4, images=10)
    assert figures(aggregate({"C": results(errors=0.4)}, [other]), "C") == alone
    few = results(errors=0.4, severities=(1, 3))
    assert list(figures(aggregate({"C": few}), "C")) == ["error"]


def test_a_ratio_that_is_undefined_is_left_out_and_said(results):
    """A baseline that loses nothing under a corruption."""
    base = results("base", errors=0.2, clean=0.2, **IMAGENET)
    with pytest.warns(UserWarning, match="rCE vs baseline on ImageNet-1k.* is left out: gaussian_noise"):
        frame = aggregate([results(errors=0.4, **IMAGENET)], [base])
    assert {"mCE vs baseline", "relative robustness"} <= set(frame.metric)
    assert "rCE vs baseline" not in set(frame.metric)


def test_a_baseline_without_errors_leaves_the_rest(results):
    base = (
        results("base", errors=0.0, clean=0.0, **IMAGENET),
        replace(STEADY, flip_rates={"tilt": 0.0, "snow": 0.1}),
    )
    with pytest.warns(UserWarning, match="is left out"):
        frame = aggregate([results(errors=0.4, **IMAGENET), STEADY], base)
    assert {"mean corruption error", "relative robustness", "mFP", "mT5D vs baseline"} <= set(frame.metric)
    assert not {"mCE vs baseline", "rCE vs baseline", "mFR vs baseline"} & set(frame.metric)
    assert len(aggregate(STEADY)) == 2


def test_the_command_reads_folders_and_names_sets(results, tmp_path, capsys):
    results(errors=0.4).save(tmp_path)
    STEADY.save(tmp_path)
    assert main(["aggregate", str(tmp_path)]) == 0
    out = capsys.readouterr().out
    assert out.splitlines()[0] == "digits (demonstration, not evidence), corrupted in memory"
    assert "  mean corruption error     40.0   plain mean over 15 x 5, not AlexNet-normalised" in out
    assert "  mean T5D                  2.00" in out
    assert main(["aggregate", str(tmp_path), "--format", "csv"]) == 0
    assert capsys.readouterr().out.startswith("set,metric,value,unit,convention\n")


def test_what_is_refused(results):
    a, b = (results(errors=0.4, model={"weights_sha256": digest}) for digest in ("a", "b"))
    with pytest.raises(InputError, match="other weights"):
        aggregate({"C": a, "D": b})
    with pytest.raises(InputError, match="two results are of the set"):
        aggregate([a, a])
    with pytest.raises(InputError, match="is not complete"):
        aggregate([results(errors=0.4, complete=False)])
    with pytest.raises(InputError, match="no results are given"):
        aggregate([])
