"""One way to name a data set, one way to load it."""

from pushpull.data.batches import Batch, Sample, StreamBatch, StreamDataset, collate_readable, eval_batches
from pushpull.data.config import DataConfig
from pushpull.data.decode import UnreadableImageError
from pushpull.data.images import ImageSplit
from pushpull.data.load import DataSplits, load_data
from pushpull.data.preprocessing import Framing, Preprocessing
from pushpull.data.resident import ResidentImages
from pushpull.data.unreadable import SkipLimit

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
]
