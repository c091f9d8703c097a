"""One line of the fidelity table: a corruption at a severity of a scale, by its rule."""

from __future__ import annotations

import zlib
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import repository  # noqa: F401
import torch
from pictures import pictures
from torch import Tensor

from oracles import golden, published, rules
from pushpull.corruptions import SEVERITIES, corrupt

SIZES = {"imagenet": 224, "cifar": 32, "tiny": 64}
TINY_IMAGES = 200  # by oracle, which is slow
_BATCH = 64


@dataclass(frozen=True)
class Row:
    """One line of the table.

    Args:
        scale, corruption, severity: what was measured.
        against: "golden" files, or the "oracle" on the same images.
        rule: "pixels" or "statistics".
        images: how many the statistics are of.
        within_1, equal: shares of the values within a grey level, and equal; None for random corruptions.
        deviations: a statistic -> |mean paired difference| / allowed.
        bias_levels: mean grey level, ours minus the original's.
        passed: by the rule; None where nothing could be measured, for the reason in `note`.
        note: what else is to be known.
    """

    scale: str
    corruption: str
    severity: int
    against: str
    rule: str
    images: int
    within_1: float | None
    equal: float | None
    deviations: dict[str, float]
    bias_levels: float
    passed: bool | None
    note: str = ""

    @property
    def worst(self) -> tuple[str, float]:
        """Return the statistic that deviates most, and its difference / allowed."""
        if not self.deviations:
            return "", 0.0
        name = max(self.deviations, key=lambda key: self.deviations[key])
        return name, self.deviations[name]

    def record(self) -> dict[str, Any]:
        """Return what goes into JSON; NaN, which it has not, becomes null."""
        values = asdict(self)
        values["deviations"] = {k: round(v, 3) if v == v else None for k, v in self.deviations.items()}
        values["bias_levels"] = round(self.bias_levels, 4) if self.bias_levels == self.bias_levels else None
        return values


class Bench:
    """The images of every scale, what the original made of them, and what ours does.

    Args:
        golden_folder: with the golden files; None or without them: everything by oracle.
        data: folder with the images.
        count: at most so many images a scale; None: all golden ones, 200 at "tiny".
        seed: of our random numbers, and of the oracle's.
    """

    def __init__(self, golden_folder: Path | None, data: Path, count: int | None, seed: int) -> None:
        there = golden_folder is not None and (golden_folder / "per_image_32.npz").is_file()
        self._golden = golden_folder if there else None
        self._data, self._count, self._seed = data, count, seed
        self._images: dict[str, tuple[Tensor, str]] = {}

    def images(self, scale: str) -> tuple[Tensor, str]:
        """Return (N, 3, H, W) uint8 and what they are; decoded once."""
        if scale not in self._images:
            self._images[scale] = self._load(scale)
        return self._images[scale]

    def _load(self, scale: str) -> tuple[Tensor, str]:
        size = SIZES[scale]
        if self.against(scale) == "golden":
            return golden.images(self._data, size)[: self._count], "the images of the golden files"
        found = pictures(self._data, size, self._count or TINY_IMAGES)
        return found.images, found.source

    def against(self, scale: str) -> str:
        """Return "golden" or "oracle"."""
        return "golden" if self._golden is not None and scale != "tiny" else "oracle"

    def ours(self, name: str, severity: int, scale: str, clean: Tensor) -> Tensor:
        """Corrupt by this package."""
        index = torch.arange(len(clean))
        parts = zip(clean.split(_BATCH), index.split(_BATCH), strict=True)
        return torch.cat(
            [corrupt(x, name, severity, scale=scale, seed=self._seed, index=rows) for x, rows in parts]
        )

    def oracle(self, name: str, severity: int, scale: str, clean: Tensor) -> Tensor:
        """Corrupt by the oracle, image by image."""
        rng = np.random.default_rng([self._seed, severity, zlib.crc32(name.encode())])
        function, params = published.oracle(name), SEVERITIES[scale][name][severity - 1]
        made = [function(picture, params, rng) for picture in clean.permute(0, 2, 3, 1).contiguous().numpy()]
        return torch.from_numpy(np.stack(made)).permute(0, 3, 1, 2).contiguous()

    def row(self, name: str, severity: int, scale: str) -> Row:
        """Measure one line."""
        against, clean = self.against(scale), self.images(scale)[0]
        rule = "pixels" if name in rules.DETERMINISTIC else "statistics"
        if against == "oracle" and (package := published.missing(name)):
            note = f"needs {package}"
            return Row(scale, name, severity, against, rule, 0, None, None, {}, 0.0, None, note)
        ours = self.ours(name, severity, scale, clean)
        measured = rules.statistics(clean, ours)
        if against == "golden":
            theirs_by_image, pixels = self._golden_of(name, severity, scale, ours)
        else:
            theirs = self.oracle(name, severity, scale, clean)
            theirs_by_image, pixels = rules.statistics(clean, theirs), (ours.numpy(), theirs.numpy())
        deviations = rules.paired_deviations(measured, theirs_by_image)
        bias = 255 * float(np.mean(measured[:, 0] - theirs_by_image[:, 0]))
        within = (
            [rules.share_within(*pixels, level) for level in (1, 0)] if rule == "pixels" else [None, None]
        )
        passed = _passed(name, rule, pixels, deviations)
        return Row(scale, name, severity, against, rule, len(clean), *within, deviations, bias, passed)

    def _golden_of(
        self, name: str, severity: int, scale: str, ours: Tensor
    ) -> tuple[np.ndarray, tuple[np.ndarray, np.ndarray]]:
        """Return the published statistics, and pixels of ours and of theirs (of the first images alone)."""
        assert self._golden is not None
        size = SIZES[scale]
        per_image = golden.arrays(self._golden, f"per_image_{size}")[name][severity - 1, : len(ours)]
        if name not in rules.DETERMINISTIC:
            return per_image, (np.zeros(1), np.zeros(1))
        exact = golden.arrays(self._golden, f"exact_{size}")
        clean = torch.from_numpy(exact["clean"]).permute(0, 3, 1, 2).contiguous()
        mine = self.ours(name, severity, scale, clean).permute(0, 2, 3, 1).numpy()
        return per_image, (mine, exact[name][severity - 1])

    def rows(self, names: list[str], severities: list[int], scales: list[str]) -> Iterator[Row]:
        """Measure line after line."""
        for scale in scales:
            for name in names:
                for severity in severities:
                    yield self.row(name, severity, scale)


def _passed(
    name: str, rule: str, pixels: tuple[np.ndarray, np.ndarray], deviations: dict[str, float]
) -> bool:
    if rule == "pixels":
        levels, share = rules.same_pixels(name)
        return rules.share_within(*pixels, levels) >= share
    return all(ratio <= 1 for ratio in deviations.values())  # NaN fails
