"""Leases on PostgreSQL: each operation is one short transaction under the lock of the scope's row."""

from collections.abc import Iterator
from contextlib import contextmanager

import psycopg

from blocks.lease_data import GONE_AFTER_S, Standing, lost, may_take, waiting
from blocks.ledger_data import kept_text
from blocks.ledger_database import LedgerDatabase
from tasks.common.lease import Lease, Waiting

# Else a process that is paused within a transaction would keep everybody else out.
_NOT_PAUSED = "set idle_in_transaction_session_timeout = '5s'"
# What is looked at after this sees what whoever held the lock before has committed, and the time since.
_LOCK = "select from slipway.lease where scope = %s for update"
# The first lease of a scope would find no row to lock.
_MAKE = """
insert into slipway.lease (scope, holder, token, acquired_at, expires_at, good_for_s, parked, given_up)
values (%s, '', 0, clock_timestamp(), clock_timestamp(), 0, false, true) on conflict (scope) do nothing
"""
_STANDING = """
select holder, token, least(extract(epoch from expires_at - clock_timestamp())::float8, good_for_s), parked, given_up
  from slipway.lease where scope = %s
"""
_UNDER = """
select scope, holder, token, least(extract(epoch from expires_at - clock_timestamp())::float8, good_for_s), parked
  from slipway.lease where starts_with(scope, %s) and not given_up order by scope collate "C"
"""
# After the server's clock was set back a killed holder's lease would stay for as long as that.
_BOUND = """
update slipway.lease set expires_at = clock_timestamp() + make_interval(secs => good_for_s)
 where scope = %s and expires_at > clock_timestamp() + make_interval(secs => good_for_s)
"""
_TAKE = """
update slipway.lease
   set holder = %(holder)s, token = token + 1, acquired_at = clock_timestamp(), parked = false, given_up = false,
       expires_at = clock_timestamp() + make_interval(secs => %(for_s)s), good_for_s = %(for_s)s
 where scope = %(scope)s
"""
_KEEP = """
update slipway.lease
   set expires_at = clock_timestamp() + make_interval(secs => %(for_s)s), good_for_s = %(for_s)s, parked = %(parked)s
 where scope = %(scope)s
"""
_FORGET_THE_GONE = """
delete from slipway.lease_waiter where scope = %s and asked_at < clock_timestamp() - make_interval(secs => %s)
"""
_ASK = """
insert into slipway.lease_waiter (scope, holder, since, asked_at)
values (%s, %s, clock_timestamp(), clock_timestamp())
on conflict (scope, holder) do update set asked_at = excluded.asked_at
"""
# After the server's clock was set back, times of before are in the future: who is still there asks again at once.
_AHEAD = """
select w.holder from slipway.lease_waiter w join slipway.lease_waiter mine on mine.scope = w.scope
 where mine.scope = %s and mine.holder = %s and w.place < mine.place and w.asked_at <= clock_timestamp()
 order by w.place
"""
_LEAVE = "delete from slipway.lease_waiter where scope = %s and holder = %s"


class PostgresqlLeases:
    """Implements `Leases` in the ledger's database. Safe to share between threads.

    Args:
        database: the ledger's, prepared.
    """

    def __init__(self, database: LedgerDatabase) -> None:
        self._database = database

    def acquire(self, scope: str, holder: str, ttl_s: float, *, instead_of: str = "") -> Lease | Waiting:
        """Return the lease with a new token, if it is free, expired or the holder's own; else a place in the queue.

        *Idempotent:* no: each success has a new token. After a Retryable ask again; if the first call had succeeded
        after all, the lease is the holder's own.

        Raises:
            Retryable: the database does not answer.
        """
        scope, holder, instead_of = kept_text(scope), kept_text(holder), kept_text(instead_of)
        with self._locked(scope, "it is not known who has the lease; asking again does no harm") as connection:
            connection.execute(_BOUND, [scope])
            standing = _standing(connection, scope)
            connection.execute(_FORGET_THE_GONE, [scope, GONE_AFTER_S])
            connection.execute(_ASK, [scope, holder])
            ahead = [name for (name,) in connection.execute(_AHEAD, [scope, holder]).fetchall()]
            if not may_take(standing, holder, instead_of, len(ahead)):
                return waiting(standing, scope, ahead)
            connection.execute(_TAKE, {"scope": scope, "holder": holder, "for_s": ttl_s})
            connection.execute(_LEAVE, [scope, holder])
            return _standing(connection, scope).newest

    def renew(self, lease: Lease, ttl_s: float) -> Lease:
        """The lease, which may have expired if nobody took it, is good for another ttl_s seconds, and not parked.

        *Idempotent:* yes, but for the time that it counts from.

        Raises:
            LeaseLost: the scope has a newer token, or was given up.
            Retryable: the database does not answer.
        """
        return self._keep(lease, ttl_s, parked=False)

    def park(self, lease: Lease, for_s: float) -> Lease:
        """The lease is kept for its suspended holder for so long, without renewals. *Idempotent:* as renew.

        Raises:
            LeaseLost: the scope has a newer token, or was given up.
            Retryable: the database does not answer.
        """
        return self._keep(lease, for_s, parked=True)

    def give_up(self, lease: Lease) -> None:
        """The lease is free, if it was still this one. *Idempotent:* yes.

        Raises:
            Retryable: the database does not answer; the lease expires by itself.
        """
        with self._database.session("it is not known whether the lease was given up; it expires by itself") as session:
            session.execute(
                "update slipway.lease set given_up = true where scope = %s and holder = %s and token = %s",
                [lease.scope, lease.holder, lease.token],
            )

    def leave(self, scope: str, holder: str) -> None:
        """The holder does not wait for the scope any more. *Idempotent:* yes.

        Raises:
            Retryable: the database does not answer; who does not ask any more leaves the queue by itself.
        """
        with self._database.session("it is not known whether the queue was left; that happens by itself") as session:
            session.execute(_LEAVE, [kept_text(scope), kept_text(holder)])

    def find(self, scope: str) -> Lease | None:
        """Return the newest lease of a scope, expired ones included; None where there was none, or it was given up.

        Raises:
            Retryable: the database does not answer.
        """
        with self._database.session("nothing was changed") as connection:
            standing = _found(connection, kept_text(scope))
        return standing.kept if standing else None

    def under(self, prefix: str) -> tuple[Lease, ...]:
        """Return what `find` does for each scope that begins so, in the order of the scopes.

        Raises:
            Retryable: the database does not answer.
        """
        with self._database.session("nothing was changed") as connection:
            rows = connection.execute(_UNDER, [kept_text(prefix)]).fetchall()
        return tuple(Lease(*row) for row in rows)

    def _keep(self, lease: Lease, for_s: float, *, parked: bool) -> Lease:
        unknown = "it is not known until when the lease is good; again does no harm"
        with self._locked(lease.scope, unknown) as connection:
            standing = _standing(connection, lease.scope)
            if not standing.is_of(lease):
                raise lost(lease, standing)
            connection.execute(_KEEP, {"scope": lease.scope, "for_s": for_s, "parked": parked})
            return _standing(connection, lease.scope).newest

    @contextmanager
    def _locked(self, scope: str, unknown: str) -> Iterator[psycopg.Connection]:
        """Yield a connection in a transaction that alone reads and changes the scope."""
        with self._database.session(unknown) as connection:
            # A snapshot from before the lock would show what is not true any more.
            connection.isolation_level = psycopg.IsolationLevel.READ_COMMITTED
            connection.execute(_NOT_PAUSED)
            with connection.transaction():
                connection.execute(_MAKE, [scope])
                connection.execute(_LOCK, [scope])
                yield connection


def _standing(connection: psycopg.Connection, scope: str) -> Standing:
    standing = _found(connection, scope)
    assert standing is not None
    return standing


def _found(connection: psycopg.Connection, scope: str) -> Standing | None:
    row = connection.execute(_STANDING, [scope]).fetchone()
    if row is None:
        return None
    holder, token, left_s, parked, given_up = row
    return Standing(Lease(scope, holder, token, left_s, parked), given_up)
