"""Published sets of sequences: ImageNet-P (videos, or folders of their frames) and CIFAR-10-P (arrays)."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from pushpull.data.decode import open_rgb
from pushpull.data.folder import is_image_name, subfolders
from pushpull.data.preprocessing import to_tensor
from pushpull.errors import InputError, MissingFileError, one_line
from pushpull.files import user_path

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
