import pytest
import torch
from timm.data import ImageNetInfo
from torchvision.models import ResNet18_Weights

from pushpull.data.images import ImageSplit
from pushpull.data.subsets import class_numbers, matched_classes, only_classes, read_class_list, stratified
from pushpull.errors import InputError, MissingFileError


def split_of(counts, classes=None) -> ImageSplit:
    """counts[c] images of class c, the classes interleaved at random."""
    labels = torch.repeat_interleave(torch.arange(len(counts)), torch.tensor(counts))
    labels = labels[torch.randperm(len(labels), generator=torch.Generator().manual_seed(1))]
    classes = classes or [str(number) for number in range(len(counts))]
    return ImageSplit.from_tensors(torch.zeros(len(labels), 3, 1, 1, dtype=torch.uint8), labels, classes)


def test_every_class_gives_its_share_and_nothing_is_in_both():
    split = split_of([100, 50, 10, 2, 1])
    rest, part = stratified(split, 0.1, seed=0, purpose="x")
    assert torch.bincount(part.labels, minlength=5).tolist() == [10, 5, 1, 1, 0]
    assert torch.bincount(rest.labels, minlength=5).tolist() == [90, 45, 9, 1, 1]
    assert sorted(rest.index.tolist() + part.index.tolist()) == list(range(163))
    assert part.index.tolist() == sorted(part.index.tolist())


def test_nothing_and_everything():
    split = split_of([3, 1])
    assert [len(part) for part in stratified(split, 0.0, seed=0, purpose="x")] == [4, 0]
    assert [len(part) for part in stratified(split, 1.0, seed=0, purpose="x")] == [2, 2]
    assert [len(part) for part in stratified(split, 1.0, seed=0, purpose="x", leave_one=False)] == [0, 4]


def test_a_fraction_has_every_class():
    part = stratified(split_of([200, 2, 1, 0]), 0.01, seed=0, purpose="x", leave_one=False)[1]
    assert torch.bincount(part.labels).tolist() == [2, 1, 1]


def test_the_choice_depends_on_seed_and_purpose_only():
    split = split_of([40, 40])

    def chosen(seed=0, purpose="x", share=0.25):
        return set(stratified(split, share, seed=seed, purpose=purpose)[1].index.tolist())

    assert chosen() == chosen()
    assert chosen() != chosen(seed=1)
    assert chosen() != chosen(purpose="y")
    assert chosen() < chosen(share=0.5), "a larger share contains the smaller one"


def test_leaving_a_class_out_does_not_change_the_others():
    split = split_of([40, 40, 40])
    whole = stratified(split, 0.25, seed=3, purpose="x")[1]
    without = stratified(only_classes(split, [0, 2]), 0.25, seed=3, purpose="x")[1]
    assert set(without.index.tolist()) == set(whole.index[whole.labels != 1].tolist())


def test_the_choice_is_the_same_for_ever():
    """Literal rows: a change of the hash would silently change every published split."""
    assert stratified(split_of([20]), 0.25, seed=0, purpose="fraction")[1].index.tolist() == [0, 2, 8, 12, 15]


def test_the_global_generator_is_left_alone():
    before = torch.get_rng_state()
    stratified(split_of([20]), 0.25, seed=0, purpose="x")
    assert torch.equal(before, torch.get_rng_state())


def test_classes_are_renumbered_in_the_lists_order_and_keep_their_identity():
    split = split_of([2, 3, 4], ["a", "b", "c"])
    part = only_classes(split, [2, 0])
    assert part.classes == ["c", "a"]
    assert torch.bincount(part.labels).tolist() == [4, 2]
    assert torch.equal(torch.tensor([2, 0])[part.labels], split.labels[part.index])


def test_a_class_list_has_comments_and_blank_lines(tmp_path):
    path = tmp_path / "classes.txt"
    path.write_text("# animals\ncat\n\n  dog  # the good one\nC# minor\n")
    assert read_class_list(path) == ["cat", "dog", "C# minor"]


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"# none\n\n", "names no class"),
        (b"a\nb\na\n", "has a more than once"),
        (b"\xff\xfe\x00", "not UTF-8"),
    ],
)
def test_a_bad_class_list(tmp_path, content, said):
    path = tmp_path / "classes.txt"
    path.write_bytes(content)
    with pytest.raises(InputError, match=said):
        read_class_list(path)


def test_a_missing_class_list(tmp_path):
    with pytest.raises(MissingFileError, match="not a file"):
        read_class_list(tmp_path / "gone.txt")


def test_names_wnids_and_names_that_begin_with_a_wnid():
    assert class_numbers(["b", "a"], ["a", "b", "c"]) == [1, 0]
    assert class_numbers(["n00000002"], ["n00000001", "n00000002"]) == [1]
    assert class_numbers(["n00000002"], ["n00000001_cat", "n00000002_dog"]) == [1]


def test_wnids_of_imagenet_with_names_for_people():
    names = [f"name {number}" for number in range(1000)]
    wnids = ImageNetInfo().label_names()
    assert class_numbers([wnids[999], "n01440764", "name 5"], names) == [999, 0, 5]
    with pytest.raises(InputError, match="n01440764"):
        class_numbers(["n01440764"], names[:999])


def test_unknown_names_say_what_is_near():
    with pytest.raises(InputError, match=r"class 'truk' and 1 more is not in the data; near: truck \(of 3\)"):
        class_numbers(["cat", "truk", "zzz"], ["cat", "dog", "truck"])


def test_one_class_by_two_names():
    with pytest.raises(InputError, match="n00000001 and n00000001_cat name the same class"):
        class_numbers(["n00000001", "n00000001_cat"], ["n00000001_cat", "n00000002_dog"])


def test_the_thousand_names_of_torchvision_are_imagenets_and_one_of_two_classes_says_none():
    names, wnids = list(ResNet18_Weights.IMAGENET1K_V1.meta["categories"]), ImageNetInfo().label_names()
    order = list(range(1000))
    assert matched_classes(names, wnids) == matched_classes(wnids, names) == order
    assert matched_classes(names[::-1], wnids) == order[::-1]
    assert matched_classes(["tench", "crane", "cardigan", "Crane-bird"], wnids) == [0, None, None, 134]
