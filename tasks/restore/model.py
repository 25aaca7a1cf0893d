"""The nouns of a restore: what is asked for, what was done so far, and what is seen where it is to go."""

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from tasks.common.backups import Entry, RestoreTo
from tasks.common.errors import Refused


class BroughtBack(Refused):
    """A restore has failed after it had changed something, and what was there before is there again."""

    meaning = "Failed (brought back)"


class Phase(StrEnum):
    """How far a restore has come; on record beside the data folder before the next thing is changed."""

    STOPPING = "stopping"
    """The server that is there is being stopped; its folder is where it was."""
    ASIDE = "aside"
    """Its folder is being renamed."""
    FILLING = "filling"
    """The backup is being fetched into the folder, or beside it."""
    RECOVERING = "recovering"
    """The restored server replays WAL, or is loaded, or files are read; nobody can reach it but we."""
    MASKING = "masking"
    """What is personal is being replaced; still nobody can reach it."""
    OPENING = "opening"
    """All is there; the server is being started on its address, or files are put into their place. Users may write."""
    RETURNING = "returning"
    """The former state is being brought back."""
    DONE = "done"
    """The restored server answers on its address, or the files are in their place."""


@dataclass(frozen=True)
class Journal:
    """What stands beside the data folder, for whoever comes after a run that was killed.

    Args:
        run_id: of the flow run that works, or has worked, here.
        plan: name of the backup plan.
        wish: what was asked for, as `wish_of` has it: the same wish is not fulfilled twice.
        entry_id: the backup that it starts from.
        began_at: when the first thing was changed; aware.
        phase: what was about to happen.
        aside: folder that the former state was put aside into; '' where there was none.
        was_running: whether the former state had a server that ran.
        opened: whether what was restored has been open on its address: then it is never removed.
        former: what stood here before: the former state may be one that a restore had made.
    """

    run_id: str
    plan: str
    wish: str
    entry_id: str
    began_at: datetime
    phase: Phase
    aside: str = ""
    was_running: bool = False
    opened: bool = False
    former: "Journal | None" = None


@dataclass(frozen=True)
class Seen:
    """What is there, where a restore is to go.

    Args:
        journal: what a restore has left on record; None where there was none.
        filled: whether anything is in the data folder.
        ours: whether what is there was put up by the restore on record.
        running: whether a server runs on the data folder.
        answers: whether anything answers on the address.
        aside_there: whether the folder is there that the record names as put aside.
        free_bytes: room on the disk of the data folder.
        problem: why nothing can be restored to here, one sentence; '' if nothing is in the way.
    """

    journal: Journal | None
    filled: bool
    ours: bool
    running: bool
    answers: bool
    aside_there: bool
    free_bytes: int
    problem: str = ""


class Settlement(StrEnum):
    """What has to be done about a run that has died, before anything else."""

    NOTHING = "nothing"
    START = "start the former state, which is in its place"
    BRING_BACK = "remove what is half restored, and bring the former state back"
    CARRY_ON = "start what was restored, which is whole"


@dataclass(frozen=True)
class Chosen:
    """What is restored.

    Args:
        entry: the backup to start from.
        to: the state to reach from there.
        remarks: what a person has to know of it, one sentence each.
    """

    entry: Entry
    to: RestoreTo
    remarks: tuple[str, ...] = ()


@dataclass(frozen=True)
class Recovered:
    """What came back, whole, and reached by nobody but us: a server at the end of its recovery, or files.

    Args:
        what: 'PostgreSQL 15.18', '12 files, 3 MiB'.
        fence: how it is kept from the network.
        replayed_at: time of the last transaction that was replayed, by the source's clock; None where it replayed none
            with a time of its own, or there is no server.
        remarks: what a person has to know of it, one sentence each.
    """

    what: str
    fence: str
    replayed_at: datetime | None = None
    remarks: tuple[str, ...] = ()
