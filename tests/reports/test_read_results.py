import pytest

from pushpull.errors import InputError, MissingFileError
from pushpull.reports.comparable import Entry, load_entry


def test_a_file_and_its_folder_are_the_same_entry(tmp_path, results):
    results("pp3", 4, clean=0.125).save(tmp_path / "run")
    for path in (tmp_path / "run", tmp_path / "run" / "results.json"):
        entry = load_entry(path)
        assert (entry.label, entry.seeds, entry.source) == ("resnet14 pp3 seed 4", (4,), str(path))
        assert entry.results[0].clean_error == 0.125


def test_a_folder_of_runs_is_one_model_in_natural_order(tmp_path, results):
    for seed in (10, 2, 1):
        results("pp3", seed).save(tmp_path / f"seed{seed}")
    (tmp_path / "figures").mkdir()
    entry = load_entry(tmp_path)
    assert entry.seeds == (1, 2, 10)
    assert entry.label == "resnet14 pp3"


def test_labels_that_differ_beyond_the_seed_give_way_to_model_and_stem(results):
    entry = Entry.of([results(seed=0, model={"label": "first"}), results(seed=1, model={"label": "second"})])
    assert entry.label == "resnet14 plain"


def test_a_label_of_ones_own(results):
    assert Entry.of([results()], label="ours").label == "ours"


def test_a_missing_path_is_named(tmp_path):
    with pytest.raises(MissingFileError, match=r"absent does not exist; give a run folder"):
        load_entry(tmp_path / "absent")


def test_an_empty_folder_says_how_to_evaluate(tmp_path):
    with pytest.raises(MissingFileError, match=r"holds no results\.json; make it with: pushpull evaluate"):
        load_entry(tmp_path)


def test_a_folder_one_level_too_high_names_those_below(tmp_path, results):
    for stem in ("plain", "pp3"):
        results(stem).save(tmp_path / stem / "seed0")
    with pytest.raises(MissingFileError, match=r"name one of \S*plain, \S*pp3$"):
        load_entry(tmp_path)


def test_a_run_that_was_not_evaluated_is_not_left_out_silently(tmp_path, results):
    results(seed=0).save(tmp_path / "seed0")
    (tmp_path / "seed1").mkdir()
    (tmp_path / "seed1" / "last.ckpt").touch()
    with pytest.raises(InputError, match=r"seed1 was not evaluated; first run: pushpull evaluate \S*seed1"):
        load_entry(tmp_path)


def test_a_folder_that_mixes_models_is_refused(tmp_path, results):
    results("plain", 0).save(tmp_path / "a")
    results("pp3", 1).save(tmp_path / "b")
    with pytest.raises(InputError, match=r"mixes models .resnet14 plain; resnet14 pp3"):
        load_entry(tmp_path)


def test_the_same_seed_twice_is_refused(tmp_path, results):
    results(seed=3).save(tmp_path / "a")
    results(seed=3).save(tmp_path / "b")
    with pytest.raises(InputError, match="seed 3 more than once"):
        load_entry(tmp_path)


def test_no_results_are_refused():
    with pytest.raises(InputError, match="holds no results"):
        Entry.of([])
