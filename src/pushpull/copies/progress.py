"""The progress bar of a corrupted copy."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager


@contextmanager
def copy_bar(total: int, done: int, *, enabled: bool) -> Iterator[Callable[[int], None]]:
    """Show images written, images a second and the time left on standard error.

    Args:
        total: images of all conditions together.
        done: how many of them an earlier run wrote.
        enabled: False: show nothing.

    Yields:
        What to call with the number of images written so far.
    """
    if not enabled:
        yield lambda written: None
        return
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (
        TextColumn("corrupting"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.fields[speed]}"),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=Console(stderr=True)) as rich:
        task = rich.add_task("", total=total, completed=done, speed="")

        def show(written: int) -> None:
            speed = rich.tasks[0].speed
            rich.update(task, completed=written, speed=f"{speed:,.0f} images/s" if speed else "")

        yield show
