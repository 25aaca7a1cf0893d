"""What every database that is migrated does."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from blocks.context import Context
from blocks.memory.migrations import MemoryMigrations
from tasks.common.errors import Refused
from tasks.common.migrations import MigrationState, Phase
from tasks.migration.files import load_migrations
from tasks.migration.model import Backfill, Limits
from tasks.migration.ports import MigrationTarget, Spot
from tasks.migration.require import require_not_undoing
from tests.support.migrating import CUSTOMERS, NAMES, RUN, Stopped, Way, changed, fill, target_of
from tests.support.mongodb import FILES, Server, fake, real

_ROWS = 30
_FILES = changed(
    NAMES,
    prepare__sql="alter table customer add column full_name text;",
    prepare__undo__sql="alter table customer drop column if exists full_name;",
    validate__sql="-- unnamed customers\nselect id from customer where full_name is null;",
    migration__yaml=NAMES["0001_full_name/migration.yaml"].replace("pause: 0s", "pause: 0s\n    batch: 7"),
)
_NAME = "0001_full_name"
_AT = Spot(_NAME, Phase.EXECUTE, 0)


@dataclass(frozen=True)
class Bench:
    """A database that is to be migrated; each call may be another process.

    Args:
        target: the database.
        files: the migration for it.
        key: what batches go by.
        steady: an expression that has the same value each time.
        loose: one that has not, and what of it.
    """

    target: MigrationTarget
    files: Mapping[str, str] = field(default_factory=lambda: _FILES)
    key: str = "id"
    steady: str = "upper('x') || 1"
    loose: tuple[str, str] = ("random()", "random()")

    def __call__(self) -> Way:
        """Return the way of the files through it."""
        return Way(self.target, load_migrations(self.files, "migrations"))


def _mongodb(server: Server, folder: Path) -> Bench:
    server.fill(_ROWS)
    return Bench(server.target(folder), FILES, "_id", '{"$toUpper": "$first"}', ('{"$rand": {}}', "$rand"))


@pytest.fixture(
    params=[
        "memory",
        pytest.param("postgresql", marks=pytest.mark.server),
        "mongodb faked by mongomock",
        pytest.param("mongodb", marks=pytest.mark.server),
    ]
)
def make(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Bench]:
    """Return what makes the way of the files through one database."""
    if request.param == "memory":
        yield Bench(MemoryMigrations(MemoryMigrations.Settings(rows={"customer": _ROWS}), Context(base=tmp_path)))
    elif request.param == "postgresql":
        address = request.getfixturevalue("database_url")
        fill(address, CUSTOMERS.format(rows=_ROWS))
        yield Bench(target_of(address, tmp_path))
    elif request.param == "mongodb":
        with real() as server:
            yield _mongodb(server, tmp_path)
    else:
        yield _mongodb(fake(), tmp_path)


def test_looking_at_a_database_without_a_history_changes_nothing(make: Bench) -> None:
    target = make().target
    assert target.observe().attempts == ()
    assert "slipway" not in target.observe().catalogue.schemas
    found = target.observe().catalogue.table("customer")
    assert found is not None and found.batch_key() == (make.key,)


def test_migration_goes_through_its_phases(make: Bench) -> None:
    work = make()
    work.apply(Phase.VALIDATE)
    attempt = work.attempt()
    assert attempt is not None
    assert (attempt.standing.state, attempt.standing.done) == (MigrationState.UNDER_WAY, Phase.VALIDATE)
    assert attempt.standing.run_id == RUN and attempt.standing.began_at is not None
    assert {each.state for each in attempt.steps} == {"done"} and not attempt.standing.past_return
    assert [each.over for each in work.shown] == [7, 14, 21, 28, 30]
    work.apply(Phase.CLEANUP)
    attempt = work.attempt()
    assert attempt is not None
    assert attempt.standing.state is MigrationState.APPLIED and attempt.standing.past_return
    assert work.plan(Phase.CLEANUP) == ()


def test_what_is_compiled_comes_back_from_the_history_as_it_was(make: Bench) -> None:
    work = make()
    work.apply(Phase.PREPARE)
    attempt = work.attempt()
    assert attempt is not None and attempt.compiled == work.written[0].compiled()


def test_work_that_stops_is_carried_on_by_the_next_and_no_batch_is_done_twice(make: Bench) -> None:
    work = make()
    work.apply(Phase.PREPARE)
    step = work.written[0].compiled().steps(Phase.EXECUTE)[0]
    assert isinstance(step, Backfill)
    with work.target.locked(RUN, 1.0) as engine:
        engine.open_backfill(_AT, step)
        done = [engine.batch(_AT, step, 7, Limits(lock_timeout_ms=20_000)) for _ in range(2)]
    assert [(each.over, each.finished) for each in done] == [(7, False), (7, False)]
    again = make()
    with again.target.locked("another", 1.0) as engine:
        seen = engine.open_backfill(_AT, step)
        assert (seen.over, seen.changed, seen.size, seen.finished, len(seen.newest)) == (14, 14, 7, False, 2)
    again.apply(Phase.VALIDATE)
    assert [each.over for each in again.shown] == [21, 28, 30]


def test_steps_and_marks_may_be_asked_for_twice(make: Bench) -> None:
    work = make()
    actions = work.plan(Phase.VALIDATE)
    with work.target.locked(RUN, 1.0) as engine:
        for _ in range(2):
            work._do(engine, actions[:3], None)
    assert len(work.plan(Phase.VALIDATE)) == len(actions) - 3


@pytest.mark.parametrize("stop_after", range(1, 7))
def test_undo_brings_it_back_from_wherever_it_stopped(make: Bench, stop_after: int) -> None:
    work = make()
    with pytest.raises(Stopped):
        work.apply(Phase.VALIDATE, stop_after=stop_after)
    with pytest.raises(Stopped):
        work.undo(stop_after=1)
    attempt = work.attempt()
    assert attempt is not None and attempt.standing.state is MigrationState.UNDOING
    work.undo()
    assert work.attempt() is None
    work.apply(Phase.CLEANUP)


def test_point_of_no_return_is_passed_with_the_first_step_behind_it(make: Bench) -> None:
    work = make()
    work.apply(Phase.CLEANUP)
    with work.target.locked(RUN, 1.0) as engine, pytest.raises(Refused, match="point of no return"):
        engine.begin_undo(_NAME, None, RUN)


def test_failure_is_on_record_until_it_is_begun_again(make: Bench) -> None:
    work = make()
    work.apply(Phase.PREPARE)
    with work.target.locked(RUN, 1.0) as engine:
        engine.fail(_NAME, "no room")
    attempt = work.attempt()
    assert attempt is not None
    assert (attempt.standing.state, attempt.problem) == (MigrationState.FAILED, "no room")
    work.apply(Phase.EXECUTE)
    attempt = work.attempt()
    assert attempt is not None
    assert (attempt.standing.state, attempt.problem) == (MigrationState.UNDER_WAY, "")


def test_what_a_phase_relies_on_is_on_record_and_stays_until_there_is_something_newer(
    make: Bench,
) -> None:
    work = make()
    work.apply(Phase.PREPARE)
    told: tuple[dict[str, str], ...] = ({"backup": "a"}, {"accepted": "ann: we must"}, {"backup": "b"}, {})
    with work.target.locked(RUN, 1.0) as engine:
        for each in told:
            engine.note(_NAME, **each)
        with pytest.raises(Refused, match="on record"):
            engine.note("0002_other", backup="a")
    attempt = work.attempt()
    assert attempt is not None
    assert (attempt.standing.backup, attempt.standing.accepted) == ("b", "ann: we must")


def test_only_one_engine_works_and_another_is_told_which(make: Bench) -> None:
    work = make()
    with work.target.locked(RUN, 1.0):
        assert RUN in work.target.observe().engine
        with pytest.raises(Refused, match="another engine") as error, make().target.locked("other", 0.1):
            pass
        assert RUN in str(error.value.facts["at work"])
    with work.target.locked("other", 1.0):
        pass


def test_what_is_not_repeatable_is_found(make: Bench) -> None:
    target = make().target
    table = make().written[0].compiled().steps(Phase.EXECUTE)[0].table  # type: ignore[union-attr]
    assert list(target.volatile(table, {"a": make.steady})) == []
    assert make.loose[1] in target.volatile(table, {"a": make.loose[0]})


def test_backfill_of_what_is_not_there_is_refused(make: Bench) -> None:
    work = make()
    work.apply(Phase.PREPARE)
    step = work.written[0].compiled().steps(Phase.EXECUTE)[0]
    assert isinstance(step, Backfill)
    other = step.model_copy(update={"table": step.table.model_copy(update={"name": "nobody"})})
    with work.target.locked(RUN, 1.0) as engine, pytest.raises(Refused):
        engine.open_backfill(_AT, other)


def test_undo_that_was_interrupted_keeps_what_it_was_to_keep_and_is_not_applied_from_there(
    make: Bench,
) -> None:
    work = make()
    work.apply(Phase.VALIDATE)
    with pytest.raises(Stopped):
        work.undo(keep=Phase.PREPARE, stop_after=1)
    with work.target.locked(RUN, 1.0) as engine:
        engine.fail(_NAME, "no room")
    attempt = work.attempt()
    assert attempt is not None
    assert (attempt.standing.state, attempt.problem) == (MigrationState.UNDOING, "no room")
    with pytest.raises(Refused, match="being undone"):
        require_not_undoing(attempt, "campus")
    work.undo()
    attempt = work.attempt()
    assert attempt is not None
    assert (attempt.standing.state, attempt.standing.done) == (MigrationState.UNDER_WAY, Phase.PREPARE)
    work.undo()
    assert work.attempt() is None
