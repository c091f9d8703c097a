"""Where the kernels run: on a GPU, or in Triton's interpreter on the CPU where TRITON_INTERPRET=1 says so."""

import os
from collections.abc import Iterator

import pytest
import torch

from pushpull.unit.backends import cpu as chunks
from pushpull.unit.backends import triton as kernels

INTERPRETED = os.environ.get("TRITON_INTERPRET") == "1"


def pytest_report_header() -> str:
    return f"kernels: {'interpreted' if INTERPRETED else 'on a GPU, where there is one'}"


@pytest.fixture
def device(monkeypatch: pytest.MonkeyPatch) -> Iterator[torch.device]:
    """The device of the kernels; memory that they do not write reads as NaN or 255."""
    pytest.importorskip("triton", minversion="3.3")
    if INTERPRETED:
        monkeypatch.setattr(kernels, "DEVICES", ("cpu",))
        monkeypatch.setattr(chunks, "DEVICES", ())
    elif not torch.cuda.is_available():
        pytest.skip("needs a GPU; test_interpreter.py runs this on the CPU")
    # Convolutions in single precision, not in TF32: the tolerances are single precision's.
    monkeypatch.setattr(torch.backends.cudnn, "allow_tf32", False)
    torch.use_deterministic_algorithms(True, warn_only=True)
    assert torch.utils.deterministic.fill_uninitialized_memory
    yield torch.device("cpu" if INTERPRETED else "cuda")
    torch.use_deterministic_algorithms(False)
