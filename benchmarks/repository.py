"""Where things stand: importing this makes the oracles in `tests/` importable, for every benchmark.

At the end of the path: `corruptions` shall be the program beside this file, not the folder of tests.
"""

import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
RESULTS = ROOT / "benchmarks" / "results"
SHARED = ROOT.parent / "shared"

if (tests := str(ROOT / "tests")) not in sys.path:
    sys.path.append(tests)
