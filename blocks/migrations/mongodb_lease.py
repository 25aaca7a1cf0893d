"""The right to be the only engine in a MongoDB database: a lease document with a heartbeat.

No clock is compared with another one's. The holder counts the document's beats up; whoever wants it takes it over once
no beat came for as long as a lease lasts, by his own clock; and a holder that could not beat in time stops before that.
A token that grows with every holder stands in each document of the history: what an engine notes that has been
overtaken, and does not know it yet, meets a larger one.

*Source:* the scheme of client-go's `leaderelection`; fencing tokens: Kleppmann, "How to do distributed locking".
"""

import threading
import time
from contextlib import suppress
from typing import Any, Self

from pymongo import ReturnDocument
from pymongo.database import Database
from pymongo.errors import DuplicateKeyError, PyMongoError

from tasks.common.errors import Refused
from tasks.migration.ports import MutexLost

COLLECTION = "slipway_migration_mutex"
_ID = "migrations"
EXPIRY_S = 30.0
"""A lease without a beat lasts for this long."""
_POLL_S = 0.2
_BEATS = 3
"""In the time of a lease."""

Documents = Database[dict[str, Any]]


class Lease:
    """The right to be the only engine.

    Args:
        database: whose.
        run_id: shown to others who want it.
        on: what errors call the database.
        expiry_s: a lease without a beat lasts for this long; the same for all engines.
    """

    def __init__(self, database: Documents, run_id: str, on: str, expiry_s: float = EXPIRY_S) -> None:
        self._documents, self._run_id, self._on, self._expiry_s = database[COLLECTION], run_id, on, expiry_s
        self.token = 0
        self._beaten_s = float("-inf")
        self._lost = False
        self._end = threading.Event()
        self._beating: threading.Thread | None = None

    def take(self, within_s: float) -> Self:
        """It is ours, and beats until it is closed.

        Raises:
            Refused: another engine has it, and has neither given it up nor stopped beating in time.
        """
        deadline_s = time.monotonic() + within_s
        seen: tuple[int, int] | None = None
        since_s = 0.0
        while not self.token:
            asked_s = time.monotonic()
            found = self._documents.find_one({"_id": _ID})
            beat = (found["token"], found["beat"]) if found is not None else None
            if beat != seen:
                seen, since_s = beat, asked_s
            if found is None or not found["holder"] or asked_s - since_s > self._expiry_s:
                self.token = self._claim(beat)
                self._beaten_s = asked_s
            elif asked_s > deadline_s:
                raise self._busy(found["holder"])
            else:
                time.sleep(_POLL_S)
        self._beating = threading.Thread(target=self._beat_on, name="lease of migrations", daemon=True)
        self._beating.start()
        return self

    def require(self) -> None:
        """It is still ours, for long enough that nobody has taken it over.

        Raises:
            MutexLost: it is not, or nobody can tell.
        """
        if self._lost or time.monotonic() - self._beaten_s > self._expiry_s * (_BEATS - 1) / _BEATS:
            raise MutexLost(
                "this engine's hold on the database is gone: its lease could not be kept up",
                on=self._on,
                state="what was under way may have been done in part; what is on record is done",
                next_action="see whether the database can be reached from here, then run this again: it goes on from "
                "its record",
            )

    def beat(self) -> None:
        """It lasts for longer, if it is still ours; what the server does not answer is tried again later."""
        asked_s = time.monotonic()
        try:
            done = self._documents.update_one({"_id": _ID, "token": self.token}, {"$inc": {"beat": 1}})
        except PyMongoError:
            return
        if done.matched_count:
            self._beaten_s = asked_s
        else:
            self._lost = True

    def close(self) -> None:
        """It is free, if it is still ours."""
        self._end.set()
        if self._beating is not None:
            self._beating.join()
        self._lost = True
        # Else it ends by itself.
        with suppress(PyMongoError):
            self._documents.update_one({"_id": _ID, "token": self.token}, {"$set": {"holder": ""}})

    def _claim(self, seen: tuple[int, int] | None) -> int:
        """Return our token; 0 where somebody was quicker."""
        if seen is None:
            try:
                self._documents.insert_one({"_id": _ID, "token": 1, "beat": 0, "holder": self._run_id})
            except DuplicateKeyError:
                return 0
            return 1
        token, beat = seen
        found = self._documents.find_one_and_update(
            {"_id": _ID, "token": token, "beat": beat},
            {"$inc": {"token": 1, "beat": 1}, "$set": {"holder": self._run_id}},
            return_document=ReturnDocument.AFTER,
        )
        return int(found["token"]) if found is not None else 0

    def _beat_on(self) -> None:
        while not self._lost and not self._end.wait(self._expiry_s / _BEATS / 2):
            self.beat()

    def _busy(self, by: str) -> Refused:
        return Refused(
            "another engine is at work on this database",
            on=self._on,
            state="this run has changed nothing",
            next_action="let it end, then run this again; the lease of one that is dead ends "
            f"{self._expiry_s:g} s after its last beat",
            facts={"at work": by},
        )


def holder(database: Documents) -> str:
    """Return who holds the lease; '' where nobody does. One that is dead is still told of."""
    found = database[COLLECTION].find_one({"_id": _ID})
    return str(found["holder"]) if found is not None else ""
