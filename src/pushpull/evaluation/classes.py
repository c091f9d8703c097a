"""Which class is which: between a data set and a corrupted copy of it, and between data and outputs."""

from __future__ import annotations

import math
import warnings
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from pushpull.data import ImageSplit
from pushpull.data.subsets import imagenet_wnids, matched_classes, only_classes
from pushpull.errors import InputError
from pushpull.evaluation.images import EvalImages


def matched_by_name(found: ImageSplit, classes: Sequence[str]) -> ImageSplit:
    """Return the images of a set on disk labelled by `classes`; images of other classes are left out.

    Args:
        found: a condition; its classes are called as their folders.
        classes: of the evaluation; the same wnid is the same class.

    Raises:
        InputError: it lacks a class.
    """
    if list(classes) == found.classes:
        return found
    numbers = matched_classes(classes, found.classes)
    missing = [name for name, number in zip(classes, numbers, strict=True) if number is None]
    if missing:
        raise InputError(
            f"{found.name} has no class {', '.join(missing[:3])}{' ...' if missing[3:] else ''} "
            f"({len(missing)} of the data's {len(classes)}; it has {', '.join(found.classes[:3])} ...); "
            "give the clean data that it was made from, or --classes with those that both have"
        )
    return only_classes(found, [number for number in numbers if number is not None])


def check_counts(name: str, found: Mapping[str, int], images: EvalImages) -> None:
    """Raise where classes of a condition on disk have another number of images than they should.

    A few may be missing, as many as may be unreadable, but no whole class; that is warned about.

    Args:
        name: of the condition.
        found: class -> number of images; empty: unknown.
        images: what it is held against: all of the data, or what a limit leaves of it.

    Raises:
        InputError: too many images are missing, or there are too many.
    """
    if not found:
        return
    classes, numbers = images.split.classes, list(found.values())
    there = [None if at is None else numbers[at] for at in matched_classes(classes, list(found))]
    differ: dict[str, tuple[int, int]] = {}
    for split in (images.split, images.whole):
        wanted = torch.bincount(split.labels, minlength=len(classes)).tolist()
        triples = zip(classes, there, wanted, strict=True)
        differ = {label: (has, needs) for label, has, needs in triples if has is not None and has != needs}
        if not differ:
            return
    label, (has, needs) = next(iter(differ.items()))
    other = images.whole.name if images.of_set else "the clean data"
    text = (
        f"{name} has {has} images of class {label}, {other} has {needs} "
        f"({len(differ)} of {len(classes)} classes differ)"
    )
    lost = sum(abs(has - needs) for has, needs in differ.values())
    bare = any(has == 0 for has, _ in differ.values())
    if bare or lost > math.floor(images.split.unreadable_limit * len(images.whole)):
        raise InputError(f"{text}; fetch what is missing, or give the clean data that it was made from")
    warnings.warn(text, stacklevel=2)


def matched_by_row(found: ImageSplit, clean: ImageSplit) -> ImageSplit:
    """Return the rows of a numbered set that belong to the clean images, with their labels.

    Args:
        found: a condition with labels that are numbers; row i is the corrupted image i of the clean data, or
            of the part that is evaluated, where the set was made of this part.
        clean: what is evaluated: all of the data, or a part.

    Raises:
        InputError: fewer rows than the clean data, or another label at any of them.
    """
    rows = clean.index
    if torch.equal(found.labels, clean.labels):
        found.classes = clean.classes
        return found
    if int(rows.max()) >= len(found):
        raise InputError(
            f"{found.name} has {len(found)} images, the clean data at least {int(rows.max()) + 1}; "
            "give the clean data that it was made from"
        )
    part = found.subset(rows)
    differ = int((part.labels != clean.labels).sum())
    # Where --classes has renumbered the clean labels, each must still stand for one label of the set.
    pairs = len(set(zip(part.labels.tolist(), clean.labels.tolist(), strict=True)))
    one_to_one = pairs == len(part.labels.unique()) == len(clean.labels.unique())
    whole = len(clean) == len(found) or torch.equal(rows, torch.arange(len(rows)))
    if differ and (whole or not one_to_one):
        raise InputError(
            f"{found.name} has other labels than the clean data at {differ} of {len(rows)} rows: another "
            "data set or another order; give the clean data that it was made from"
        )
    part.labels, part.classes = clean.labels, clean.classes
    return part


class Outputs:
    """Which of a network's outputs are the data's classes; found with the first logits.

    Where the data has a part of the network's classes, as ImageNet-A, -R and ImageNet-100 have of
    ImageNet-1k's, the logits of these are taken and the others left out. Where it has them all in another
    order, their logits are taken in the data's.

    Args:
        classes: of the data; None: unknown, any number of outputs will do.
        model_classes: what the outputs mean; None: unknown, and 1000 outputs are ImageNet-1k's where the
            data's classes are wnids.

    Source: the evaluation code of Hendrycks et al., "Natural Adversarial Examples", CVPR 2021, and "The Many
        Faces of Robustness", ICCV 2021.
    """

    def __init__(self, classes: Sequence[str] | None, model_classes: Sequence[str] | None = None) -> None:
        self._classes, self._model_classes = classes, model_classes
        self._positions: Tensor | None = None
        self.text: str | None = None  # what the results say: "subset of 1000"; None: all outputs are used

    @property
    def positions(self) -> list[int] | None:
        """The output of each class, after the first logits; None: as they are."""
        return None if self._positions is None else self._positions.tolist()

    def take(self, output: Any, images: int, highest_label: int) -> Tensor:
        """Return (images, data's classes) logits of what a network returned for so many images.

        Args:
            output: it should be floating-point logits (images, outputs).
            images: how many the network was given.
            highest_label: of the data.

        Raises:
            InputError: it is something else, or the numbers differ and the classes cannot be found among the
                outputs.
        """
        if not isinstance(output, Tensor):
            raise InputError(
                f"the model returned a {type(output).__name__}, not a tensor of logits (N, classes); "
                "wrap it in a module that returns only the logits"
            )
        if output.ndim != 2 or output.shape[0] != images or not output.is_floating_point():
            shape = f"shape {tuple(output.shape)}, {output.dtype}"
            raise InputError(
                f"the model returned {shape} for {images} images; need float logits ({images}, classes)"
            )
        logits = self._chosen(output)
        if logits.shape[1] <= highest_label:
            raise InputError(
                f"the model has {logits.shape[1]} outputs, the data the label {highest_label}; "
                "labels count from 0 and must be below the number of outputs"
            )
        return logits

    def _chosen(self, logits: Tensor) -> Tensor:
        if self._classes is None:
            return logits
        if self._positions is None:
            outputs = logits.shape[1]
            found = self._found(outputs) if outputs != len(self._classes) else self._reordered()
            self._positions = torch.tensor(found, device=logits.device)
            self.text = f"subset of {outputs}" if outputs != len(self._classes) else None
        return logits.index_select(1, self._positions)

    def _reordered(self) -> list[int]:
        """Return the output of each class, as many as there are outputs: as they are unless names say more.

        Raises:
            InputError: some of the network's own names are the data's, in other places, and some are not.
        """
        classes = self._classes
        assert classes is not None
        as_they_are = list(range(len(classes)))
        known = self._model_classes
        own = known is not None and len(known) == len(classes)
        known = known if own else imagenet_wnids(len(classes))
        if known is None or list(known) == list(classes):
            return as_they_are
        numbers = matched_classes(classes, known)
        found = [number for number in numbers if number is not None]
        if len(set(found)) == len(classes):
            return found
        moved = [at for at, number in enumerate(numbers) if number is not None and number != at]
        # Classes of a data set that are ImageNet's but for a few names are not in its order either.
        if moved and None in numbers and (own or 2 * len(found) > len(classes)):
            lacking = next(name for name, number in zip(classes, numbers, strict=True) if number is None)
            raise InputError(
                f"the network has the data's classes in another order ({classes[moved[0]]} is its output "
                f"{numbers[moved[0]]}), but no {lacking}; give data whose classes are named as the network's"
            )
        return as_they_are

    def _found(self, outputs: int) -> list[int]:
        classes, known = self._classes, self._model_classes
        assert classes is not None
        if known is None or len(known) != outputs:
            known = imagenet_wnids(outputs)
        numbers = matched_classes(classes, known or [])
        found = [number for number in numbers if number is not None]
        if len(set(found)) < len(classes):
            lacking = [name for name, number in zip(classes, numbers, strict=True) if number is None]
            # Where no class is known, it is other data, and a list of names would not help.
            which = f", and it has no {', '.join(lacking[:3])} among its classes" if found and lacking else ""
            raise InputError(
                f"the model has {outputs} outputs, the data {len(classes)} classes{which}; "
                "evaluate on the data it was trained for, give it a head of that size, or data whose classes "
                "are named as some of the model's (by wnids for 1000 outputs of ImageNet)"
            )
        return found
