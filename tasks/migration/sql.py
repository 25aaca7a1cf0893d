"""SQL as PostgreSQL reads it: tokens, statements, and what kind of statement each is. Pure.

*Source:* PostgreSQL manual, 4.1 Lexical Structure; where a statement ends, as psql decides it (`psqlscan.l`): not in
parentheses, and not in the body of `BEGIN ATOMIC`.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum

_SPACE = frozenset(" \t\n\r\f\v")
_OPERATOR = frozenset("+-*/<>=~!@#%^&|`?")
_QUOTED_BY = {"e": True, "b": False, "x": False, "n": False}
"""Letters that begin a literal just before a quote, and whether a backslash escapes in it."""


class BadSql(Exception):
    """What cannot be read as SQL: the line (from 1), what was found, what is expected."""

    def __init__(self, line: int, found: str, expected: str) -> None:
        self.line, self.found, self.expected = line, found, expected
        super().__init__(f"line {line}: found {found}; expected {expected}")


class Kind(StrEnum):
    """What a token is."""

    WORD = "word"
    QUOTED = "quoted"
    LITERAL = "literal"
    NUMBER = "number"
    OPERATOR = "operator"
    MARK = "mark"
    COMMENT = "comment"


@dataclass(frozen=True)
class Token:
    """One token.

    Args:
        kind: what it is.
        text: as it was written.
        start: its first character's position in the text.
        line: of its first character, from 1.
    """

    kind: Kind
    text: str
    start: int
    line: int

    @property
    def end(self) -> int:
        """Return the position behind its last character."""
        return self.start + len(self.text)

    @property
    def word(self) -> str:
        """Return a key word or unquoted name in lower case; '' for everything else."""
        return self.text.lower() if self.kind is Kind.WORD else ""

    @property
    def name(self) -> str:
        """Return the name that it stands for; '' where it is none."""
        if self.kind is Kind.QUOTED and self.text[0] == '"':
            return self.text[1:-1].replace('""', '"')
        return self.word


@dataclass(frozen=True)
class Statement:
    """One statement.

    Args:
        text: as written, without the semicolon and what is around it.
        tokens: of it, without comments; positions are those of the whole file.
        line: of its first token, from 1.
        remark: the comment just before it, without its marks; ''.
    """

    text: str
    tokens: tuple[Token, ...]
    line: int
    remark: str = ""

    def words(self, count: int) -> tuple[str, ...]:
        """Return the first tokens in lower case; names in quotes as they are."""
        return tuple(token.word or token.text for token in self.tokens[:count])

    def without(self, first: int, last: int) -> str:
        """Return its text without the tokens from one to another, that one not included."""
        start = self.tokens[0].start
        return self.text[: self.tokens[first].start - start] + self.text[self.tokens[last].start - start :]


def tokens(text: str) -> Iterator[Token]:
    """Yield all tokens, comments among them; white space goes.

    Raises:
        BadSql: something is not closed, or nothing that SQL has.
    """
    position, line = 0, 1
    while position < len(text):
        char = text[position]
        if char in _SPACE:
            line += char == "\n"
            position += 1
            continue
        kind, end = _next(text, position, line)
        yield Token(kind, text[position:end], position, line)
        line += text.count("\n", position, end)
        position = end


def _next(text: str, at: int, line: int) -> tuple[Kind, int]:
    char, two = text[at], text[at : at + 2]
    if two == "--":
        end = text.find("\n", at)
        return Kind.COMMENT, len(text) if end < 0 else end
    if two == "/*":
        return Kind.COMMENT, _comment_end(text, at, line)
    if char == "'":
        return Kind.LITERAL, _quote_end(text, at, line, escapes=False)
    if char == '"':
        return Kind.QUOTED, _quote_end(text, at, line, escapes=False)
    if text[at : at + 3].lower() in ("u&'", 'u&"'):
        kind = Kind.LITERAL if text[at + 2] == "'" else Kind.QUOTED
        return kind, _quote_end(text, at + 2, line, escapes=False)
    if char.lower() in _QUOTED_BY and text[at + 1 : at + 2] == "'":
        return Kind.LITERAL, _quote_end(text, at + 1, line, escapes=_QUOTED_BY[char.lower()])
    if _begins_name(char):
        return Kind.WORD, _while(text, at + 1, _in_name)
    if char == "$":
        return _dollar(text, at, line)
    if char.isascii() and (char.isdigit() or (char == "." and text[at + 1 : at + 2].isdigit())):
        return Kind.NUMBER, _number_end(text, at)
    if char in _OPERATOR:
        return Kind.OPERATOR, _operator_end(text, at)
    if two in ("::", ":=", ".."):
        return Kind.MARK, at + 2
    if char in "()[],;:.":
        return Kind.MARK, at + 1
    if char == "\\":
        raise BadSql(line, "a command of psql, or a lone backslash", "SQL only")
    raise BadSql(line, f"the character {char!r}", "SQL")


def _begins_name(char: str) -> bool:
    return char == "_" or not char.isascii() or char.isalpha()


def _in_name(char: str) -> bool:
    return _begins_name(char) or char == "$" or char.isdigit()


def _while(text: str, at: int, fits: object) -> int:
    assert callable(fits)
    while at < len(text) and fits(text[at]):
        at += 1
    return at


def _comment_end(text: str, at: int, line: int) -> int:
    depth, position = 1, at + 2
    while depth:
        opens, closes = text.find("/*", position), text.find("*/", position)
        if closes < 0:
            raise BadSql(line, "a comment that is not closed", "*/")
        if 0 <= opens < closes:
            depth, position = depth + 1, opens + 2
        else:
            depth, position = depth - 1, closes + 2
    return position


def _quote_end(text: str, at: int, line: int, *, escapes: bool) -> int:
    quote, position = text[at], at + 1
    while position < len(text):
        if escapes and text[position] == "\\":
            position += 2
        elif text[position] != quote:
            position += 1
        elif text[position + 1 : position + 2] == quote:
            position += 2
        else:
            return position + 1
    what = "a name in quotes" if quote == '"' else "a text in quotes"
    raise BadSql(line, f"{what} that is not closed", quote)


def _dollar(text: str, at: int, line: int) -> tuple[Kind, int]:
    if text[at + 1 : at + 2].isdigit():
        return Kind.WORD, _while(text, at + 1, str.isdigit)
    end = at + 1
    if end < len(text) and _begins_name(text[end]):
        end = _while(text, end, lambda char: _in_name(char) and char != "$")
    if text[end : end + 1] != "$":
        raise BadSql(line, "a lone $", "SQL, such as $$text$$")
    mark = text[at : end + 1]
    close = text.find(mark, end + 1)
    if close < 0:
        raise BadSql(line, f"a text after {mark} that is not closed", mark)
    return Kind.LITERAL, close + len(mark)


def _number_end(text: str, at: int) -> int:
    end = _while(text, at, lambda char: char.isalnum() or char == "_" or char == ".")
    # '1..10' of PL/pgSQL's loops, and the sign of an exponent.
    dots = text.find("..", at, end)
    if dots >= 0:
        return dots
    if end < len(text) and text[end] in "+-" and text[end - 1] in "eE" and text[at : at + 2].lower() != "0x":
        end = _while(text, end + 1, str.isdigit)
    return end


def _operator_end(text: str, at: int) -> int:
    end = _while(text, at, _OPERATOR.__contains__)
    for comment in ("--", "/*"):
        begins = text.find(comment, at + 1, end)
        if begins >= 0:
            end = begins
    # As PostgreSQL does: '=-1' is '=' and '-', unless another character makes it an operator that may end so.
    while end - at > 1 and text[end - 1] in "+-" and not any(char in "~!@#%^&|`?" for char in text[at:end]):
        end -= 1
    return end


def statements(text: str) -> tuple[Statement, ...]:
    """Return the statements of a file, in order; empty ones are left out.

    Raises:
        BadSql: it cannot be read.
    """
    found: list[Statement] = []
    part: list[Token] = []
    remarks: list[Token] = []
    depth = body = 0
    for token in tokens(text):
        if token.kind is Kind.COMMENT:
            remarks += [] if part else [token]
            continue
        if token.text == ";" and depth == 0 and body == 0:
            found += _statement(text, part, remarks)
            part, remarks = [], []
            continue
        part.append(token)
        depth = max(0, depth + (token.text == "(") - (token.text == ")"))
        body = _body(part, body)
    return tuple(found + _statement(text, part, remarks))


def _statement(text: str, part: Sequence[Token], remarks: Sequence[Token]) -> list[Statement]:
    if not part:
        return []
    return [Statement(text[part[0].start : part[-1].end], tuple(part), part[0].line, _remark(remarks))]


def _remark(remarks: Sequence[Token]) -> str:
    lines = [line.strip().removeprefix("/*").removesuffix("*/") for each in remarks for line in each.text.splitlines()]
    bare = [line.strip().lstrip("-*").strip() for line in lines]
    return " ".join(each for each in bare if each)


def _body(part: Sequence[Token], body: int) -> int:
    """Return how deep in the body of a routine in standard SQL the last token leaves us."""
    word = part[-1].word
    if word not in ("begin", "case", "end"):
        return body
    opening = [token.word for token in part[:4]]
    if opening[0] != "create" or not {"function", "procedure"} & set(opening):
        return body
    if word == "begin" or (word == "case" and body):
        return body + 1
    return max(0, body - 1) if word == "end" else body


def canonical(text: str) -> tuple[tuple[str, ...], ...]:
    """Return the tokens of each statement, without comments and white space: what a checksum is made of.

    Raises:
        BadSql: it cannot be read.
    """
    return tuple(tuple(token.text for token in each.tokens) for each in statements(text))
