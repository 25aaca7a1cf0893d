"""What is made of measured values: pure, so that it can be tested without measuring."""

import re
import statistics
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

COMMANDS = ("build", "test", "end-to-end", "scan")
"""Kinds of evidence whose durations are those of commands; soaks and settling are told by their task's name."""

BETWEEN = "between the tasks"
START_UP = "start of the run's process"

_SLOT = re.compile(r":? ?\b(blue|green)\b[^:]*")
PATRONI = r"(\d{4}-\d\d-\d\d \d\d:\d\d:\d\d),(\d{3}) "
POSTGRESQL = r"(\d{4}-\d\d-\d\d \d\d:\d\d:\d\d)\.(\d{3}) UTC "
"""How lines of their logs begin. Patroni's are in the machine's own time."""
_HASH = re.compile(r" \(?[0-9a-f]{7,64}\)?$")
_WAITED = re.compile(r": (watch|let it settle)\b")


@dataclass(frozen=True)
class Spread:
    """The middle and the ends of some values; the unit is that of the values."""

    median: float
    least: float
    most: float
    count: int

    @classmethod
    def of(cls, values: Iterable[float]) -> "Spread":
        """Return the spread of at least one value."""
        found = sorted(values)
        return cls(statistics.median(found), found[0], found[-1], len(found))

    @property
    def plain(self) -> str:
        """Return '3.20 (2.90 to 4.10, n = 5)', for values without a unit."""
        return f"{self.median:.2f} ({self.least:.2f} to {self.most:.2f}, n = {self.count})"

    def __str__(self) -> str:
        """Return '3.20 s (2.90 to 4.10, n = 5)', for values in seconds."""
        return f"{self.median:.2f} s ({self.least:.2f} to {self.most:.2f}, n = {self.count})"


def ratios(over: Sequence[float], under: Sequence[float]) -> Spread:
    """Return what the first values are of the second, pair by pair: what slows the machine slows both of a pair."""
    return Spread.of(first / second for first, second in zip(over, under, strict=True))


def percentile(values: Iterable[float], percent: int) -> float:
    """Return the least of at least one value under or at which so many percent of them are."""
    found = sorted(values)
    return found[max(0, -(-len(found) * percent // 100) - 1)]


PARTS = ("run created", "taken by the worker", "process started", "first line")
"""What happens between the answer to a push and the first line of its flow, in order."""


@dataclass(frozen=True)
class Push:
    """Moments of a push, in seconds of the machine's clock, in order."""

    answered_s: float
    created_s: float
    submitted_s: float
    process_s: float
    first_line_s: float

    @property
    def total_s(self) -> float:
        """Return the time from the answer to the first line."""
        return self.first_line_s - self.answered_s

    @property
    def parts_s(self) -> dict[str, float]:
        """Return how long each part took; the first can be below 0: a run may be there before its answer arrives."""
        moments = (self.answered_s, self.created_s, self.submitted_s, self.process_s, self.first_line_s)
        return {name: after - before for name, before, after in zip(PARTS, moments[:-1], moments[1:], strict=True)}


@dataclass(frozen=True)
class Task:
    """One task run: its name in Prefect, and how long it ran."""

    name: str
    took_s: float

    @property
    def waited(self) -> bool:
        """Whether it is a soak or the settling after a switch: time that was asked for."""
        return bool(_WAITED.search(self.name))

    @property
    def command(self) -> str | None:
        """The kind of command that it runs; None if it runs none."""
        word = re.split(r"[: ]", self.name, maxsplit=1)[0]
        return word if word in COMMANDS else None

    @property
    def label(self) -> str:
        """Its name without slots, indexes, weights and hashes, so that it can be compared between releases."""
        return self.command or _SLOT.sub("", _HASH.sub("", self.name))


@dataclass(frozen=True)
class FlowTimes:
    """One run of a flow, as Prefect has its times.

    Args:
        created_at: when it was asked for; aware.
        started_at: when its flow began.
        ended_at: when its flow had ended.
        tasks: its tasks, in the order in which they began; none of them ran beside another.
    """

    created_at: datetime
    started_at: datetime
    ended_at: datetime
    tasks: tuple[Task, ...]

    @property
    def start_up_s(self) -> float:
        """From asking for it to the first line of its flow: the worker's poll and a new process."""
        return (self.started_at - self.created_at).total_seconds()

    @property
    def flow_s(self) -> float:
        """From the first line of its flow to the end."""
        return (self.ended_at - self.started_at).total_seconds()

    def last_s(self, part: str) -> float:
        """Return how long the last task took whose name has this part; 0 without one."""
        return next((each.took_s for each in reversed(self.tasks) if part in each.name), 0.0)

    def shares_s(self) -> dict[str, float]:
        """Return how long each task took, by its name and number where there are several; the values sum to all."""
        shares: dict[str, float] = {START_UP: self.start_up_s}
        for each in self.tasks:
            again = sum(name.partition(" (again")[0] == each.name for name in shares)
            shares[f"{each.name} (again{f', {again}' if again > 1 else ''})" if again else each.name] = each.took_s
        shares[BETWEEN] = self.flow_s - sum(each.took_s for each in self.tasks)
        return shares


@dataclass(frozen=True)
class ReleaseTimes:
    """One release, as Prefect and the ledger have its times.

    Args:
        version: which one.
        created_at: when it was asked for; aware.
        started_at: when its flow began.
        ended_at: when its flow had ended.
        tasks: its tasks; none of them ran beside another.
        commands_s: duration by kind of command, from the ledger.
    """

    version: str
    created_at: datetime
    started_at: datetime
    ended_at: datetime
    tasks: tuple[Task, ...]
    commands_s: Mapping[str, float]

    @property
    def whole_s(self) -> float:
        """From asking for it to its end."""
        return (self.ended_at - self.created_at).total_seconds()

    @property
    def start_up_s(self) -> float:
        """From asking for it to the first line of its flow: the worker's poll and a new process."""
        return (self.started_at - self.created_at).total_seconds()

    @property
    def waited_s(self) -> float:
        """Soaks and settling."""
        return sum(task.took_s for task in self.tasks if task.waited)

    @property
    def cost_s(self) -> float:
        """What orchestration cost: everything but the commands and the waits that were asked for."""
        return self.whole_s - sum(self.commands_s.values()) - self.waited_s

    def shares_s(self) -> dict[str, float]:
        """Return the cost by step; the values sum to the cost."""
        shares: defaultdict[str, float] = defaultdict(float)
        for task in self.tasks:
            if not task.waited:
                shares[task.label] += task.took_s
        for kind, took_s in self.commands_s.items():
            shares[kind] -= took_s
        flow_s = (self.ended_at - self.started_at).total_seconds()
        shares[BETWEEN] = flow_s - sum(task.took_s for task in self.tasks)
        shares[START_UP] = self.start_up_s
        return dict(shares)


def most_expensive(releases: Sequence[ReleaseTimes], count: int = 10) -> list[tuple[str, float, float]]:
    """Return the steps that cost most: label, median seconds a release, median number of times a release."""
    labels = {label for release in releases for label in release.shares_s()}
    found = []
    for label in sorted(labels):
        costs = [release.shares_s().get(label, 0.0) for release in releases]
        times = [Counter(task.label for task in release.tasks)[label] for release in releases]
        found.append((label, statistics.median(costs), statistics.median(times)))
    return sorted(found, key=lambda row: -row[1])[:count]


def measurably_slower(before: Sequence[float], after: Sequence[float]) -> bool:
    """Return whether the second median lies above everything that was measured before: beyond its spread."""
    return statistics.median(after) > max(before)


def stamped(lines: Iterable[str], of: str) -> list[tuple[float, str]]:
    """Return the lines that begin as `PATRONI` or `POSTGRESQL` has it, each with its time in seconds since 1970."""
    found = []
    for line in lines:
        match = re.match(of, line)
        if match is not None:
            at = datetime.strptime(match[1], "%Y-%m-%d %H:%M:%S")  # noqa: DTZ007 - made aware in the next line
            aware = at.replace(tzinfo=UTC) if of == POSTGRESQL else at.astimezone()
            found.append((aware.timestamp() + int(match[2]) / 1000, line))
    return found


RECOVERY = ("lease", "lock", "promotion", "HAProxy", "client")
"""What a recovery from a lost leader consists of, in order."""
_TTL_S = 20.0


def parts_of(
    moments: Mapping[str, float],
    leaders: Sequence[tuple[float, str]],
    logs: Mapping[str, Sequence[str]],
    haproxy: Sequence[tuple[float, str]],
    offset_s: float,
) -> dict[str, float | None]:
    """Return how long each part of a recovery took, from the fault on; None where nothing says it.

    Args:
        moments: 'injecting' and 'recovered', in seconds of the monotonic clock.
        leaders: when another node than before took writes, and which.
        logs: of Patroni and its PostgreSQL, lines by node.
        haproxy: when HAProxy began to send users to a node, and which.
        offset_s: what the wall clock is ahead of the monotonic one.
    """
    began_s = moments["injecting"]
    old = [node for at_s, node in leaders if at_s <= began_s][-1]
    new = next((node for at_s, node in leaders if at_s > began_s), "")

    def said(node: str, of: str, text: str) -> list[float]:
        return [at - offset_s for at, line in stamped(logs.get(node, ()), of) if text in line]

    def first(times: Iterable[float], after_s: float) -> float | None:
        return next((at for at in times if at > after_s), None)

    lock_s = first(said(new, PATRONI, "promoted self to leader"), began_s)
    expires_s = max((at for at in said(old, PATRONI, "the leader with the lock") if at <= began_s), default=began_s)
    released_s = first(said(old, PATRONI, "Leader key released"), began_s)
    until = {
        "lease": min(each for each in (released_s, lock_s, expires_s + _TTL_S) if each is not None),
        "lock": lock_s,
        "promotion": first(said(new, POSTGRESQL, "ready to accept connections"), lock_s or began_s),
        "HAProxy": first((at for at, node in haproxy if node == new), began_s),
        "client": moments.get("recovered"),
    }
    parts, at_s = dict[str, float | None](), began_s
    for name in RECOVERY:
        end_s = until[name]
        parts[name] = None if end_s is None else end_s - at_s
        at_s = at_s if end_s is None else end_s
    return parts
