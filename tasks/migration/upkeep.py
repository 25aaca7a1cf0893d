"""The upkeep of a database's partitions, through the port: what goes wrong with one table stops no other. Pure."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime

from tasks.common.errors import Refused, SlipwayError
from tasks.common.partitioning import PartitionSpec
from tasks.migration import require
from tasks.migration.catalogue import Catalogue, Observed
from tasks.migration.model import Limits
from tasks.migration.partition_model import Create, Plan, Problem, Ranged, Step
from tasks.migration.partition_ports import Keeper, PartitionTarget
from tasks.migration.partitions import clocks_apart, plan, without
from tasks.migration.patience import OPEN_FOR_LONG, Patience, open_for_long

_TOLD = ("PostgreSQL says", OPEN_FOR_LONG)
"""Facts of an error that are told with a problem."""


@dataclass(frozen=True)
class Outcome:
    """What became of the partitions of a database.

    Args:
        on: which one.
        done: the steps, in words.
        problems: what was not done, and why.
        notes: what people should know.
    """

    on: str
    done: tuple[str, ...] = ()
    problems: tuple[Problem, ...] = ()
    notes: tuple[str, ...] = ()


def plans(
    target: PartitionTarget, specs: Sequence[PartitionSpec], wanted: require.Wanted, on: str, here: datetime
) -> tuple[Plan, ...]:
    """Return what is to be done for each table. Nothing is changed.

    Args:
        target: the database.
        specs: what is wanted.
        wanted: which database it has to be.
        on: what errors call it.
        here: the time by this machine's clock.

    Raises:
        Refused: it is another database, a standby or read-only; or its clock and ours do not agree.
        Retryable: it does not answer.
    """
    seen = target.ranged([each.table for each in specs])
    require.require_right(Observed(seen.identity, Catalogue(seen.server_version, {})), wanted, on)
    apart = clocks_apart(seen.now, here)
    if apart:
        raise Refused(apart, on=on, next_action="mend the clock that is wrong: what is old is told by it")
    found = []
    for spec, table in zip(specs, seen.tables, strict=True):
        planned = plan(spec, table, seen.now, seen.server_version)
        found.append(_without_strays(target, table, planned))
    return tuple(found)


def _without_strays(target: PartitionTarget, table: Ranged, planned: Plan) -> Plan:
    made = [each for each in planned.steps if isinstance(each, Create)]
    if table.default is None or not made:
        return planned
    return without(planned, table, [(each, target.strays(table, each)) for each in made])


@dataclass
class Upkeep:
    """Carries out what was planned.

    Args:
        target: the database.
        specs: what is wanted.
        wanted: which database it has to be.
        on: what errors call it.
        wait_s: longest wait for another engine.
        run_id: the flow run.
        say: tells people what is done, a line each.
        wait: waits, in seconds.
        chance: gives a number from 0 to 1.
        limits: how long it waits for locks.
    """

    target: PartitionTarget
    specs: Sequence[PartitionSpec]
    wanted: require.Wanted
    on: str
    wait_s: float
    run_id: str
    say: Callable[[str], None]
    wait: Callable[[float], None]
    chance: Callable[[], float]
    limits: Limits = field(default_factory=Limits)

    def run(self) -> Outcome:
        """The partitions are what they are to be; returns what was done, and what was not. *Idempotent:* yes.

        What is made comes before what leaves, for all tables: a partition that is missing is an outage.

        Raises:
            Refused: nothing was done: another engine is at work, or it is not the right database.
            Retryable: it does not answer.
        """
        with self.target.keeping(self.run_id, self.wait_s) as keeper:
            planned = plans(self.target, self.specs, self.wanted, self.on, datetime.now(UTC))
            problems = [each for one in planned for each in one.problems]
            done: list[str] = []
            for making in (True, False):
                for spec, one in zip(self.specs, planned, strict=True):
                    steps = [each for each in one.steps if isinstance(each, Create) is making]
                    problems += self._carry_out(keeper, spec.table, steps, done)
        return Outcome(self.on, tuple(done), tuple(problems), tuple(note for one in planned for note in one.notes))

    def _carry_out(self, keeper: Keeper, table: str, steps: Sequence[Step], done: list[str]) -> list[Problem]:
        """Return what went wrong; what comes after a failed step of a partition that leaves is not begun."""
        patience = Patience(self.say, self.wait, self.chance, lambda: open_for_long(self.target.ranged([]).long))
        for each in steps:
            try:
                patience.of(lambda step=each: keeper.carry_out(step, self.limits), self.limits)  # type: ignore[misc]
            except SlipwayError as error:
                says = [f"{name}: {error.facts[name]}" for name in _TOLD if error.facts.get(name)]
                return [Problem(table, "; ".join([f"{each}: {error.what}", *says]), error.next_action)]
            self.say(str(each))
            done.append(str(each))
        return []
