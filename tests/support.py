"""What several test files share."""

from pathlib import Path

import pytest

_CANDIDATE = Path(__file__).resolve().parents[2] / "shared"
SHARED: Path | None = _CANDIDATE if (_CANDIDATE / "golden").is_dir() else None
needs_shared = pytest.mark.skipif(SHARED is None, reason="needs the folder shared/ beside the repository")
