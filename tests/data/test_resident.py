import io
from concurrent.futures import Future

import pytest
from rich.console import Console

from pushpull.data.images import with_progress


def finished(value):
    task: Future = Future()
    task.set_result(value)
    return task


class Late(Future):
    """A task whose result comes when it is waited for without a limit."""

    def exception(self, timeout=None):
        if timeout is not None:
            raise TimeoutError
        self.set_result("late")
        return super().exception()


@pytest.fixture
def terminal(monkeypatch):
    """What a console on a terminal is sent."""
    text = io.StringIO()
    monkeypatch.setattr("rich.console.Console", lambda **_: Console(file=text, force_terminal=True))
    return text


def test_no_bar_for_what_is_quick(terminal):
    tasks = [finished(number) for number in range(3)]
    assert [task.result() for task in with_progress(tasks, "reading test")] == [0, 1, 2]
    assert terminal.getvalue() == ""


def test_a_bar_once_a_task_is_late_and_no_task_twice(terminal):
    tasks = [finished("first"), Late(), finished("last")]
    assert [task.result() for task in with_progress(tasks, "reading test")] == ["first", "late", "last"]
    assert "reading test" in terminal.getvalue()
