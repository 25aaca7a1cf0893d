"""The table that a drill's client writes to, through the same way as users.

As a program, `python -m blocks.drills.ids prepare` or `ids`: where the client is, the way may be another one than where
Slipway runs. What it is about comes as JSON in the variable SLIPWAY_DRILL, as that holds the address.
"""

import json
import os
import sys
import time

from blocks.drills.session import Declined, NoAnswer, NotSent, Session
from tasks.common.errors import Retryable

VARIABLE = "SLIPWAY_DRILL"
TABLE = "slipway_drill"
INSERT = f"insert into {TABLE} (id) values ($1)"  # noqa: S608 - a constant name
READ = f"select 1 from {TABLE} where id = $1"  # noqa: S608 - a constant name
_CREATE = f"create table if not exists {TABLE} (id text primary key, at timestamptz not null default clock_timestamp())"
_FORGET = f"truncate {TABLE}"
"""Rows that were deleted would leave room for new ones in a file system that has none."""
_IDS = f"select id from {TABLE} where left(id, length($1)) = $1"  # noqa: S608 - a constant name
_WITHIN_S = 30.0


def prepare(address: str, run: str, on: str) -> None:
    """The table is there, without rows of other runs. *Idempotent:* yes.

    Raises:
        Retryable: the database does not answer, or does not let the role make the table.
    """
    _ask(address, _CREATE, [], on)
    _ask(address, _FORGET, [], on)


def ids_of(address: str, run: str, on: str) -> frozenset[str]:
    """Return every id of a run that is in the table.

    Raises:
        Retryable: the database does not answer.
    """
    return frozenset(str(row[0]) for row in _ask(address, _IDS, [run], on))


def _ask(address: str, statement: str, values: list[str], on: str) -> list[list[str | None]]:
    session = Session(address)
    try:
        return session.ask(statement, values, time.monotonic() + _WITHIN_S)
    except (NotSent, Declined, NoAnswer) as error:
        raise Retryable(
            f"the database of a drill does not answer: {error}",
            on=on,
            next_action=f"check that it can be reached as users reach it, and that the role may make the table {TABLE}",
        ) from None
    finally:
        session.close()


def main() -> None:
    """What the first argument says is done; ids are printed, one a line. Else why not is said, and the exit code 1."""
    given = json.loads(os.environ.pop(VARIABLE, "{}"))
    try:
        if sys.argv[1] == "prepare":
            prepare(**given)
        else:
            sys.stdout.write("\n".join(sorted(ids_of(**given))))
    except Retryable as error:
        raise SystemExit(error.what) from None


if __name__ == "__main__":
    main()
