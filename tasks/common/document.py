"""Files in YAML, read so that every value knows its line and that nothing in them surprises.

Plain text stays text. Only `true` and `false` are truth values, only decimal numbers without leading zeros are numbers,
and only an empty place, `~` or `null` is nothing. So `no`, `on`, `22:22`, `0755`, `1_000` and `2024-01-01`, which
YAML 1.1 turns into false, true, 1342, 493, 1000 and a date, are the text that was typed.

*Source:* the core schema of YAML 1.2.2, chapter 10.3, without octal and hexadecimal numbers, infinities and NaN.
"""

import re
from dataclasses import dataclass, field
from typing import Any

import yaml

from tasks.common.model import Place

LONGEST_TEXT = 128 * 1024
DEEPEST = 32
MOST_VALUES = 10_000

_PLAIN, _QUOTED, _LIST, _MAPPING = "plain", "quoted", "list", "mapping"
_NULL = frozenset({"", "~", "null", "Null", "NULL"})
_TRUTH = {"true": True, "True": True, "TRUE": True, "false": False, "False": False, "FALSE": False}
_WHOLE = re.compile(r"-?(0|[1-9][0-9]{0,17})")
_NUMBER = re.compile(r"-?(0|[1-9][0-9]{0,17})(\.[0-9]{1,17})?([eE][-+]?[0-9]{1,2})?")
_NO_TEXT = re.compile("[\0\ud800-\udfff]")

_SYNTAX = (
    (
        "mapping values are not allowed",
        "a ':' where none can stand",
        "quotes around text with ': ' in it, even indents",
    ),
    ("that cannot start any token", "a character that no value can start with (a tab?)", "spaces, or quotes around it"),
    ("but found another document", "a second document after '---'", "one document a file"),
    ("could not find expected ':'", "a line without ':'", "'key: value', or '- value' in a list"),
    ("unexpected end of stream", "the end of the file inside quotes", "closing quotes"),
    ("expected <block end>", "a line whose indent fits nothing above", "keys of one mapping below one another"),
    ("expected ',' or", "a list or mapping in brackets that is not closed", "the closing bracket, or a comma"),
    ("undefined alias", "an alias without its anchor", "'&name' before '*name' refers to it"),
    ("duplicate anchor", "the same anchor a second time", "another name"),
    ("too deep", f"more than {DEEPEST} levels", f"at most {DEEPEST} levels"),
)
"""Parts of PyYAML's messages; what was found, what is expected. The text itself is not shown: it may be a secret."""


@dataclass(frozen=True, order=True)
class Mistake:
    """One mistake in a file: the line (from 1), the place as text, what was found and what is expected there."""

    line: int
    where: str
    found: str
    expected: str

    def __str__(self) -> str:
        """Return 'run.drain: found 15; expected a duration ...'."""
        return f"{self.where}: found {self.found}; expected {self.expected}"


@dataclass
class Document:
    """What a file says.

    Args:
        data: dictionaries, lists, text, numbers, truth values and None.
        lines: the line of every place: of the key in a mapping, of the item in a list.
        mistakes: what is wrong with the file as YAML.
        unreadable: places whose value could not be read (a mistake says why); None stands there.
        broken: the file is no YAML at all, and data is nothing that could be judged.
    """

    data: Any = None
    lines: dict[Place, int] = field(default_factory=dict)
    mistakes: list[Mistake] = field(default_factory=list)
    unreadable: set[Place] = field(default_factory=set)
    broken: bool = False

    def line(self, place: Place) -> int:
        """Return the line of a place, or of what is around it where the place itself does not exist."""
        while place and place not in self.lines:
            place = place[:-1]
        return self.lines.get(place, 1)

    def at(self, place: Place) -> Any:
        """Return what stands at a place; None where there is nothing."""
        value = self.data
        for step in place:
            if isinstance(value, dict):
                value = value.get(step)
            elif isinstance(value, list) and isinstance(step, int) and step < len(value):
                value = value[step]
            else:
                return None
        return value


def show_place(place: Place) -> str:
    """Return 'run.probes.readiness' or 'stages[2].weight'; unprintable characters of keys are escaped."""
    text = ""
    for step in place:
        if isinstance(step, int):
            text += f"[{step}]"
        else:
            shown = step if step.isprintable() else repr(step)
            text += ("." if text else "") + (shown if len(shown) <= 60 else shown[:60] + "…")
    return text or "the file"


def read(text: str) -> Document:
    """Return what a file says, and what is wrong with it as YAML. Nothing in the text is ever executed or looked up."""
    if len(text) > LONGEST_TEXT:
        return _broken(1, f"{len(text)} characters", f"at most {LONGEST_TEXT}")
    loader: _Loader | None = None
    try:
        loader = _Loader(text)
        node = loader.get_single_node()
    except yaml.reader.ReaderError as error:
        line = text.count("\n", 0, error.position) + 1
        return _broken(line, f"the unprintable character {chr(error.character)!r}", "printable text")
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        return _broken(mark.line + 1 if mark else 1, *_in_words(str(error.problem)))
    except (ValueError, OverflowError):  # PyYAML converts "\UFFFFFFFF" and '%YAML 9999...' without a check of its own
        line = loader.line + 1 if loader else 1
        return _broken(line, "an escape or a version that stands for nothing", "plain text")
    reading = _Reading()
    if node is not None:
        reading.document.data = reading.value(node, (), ())
    return reading.document


def _broken(line: int, found: str, expected: str) -> Document:
    return Document(mistakes=[Mistake(line, "YAML", found, expected)], broken=True)


def _in_words(problem: str) -> tuple[str, str]:
    for part, found, expected in _SYNTAX:
        if part in problem:
            return found, expected
    return f"what YAML cannot read ({problem})", "YAML"


class _Loader(yaml.SafeLoader):
    """Composes nodes; tells plain text from quoted by the tag, and explicit tags from both."""

    depth = 0

    def compose_node(self, parent: Any, index: Any) -> Any:
        self.depth += 1
        if self.depth > DEEPEST:
            raise yaml.MarkedYAMLError(problem="too deep", problem_mark=self.get_mark())
        node = super().compose_node(parent, index)
        self.depth -= 1
        return node

    def resolve(self, kind: type[yaml.Node], value: Any, implicit: Any) -> str:
        if kind is yaml.ScalarNode:
            return _PLAIN if implicit[0] else _QUOTED
        return _LIST if kind is yaml.SequenceNode else _MAPPING


class _Reading:
    """Turns nodes into data, and notes lines and mistakes on the way."""

    def __init__(self) -> None:
        self.document = Document()
        self._left = MOST_VALUES

    def value(self, node: yaml.Node, place: Place, above: tuple[yaml.Node, ...]) -> Any:
        self._left -= 1
        if self._left < 0:
            return self._unreadable(node, place, f"more than {MOST_VALUES} values, aliases unfolded", "fewer")
        if len(above) > DEEPEST:
            return self._unreadable(node, place, f"more than {DEEPEST} levels, aliases unfolded", "fewer")
        if any(node is each for each in above):
            return self._unreadable(node, place, "an alias of something that it is a part of", "values that end")
        if node.tag not in (_PLAIN, _QUOTED, _LIST, _MAPPING):
            return self._unreadable(node, place, f"the tag {node.tag!r}", "plain values without tags")
        if isinstance(node, yaml.MappingNode):
            return self._mapping(node, place, (*above, node))
        if isinstance(node, yaml.SequenceNode):
            return self._list(node, place, (*above, node))
        if _NO_TEXT.search(node.value):
            return self._unreadable(node, place, "a character that no text can hold", "text")
        return scalar(node.value) if node.tag == _PLAIN else node.value

    def _list(self, node: yaml.SequenceNode, place: Place, above: tuple[yaml.Node, ...]) -> list[Any]:
        items = []
        for position, item in enumerate(node.value):
            if self._left < 0:
                break
            self.document.lines.setdefault((*place, position), item.start_mark.line + 1)
            items.append(self.value(item, (*place, position), above))
        return items

    def _mapping(self, node: yaml.MappingNode, place: Place, above: tuple[yaml.Node, ...]) -> dict[str, Any]:
        found: dict[str, Any] = {}
        for key, item in node.value:
            if self._left < 0:
                break
            line = key.start_mark.line + 1
            if not isinstance(key, yaml.ScalarNode) or _NO_TEXT.search(key.value):
                self._mistake(line, place, "a key that is no text", "text as the key")
            elif key.value == "<<" and key.tag == _PLAIN:
                self._mistake(line, place, "'<<', which would merge keys unseen", "the keys themselves")
            elif key.value in found:
                earlier = self.document.lines[(*place, key.value)]
                self._mistake(line, (*place, key.value), f"the key a second time (first in line {earlier})", "it once")
            else:
                self.document.lines[(*place, key.value)] = line
                found[key.value] = self.value(item, (*place, key.value), above)
        return found

    def _mistake(self, line: int, place: Place, found: str, expected: str) -> None:
        self.document.mistakes.append(Mistake(line, show_place(place), found, expected))

    def _unreadable(self, node: yaml.Node, place: Place, found: str, expected: str) -> None:
        self.document.unreadable.add(place)
        self._mistake(node.start_mark.line + 1, place, found, expected)


def scalar(text: str) -> str | int | float | bool | None:
    """Return what a value without quotes stands for."""
    if text in _NULL:
        return None
    if text in _TRUTH:
        return _TRUTH[text]
    if _WHOLE.fullmatch(text):
        return int(text)
    return float(text) if _NUMBER.fullmatch(text) else text
