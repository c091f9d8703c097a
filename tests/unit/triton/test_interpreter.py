"""The kernels on the CPU: Triton's interpreter is chosen at its import, so it needs a process of its own."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from unit.triton.conftest import INTERPRETED

ROOT = Path(__file__).parents[3]
# Each group pays a start of PyTorch; two of them may run beside each other.
GROUPS = [["test_inhibit.py"], ["test_box.py", "test_stem.py", "test_unit.py"]]


def test_no_file_is_forgotten() -> None:
    others = {"test_interpreter.py", "test_builds.py", "test_cuda.py"}
    found = {p.name for p in Path(__file__).parent.glob("test_*.py")} - others
    assert found == {name for group in GROUPS for name in group}


@pytest.mark.skipif(INTERPRETED, reason="this is the process of its own")
@pytest.mark.parametrize("files", GROUPS, ids=["inhibit", "others"])
def test_in_the_interpreter(files: list[str]) -> None:
    pytest.importorskip("triton", minversion="3.3")
    environment = {k: v for k, v in os.environ.items() if not k.startswith("PYTEST")}
    environment |= {"TRITON_INTERPRET": "1", "OMP_NUM_THREADS": "1", "PYTHONPATH": os.pathsep.join(sys.path)}
    command = [sys.executable, "-m", "pytest", "-p", "no:xdist", "-p", "no:cacheprovider", "--durations=5"]
    done = subprocess.run(
        [*command, *(str(Path(__file__).with_name(name)) for name in files)],
        check=False, capture_output=True, text=True, env=environment, cwd=ROOT, timeout=300,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout[-6000:] + done.stderr[-2000:]
    assert " passed" in done.stdout
    assert "skipped" not in done.stdout
