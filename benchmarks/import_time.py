"""Time of `import pushpull` beside `import torch`: at most 1.2 times as long.

    python benchmarks/import_time.py

Each statement runs in a fresh interpreter, whose own start is in every time; the statements take turns, so
that a busy moment touches all. One round of warm-up fills the file cache.
"""

import os
import platform
import statistics
import subprocess
import sys
import time

REPEATS = 7
STATEMENTS = ("import torch", "import pushpull", "import pushpull; pushpull.PushPullConv2d")


def seconds(statement: str) -> float:
    """Run the statement in a new interpreter and return the wall-clock time."""
    start = time.perf_counter()
    subprocess.run([sys.executable, "-c", statement], check=True)
    return time.perf_counter() - start


def main() -> None:
    """Print median, spread and the ratio to `import torch` of every statement."""
    rounds = [[seconds(statement) for statement in STATEMENTS] for _ in range(REPEATS + 1)][1:]
    machine = f"{platform.machine()}, {os.cpu_count()} cores, Python {platform.python_version()}"
    print(f"{machine}; {REPEATS} runs each")
    medians = [statistics.median(times) for times in zip(*rounds, strict=True)]
    for statement, median, times in zip(STATEMENTS, medians, zip(*rounds, strict=True), strict=True):
        spread = f"{min(times):.2f} .. {max(times):.2f}"
        print(f"{statement:45} median {median:.2f} s ({spread}), {median / medians[0]:.2f} x torch")


if __name__ == "__main__":
    main()
