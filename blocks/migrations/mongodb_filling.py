"""A backfill in MongoDB: which documents come next by `_id`, and what is done to them.

Data and cursor are two documents, and no transaction binds them: a standalone server has none. The cursor comes second,
so that a crash between the two has the batch done again; what could not be done twice is refused, or guarded by its
filter.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import Any

from bson import Decimal128, ObjectId, json_util
from pymongo.collection import Collection

from blocks.migrations.mongodb_lease import Documents
from tasks.common.errors import Refused
from tasks.migration import documents
from tasks.migration.model import Backfill

# Comparisons find values of their own kind only. Source: MongoDB manual, "Comparison/Sort Order", type bracketing.
_KINDS: tuple[tuple[str, tuple[type, ...]], ...] = (
    ("numbers", (int, float, Decimal, Decimal128)),
    ("texts", (str,)),
    ("ObjectIds", (ObjectId,)),
    ("dates", (datetime,)),
    ("binary values", (bytes,)),
)


@dataclass(frozen=True)
class Page:
    """What one batch has done.

    Args:
        upto: the `_id` that the cursor stands on now.
        over: documents that it has gone over.
        changed: documents that it has changed.
        last: whether there are no more.
    """

    upto: Any
    over: int
    changed: int
    last: bool


class Filling:
    """Finds and changes the documents of one backfill.

    Args:
        database: whose.
        step: the backfill.
        on: for errors.

    Raises:
        Refused: its texts cannot be read, or have no meaning here.
    """

    def __init__(self, database: Documents, step: Backfill, on: str) -> None:
        self._database, self._step, self._on = database, step, on
        self._collection: Collection[dict[str, Any]] = database[step.table.name]
        stage = documents.assignments(step.set_, on)
        self._stage: dict[str, Any] = {"$set": from_json(stage)}
        self._where: dict[str, Any] = from_json(documents.filter_of(step.where, on))
        loose = documents.volatile(step.set_, on)
        self._reasons = [*loose, *documents.made_from_itself(stage)]

    def plan(self) -> dict[str, Any]:
        """Return how far it goes: the largest `_id` there is, an estimate of the documents, and whether it is guarded.

        Raises:
            Refused: there is no such collection; batches cannot go by `_id`; or it could not be repeated.
        """
        if self._step.table.name not in self._database.list_collection_names():
            raise self._refused(
                f"there is no collection {self._step.table.name}", "make it before, or correct the name"
            )
        if self._step.key not in ((), ("_id",)):
            raise self._refused(f"batches by {', '.join(self._step.key)}", "leave 'key' out: they go by _id")
        self._require_repeatable()
        first, last = self._end(1), self._end(-1)
        kinds = sorted({_kind(each["_id"]) for each in (first, last) if each is not None})
        if kinds[1:] or kinds == [""]:
            told = " and ".join(each or "others" for each in kinds)
            raise self._refused(f"_ids that are {told}: a range of them leaves documents out", "fill these by hand")
        bound = None if last is None else [last["_id"]]
        return {"bound": bound, "rows": self._collection.estimated_document_count(), "guarded": bool(self._reasons)}

    def next_page(self, planned: dict[str, Any], cursor: Sequence[Any] | None, size: int) -> Page:
        """The next documents are changed. *Idempotent:* yes.

        Raises:
            Refused: what was changed would still meet its filter.
        """
        (bound,) = planned["bound"]
        left = {"_id": {"$lte": bound, **({"$gt": cursor[0]} if cursor else {})}}
        end = list(self._collection.find(left, {"_id": 1}).sort("_id", 1).skip(size - 1).limit(1))
        over = size if end else self._collection.count_documents(left)
        upto = end[0]["_id"] if end else bound
        these: dict[str, Any] = {"_id": {**left["_id"], "$lte": upto}}
        wanted = {"$and": [these, self._where]} if self._where else these
        if planned["guarded"]:
            self._require_guard(wanted)
        changed = self._collection.update_many(wanted, [self._stage]).modified_count
        return Page(upto, over, changed, not end or upto == bound)

    def _require_repeatable(self) -> None:
        loose = documents.volatile({"where": self._step.where}, self._on) if self._step.where else ()
        if loose:
            raise self._not_repeatable(f"its 'where' has another value each time: {', '.join(loose)}")
        if self._reasons and not self._where:
            raise self._not_repeatable(f"it has another value each time: {', '.join(self._reasons)}")

    def _require_guard(self, wanted: dict[str, Any]) -> None:
        # Tried before, and on what it would make: afterwards, other writers could have made documents meet it again.
        stages = [{"$match": wanted}, self._stage, {"$match": self._where}, {"$limit": 1}]
        if list(self._collection.aggregate(stages)):
            raise self._not_repeatable("documents that are filled still meet its 'where'")

    def _end(self, direction: int) -> dict[str, Any] | None:
        found = list(self._collection.find({}, {"_id": 1}).sort("_id", direction).limit(1))
        return found[0] if found else None

    def _not_repeatable(self, why: str) -> Refused:
        what = f"the backfill of {self._step.table.name} could not be repeated: {why}"
        return self._refused(what, "give it a 'where' that a filled document no longer meets: '{\"full_name\": null}'")

    def _refused(self, what: str, action: str) -> Refused:
        return Refused(what, on=self._on, state="no document of this batch was changed", next_action=action)


def from_json(value: Any) -> Any:
    """Return JSON data with what Extended JSON says made of it: {"$oid": "..."} an ObjectId."""
    return json_util.loads(json.dumps(value))


def _kind(value: object) -> str:
    """Return which values it can be compared with; '' where that is not simple."""
    if isinstance(value, bool):
        return ""
    return next((name for name, types in _KINDS if isinstance(value, types)), "")
