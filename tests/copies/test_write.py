"""The same bytes however the work is split; a kill at any moment; what is refused, and said in one line."""

import errno
import json
import os
import subprocess
import sys
import time
from concurrent.futures.process import BrokenProcessPool
from contextlib import suppress
from pathlib import Path

import pytest
import torch

from copies.made import CLASSES, QUICK, copy, tree
from data.made import image_folder
from pushpull.cli import main
from pushpull.copies import write_corrupted
from pushpull.copies.layouts import written
from pushpull.data import Framing, ImageSplit, load_data
from pushpull.errors import InputError
from pushpull.files import HALF_WRITTEN, folder_lock

SUFFIXES = {"parquet": "parquet", "folder": "png", "npy": "npy", "webdataset": "tar"}
FORMS = tuple(SUFFIXES)
FEW = {"corruptions": ("contrast", "pixelate")}


class KilledError(BaseException):
    """Stands for a kill: nothing catches it."""


class _KillAt:
    """Stands for `os.replace`; at a given call it ends everything, before or after the file is in place."""

    def __init__(self, call, after):
        self.left, self.after, self.real = call, after, os.replace

    def __call__(self, source, target):
        self.left -= 1
        if self.left == 0 and not self.after:
            raise KilledError
        try:
            self.real(source, target)
        except FileNotFoundError:  # the folder is made, and this comes again
            self.left += 1
            raise
        if self.left == 0:
            raise KilledError


@pytest.mark.parametrize("form", FORMS)
def test_the_same_bytes_in_other_batches(split, tmp_path, form):
    alone = copy(split, tmp_path / "alone", form)
    assert copy(split, tmp_path / "batches", form, batch_size=3) == alone


def test_images_do_not_depend_on_the_shards(split, tmp_path):
    options = {"severities": 3, "corruptions": "gaussian_noise"}
    copies = [
        copy(split, tmp_path / str(size), "folder", shard_images=size, **options) for size in (3, 5, 100)
    ]
    for files in copies:
        del files["manifest.json"]  # it says how many images a shard has
    assert copies[0] == copies[1] == copies[2]


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("after", [False, True])
def test_a_kill_at_any_file_is_made_good(split, tmp_path, monkeypatch, form, after):
    """Each sitting puts some files in place, then dies and leaves temporary files; the sum is the copy."""
    options = FEW | {"severities": (1, 2, 3, 4, 5), "shard_images": 6}
    whole = copy(split, tmp_path / "whole", form, **options)
    root = tmp_path / "killed"
    # Nothing is tidied up, as after SIGKILL.
    monkeypatch.setattr("pathlib.Path.unlink", lambda self, missing_ok=False: None)
    for sitting in range(200):
        with monkeypatch.context() as patch:
            # An array is one file of all severities: such a copy has few files.
            call = {"npy": 1 + sitting % 2, "parquet": 4 + sitting % 3, "folder": 9 + 4 * sitting % 11}
            call["webdataset"] = 13 + sitting % 3  # each sitting writes ten lists of classes
            patch.setattr(os, "replace", _KillAt(call[form], after))
            try:
                copy(split, root, form, **options)
                break
            except KilledError:
                assert (root / "manifest.json").is_file() or sitting == 0
    assert sitting > 2
    monkeypatch.undo()
    write_corrupted(split, root, format=form, **(QUICK | options))
    assert tree(root) == whole
    assert sorted(path.name for path in root.iterdir() if path.name.startswith(".")) == []


def test_what_is_done_is_not_done_again(split, tmp_path, monkeypatch):
    first = copy(split, tmp_path, "folder", **FEW)
    monkeypatch.setattr("pushpull.copies.plan.corrupt", None)
    assert copy(split, tmp_path, "folder", **FEW) == first


@pytest.mark.parametrize(
    ("change", "text"),
    [
        ({"seed": 6}, "seed is 5 there, 6 now"),
        ({"corruptions": "fog"}, "corruptions is contrast, pixelate there, fog now"),
        ({"format": "folder"}, "form is parquet there, folder now"),
        ({"jpeg_quality": 85}, "jpeg_quality is None there, 85 now"),
        ({"limit": 6}, "limit is None there, 6 now"),
    ],
)
def test_another_copy_is_not_mixed_in(split, tmp_path, change, text):
    before = copy(split, tmp_path, "parquet", **FEW)
    with pytest.raises(InputError, match=text) as caught:
        write_corrupted(split, tmp_path, **(QUICK | FEW | change))
    assert "--overwrite replaces it" in str(caught.value)
    assert tree(tmp_path) == before


def killed(monkeypatch, call, *arguments, **options):
    """Copy until the file of that number is in place, then die."""
    with monkeypatch.context() as patch:
        patch.setattr(os, "replace", _KillAt(call, True))
        with pytest.raises(KilledError):
            copy(*arguments, **options)


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("way", ["repainted", "renamed"])
def test_a_changed_source_is_not_mixed_in(tmp_path, monkeypatch, form, way):
    """Every file but the first: labels, numbers and what `evaluate` looks at stay the same."""
    if way == "renamed" and form in ("npy", "webdataset"):
        pytest.skip("these have no names of images")
    source = image_folder(tmp_path / "source", {"cat": 3, "dog": 3}, size=(16, 16))
    options = FEW | {"severities": (1, 2, 3, 4, 5), "shard_images": 2}
    killed(monkeypatch, 3 if form == "npy" else 12, str(source), tmp_path / "copy", form, **options)
    for path in sorted(source.rglob("*.png"))[1:]:
        if way == "renamed":
            path.rename(path.with_name(f"{path.stem}-b.png"))
        else:
            path.write_bytes((source / "cat" / "000.png").read_bytes())
    before = tree(tmp_path / "copy")
    with pytest.raises(InputError, match="the source's images or their names have changed"):
        copy(str(source), tmp_path / "copy", form, **options)
    assert tree(tmp_path / "copy") == before


def test_a_changed_tensor_is_not_mixed_in(split, tmp_path):
    copy(split, tmp_path, "npy", **FEW)
    split.source.images[-1] = 0
    with pytest.raises(InputError, match="have changed since"):
        copy(split, tmp_path, "npy", **FEW)


def test_a_moved_source_is_the_same(tmp_path):
    source = image_folder(tmp_path / "source", {"cat": 3}, size=(16, 16))
    first = copy(str(source), tmp_path / "copy", "folder", **FEW)
    os.utime(source / "cat" / "000.png", (0, 0))
    source.rename(tmp_path / "moved")
    assert copy(str(tmp_path / "moved"), tmp_path / "copy", "folder", **FEW) == first


@pytest.mark.parametrize("form", FORMS)
def test_overwriting_goes_on_after_a_kill(split, tmp_path, monkeypatch, form):
    whole = copy(split, tmp_path, form, **FEW)
    broken = tmp_path / next(name for name in sorted(whole) if name.startswith("contrast"))
    # While the old one is removed; while the new one is made.
    for call in (1, {"npy": 4, "webdataset": 16}.get(form, 12)):
        broken.write_bytes(b"broken")
        killed(monkeypatch, call, split, tmp_path, form, overwrite=True, **FEW)
    there = {path: path.stat().st_mtime_ns for path in tmp_path.rglob(f"*.{SUFFIXES[form]}")}
    there = {path: when for path, when in there.items() if path.name != "labels.npy"}
    assert there
    assert copy(split, tmp_path, form, overwrite=True, **FEW) == whole
    assert {path: path.stat().st_mtime_ns for path in there} == there  # what was done is not done again
    assert len(list(tmp_path.rglob(f"*.{SUFFIXES[form]}"))) > len(there)


def test_a_complete_copy_that_cannot_be_written_is_complete(split, tmp_path, monkeypatch):
    first = copy(split, tmp_path, "folder", **FEW)

    def refuse(*arguments, **options):
        raise OSError(errno.EROFS, "Read-only file system")

    for what in ("os.open", "os.mkdir", "os.replace", "tempfile.TemporaryFile"):
        monkeypatch.setattr(what, refuse)
    record = write_corrupted(split, tmp_path, **(QUICK | FEW), format="folder")
    monkeypatch.undo()
    assert record["complete"]
    assert tree(tmp_path) == first


@pytest.mark.parametrize("form", FORMS)
def test_overwriting_deletes_only_what_was_written(split, tmp_path, form):
    root = tmp_path / "copy"
    copy(split, root, form, **FEW)
    mine = root / "notes" / "mine.txt"
    beside = root / "contrast" / "mine.txt"
    for path in (mine, beside):
        path.parent.mkdir(exist_ok=True)
        path.write_text("kept", encoding="utf-8")
    files = copy(split, root, "parquet", corruptions="brightness", severities=2, overwrite=True)
    expected = copy(split, tmp_path / "fresh", "parquet", corruptions="brightness", severities=2)
    assert files == expected | {"notes/mine.txt": b"kept", "contrast/mine.txt": b"kept"}
    assert not (root / "pixelate").exists()


def test_a_folder_of_something_else_is_left_alone(split, tmp_path):
    (tmp_path / "thesis.tex").write_text("years", encoding="utf-8")
    for overwrite in (False, True):
        with pytest.raises(InputError, match=r"holds thesis\.tex and no manifest\.json"):
            copy(split, tmp_path, "folder", overwrite=overwrite)
    assert tree(tmp_path) == {"thesis.tex": b"years"}


def test_a_manifest_that_names_files_elsewhere_deletes_nothing(split, tmp_path):
    root, outside = tmp_path / "copy", tmp_path / "outside.npy"
    copy(split, root, "npy", **FEW)
    outside.write_bytes(b"kept")
    record = json.loads((root / "manifest.json").read_text(encoding="utf-8"))
    record["corruptions"] = ["../outside"]
    (root / "manifest.json").write_text(json.dumps(record), encoding="utf-8")
    with pytest.raises(InputError, match="outside"):
        copy(split, root, "npy", overwrite=True, **FEW)
    assert outside.exists()
    assert (root / "contrast.npy").exists()


def test_unreadable_images_are_left_out_and_named(tmp_path):
    source = image_folder(tmp_path / "source", {"cat": 3, "dog": 3}, size=(16, 16))
    (source / "cat" / "001.png").write_bytes(b"no image")
    data = load_data(str(source))
    data.test.unreadable_limit = 0.2
    options = {"corruptions": "contrast", "severities": (1, 2, 3, 4, 5), "scale": "cifar", "shard_images": 2}
    with pytest.warns(UserWarning, match=r"skipped: .*001\.png"):
        record = write_corrupted(data, tmp_path / "npy", format="npy", **options)
    assert record["skipped"] == [str(source / "cat" / "001.png")]
    with pytest.warns(UserWarning, match="skipped"):
        files = copy(data, tmp_path / "folder", "folder", **options)
    assert "contrast/1/cat/000.png" in files
    assert "contrast/1/cat/001.png" not in files
    data.test.unreadable_limit = 0.0
    with pytest.raises(InputError, match="1 unreadable of 6 images"):
        write_corrupted(data, tmp_path / "other", **options)


def test_images_of_two_sizes_are_refused(tmp_path):
    source = image_folder(tmp_path / "source", {"cat": 3}, size=(16, 16))
    image_folder(source, {"dog": 1}, size=(16, 18))
    part = load_data(str(source)).required("test")
    with pytest.raises(InputError, match=r"16 x 18 px, the first is 16 x 16"):
        copy(part, tmp_path / "copy", "folder")


def test_a_limit_takes_the_images_that_evaluate_takes(split, tmp_path):
    record = write_corrupted(split, tmp_path, **(QUICK | FEW), severities=1, limit=6)
    assert record["images"] == 6
    found = load_data(str(tmp_path / "contrast" / "1")).required("test")
    assert torch.bincount(found.labels).tolist() == [2, 2, 2]


@pytest.mark.parametrize("role", ["train", "test"])
def test_the_split_is_chosen_and_gives_its_name(tmp_path, role):
    source = image_folder(tmp_path / "source", {"train/cat": 20, "val/cat": 2}, size=(16, 16))
    options = {"corruptions": "contrast", "severities": 1, "scale": "cifar"}
    record = write_corrupted(str(source), tmp_path / "copy", split=role, **options)
    assert record["images"] == {"train": 20, "test": 2}[role]
    assert (tmp_path / "copy" / "contrast" / "1" / f"{role}-00000-of-00001.parquet").is_file()


@pytest.mark.parametrize("form", FORMS)
def test_a_full_disk_is_one_line_with_a_path(tmp_path, form):
    """A limit on the size of files stands for it: it, too, ends a write in its middle."""
    resource = pytest.importorskip("resource")
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    split = ImageSplit.from_tensors(torch.zeros(2, 3, 48, 48, dtype=torch.uint8), [0, 1])
    options = {"corruptions": "gaussian_noise"}
    resource.setrlimit(resource.RLIMIT_FSIZE, (3000, before[1]))  # the manifest fits, an image does not
    try:
        with pytest.raises(InputError) as caught:
            copy(split, tmp_path, form, **options)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    said = str(caught.value)
    assert said.startswith(f"{tmp_path}/")
    assert "cannot be written (File too large); finished work is kept: " in said
    assert not [path for path in tmp_path.rglob("*") if HALF_WRITTEN.fullmatch(path.name)]
    copy(split, tmp_path, form, **options)


def test_no_room_has_its_remedy(tmp_path):
    said = pytest.raises(InputError, match=r"a\.png cannot be written \(No space left on device\).*make room")
    with said, written(tmp_path / "a.png"):
        raise OSError(errno.ENOSPC, "No space left on device")
    assert not list(tmp_path.iterdir())


def test_workers_of_a_script_without_a_guard_are_explained(split, tmp_path, monkeypatch):
    def broken(*arguments, **options):
        raise BrokenProcessPool

    monkeypatch.setattr("pushpull.copies.manifest.ProcessPoolExecutor.submit", broken)
    with pytest.raises(InputError, match="workers above 1 need the call below if __name__ == '__main__':"):
        copy(split, tmp_path, "npy", workers=2)


def test_two_runs_at_once_are_refused(split, tmp_path):
    said = pytest.raises(InputError, match=rf"another run writes into .* \(process {os.getpid()} since 20")
    with folder_lock(tmp_path), said:
        copy(split, tmp_path, "folder")


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({"corruptions": ()}, "corruptions is empty"),
        ({"corruptions": "fogg"}, "did you mean 'fog'"),
        ({"severities": (1, 6)}, r"severity=6 is outside 1\.\.5"),
        ({"format": "zip"}, "format='zip' is not one of parquet, folder, npy"),
        ({"jpeg_quality": 0}, r"jpeg_quality=0 is outside 1\.\.100"),
        ({"workers": -1}, "workers=-1"),
        ({"shard_images": 0}, "shard_images=0 is below 1"),
        ({"limit": 0}, "limit=0 is below 1"),
        ({"framing": Framing(999999, 32)}, r"resize=999999 would make .* px, above 50 megapixels"),
        ({"seed": 1.5}, "seed=1.5 is not an integer"),
    ],
)
def test_mistakes_are_named_before_anything_is_written(split, tmp_path, options, text):
    with pytest.raises(InputError, match=text):
        write_corrupted(split, tmp_path / "copy", **(QUICK | options))
    assert not (tmp_path / "copy").exists()


def test_the_command(tmp_path, capsys):
    arguments = ["corrupt", "digits", str(tmp_path / "copy"), "--format", "npy", "--limit", "20"]
    arguments += ["--corruptions", "contrast", "fog", "--workers", "1", "--quiet"]
    for _ in range(2):  # the second finds it complete
        assert main(arguments) == 0
        said = capsys.readouterr().out
        assert "20 images of 32x32, 2 corruptions at severity 1 2 3 4 5, cifar scale, seed 0" in said
        assert "Complete in" in said
    assert set(tree(tmp_path / "copy")) == {"contrast.npy", "fog.npy", "labels.npy", "manifest.json"}


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        (["digits"], "give a data set and a destination"),
        (["digits", "{}/copy", "--tile", "99"], "--tile 99 means nothing without --gallery"),
        (["digits", "{}/file/copy"], "cannot be written"),
        (["digits", "{}/file"], "is a file"),
        (["{}/folder", "{}/folder/copy"], "is inside"),
        (["nothing", "{}/copy"], "does not exist"),
        (["digits", "{}/copy", "--split", "validation"], "has no validation split"),
    ],
)
def test_mistakes_of_the_command_are_one_line(tmp_path, capsys, arguments, text):
    (tmp_path / "file").touch()
    image_folder(tmp_path / "folder", {"cat": 1}, size=(16, 16))
    assert main(["corrupt", *(argument.format(tmp_path) for argument in arguments)]) == 2
    error = capsys.readouterr().err.strip()
    assert text in error
    assert "\n" not in error


def test_an_image_alone_in_its_class_and_a_name_of_a_single_image(tmp_path):
    one = ImageSplit.from_tensors(torch.zeros(1, 3, 16, 16, dtype=torch.uint8), [1], CLASSES)
    assert "contrast/1/Zebra/0.png" in copy(one, tmp_path, "folder", severities=1, corruptions="contrast")


def alive_in_group(group):
    """Return how many processes of a group run, where /proc tells; the dead may wait there to be noticed."""
    count = 0
    for path in Path("/proc").glob("[0-9]*/stat"):
        with suppress(OSError):  # it ended meanwhile
            state, _, its_group = path.read_text().rpartition(")")[2].split()[:3]
            count += int(its_group) == group and state not in "ZX"
    return count


def test_a_killed_command_is_continued(tmp_path):
    """The real thing, once: SIGKILL while two processes write, two others go on, one makes the same alone."""
    root = tmp_path / "killed"
    command = [sys.executable, "-m", "pushpull", "corrupt", "digits", str(root), "--workers", "2", "--quiet"]
    command += ["--format", "folder", "--corruptions", "blur", "--limit", "48", "--shard_images", "4"]
    process = subprocess.Popen(command, start_new_session=True)
    deadline = time.monotonic() + 240  # a machine with other work
    while len(list(root.rglob("*.png"))) <= 8 and time.monotonic() < deadline:
        assert process.poll() is None
        time.sleep(0.02)
    process.kill()
    process.wait()
    assert 8 < len(list(root.rglob("*.png"))) < 4 * 5 * 48
    while alive_in_group(process.pid) and time.monotonic() < deadline:  # the workers notice by themselves
        time.sleep(0.02)
    assert not alive_in_group(process.pid)
    quick = {"format": "folder", "corruptions": "blur", "limit": 48, "shard_images": 4}
    write_corrupted("digits", root, **quick, workers=2, batch_size=3)
    write_corrupted("digits", tmp_path / "whole", **quick)
    assert tree(root) == tree(tmp_path / "whole")


def test_a_part_of_an_earlier_versions_copy_is_refused(split, tmp_path):
    copy(split, tmp_path, "folder", **FEW)
    record = json.loads((tmp_path / "manifest.json").read_text(encoding="utf-8"))
    (tmp_path / "manifest.json").write_text(json.dumps({**record, "complete": False}), encoding="utf-8")
    (tmp_path / ".pushpull" / "done").mkdir(parents=True)
    with pytest.raises(InputError, match="part of a copy by an earlier version"):
        copy(split, tmp_path, "folder", **FEW)


def test_half_written_files_of_an_earlier_sitting_are_removed(split, tmp_path, monkeypatch):
    whole = copy(split, tmp_path / "whole", "folder", **FEW)
    root = tmp_path / "copy"
    killed(monkeypatch, 12, split, root, "folder", **FEW)
    (root / "contrast" / "1" / ".half.0123456789ab.png").write_bytes(b"half")
    assert copy(split, root, "folder", **FEW) == whole


def test_without_a_scale_a_copy_has_the_nearest_and_says_so(split, tmp_path):
    said = r"images of 16x20 px .* nearest size, scale=cifar \(32x32\)"
    with pytest.warns(UserWarning, match=said):
        record = write_corrupted(
            split, tmp_path, **(QUICK | {"scale": None, "corruptions": "Gaussian Noise"})
        )
    assert (record["scale"], record["corruptions"]) == ("cifar", ["gaussian_noise"])
