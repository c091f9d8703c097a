"""What the site does to docstrings: examples (`>>>`) are code, wherever in a docstring they stand."""

import re
from textwrap import indent

import griffe

# A run of lines up to an empty one, of which the first asks; the text of an "Example:" is indented.
_EXAMPLE = re.compile(r"^(?P<margin>[ ]*)>>> (?:.+\n?)+", re.MULTILINE)


class FencedExamples(griffe.Extension):
    """Fences around examples: without them `[0.5, 1.0]` would be read as a link, and `_` as emphasis."""

    def on_object(self, *, obj, **_):
        if obj.docstring is not None:
            obj.docstring.value = _EXAMPLE.sub(_fenced, obj.docstring.value)


def _fenced(found):
    margin = found["margin"]
    return indent("```pycon\n", margin) + found[0].rstrip("\n") + "\n" + indent("```\n", margin)
