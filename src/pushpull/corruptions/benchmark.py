"""The corruptions of the benchmark: the 15, the four extra ones, the families.

Importing a family's module registers its corruptions; the order of the imports is the benchmark's.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from pushpull.corruptions import noise  # isort: skip
from pushpull.corruptions import blur  # isort: skip
from pushpull.corruptions import weather  # isort: skip
from pushpull.corruptions import spatter  # isort: skip
from pushpull.corruptions import colour  # isort: skip
from pushpull.corruptions import geometry  # isort: skip
from pushpull.corruptions import jpeg  # isort: skip
from pushpull.corruptions.registry import REGISTRY, SCALES

__all__ = [
    "CORRUPTIONS",
    "EXTRA_CORRUPTIONS",
    "FAMILIES",
    "GROUPS",
    "SEVERITIES",
    "blur",
    "colour",
    "geometry",
    "jpeg",
    "noise",
    "spatter",
    "weather",
]

CORRUPTIONS: tuple[str, ...] = tuple(name for name, one in REGISTRY.items() if not one.extra)
"""The 15 of the benchmark's mean, in the usual order."""

EXTRA_CORRUPTIONS: tuple[str, ...] = tuple(name for name, one in REGISTRY.items() if one.extra)
"""The 4 "validation" corruptions, which never enter the mean."""

# Everywhere, also where a draw numbers the names, the extra ones come after the 15.
for _name in EXTRA_CORRUPTIONS:
    REGISTRY.move_to_end(_name)

FAMILIES: dict[str, tuple[str, ...]] = {
    family: tuple(name for name in CORRUPTIONS if REGISTRY[name].family == family)
    for family in ("noise", "blur", "weather", "digital")
}
"""The 15 by family."""

GROUPS: dict[str, tuple[str, ...]] = {
    "benchmark": CORRUPTIONS,
    "extra": EXTRA_CORRUPTIONS,
    "all": (*CORRUPTIONS, *EXTRA_CORRUPTIONS),
    **FAMILIES,
}
"""Every name that stands for several corruptions."""

SEVERITIES: dict[str, dict[str, Sequence[Any]]] = {
    scale: {name: REGISTRY[name].severities[scale] for name in GROUPS["all"]} for scale in SCALES
}
"""Every constant: SEVERITIES[scale][corruption][severity - 1].

Source: the programs published with Hendrycks & Dietterich, "Benchmarking Neural Network Robustness to Common
Corruptions and Perturbations", ICLR 2019 (hendrycks/robustness, Apache-2.0): `make_imagenet_c.py`
("imagenet", made for 224 pixels), `make_cifar_c.py` ("cifar", 32), `make_tinyimagenet_c.py` ("tiny", 64). The
scales are different constants, not a resize; images of other sizes take one of the three by name. Lengths are
in pixels, intensities in units of the range [0, 1], unless a corruption says otherwise.
"""
