"""Table files: every one that comes with the package, and mistakes."""

from dataclasses import replace
from pathlib import Path

import pytest

from pushpull.errors import InputError, MissingFileError
from pushpull.files.registry import load_plugin
from pushpull.reports import packaged_table, read_table
from pushpull.reports.table_file import merged
from pushpull.training import LossConfig, Recipe

# Registers the stems of the table cifar10-variants.
load_plugin(Path(__file__).parents[2] / "benchmarks" / "variants.py")
TABLES = sorted((Path(__file__).parents[2] / "configs" / "tables").glob("*.yaml"))
PAPER = [
    "baseline",
    "PP3",
    "PP5",
    "AutoAugment",
    "AutoAugment + PP3",
    "AugMix",
    "AugMix + PP3",
    "PRIME",
    "PRIME + PP3",
    "AugMix (nine ops, JSD)",
    "AugMix (nine ops, JSD) + PP3",
    "PRIME (JSD)",
    "PRIME (JSD) + PP3",
]


def write(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "t.yaml"
    path.write_text(text)
    return path


@pytest.mark.parametrize("path", TABLES, ids=lambda path: path.stem)
def test_every_table_is_read_and_twins_differ_in_the_first_layer_only(path: Path) -> None:
    table = read_table(packaged_table(path.stem))
    assert table.rows[0].name == "baseline"
    assert len({row.slug for row in table.rows}) == len(table.rows)
    for row in table.rows:
        stem, twin = row.recipe.model, row.twin
        assert (twin is None) == (stem.stem == "plain")
        if twin is not None:
            other = table.row(twin).recipe
            assert other.model.stem == "plain"
            own = replace(
                row.recipe, model=other.model, optim=replace(row.recipe.optim, stem_weight_decay=None)
            )
            assert own == other


@pytest.mark.parametrize("name", ["cifar10", "imagenet1k", "imagenet100", "imagenet200"])
def test_the_papers_rows_stand_as_the_paper_had_them(name: str) -> None:
    table = read_table(packaged_table(name))
    rows = {row.name: row for row in table.rows if not row.on_request}
    assert list(rows) == PAPER
    for row in rows.values():
        assert row.recipe.loss == (LossConfig(jsd=12.0) if "JSD" in row.name else LossConfig())
    policies = {name: row.recipe.augment.policy for name, row in rows.items()}
    assert [policies[name] for name in ("AugMix", "AugMix (nine ops, JSD)", "PRIME", "PRIME (JSD)")] == [
        "augmix",
        "augmix9",
        "prime",
        "prime",
    ]


# Epochs, batch, rates from lr to lr, weight decay: method.md, "Training settings of the paper's code".
@pytest.mark.parametrize(
    ("name", "settings", "network", "classes"),
    [
        ("cifar10", (30, 64, 0.005, 0.2, 1e-5), "resnet18", None),
        ("imagenet1k", (20, 128, 0.05, 1.0, 1e-5), "resnet50", None),
        ("imagenet100", (20, 64, 0.005, 0.2, 1e-5), "resnet50", 100),
        ("imagenet200", (20, 64, 0.005, 0.2, 1e-5), "resnet50", 200),
    ],
)
def test_the_papers_settings(name: str, settings: tuple, network: str, classes: int | None) -> None:
    table = read_table(packaged_table(name))
    assert table.classes == classes
    for row in table.rows:
        recipe, optim = row.recipe, row.recipe.optim
        assert settings == (
            recipe.epochs,
            recipe.batch_size,
            optim.initial_lr,
            optim.max_lr,
            optim.weight_decay,
        )
        assert recipe.model.name == network
        assert (optim.momentum, optim.warmup, optim.nesterov) == (0.9, 0.3, False)


def test_settings_are_merged_a_section_at_a_time(tmp_path: Path) -> None:
    assert merged({"a": {"b": 1, "c": 2}, "d": 3}, {"a": {"c": 4}}) == {"a": {"b": 1, "c": 4}, "d": 3}
    base = write(tmp_path, "optim: {max_lr: 0.1, nesterov: true}\nepochs: 5").rename(tmp_path / "base.yaml")
    text = f"base: {base}\nrecipe: {{epochs: 7}}\nrows: [{{name: a}}, {{name: B 2, optim: {{max_lr: 0.3}}}}]"
    first, second = read_table(write(tmp_path, text)).rows
    assert (first.recipe.epochs, first.recipe.optim.max_lr, first.recipe.optim.nesterov) == (7, 0.1, True)
    assert (second.recipe.epochs, second.recipe.optim.max_lr, second.recipe.optim.nesterov) == (7, 0.3, True)
    assert second.slug == "b-2"
    assert read_table(write(tmp_path, "rows: [{name: a}]")).rows[0].recipe == Recipe()


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("rows: []", "has no rows"),
        ("title: x", "has no rows"),
        ("row: [{name: a}]", "'row' is not one of .* did you mean 'rows'"),
        ("rows: [{}]", "row 1: give a name"),
        ("rows: [baseline]", "row 1 must hold keys and values"),
        ("rows: [{name: a, epoch: 3}]", r"row 1 \(a\)='epoch' is not one of .* did you mean 'epochs'"),
        ("rows: [{name: a, model: {stm: pp3}}]", "'stm' is not one of"),
        ("rows: [{name: a}, {name: A}]", "'a' needs a name of its own"),
        ("rows: [{name: '+'}]", "needs a name of its own, with letters"),
        ("rows: [{name: a}, {name: b, twin: c}]", "twin of 'b'='c' is not one of a"),
        ("rows: [{name: a, twin: a}]", "twin of 'a'='a' is not one of"),
        ("rows: [{name: a, devices: 2}]", "start the command once for each"),
        ("rows: [{name: a}]\nseeds: [1, 1]", "at least one seed, each once"),
        ("rows: [{name: a}]\nseeds: [x]", "whole numbers"),
        ("rows: [{name: a}]\nlimit: 0", "limit=0 must be a positive whole number"),
        ("rows: [{name: a}]\nnotes: no list", "notes must be a list"),
        ("rows: nowhere.yaml", "does not exist"),
        ("base: no-such-recipe\nrows: [{name: a}]", "is not one of cifar10"),
        ("base: 5\nrows: [{name: a}]", "base=5 must be the name of a recipe"),
        ("base: [cifar10]\nrows: [{name: a}]", "must be the name of a recipe"),
        ("base:\nrows: [{name: a}]", "base=None must be the name of a recipe"),
        ("rows: [{name: a}]\nseeds: [[0]]", "whole numbers"),
        ("rows: [{name: a}]\nseeds: [{a: 1}]", "whole numbers"),
        ("rows: [{name: a, model: {stem: pp33}}]", r"row 1 \(a\): stem='pp33' is not one of"),
        ("rows: [{name: a, model: {name: resnet9}}]", r"row 1 \(a\): model='resnet9' is not one of"),
        ("rows: [{name: a, model: {alpha: 2}}]", r"row 1 \(a\): alpha=2.0 needs a push-pull stem"),
        ("rows: [{name: a, model: {stem: pp3, alpha: -2}}]", r"row 1 \(a\): model.alpha=-2.0 must be"),
        ("rows: [{name: a, model: {stem: pp3, alpha: .nan}}]", "model.alpha=nan must be"),
        ("rows: [{name: a, augment: {padding: -1}}]", r"row 1 \(a\): augment.padding=-1"),
        ("rows: [{name: a, optim: {clip_norm: .nan}}]", "clip_norm=nan positive"),
        ("rows: [{name: a, optim: {weight_decay: .inf}}]", "weight_decay=inf must be"),
        ("rows: [{name: a, seed: 7}]", "seed=7 cannot be a row's own"),
        (f"rows: [{{name: {'a' * 101}}}]", "101 characters; give at most 100"),
        (
            "rows: [{name: a, model: {stem: pp3}, model: {name: resnet8}}]",
            "not valid YAML.*'model' stands twice",
        ),
        ("- a", "must hold keys and values"),
        ("a: [", "not valid YAML"),
    ],
)
def test_a_mistake_is_one_clear_line(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(InputError, match=message) as caught:
        read_table(write(tmp_path, text))
    assert "\n" not in str(caught.value)


def test_a_base_beside_the_table_letters_of_any_script_and_no_title(tmp_path: Path) -> None:
    (tmp_path / "mine.yaml").write_text("epochs: 4")
    names = "PP3 \N{GREEK SMALL LETTER ALPHA}", "PP3_\N{CYRILLIC SMALL LETTER BE}"
    rows = ", ".join(f"{{name: {name}}}" for name in names)
    table = read_table(write(tmp_path, f"title:\nbase: mine.yaml\nrows: [{rows}]"))
    assert [row.recipe.epochs for row in table.rows] == [4, 4]
    assert [row.slug for row in table.rows] == [
        "pp3-\N{GREEK SMALL LETTER ALPHA}",
        "pp3-\N{CYRILLIC SMALL LETTER BE}",
    ]
    assert table.title != "None"


def test_a_row_by_its_name_or_its_folder() -> None:
    table = read_table(packaged_table("cifar10"))
    assert table.row("AugMix (nine ops, JSD) + PP3") is table.row("augmix-nine-ops-jsd-pp3")
    with pytest.raises(InputError, match="did you mean 'PRIME'"):
        table.row("PRIMe")
    with pytest.raises(MissingFileError, match=r"none\.yaml does not exist"):
        packaged_table("none.yaml")
    with pytest.raises(InputError, match="did you mean 'cifar10'"):
        packaged_table("cifar1")
