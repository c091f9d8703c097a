"""What is asked of an evaluation: one class, from which the command line, Python and results take it."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, fields, replace
from typing import Any, Literal

import torch
from torch import Tensor, nn

from pushpull.corruptions import CORRUPTIONS, EXTRA_CORRUPTIONS
from pushpull.corruptions.benchmark import GROUPS
from pushpull.corruptions.engine import (
    SMALLEST_PX,
    checked_jpeg_quality,
    checked_seed,
    checked_severity,
)
from pushpull.corruptions.registry import REGISTRY, SCALE_PX, SCALES, scale_by_size, spelled
from pushpull.data import Preprocessing
from pushpull.data.published import SEVERITIES
from pushpull.errors import InputError, choice, integer

PRECISIONS = {"fp32": None, "bf16": torch.bfloat16, "fp16": torch.float16}


@dataclass(frozen=True)
class EvaluationOptions:
    """What is measured, and how.

    Args:
        corrupted: The folder of a published corrupted set (ImageNet-C, CIFAR-10-C, ... or what
            `pushpull corrupt` wrote): its images are taken instead of corrupting those of the data.
        corruptions: Names of corruptions, families (noise, blur, weather, digital), benchmark (the 15), extra
            (the 4 others), all, or none. By default benchmark; for a set on disk those of the 15 that it
            has, or all that it has if it has none of them.
        severities: Some of 1 2 3 4 5. By default all.
        scale: The corruptions' constants: imagenet, cifar or tiny. By default those of the nearest image
            size.
        seed: Of the corruptions' random numbers.
        jpeg_quality: 1 to 100: corrupted images go through JPEG of this quality, as those of ImageNet-C went
            (85). By default they do not.
        mean: Red, green and blue mean that the model expects its images, in [0, 1], to be normalised with. By
            default what the model brings, else 0 0 0.
        std: Likewise the standard deviations. By default what the model brings, else 1 1 1.
        size: Side, or height and width, in pixels of the images that the model gets, after the corruption. By
            default what the model brings, else as they are.
        resize: Shorter side in pixels that images are brought to first. By default the data's.
        crop: Side in pixels of the square that is kept of the middle after that. By default the data's.
        limit: Evaluate at most this many images, the same share of every class, always the same ones.
        batch_size: Images at a time; does not change results.
        workers: Processes that decode images which do not fit in memory.
        device: For example cpu or cuda; auto: cuda where there is one. By default auto on the command line,
            in Python where the model is.
        channels_last: Give the network channels-last images: faster on some devices.
        precision: fp32, or bf16 or fp16 for the network alone: faster on a GPU, numbers differ slightly.
        compile: Compile the network first (torch.compile): a minute, then faster.
        adapt: bn: for every condition, mix the batch norms' statistics with those of some of its images
            (Schneider et al., NeurIPS 2020). Such results are marked, and compared with others only on
            request.
        adapt_images: How many images of the condition, the same share of every class.
        adapt_prior: Weight, in images, of the statistics that the network came with.
        output: Folder for results.json, or a .json file; written after every condition, and continued where
            it stops if everything that decides the numbers agrees. By default, in Python, no file; on the
            command line the run folder, else runs/evaluate-NAME.
        save_predictions: Write predictions.parquet beside the results: for every image and condition the
            label, the answer and its confidence. Conditions without predictions are measured again.
        overwrite: Replace the results that are there.
        label: What tables call the model. By default its name, stem and seed.
        quiet: Show no progress bar.

    Raises:
        InputError: a value out of range, or options that contradict each other.

    >>> EvaluationOptions(corruptions=["fog"], severities=(1, 5)).precision
    'fp32'
    """

    corrupted: str | None = None
    corruptions: Sequence[str] | None = None
    severities: tuple[int, ...] = SEVERITIES
    scale: str | None = None
    seed: int = 0
    jpeg_quality: int | None = None
    mean: Sequence[float] | None = None
    std: Sequence[float] | None = None
    size: Sequence[int] | int | None = None
    resize: int | None = None
    crop: int | None = None
    limit: int | None = None
    batch_size: int = 256
    workers: int = 0
    device: str | None = None
    channels_last: bool = False
    precision: str = "fp32"
    compile: bool = False
    adapt: Literal["bn"] | None = None
    adapt_images: int = 64
    adapt_prior: float = 16.0
    output: str | None = None
    save_predictions: bool = False
    overwrite: bool = False
    label: str | None = None
    quiet: bool = False

    def __post_init__(self) -> None:
        choice("precision", self.precision, PRECISIONS)
        if (self.mean is None) != (self.std is None):
            raise InputError("--mean and --std go together: three numbers each, or neither")
        checked_jpeg_quality(self.jpeg_quality)
        object.__setattr__(self, "seed", checked_seed(self.seed))
        if self.adapt is not None:
            choice("adapt", self.adapt, ("bn",))
        if not 0 <= self.adapt_prior < math.inf:
            raise InputError(f"adapt_prior={self.adapt_prior} must be 0 or more images")
        for name, least in (("batch_size", 1), ("workers", 0), ("adapt_images", 1)):
            value = integer(name, getattr(self, name), "give a whole number")
            if value < least:
                raise InputError(f"{name}={value}: need at least {least}")
            object.__setattr__(self, name, value)
        if self.corrupted is None:
            condition_list(self.corruptions, self.severities)
        elif self.jpeg_quality is not None or self.seed:
            option = "jpeg_quality" if self.jpeg_quality is not None else "seed"
            raise InputError(
                f"{option}={getattr(self, option)} has no effect on images on disk; leave it out"
            )

    @classmethod
    def made_of(cls, options: EvaluationOptions | None, changes: Mapping[str, Any]) -> EvaluationOptions:
        """Return `options`, or the defaults, with `changes`; `InputError` for an unknown name."""
        names = [field.name for field in fields(cls)]
        for name in changes:
            choice("option of evaluate", name, names)
        given = {name: getattr(options, name) for name in names} if options is not None else {}
        return cls(**{**given, **changes})

    @property
    def adapted(self) -> str | None:
        """What results say of an adaptation."""
        if self.adapt is None:
            return None
        return f"batch norms, {self.adapt_images} images of each condition, prior {self.adapt_prior:g}"

    def network(self, model: nn.Module) -> Callable[[Tensor], Any]:
        """Return what is called with a batch in place of the model."""
        run: Callable[[Tensor], Any] = torch.compile(model) if self.compile else model
        dtype = PRECISIONS[self.precision]
        found = {parameter.dtype for parameter in model.parameters() if parameter.is_floating_point()}
        takes = found.pop() if len(found) == 1 else torch.float32  # where they differ

        def call(x: Tensor) -> Any:
            x = x.contiguous(memory_format=torch.channels_last) if self.channels_last else x
            with torch.autocast(x.device.type, dtype=dtype, enabled=dtype is not None):
                return run(x.to(takes))

        return call

    def preprocessing(
        self, own: Preprocessing | None, model: nn.Module, why: str = "the network's own"
    ) -> tuple[Preprocessing, str]:
        """Return what is done to images before the network: as asked, `own`, or a guess; and who says so."""
        if own is not None and not isinstance(own, Preprocessing):
            raise InputError(
                f"preprocessing={own!r} is not a Preprocessing; give pushpull.Preprocessing(mean, std, size)"
            )
        asked: dict[str, Any] = {} if self.mean is None else {"mean": self.mean, "std": self.std}
        if self.size is not None:
            asked["size"] = self.size
        if own is None:
            # It brings torchvision and timm, which `--help` does not need.
            from pushpull.models.libraries import assumed_preprocessing

            own, why = assumed_preprocessing(model, warn=len(asked) < 3)
        if len(asked) == 3:
            why = "as asked"
        elif "size" in asked:
            why = f"size as asked, mean and std {why}"
        elif asked:
            why = f"mean and std as asked, size {why}"
        return replace(own, **asked), why

    def chosen_device(self, model: nn.Module) -> torch.device:
        """Return the device to run on: as asked, else where the model is.

        Raises:
            InputError: no such device here, or none given for a model that is spread over several.
        """
        homes = {tensor.device for tensor in (*model.parameters(), *model.buffers())}
        if len(homes) > 1:
            raise InputError(
                f"the model is spread over {', '.join(sorted(map(str, homes)))}; move it to one device"
            )
        if self.device is None:
            return next(iter(homes), torch.device("cpu"))
        if self.device == "auto":
            return torch.device("cuda" if torch.cuda.is_available() else "cpu")
        try:
            wanted = torch.device(self.device)
            torch.empty(0, device=wanted)
        except (RuntimeError, AssertionError) as error:
            reason = str(error).splitlines()[0].rstrip(".")
            said = f"device={str(self.device)!r} cannot be used here ({reason}); try cpu"
            raise InputError(said) from error
        return wanted


def condition_list(
    corruptions: str | Iterable[str] | None,
    severities: int | Iterable[int],
    on_disk: Mapping[str, Sequence[int]] | None = None,
    *,
    clean: bool = True,
) -> list[tuple[str | None, int | None]]:
    """Return the conditions in order: the clean one (None, None), then every corruption at every severity.

    Args:
        corruptions: names, of corruptions or of groups: "benchmark" (the fifteen), "extra" (the four others),
            "all", or a family; a string may hold several, separated by commas. Empty, or "none": the clean
            images only. None: the fifteen; of a set on disk those that it has, all that it has if none.
        severities: of 1..5.
        on_disk: what a set on disk has, corruption -> severities; None: any corruption can be made.
        clean: whether there are clean images.

    Raises:
        InputError: an unknown corruption, a severity outside 1..5, or a condition that is not on disk.
    """
    benchmark = (*CORRUPTIONS, *EXTRA_CORRUPTIONS)
    known = (*benchmark, *(name for name in REGISTRY if name not in benchmark))  # the user's own come last
    others = tuple(name for name in on_disk or () if name not in known)
    groups = dict(GROUPS)
    if on_disk is not None:
        groups["all"] = tuple(on_disk)
    allowed = (*(known if on_disk is None else on_disk), *groups)
    words = [spelled(word, (*allowed, "none")) for word in _words(corruptions, on_disk)]
    words = [] if words == ["none"] else [choice("corruption", word, allowed) for word in words]
    names = {name for word in words for name in groups.get(word, (word,))}
    listed = severities if isinstance(severities, Iterable) else (severities,)
    levels = sorted({checked_severity(level) for level in listed})
    if names and not levels:
        raise InputError("severities is empty; give some of 1..5, or no corruptions")
    ordered = [name for name in (*known, *others) if name in names]
    if on_disk is not None:
        _check_on_disk(ordered, levels, on_disk)
    pairs: list[tuple[str | None, int | None]] = [(name, level) for name in ordered for level in levels]
    return [(None, None), *pairs] if clean else pairs


def _check_on_disk(names: Sequence[str], levels: Sequence[int], on_disk: Mapping[str, Sequence[int]]) -> None:
    """Raise where a set on disk lacks a corruption or a severity, with all that it lacks."""
    absent = [name for name in names if name not in on_disk]
    if absent:
        raise InputError(
            f"the set on disk has no {', '.join(absent)}; fetch that part, or choose among "
            f"{', '.join(on_disk)} (--corruptions)"
        )
    lacking = {
        name: missing for name in names if (missing := [str(s) for s in levels if s not in on_disk[name]])
    }
    if lacking:
        text = "; ".join(f"{name} has no severity {', '.join(missing)}" for name, missing in lacking.items())
        raise InputError(
            f"the set on disk is not complete: {text}; fetch these, or choose others (--severities)"
        )


def _words(corruptions: str | Iterable[str] | None, on_disk: Iterable[str] | None) -> Iterator[Any]:
    """Yield names one by one; what is no string is passed on, to be refused by its name."""
    if corruptions is None:
        there = [name for name in CORRUPTIONS if on_disk is None or name in on_disk]
        corruptions = there or list(on_disk or ())
    several = isinstance(corruptions, Iterable) and not isinstance(corruptions, str)
    every: Iterable[object] = corruptions if several else (corruptions,)
    for text in every:
        if isinstance(text, str):
            yield from filter(None, map(str.strip, text.split(",")))
        else:
            yield text


def severity_scale(scale: str | None, size: tuple[int, int], *, corrupted: bool) -> str:
    """Return the scale of the corruptions' constants: as given, else the nearest by the size of the images.

    Args:
        scale: "cifar", "tiny", "imagenet", or None.
        size: (height, width) of the images in px.
        corrupted: False: nothing will be corrupted, so every size will do, and the scale may be "none".

    Raises:
        InputError: an unknown scale, or images too small to be corrupted.
    """
    if corrupted and min(size) < SMALLEST_PX:
        raise InputError(
            f"images of {size[0]}x{size[1]} are too small to be corrupted; "
            f"give at least {SMALLEST_PX}x{SMALLEST_PX}, or no corruptions"
        )
    if scale is not None:
        return choice("scale", scale, SCALES)
    return scale_by_size(*size) if corrupted else _exact_scale(size)


def published_scale(scale: str | None, size: tuple[int, int]) -> str:
    """Return whose constants a set on disk has: as given, else by the size of its images, else "none"."""
    if scale is not None:
        return choice("scale", scale, SCALES)
    return _exact_scale(size)


def _exact_scale(size: tuple[int, int]) -> str:
    """Return the scale that was made for images of (height, width) px, or "none"."""
    return next((name for name, side in SCALE_PX.items() if size == (side, side)), "none")


@contextmanager
def lent_to_evaluation(model: nn.Module, device: torch.device) -> Iterator[None]:
    """Have the model in eval mode on `device`, then restore every module's train flag and the device."""
    flags = [(module, module.training) for module in model.modules()]
    home = EvaluationOptions().chosen_device(model)
    try:
        model.eval().to(device)
        yield
    finally:
        model.to(home)
        for module, flag in flags:
            module.training = flag
