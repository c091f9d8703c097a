"""Which data, and which part of it: the one way to name a data set."""

from __future__ import annotations

from dataclasses import dataclass

from pushpull.errors import InputError


@dataclass(frozen=True)
class DataConfig:
    """Which images to train and evaluate on.

    Args:
        name: "digits" (built in), a folder of parquet files in the public hub's layout, an image folder
            (train/, val/, test/ with a folder a class), or a data set of the hub as owner/name
            (owner/name:config where it has several configurations).
        classes: path of a text file, one class name (or ImageNet's wnid) a line: only these, in that order.
        fraction: share of the training split that is used, in (0, 1]; stratified, at least one image a class.
        validation_fraction: share of the training split held out for model selection, in [0, 1), where the
            data has no validation split apart from the one that is evaluated on.
        split_seed: of the held-out part and of the fraction.
        unreadable_limit: share of a split's images, in [0, 1), that may be skipped where they cannot be
            decoded; rounded down to whole images.
        memory_limit_gib: a split that takes at most this much decoded stays in memory; a larger one streams.
        label: what tables call the data; by default the last part of its name.

    Raises:
        InputError: a value out of range.
    """

    name: str = "digits"
    classes: str | None = None
    fraction: float = 1.0
    validation_fraction: float = 0.1
    split_seed: int = 0
    unreadable_limit: float = 0.001
    memory_limit_gib: float = 4.0
    label: str | None = None

    def __post_init__(self) -> None:
        if not self.name:
            raise InputError(
                "the data set's name is empty; give 'digits', a folder, or owner/name of the hub"
            )
        if not 0 < self.fraction <= 1:
            raise InputError(
                f"fraction={self.fraction!r} is outside (0, 1]; give 1 for all of the training split"
            )
        for what, share in (
            ("validation_fraction", self.validation_fraction),
            ("unreadable_limit", self.unreadable_limit),
        ):
            if not 0 <= share < 1:
                raise InputError(f"{what}={share!r} is outside [0, 1); give 0 for none")
        if not self.memory_limit_gib >= 0:
            raise InputError(
                f"memory_limit_gib={self.memory_limit_gib!r} is negative; give 0 to stream always"
            )
