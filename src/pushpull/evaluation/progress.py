"""The progress bar of an evaluation."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Protocol


class Progress(Protocol):
    """What the runner reports to."""

    def begin(self, title: str) -> None:
        """A condition begins."""

    def advance(self, images: int) -> None:
        """So many more images are done."""

    def finish(self) -> None:
        """The condition is done."""


class _Silent:
    def begin(self, title: str) -> None: ...
    def advance(self, images: int) -> None: ...
    def finish(self) -> None: ...


@contextmanager
def progress_bar(conditions: int, images: int, *, enabled: bool) -> Iterator[Progress]:
    """Show conditions done, images a second and the time left on standard error.

    Args:
        conditions: how many there are to do.
        images: how many each has.
        enabled: False: show nothing.
    """
    if not enabled or conditions == 0:
        yield _Silent()
        return
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
        TextColumn("{task.fields[done]}/{task.fields[conditions]} conditions"),
        Speed(),
        TimeRemainingColumn(),
    )
    with RichProgress(*columns, console=Console(stderr=True)) as rich:
        yield _Bar(rich, rich.add_task("", total=conditions * images, done=0, conditions=conditions), images)


class _Bar:
    """One bar for all conditions."""

    def __init__(self, rich: Any, task: Any, images: int) -> None:
        self.rich, self.task, self.images, self.done = rich, task, images, 0

    def begin(self, title: str) -> None:
        self.rich.update(self.task, description=title)

    def advance(self, images: int) -> None:
        self.rich.advance(self.task, images)

    def finish(self) -> None:
        self.done += 1
        # Unreadable images are not counted by advance: the bar still ends full.
        self.rich.update(self.task, done=self.done, completed=self.done * self.images)
