"""The fingerprint of a schema: one short digest an object, so that differences have names and no contents."""

import hashlib
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

EXPRESSIONS = frozenset({"column", "constraint", "index", "view", "policy", "rule", "type"})
"""Kinds whose definitions PostgreSQL writes anew from a parsed expression."""

_CAST = re.compile(
    r"::(?:\"[^\"]+\"|[\w.]+)(?: varying| precision| with(?:out)? time zone)?(?:\(\d+(?:,\d+)?\))?(?:\[\])*"
)
_LITERAL = re.compile(r"('(?:[^']|'')*')")
_LAYOUT = re.compile(r"[\s()]+")
_DIGITS = 16


@dataclass(frozen=True)
class Differences:
    """What a copy has not, has besides, and has otherwise: names of objects, in order."""

    missing: tuple[str, ...]
    additional: tuple[str, ...]
    changed: tuple[str, ...]

    def __bool__(self) -> bool:
        return bool(self.missing or self.additional or self.changed)


def fingerprint(objects: Iterable[tuple[str, str, str]]) -> dict[str, str]:
    """Return a digest for each object.

    A dump that is restored brings the same expressions back with other brackets and casts: `x IN ('a')` on a varchar
    is written differently the second time. Those are left out of a digest, but for what stands in quotes.

    Args:
        objects: kind, name and definition of each.
    """
    return {f"{kind} {name}": _digest(_plain(text) if kind in EXPRESSIONS else text) for kind, name, text in objects}


def differences(wanted: Mapping[str, str], found: Mapping[str, str]) -> Differences:
    """Return how a copy's fingerprint differs from its source's."""
    return Differences(
        tuple(sorted(wanted.keys() - found.keys())),
        tuple(sorted(found.keys() - wanted.keys())),
        tuple(sorted(name for name in wanted.keys() & found.keys() if wanted[name] != found[name])),
    )


def _plain(definition: str) -> str:
    parts = _LITERAL.split(definition)
    return "".join(part if at % 2 else _LAYOUT.sub(" ", _CAST.sub("", part)).strip() for at, part in enumerate(parts))


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:_DIGITS]
