"""The database: schema, seed and queries. One pool an instance; it survives a restart of the server."""

import asyncio
import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import psycopg
from psycopg.rows import dict_row
from psycopg_pool import AsyncConnectionPool, PoolClosed, PoolTimeout

from campus.security import hash_password

Row = dict[str, Any]
Unreachable = psycopg.OperationalError
"""What a query raises when the server cannot be reached, or went away in the middle; a pool's timeout is one, too."""

SEED_PASSWORD = "learn something new"  # pragma: allowlist secret (of the example's own learners, and meant to be known)
LEARNERS = 8

_SCHEMA = Path(__file__).with_name("schema.sql")
_SCHEMA_LOCK = 0x63616D707573
_log = logging.getLogger("campus.database")


class Database:
    """Queries by name, through a pool."""

    def __init__(self, url: str) -> None:
        self._ready = False
        self._pool = AsyncConnectionPool(
            url,
            min_size=1,
            max_size=8,
            open=False,
            timeout=5.0,
            # Short, because the pauses between attempts double: after an outage of minutes the next request tries anew.
            reconnect_timeout=5.0,
            kwargs={"autocommit": True, "row_factory": dict_row, "connect_timeout": 3, "application_name": "campus"},
        )

    async def open(self) -> None:
        """The pool is open. Whether there is a server is another question: see reachable()."""
        await self._pool.open()

    async def close(self) -> None:
        """Every connection is closed."""
        await self._pool.close(timeout=1.0)

    async def prepare(self) -> None:
        """Schema and seed are there. Waits for the server as long as it takes; safe in several instances at once."""
        while not self._ready:
            try:
                await self._create()
                self._ready = True
            except psycopg.Error as error:
                _log.warning("the database is not ready yet: %s %s", type(error).__name__, error.sqlstate or "")
                await asyncio.sleep(0.5)

    async def _create(self) -> None:
        async with self._pool.connection() as connection, connection.transaction():
            await connection.execute("select pg_advisory_xact_lock(%s)", [_SCHEMA_LOCK])
            await connection.execute(_SCHEMA.read_bytes())
            found = await (await connection.execute("select count(*) as learners from users")).fetchone()
            if found is None or not found["learners"]:
                await connection.cursor().executemany(
                    "insert into users (id, email, name, password) values (%s, %s, %s, %s)",
                    await asyncio.to_thread(_learners),
                )

    async def reachable(self) -> bool:
        """Return whether a query works now and the schema is there."""
        try:
            await self._rows("select 1", within_s=1.0)
        except Unreachable:
            return False
        return self._ready

    async def courses(self) -> list[Row]:
        return await self._rows("select id, title, category, teacher, lessons from courses order by id")

    async def course(self, course_id: int) -> Row | None:
        return await self._row("select id, title, category, teacher, lessons from courses where id = %s", [course_id])

    async def user(self, user_id: int) -> Row | None:
        return await self._row("select id, email, name from users where id = %s", [user_id])

    async def user_to_log_in(self, email: str) -> Row | None:
        return await self._row("select id, password from users where email = %s", [email])

    async def enrol(self, user_id: int, course_id: int) -> Row | None:
        """Return the new enrolment, or None if there is no such course. A course may be taken more than once."""
        return await self._row(
            "insert into enrolments (user_id, course_id) select %s, id from courses where id = %s"
            " returning id, course_id, enrolled_at::text",
            [user_id, course_id],
            repeatable=False,
        )

    async def enrolments(self, user_id: int) -> list[Row]:
        """Return the user's latest ten enrolments, newest first."""
        return await self._rows(
            "select id, course_id, enrolled_at::text from enrolments where user_id = %s order by id desc limit 10",
            [user_id],
        )

    async def progress(self) -> list[Row]:
        return await self._rows("select course_id, count(*) as enrolments from enrolments group by 1 order by 1")

    async def report(self, message: str) -> None:
        await self._row("insert into user_reports (message) values (%s) returning id", [message], repeatable=False)

    async def _row(self, query: str, values: Sequence[object] = (), *, repeatable: bool = True) -> Row | None:
        rows = await self._rows(query, values, repeatable=repeatable)
        return rows[0] if rows else None

    async def _rows(
        self, query: str, values: Sequence[object] = (), *, repeatable: bool = True, within_s: float | None = None
    ) -> list[Row]:
        try:
            return await self._once(query, values, within_s)
        except (PoolTimeout, PoolClosed):
            raise
        except Unreachable:
            # The server was restarted since the connection was last used: so are the others of no use any more.
            # Testing each before every query would double the round trips.
            await self._pool.check()
            if not repeatable:
                raise
        return await self._once(query, values, within_s)

    async def _once(self, query: str, values: Sequence[object], within_s: float | None) -> list[Row]:
        async with self._pool.connection(timeout=within_s) as connection:
            return await (await connection.execute(query, values)).fetchall()


def learner(number: int) -> str:
    """Return the e-mail address of one of the seeded learners, 1 to LEARNERS."""
    return f"learner{number}@campus.example"


def _learners() -> list[tuple[int, str, str, str]]:
    return [(n, learner(n), f"Learner {n}", hash_password(SEED_PASSWORD)) for n in range(1, LEARNERS + 1)]
