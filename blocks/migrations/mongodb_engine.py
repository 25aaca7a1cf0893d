"""The engine in MongoDB: each step beside its note in the history, under the lease.

A command and its note are not one transaction. The note says first that a step was begun, so that what an earlier try
has done is known as ours, and every step can be done twice.
"""

import time
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import pymongo
from bson import json_util
from pymongo.errors import OperationFailure, PyMongoError

from blocks.migrations.expecting import SHOWN, not_trusted
from blocks.migrations.mongodb_filling import Filling, from_json
from blocks.migrations.mongodb_history import History, key
from blocks.migrations.mongodb_lease import Documents, Lease
from blocks.migrations.mongodb_meaning import IN_PART, translated
from tasks.common.errors import Refused
from tasks.common.migrations import PHASES, MigrationState, Phase
from tasks.migration import documents
from tasks.migration.batching import NEWEST, Sample
from tasks.migration.model import Backfill, BuildIndex, Check, Compiled, Ddl, Limits, Step
from tasks.migration.ports import BackfillSeen, BatchDone, Spot, TooSlow

_NO_INDEX = 27


class MongodbEngine:
    """Implements `Engine`.

    Args:
        database: whose.
        lease: that we hold.
        run_id: the flow run.
        on: what errors call the database.
        redact: takes secrets out of a text.
    """

    def __init__(self, database: Documents, lease: Lease, run_id: str, on: str, redact: Callable[[str], str]) -> None:
        self._database, self._lease, self._run_id, self._name, self._redact = database, lease, run_id, on, redact
        with translated(on):
            self._history = History(database, lease, on)

    def begin(self, compiled: Compiled, backup: str, run_id: str) -> None:
        """The migration is under way on record. *Idempotent:* yes."""
        with translated(self._on(compiled.name)):
            self._history.begin(compiled, backup, run_id)

    def note(self, name: str, *, backup: str = "", accepted: str = "") -> None:
        """What was asked before a phase is on record. *Idempotent:* yes."""
        with translated(self._on(name)):
            self._history.note(name)
            told = {"backup": backup, "accepted": self._redact(accepted)}
            self._history.change(name, {"run_id": self._run_id, **{what: text for what, text in told.items() if text}})

    def run(self, at: Spot, step: Step, limits: Limits, left_s: float) -> int:
        """The step is done and on record. *Idempotent:* yes."""
        del limits
        on, begun_s = self._on(str(at)), time.monotonic()
        with translated(on), pymongo.timeout(max(1.0, left_s)):
            if self._history.step(at).get("state") == "done":
                return 0
            self._pass_return(at)
            fresh = self._history.note_begun(at, step, self._run_id)
            match step:
                case Check():
                    self._check(step, on)
                case Ddl():
                    for each in step.statements:
                        self._command(each, on, fresh)
                case BuildIndex():
                    self._build(step, on, fresh)
                case _:
                    raise _meaningless(f"a step of the kind '{step.kind}'", on)
            self._history.note_done(at, time.monotonic() - begun_s)
        return 0

    def open_backfill(self, at: Spot, step: Backfill) -> BackfillSeen:
        """It is on record up to which `_id` it goes. *Idempotent:* yes."""
        with translated(self._on(str(at))):
            filling = Filling(self._database, step, self._on(str(at)))
            self._pass_return(at)
            if not self._history.step(at):
                planned = filling.plan()
                begun: dict[str, Any] = {"filling": planned, "cursor": None, "size": 0, "newest": []}
                self._history.note_begun(at, step, self._run_id, **begun)
                if planned["bound"] is None:
                    self._history.note_done(at, 0.0)
            note = self._history.step(at)
        newest = tuple(Sample(each["seconds"], each["over"], each["changed"]) for each in note["newest"])
        finished, rows = note["state"] == "done", note["filling"]["rows"]
        return BackfillSeen(("_id",), rows, note["over"], note["rows"], note["size"], finished, newest)

    def batch(self, at: Spot, step: Backfill, size: int, limits: Limits) -> BatchDone:
        """The next documents are changed, and then the cursor is behind them."""
        on, begun_s = self._on(str(at)), time.monotonic()
        with translated(on):
            note = self._history.step(at)
            if not note:
                raise Refused("the backfill was not opened", on=on, next_action="run the migration again")
            if note["state"] == "done":
                return BatchDone(0, 0, 0.0, True)
            filling = Filling(self._database, step, on)
            try:
                with pymongo.timeout(limits.lock_timeout_ms / 1000):
                    page = filling.next_page(note["filling"], note["cursor"], size)
            except PyMongoError as error:
                if not error.timeout:
                    raise
                raise TooSlow(
                    f"a batch of {size} documents took longer than {limits.lock_timeout_ms} ms",
                    on=on,
                    state=f"{IN_PART}: its documents are gone over once more",
                    next_action="a smaller batch is tried; if none is small enough, raise 'lock_timeout'",
                ) from None
            seconds = time.monotonic() - begun_s
            self._advance(at, page.upto, page.last, size, Sample(seconds, page.over, page.changed))
        return BatchDone(page.over, page.changed, time.monotonic() - begun_s, page.last)

    def end_phase(self, name: str, phase: Phase) -> None:
        """All of the phase is done on record. *Idempotent:* yes."""
        with translated(self._on(name)):
            self._history.note(name)
            last = phase is PHASES[-1]
            state = MigrationState.APPLIED if last else MigrationState.UNDER_WAY
            ended = {"ended_at": datetime.now(UTC)} if last else {}
            self._history.change(name, {"done": str(phase), "state": str(state), "run_id": self._run_id, **ended})

    def begin_undo(self, name: str, keep: Phase | None, run_id: str) -> None:
        """It is on record that the migration is being undone, and how far. *Idempotent:* yes."""
        with translated(self._on(name)):
            if self._history.note(name)["past_return"]:
                raise Refused(
                    "its point of no return is passed",
                    on=self._on(name),
                    next_action="write a new migration that brings the old shape back, or restore the backup",
                )
            done = None if keep is None else str(keep)
            self._history.change(name, {"state": str(MigrationState.UNDOING), "run_id": run_id, "done": done})

    def undo(self, at: Spot, position: int, step: Step, limits: Limits) -> int:
        """One step of what takes a step back is done and on record. *Idempotent:* yes."""
        on = self._on(f"undo of {at}")
        with translated(on), pymongo.timeout(limits.phase_s):
            note, place = self._history.step(at), f"steps.{key(at)}.undone"
            if not note or note["undone"] > position:
                return 0
            if not isinstance(step, Ddl):
                raise _meaningless(f"an undo of the kind '{step.kind}'", on)
            for each in step.statements:
                self._command(each, on, fresh=False)
            self._history.change(at.name, {place: position + 1})
        return 0

    def end_undo(self, name: str, keep: Phase | None) -> None:
        """It is on record that the migration is undone. *Idempotent:* yes."""
        with translated(self._on(name)):
            if keep is None:
                self._history.note(name)
                self._history.change(name, {"state": "undone", "run_id": self._run_id, "done": None})
                return
            later = PHASES[PHASES.index(keep) + 1 :]
            steps = [each for each in self._history.note(name)["steps"] if Phase(each.partition(" ")[0]) in later]
            gone = {"unset": {f"steps.{each}": "" for each in steps}} if steps else {}
            values = {"state": str(MigrationState.UNDER_WAY), "run_id": self._run_id, "done": str(keep)}
            self._history.change(name, values, **gone)

    def fail(self, name: str, problem: str) -> None:
        """The migration has failed on record. *Idempotent:* yes."""
        with translated(self._on(name)):
            state = self._history.note(name)["state"]
            # What is half undone must be undone to its end before anything else: it is not applied from there.
            state = state if state == MigrationState.UNDOING else str(MigrationState.FAILED)
            self._history.change(name, {"state": state, "problem": self._redact(problem)})

    def _advance(self, at: Spot, upto: Any, last: bool, size: int, sample: Sample) -> None:
        place = f"steps.{key(at)}"
        state = "done" if last else "begun"
        ended = datetime.now(UTC) if last else None
        values = {"cursor": [upto], "size": size, "state": state, "ended_at": ended, "run_id": self._run_id}
        counts = {"over": sample.over, "rows": sample.changed, "seconds": sample.seconds}
        newest = {"seconds": sample.seconds, "over": sample.over, "changed": sample.changed}
        self._history.change(
            at.name,
            {f"{place}.{name}": value for name, value in values.items()},
            inc={f"{place}.{name}": value for name, value in counts.items()},
            push={f"{place}.newest": {"$each": [newest], "$position": 0, "$slice": NEWEST}},
        )

    def _command(self, text: str, on: str, fresh: bool) -> None:
        found = from_json(documents.command(text, on))
        name, collection = next(iter(found.items()))
        self._lease.require()
        there = collection in self._database.list_collection_names()
        if name == "create" and there:
            if fresh:
                raise Refused(
                    f"a collection {collection} is there already",
                    on=on,
                    next_action="give it another name, or look what made it",
                )
        elif name == "create":
            self._database.create_collection(collection, **{each: found[each] for each in found if each != name})
        elif name == "drop":
            self._database.drop_collection(collection)
        elif name == "dropIndexes":
            self._drop(collection, found["index"])
        else:
            self._database.command(found)

    def _build(self, step: BuildIndex, on: str, fresh: bool) -> None:
        wanted = from_json(documents.index(step.statement, on))
        self._lease.require()
        collection = self._database[step.table.name]
        if fresh and step.index in collection.index_information():
            raise Refused(
                f"an index {step.index} is there already",
                on=on,
                next_action="give it another name, or look what made it",
            )
        options = {each: wanted[each] for each in wanted if each not in ("key", "name")}
        collection.create_index(list(wanted["key"].items()), name=step.index, **options)

    def _drop(self, collection: str, index: str) -> None:
        self._lease.require()
        try:
            if index in self._database[collection].index_information():
                self._database[collection].drop_index(index)
        except OperationFailure as error:
            if error.code != _NO_INDEX:
                raise

    def _check(self, step: Check, on: str) -> None:
        collection, stages = documents.check(step.query, on)
        found = list(self._database[collection].aggregate([*from_json(stages), {"$limit": SHOWN + 1}]))
        if found:
            shown = [self._redact(json_util.dumps(each)) for each in found]
            raise not_trusted(f"a check has found what must not be: {step.says}", on, "documents found", shown)

    def _pass_return(self, at: Spot) -> None:
        """It is on record, before the first step behind it, that the point of no return is passed."""
        note = self._history.note(at.name)
        behind = note["no_return"] and PHASES.index(at.phase) >= PHASES.index(Phase(note["no_return"]))
        if behind and not note["past_return"]:
            self._history.change(at.name, {"past_return": True})

    def _on(self, what: str) -> str:
        return f"{what} in {self._name}"


def _meaningless(what: str, on: str) -> Refused:
    return Refused(
        f"this has no meaning in MongoDB: {what}",
        on=on,
        next_action="say 'engine: mongodb' in migration.yaml, and what is to be done there",
    )
