"""The corruptions as torchvision v2 transforms: `Corrupt` for one, `RandomCorruption` for any of several.

As every `BatchTransform`, they take what v2 transforms take: an RGB tensor (..., 3, H, W), uint8 or floating
point in [0, 1], a `tv_tensors.Image` or `Video`, a PIL image of any mode but F (it comes back in RGB), or a
structure of them, such as (image, label) or a dict. What is no image passes through unchanged: labels, and
also boxes, masks and key points, though elastic_transform moves pixels by up to tens of px, glass_blur by a
few, and zoom_blur and motion_blur smear them.
"""

from __future__ import annotations

import copy
from abc import abstractmethod
from collections.abc import Iterable, Iterator, Sequence, Set
from numbers import Real
from typing import Any, Protocol, final

import torch
from PIL.Image import Image as PILImage
from torch import Tensor
from torch.utils.data import Dataset
from torchvision import tv_tensors
from torchvision.transforms import v2
from torchvision.transforms.v2 import functional as F

from pushpull.corruptions import engine
from pushpull.corruptions.benchmark import GROUPS
from pushpull.corruptions.engine import checked_level, checked_seed, corrupt
from pushpull.corruptions.registry import REGISTRY, spelled
from pushpull.corruptions.textures import frost_texture_source
from pushpull.data.decode import to_rgb
from pushpull.errors import InputError, choice
from pushpull.random import Draws


class BatchTransform(v2.Transform):  # type: ignore[misc]
    """A transform of images in batches, each with an identity that its random numbers depend on."""

    _index: Tensor | None = None

    def forward(self, *inputs: Any, index: int | Sequence[int] | Tensor | None = None) -> Any:
        """Transform the images of a sample; all else passes through.

        Args:
            inputs: an image, a batch, or any structure with them.
            index: which images these are, an integer for one, (N,) for a batch of N: results then depend on
                the index alone. None: new identities, from torch's default generator.

        Returns:
            The same structure.

        Raises:
            InputError: no image among the inputs, an image that is not RGB or too small, values outside
                [0, 1], or another number of integers than of images.
        """
        if not inputs:
            raise self._without_image()
        if index is None:
            return super().forward(*inputs)
        # A copy holds the index: forward changes no state, so that threads may share a transform.
        indexed = copy.copy(self)
        indexed._index = _flat(index)
        return indexed.forward(*inputs)

    def make_params(self, flat_inputs: list[Any]) -> dict[str, Any]:
        """Return the identities, on the CPU: two images of one sample share them, as all parameters in v2."""
        counts = [_count(image) for image in flat_inputs if _is_image(image)]
        if not counts:
            raise self._without_image()
        return {"index": engine.identities(self._index, max(counts), torch.device("cpu"))}

    def _without_image(self) -> InputError:
        return InputError(
            f"{type(self).__name__} got no image; give a (..., 3, H, W) tensor, a tv_tensors.Image or a "
            "PIL image"
        )

    def transform(self, inpt: Any, params: dict[str, Any]) -> Any:
        """Transform one input with its identities."""
        if not _is_image(inpt):
            return inpt
        if isinstance(inpt, PILImage):
            try:
                pixels = F.pil_to_tensor(to_rgb(inpt))
            except ValueError as error:
                raise InputError(
                    f"a PIL image of mode {inpt.mode!r} cannot be made RGB ({error}); give one of 8 bits"
                ) from error
            return F.to_pil_image(self._batch(pixels[None], params["index"][:1])[0])
        batch = inpt.as_subclass(Tensor).reshape(-1, *inpt.shape[-3:])
        result = self._batch(batch, params["index"][: len(batch)]).reshape(inpt.shape)
        return tv_tensors.wrap(result, like=inpt) if isinstance(inpt, tv_tensors.TVTensor) else result

    @abstractmethod
    def _batch(self, images: Tensor, index: Tensor) -> Tensor:
        """Return (N, 3, H, W) images transformed; `index` is (N,) int64 on the CPU."""


class _Corrupting(BatchTransform):
    """What `Corrupt` and `RandomCorruption` have in common."""

    def _set(self, scale: str | None, seed: int, jpeg_quality: int | None, names: Sequence[str]) -> None:
        self.scale = scale
        self.seed = checked_seed(seed)
        self.jpeg_quality = engine.checked_jpeg_quality(jpeg_quality)
        if "frost" in names:
            frost_texture_source()  # once, before workers start: they would each try to download the pictures

    def _corrupted(self, images: Tensor, name: str, severity: int, index: Tensor) -> Tensor:
        how = {"scale": self.scale, "seed": self.seed, "jpeg_quality": self.jpeg_quality}
        return corrupt(images, name, severity, index=index, **how)  # type: ignore[arg-type]


@final
class Corrupt(_Corrupting):
    """Corrupt images as the common-corruptions benchmark does: `pushpull.corruptions.corrupt` as a transform.

        transform = v2.Compose([v2.ToImage(), Corrupt("fog", 3), v2.ToDtype(torch.float32, scale=True)])
        same_image_everywhere = Corrupt("fog", 3)(image, index=17)

    It goes before normalisation. Inputs and outputs: see this module; dtypes are kept, and values are whole
    grey levels. Without an index the random part follows torch's default generator, thus `torch.manual_seed`
    and the seeds of a DataLoader's workers, as in other v2 transforms. With one (`forward`,
    `CorruptedDataset`) the result is the same whatever the batch, worker or order.

    Args:
        name: one of `CORRUPTIONS` or `EXTRA_CORRUPTIONS`, in any case, with spaces or hyphens too.
        severity: 1..5.
        scale: which constants: "imagenet" (made for 224 pixels), "cifar" (32) or "tiny" (64); None: by the
            size of each image, as for `corrupt`.
        seed: any integer; another seed gives other random numbers.
        jpeg_quality: 1..100: through JPEG afterwards; 85 is what the files of ImageNet-C went through.

    Raises:
        InputError: an argument that is not as above.

    Source: Hendrycks & Dietterich, ICLR 2019.
    """

    def __init__(
        self,
        name: str,
        severity: int,
        *,
        scale: str | None = "imagenet",
        seed: int = 0,
        jpeg_quality: int | None = None,
    ) -> None:
        super().__init__()
        corruption, self.severity, _ = checked_level(name, severity, scale or "imagenet")
        self.name = corruption.name
        self._set(scale, seed, jpeg_quality, (self.name,))

    def _batch(self, images: Tensor, index: Tensor) -> Tensor:
        return self._corrupted(images, self.name, self.severity, index)

    def extra_repr(self) -> str:
        """Return the arguments."""
        return f"{self.name!r}, {self.severity}, " + options(self, ("scale", "seed", "jpeg_quality"))


@final
class RandomCorruption(_Corrupting):
    """Corrupt each image by one of several corruptions at one of several severities, drawn for each image.

    Every pair of corruption and severity is equally likely; a name given twice counts twice. In a batch each
    image has a draw of its own, and those that drew the same are corrupted together. Inputs, outputs and what
    an index does: as for `Corrupt`; the draw, too, depends on index and seed alone.

    A network trained on the benchmark's corruptions must not be compared on them with networks that were not:
    for validation and for augmentation there are the four others, `corruptions="extra"`.

    Args:
        corruptions: names, of corruptions or of groups: "benchmark" (the 15), "extra" (the 4 others), "all",
            or a family, "noise", "blur", "weather" or "digital".
        severities: of 1..5.
        p: probability that an image is corrupted at all, in [0, 1].
        scale, seed, jpeg_quality: as for `Corrupt`; images that are not corrupted do not go through JPEG.

    Raises:
        InputError: an argument that is not as above.
    """

    def __init__(
        self,
        corruptions: str | Iterable[str] = "benchmark",
        severities: int | Iterable[int] = (1, 2, 3, 4, 5),
        *,
        p: float = 1.0,
        scale: str | None = "imagenet",
        seed: int = 0,
        jpeg_quality: int | None = None,
    ) -> None:
        super().__init__()
        self.corruptions = _checked_names(corruptions)
        self.severities = _checked_severities(severities)
        for name in self.corruptions:
            checked_level(name, self.severities[0], scale or "imagenet")
        if isinstance(p, bool) or not isinstance(p, Real) or not 0 <= p <= 1:
            raise InputError(f"p={p!r} is not a probability; give a number in 0..1")
        self.p: float = float(p)
        self._set(scale, seed, jpeg_quality, self.corruptions)

    def _batch(self, images: Tensor, index: Tensor) -> Tensor:
        engine.check_images(images)  # those that are not drawn, too
        result = images.clone()
        for name, severity, rows in self._groups(index):
            there = rows.to(images.device)
            result[there] = self._corrupted(images[there], name, severity, index[rows])
        return result

    def _groups(self, index: Tensor) -> Iterator[tuple[str, int, Tensor]]:
        """Yield each corruption and severity that was drawn with the rows that drew it.

        On the CPU: the groups' sizes are needed here, and asking a device for them would wait for it.
        """
        draws = Draws(index, seed=self.seed, name="random_corruption", severity=0)
        chosen = draws.uniform() < self.p
        pair = draws.integers(0, len(self.corruptions) * len(self.severities))
        for number in pair[chosen].unique().tolist():
            name, severity = divmod(number, len(self.severities))
            rows = torch.nonzero(chosen & (pair == number)).ravel()
            yield self.corruptions[name], self.severities[severity], rows

    def extra_repr(self) -> str:
        """Return the arguments."""
        named = next((group for group, names in GROUPS.items() if names == self.corruptions), None)
        arguments = options(self, ("severities", "p", "scale", "seed", "jpeg_quality"))
        return f"{named or list(self.corruptions)!r}, {arguments}"


class _Sized(Protocol):
    """A data set with numbered samples."""

    def __len__(self) -> int: ...

    def __getitem__(self, item: int, /) -> Any: ...


@final
class CorruptedDataset(Dataset[Any]):
    """A data set whose sample number i is corrupted with the index i: the same images at every reading.

    Whatever the number of workers, their start method, the batch size and the order.

        to_floats = v2.Compose([v2.ToImage(), v2.ToDtype(torch.float32, scale=True)])
        corrupted = CorruptedDataset(images_and_labels, Corrupt("fog", 3), then=to_floats)

    Args:
        dataset: samples by number, of any structure with PIL images or RGB tensors, not normalised.
        corruption: a `Corrupt` or `RandomCorruption`.
        then: what is done to a corrupted sample, such as a v2 transform; None: nothing.

    Raises:
        IndexError: for a number beyond its end.
    """

    def __init__(self, dataset: _Sized, corruption: Corrupt | RandomCorruption, then: Any = None) -> None:
        self.dataset = dataset
        self.corruption = corruption
        self.then = then

    def __len__(self) -> int:
        return len(self.dataset)

    def __getitem__(self, item: int) -> Any:
        number = range(len(self))[item]  # -1 is the last sample, and has its index
        sample = self.corruption(self.dataset[number], index=number)
        return sample if self.then is None else self.then(sample)


def _checked_names(corruptions: str | Iterable[str]) -> tuple[str, ...]:
    """Return the names that are meant; a string may hold several, separated by commas."""
    if not isinstance(corruptions, Iterable):
        raise InputError(f"corruptions={corruptions!r} names none; give one of {', '.join(GROUPS)}, or names")
    words: list[Any] = []
    for word in [corruptions] if isinstance(corruptions, str) else corruptions:
        words.extend(filter(None, map(str.strip, word.split(","))) if isinstance(word, str) else [word])
    allowed = (*GROUPS, *REGISTRY)
    words = [choice("corruption", spelled(word, allowed), allowed) for word in words]
    names = tuple(name for word in words for name in GROUPS.get(word, (word,)))
    if not names:
        raise InputError(f"corruptions is empty; give at least one name, or one of {', '.join(GROUPS)}")
    order = [*GROUPS["all"], *REGISTRY]
    return tuple(sorted(names, key=order.index)) if isinstance(corruptions, Set) else names


def _checked_severities(severities: int | Iterable[int]) -> tuple[int, ...]:
    try:
        given: tuple[Any, ...] = tuple(severities)  # type: ignore[arg-type]
    except TypeError:  # one, or an array of no dimension
        given = (severities,)
    levels = tuple(engine.checked_severity(severity) for severity in given)
    if not levels:
        raise InputError("severities is empty; give at least one of 1, 2, 3, 4, 5")
    return tuple(sorted(levels)) if isinstance(severities, Set) else levels


def _is_image(value: Any) -> bool:
    if isinstance(value, tv_tensors.TVTensor):
        return isinstance(value, tv_tensors.Image | tv_tensors.Video)
    return isinstance(value, Tensor | PILImage)


def _count(image: Tensor | PILImage) -> int:
    """Return how many RGB images these are, or raise."""
    if isinstance(image, PILImage):
        return 1
    if image.ndim < 3 or image.shape[-3] != 3:
        raise InputError(
            f"an image has the shape {tuple(image.shape)}, not (..., 3, H, W); give RGB, as v2.RGB() makes "
            "from grey, and the image before other tensors of a sample"
        )
    return image.shape[:-3].numel()


def _flat(index: int | Sequence[int] | Tensor) -> Tensor:
    """Return the index as a 1-d tensor; `identities` checks its dtype and length."""
    try:
        return torch.as_tensor(index).reshape(-1)
    except (TypeError, ValueError, RuntimeError) as error:
        raise InputError(
            f"index of type {type(index).__name__} holds no integers; give one per image"
        ) from error


def options(transform: v2.Transform, names: Sequence[str]) -> str:
    """Return `name=value, ...` of a transform's attributes, for `extra_repr`."""
    return ", ".join(f"{name}={getattr(transform, name)!r}" for name in names)
