"""Corrupted copies of data sets, on disk, and the picture of all corruptions."""

from pushpull.copies.copying import CopyOptions, write_corrupted
from pushpull.copies.gallery import draw_gallery, sample_image

__all__ = ["CopyOptions", "draw_gallery", "sample_image", "write_corrupted"]
