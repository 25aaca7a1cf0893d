"""A migration of MongoDB, as its `migration.yaml` says it: all is data, and the undo is made from it. Pure.

Values are JSON; what JSON has not is Extended JSON, such as {"$oid": "..."}.
"""

import json
from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, Field

from tasks.common.errors import Refused
from tasks.common.migrations import Phase
from tasks.common.model import StrictModel
from tasks.common.units import Duration, Expected, PositiveDuration
from tasks.migration import documents
from tasks.migration.model import Backfill, BuildIndex, Check, Ddl, Step, Table
from tasks.migration.settings import Settings

_NAME = r"^[A-Za-z_][A-Za-z0-9_.-]*$"
_PART = r"^-?[A-Za-z_][A-Za-z0-9_.-]*$"
_Data = dict[str, Any]


def _reads(pipeline: list[_Data]) -> list[_Data]:
    try:
        documents.check(json.dumps({"aggregate": "x", "pipeline": pipeline}), "the pipeline")
    except Refused as refused:
        raise Expected("stages that only read", refused.what) from None
    return pipeline


class CreateCollection(StrictModel):
    """A collection is made; its undo drops it, with what is in it by then."""

    operation: Literal["create collection"]
    collection: str = Field(pattern=_NAME, description="its name")
    validator: _Data = Field(default_factory=dict, description="what its documents must be; anything if left out")

    def step(self) -> Step:
        """Return it as a step."""
        run = {"create": self.collection, **({"validator": self.validator} if self.validator else {})}
        return _ddl(f"make the collection {self.collection}", run, {"drop": self.collection})


class SetValidator(StrictModel):
    """A collection's validator is another one; its undo sets the one before."""

    operation: Literal["set validator"]
    collection: str = Field(pattern=_NAME, description="whose")
    validator: _Data = Field(description="what its documents must be; {} for anything")
    before: _Data = Field(description="the validator that it has before, {} for none: what an undo sets")
    level: Literal["moderate", "strict"] = Field(
        default="moderate", description="moderate: documents that break it already may be changed"
    )
    action: Literal["warn", "error"] = Field(
        default="warn", description="warn: the server's log tells; error: what breaks it is refused, to old code also"
    )

    def step(self) -> Step:
        """Return it as a step."""
        how = {"validationLevel": self.level, "validationAction": self.action}
        run = {"collMod": self.collection, "validator": self.validator, **how}
        undo = {"collMod": self.collection, "validator": self.before, **how}
        return _ddl(f"set the validator of {self.collection}", run, undo)


class MakeIndex(StrictModel):
    """An index is built, beside readers and writers; its undo drops it."""

    operation: Literal["build index"]
    collection: str = Field(pattern=_NAME, description="whose")
    name: str = Field(pattern=_NAME, description="its name")
    key: list[Annotated[str, Field(pattern=_PART)]] = Field(
        min_length=1, description="its fields, in this order; with a minus in front the largest first"
    )
    unique: bool = Field(default=False, description="whether two documents cannot be alike")
    sparse: bool = Field(default=False, description="whether documents without the fields are left out")
    where: _Data = Field(default_factory=dict, description="filter of the documents that are in it; all if left out")

    def step(self) -> Step:
        """Return it as a step."""
        made: _Data = {"key": {part.removeprefix("-"): -1 if part.startswith("-") else 1 for part in self.key}}
        made |= {"unique": True} if self.unique else {}
        made |= {"sparse": True} if self.sparse else {}
        made |= {"partialFilterExpression": self.where} if self.where else {}
        undo = Ddl(what=f"drop the index {self.name}", statements=(_gone(self.collection, self.name),))
        return BuildIndex(
            what=f"build the index {self.name} of {self.collection}",
            statement=json.dumps(made),
            index=self.name,
            table=Table(name=self.collection),
            undo=(undo,),
        )


class RemoveIndex(StrictModel):
    """An index is dropped. Nothing takes it back."""

    operation: Literal["drop index"]
    collection: str = Field(pattern=_NAME, description="whose")
    name: str = Field(pattern=_NAME, description="its name")

    def step(self) -> Step:
        """Return it as a step."""
        return Ddl(what=f"drop the index {self.name}", statements=(_gone(self.collection, self.name),), undo=None)


class DropCollection(StrictModel):
    """A collection goes, with all that is in it. Nothing takes it back."""

    operation: Literal["drop collection"]
    collection: str = Field(pattern=_NAME, description="its name")

    def step(self) -> Step:
        """Return it as a step."""
        return _ddl(f"drop the collection {self.collection}", {"drop": self.collection}, None)


Early = Annotated[CreateCollection | SetValidator | MakeIndex, Field(discriminator="operation")]
Late = Annotated[SetValidator | RemoveIndex | DropCollection, Field(discriminator="operation")]


class Fill(StrictModel):
    """Documents that are changed in batches by `_id`, in the phase execute. What was filled stays when it is undone."""

    collection: str = Field(pattern=_NAME, description="whose")
    set_: _Data = Field(
        alias="set", min_length=1, description="field to aggregation expression: what stands behind $set of a pipeline"
    )
    where: _Data = Field(
        default_factory=dict,
        description="filter of the documents to change; it must leave out those that were changed if an expression "
        "gives another value each time, or is made from what is set",
    )
    batch: int = Field(default=1000, ge=1, le=2_000_000, description="documents of the first batch (MIG-1)")
    most: int = Field(default=2_000_000, ge=1, le=2_000_000, description="documents of the largest batch")
    interval_s: PositiveDuration = Field(default=0.25, alias="interval", le=60, description="how long a batch may take")
    pause_s: Duration = Field(default=0.05, alias="pause", le=60, description="pause between two batches")

    def step(self) -> Step:
        """Return it as a step."""
        return Backfill(
            what=f"fill {', '.join(self.set_)} of {self.collection}",
            table=Table(name=self.collection),
            set_={field: json.dumps(value) for field, value in self.set_.items()},
            where=json.dumps(self.where) if self.where else "",
            batch=self.batch,
            most=self.most,
            interval_s=self.interval_s,
            pause_s=self.pause_s,
            undo=None,
        )


class Wrong(StrictModel):
    """Documents that must not be there, in the phase validate."""

    says: str = Field(min_length=1, description="what is wrong with them: 'customers without a name'")
    collection: str = Field(pattern=_NAME, description="where")
    pipeline: Annotated[list[_Data], AfterValidator(_reads)] = Field(
        min_length=1, description="stages of an aggregation that returns them"
    )

    def step(self) -> Step:
        """Return it as a step."""
        query = {"aggregate": self.collection, "pipeline": self.pipeline}
        return Check(what=f"no {self.says}", query=json.dumps(query), says=self.says)


class MongodbFile(Settings):
    """What stands in `migration.yaml` of a MongoDB database: there are no other files."""

    engine: Literal["mongodb"]
    prepare: list[Early] = Field(default_factory=list, description="what is made first; code that runs does not notice")
    backfill: list[Fill] = Field(default_factory=list, description="what execute fills, in this order")
    validate_: list[Wrong] = Field(default_factory=list, alias="validate", description="what must not be found")
    cleanup: list[Late] = Field(default_factory=list, description="what goes with the old shape")

    def steps(self, phase: Phase) -> tuple[Step, ...]:
        """Return the steps of a phase."""
        parts: Mapping[Phase, Sequence[Early | Fill | Wrong | Late]] = {
            Phase.PREPARE: self.prepare,
            Phase.EXECUTE: self.backfill,
            Phase.VALIDATE: self.validate_,
            Phase.CLEANUP: self.cleanup,
        }
        return tuple(each.step() for each in parts[phase])

    def text(self) -> str:
        """Return all that decides what is done, the order of keys included: that of an index, or of a sort, counts."""
        return json.dumps([step.model_dump(mode="json") for phase in Phase for step in self.steps(phase)])


def _ddl(what: str, run: _Data, undo: _Data | None) -> Ddl:
    back = None if undo is None else (Ddl(what=f"take back: {what}", statements=(json.dumps(undo),)),)
    return Ddl(what=what, statements=(json.dumps(run),), undo=back)


def _gone(collection: str, index: str) -> str:
    return json.dumps({"dropIndexes": collection, "index": index})
