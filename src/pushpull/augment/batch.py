"""Augmentations by name: on a batch, in chains, and as a transform for a pipeline of torchvision's."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property, partial, update_wrapper
from typing import Any, TypeVar, final

import torch
from jaxtyping import Float
from torch import Tensor

from pushpull.corruptions.engine import check_images, checked_seed, identities, slices
from pushpull.corruptions.grey import to_bytes, to_floats
from pushpull.corruptions.transforms import BatchTransform, options
from pushpull.errors import InputError, choice, integer
from pushpull.files.registry import Registry
from pushpull.random import Draws
from pushpull.random.native import tables_on_the_host

SCALES = ("cifar", "imagenet")
"""Which constants: those for images of about 32 px, or of about 224 px."""

_PIXELS_PER_THREAD = 8 * 224 * 224  # that are augmented together on a CPU: see `engine.slices`


@dataclass
class ImageDraws:
    """The random numbers for the images of a batch.

    They depend on which images these are, the name, seed, epoch and view, and on nothing else: not on the
    batch, and not on any global state. Each call of a method gives new numbers.

    Args:
        index: (N,) int64 on the CPU: which images these are.
        name: what the numbers are for.
        seed, epoch: any integers; another of either gives other random numbers.
        view: 0, or the number of a further drawing of the same images, for consistency losses.
        device: where the numbers are made.

    Example:
        >>> draws = ImageDraws(torch.tensor([7, 8]), "mine")
        >>> draws.uniform(3, high=10.0).shape, draws.integers(0, 5).shape
        (torch.Size([2, 3]), torch.Size([2]))
    """

    index: Tensor
    name: str
    seed: int = 0
    epoch: int = 0
    view: int = 0
    device: torch.device | str = "cpu"

    def __post_init__(self) -> None:
        self.seed = checked_seed(self.seed)
        self.epoch = integer("epoch", self.epoch, "give the number of the pass")
        self.view = integer("view", self.view, "give 0, 1, ...")

    def uniform(self, *shape: int, low: float = 0.0, high: float = 1.0) -> Tensor:
        """Return (N, *shape) float32, uniform in the open interval (low, high)."""
        return self._own.uniform(*shape, low=low, high=high)

    def normal(self, *shape: int) -> Tensor:
        """Return (N, *shape) float32, standard normal."""
        return self._own.normal(*shape)

    def integers(self, low: int, high: int, *shape: int) -> Tensor:
        """Return (N, *shape) int32, uniform in low, ..., high - 1."""
        return self._own.integers(low, high, *shape)

    def named(self, name: str, device: torch.device | str = "cpu") -> Draws:
        """Return the images' random numbers of another name, made on `device`."""
        purpose = f"{name} epoch {self.epoch} view {self.view}"
        return Draws(self.index.to(device), seed=self.seed, name=purpose, severity=0)

    @cached_property
    def _own(self) -> Draws:
        return self.named(self.name, self.device)


Function = TypeVar("Function", bound=Callable[..., Tensor])

AUGMENTATIONS: Registry[Callable[[Tensor, ImageDraws, str], Tensor]] = Registry("augmentation")
"""Every augmentation by its name: a function of images, draws and scale that returns images."""


def register_augmentation(
    name: str, *, dtype: torch.dtype | None = torch.float32
) -> Callable[[Function], Function]:
    """Register a function as an augmentation, for `augment_batch`, `Augment` and recipes (`augment.policy`).

    The function gets (N, 3, H, W) images on any device, which it may change, their `ImageDraws`, and `scale`
    if it has a parameter of that name. It returns the same shape: values in [0, 1], or grey levels in 0..255
    if it got uint8 or returns uint8; values outside are clamped. A large batch comes in parts.

    Args:
        name: a word that no other augmentation has.
        dtype: of the images that the function gets, whatever the caller has: `torch.float32` in [0, 1],
            `torch.uint8`, or None for the caller's.

    Returns:
        A decorator, which returns the function as it is.

    Raises:
        InputError: the name is not a word, or is taken by another function.

    Example:
        >>> @register_augmentation("darker")
        ... def darker(images, draws):
        ...     return images * draws.uniform(1, 1, 1, low=0.5)
    """

    def register(function: Function) -> Function:
        takes_scale = "scale" in inspect.signature(function).parameters
        AUGMENTATIONS.register(name, update_wrapper(partial(_run, function, dtype, takes_scale), function))
        return function

    return register


def _run(
    function: Callable[..., Tensor],
    dtype: torch.dtype | None,
    takes_scale: bool,
    images: Tensor,
    draws: ImageDraws,
    scale: str,
) -> Tensor:
    """Return what a registered function makes of the images, in their dtype."""
    given = images.contiguous()
    if dtype is not None:
        given = to_bytes(given) if dtype == torch.uint8 else to_floats(given)
    if given is images:
        given = given.clone()
    result = function(given, draws, scale=scale) if takes_scale else function(given, draws)
    if not isinstance(result, Tensor) or result.shape != images.shape:
        got = tuple(result.shape) if isinstance(result, Tensor) else type(result).__name__
        raise InputError(
            f"augmentation {draws.name!r} returned {got}; return a tensor of shape {tuple(images.shape)}"
        )
    levels = torch.uint8 in (given.dtype, result.dtype)
    if images.dtype == result.dtype == torch.uint8:
        return result
    if images.dtype == torch.uint8:
        return to_levels((result if levels else result * 255).round().clamp_(0, 255))
    result = result.to(torch.float32) / 255.0 if levels else result
    return result.clamp(0.0, 1.0).to(images.dtype)


register_augmentation("none", dtype=None)(lambda images, draws: images)


def to_levels(x: Tensor) -> Tensor:
    """Return x in 0..255 as uint8, fraction dropped; by way of int32, at half of the time on a CPU."""
    return x.int().to(torch.uint8)


def augment_batch(
    images: Tensor,
    name: str,
    *,
    index: Tensor | Sequence[int] | None = None,
    seed: int = 0,
    epoch: int = 0,
    view: int = 0,
    scale: str = "imagenet",
) -> Tensor:
    """Augment a batch of images, each by random numbers of its own, whatever else is in the batch.

    Args:
        images: (N, 3, H, W) RGB, cropped and not yet normalised, uint8 or floating point in [0, 1], on any
            device; H, W >= 8.
        name: one of `AUGMENTATIONS`.
        index: (N,) integers, best on the CPU: which images these are. None: new ones from torch's default
            generator; no other global random state is read or changed.
        seed, epoch, view: integers that the random numbers depend on, see `ImageDraws`.
        scale: which settings: "cifar" (for images of about 32 px) or "imagenet" (224).

    Returns:
        The same shape, dtype and device. All but `none` and `prime` work on 8 bits, whatever the dtype.

    Raises:
        InputError: an argument that is not as above.

    Example:
        >>> augment_batch(torch.rand(2, 3, 32, 32), "prime", index=[0, 1], scale="cifar").shape
        torch.Size([2, 3, 32, 32])
    """
    augment = AUGMENTATIONS.find(name)
    choice("scale", scale, SCALES)
    check_images(images, smallest_px=8, verb="augment")
    which = identities(index, len(images), torch.device("cpu"))
    draws = ImageDraws(which, name, seed=seed, epoch=epoch, view=view, device=images.device)
    return images.clone() if name == "none" or len(images) == 0 else _in_parts(images, augment, draws, scale)


def _in_parts(
    images: Tensor, augment: Callable[[Tensor, ImageDraws, str], Tensor], draws: ImageDraws, scale: str
) -> Tensor:
    parts = slices(images, _PIXELS_PER_THREAD)
    # What names no device here is on the host, whatever `torch.set_default_device` says.
    with torch.no_grad(), torch.autocast(images.device.type, enabled=False), tables_on_the_host():
        results = [augment(images[part], replace(draws, index=draws.index[part]), scale) for part in parts]
    return results[0] if len(results) == 1 else torch.cat(results)


def sample_mixture(
    draws: ImageDraws, name: str, width: int, depth: int, choices: int
) -> tuple[Tensor, Tensor]:
    """Draw share ~ Beta(1, 1), weights ~ Dirichlet(1, ..., 1), lengths uniform in 1..depth, steps uniform.

    Returns:
        On the CPU: shares (N, 1 + width), of the clean image and of each chain, which sum to 1; and the steps
        (N, width, depth), number of the operation of each, -1 after a chain's end.

    Source: Hendrycks et al., ICLR 2020; Modas et al., ECCV 2022.
    """
    # One stream for all: on an accelerator the time is the number of operations.
    parts = (1, width, width, width * depth)
    uniform = draws.named(f"{name} mixture").uniform(sum(parts)).split(parts, dim=1)
    exponentials = uniform[1].log().neg_()  # over their sum they are Dirichlet
    length = 1 + (uniform[2] * depth).long()
    chosen = (uniform[3] * choices).long().view(-1, width, depth)
    chosen[torch.arange(depth) >= length[..., None]] = -1
    weights = exponentials / exponentials.sum(-1, keepdim=True)
    return torch.cat([1 - uniform[0], uniform[0] * weights], dim=1), chosen


Work = tuple[Tensor, Callable[..., Tensor], Sequence[Any]]
"""What some chains do next: their numbers, int64 on the CPU; a function of images; its further arguments."""


def run_chains(x: Tensor, width: int, steps: Iterable[Iterable[Work]]) -> Tensor:
    """Return (N * width, C, H, W): every chain's result, an image's chains one after another.

    Args:
        x: (N, C, H, W).
        width: chains per image.
        steps: what is done first, which is something for every chain; second, ...; chains without work stay.
    """
    chains = x.new_empty(len(x) * width, *x.shape[1:])
    for depth, works in enumerate(steps):
        for numbers, function, arguments in works:
            rows = numbers.to(x.device)
            images = take(x, rows // width) if depth == 0 else take(chains, rows)
            put(chains, rows, function(images, *arguments))
    return chains


def mix(
    x: Float[Tensor, "n c h w"], chains: Float[Tensor, "m c h w"], shares: Float[Tensor, "n k"]
) -> Float[Tensor, "n c h w"]:
    """Return shares_0 x + sum_c shares_c chain_c, in the order of the chains."""
    shares = shares.to(x.device)[..., None, None, None]
    total = x * shares[:, 0]
    for number, chain in enumerate(chains.view(len(x), -1, *x.shape[1:]).unbind(1)):
        total.addcmul_(chain, shares[:, number + 1])
    return total


def rows_by_value(values: Tensor) -> Iterator[tuple[int, Tensor]]:
    """Yield each value >= 0 of a vector on the CPU, with the rows that have it.

    Example:
        >>> [(value, rows.tolist()) for value, rows in rows_by_value(torch.tensor([2, 0, -1, 2]))]
        [(0, [1]), (2, [0, 3])]
    """
    order = torch.argsort(values, stable=True)
    found, counts = torch.unique_consecutive(values[order], return_counts=True)
    for value, rows in zip(found.tolist(), order.split(counts.tolist()), strict=True):
        if value >= 0:
            yield value, rows


def take(images: Tensor, rows: Tensor) -> Tensor:
    """Return some images."""
    return _words(images).index_select(0, rows).view(images.dtype).view(-1, *images.shape[1:])


def put(images: Tensor, rows: Tensor, values: Tensor) -> None:
    """Replace some images of a contiguous batch."""
    _words(images).index_copy_(0, rows, _words(values.contiguous()))


def _words(images: Tensor) -> Tensor:
    """Return (N, words) of 8 bytes where they fit: a byte at a time takes seven times as long on a CPU."""
    flat = images.view(len(images), -1)
    return flat.view(torch.int64) if flat.shape[1] * flat.element_size() % 8 == 0 else flat


@final
class Augment(BatchTransform):
    """Augment images, each by random numbers of its own: `augment_batch` as a transform.

    It goes after cropping and before normalisation, on an image or on a batch. It takes what torchvision's v2
    transforms take: RGB tensors (..., 3, H, W), uint8 or floating point in [0, 1], `tv_tensors`, PIL images,
    and samples with them; dtypes are kept. Boxes, masks and key points stay, though most augmentations move
    pixels. Without an index the random numbers follow torch's default generator, thus `torch.manual_seed` and
    the seeds of a DataLoader's workers. With one (`transform(image, index=17)`) the result is the same
    whatever the batch, worker or order.

    Args:
        name: one of `AUGMENTATIONS`.
        scale: which settings: "cifar" (for about 32 px) or "imagenet" (224).
        seed, epoch: any integers; another of either gives other random numbers.

    Raises:
        InputError: an argument that is not as above.

    Example:
        >>> import torch
        >>> Augment("prime", scale="cifar")(torch.zeros(3, 32, 32), index=17).shape
        torch.Size([3, 32, 32])
    """

    def __init__(self, name: str, *, scale: str = "imagenet", seed: int = 0, epoch: int = 0) -> None:
        super().__init__()
        AUGMENTATIONS.find(name)
        self.name = name
        self.scale = choice("scale", scale, SCALES)
        self.seed = checked_seed(seed)
        self.epoch = integer("epoch", epoch, "give the number of the pass")

    def _batch(self, images: Tensor, index: Tensor) -> Tensor:
        return augment_batch(
            images, self.name, index=index, seed=self.seed, epoch=self.epoch, scale=self.scale
        )

    def extra_repr(self) -> str:
        """Return the arguments."""
        return f"{self.name!r}, " + options(self, ("scale", "seed", "epoch"))
