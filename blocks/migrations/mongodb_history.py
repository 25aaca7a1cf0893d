"""The history of a MongoDB database's migrations: a document for each, with its steps in it.

MongoDB changes one document whole or not at all, and so each note; and each has the token of whoever has written it.
"""

import json
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from pymongo.errors import DuplicateKeyError

from blocks.migrations.mongodb_lease import Documents, Lease
from blocks.migrations.store import require_known, rollback_script
from tasks.common.errors import Refused
from tasks.common.migrations import PHASES, MigrationState, Phase, Standing
from tasks.migration.catalogue import Attempt, StepDone
from tasks.migration.model import Compiled, Step
from tasks.migration.ports import MutexLost, Spot

VERSION = 1
"""Of the documents below; newer ones are left alone."""
COLLECTION = "slipway_migrations"
UNDONE = "slipway_migrations_undone"
"""Attempts that were undone, before another one was begun."""


class History:
    """Reads and writes notes, under a lease.

    Args:
        database: whose.
        lease: ours.
        on: what errors call the database.
    """

    def __init__(self, database: Documents, lease: Lease, on: str) -> None:
        self._notes, self._undone, self._lease, self._on = database[COLLECTION], database[UNDONE], lease, on
        for each in self._notes.find():
            require_known(each["store"], on, VERSION)
        # What an engine still writes that held the lease before is refused from now on.
        self._notes.update_many({}, {"$max": {"fence": lease.token}})

    def note(self, name: str) -> dict[str, Any]:
        """Return what is on record of a migration; the lease is ours.

        Raises:
            Refused: nothing is.
            MutexLost: the lease is gone.
        """
        self._lease.require()
        found = self._notes.find_one({"_id": name, "state": {"$ne": "undone"}})
        if found is None:
            raise Refused(
                "nothing of the migration is on record",
                on=f"{name} in {self._on}",
                next_action="observe again, then begin",
            )
        return found

    def begin(self, compiled: Compiled, backup: str, run_id: str) -> None:
        """The migration is under way on record. *Idempotent:* yes.

        Raises:
            Refused: it is being undone, or was applied.
        """
        self._lease.require()
        found = self._notes.find_one({"_id": compiled.name})
        if found is None or found["state"] == "undone":
            self._anew(compiled, backup, run_id, found)
        elif found["state"] in ("under way", "failed"):
            self.change(compiled.name, {"state": "under way", "problem": "", **({"backup": backup} if backup else {})})
        else:
            raise Refused(
                f"the migration is {found['state']}",
                on=f"{compiled.name} in {self._on}",
                next_action="look at 'slipway migration status'",
            )

    def change(self, name: str, values: Mapping[str, Any], **operators: Mapping[str, Any]) -> None:
        """A note has these values. *Idempotent:* yes, but for operators that count.

        Args:
            name: of the migration.
            values: by field.
            operators: of an update, by their names without the $.

        Raises:
            MutexLost: somebody else has noted something since.
        """
        self._lease.require()
        change = {f"${each}": dict(what) for each, what in operators.items()}
        change["$set"] = {**values, "fence": self._lease.token, "changed_at": datetime.now(UTC)}
        done = self._notes.update_one({"_id": name, "fence": {"$lte": self._lease.token}}, change)
        if not done.matched_count:
            raise MutexLost(
                "another engine is at work on this migration by now",
                on=f"{name} in {self._on}",
                state="what was under way may have been done in part; what is on record is done",
                next_action="let it end, then run this again",
            )

    def step(self, at: Spot) -> dict[str, Any]:
        """Return what is on record of a step; empty where nothing is."""
        found: dict[str, Any] = self.note(at.name)["steps"].get(key(at), {})
        return found

    def note_begun(self, at: Spot, step: Step, run_id: str, **more: Any) -> bool:
        """The step is on record as begun; returns whether it was not before. *Idempotent:* yes."""
        if self.step(at):
            return False
        made = {"what": step.what or step.kind, "state": "begun", "undone": 0, "rows": 0, "over": 0, "seconds": 0.0}
        made |= {"began_at": datetime.now(UTC), "ended_at": None, "run_id": run_id, **more}
        self.change(at.name, {f"steps.{key(at)}": made})
        return True

    def note_done(self, at: Spot, seconds: float) -> None:
        """The step is done on record, and may be undone anew."""
        place = f"steps.{key(at)}"
        values = {f"{place}.state": "done", f"{place}.undone": 0, f"{place}.ended_at": datetime.now(UTC)}
        self.change(at.name, values, inc={f"{place}.seconds": seconds})

    def _anew(self, compiled: Compiled, backup: str, run_id: str, before: Mapping[str, Any] | None) -> None:
        now, attempt = datetime.now(UTC), int(before["attempt"]) if before is not None else 0
        made = {
            "_id": compiled.name,
            "store": VERSION,
            "attempt": attempt + 1,
            "checksum": compiled.checksum,
            "state": "under way",
            "done": None,
            "version": compiled.version,
            "no_return": compiled.no_return,
            "past_return": False,
            # As text: names of fields may have what names of ours may not.
            "compiled": json.dumps(compiled.model_dump(mode="json", by_alias=True)),
            "rollback": rollback_script(compiled),
            "backup": backup,
            "accepted": "",
            "run_id": run_id,
            "problem": "",
            "began_at": now,
            "changed_at": now,
            "ended_at": None,
            "fence": self._lease.token,
            "steps": {},
        }
        try:
            if before is None:
                self._notes.insert_one(made)
                return
            # First, so that nothing is lost: done twice, it is the same.
            old = {**before, "_id": f"{compiled.name} {attempt}"}
            self._undone.replace_one({"_id": old["_id"]}, old, upsert=True)
            mine = {"_id": compiled.name, "state": "undone", "fence": {"$lte": self._lease.token}}
            done = self._notes.replace_one(mine, made).matched_count
        except DuplicateKeyError:
            done = 0
        if not done:
            raise MutexLost(
                "another engine has begun this migration", on=self._on, next_action="let it end, then run this again"
            )


def key(at: Spot) -> str:
    """Return the name under which a note has a step."""
    return f"{at.phase} {at.number}"


def attempts(database: Documents, on: str) -> tuple[Attempt, ...]:
    """Return the attempt at each migration that was not undone, in the order of names.

    Raises:
        Refused: a newer Slipway has written one.
    """
    notes = list(database[COLLECTION].find({"state": {"$ne": "undone"}}))
    for each in notes:
        require_known(each["store"], on, VERSION)
    return tuple(_attempt(each) for each in sorted(notes, key=lambda each: str(each["_id"])))


def _attempt(note: Mapping[str, Any]) -> Attempt:
    standing = Standing(
        name=note["_id"],
        state=MigrationState(note["state"]),
        done=Phase(note["done"]) if note["done"] else None,
        version=note["version"],
        no_return=Phase(note["no_return"]) if note["no_return"] else None,
        past_return=note["past_return"],
        began_at=_at(note["began_at"]),
        ended_at=_at(note["ended_at"]),
        backup=note["backup"],
        run_id=note["run_id"],
        accepted=note["accepted"],
    )
    steps = sorted(
        (_step(name, each) for name, each in note["steps"].items()),
        key=lambda each: (PHASES.index(each.phase), each.number),
    )
    return Attempt(standing, Compiled.model_validate_json(note["compiled"]), tuple(steps), note["problem"])


def _step(name: str, note: Mapping[str, Any]) -> StepDone:
    phase, _, number = name.partition(" ")
    times = _at(note["began_at"]), _at(note["ended_at"])
    return StepDone(Phase(phase), int(number), note["state"], note["undone"], *times, note["seconds"], note["rows"])


def _at(time: datetime | None) -> datetime | None:
    """Return a time as we have them: MongoDB gives it without its zone, which is UTC."""
    return time if time is None or time.tzinfo is not None else time.replace(tzinfo=UTC)
