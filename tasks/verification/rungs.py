"""Each rung of the ladder: something is observed, and judged. The flow climbs them in the ladder's order."""

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from pathlib import Path

from tasks.common.backups import FIRST, Form, OnProgress, RestoreTo, Rung, RungOutcome
from tasks.verification import judge, ladder
from tasks.verification.expected import UNSEEN
from tasks.verification.ladder import climb
from tasks.verification.model import DatabaseFacts, Finding, Moment
from tasks.verification.ports import Database, Engine, ScratchServer


@dataclass(frozen=True)
class Bands:
    """How far counts of rows may be off.

    Args:
        expected: rows by table: as recorded when the backup was taken, or at the last verification.
        percent: of the expected count.
        rows: so many in any case.
    """

    expected: Mapping[str, int | None] = field(default_factory=dict)
    percent: float = 10.0
    rows: int = 100


def freshness(
    below: Sequence[Rung],
    engine: Engine,
    source: Moment,
    rpo_s: float,
    repository: int = FIRST,
    *,
    ahead_s: float = 0.0,
) -> Rung:
    """Return whether the repository reaches near enough to where the source is.

    Args:
        below: the rungs that were climbed before.
        engine: knows what lies there.
        source: where the source is.
        rpo_s: what may be lost.
        repository: which one.
        ahead_s: by how much the worker's clock is ahead of the source's.
    """
    return climb(
        ladder.FRESHNESS,
        engine.form,
        below,
        lambda: judge.judge_freshness(engine.reaches(repository), source, rpo_s, ahead_s),
    )


def repository_check(below: Sequence[Rung], engine: Engine, label: str, repository: int = FIRST) -> Rung:
    """Return whether the backup lies there as it was written."""
    return climb(
        ladder.REPOSITORY, engine.form, below, lambda: judge.judge_repository(engine.verify(label, repository))
    )


def restore(
    below: Sequence[Rung],
    engine: Engine,
    scratch: ScratchServer,
    folder: Path,
    to: RestoreTo,
    on_progress: OnProgress,
    repository: int = FIRST,
) -> Rung:
    """Return whether the backup is a server again that has answered, and how long each part took.

    Args:
        below: the rungs that were climbed before.
        engine: restores.
        scratch: an open one.
        folder: as its `open` has returned it.
        to: which state.
        on_progress: is told how far it has come.
        repository: where from.
    """

    def look() -> Finding:
        began = time.monotonic()
        stored = engine.restore(to, folder, on_progress, repository)
        fetch_s = time.monotonic() - began
        return judge.judge_restore(fetch_s, scratch.replay(engine.form), stored.label)

    return climb(ladder.RESTORE, engine.form, below, look)


def pages(below: Sequence[Rung], form: Form, scratch: ScratchServer) -> Rung:
    """Return whether every page of the stopped copy is as it was written."""
    return climb(ladder.PAGES, form, below, lambda: judge.judge_checked("pages", scratch.check_pages()))


def structure(below: Sequence[Rung], form: Form, scratch: ScratchServer) -> Rung:
    """Return whether tables and indexes of the served copy fit together; serves it if it is not."""

    def look() -> Finding:
        scratch.serve()
        return judge.judge_checked("tables and indexes", scratch.check_structure())

    return climb(ladder.STRUCTURE, form, below, look)


def full_read(below: Sequence[Rung], form: Form, scratch: ScratchServer) -> Rung:
    """Return whether every row of the served copy can be read; serves it if it is not."""

    def look() -> Finding:
        scratch.serve()
        return judge.judge_checked("reading every row", scratch.read_all())

    return climb(ladder.READING, form, below, look)


def schema(
    below: Sequence[Rung], form: Form, source: DatabaseFacts | None, copy: Database, unknown: str = UNSEEN
) -> Rung:
    """Return whether the copy has every object of its source.

    Args:
        below: the rungs that were climbed before.
        form: of what was restored.
        source: as it was when the backup was taken, or is; None where its schema is not known.
        copy: the database of that name.
        unknown: why it is not known.
    """

    def look() -> Finding:
        if source is None:
            return Finding(RungOutcome.LEFT_OUT, unknown)
        return judge.judge_schema(source, copy.facts())

    return climb(ladder.SCHEMA, form, below, look)


def counts(below: Sequence[Rung], form: Form, bands: Bands, copy: Database) -> Rung:
    """Return whether each table of the copy has about the rows that it should have."""
    return climb(
        ladder.COUNTS,
        form,
        below,
        lambda: judge.judge_counts(bands.expected, copy.facts(), bands.percent, bands.rows),
    )


def sequences(below: Sequence[Rung], form: Form, scratch: ScratchServer) -> Rung:
    """Return whether no sequence of any database is behind its column."""
    return climb(
        ladder.SEQUENCES,
        form,
        below,
        lambda: judge.judge_sequences(
            [
                replace(each, name=f"{name}: {each.name}")
                for name in scratch.databases()
                for each in scratch.database(name).sequences()
            ]
        ),
    )


def foreign_keys(below: Sequence[Rung], form: Form, scratch: ScratchServer) -> Rung:
    """Return whether every foreign key of any database leads somewhere."""
    return climb(
        ladder.FOREIGN_KEYS,
        form,
        below,
        lambda: judge.judge_foreign_keys(
            [
                replace(each, constraint=f"{name}: {each.constraint}")
                for name in scratch.databases()
                for each in scratch.database(name).orphans()
            ]
        ),
    )


def heartbeat(below: Sequence[Rung], form: Form, target: datetime, copy: Database, rpo_s: float) -> Rung:
    """Return the measured RPO.

    Args:
        below: the rungs that were climbed before.
        form: of what was restored.
        target: the moment that was to be restored, by the source's clock.
        copy: the database that has the heartbeats.
        rpo_s: the objective.
    """
    return climb(ladder.HEARTBEAT, form, below, lambda: judge.judge_heartbeat(target, copy.heartbeat(), rpo_s))
