"""Corrupted sample images as PNG data that a page can hold."""

from __future__ import annotations

import base64
import io
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
from PIL import Image

from pushpull.errors import InputError
from pushpull.reports.columns import ordered, title


def sample_strips(samples: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """Yield each corruption's printed name and a `data:` address of its images side by side, in usual order.

    Args:
        samples: corruption -> (5, 3, H, W) uint8 tensor or array, severity 1 to 5.

    Raises:
        InputError: another shape or type.
    """
    for name in ordered(list(samples)):
        images = np.asarray(samples[name])
        if images.dtype != np.uint8 or images.ndim != 4 or images.shape[:2] != (5, 3):
            raise InputError(
                f"samples[{name!r}] is {images.dtype} of shape {images.shape}; "
                "give uint8 of shape (5, 3, H, W)"
            )
        strip = images.transpose(2, 0, 3, 1).reshape(images.shape[2], -1, 3)
        stream = io.BytesIO()
        Image.fromarray(strip).save(stream, format="PNG", optimize=True)
        yield title(name), "data:image/png;base64," + base64.b64encode(stream.getvalue()).decode("ascii")
