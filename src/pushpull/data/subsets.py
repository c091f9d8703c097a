"""Parts of a split: stratified by class, or only some classes."""

from __future__ import annotations

import dataclasses
import difflib
import hashlib
import re
from collections.abc import Sequence
from functools import cache
from pathlib import Path

import torch

from pushpull.data.images import ImageSplit
from pushpull.errors import InputError, MissingFileError
from pushpull.files import user_path

_WNID = re.compile(r"n\d{8}")
_IMAGENET_CLASSES = 1000


def stratified(
    split: ImageSplit, share: float, *, seed: int, purpose: str, leave_one: bool = True
) -> tuple[ImageSplit, ImageSplit]:
    """Return (the rest, a share of every class), both in the order of `split`.

    Of a class of n images round(share * n) are taken, at least one if share > 0, but with `leave_one` never
    the last: a class of one image then stays in the rest, for training.
    A hash of (seed, purpose, index) orders the images and the lowest are taken: a larger share contains a
    smaller one, and leaving classes out changes nothing in the others.
    """
    texts = (f"{seed} {purpose} {row}".encode() for row in split.index.tolist())
    # 63 bits that are the same on every machine and version, which no random generator promises.
    hashes = [int.from_bytes(hashlib.blake2b(text, digest_size=8).digest()) >> 1 for text in texts]
    keys = torch.tensor(hashes, dtype=torch.int64)
    taken = torch.zeros(len(split), dtype=torch.bool)
    by_class = torch.argsort(split.labels, stable=True)
    for members in by_class.split(torch.bincount(split.labels, minlength=len(split.classes)).tolist()):
        count = len(members)
        most = max(count - 1, 0) if leave_one else count
        wanted = min(max(1, int(share * count + 0.5)), most) if share > 0 else 0
        order = torch.argsort(keys[members], stable=True)
        taken[members[order[:wanted]]] = True
    return split.subset((~taken).nonzero()[:, 0]), split.subset(taken.nonzero()[:, 0])


def read_class_list(path: str | Path) -> list[str]:
    """Return the names in a text file, one a line; blank lines and what follows a # are left out.

    Raises:
        InputError: no such file, no name, or a name twice.
    """
    path = user_path(path)
    if not path.is_file():
        raise MissingFileError(
            f"classes={str(path)!r} is not a file; give a text file with one class name per line"
        )
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except UnicodeDecodeError as error:
        raise InputError(
            f"classes={str(path)!r} is not UTF-8 text ({error.reason}); one class name per line"
        ) from error
    names = [name for line in lines if (name := re.sub(r"(^|\s)#.*", "", line).strip())]
    if not names:
        raise InputError(f"classes={str(path)!r} names no class; give one class name per line")
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise InputError(
            f"classes={str(path)!r} has {', '.join(twice[:3])} more than once; name each class once"
        )
    return names


def class_numbers(wanted: list[str], classes: list[str]) -> list[int]:
    """Return the label of each wanted class.

    A name is one of `classes`, or a wnid: of a class called by it ("n01440764_tench") or, where there are
    1000 classes, of ImageNet-1k in its usual order (timm's list).

    Raises:
        InputError: names that are none of these, with the nearest that there are.
    """
    known = {name: number for number, name in enumerate(classes)}
    known |= {match[0]: number for number, name in enumerate(classes) if (match := _WNID.match(name))}
    if any(name not in known and _WNID.fullmatch(name) for name in wanted):
        order = imagenet_wnids(len(classes)) or []
        known |= {wnid: number for number, wnid in enumerate(order) if wnid not in known}
    unknown = [name for name in wanted if name not in known]
    if unknown:
        near = difflib.get_close_matches(unknown[0], known, n=3, cutoff=0.5) or list(known)[:3]
        more = f" and {len(unknown) - 1} more" if len(unknown) > 1 else ""
        raise InputError(
            f"class {unknown[0]!r}{more} is not in the data; near: {', '.join(near)} (of {len(classes)})"
        )
    numbers = [known[name] for name in wanted]
    if len(set(numbers)) < len(numbers):
        number = next(number for number in numbers if numbers.count(number) > 1)
        same = [name for name, other in zip(wanted, numbers, strict=True) if other == number]
        raise InputError(f"{' and '.join(same)} name the same class; name each class once")
    return numbers


def matched_classes(wanted: Sequence[str], classes: Sequence[str]) -> list[int | None]:
    """Return the position in `classes` of each wanted class, None where it has none.

    Two names mean the same class if they are equal or begin with the same wnid. Where one side has wnids,
    ImageNet's readable names ("tench") of the other are matched with them; 1000 names of which none is
    ImageNet's ("0", "1", ...) are taken to be in its order.
    """
    there, asked = (
        [match[0] if (match := _WNID.match(name)) else name for name in names] for names in (classes, wanted)
    )
    if any(map(_WNID.fullmatch, asked)) and not all(map(_WNID.fullmatch, there)):
        there = _as_wnids(there)
    if any(map(_WNID.fullmatch, there)) and not all(map(_WNID.fullmatch, asked)):
        asked = _as_wnids(asked)
    places = {name: number for number, name in enumerate(there)}
    return [places.get(name) for name in asked]


def _as_wnids(names: list[str]) -> list[str]:
    """Return the wnids of classes that have ImageNet's readable names, or that are a thousand without."""
    exact, known = _readable_names()
    if exact.keys() == set(names):
        return [exact[name] for name in names]
    found = [known.get(_plain(name)) for name in names]
    if not any(found) and not any(map(_WNID.fullmatch, names)):
        return imagenet_wnids(len(names)) or names
    return [wnid or name for wnid, name in zip(found, names, strict=True)]


def _plain(name: str) -> str:
    return " ".join(re.split(r"[\s_-]+", name.strip().casefold()))


@cache
def _readable_names() -> tuple[dict[str, str], dict[str, str]]:
    """Return ImageNet-1k's wnids by torchvision's names, and by these and WordNet's in any spelling.

    Of the latter a name of two classes says none: "crane" alone may be a bird, which torchvision calls "crane
    bird", and "cardigan" a dog.
    """
    from timm.data import ImageNetInfo
    from torchvision.models import ResNet18_Weights

    info, named = ImageNetInfo(), dict[str, set[str]]()
    categories = ResNet18_Weights.IMAGENET1K_V1.meta["categories"]
    exact = dict(zip(categories, info.label_names(), strict=True))
    for category, wnid in exact.items():
        for name in (category, *info.label_name_to_description(wnid).split(",")):
            named.setdefault(_plain(name), set()).add(wnid)
    return exact, {name: wnids.pop() for name, wnids in named.items() if len(wnids) == 1}


def imagenet_wnids(count: int) -> list[str] | None:
    """Return ImageNet-1k's wnids in the usual order (timm's list) if `count` is 1000, else None."""
    if count != _IMAGENET_CLASSES:
        return None
    from timm.data import ImageNetInfo

    return list(ImageNetInfo().label_names())


def only_classes(split: ImageSplit, numbers: list[int]) -> ImageSplit:
    """Return the images of these classes, labels renumbered in that order; each image keeps its `index`."""
    renumbered = torch.full((len(split.classes),), -1)
    renumbered[numbers] = torch.arange(len(numbers))
    labels = renumbered[split.labels]
    part = split.subset((labels >= 0).nonzero()[:, 0])
    return dataclasses.replace(
        part, labels=renumbered[part.labels], classes=[split.classes[number] for number in numbers]
    )
