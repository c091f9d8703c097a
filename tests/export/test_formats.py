"""What an older torch lacks is said with the version that brings it."""

import pytest
import torch
from torch.torch_version import TorchVersion

from pushpull.errors import InputError
from pushpull.export import formats
from pushpull.unit.backends import triton as kernels


@pytest.mark.parametrize(
    ("version", "said"), [("2.6.0+cu124", "torch 2.7 or later"), ("2.10.0", "another --opset")]
)
def test_onnx_that_cannot_be_written(version, said, monkeypatch, tmp_path):
    def fails(*_, **__):
        raise TypeError("onnxscript and torch disagree")

    monkeypatch.setattr(torch, "__version__", TorchVersion(version))
    monkeypatch.setattr(torch.onnx, "export", fails)
    monkeypatch.setattr(formats, "open_axes", lambda program: {})
    with pytest.raises(InputError, match=f"disagree.*; choose --format exported-program, or {said}$"):
        formats.write_onnx(None, tmp_path / "m.onnx", {}, None)
    assert not list(tmp_path.iterdir())


def test_an_older_triton_is_left_out_with_a_word(monkeypatch):
    triton = pytest.importorskip("triton")
    monkeypatch.setattr(triton, "__version__", "3.2.0")
    with pytest.warns(UserWarning, match=r"triton 3\.2\.0 is older than 3\.3, which comes with torch 2\.7"):
        assert not kernels._probe.__wrapped__(0, bfloat16=False)
