"""Glob patterns of a service file: which files of a tree go into the artefact."""

import re
from collections.abc import Callable, Sequence

from tasks.common.errors import Refused

_TOKENS = re.compile(r"\*\*/|\*\*|\*|\?|\[!?[^]/]+\]|.", re.DOTALL)
_MEANINGS = {"**/": "(?:.*/)?", "**": ".*", "*": "[^/]*", "?": "[^/]"}


def matcher(pattern: str) -> Callable[[str], bool]:
    """Return whether a path (with slashes, from the tree's root) matches the pattern.

    `*` and `?` stop at a slash, `**` does not; `**/` stands for no folder, too. A pattern that matches a folder matches
    everything in it, so that excluding `tests` excludes the tests.

    Raises:
        Refused: the pattern is malformed.
    """
    tokens = _TOKENS.findall(pattern.removeprefix("./").rstrip("/"))
    try:
        expression = re.compile("".join(map(_regex, tokens)) + "(?:/.*)?", re.DOTALL)
    except re.error as error:
        raise Refused(
            f"not a glob pattern: {error}",
            on=repr(pattern),
            next_action="correct it under build.include or build.exclude of the service file",
        ) from error
    return lambda path: expression.fullmatch(path) is not None


def any_matcher(patterns: Sequence[str]) -> Callable[[str], bool]:
    """Return whether a path matches at least one of the patterns.

    Raises:
        Refused: a pattern is malformed.
    """
    matchers = [matcher(pattern) for pattern in patterns]
    return lambda path: any(matches(path) for matches in matchers)


def _regex(token: str) -> str:
    if token in _MEANINGS:
        return _MEANINGS[token]
    if len(token) > 1:
        inner = token[1:-1].replace("\\", r"\\")
        return f"[^/{inner[1:]}]" if inner.startswith("!") else f"[{inner}]"
    return re.escape(token)
