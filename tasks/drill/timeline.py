"""The timeline of a drill: as a picture (SVG), and as lines of text where no picture is shown. Pure."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from html import escape

from tasks.drill.log import Log
from tasks.drill.measure import Kind, Sample, Second, by_second
from tasks.drill.model import NodeState

_WIDTH, _LEFT, _RIGHT = 960, 90, 20
_PLOT, _BAND, _GAP = 120, 18, 34
_ROW, _LETTER = 13, 6.2
"""Height of a row of labels, and about the width of a letter in them."""
_COLOURS = {
    NodeState.WRITABLE: "#2e7d32",
    NodeState.READ_ONLY: "#90caf9",
    NodeState.SHUT: "#ffb74d",
    NodeState.SILENT: "#bdbdbd",
}
_DONE, _FAILED, _MARK = "#66bb6a", "#d32f2f", "#37474f"
_MARKS = {
    "injected": "#b71c1c",
    "undone": "#6a1b9a",
    "detected": "#e65100",
    "promoted": "#1565c0",
    "recovered": "#2e7d32",
}
_WORDS = {NodeState.WRITABLE: "W", NodeState.READ_ONLY: "r", NodeState.SHUT: "s", NodeState.SILENT: "."}
_Scale = Callable[[float], float]
"""Turns a moment into a place on the picture."""
_BARS = " ▁▂▃▄▅▆▇█"


def svg(log: Log, moments: Mapping[str, float], title: str) -> str:
    """Return a picture: what was done and what failed each second, the role of every node, and what happened when."""
    begin_s, end_s = log.began_s, max(log.until_s, log.began_s + 1)

    def x(at_s: float) -> float:
        return _LEFT + (at_s - begin_s) / (end_s - begin_s) * (_WIDTH - _LEFT - _RIGHT)

    nodes = sorted({each.node for each in log.samples})
    kinds = [kind for kind in Kind if log.of(kind)]
    labels = _labels(
        [(x(at_s), f"{what} {at_s - begin_s:.1f} s", _MARKS.get(what, _MARK)) for what, at_s in _shown(moments)]
    )
    first = 28 + _ROW * (max((each.row for each in labels), default=0) + 1)
    height = first + len(kinds) * (_PLOT + _GAP) + len(nodes) * (_BAND + 6) + 50

    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {height}" font-family="sans-serif" '
        f'font-size="11"><rect width="{_WIDTH}" height="{height}" fill="white"/>',
        _words(_LEFT, 16, title, size=14),
    ]
    top: float = first
    for kind in kinds:
        seconds = by_second(log.of(kind), begin_s, end_s)
        parts += _plot(seconds, f"{kind.value}s a second", x, top)
        top += _PLOT + _GAP
    for node in nodes:
        parts += _band(node, [each for each in log.samples if each.node == node], x, top, end_s)
        top += _BAND + 6
    parts += _marks(labels, top)
    parts += [
        _words(min(x(begin_s + mark) - 6, _WIDTH - 34), top + 14, f"{mark} s")
        for mark in range(0, int(end_s - begin_s) + 1, _step(end_s - begin_s))
    ]
    legend = "green: done, red: failed. Nodes: green takes writes, blue does not, grey does not answer"
    return "\n".join([*parts, _words(_LEFT, top + 34, legend), "</svg>"]) + "\n"


def text(log: Log, moments: Mapping[str, float], width: int = 100) -> str:
    """Return the same as lines of text, each character a part of the time."""
    begin_s, end_s = log.began_s, max(log.until_s, log.began_s + 1)
    slot_s = max((end_s - begin_s) / width, 1.0)
    count = int((end_s - begin_s) / slot_s) + 1
    rows = []
    for kind in Kind:
        found = by_second(log.of(kind), begin_s, end_s)
        if log.of(kind):
            rows.append((f"{kind.value}s done", _bar([_sum(found, slot_s, n, "done") for n in range(count)])))
            rows.append((f"{kind.value}s failed", _bar([_sum(found, slot_s, n, "failed") for n in range(count)])))
    for node in sorted({each.node for each in log.samples}):
        states = [_state(log.samples, node, begin_s + (number + 1) * slot_s) for number in range(count)]
        rows.append((node, "".join(" " if each is None else _WORDS[each] for each in states)))
    for what, at_s in _shown(moments):
        rows.append((what, " " * min(max(int((at_s - begin_s) / slot_s), 0), count) + f"| {at_s - begin_s:.1f} s"))
    longest = max(len(name) for name, _ in rows)
    scale = f"each character is {slot_s:.1f} s; W takes writes, r does not, . does not answer"
    return "\n".join([*(f"{name:<{longest}} {line}" for name, line in rows), f"{'':<{longest}} {scale}"])


def _plot(seconds: Sequence[Second], title: str, x: _Scale, top: float) -> list[str]:
    highest = max((each.done + each.failed for each in seconds), default=0) or 1
    whole = max(x(seconds[0].at_s + 1) - x(seconds[0].at_s) - 0.3, 0.4) if seconds else 1
    parts = [_words(4, top + 12, title), _words(4, top + 26, f"at most {highest}")]
    for each in seconds:
        done, failed = each.done / highest * _PLOT, each.failed / highest * _PLOT
        left = x(each.at_s)
        width = min(whole, _WIDTH - _RIGHT - left)
        parts.append(_box(left, top + _PLOT - done, width, done, _DONE) if done else "")
        parts.append(_box(left, top + _PLOT - done - failed, width, failed, _FAILED) if failed else "")
    return [*(each for each in parts if each), _box(_LEFT, top + _PLOT, _WIDTH - _LEFT - _RIGHT, 0.5, _MARK)]


def _band(node: str, samples: Sequence[Sample], x: _Scale, top: float, end_s: float) -> list[str]:
    ordered = sorted(samples, key=lambda each: each.answered_s)
    parts = [_words(4, top + 13, node)]
    start = 0
    for number in range(1, len(ordered) + 1):
        if number == len(ordered) or ordered[number].state is not ordered[start].state:
            until_s = ordered[number].answered_s if number < len(ordered) else end_s
            left = x(ordered[start].answered_s)
            parts.append(_box(left, top, max(x(until_s) - left, 0.5), _BAND, _COLOURS[ordered[start].state]))
            start = number
    return parts


def _shown(moments: Mapping[str, float]) -> list[tuple[str, float]]:
    """Return the moments in their order. What users see of a fault may come before it is known that it is there."""
    found = {**moments, "injected": moments.get("injecting", moments.get("injected", 0.0))}
    found.pop("injecting", None)
    return sorted(found.items(), key=lambda each: each[1])


@dataclass(frozen=True)
class _Label:
    """What stands at a moment: where its line is, where its words begin, and in which row."""

    at: float
    left: float
    row: int
    words: str
    colour: str


def _labels(wanted: Sequence[tuple[float, str, str]]) -> list[_Label]:
    """Return labels of which no two lie on each other, nor over the edge; each in the first row that has room."""
    found: list[_Label] = []
    ends: list[float] = []
    for at, words, colour in wanted:
        width = len(words) * _LETTER
        left = at + 3 if at + 3 + width <= _WIDTH else at - 3 - width
        row = next((number for number, end in enumerate(ends) if end < left), len(ends))
        ends[row : row + 1] = [left + width + 6]
        found.append(_Label(at, left, row, words, colour))
    return found


def _marks(labels: Sequence[_Label], bottom: float) -> list[str]:
    parts = []
    for each in labels:
        line = 28 + _ROW * each.row
        parts.append(_box(each.at, line - 8, 1.2, bottom - line + 8, each.colour))
        parts.append(_words(each.left, line, each.words, colour=each.colour))
    return parts


def _box(left: float, top: float, width: float, height: float, colour: str) -> str:
    return f'<rect x="{left:.1f}" y="{top:.1f}" width="{width:.1f}" height="{height:.1f}" fill="{colour}"/>'


def _words(left: float, top: float, words: str, size: int = 11, colour: str = "black") -> str:
    return f'<text x="{left:.1f}" y="{top:.1f}" font-size="{size}" fill="{colour}">{escape(words)}</text>'


def _step(length_s: float) -> int:
    return next((step for step in (1, 2, 5, 10, 30, 60, 300) if length_s / step <= 15), 600)


def _bar(values: Sequence[int]) -> str:
    highest = max(values, default=0) or 1
    return "".join(_BARS[-(-value * (len(_BARS) - 1) // highest)] for value in values)


def _sum(seconds: Sequence[Second], slot_s: float, number: int, name: str) -> int:
    first, last = int(number * slot_s), int((number + 1) * slot_s)
    return sum(int(getattr(each, name)) for each in seconds[first : max(last, first + 1)])


def _state(samples: Sequence[Sample], node: str, at_s: float) -> NodeState | None:
    known = [each for each in samples if each.node == node and each.answered_s <= at_s]
    return max(known, key=lambda each: each.answered_s).state if known else None
