"""The client's log: a line of JSON for everything that it has sent and heard, kept as evidence. Pure.

Each line is on its own, so that a client that was killed has said everything but its last line.
"""

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from tasks.common.errors import Unsafe
from tasks.drill.measure import Kind, Operation, Result, Sample
from tasks.drill.model import NodeState

START, OPERATION, NODE, LATE, END = "start", "op", "node", "late", "end"


@dataclass(frozen=True)
class Log:
    """What a client has said.

    Args:
        run: name of the run, the beginning of every id.
        began_at: when it began; aware.
        began_s: the same moment by its monotonic clock.
        operations: as they ended.
        samples: what nodes have said, as they answered.
        late_s: longest time by which the client itself was late to send something.
        whole: whether it ended as it was told to; else it was killed, or still runs.
    """

    run: str
    began_at: datetime
    began_s: float
    operations: tuple[Operation, ...]
    samples: tuple[Sample, ...]
    late_s: float
    whole: bool

    def of(self, kind: Kind) -> tuple[Operation, ...]:
        """Return the operations of a kind."""
        return tuple(each for each in self.operations if each.kind is kind)

    @property
    def until_s(self) -> float:
        """Return when the last thing happened."""
        times = [each.ended_s for each in self.operations] + [each.answered_s for each in self.samples]
        return max(times, default=self.began_s)

    def at(self, moment_s: float) -> datetime:
        """Return a moment of the monotonic clock by the wall clock, as it was when the client began."""
        return self.began_at + timedelta(seconds=moment_s - self.began_s)


def start_line(run: str, at: datetime, at_s: float) -> str:
    """Return the first line."""
    return _line(START, run=run, at=at.isoformat(), at_s=at_s)


def operation_line(operation: Operation) -> str:
    """Return the line of an operation."""
    kept = {"due": operation.due_s, "end": operation.ended_s, "res": operation.result.value}
    why = {"why": operation.why} if operation.why else {}
    return _line(OPERATION, id=operation.id, kind=operation.kind.value, **kept, **why)


def sample_line(sample: Sample, why: str = "") -> str:
    """Return the line of what a node has said."""
    more = {"why": why} if why else {}
    kept = {"asked": sample.asked_s, "answered": sample.answered_s, "state": sample.state.value}
    return _line(NODE, node=sample.node, **kept, **more)


def late_line(at_s: float, late_s: float) -> str:
    """Return the line about a client that was held up itself."""
    return _line(LATE, at=at_s, late=late_s)


def end_line(at_s: float) -> str:
    """Return the last line."""
    return _line(END, at_s=at_s)


def parse(lines: Iterable[str], origin: str) -> Log:
    """Return what the lines say; a last one that was cut off counts as not written.

    Raises:
        Unsafe: they are no log of a client: nothing that is measured from it means anything.
    """
    read: list[Mapping[str, Any]] = []
    texts = list(lines)
    for number, text in enumerate(texts, start=1):
        try:
            read.append(_read(text))
        except (ValueError, TypeError, KeyError) as error:
            if number == len(texts) and not text.endswith("\n"):
                break
            raise _damaged(
                f"line {number} is not as the client has written it ({type(error).__name__})", origin
            ) from None
    if not read or read[0]["t"] != START:
        raise _damaged("its beginning is missing", origin)
    start = read[0]
    return Log(
        run=start["run"],
        began_at=datetime.fromisoformat(start["at"]),
        began_s=start["at_s"],
        operations=tuple(each["found"] for each in read if each["t"] == OPERATION),
        samples=tuple(each["found"] for each in read if each["t"] == NODE),
        late_s=max((each["late"] for each in read if each["t"] == LATE), default=0.0),
        whole=read[-1]["t"] == END,
    )


def _read(text: str) -> Mapping[str, Any]:
    line = json.loads(text)
    match line["t"]:
        case "op":
            kind, result = Kind(line["kind"]), Result(line["res"])
            found = Operation(line["id"], kind, float(line["due"]), float(line["end"]), result, line.get("why", ""))
            return {"t": OPERATION, "found": found}
        case "node":
            state = NodeState(line["state"])
            return {"t": NODE, "found": Sample(line["node"], float(line["asked"]), float(line["answered"]), state)}
        case "start":
            if datetime.fromisoformat(line["at"]).utcoffset() is None:
                raise ValueError("a time without a zone")
            return {"t": START, "run": str(line["run"]), "at": line["at"], "at_s": float(line["at_s"])}
        case "late":
            return {"t": LATE, "late": float(line["late"])}
        case "end":
            return {"t": END}
    raise ValueError("no such line")


def _line(kind_: str, /, **values: object) -> str:
    rounded = {key: round(value, 6) if isinstance(value, float) else value for key, value in values.items()}
    return json.dumps({"t": kind_, **rounded}, separators=(",", ":"), ensure_ascii=False) + "\n"


def _damaged(what: str, origin: str) -> Unsafe:
    return Unsafe(
        f"the log of a drill's client cannot be read: {what}",
        on=origin,
        state="what the drill has come to is not known",
        next_action="look at the file; practise again if it cannot be mended",
    )
