"""What several test files share."""

from pathlib import Path

import pytest
import torch
from torch import Tensor

_CANDIDATE = Path(__file__).resolve().parents[2] / "shared"
SHARED: Path | None = _CANDIDATE if (_CANDIDATE / "golden").is_dir() else None
needs_shared = pytest.mark.skipif(SHARED is None, reason="needs the folder shared/ beside the repository")
# Without it a compiler looks like an export: both get plain operations, not all of which torch 2.6 compiles.
tells_export = hasattr(torch.compiler, "is_exporting")
needs_operator = pytest.mark.skipif(not tells_export, reason="needs torch.compiler.is_exporting (torch 2.7)")

# Largest difference allowed, as a share of the largest value (at least 1). fp16 has 3 more bits than bf16.
TOLERANCE = {torch.float64: 1e-12, torch.float32: 1e-5, torch.float16: 1e-3, torch.bfloat16: 8e-3}


def assert_near(got: Tensor, expected: Tensor, dtype: torch.dtype | None = None) -> None:
    """Assert that shapes agree, and values within the tolerance of `dtype` (default: that of `got`)."""
    assert got.shape == expected.shape
    limit = TOLERANCE[dtype or got.dtype]
    got, expected = got.detach().double(), expected.detach().double()
    scale = max(1.0, expected.abs().max().item()) if expected.numel() else 1.0
    torch.testing.assert_close(got, expected, rtol=0.0, atol=limit * scale)


def random_tensor(*shape: int, seed: int = 0, dtype: torch.dtype = torch.float64) -> Tensor:
    """Return normal numbers that depend on the seed alone: the same in float64 for every dtype."""
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64).to(dtype)
