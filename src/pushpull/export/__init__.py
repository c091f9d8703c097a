"""Networks as files that other programs run: ONNX, torch.export's archive, safetensors."""

from pushpull.export.card import Card, FileCard, read_card
from pushpull.export.check import Agreement
from pushpull.export.formats import FORMATS, load_onnx, load_program
from pushpull.export.write import ExportOptions, export_model

__all__ = [
    "FORMATS",
    "Agreement",
    "Card",
    "ExportOptions",
    "FileCard",
    "export_model",
    "load_onnx",
    "load_program",
    "read_card",
]
