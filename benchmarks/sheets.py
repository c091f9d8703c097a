"""Pictures to look at: severity 1 to 5 downwards; three images, each as clean, ours, the oracle's."""

from __future__ import annotations

import argparse
from pathlib import Path

import torch
from fidelity_rows import SIZES, Bench
from PIL import Image
from torch import Tensor

from oracles import published
from pushpull.files import atomic_path

_IMAGES = 3
_GAP_PX = 4
_SMALLEST_PX = 96  # smaller pictures are enlarged by whole pixels


def write_sheets(bench: Bench, options: argparse.Namespace) -> None:
    """Write DIR/<scale>/<corruption>.png for every scale and corruption that was asked for."""
    for scale in options.scales:
        images = bench.images(scale)[0]
        chosen = images[torch.linspace(0, len(images) - 1, _IMAGES).long()]
        for name in options.corruptions:
            if published.missing(name) is None:
                _write(options.sheet / scale / f"{name}.png", _sheet(bench, name, scale, chosen))


def _sheet(bench: Bench, name: str, scale: str, clean: Tensor) -> Tensor:
    """Return (3, height, width) uint8."""
    rows = []
    for severity in range(1, 6):
        ours = bench.ours(name, severity, scale, clean)
        theirs = bench.oracle(name, severity, scale, clean)
        triples = torch.stack([clean, ours, theirs], dim=1)
        rows.append(torch.cat([_framed(picture, scale) for picture in triples.flatten(0, 1)], dim=2))
    return torch.cat(rows, dim=1)


def _framed(picture: Tensor, scale: str) -> Tensor:
    """Enlarge to be seen, and leave a white gap to the next."""
    factor = max(1, _SMALLEST_PX // SIZES[scale])
    large = picture.repeat_interleave(factor, 1).repeat_interleave(factor, 2)
    return torch.nn.functional.pad(large, (0, _GAP_PX, 0, _GAP_PX), value=255)


def _write(path: Path, sheet: Tensor) -> None:
    with atomic_path(path) as temporary:
        Image.fromarray(sheet.permute(1, 2, 0).contiguous().numpy()).save(temporary, "PNG")
