"""PromQL with names in it: `$service`, `$window` and so on, filled in so that they cannot change what is asked."""

import re
from collections.abc import Mapping

_NAME = re.compile(r"\$(?:\{([A-Za-z_]\w*)\}|([A-Za-z_]\w*))")
_PLAIN = re.compile(r'[^"\'`\\\n]+')


def names(query: str) -> tuple[str, ...]:
    """Return the names in a query, in order, each once."""
    return tuple(dict.fromkeys(match[1] or match[2] for match in _NAME.finditer(query)))


def fill(query: str, values: Mapping[str, str]) -> str:
    """Return the query with its names filled in.

    The names may also be written `${service}`. A `$` that is not followed by a name is left alone: regular expressions
    and label_replace's `$1` need it.

    Args:
        query: PromQL with names.
        values: by name, without the `$`.

    Raises:
        ValueError: an unknown name, or a value that would end a string in the query.
    """

    def filled(match: re.Match[str]) -> str:
        name = match[1] or match[2]
        if name not in values:
            raise ValueError(f"unknown name ${name} in the query; known: {', '.join(f'${known}' for known in values)}")
        if not _PLAIN.fullmatch(values[name]):
            raise ValueError(f"${name} cannot be filled into a query: {values[name]!r} has a quote, or is empty")
        return values[name]

    return _NAME.sub(filled, query)


def window(window_s: float) -> str:
    """Return a time span as PromQL writes it, whole milliseconds kept: '300s', '1500ms'.

    Raises:
        ValueError: it is not above zero.
    """
    milliseconds = round(window_s * 1000)
    if milliseconds <= 0:
        raise ValueError(f"expected a window above zero; found {window_s} s")
    seconds, rest = divmod(milliseconds, 1000)
    return f"{milliseconds}ms" if rest else f"{seconds}s"
