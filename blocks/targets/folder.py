"""A folder that files, or a Redis snapshot, are restored into: put aside, filled unseen, put into its place."""

import os
import pwd
import re
import shutil
from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from typing import Self

from pydantic import Field, model_validator

from blocks.backups.redis_snapshot import SNAPSHOT
from blocks.context import Context
from blocks.files import system_errors
from blocks.scratch.contents import FORMS, look_at, require_reader
from blocks.targets.journalled import JournalledTarget
from blocks.targets.occupants import occupants
from tasks.common.backups import Form
from tasks.common.errors import Refused, Unsafe
from tasks.common.masking import Masking
from tasks.common.model import Problem, StrictModel, refuse
from tasks.restore.model import Journal, Phase, Recovered

_FETCHED = ".fetched"
_APPEND_ONLY = (
    "start redis-server on this folder with 'appendonly no': with 'yes' it reads its append-only file, of which there "
    "is none, and leaves the snapshot alone. Where it had one, 'config set appendonly yes' once it runs"
)


class FolderTarget(JournalledTarget):
    """Implements `TargetServer`. It starts and stops nothing: whoever works with the folder is stopped by a person.

    A backup is fetched and read beside the folder, and takes its place by a rename: nobody sees half of it.

    Args:
        settings: which folder.
        context: resolves paths, and finds programs; with a grant, it may be changed.
    """

    class Settings(StrictModel):
        """Settings of the driver `folder` of targets."""

        folder: str = Field(
            min_length=1, description="the folder; folders beside it, of the same name and more, are ours"
        )
        part: str | None = Field(
            default=None,
            description="folder of the source, by its whole path, whose content alone comes back: /srv/campus/uploads; "
            "default: all that was backed up, under its whole path",
        )
        owner: str | None = Field(
            default=None,
            min_length=1,
            description="user whom the folder, and a snapshot in it, are given to; default: that of the folder that "
            "was put aside, else the worker's",
        )

        @model_validator(mode="after")
        def _fits(self) -> Self:
            part = self.part
            if part is not None and (not re.match("/[^/]", part) or os.path.normpath(part) != part):
                refuse("Settings", [Problem(("part",), f"the text {part!r}", "a whole path, such as '/srv/uploads'")])
            return self

    forms = FORMS
    left_beside = (_FETCHED, f"{_FETCHED}.restoring")

    def __init__(self, settings: Settings, context: Context) -> None:
        self._settings, self._context = settings, context
        super().__init__(context.resolve(settings.folder), context)

    @property
    def address(self) -> str:
        """Return '': nothing is started."""
        return ""

    def fetches_into(self, form: Form) -> Path:
        """Return the folder beside it that a backup is fetched into."""
        del form
        return self._named(_FETCHED)

    def check(self, form: Form, version: str) -> None:
        """What comes back can be read here, and given to its owner.

        Raises:
            Refused: a program or the user is missing, or a part of a snapshot is asked for.
        """
        del version
        require_reader(form, self._context)
        self._owner()
        if form is Form.RDB and self._settings.part is not None:
            raise Refused(
                "the target has a 'part', and a Redis snapshot is one file",
                on=self.where,
                next_action="remove 'part' from the target in the estate file",
            )

    def recover(self, form: Form, version: str) -> Recovered:
        """What was fetched was read to its end, and belongs to its owner; it is not in its place yet. *Idempotent:* no.

        Raises:
            Unsafe: there is nothing, or a snapshot is not whole.
            Refused: there is no such part in the backup.
        """
        del version
        self._note(replace(self._journal, phase=Phase.RECOVERING))
        came = self._whole()
        found = look_at(came, form, self._context)
        self._hand_over(came, form)
        return Recovered(found.said, "nothing was started", remarks=self._remarks(form))

    def databases(self) -> Sequence[str]:
        """Return none."""
        return ()

    def heartbeat(self, database: str) -> datetime | None:
        """Return that there is none."""
        del database
        return None

    def mask(self, database: str, masking: Masking, key: str, say: Callable[[str], None]) -> Sequence[str]:
        """Raise Refused: there is no database."""
        del database, masking, key, say
        raise Refused(
            "files and snapshots cannot be masked",
            on=self.where,
            state="nobody has seen them",
            next_action="remove 'masking' from the target in the estate file",
        )

    def open(self, say: Callable[[str], None]) -> None:
        """What was fetched is in its place. Users may change it from now on."""
        del say
        self._fence.claim()
        self._note(replace(self._journal, phase=Phase.OPENING, opened=True))
        self._put_in_its_place()

    def carry_on(self) -> None:
        """What a dead run had restored whole is in its place. *Idempotent:* yes."""
        self._fence.claim()
        self._put_in_its_place()
        if not self._data.exists():
            raise Unsafe(
                "what was restored was whole, and is not there any more",
                on=self.where,
                state="somebody has moved folders since; nothing was changed now",
                next_action="put the folder that is to serve into its place by hand, then remove journal.json in the "
                "folder beside it whose name ends in .slipway",
                facts={"put aside": self._journal.aside or "none"},
            )
        self.finish()

    def _put_in_its_place(self) -> None:
        """*Idempotent:* yes."""
        came = self._came
        if came.exists():
            self._rename(came, self._data)
        # What is above a part holds nothing more.
        shutil.rmtree(self._named(_FETCHED), ignore_errors=True)

    @property
    def _came(self) -> Path:
        """Return where what is to be in the folder is fetched to."""
        return self._named(_FETCHED) / (self._settings.part or "").lstrip("/")

    def _whole(self) -> Path:
        """Return the folder that takes the place of the other one, and leads nowhere else."""
        fetched, came = self._named(_FETCHED), self._came
        if not came.is_dir() or came.resolve() != fetched.resolve() / came.relative_to(fetched):
            raise Refused(
                f"the backup has no folder {self._settings.part or '/'}",
                on=self.where,
                state="what was fetched is seen by nobody",
                next_action="correct 'part' of the target in the estate file",
                facts={"the backup has": ", ".join(_top(fetched)) or "nothing"},
            )
        return came

    def _hand_over(self, came: Path, form: Form) -> None:
        """The folder has owner and rights of the one that was put aside, or the owner that is asked for.

        A part has its own ones, as they came back.
        """
        aside, owner = self._journal.aside, self._owner()
        with system_errors("what was restored cannot be given to its owner", came):
            if self._settings.part is None and aside:
                former = Path(aside).stat()
                came.chmod(former.st_mode & 0o7777)
                _give(came, former.st_uid, former.st_gid, form)
            if owner is not None:
                _give(came, owner.pw_uid, owner.pw_gid, form)

    def _owner(self) -> pwd.struct_passwd | None:
        if self._settings.owner is None:
            return None
        try:
            return pwd.getpwnam(self._settings.owner)
        except KeyError:
            raise Refused(
                f"there is no user {self._settings.owner!r}, whom what is restored is to be given to",
                on="this machine",
                next_action="correct 'owner' of the target in the estate file, or create the user",
            ) from None

    def _remarks(self, form: Form) -> tuple[str, ...]:
        if form is Form.RDB:
            return (_APPEND_ONLY,)
        if self._settings.part is None:
            return ("the files are under their whole paths; 'part' of the target brings one folder back without them",)
        return ()

    def _put_up(self, journal: Journal | None) -> bool:
        # Nothing is added to other people's files to know it by.
        return journal is not None

    def _runs(self) -> bool:
        return False

    def _answers(self) -> bool:
        return False

    def _unfit(self) -> str:
        if not self._data.is_dir():
            return "there is a file of this name"
        found = occupants(self._data)
        if not found:
            return ""
        return f"{', '.join(found)} works in the folder, and would go on in it when it is put aside: stop it first"

    def _stop(self) -> None:
        """Nobody works in the folder; since it was looked at somebody may have begun."""
        if self._grant is not None:
            self._grant.require()
        problem = self._unfit()
        if problem:
            raise Refused(problem, on=self.where, next_action="stop it, and restore again")

    def _end(self, *, opened: bool) -> None:
        # It is renamed with whoever works in it; what had been open is kept.
        del opened

    def _start_former(self, journal: Journal) -> str:
        return "the former state is in its place again" if journal.aside else ""


def _give(came: Path, user: int, group: int, form: Form) -> None:
    os.chown(came, user, group)
    if form is Form.RDB:
        os.chown(came / SNAPSHOT, user, group)


def _top(folder: Path) -> list[str]:
    """Return the first folders with more than one thing in them, as 'part' would name them."""
    found = folder
    while found.is_dir() and len(inside := list(found.iterdir())) == 1 and inside[0].is_dir():
        found = inside[0]
    return sorted(f"/{path.relative_to(folder)}" for path in found.iterdir())[:5] if found.is_dir() else []
