"""Corrupted copies of data sets, on disk, and the picture of all corruptions."""

from pushpull.copies.gallery import draw_gallery
from pushpull.copies.sample_image import sample_image
from pushpull.copies.write import write_corrupted

__all__ = ["draw_gallery", "sample_image", "write_corrupted"]
