"""Networks by name, with a chosen first layer. The import registers `pushpull_*` with timm."""

from pushpull.models.factory import MODELS, create_model, default_input_style
from pushpull.models.libraries import model_preprocessing
from pushpull.models.loading import load_weights
from pushpull.models.network import Network, NetworkSpec, load_network, load_run
from pushpull.models.resnet import (
    INPUT_STYLES,
    CifarResNet,
    PushPullResNet,
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
from pushpull.models.stems import STEMS, register_stem

__all__ = [
    "INPUT_STYLES",
    "MODELS",
    "STEMS",
    "CifarResNet",
    "Network",
    "NetworkSpec",
    "PushPullResNet",
    "create_model",
    "default_input_style",
    "load_network",
    "load_run",
    "load_weights",
    "model_preprocessing",
    "register_stem",
    "resnet8",
    "resnet10",
    "resnet14",
    "resnet18",
    "resnet20",
    "resnet32",
    "resnet34",
    "resnet50",
    "resnet101",
    "resnet152",
    "resnext50_32x4d",
]
