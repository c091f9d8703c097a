"""One way to name a data set, one way to load it."""

from pushpull.data.batches import Batch, Sample, StreamBatch, StreamDataset, collate_readable, eval_batches
from pushpull.data.decode import SkipLimit, UnreadableImageError
from pushpull.data.images import ImageSplit, ResidentImages
from pushpull.data.load import DataConfig, DataSplits, load_data, register_data
from pushpull.data.preprocessing import Framing, Preprocessing

__all__ = [
    "Batch",
    "DataConfig",
    "DataSplits",
    "Framing",
    "ImageSplit",
    "Preprocessing",
    "ResidentImages",
    "Sample",
    "SkipLimit",
    "StreamBatch",
    "StreamDataset",
    "UnreadableImageError",
    "collate_readable",
    "eval_batches",
    "load_data",
    "register_data",
]
