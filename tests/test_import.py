"""What `import pushpull` costs and gives."""

import subprocess
import sys

import pytest

import pushpull

HEAVY = {
    "torchvision", "timm", "lightning", "matplotlib", "datasets", "sklearn", "plotly", "rich", "jsonargparse",
    "tensorboard", "pandas", "pyarrow", "scipy", "cv2", "triton", "sympy",
}  # fmt: skip


@pytest.mark.parametrize("use", ["", "pushpull.PushPullConv2d(3, 8, 3); pushpull.corrupt; dir(pushpull)"])
def test_import_loads_nothing_heavy(use: str) -> None:
    code = f"import sys, pushpull\n{use}\nprint(*{{name.split('.')[0] for name in sys.modules}})"
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=120
    )
    assert HEAVY & set(done.stdout.split()) == set()


@pytest.mark.parametrize("name", pushpull.__all__)
def test_every_public_name_is_there(name: str) -> None:
    assert getattr(pushpull, name) is not None


def test_public_names_are_listed() -> None:
    assert pushpull.__all__ == sorted(pushpull.__all__)
    assert dir(pushpull) == pushpull.__all__
    assert {*pushpull._ATTRIBUTES, *pushpull._MODULES, "__version__"} == set(pushpull.__all__)


def test_unknown_name() -> None:
    with pytest.raises(AttributeError, match="module 'pushpull' has no attribute 'PushPull'"):
        _ = pushpull.PushPull
    assert not hasattr(pushpull, "layer")
