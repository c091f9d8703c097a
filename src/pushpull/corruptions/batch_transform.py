"""What the package's torchvision v2 transforms share: which inputs are images, and which images they are.

They take what v2 transforms take: an RGB tensor (..., 3, H, W), a `tv_tensors.Image` or `Video`, a PIL image
of any mode but F (it comes back in RGB), or a structure of them, such as (image, label) or a dict. What is no
image passes through unchanged.
"""

from __future__ import annotations

import copy
from abc import abstractmethod
from collections.abc import Sequence
from typing import Any

import torch
from PIL.Image import Image as PILImage
from torch import Tensor
from torchvision import tv_tensors
from torchvision.transforms import v2
from torchvision.transforms.v2 import functional as F

from pushpull.corruptions.arguments import identities
from pushpull.data.decode import to_rgb
from pushpull.errors import InputError


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
        return {"index": identities(self._index, max(counts), torch.device("cpu"))}

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
            pixels = F.pil_to_tensor(_rgb(inpt))
            return F.to_pil_image(self._batch(pixels[None], params["index"][:1])[0])
        batch = inpt.as_subclass(Tensor).reshape(-1, *inpt.shape[-3:])
        result = self._batch(batch, params["index"][: len(batch)]).reshape(inpt.shape)
        return tv_tensors.wrap(result, like=inpt) if isinstance(inpt, tv_tensors.TVTensor) else result

    @abstractmethod
    def _batch(self, images: Tensor, index: Tensor) -> Tensor:
        """Return (N, 3, H, W) images transformed; `index` is (N,) int64 on the CPU."""


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
            f"index of type {type(index).__name__} holds no integers; give one an image"
        ) from error


def _rgb(image: PILImage) -> PILImage:
    try:
        return to_rgb(image)
    except ValueError as error:
        raise InputError(
            f"a PIL image of mode {image.mode!r} cannot be made RGB ({error}); give one of 8 bits"
        ) from error


def options(transform: v2.Transform, names: Sequence[str]) -> str:
    """Return `name=value, ...` of a transform's attributes, for `extra_repr`."""
    return ", ".join(f"{name}={getattr(transform, name)!r}" for name in names)
