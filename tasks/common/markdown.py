"""Tables, and text that others wrote, as they may stand in an artifact. Pure.

*Source:* CommonMark 0.31, 2.4 (what a backslash escapes); GitHub Flavored Markdown 0.29, 4.10 and 6.9 (tables, and bare
addresses that become links).
"""

import html
import re
from collections.abc import Iterable, Sequence

# What Markdown gives a meaning to within a line, and what makes links of bare addresses; html.escape deals with <>&.
_MARKDOWN = re.compile(r"[\\`*_\[\]|~@]|:(?=//)|(?<=www)\.", re.IGNORECASE)
_UNSEEN = re.compile(r"[\x00-\x1f\x7f-\x9f\u200b-\u200f\u2028-\u202e\u2066-\u2069]+")


def escape(text: str) -> str:
    """Return the text on one line, and as nothing but text.

    Nothing in it can change a table or become a link, an image or HTML: whoever wrote a commit named it.
    """
    return _MARKDOWN.sub(r"\\\g<0>", html.escape(_UNSEEN.sub(" ", text), quote=False)).strip()


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Return a Markdown table; what others wrote in its cells has to be escaped before."""
    return "\n".join([_line(head), "|" + " --- |" * len(head), *map(_line, rows)])


def _line(cells: Sequence[str]) -> str:
    return "|" + "".join(f" {cell} |" if cell else " |" for cell in cells)
