"""Tables into pages: what stands between the marks `<!-- NAME -->` and `<!-- end -->` is replaced."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from pushpull.errors import InputError
from pushpull.files import write_text


def fill(page: Path, texts: Mapping[str, str]) -> None:
    """Put each text between its marks, whole or not at all; a page without a mark is an `InputError`."""
    names = list(texts)
    if not page.is_file():
        raise InputError(f"{page} does not exist; give a page with the mark <!-- {names[0]} -->")
    text = page.read_text(encoding="utf-8")
    for name, table in texts.items():
        mark, end = f"<!-- {name} -->", "<!-- end -->"
        if mark not in text:
            raise InputError(
                f"{page} has no mark {mark}; put it, and {end} after it, where the table shall stand"
            )
        before, rest = text.split(mark, 1)
        text = f"{before}{mark}\n\n{table}\n\n{end}{rest.split(end, 1)[-1]}"
    write_text(page, text)
