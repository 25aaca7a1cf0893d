"""Engine and server are killed in the middle of migrations; the next run finishes, and no row is changed twice."""

import os
import random
import signal
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest

from tasks.common.errors import SlipwayError
from tasks.common.migrations import MigrationState, Phase
from tests.support.interrupting import at_statement, statements_of
from tests.support.migrating import CUSTOMERS, NAMES, Way, changed, data_of, fill, rows, schema_of, way
from tests.support.postgresql import Cluster, running_cluster
from tests.support.processes import require_killed, wait_until

pytestmark = [pytest.mark.server, pytest.mark.long]
_ROWS = 120
_MOMENTS = int(os.environ.get("SLIPWAY_KILLS", "8"))
_FILES = changed(
    NAMES, migration__yaml=NAMES["0001_full_name/migration.yaml"].replace("pause: 0s", "pause: 0s\n    batch: 25")
)
# Every change of a row that was committed is on record, so that a second one is seen.
_AUDIT = """
create table touched (id int not null);
create function touch() returns trigger language plpgsql
    as 'begin insert into touched values (new.id); return new; end';
create trigger touched after update on customer for each row execute function touch();
"""
_TWICE = "select id from touched group by id having count(*) > 1"


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """A server of our own, since it is killed."""
    # What was committed must be there after a crash.
    settings = {"fsync": "on", "synchronous_commit": "on", "full_page_writes": "on"}
    with running_cluster(tmp_path_factory.mktemp("killed"), settings=settings) as cluster:
        yield cluster


@pytest.fixture
def address(cluster: Cluster) -> str:
    found = cluster.database()
    fill(found, CUSTOMERS.format(rows=_ROWS) + _AUDIT)
    return found


def moments(whole: int, seed: int) -> list[int]:
    """Return numbers of statements, spread over all of them at random."""
    chance = random.Random(seed)
    return sorted(chance.sample(range(1, whole + 1), min(_MOMENTS, whole)))


def answers(address: str) -> bool:
    try:
        return rows(address, "select 1") == [(1,)]
    except psycopg.OperationalError:
        return False


def require_right(work: Way, address: str) -> None:
    """It goes on to its end, and each row was changed once."""
    work.apply(Phase.CLEANUP)
    attempt = work.attempt()
    assert attempt is not None and attempt.standing.state is MigrationState.APPLIED
    assert {each.state for each in attempt.steps} == {"done"}
    assert rows(address, _TWICE) == []
    assert rows(address, "select count(*) from touched") == [(_ROWS,)]
    assert rows(address, "select count(*) from customer where full_name = 'first' || id || ' last' || id") == [(_ROWS,)]
    assert rows(address, "select sum(over), sum(changed) from slipway.migration_batches") == [(_ROWS, _ROWS)]
    assert rows(address, "select count(*) from pg_index where not indisvalid") == [(0,)]


@pytest.mark.parametrize("amid", [False, True])
def test_engine_that_is_killed_at_any_statement_is_followed_by_one_that_finishes(
    cluster: Cluster, address: str, tmp_path: Path, amid: bool
) -> None:
    whole = statements_of(lambda: way(address, tmp_path, _FILES).apply(Phase.CLEANUP))
    for number in moments(whole, 7 + amid):
        fresh = cluster.database()
        fill(fresh, CUSTOMERS.format(rows=_ROWS) + _AUDIT)

        def work(number: int = number, fresh: str = fresh) -> None:
            at_statement(number, lambda connection: os.kill(os.getpid(), signal.SIGKILL), amid)
            way(fresh, tmp_path, _FILES).apply(Phase.CLEANUP)
            os.kill(os.getpid(), signal.SIGKILL)

        require_killed(work, f"at statement {number} of {whole}")
        require_right(way(fresh, tmp_path, _FILES), fresh)


def test_server_that_is_killed_at_any_statement_is_no_loss(cluster: Cluster, address: str, tmp_path: Path) -> None:
    whole = statements_of(lambda: way(address, tmp_path, _FILES).apply(Phase.CLEANUP))
    for number in moments(whole, 11):
        fresh = cluster.database()
        fill(fresh, CUSTOMERS.format(rows=_ROWS) + _AUDIT)
        # A server process that is killed has all others end, and the server recover from its WAL.
        end = at_statement(number, lambda connection: os.kill(connection.info.backend_pid, signal.SIGKILL))
        try:
            way(fresh, tmp_path, _FILES).apply(Phase.CLEANUP)
        except SlipwayError as error:
            assert error.next_action
        finally:
            end()
        wait_until(lambda fresh=fresh: answers(fresh), within_s=120, what="the server's recovery")  # type: ignore[misc]
        require_right(way(fresh, tmp_path, _FILES), fresh)


def test_undo_that_is_killed_at_any_statement_is_finished_by_the_next(
    cluster: Cluster, address: str, tmp_path: Path
) -> None:
    before = schema_of(address), data_of(address)
    way(address, tmp_path, _FILES).apply(Phase.VALIDATE)
    whole = statements_of(lambda: way(address, tmp_path, _FILES).undo())
    for number in moments(whole, 13):
        way(address, tmp_path, _FILES).apply(Phase.VALIDATE)

        def work(number: int = number) -> None:
            at_statement(number, lambda connection: os.kill(os.getpid(), signal.SIGKILL))
            way(address, tmp_path, _FILES).undo()
            os.kill(os.getpid(), signal.SIGKILL)

        require_killed(work, f"at statement {number} of {whole}")
        if way(address, tmp_path, _FILES).attempt() is not None:
            way(address, tmp_path, _FILES).undo()
        assert (schema_of(address), data_of(address)) == before
