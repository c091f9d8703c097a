"""Entry points for torch.hub: `torch.hub.load("FOLDER", "resnet50", source="local", stem="pp3")`."""

import importlib.util
import sys
from pathlib import Path

_found = importlib.util.find_spec("pushpull")
if _found is None or _found.origin is None:  # not installed; no origin: an empty folder of that name
    sys.path.insert(0, str(Path(__file__).resolve().parent / "src"))

dependencies = ["torch", "torchvision", "timm", "jaxtyping", "PIL", "safetensors"]

from pushpull.models import (  # noqa: E402, F401
    create_model,
    resnet8,
    resnet10,
    resnet14,
    resnet18,
    resnet20,
    resnet32,
    resnet34,
    resnet50,
    resnet101,
    resnet152,
    resnext50_32x4d,
)
