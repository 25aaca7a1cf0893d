"""Text without its secrets. Used on every line before it reaches a log, an artifact, the ledger or an error."""

import base64
import re
from collections.abc import Iterable
from urllib.parse import quote

MASK = "[redacted]"

# Shapes that are secrets wherever they stand, also when nobody told us their values.
_SHAPES = re.compile(
    r"""
    \b(?:AKIA|ASIA)[0-9A-Z]{16}\b                                  # AWS access key id
    | \bgh[pousr]_[A-Za-z0-9]{36,}\b | \bgithub_pat_\w{22,}         # GitHub tokens
    | \bglpat-[\w-]{20,}                                           # GitLab token
    | \bxox[abprs]-[\w-]{10,}                                      # Slack tokens
    | \beyJ[\w-]{8,}\.eyJ[\w-]{8,}\.[\w-]*                         # JSON web token
    | -----BEGIN[ ](?:[A-Z]+[ ])?PRIVATE[ ]KEY-----.*              # first line of a private key
    | (?<=://)[^\s/:@]+:[^\s/@]+(?=@)                              # user:password in an address
    | (?i:(?<=password=)|(?<=passwd=)|(?<=secret=)|(?<=token=)|(?<=authorization:\ bearer\ ))[^\s&'"]+
    """,
    re.VERBOSE,
)
_SHORTEST = 4


class Redactor:
    """Replaces known secret values, their base64 and URL forms, and everything that is shaped like a secret.

    Values shorter than four characters are not replaced: that would blank out ordinary text, and hide no secret.
    """

    def __init__(self, values: Iterable[str] = ()) -> None:
        self._values: set[str] = set()
        self._pattern: re.Pattern[str] | None = None
        for value in values:
            self.add(value)

    def add(self, value: str) -> None:
        """From now on the value is replaced. Each line of a value of several lines is, too."""
        for part in {line.strip() for line in (value, *value.splitlines())}:
            if len(part) >= _SHORTEST:
                encoded = base64.b64encode(part.encode()).decode().rstrip("=")
                self._values |= {part, encoded, quote(part, safe="")}
        longest_first = sorted(self._values, key=len, reverse=True)
        self._pattern = re.compile("|".join(map(re.escape, longest_first))) if longest_first else None

    def redact(self, text: str) -> str:
        """Return the text with every secret replaced by a mask."""
        if self._pattern is not None:
            text = self._pattern.sub(MASK, text)
        return _SHAPES.sub(MASK, text)
