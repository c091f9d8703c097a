"""`Augment` is `augment_batch` for whatever v2 transforms take."""

import pickle
from pathlib import Path
from unittest.mock import patch

import pytest
import torch
from PIL import Image
from torchvision import tv_tensors
from torchvision.transforms import v2
from torchvision.transforms.v2 import functional as F

from augment.made import pictures
from pushpull.augment import AUGMENTATIONS, Augment, augment_batch
from pushpull.errors import InputError


def test_class_equals_function_with_every_option():
    images, index = pictures(4), torch.tensor([5, 0, 9, 2])
    transform = Augment("augmix9", scale="cifar", seed=3, epoch=4)
    ours = transform(images, index=index)
    assert torch.equal(ours, augment_batch(images, "augmix9", index=index, seed=3, epoch=4, scale="cifar"))
    assert repr(transform) == "Augment('augmix9', scale='cifar', seed=3, epoch=4)"
    assert torch.equal(pickle.loads(pickle.dumps(transform))(images, index=index), ours)


@pytest.mark.parametrize("name", ["prime", "autoaugment"])
def test_pil_tensors_and_samples_are_augmented_alike(name):
    image = pictures(1)[0]
    transform = Augment(name, scale="cifar")
    expected = transform(image, index=7)
    from_pil = transform(F.to_pil_image(image), index=7)
    assert isinstance(from_pil, Image.Image)
    assert torch.equal(F.pil_to_tensor(from_pil), expected)
    wrapped, label = transform((tv_tensors.Image(image), 3), index=7)
    assert isinstance(wrapped, tv_tensors.Image)
    assert torch.equal(wrapped.as_subclass(torch.Tensor), expected)
    assert label == 3


def test_it_works_in_a_pipeline_and_draws_anew_each_time():
    pipeline = v2.Compose([Augment("prime", scale="cifar"), v2.ToDtype(torch.float32, scale=True)])
    torch.manual_seed(0)
    first, second = pipeline(pictures(2)), pipeline(pictures(2))
    assert first.dtype == torch.float32
    assert not torch.equal(first, second)
    torch.manual_seed(0)
    assert torch.equal(pipeline(pictures(2)), first)


@patch.dict(AUGMENTATIONS)
def test_the_documentations_programs_run():
    text = (Path(__file__).parents[2] / "docs" / "augment.md").read_text()
    names: dict = {}
    for program in text.split("```python")[1:]:
        exec(compile(program.split("```")[0], "docs/augment.md", "exec"), names)
    assert names["augmented"].dtype == torch.uint8
    assert (names["dimmed"] <= names["images"]).all()
    assert names["floats"].shape == (8, 3, 32, 32)
    assert names["loss"].isfinite()


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: Augment("primes"), "did you mean 'prime'"),
        (lambda: Augment("prime", scale="small"), "scale='small'"),
        (lambda: Augment("prime", epoch=1.5), "epoch=1.5"),
        (lambda: Augment("prime")(3), "Augment got no image"),
        (lambda: Augment("prime")(torch.zeros(1, 28, 28)), "not .*3, H, W"),
        (lambda: Augment("prime")(pictures(2), index=1), "batch 2 images"),
    ],
)
def test_mistakes_are_one_clear_line(call, message):
    with pytest.raises(InputError, match=message):
        call()
