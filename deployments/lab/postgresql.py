"""The lab's PostgreSQL: initialised, described to whoever supervises it, and given databases.

PostgreSQL refuses to run as root. As root everything here runs as an unprivileged user who may read and search, but not
write, where only root may: so a clone in a folder that only root can enter works, too.
"""

import os
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psycopg
from psycopg import sql
from psycopg.pq import PGconn, Ping

from blocks import shell
from blocks.postgresql import DEBIAN, USERS, find_binaries
from blocks.users import as_user, find_user, own
from tasks.common.errors import Refused, Retryable

_INITDB_TIMEOUT_S = 120.0
# Linux: a socket's path has 108 bytes with its closing zero.
_SOCKET_PATH_BYTES = 107


def initialise(data: Path, superuser: str, password_file: Path) -> None:
    """`data` is a database cluster (UTF-8, C.UTF-8, SCRAM passwords everywhere) that belongs to the server's user.

    It is made beside its place and moved there when complete, so that an interrupted call leaves no half cluster.
    *Idempotent:* yes; a cluster that is there stays as it is, its password too.

    Args:
        data: the cluster's folder; its parents are created.
        superuser: name of the first role.
        password_file: file whose first line is that role's password.

    Raises:
        Refused: `data` holds something else, a cluster of another version or of another user; or initdb failed.
    """
    data = data.absolute()
    if (data / "PG_VERSION").exists():
        _check_cluster(data)
        return
    if data.exists() and any(data.iterdir()):
        raise Refused(
            "the folder for the database is not empty, and no database",
            on=str(data),
            next_action="move what is in there away, then try again",
        )
    new = data.with_name(data.name + ".initialising")
    shutil.rmtree(new, ignore_errors=True)
    own(new, find_user(USERS))
    _initdb(new, superuser, password_file.absolute())
    new.rename(data)


def server_command(data: Path, port: int, socket_dir: Path) -> list[str]:
    """Return the argument list that runs the server in the foreground, on 127.0.0.1 only; SIGINT is its fast shutdown.

    `socket_dir` exists afterwards and belongs to the server's user. Where its path is too long for a socket there is
    none: everybody can connect to 127.0.0.1. *Idempotent:* yes.
    """
    sockets = socket_dir.absolute()
    own(sockets, find_user(USERS))
    fits = len(os.fsencode(sockets / f".s.PGSQL.{port}")) <= _SOCKET_PATH_BYTES
    options = {"listen_addresses": "127.0.0.1", "unix_socket_directories": str(sockets) if fits else ""}
    flags = [part for name, value in options.items() for part in ("-c", f"{name}={value}")]
    return [*as_server_user(), str(find_binaries() / "postgres"), "-D", str(data.absolute()), "-p", str(port), *flags]


def as_server_user() -> list[str]:
    """Return what stands in front of a command that must not run as root: nothing, unless we are root."""
    return as_user(find_user(USERS))


def wait_ready(port: int, *, within_s: float = 30.0) -> None:
    """The server on 127.0.0.1 accepts connections.

    Raises:
        Retryable: it does not within that time.
    """
    address = f"host=127.0.0.1 port={port} connect_timeout=2".encode()
    deadline = time.monotonic() + within_s
    while PGconn.ping(address) != Ping.OK:
        if time.monotonic() > deadline:
            raise Retryable(
                f"PostgreSQL does not accept connections after {within_s:g} s",
                on=f"127.0.0.1:{port}",
                next_action="read the end of the server's log",
            )
        time.sleep(0.05)


def create_database(
    port: int, *, superuser: str, superuser_password: str, role: str, password: str, database: str
) -> None:
    """The role can log in with that password, and owns the database.

    *Idempotent:* yes; the role's password is set again, so that it is the one given. Passwords reach neither argument
    lists nor the server's log: only the SCRAM verifier of the new one is sent.

    Raises:
        Retryable: the server does not answer.
        Refused: the superuser's password is wrong, or the server does not do it.
    """
    with _connected(port, superuser, superuser_password) as connection:
        verifier = connection.pgconn.encrypt_password(password.encode(), role.encode(), b"scram-sha-256").decode()
        known = connection.execute("select 1 from pg_roles where rolname = %s", [role]).fetchone()
        connection.execute(
            sql.SQL("{} role {} with login password {}").format(
                sql.SQL("alter" if known else "create"), sql.Identifier(role), sql.Literal(verifier)
            )
        )
        if connection.execute("select 1 from pg_database where datname = %s", [database]).fetchone() is None:
            connection.execute(
                sql.SQL("create database {} owner {}").format(sql.Identifier(database), sql.Identifier(role))
            )


@contextmanager
def _connected(port: int, user: str, password: str) -> Iterator[psycopg.Connection]:
    place = f"PostgreSQL on 127.0.0.1:{port}"
    try:
        with psycopg.connect(
            host="127.0.0.1",
            port=port,
            user=user,
            password=password,
            dbname="postgres",
            connect_timeout=10,
            autocommit=True,
        ) as connection:
            yield connection
    except psycopg.OperationalError as error:
        if "authentication failed" in str(error):
            raise Refused(
                f"the password of the role {user} is wrong",
                on=place,
                next_action="use the password that the cluster was initialised with, or initialise it anew",
            ) from None
        raise Retryable(
            f"PostgreSQL does not answer: {error}", on=place, next_action="read the end of the server's log"
        ) from None
    except psycopg.Error as error:
        raise Refused(
            f"PostgreSQL refused: {error}", on=place, next_action="read the end of the server's log"
        ) from None


def _initdb(new: Path, superuser: str, password_file: Path) -> None:
    done = shell.run(
        [
            *as_server_user(),
            str(find_binaries() / "initdb"),
            f"--pgdata={new}",
            f"--username={superuser}",
            f"--pwfile={password_file}",
            "--auth=scram-sha-256",
            "--encoding=UTF8",
            "--locale=C.UTF-8",
            "--no-instructions",
        ],
        cwd=new,
        timeout_s=_INITDB_TIMEOUT_S,
        redact=str,
    )
    if done.exit_code != 0:
        shutil.rmtree(new, ignore_errors=True)
        raise Refused(
            "initdb failed",
            on=str(new),
            state="nothing is left of the attempt",
            next_action="do what its last lines ask for, then try again",
            facts={"last lines": "\n".join(done.tail)},
        )


def _check_cluster(data: Path) -> None:
    version = (data / "PG_VERSION").read_text().strip()
    binaries = find_binaries()
    if binaries.parent.parent == DEBIAN and binaries.parent.name != version:
        raise Refused(
            f"the cluster is of PostgreSQL {version}, the programs are of {binaries.parent.name}",
            on=str(data),
            next_action=f"install PostgreSQL {version}, or move the folder away to start with an empty cluster",
        )
    user = find_user(USERS)
    wanted = user.pw_uid if user else os.getuid()
    if data.stat().st_uid != wanted:
        raise Refused(
            "the cluster belongs to another user than the one that its server runs as",
            on=str(data),
            next_action=f"chown -R {wanted} {data}, or run as the user who made it",
            facts={"owner": data.stat().st_uid, "server's user": wanted},
        )
