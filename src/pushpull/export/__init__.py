"""Networks as files that other programs run: ONNX, torch.export's archive, safetensors."""

from pushpull.export.exporting import Agreement, ExportOptions, export_model
from pushpull.export.formats import FORMATS, Card, FileCard, load_onnx, load_program, read_card

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
