"""How steady answers are on published sequences of slightly changed images: flip rates, top-5 distances."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from statistics import fmean
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from pushpull.corruptions.perturbations import PERTURBATIONS, is_noise, perturbed
from pushpull.data import Framing, ImageSplit, Preprocessing, eval_batches
from pushpull.data.decode import open_rgb
from pushpull.data.folder import is_image_name, subfolders
from pushpull.data.preprocessing import to_tensor
from pushpull.errors import InputError, MissingFileError, choice, integer, one_line
from pushpull.evaluation import metrics
from pushpull.evaluation.continuing import model_digest
from pushpull.evaluation.images import EvalData, eval_images
from pushpull.evaluation.options import EvaluationOptions, lent_to_evaluation, severity_scale
from pushpull.evaluation.ranks import world_size
from pushpull.files import read_json, user_path, writable_folder, write_json
from pushpull.models.network import Network, load_network

SCHEMA = "pushpull-stability/1"
FILE = "stability.json"
MADE = "made"
_Frames = Iterator[Tensor]


@dataclass(frozen=True)
class Stability:
    """What was measured on sequences.

    Args:
        label: what tables call the network.
        source: the folder of the sequences, or what they were made of.
        sequences: how many of each perturbation.
        flip_rates: perturbation -> share of frames whose answer is not that of the frame before (of noise: of
            the first frame), in [0, 1].
        top5_distances: perturbation -> mean top-5 distance of the same pairs; empty with less than 6 classes.
        precision: how the network computed.
        complete: whether everything that was asked for is there.
        weights_sha256: as in results.json.
    """

    label: str
    source: str
    sequences: int
    flip_rates: dict[str, float]
    top5_distances: dict[str, float]
    precision: str = "fp32"
    complete: bool = True
    weights_sha256: str | None = None

    @property
    def mean_flip_probability(self) -> float:
        """mFP: the plain mean of the flip rates, in [0, 1]; not divided by AlexNet's."""
        return fmean(self.flip_rates.values())

    def mean_flip_rate(self, baseline: Stability) -> float:
        """Return mFR, with the baseline in AlexNet's place: 1 is the baseline (`metrics.mean_flip_rate`)."""
        self.check_same(baseline)
        return metrics.mean_flip_rate(self.flip_rates, baseline.flip_rates)

    def mean_top5_distance(self, baseline: Stability) -> float:
        """Return mT5D, with the baseline in AlexNet's place: 1 is it (`metrics.mean_top5_distance`)."""
        self.check_same(baseline)
        return metrics.mean_top5_distance(self.top5_distances, baseline.top5_distances)

    def check_same(self, baseline: Stability) -> None:
        """Raise `InputError` if the baseline was measured on other sequences."""
        for name in ("source", "sequences"):
            there, here = getattr(baseline, name), getattr(self, name)
            if there != here:
                raise InputError(
                    f"{name} is {there!r} of the baseline, {here!r} here; measure both on the same sequences"
                )

    def save(self, path: Path | str) -> Path:
        """Write the file, whole or not at all, and return its path; a folder gets a stability.json."""
        return write_json(stability_path(path), {"schema": SCHEMA, **asdict(self)})

    @classmethod
    def load(cls, path: Path | str) -> Stability:
        """Return what a file, or the stability.json of a folder, holds; `InputError` if it is not one."""
        file = stability_path(path)
        if not file.is_file():
            remedy = "make it with: pushpull evaluate ... --perturbed made"
            raise MissingFileError(f"{file} does not exist; {remedy}")
        value = read_json(file)
        if not isinstance(value, dict) or value.pop("schema", None) != SCHEMA:
            raise InputError(f"{file} is not of schema {SCHEMA}; measure again with this version")
        for name, most in (("flip_rates", 1), ("top5_distances", 15)):
            table = value.get(name)
            numbers = list(table.values()) if isinstance(table, dict) else [None]
            if not all(isinstance(x, int | float) and 0 <= x <= most for x in numbers):
                raise InputError(f"{file}: {name} is not a table of numbers in [0, {most}]; measure again")
        if not value["flip_rates"]:
            raise InputError(f"{file} holds no perturbation; measure again")
        try:
            return cls(**value)
        except TypeError as error:
            raise InputError(f"{file} has other keys than expected ({error}); measure again") from error


def stability_path(path: Path | str) -> Path:
    """Return the file that `path` means: itself if it ends in .json, else that folder's stability.json."""
    path = Path(path)
    return path if path.suffix == ".json" else path / FILE


def measure_stability(
    model: nn.Module | Network,
    data: EvalData | None = None,
    options: EvaluationOptions | None = None,
    *,
    perturbed: str = MADE,
    perturbations: Iterable[str] | None = None,
    preprocessing: Preprocessing | None = None,
    framing: Framing | None = None,
    **changes: Any,
) -> Stability:
    """Measure how often a network's answer changes along sequences, and how far its five first classes move.

    All of the network's outputs count; labels are not needed.

    Args:
        model, data, preprocessing, framing: as for `evaluate`; a folder of sequences needs no data.
        options: seed, scale, mean, std, size, resize, crop, limit (of a folder: so many sequences,
            evenly spaced), batch_size, device, precision, output.
        perturbed: "made": the ten of ImageNet-P made of the data's test images; or a folder of sequences.
        perturbations: which; None: all ten, or all in the folder.
        changes: fields of `EvaluationOptions`, and `name`.

    Returns:
        What stability.json of the output holds.

    Raises:
        InputError: an argument that does not fit, or sequences that cannot be read.

    Source: Hendrycks & Dietterich, ICLR 2019, section 4.3.
    """
    network, device, options, label = _begun(model, options, changes)
    data = network.data if data is None else data
    sets, source, count = _sets(perturbed, perturbations, data, options, framing)
    fitting, _ = options.preprocessing(preprocessing or network.preprocessing, network.model)
    begun = Stability(options.label or label, source, count, {}, {}, options.precision, complete=False)
    for done in _growing(begun, sets, network.model, fitting, device, options):
        if options.output is not None:
            done.save(options.output)
    return done


def _begun(
    model: nn.Module | Network, options: EvaluationOptions | None, changes: dict[str, Any]
) -> tuple[Network, torch.device, EvaluationOptions, str]:
    """Return the network, where it computes, the options and what tables call it; the file can be written."""
    if world_size() > 1:
        raise InputError(f"sequences are measured in one process, not in {world_size()}; run one")
    network = load_network(model)
    label = changes.pop("name", None) or network.label or network.name
    options = EvaluationOptions.made_of(options, changes)
    if options.output is not None:
        path = stability_path(options.output)
        writable_folder(path.parent)
        if path.exists() and not options.overwrite:
            remedy = "--overwrite replaces it, another --output keeps both"
            raise InputError(f"{path} is there already", remedy=remedy)
    return network, options.chosen_device(network.model), options, label


def _growing(
    done: Stability,
    sets: dict[str, Callable[[], Iterator[_Frames]]],
    model: nn.Module,
    fitting: Preprocessing,
    device: torch.device,
    options: EvaluationOptions,
) -> Iterator[Stability]:
    """Yield what is measured after every perturbation, and in the end what is complete."""
    done = replace(done, weights_sha256=model_digest(model))
    with lent_to_evaluation(model, device):
        call = options.network(model)
        for name, batches in sets.items():
            flips, distance = _measured(batches(), lambda x: call(fitting(x.to(device))), is_noise(name))
            done = replace(done, flip_rates=done.flip_rates | {name: flips})
            if distance is not None:
                done = replace(done, top5_distances=done.top5_distances | {name: distance})
            yield done
    yield replace(done, complete=True)


def _sets(
    place: str,
    asked: Iterable[str] | None,
    data: EvalData | None,
    options: EvaluationOptions,
    framing: Framing | None,
) -> tuple[dict[str, Callable[[], Iterator[_Frames]]], str, int]:
    """Return perturbation -> what yields the frames of each batch of sequences; the source; their number."""
    if place != MADE:
        there = open_sequences(place)
        names = _chosen(asked, there)
        count = min(there[name].count for name in names)
        number = count if options.limit is None else integer("limit", options.limit, "give a number")
        if number < 1:
            raise InputError(f"limit={number} is below 1; give a number of sequences, or none for all")
        rows = [at * count // min(number, count) for at in range(min(number, count))]
        found = {name: _batches_of(there[name], rows, options.batch_size) for name in names}
        return found, str(place), len(rows)
    if data is None:
        raise InputError("data is missing; give a data set, or a folder of sequences (perturbed)")
    names = _chosen(asked, PERTURBATIONS)
    if framing is None and (options.resize, options.crop) != (None, None):
        framing = Framing(options.resize, options.crop)
    images = eval_images(data, limit=options.limit, framing=framing)
    scale = severity_scale(options.scale, images.size, corrupted=True)
    source = f"made of {images.info['label']}, {scale} scale, seed {options.seed}"
    made = {name: _made(images.split, images.framing, name, scale, options) for name in names}
    return made, source, len(images.split)


def _chosen(asked: Iterable[str] | None, there: Iterable[str]) -> list[str]:
    names = list(there) if asked is None else list(asked)
    if not names:
        raise InputError("perturbations is empty; name at least one")
    return [choice("perturbation", name, there) for name in names]


def _batches_of(sequences: Sequences, rows: list[int], size: int) -> Callable[[], Iterator[_Frames]]:
    return lambda: (sequences.frames(rows[start : start + size]) for start in range(0, len(rows), size))


def _made(
    split: ImageSplit, framing: Framing, name: str, scale: str, options: EvaluationOptions
) -> Callable[[], Iterator[_Frames]]:
    return lambda: (
        perturbed(batch.images, name, scale=scale, seed=options.seed, index=batch.index)
        for batch in eval_batches(split, framing, options.batch_size, options.workers)
    )


def _measured(
    batches: Iterator[_Frames], call: Callable[[Tensor], Tensor], noise: bool
) -> tuple[float, float | None]:
    """Return the flip rate and the mean top-5 distance (None with fewer than 6 classes)."""
    answers, distances = [], []
    for frames in batches:
        before: Tensor | None = None
        of_batch = []
        for frame in frames:
            with torch.inference_mode():
                logits = call(frame).float()
                of_batch.append(logits.sort(dim=1, descending=True, stable=True).indices[:, 0])
                if before is not None and logits.shape[1] > 5:
                    distances.append(metrics.top5_distances(before, logits))
            before = before if noise and before is not None else logits
        answers.append(torch.stack(of_batch, dim=1).cpu())
    distance = torch.cat(distances).mean().item() if distances else None
    return metrics.flip_rate(torch.cat(answers), noise=noise), distance


_VIDEOS = (".mp4", ".avi")
LAYOUTS = (
    "PERTURBATION.npy of (n, frames, H, W, 3) uint8 as CIFAR-10-P, or PERTURBATION/CLASS/VIDEO.mp4 as "
    "ImageNet-P, where VIDEO may be a folder of its frames"
)


class Sequences:
    """One perturbation's sequences; abstract.

    Args:
        name: of the perturbation.
        count: how many there are.
    """

    def __init__(self, name: str, count: int) -> None:
        self.name, self.count = name, count

    def frames(self, positions: Sequence[int]) -> Iterator[Tensor]:
        """Yield the frames of these sequences one after the other, (n, 3, H, W) uint8."""
        raise NotImplementedError


class _Arrays(Sequences):
    def __init__(self, path: Path) -> None:
        try:
            self._array = np.load(path, mmap_mode="r")
        except Exception as error:  # numpy's, of many kinds
            raise InputError(f"{path} cannot be read ({one_line(error)}); fetch it again") from error
        shape = self._array.shape
        if len(shape) != 5 or shape[-1] != 3 or self._array.dtype != np.uint8 or shape[0] < 1 or shape[1] < 2:
            raise InputError(f"{path} is {shape} {self._array.dtype}; give (n, frames, H, W, 3) uint8")
        super().__init__(path.stem, shape[0])

    def frames(self, positions: Sequence[int]) -> Iterator[Tensor]:
        for frame in range(self._array.shape[1]):
            yield torch.from_numpy(np.ascontiguousarray(self._array[positions, frame])).permute(0, 3, 1, 2)


class _Videos(Sequences):
    def __init__(self, folder: Path, videos: Sequence[Path]) -> None:
        super().__init__(folder.name, len(videos))
        self._videos = videos

    def frames(self, positions: Sequence[int]) -> Iterator[Tensor]:
        sequences = [_frames_of(self._videos[position]) for position in positions]
        count = 0
        while True:
            found = [next(sequence, None) for sequence in sequences]
            there = [frame for frame in found if frame is not None]
            if not there:
                if count < 2:
                    raise InputError(f"{self._videos[positions[0]]} has {count} frames; need 2 or more")
                return
            if len(there) < len(found) or len({frame.shape for frame in there}) > 1:
                first = self._videos[positions[0]]
                raise InputError(f"videos differ in number or size of frames, near {first}; fetch them again")
            count += 1
            yield torch.stack(there)


def open_sequences(path: Path | str) -> dict[str, Sequences]:
    """Return perturbation -> its sequences.

    Args:
        path: a folder of arrays, or of folders of videos.

    Raises:
        MissingFileError: no such folder.
        InputError: nothing in it that is laid out so, or a damaged array.
    """
    root = user_path(path)
    if not root.is_dir():
        raise MissingFileError(f"perturbed={str(path)!r} is not a folder; give one with {LAYOUTS}")
    arrays = [file for file in sorted(root.glob("[!.]*.npy")) if file.stem != "labels"]
    if arrays:
        return {file.stem: _Arrays(file) for file in arrays}
    found = {folder.name: videos for folder in subfolders(root) if (videos := _videos(folder))}
    if not found:
        raise InputError(f"{root} holds no sequences; give a folder with {LAYOUTS}")
    return {name: _Videos(root / name, videos) for name, videos in found.items()}


def _videos(folder: Path) -> list[Path]:
    """Return the videos of every class: files, or folders of images."""
    found = []
    for of_class in subfolders(folder):
        files = sorted(path for path in of_class.iterdir() if path.suffix.lower() in _VIDEOS)
        found += [path for path in files if not path.name.startswith(".")]
        found += [path for path in subfolders(of_class) if any(map(is_image_name, map(str, path.iterdir())))]
    return found


def _frames_of(video: Path) -> Iterator[Tensor]:
    """Yield a video's frames, (3, H, W) uint8; of a folder in the order of the numbers in their names."""
    if video.is_dir():
        files = [path for path in video.iterdir() if is_image_name(str(path))]
        for path in sorted(files, key=_by_number):
            yield to_tensor(open_rgb(path, str(path)))
        return
    try:
        import cv2
    except ImportError as error:
        raise InputError(
            f"{video}: videos need OpenCV; pip install opencv-python-headless, or unpack each into a folder "
            "of its frames"
        ) from error
    capture = cv2.VideoCapture(str(video))
    try:
        read, frame = capture.read()
        if not read:
            raise InputError(f"{video} cannot be read as a video; fetch it again")
        while read:
            yield torch.from_numpy(np.ascontiguousarray(frame[..., ::-1])).permute(2, 0, 1)
            read, frame = capture.read()
    finally:
        capture.release()


def _by_number(path: Path) -> list[tuple[int, str]]:
    return [(int(part), "") if part.isdigit() else (-1, part) for part in re.split(r"(\d+)", path.name)]
