"""Text without its secrets. Used on every line before it reaches a log, an artifact, the ledger or an error."""

import base64
import json
import re
import threading
from collections.abc import Iterable, Iterator
from urllib.parse import quote, quote_plus, unquote

from tasks.common.markdown import escape

MASK = "[redacted]"

# Shapes that are secrets wherever they stand, also when nobody told us their values. Each is written so that a search
# is linear in the length of the line: no two neighbouring repetitions can match the same character, and a shape with a
# repetition cannot begin in the middle of that repetition.
_SHAPES = re.compile(
    r"""
    \b(?:AKIA|ASIA)[0-9A-Z]{16}\b                                  # AWS access key id
    | \bgh[pousr]_[A-Za-z0-9]{36,} | \bgithub_pat_\w{22,}           # GitHub tokens
    | \bglpat-[\w-]{20,}                                           # GitLab token
    | \bxox[abprs]-[\w-]{10,}                                      # Slack tokens
    | (?<![\w-])eyJ[\w-]{8,}\.eyJ[\w-]{8,}\.[\w-]*                 # JSON web token
    | -----BEGIN[ ][A-Z ]*PRIVATE[ ]KEY-----[\s\S]*?(?:-----END[ ][A-Z ]*-----|\Z)
    | (?<=://)[^\s/:@"'<>]*:[^\s/"'<>]+(?=@)                       # user:password in an address
    """,
    re.VERBOSE,
)
# What follows these words is a secret. A bare 'secret:' or 'token:' is left alone: it stands in ordinary sentences and
# in references such as aws-secret:NAME#KEY, which an operator has to be able to read.
_WORDS = r"(?:password|passwd|secret|token|api[_-]?key|access[_-]?key)"
_KEYED = re.compile(
    rf"""
    ( {_WORDS}[\w-]{{0,40}}["']?[ ]{{0,2}}=[ ]{{0,2}}                   # password=..., AWS_SECRET_ACCESS_KEY = ...
    | {_WORDS}[\w-]{{0,40}}["'][ ]?:[ ]?(?=["'])                     # "password": "..."
    | (?<!\S)--{_WORDS}[ ]                                         # --password ...
    | (?:x-api-key|x-auth-token|private-token)["']?[ ]?:[ ]?
    | authorization["']?[ ]?[:=][ ]?["']?(?:bearer|basic|token)[ ]
    | \bbearer[ ](?=[\w.~+/=-]{{20}})
    )
    ( "(?:[^"\\]|\\.)++"? | '(?:[^'\\]|\\.)++'? | [^\s&'"]+ )
    """,
    re.VERBOSE | re.IGNORECASE,
)
# The password inside an address or a list of connection parameters is also printed on its own. A short one, or one that
# is the user's name, is left readable where it stands alone: it is as likely the name of a service.
_IN_ADDRESS = re.compile(r"://(?P<user>[^\s/:@]*):(?!(?P=user)@)(?P<password>[^\s/]{8,})@")
_IN_PARAMETERS = re.compile(r"\bpassword=(?P<password>[^\s'&]{8,})|\bpassword='(?P<quoted>[^']{8,})'")
_SHORTEST = 4
_SHORTEST_INNER = 8
_ROUNDS = 4
# Shorter than any value that is replaced, so that it cannot hold one.
_NOTHING_LEFT = "***"
# Secrets are resolved side by side; without it one of two values that are added at once would be forgotten.
_ADDING = threading.Lock()


class Redactor:
    """Replaces known secret values, their base64, URL, JSON and Markdown forms, and everything of a secret's shape.

    A value shorter than four characters, white space at its ends not counted, is not replaced: that would blank out
    ordinary text, and hide no secret. Any longer one is, also a common word such as "true": a log with holes can be
    read, and a secret that was shown cannot be hidden again. It works on the text that it is given; a value of several
    lines is also found line by line.
    """

    def __init__(self, values: Iterable[str] = ()) -> None:
        self._forms: tuple[str, ...] = ()
        for value in values:
            self.add(value)

    def add(self, value: str) -> None:
        """From now on the value is replaced, and each of its lines, and the password inside an address."""
        parts = {part.strip() for part in (value, *value.splitlines(), *_passwords(value))}
        forms = {form for part in parts if len(part) >= _SHORTEST for form in _forms(part)}
        with _ADDING:
            self._forms = tuple(sorted({*self._forms, *forms} - {MASK}))

    def redact(self, text: str) -> str:
        """Return the text with every secret replaced by a mask. *Idempotent:* yes; a redacted text stays as it is."""
        for _ in range(_ROUNDS):
            masked = _KEYED.sub(rf"\g<1>{MASK}", _SHAPES.sub(MASK, self._without_values(text)))
            if masked == text:
                return text
            text = masked
        # A mask and its neighbours make up a secret again, so nothing of the text can be shown.
        return _NOTHING_LEFT

    def _without_values(self, text: str) -> str:
        spans = sorted(span for form in self._forms for span in _spans(form, text))
        if not spans:
            return text
        pieces, shown_to = [], 0
        start, end = spans[0]
        for next_start, next_end in [*spans[1:], (len(text) + 1, 0)]:
            if next_start > end:
                pieces += [text[shown_to:start], MASK]
                shown_to, start, end = end, next_start, next_end
            else:
                end = max(end, next_end)
        return "".join([*pieces, text[shown_to:]])


def _spans(form: str, text: str) -> Iterator[tuple[int, int]]:
    """Yield where the form stands, overlapping places too: half a secret is not left over."""
    start = text.find(form)
    while start >= 0:
        yield start, start + len(form)
        start = text.find(form, start + 1)


def _passwords(value: str) -> Iterator[str]:
    for match in _IN_ADDRESS.finditer(value):
        yield match["password"]
        yield unquote(match["password"])
    for match in _IN_PARAMETERS.finditer(value):
        yield match["password"] or match["quoted"]


def _forms(value: str) -> Iterator[str]:
    data = value.encode("utf-8", errors="surrogatepass")
    yield value
    yield quote(data, safe="")
    yield quote(data, safe="/")
    yield quote_plus(data)
    yield json.dumps(value)[1:-1]
    yield json.dumps(value, ensure_ascii=False)[1:-1]
    yield escape(value)
    yield base64.b64encode(data).decode().rstrip("=")
    yield base64.urlsafe_b64encode(data).decode().rstrip("=")
    for before in range(3):
        # Inside a longer encoded text ('user:password' of basic authentication) the value may begin at any of three
        # offsets; only the characters that it alone determines are the same whatever surrounds it.
        inner = base64.b64encode(b"\0" * before + data).decode().rstrip("=")
        inner = inner[-(-before * 8 // 6) : (before + len(data)) * 8 // 6]
        if len(inner) >= _SHORTEST_INNER:
            yield inner
            yield inner.replace("+", "-").replace("/", "_")
