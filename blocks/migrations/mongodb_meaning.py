"""What MongoDB's errors mean for whoever runs a migration. Their texts are not shown: they quote documents."""

from collections.abc import Iterator
from contextlib import contextmanager

from pymongo.errors import (
    BulkWriteError,
    ConfigurationError,
    ConnectionFailure,
    DuplicateKeyError,
    ExecutionTimeout,
    InvalidName,
    OperationFailure,
    PyMongoError,
    WriteError,
)

from tasks.common.errors import Refused, Retryable, SlipwayError
from tasks.migration.ports import Contended

IN_PART = "it may have been done in part; what is on record is done, and going on does the rest"
# Source: MongoDB, src/mongo/base/error_codes.yml.
_LOCKED = (24, 46, 112)
_NOT_LET_IN = (13, 18)
_AGAIN = ("RetryableWriteError", "TransientTransactionError")
_INVALID = 121
_SAME_NAME = (48, 85, 86)


@contextmanager
def translated(on: str) -> Iterator[None]:
    """Errors of MongoDB within the block are ours.

    Raises:
        Contended: a lock was not to be had.
        Retryable: the server is gone, or was too slow.
        Refused: it does not do it.
    """
    try:
        yield
    except PyMongoError as error:
        raise meaning(error, on) from None


def meaning(error: PyMongoError, on: str) -> SlipwayError:
    """Return what an error means."""
    code = error.code if isinstance(error, OperationFailure) else None
    facts = {"MongoDB's error": f"{type(error).__name__}, code {code if code is not None else 'none'}"}
    if code in _LOCKED:
        return Contended("a lock was not to be had in time", on=on, state=IN_PART, next_action="try again", facts=facts)
    if isinstance(error, ExecutionTimeout) or (error.timeout and isinstance(error, OperationFailure)):
        return Retryable(
            "it took longer than it may",
            on=on,
            state=IN_PART,
            next_action="run this again when less goes on, or raise 'within' of the migration",
            facts=facts,
        )
    if isinstance(error, ConnectionFailure) or error.timeout or any(map(error.has_error_label, _AGAIN)):
        return Retryable(
            "the database does not answer, or its primary has changed",
            on=on,
            state=IN_PART,
            next_action="check its servers; then run this again: it goes on from what is on record",
            facts=facts,
        )
    what, action = _refusal(error, code)
    return Refused(what, on=on, state=IN_PART, next_action=action, facts=facts)


def _refusal(error: PyMongoError, code: int | None) -> tuple[str, str]:
    if isinstance(error, DuplicateKeyError):
        return "documents are alike that must not be", "find them ($group by the key), mend them, then apply again"
    if code in _NOT_LET_IN:
        return "the database does not let us in, or the role lacks a right", "check the address, and give it dbAdmin"
    if code == _INVALID or isinstance(error, BulkWriteError | WriteError):
        return "documents break the collection's validator", "mend them or the backfill, then apply again"
    if code in _SAME_NAME:
        return "something of that name is there already", "give it another name, or look what made it"
    if isinstance(error, ConfigurationError | InvalidName):
        return "the address or a name cannot be used", "correct it"
    return "the database does not do it", "correct the migration; what was begun can be undone"
