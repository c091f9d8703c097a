"""Unreadable images are named, counted, and skipped up to a limit."""

from __future__ import annotations

import math
import warnings
from collections.abc import Iterable, Sequence

from pushpull.data.decode import UnreadableImageError
from pushpull.errors import InputError


class SkipLimit:
    """The names of skipped images: at most floor(share * total) of them.

    Args:
        what: the split, as an error calls it.
        total: images in the split.
        share: of the images that may be unreadable, in [0, 1).
    """

    def __init__(self, what: str, total: int, share: float) -> None:
        self.what, self.total, self.share = what, total, share
        self.names: list[str] = []

    @property
    def allowed(self) -> int:
        """How many images may be skipped."""
        return math.floor(self.share * self.total)

    def admit(self, errors: Iterable[Exception]) -> None:
        """Count the unreadable images of a batch, each image once however often it is met.

        Raises:
            InputError: past the limit, with count, limit and the first names. Any error that is not an
                `UnreadableImageError` is raised as it is.
        """
        for error in errors:
            if not isinstance(error, UnreadableImageError):
                raise error
            if error.name in self.names:
                continue
            self.names.append(error.name)
            self.check(self.names, error.reason)
            warnings.warn(f"skipped: {error}", stacklevel=2)

    def check(self, names: Sequence[str], reason: str = "") -> None:
        """Raise `InputError` if these are more than may be skipped.

        Args:
            names: of unreadable images.
            reason: why the last one could not be read.
        """
        if len(names) <= self.allowed:
            return
        shown = ", ".join(names[:3]) + (", ..." if len(names) > 3 else "") + (f": {reason}" if reason else "")
        raise InputError(
            f"{len(names)} unreadable of {self.total} images of {self.what} ({shown}), more than the "
            f"{self.allowed} that unreadable_limit={self.share:g} allows; repair or remove them, "
            "or raise the limit"
        )
