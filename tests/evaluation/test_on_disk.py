"""Evaluating published corrupted sets as they are on disk."""

import json

import numpy as np
import pytest
import torch
from torch import nn

from data.made import image_folder
from data.published import array_set, folder_set, parquet_set
from pushpull.cli.corrupt import corrupt_command
from pushpull.copies import CopyOptions
from pushpull.corruptions import corrupt
from pushpull.data import ImageSplit, Preprocessing, load_data
from pushpull.errors import InputError
from pushpull.evaluation import Results, evaluate

WNIDS = ["n01440764", "n01443537", "n01484850"]
LABELS = [2, 0, 1, 1, 0, 2, 2, 1]
BAR = ["plasma_noise", "checkerboard_cutout"]


class Brightness(nn.Module):
    """Calls an image by its first pixel: level L is class L mod `classes`."""

    def __init__(self, classes=3):
        super().__init__()
        self.classes = classes

    def forward(self, x):
        level = (x[:, 0, 0, 0] * 255).round().long()
        return nn.functional.one_hot(level % self.classes, self.classes).float()


def run(data, path, model=None, **options):
    options = {"preprocessing": Preprocessing(), "progress": False} | options
    return evaluate(model or Brightness(), data, corrupted=path, **options)


def clean_split(labels=LABELS, side=32):
    """Images whose level is their label: Brightness never errs on them."""
    images = torch.tensor(labels, dtype=torch.uint8)[:, None, None, None].expand(-1, 3, side, side)
    return ImageSplit.from_tensors(images.contiguous(), labels, WNIDS)


def black(labels, classes):
    images = torch.zeros(len(labels), 3, 32, 32, dtype=torch.uint8)
    return ImageSplit.from_tensors(images, labels, classes)


def right_up_to(severity, labels=LABELS):
    """A maker of images that Brightness gets right at severities below `severity`, and wrong from it on."""
    return lambda s, n: np.full((32, 32, 3), labels[n] + (s >= severity), np.uint8)


def test_arrays_beside_their_clean_set(tmp_path):
    array_set(tmp_path / "set", ["fog", "snow", "spatter"], LABELS, make=right_up_to(3))
    results = run(clean_split(), tmp_path / "set", output=tmp_path)
    assert list(results.corrupted) == ["snow", "fog"]  # spatter is none of the fifteen
    assert results.clean_error == 0
    assert results.errors() == {"fog": [0, 0, 1, 1, 1], "snow": [0, 0, 1, 1, 1]}
    corruption = results.corruption
    assert (corruption["source"], corruption["name"], corruption["layout"]) == ("on disk", "set", "npy")
    assert (corruption["scale"], corruption["seed"]) == ("cifar", None)
    assert list(corruption["files"]) == ["snow", "fog"]
    assert Results.load(tmp_path) == results


def test_what_we_corrupt_and_store_gives_what_we_corrupt_in_memory(tmp_path, split, network):
    data = split.resident()

    def make(severity, number):
        image, row = data.images[number : number + 1], data.index[number : number + 1]
        made = corrupt(image, "contrast", severity, scale="cifar", index=row)
        return made[0].permute(1, 2, 0).numpy()

    clean = ImageSplit.from_tensors(data.images, data.labels)
    array_set(tmp_path / "set", ["contrast"], data.labels.tolist(), make=make)
    on_disk = run(clean, tmp_path / "set", network)
    in_memory = run(clean, None, network, corruptions="contrast")
    assert on_disk.errors() == in_memory.errors()
    assert on_disk.clean.class_errors == in_memory.clean.class_errors


def test_a_copy_that_pushpull_corrupt_wrote(tmp_path, network):
    options = CopyOptions(format="folder", corruptions=["contrast"], limit=20)
    corrupt_command("digits", str(tmp_path / "set"), options=options, quiet=True)
    options = {"limit": 20, "corruptions": "contrast"}
    on_disk = run("digits", tmp_path / "set", network, **options)
    assert on_disk.errors() == run("digits", None, network, **options).errors()
    assert run(None, tmp_path / "set", network).errors() == on_disk.errors()


def test_limit_takes_the_same_rows_of_both(tmp_path):
    labels = [n % 3 for n in range(30)]
    array_set(tmp_path / "set", ["fog"], labels, make=right_up_to(6, labels))
    results = run(clean_split(labels), tmp_path / "set", limit=9)
    assert results.corrupted["fog"][1].images == 9 == results.data["limit"]
    assert results.errors()["fog"] == [0.0] * 5
    labels.sort()
    folder_set(tmp_path / "tree", ["fog"], WNIDS, per_class=10, make=right_up_to(6, labels))
    again = run(clean_split(labels), tmp_path / "tree", limit=9)
    assert again.corrupted["fog"][5].images == 9
    assert again.errors()["fog"] == [0.0] * 5


def test_arrays_of_another_data_set_or_order_are_refused(tmp_path):
    array_set(tmp_path / "set", ["fog"], LABELS)
    with pytest.raises(InputError, match=r"other labels than the clean data at 8 of 8 rows: another"):
        run(clean_split([(label + 1) % 3 for label in LABELS]), tmp_path / "set")
    with pytest.raises(InputError, match=r"has 8 images, the clean data at least 16"):
        run(clean_split(LABELS * 2), tmp_path / "set")
    # Row 0 alone agrees by chance: all labels count, not only those within the limit.
    turned = clean_split([LABELS[0], *LABELS[:0:-1]])
    with pytest.raises(InputError, match=r"other labels than the clean data at \d of 8 rows"):
        run(turned, tmp_path / "set", limit=1)
    fewer = run(clean_split(LABELS[:6]), tmp_path / "set", corruptions="fog", severities=1)
    assert fewer.corrupted["fog"][1].images == 6


def test_arrays_follow_a_choice_of_classes(tmp_path):
    labels = [n % 3 for n in range(30)]
    image_folder(tmp_path / "clean", dict.fromkeys(WNIDS, 10), size=(32, 32))
    (tmp_path / "few.txt").write_text(f"{WNIDS[2]}\n{WNIDS[0]}\n")
    from pushpull.data import DataConfig

    clean = load_data(DataConfig(str(tmp_path / "clean"), classes=str(tmp_path / "few.txt")))
    array_set(tmp_path / "set", ["fog"], sorted(labels))
    results = run(clean, tmp_path / "set", Brightness(2), severities=1)
    assert results.corrupted["fog"][1].images == 20


@pytest.mark.parametrize("family", ["", "weather"])
def test_folders_are_matched_by_class_name(tmp_path, family):
    # On disk the classes are sorted; the clean data has them in another order.
    order = [WNIDS[1], f"{WNIDS[2]}_fish", WNIDS[0]]
    make = right_up_to(6, [2, 2, 0, 0, 1, 1])
    folder_set(tmp_path / "set" / family, ["fog"], WNIDS, make=make)
    clean = black([0, 0, 1, 1, 2, 2], order)
    results = run(clean, tmp_path / "set")
    assert results.errors() == {"fog": [0.0] * 5}
    assert results.data["classes"] == order


@pytest.mark.parametrize("with_clean", [True, False])
def test_a_set_that_is_not_all_there_is_refused_before_computing(tmp_path, with_clean):
    folder_set(tmp_path / "set", ["fog"], WNIDS, per_class=5)
    clean = clean_split([n // 5 for n in range(15)]) if with_clean else None
    for path in sorted((tmp_path / "set" / "fog" / "3" / WNIDS[1]).iterdir())[1:]:
        path.unlink()
    message = r"fog 3 of .*set has 1 images of class n01443537, .* has 5 \(1 of 3 classes differ\); fetch"
    with pytest.raises(InputError, match=message):
        run(clean, tmp_path / "set", output=tmp_path)
    assert not (tmp_path / "results.json").exists()
    assert run(clean, tmp_path / "set", severities=(1, 2)).complete
    if clean is not None:  # as many as may be unreadable may be missing, with a word
        clean.unreadable_limit = 0.5
        with pytest.warns(UserWarning, match="has 1 images of class n01443537, the clean data has 5"):
            run(clean, tmp_path / "set", severities=3)
    for path in (tmp_path / "set" / "fog" / "4" / WNIDS[2]).iterdir():
        path.unlink()
    with pytest.raises(InputError, match=r"fog 4 of .* has 0 images of class n01484850"):
        run(clean, tmp_path / "set", severities=(1, 4))  # a whole class, whatever the limit


def test_classes_that_one_of_both_lacks(tmp_path):
    folder_set(tmp_path / "set", ["fog"], WNIDS, make=right_up_to(6, [0, 0, 0, 0, 1, 1]))
    few = black([0, 0, 1, 1], [WNIDS[0], WNIDS[2]])
    results = run(few, tmp_path / "set", Brightness(2))
    assert results.corrupted["fog"][1].images == 4
    assert results.errors() == {"fog": [0.0] * 5}
    more = black([0, 0, 1, 1], [WNIDS[0], "n9"])
    with pytest.raises(InputError, match=r"fog/1 has no class n9 \(1 of the data's 2; it has n01440764"):
        run(more, tmp_path / "set", Brightness(2))


def test_folders_stream_with_workers(tmp_path):
    folder_set(tmp_path / "set", ["fog"], WNIDS)
    one, two = (
        run(None, tmp_path / "set", severities=(1, 2), workers=workers, batch_size=4) for workers in (0, 1)
    )
    assert one.errors()["fog"][:2] == two.errors()["fog"][:2]


def test_parquet_without_clean_images(tmp_path):
    parquet_set(tmp_path / "set", ["fog"], [0, 1, 2, 0], WNIDS)
    for level in range(1, 6):  # images of 8 pixels: no corruption has to be made, so every size will do
        assert run(None, tmp_path / "set", severities=level).corrupted["fog"][level].images == 4


@pytest.mark.parametrize("layout", ["folders", "arrays"])
def test_without_clean_images(tmp_path, layout):
    if layout == "folders":
        folder_set(tmp_path / "set", BAR, WNIDS, make=right_up_to(2, [0, 0, 1, 1, 2, 2]))
    else:
        array_set(tmp_path / "set", BAR, LABELS, make=right_up_to(2))
    results = run(None, tmp_path / "set", output=tmp_path)
    assert results.clean is None
    assert results.complete
    assert results.errors() == {name: [0.0, 1.0, 1.0, 1.0, 1.0] for name in sorted(BAR)}
    assert results.data["split"] == "corrupted"
    assert results.data["label"] == "set"
    assert len(results.data["classes"]) == 3
    assert Results.load(tmp_path) == results
    # Which condition comes first does not make it another evaluation.
    again = run(None, tmp_path / "set", output=tmp_path, corruptions=BAR[0], severities=5)
    assert again.corrupted == results.corrupted


def test_what_is_evaluated_unless_said(tmp_path):
    folder_set(tmp_path / "c", ["fog", "speckle_noise"], WNIDS)
    assert list(run(None, tmp_path / "c").corrupted) == ["fog"]
    assert list(run(None, tmp_path / "c", corruptions="all").corrupted) == ["fog", "speckle_noise"]
    folder_set(tmp_path / "bar", BAR, WNIDS)
    assert list(run(None, tmp_path / "bar").corrupted) == sorted(BAR)
    assert list(run(clean_split(), tmp_path / "bar", corruptions=()).corrupted) == []


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"corruptions": "plasma_nois"}, "did you mean 'plasma_noise'"),
        ({"corruptions": "weather"}, "the set on disk has no snow, frost, brightness; fetch that part, or"),
        ({"severities": (1, 5)}, r"not complete: fog has no severity 5; fetch these"),
        ({"jpeg_quality": 85}, "jpeg_quality=85 has no effect on images on disk"),
        ({"seed": 1}, "seed=1 has no effect on images on disk"),
        ({"scale": "big"}, "scale='big' is not one of"),
        (
            {"corruptions": ()},
            "no corruption of .* was asked for, and no clean data given; name corruptions, or give data",
        ),
        ({"corrupted": "nowhere"}, "corrupted='nowhere' is not a folder"),
        ({"limit": 0}, "limit=0 is below 1"),
    ],
)
def test_refusals(tmp_path, options, message):
    folder_set(tmp_path / "set", ["fog", "plasma_noise"], WNIDS, levels=(1, 2, 3))
    options = {"corrupted": tmp_path / "set", "severities": (1,)} | options
    with pytest.raises(InputError, match=message) as caught:
        run(None, options.pop("corrupted"), output=tmp_path, **options)
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "results.json").exists()


def test_neither_data_nor_a_set():
    with pytest.raises(InputError, match="data is missing; give a data set, or a corrupted set on disk"):
        run(None, None)


def test_sizes_that_differ_are_warned_about(tmp_path):
    array_set(tmp_path / "set", ["fog"], LABELS)
    with pytest.warns(UserWarning, match="the images on disk are 32x32, the clean ones 40x40"):
        run(clean_split(side=40), tmp_path / "set", severities=1)


def test_an_unreadable_image_is_named(tmp_path):
    folder_set(tmp_path / "set", ["fog"], WNIDS, per_class=3)
    (tmp_path / "set" / "fog" / "1" / WNIDS[1] / "0004.png").write_bytes(b"broken")
    clean = clean_split([0, 0, 0, 1, 1, 1, 2, 2, 2])
    with pytest.raises(InputError, match=r"0004.png.*more than the 0 that unreadable_limit"):
        run(clean, tmp_path / "set")
    clean.unreadable_limit = 0.5
    with pytest.warns(UserWarning, match=r"skipped: .*0004.png"):
        results = run(clean, tmp_path / "set", severities=(1, 2))
    assert [condition.images for condition in results.corrupted["fog"].values()] == [8, 9]
    assert [name.rsplit("/", 1)[1] for name in results.data["skipped"]] == ["0004.png"]


def test_continued_with_more_of_the_set_and_not_with_another(tmp_path):
    array_set(tmp_path / "set", ["fog"], LABELS)
    first = run(clean_split(), tmp_path / "set", output=tmp_path, severities=1)
    array_set(tmp_path / "set", ["snow"], LABELS)
    both = run(clean_split(), tmp_path / "set", output=tmp_path, severities=1)
    assert both.corrupted["fog"] == first.corrupted["fog"]
    alone = run(clean_split(), tmp_path / "set", output=tmp_path, severities=1, corruptions="snow")
    assert list(alone.corruption["files"]) == ["fog", "snow"]
    array_set(tmp_path / "set", ["fog"], LABELS, make=right_up_to(1))
    with pytest.raises(
        InputError, match=r"holds another evaluation .*the files of fog are others.*overwrite"
    ):
        run(clean_split(), tmp_path / "set", output=tmp_path)
    with pytest.raises(InputError, match=r"corruption.source is 'on disk' there, 'in memory' now"):
        run(clean_split(), None, output=tmp_path)


def test_the_command(tmp_path, monkeypatch, capsys):
    from safetensors.torch import save_file

    from pushpull.cli import main
    from pushpull.models import create_model

    monkeypatch.chdir(tmp_path)
    model = create_model("resnet8", input_style="cifar", num_classes=3)
    notes = {"model": "resnet8", "stem": "plain", "input_style": "cifar", "classes": json.dumps(WNIDS)}
    save_file(model.state_dict(), "w.safetensors", notes)
    folder_set(tmp_path / "set", ["fog"], WNIDS)
    words = ["evaluate", "w.safetensors", "--corrupted", "set", "--severities", "1", "2", "--quiet"]
    assert main([*words, "--device", "cpu", "--output", "out"]) == 0
    printed = capsys.readouterr().out
    assert "w" not in Results.load("out").corruption["name"]
    assert "6 images, corrupted ones of set on disk" in printed
    assert "clean" not in printed
    assert main([*words, "--classes", "x.txt"]) == 2
    assert "--classes goes with --data" in capsys.readouterr().err
    image_folder(tmp_path / "clean", dict.fromkeys(WNIDS, 2), size=(32, 32))
    assert main([*words, "--data", "clean", "--output", "both", "--device", "cpu"]) == 0
    assert Results.load("both").clean.images == 6
