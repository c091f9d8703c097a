"""The progress bar of an evaluation."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any


class Progress:
    """One bar for all conditions.

    Args:
        rich: the library's display, with one task.
        images: how many a condition has.
    """

    def __init__(self, rich: Any, images: int) -> None:
        self.rich, self.task, self.images, self.done = rich, rich.tasks[0].id, images, 0

    def begin(self, title: str) -> None:
        """Say which condition begins."""
        self.rich.update(self.task, description=title)

    def advance(self, images: int) -> None:
        """Count images that are done."""
        self.rich.advance(self.task, images)

    def finish(self) -> None:
        """Count the condition: unreadable images were not counted, and the bar still ends full."""
        self.done += 1
        self.rich.update(self.task, done=self.done, completed=self.done * self.images)


@contextmanager
def progress_bar(conditions: int, images: int, what: str = "conditions") -> Iterator[Progress]:
    """Show conditions done, images per second and the time left on standard error.

    Args:
        conditions: how many there are to do.
        images: how many each has.
        what: they are called.
    """
    from rich.console import Console
    from rich.progress import BarColumn, ProgressColumn, TextColumn, TimeRemainingColumn
    from rich.progress import Progress as RichProgress
    from rich.progress import Task as RichTask
    from rich.text import Text

    class Speed(ProgressColumn):
        def render(self, task: RichTask) -> Text:
            return Text(f"{task.speed:,.0f} images/s" if task.speed else "")

    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        TextColumn("{task.fields[done]}/{task.fields[conditions]} {task.fields[what]}"),
        Speed(),
        TimeRemainingColumn(),
    )
    with RichProgress(*columns, console=Console(stderr=True)) as rich:
        rich.add_task("", total=conditions * images, done=0, conditions=conditions, what=what)
        yield Progress(rich, images)
