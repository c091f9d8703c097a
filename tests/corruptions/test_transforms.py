"""The corruptions as torchvision v2 transforms: what goes in, what comes out, and on what it depends."""

import pickle
import warnings
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch.utils.data import DataLoader, TensorDataset
from torchvision import tv_tensors
from torchvision.transforms import v2

import pushpull.corruptions
from pushpull.corruptions import Corrupt, CorruptedDataset, RandomCorruption, corrupt
from pushpull.errors import InputError

NOISE = Corrupt("gaussian_noise", 3, scale="cifar", seed=4)
SEVERAL = RandomCorruption(("gaussian_noise", "fog", "pixelate"), (1, 3), scale="cifar", seed=4)
DOCUMENTATION = Path(__file__).parents[2] / "docs" / "corruptions.md"
BOTH = pytest.mark.parametrize("transform", [NOISE, SEVERAL], ids=["Corrupt", "RandomCorruption"])


def picture(height=20, width=24, seed=0):
    """One uint8 (3, h, w) image."""
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(0, 256, (3, height, width), generator=generator, dtype=torch.uint8)


def batch(count, height=20, width=24):
    return torch.stack([picture(height, width, seed) for seed in range(count)])


def pil(tensor):
    return Image.fromarray(tensor.permute(1, 2, 0).numpy())


def expected(images, index):
    """The engine's answer to NOISE."""
    return corrupt(images, "gaussian_noise", 3, scale="cifar", seed=4, index=index)


# --- What goes in comes out -----------------------------------------------------------------------------


def test_class_equals_function_with_every_option():
    transform = Corrupt("elastic_transform", 5, scale="tiny", seed=9, jpeg_quality=40)
    images = batch(3)
    theirs = corrupt(images, "elastic_transform", 5, scale="tiny", seed=9, jpeg_quality=40, index=[4, 5, 6])
    assert torch.equal(transform(images, index=[4, 5, 6]), theirs)


def test_one_tensor():
    result = NOISE(picture(), index=5)
    assert type(result) is torch.Tensor
    assert torch.equal(result, expected(picture()[None], [5])[0])
    assert not torch.equal(result, picture())


def test_floats_stay_floats():
    image = picture() / 255
    result = NOISE(image, index=5)
    assert result.dtype == torch.float32
    assert torch.equal(result, expected(image[None], [5])[0])


@pytest.mark.parametrize("leading", [(6,), (2, 3), (1, 1, 6), (0,)])
def test_batches_of_any_leading_shape(leading):
    images = batch(6)[: torch.Size(leading).numel()]
    result = NOISE(images.view(*leading, 3, 20, 24), index=range(len(images)))
    assert result.shape == (*leading, 3, 20, 24)
    assert torch.equal(result.view_as(images), expected(images, list(range(len(images)))))


@pytest.mark.parametrize("kind", [tv_tensors.Image, tv_tensors.Video])
def test_wrapped_tensors_stay_wrapped(kind):
    images = batch(2)
    result = NOISE(kind(images), index=[0, 1])
    assert type(result) is kind
    assert torch.equal(result.as_subclass(torch.Tensor), expected(images, [0, 1]))


@pytest.mark.parametrize("mode", ["RGB", "L", "RGBA", "P", "1", "CMYK"])
def test_pil_images_come_back_in_rgb(mode):
    image = pil(picture()).convert(mode)
    result = NOISE(image, index=5)
    assert isinstance(result, Image.Image)
    assert (result.mode, result.size) == ("RGB", image.size)
    pixels = torch.from_numpy(np.array(image.convert("RGB"))).permute(2, 0, 1)
    theirs = expected(pixels[None], [5])[0].permute(1, 2, 0).numpy()
    np.testing.assert_array_equal(np.array(result), theirs)


@pytest.mark.parametrize("mode", ["I;16", "I;16B", "I"])
def test_pil_images_of_16_bits_keep_their_high_byte(mode):
    grey = picture()[0]
    words = (grey.numpy().astype(np.int32) << 8) + 77
    kind = {"I;16": "<u2", "I;16B": ">u2", "I": "<i4"}[mode]
    image = Image.frombytes(mode, (24, 20), words.astype(kind).tobytes())
    result = v2.functional.pil_to_tensor(NOISE(image, index=5))
    assert torch.equal(result, expected(grey.expand(1, 3, -1, -1), [5])[0])


def test_pil_images_of_floats_are_refused():
    with pytest.raises(
        InputError, match=r"mode 'F' cannot be made RGB .*no agreed range.*give one of 8 bits"
    ):
        NOISE(Image.new("F", (20, 20)), index=5)


@BOTH
def test_structures_and_what_is_no_image(transform):
    size = (20, 24)
    boxes = tv_tensors.BoundingBoxes(torch.tensor([[1, 2, 9, 9]]), format="XYXY", canvas_size=size)
    mask = tv_tensors.Mask(torch.ones(1, *size, dtype=torch.uint8))
    sample = {
        "image": tv_tensors.Image(picture()),
        "target": {"boxes": boxes, "mask": mask, "label": torch.tensor([3]), "name": "a", "none": None},
    }
    result = transform(sample, index=5)
    assert torch.equal(result["image"], transform(picture(), index=5))
    assert result["target"]["boxes"] is boxes
    assert result["target"]["mask"] is mask
    assert {key: result["target"][key] for key in ("name", "none")} == {"name": "a", "none": None}
    assert result["target"]["label"].tolist() == [3]


@pytest.mark.parametrize("wrap", [lambda image: image, pil], ids=["tensor", "PIL"])
@pytest.mark.parametrize("label", [7, torch.tensor(7)], ids=["int", "tensor"])
def test_image_and_label(wrap, label):
    image, same = NOISE((wrap(picture()), label), index=5)
    assert same is label
    alone = NOISE(wrap(picture()), index=5)
    assert torch.equal(image, alone) if isinstance(image, torch.Tensor) else image == alone
    image, same = NOISE(wrap(picture()), label, index=5)
    assert same is label


def test_two_images_of_a_sample_have_the_same_random_part():
    first, second = NOISE(tv_tensors.Image(picture()), tv_tensors.Image(picture()))
    assert torch.equal(first, second)


def test_in_a_composition():
    both = v2.Compose([v2.ToImage(), v2.CenterCrop(16), NOISE, v2.ToDtype(torch.float32, scale=True)])
    torch.manual_seed(0)
    result, label = both(pil(picture()), 7)
    torch.manual_seed(0)
    theirs = NOISE(v2.functional.center_crop(picture(), [16, 16])).float() / 255
    assert label == 7
    torch.testing.assert_close(result.as_subclass(torch.Tensor), theirs)


# --- On what it depends ---------------------------------------------------------------------------------


@BOTH
def test_without_an_index_torch_s_generator_governs(transform):
    torch.manual_seed(1)
    first, second = transform(picture()), transform(picture())
    torch.manual_seed(1)
    assert torch.equal(transform(picture()), first)
    assert torch.equal(transform(picture()), second)
    assert not torch.equal(first, second)


@BOTH
def test_with_an_index_no_global_state_is_read_or_changed(transform):
    before = torch.get_rng_state()
    first = transform(picture(), index=3)
    assert torch.equal(torch.get_rng_state(), before)
    torch.manual_seed(1)
    assert torch.equal(transform(picture(), index=np.int64(3)), first)
    torch.manual_seed(2)
    assert not torch.equal(transform(picture()), transform(picture()))


@BOTH
def test_an_index_is_for_one_call(transform):
    transform(picture(), index=3)
    torch.manual_seed(1)
    first = transform(picture())
    assert not torch.equal(first, transform(picture()))


@BOTH
def test_an_image_is_independent_of_its_batch(transform):
    images, index = batch(8), [3, 1, 4, 15, 9, 2, 6, 5]
    whole = transform(images, index=index)
    assert torch.equal(
        whole, torch.cat([transform(images[:3], index=index[:3]), transform(images[3:], index=index[3:])])
    )
    order = torch.tensor([5, 2, 7, 0, 1, 6, 3, 4])
    assert torch.equal(whole[order], transform(images[order], index=torch.tensor(index)[order]))
    for number, image in enumerate(images):
        assert torch.equal(whole[number], transform(image, index=index[number]))


@BOTH
def test_pickled_it_is_the_same(transform):
    again = pickle.loads(pickle.dumps(transform))
    assert repr(again) == repr(transform)
    assert torch.equal(again(picture(), index=3), transform(picture(), index=3))


def data_set(transform):
    pictures = TensorDataset(batch(7), torch.arange(7))
    return CorruptedDataset(pictures, transform, then=v2.ToDtype(torch.float32))


@BOTH
@pytest.mark.parametrize(("workers", "size"), [(0, 1), (1, 3), (2, 2)])
def test_a_loader_gives_the_same_images_whatever_its_workers(transform, workers, size):
    loader = DataLoader(data_set(transform), batch_size=size, num_workers=workers)
    images, labels = (torch.cat(parts) for parts in zip(*loader, strict=True))
    assert labels.tolist() == list(range(7))
    assert torch.equal(images, transform(batch(7), index=range(7)).float())


def test_a_shuffling_loader_with_spawned_workers_gives_the_same_images():
    loader = DataLoader(
        data_set(SEVERAL), batch_size=4, shuffle=True, num_workers=1, multiprocessing_context="spawn"
    )
    images, labels = (torch.cat(parts) for parts in zip(*loader, strict=True))
    assert torch.equal(images, SEVERAL(batch(7), index=range(7)).float()[labels])


def collate(samples):
    images, labels = zip(*samples, strict=True)
    return SEVERAL(torch.stack(images), index=labels), torch.stack(labels)


def test_in_a_collate_function():
    loader = DataLoader(TensorDataset(batch(7), torch.arange(7)), batch_size=4, collate_fn=collate)
    images = torch.cat([images for images, _ in loader])
    assert torch.equal(images, SEVERAL(batch(7), index=range(7)))


def test_workers_without_an_index_draw_differently():
    same = CorruptedLike(NOISE)
    images = torch.cat(list(DataLoader(same, batch_size=1, num_workers=2)))
    assert len({tuple(image.ravel().tolist()) for image in images}) == len(same)


class CorruptedLike(torch.utils.data.Dataset):
    """One picture again and again, corrupted without an index."""

    def __init__(self, transform):
        self.transform = transform

    def __len__(self):
        return 4

    def __getitem__(self, item):
        return self.transform(picture())


def test_a_corrupted_data_set_counts_as_a_list_does():
    data = data_set(NOISE)
    assert len(data) == 7
    assert torch.equal(data[-1][0], data[6][0])
    with pytest.raises(IndexError):
        data[7]


def test_the_documented_example_runs_and_says_the_truth():
    section = DOCUMENTATION.read_text().split("## In a data pipeline")[1].split("\n## ")[0]
    names: dict = {}
    exec(compile(section.split("```python")[1].split("```")[0], str(DOCUMENTATION), "exec"), names)
    images, labels = names["first"]
    assert labels.tolist() == [0, 1, 2, 3]
    torch.testing.assert_close(images, names["again"][:4].float() / 255, atol=1e-6, rtol=0)
    assert names["image"].dtype == torch.float32


# --- RandomCorruption -----------------------------------------------------------------------------------


def test_each_image_has_one_of_the_corruptions_and_all_occur():
    images, index = batch(1).expand(60, -1, -1, -1), list(range(60))
    result = SEVERAL(images, index=index)
    candidates = [
        corrupt(images, name, severity, scale="cifar", seed=4, index=index)
        for name in SEVERAL.corruptions
        for severity in SEVERAL.severities
    ]
    same = torch.stack([(result == one).flatten(1).all(1) for one in candidates])
    assert same.any(0).all()
    # 60 images, 6 equally likely: fewer than 2 of one has a chance of 2e-4 a pair.
    assert (same.sum(1) >= 2).all()


@pytest.mark.parametrize(("p", "least", "most"), [(0.0, 0, 0), (0.5, 70, 130), (1.0, 200, 200)])
def test_probability(p, least, most):
    images = batch(1, 16, 16).expand(200, -1, -1, -1)
    result = RandomCorruption("gaussian_noise", 5, p=p)(images, index=range(200))
    assert least <= int((result != images).flatten(1).any(1).sum()) <= most


def test_seed_and_index_change_the_draw():
    images = batch(1, 16, 16).expand(64, -1, -1, -1)
    results = [
        RandomCorruption(("brightness", "contrast"), seed=seed)(images, index=range(start, start + 64))
        for seed, start in ((0, 0), (1, 0), (0, 64))
    ]
    assert not torch.equal(results[0], results[1])
    assert not torch.equal(results[0], results[2])


@pytest.mark.parametrize(
    ("named", "names"),
    [
        ("benchmark", pushpull.corruptions.CORRUPTIONS),
        ("extra", pushpull.corruptions.EXTRA_CORRUPTIONS),
        ("all", tuple(pushpull.corruptions.REGISTRY)),
        ("fog", ("fog",)),
        (["fog", "snow"], ("fog", "snow")),
        ("weather", ("snow", "frost", "fog", "brightness")),
        (["fog", "blur"], ("fog", "defocus_blur", "glass_blur", "motion_blur", "zoom_blur")),
        ("snow, fog", ("snow", "fog")),
        (["fog", "fog"], ("fog", "fog")),
        ({"snow", "fog"}, ("snow", "fog")),
    ],
    # Not `str`: a set prints in another order in each of pytest's worker processes.
    ids=lambda value: "-".join(sorted(value)) if isinstance(value, set) else str(value),
)
def test_groups_of_corruptions(named, names):
    assert RandomCorruption(named).corruptions == names


@pytest.mark.parametrize(
    ("severities", "levels"),
    [(2, (2,)), ({3, 1}, (1, 3)), (np.array([1, 2]), (1, 2)), (torch.tensor(4), (4,)), (range(2, 4), (2, 3))],
    ids=["one", "set", "array", "tensor", "range"],
)
def test_severities_of_any_kind(severities, levels):
    made = RandomCorruption("fog", severities, p=np.float32(0.5))
    assert made.severities == levels
    assert all(type(level) is int for level in made.severities)
    assert type(made.p) is float


# --- Mistakes -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Corrupt("frog", 3), "corruption='frog' is not one of .*; did you mean 'fog'"),
        (lambda: Corrupt("fog", 6), "severity=6 is outside 1..5"),
        (lambda: Corrupt("fog", 3, scale="imagnet"), "did you mean 'imagenet'"),
        (lambda: Corrupt("fog", 3, seed=0.5), "seed=0.5 is not an integer"),
        (lambda: Corrupt("fog", 3, jpeg_quality=0), "jpeg_quality=0 is outside 1..100"),
        (lambda: RandomCorruption("benchmrk"), "did you mean 'benchmark'"),
        (lambda: RandomCorruption(["fog", "frog"]), "did you mean 'fog'"),
        (lambda: RandomCorruption([]), "corruptions is empty"),
        (lambda: RandomCorruption(None), "corruptions=None names none; give one of benchmark, extra, all, "),
        (lambda: RandomCorruption([3]), "corruption=3 is not one of"),
        (lambda: RandomCorruption(severities=None), "severity=None is not an integer"),
        (lambda: RandomCorruption(p="0.5"), "p='0.5' is not a probability"),
        (lambda: RandomCorruption(severities=()), "severities is empty"),
        (lambda: RandomCorruption(severities=(1, 0)), "severity=0 is outside 1..5"),
        (lambda: RandomCorruption(p=1.5), "p=1.5 is not a probability"),
        (lambda: RandomCorruption(p=float("nan")), "p=nan is not a probability"),
        (lambda: RandomCorruption(scale="big"), "scale='big' is not one of"),
        (lambda: RandomCorruption(jpeg_quality=101), "jpeg_quality=101 is outside"),
    ],
)
def test_arguments_are_checked_at_construction(make, message):
    with pytest.raises(InputError, match=message) as caught:
        make()
    assert "\n" not in str(caught.value)


@BOTH
@pytest.mark.parametrize(
    ("sample", "index", "message"),
    [
        (torch.zeros(1, 20, 20), 0, r"shape \(1, 20, 20\), not \(..., 3, H, W\); give RGB"),
        (torch.zeros(20, 20), 0, r"shape \(20, 20\)"),
        (torch.zeros(3, 15, 20), 0, "15x20 are too small"),
        (torch.zeros(3, 20, 20) + 2, 0, r"outside \[0, 1\]"),
        (torch.zeros(3, 20, 20, dtype=torch.int32), 0, "dtype torch.int32"),
        (np.zeros((20, 20, 3), np.uint8), 0, "got no image"),
        (("a", 3), None, "got no image"),
        (torch.zeros(2, 3, 20, 20), 0, r"index has the shape \(1,\), the batch 2 images"),
        (torch.zeros(3, 20, 20), [0, 1], r"index has the shape \(2,\), the batch 1 images"),
        (torch.zeros(3, 20, 20), 0.5, "index has the dtype torch.float32"),
        (torch.zeros(3, 20, 20), "a", "holds no integers"),
    ],
)
def test_inputs_are_checked(transform, sample, index, message):
    with pytest.raises(InputError, match=message):
        transform(sample, index=index)


@BOTH
def test_no_input_at_all(transform):
    for index in (None, 3):
        with pytest.raises(InputError, match="got no image"):
            transform(index=index)


def test_inputs_are_checked_even_if_nothing_is_drawn():
    with pytest.raises(InputError, match="too small"):
        RandomCorruption(p=0.0)(torch.zeros(3, 8, 8))


def test_they_say_what_they_are():
    assert repr(NOISE) == "Corrupt('gaussian_noise', 3, scale='cifar', seed=4, jpeg_quality=None)"
    assert repr(RandomCorruption("extra", 2, p=0.5)) == (
        "RandomCorruption('extra', severities=(2,), p=0.5, scale='imagenet', seed=0, jpeg_quality=None)"
    )
    assert repr(RandomCorruption(["fog"])).startswith("RandomCorruption(['fog'], severities=(1, 2, 3, 4, 5)")


def test_an_unknown_name_of_the_package():
    with pytest.raises(AttributeError, match="has no attribute 'Corrupted'"):
        _ = pushpull.corruptions.Corrupted


# --- Names and scales as people give them -----------------------------------------------------------------


@pytest.mark.parametrize("name", ["gaussian noise", "Gaussian-Noise", "GAUSSIAN_NOISE"])
def test_names_in_any_spelling(name):
    image = torch.full((1, 3, 32, 32), 90, dtype=torch.uint8)
    expected = corrupt(image, "gaussian_noise", 2, index=[3])
    assert torch.equal(corrupt(image, name, 2, index=[3]), expected)
    assert torch.equal(Corrupt(name, 2)(image, index=[3]), expected)
    assert Corrupt(name, 2).name == "gaussian_noise"
    assert RandomCorruption([name, "Blur"]).corruptions[:2] == ("gaussian_noise", "defocus_blur")


@pytest.mark.parametrize(
    ("size", "scale"), [((80, 112), "tiny"), ((40, 40), "cifar"), ((200, 300), "imagenet")]
)
def test_without_a_scale_the_nearest_is_taken_and_said_once(size, scale):
    pushpull.corruptions.engine._by_size.cache_clear()
    image = torch.full((1, 3, *size), 90, dtype=torch.uint8)
    expected = corrupt(image, "fog", 2, scale=scale, index=[3])
    with pytest.warns(UserWarning, match=rf"{size[0]}x{size[1]} px .* nearest size, scale={scale}"):
        assert torch.equal(corrupt(image, "fog", 2, scale=None, index=[3]), expected)
    with warnings.catch_warnings(action="error"):
        assert torch.equal(Corrupt("fog", 2, scale=None)(image, index=[3]), expected)


def test_without_a_scale_images_of_a_known_size_need_no_note(recwarn):
    image = torch.full((1, 3, 32, 32), 90, dtype=torch.uint8)
    assert torch.equal(
        corrupt(image, "fog", 2, scale=None, index=[3]), corrupt(image, "fog", 2, scale="cifar", index=[3])
    )
    assert not recwarn.list
