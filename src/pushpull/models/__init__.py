"""Networks by name, with a plain or a push-pull first layer. The import registers `pushpull_*` with timm."""

from pushpull.models import timm_entry as timm_entry
from pushpull.models.cifar import CifarResNet, resnet8, resnet14, resnet20, resnet32
from pushpull.models.factory import MODELS, create_model, default_input_style
from pushpull.models.loading import load_weights
from pushpull.models.network import Network, NetworkSpec, load_network, load_run, model_preprocessing
from pushpull.models.resnet import (
    PushPullResNet,
    resnet18,
    resnet34,
    resnet50,
    resnet101,
    resnet152,
    resnext50_32x4d,
)
from pushpull.models.stems import INPUT_STYLES, STEMS, Comparator, Stem

__all__ = [
    "INPUT_STYLES",
    "MODELS",
    "STEMS",
    "CifarResNet",
    "Comparator",
    "Network",
    "NetworkSpec",
    "PushPullResNet",
    "Stem",
    "create_model",
    "default_input_style",
    "load_network",
    "load_run",
    "load_weights",
    "model_preprocessing",
    "resnet8",
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
