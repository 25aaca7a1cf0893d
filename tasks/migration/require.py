"""What has to hold before anything is touched: each refusal says what, on what, and what to do. Pure."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from tasks.common.errors import Refused
from tasks.common.migrations import DatabaseSpec, MigrationState, Phase
from tasks.common.units import show_size
from tasks.migration.catalogue import Attempt, Identity, Observed
from tasks.migration.files import Written
from tasks.migration.model import Backfill, BuildIndex, Compiled


@dataclass(frozen=True)
class Wanted:
    """Which database the estate says that it is.

    Args:
        database: its name; '' for any.
        system_id: of its cluster; '' for any.
        disk_free_percent: that has to stay free.
    """

    database: str = ""
    system_id: str = ""
    disk_free_percent: float = 10.0

    @classmethod
    def of(cls, spec: DatabaseSpec, *, room: bool = False) -> "Wanted":
        """Return what the estate says of a database; with `room`, how much of its disk has to stay free, too."""
        free = spec.health.disk_free_percent if room else None
        return cls(spec.database, spec.system_id or "", free if free is not None else 0.0)


def require_right(observed: Observed, wanted: Wanted, on: str) -> None:
    """It is the database that is meant, and it takes writes.

    Raises:
        Refused: it is another one, a standby, or read-only.
    """
    found = observed.identity
    require_identity(found, wanted, on)
    if found.standby:
        raise Refused(
            "the server is a standby and takes no writes",
            on=on,
            next_action="name the primary in the address: all hosts, and target_session_attrs=read-write",
        )
    if found.read_only:
        raise Refused(
            "sessions of this role are read-only",
            on=on,
            next_action="look at default_transaction_read_only of the server, the database and the role",
        )


def require_identity(found: Identity, wanted: Wanted, on: str) -> None:
    """It is the database that is meant.

    Raises:
        Refused: it is another one.
    """
    if wanted.database and found.database != wanted.database:
        raise Refused(
            f"this is the database {found.database}, and not {wanted.database}",
            on=on,
            next_action="correct the address, or 'database' in the estate file",
            facts={"found": found.database, "expected": wanted.database},
        )
    if wanted.system_id and found.system_id != wanted.system_id:
        raise Refused(
            "this is another cluster than the estate names"
            if found.system_id
            else "which cluster this is cannot be read",
            on=on,
            next_action="correct the address, or 'system_id' in the estate file: it is 'select system_identifier from "
            "pg_control_system()' on the right one",
            facts={"found": found.system_id or "nothing", "expected": wanted.system_id},
        )


def require_in_line(observed: Observed, written: Sequence[Written], on: str) -> None:
    """The folder and the history tell the same story: nothing edited, nothing missing, nothing out of order.

    Raises:
        Refused: they differ; everything that differs is listed.
    """
    by_name = {each.name: each for each in written}
    others = {each.name: each.file.engine for each in written if each.file.engine != observed.identity.engine}
    if others:
        raise Refused(
            f"{_count(len(others), 'migration is', 'migrations are')} for another kind of database than "
            f"{observed.identity.engine}",
            on=on,
            next_action="correct 'engine' in migration.yaml, or the connection in the estate file",
            facts=others,
        )
    edited = list(_edited(observed.attempts, by_name))
    if edited:
        raise Refused(
            f"{_count(len(edited), 'migration was', 'migrations were')} edited after being begun",
            on=on,
            next_action="restore the files as they were, and put the change into a new migration; what can be undone "
            "can be edited after 'slipway migration undo'",
            facts={attempt.standing.name: f"was {old[:12]}, is {new[:12]}" for attempt, old, new in edited},
        )
    missing = [each.standing.name for each in observed.attempts if each.standing.name not in by_name]
    if missing:
        raise Refused(
            f"the history has {_count(len(missing), 'migration', 'migrations')} that the folder does not have",
            on=on,
            next_action="use the commit that has all of them: an older one must not be applied to a newer database",
            facts={"missing": ", ".join(missing)},
        )
    begun = [each.standing.name for each in observed.attempts]
    late = [each.name for each in written if begun and each.name < max(begun) and each.name not in begun]
    if late:
        raise Refused(
            f"{', '.join(late)} would be applied out of order",
            on=on,
            next_action=f"give it a number after {max(begun).partition('_')[0]}",
            facts={"newest that was begun": max(begun)},
        )


def _edited(attempts: Sequence[Attempt], written: Mapping[str, Written]) -> Iterator[tuple[Attempt, str, str]]:
    for attempt in attempts:
        here = written.get(attempt.standing.name)
        if here is not None and here.checksum != attempt.compiled.checksum:
            yield attempt, attempt.compiled.checksum, here.checksum


def require_not_undoing(attempt: Attempt | None, on: str) -> None:
    """The migration is not half undone.

    Raises:
        Refused: it is.
    """
    if attempt is not None and attempt.standing.state is MigrationState.UNDOING:
        raise Refused(
            f"{attempt.standing.name} is being undone",
            on=on,
            state="a part of it is undone",
            next_action=f"finish that first: slipway migration undo {attempt.standing.name}",
        )


def require_undoable(observed: Observed, name: str, on: str) -> Attempt:
    """The migration can be undone: it is the newest that was begun, and its point of no return is not passed.

    Raises:
        Refused: it cannot be.
    """
    attempt = observed.attempt(name)
    if attempt is None:
        raise Refused(
            f"nothing of {name} is in this database",
            on=on,
            next_action="look at 'slipway migration status': there is nothing to undo",
        )
    if attempt.standing.past_return:
        raise Refused(
            f"{name} has passed its point of no return, which is {attempt.standing.no_return}",
            on=on,
            next_action="write a new migration that brings the old shape back, or restore the backup from before"
            + (f": {attempt.standing.backup}" if attempt.standing.backup else ""),
        )
    later = [each.standing.name for each in observed.attempts if each.standing.name > name]
    if later:
        raise Refused(
            f"{', '.join(later)} was begun after {name}",
            on=on,
            next_action=f"undo the newest first: slipway migration undo {later[-1]}",
        )
    return attempt


def require_room(observed: Observed, compiled: Compiled, through: Phase, wanted: Wanted, on: str) -> None:
    """There is room for what will be written; where nobody can tell, nothing is said here: the plan says so.

    Raises:
        Refused: the disk is nearly full, or would be.
    """
    if observed.disk_free_bytes is None or not observed.disk_total_bytes:
        return
    needed = sum(needs_bytes(observed, compiled).values())
    left_percent = 100.0 * (observed.disk_free_bytes - needed) / observed.disk_total_bytes
    if left_percent < wanted.disk_free_percent:
        raise Refused(
            "the disk has too little room for this migration",
            on=on,
            next_action="make room, or a larger disk; or lower 'disk_free' in the estate file",
            facts={
                "free": f"{show_size(observed.disk_free_bytes)} of {show_size(observed.disk_total_bytes)}",
                "needed at most": show_size(needed),
                "has to stay free": f"{wanted.disk_free_percent:g} %",
            },
        )


def needs_bytes(observed: Observed, compiled: Compiled) -> Mapping[str, int]:
    """Return how much may be written for good, by table: a backfill leaves a dead copy of each row, an index its keys.

    Estimates from above: the table's whole size for a backfill, and once more for its indexes' builds.
    """
    needed: dict[str, int] = {}
    for _, _, step in compiled.all_steps():
        if isinstance(step, Backfill | BuildIndex):
            schema = step.table.schema_ or next(iter(observed.catalogue.search_path), "public")
            found = observed.catalogue.table(step.table.name, schema)
            size = found.size_bytes if found is not None else 0
            needed[f"{schema}.{step.table.name}"] = max(size, needed.get(f"{schema}.{step.table.name}", 0))
    return needed


def _count(number: int, one: str, many: str) -> str:
    return f"{number} {one if number == 1 else many}"
