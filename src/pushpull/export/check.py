"""Whether an exported file gives what PyTorch gives."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from torch import Tensor

from pushpull.errors import InputError, one_line
from pushpull.export.formats import Runner

TOLERANCE = 1e-5


@dataclass(frozen=True)
class Agreement:
    """How near two networks are.

    Args:
        images: that were compared.
        same_class: of these, with the same highest logit.
        difference: the largest, as a share of the largest logit.
    """

    images: int
    same_class: int
    difference: float


def compare_outputs(
    run: Runner, reference: Runner, batches: Iterable[Tensor], tolerance: float = TOLERANCE
) -> Agreement:
    """Return how near `run` is to `reference`; both map (N, 3, H, W) to logits.

    The difference is max |a - b| / max |b| of a batch. Below the tolerance the class is another only where
    the reference's two highest logits are within two tolerances of each other, for rounding to decide.

    Raises:
        InputError: it does not run, gives another shape, something that is not finite, or a difference above
            the tolerance.
    """
    images, same, worst = 0, 0, 0.0
    for batch in batches:
        expected = reference(batch)
        try:
            got = run(batch)
        # Runtimes raise anything from their own classes to RuntimeError.
        except Exception as error:
            raise InputError(
                f"the exported file does not run on {tuple(batch.shape)} ({one_line(error)}); "
                "nothing was written; choose another format"
            ) from error
        worst = max(worst, _difference(got, expected, tolerance))
        images += len(batch)
        same += int((got.argmax(1) == expected.argmax(1)).sum())
    return Agreement(images, same, worst)


def _difference(got: Tensor, expected: Tensor, tolerance: float) -> float:
    if got.shape != expected.shape:
        raise InputError(
            f"the exported file gives logits {tuple(got.shape)} instead of {tuple(expected.shape)}; "
            "nothing was written; choose another format"
        )
    if not expected.isfinite().all():
        raise InputError("the network's logits are not finite; nothing was written; train it again")
    scale = expected.abs().max().item() or 1.0
    difference = (got - expected).abs().max().item() / scale
    # Written so that nan is refused.
    if not difference <= tolerance:
        raise InputError(
            f"the exported file's logits differ from PyTorch's by {difference:.1e} of their scale, more than "
            f"{tolerance:.0e}; nothing was written; choose another format, or give --tolerance"
        )
    return difference
