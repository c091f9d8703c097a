"""The command `pushpull leaderboard`."""

from __future__ import annotations

from pushpull.errors import say
from pushpull.reports.leaderboard import leaderboard


def leaderboard_command(
    folders: list[str], output: str = "leaderboard.html", title: str = "Leaderboard"
) -> None:
    """Write one page over many results: task, data set, metric, value, model, and progress over time.

    What was not measured alike stands in parts of its own.

    Args:
        folders: Folders; every results.json in and below them is entered. Or files of results.
        output: The page, one self-contained file.
        title: Its heading.

    Example:
        pushpull leaderboard runs --output leaderboard.html
    """
    say(f"Leaderboard: {leaderboard(folders, output, title=title).resolve()}")
