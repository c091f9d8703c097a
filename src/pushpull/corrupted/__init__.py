"""Corrupted copies of data sets, on disk, and the picture of all corruptions."""

from pushpull.corrupted.gallery import draw_gallery
from pushpull.corrupted.sample_image import sample_image
from pushpull.corrupted.write import write_corrupted

__all__ = ["draw_gallery", "sample_image", "write_corrupted"]
