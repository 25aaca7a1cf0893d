"""What stands beside a data folder while something is restored into it: how far it has come, and who may go on."""

import json
import shutil
from dataclasses import asdict
from datetime import datetime
from pathlib import Path
from typing import Any

from blocks.files import replacing, system_errors
from blocks.postgresql import USERS
from blocks.users import find_user
from tasks.common.errors import Refused
from tasks.restore.model import Journal, Phase

JOURNAL, TOKEN, ROOM = "journal.json", "token", "private"
_SUFFIX = ".slipway"
MARKER = "slipway-restored.json"
"""In a data folder: which run has put it up. A copy of the folder elsewhere has no journal that names the run."""


def beside(data: Path) -> Path:
    """Return the folder beside a data folder that holds what is on record of its restores."""
    return data.with_name(data.name + _SUFFIX)


def read_journal(data: Path) -> Journal | None:
    """Return what is on record; None where nothing was restored here.

    Raises:
        Refused: it cannot be read.
    """
    file = beside(data) / JOURNAL
    with system_errors("the record of the last restore cannot be read", file):
        if not file.exists():
            return None
        text = file.read_text("utf-8", errors="replace")
    try:
        return _journal(json.loads(text))
    except (ValueError, KeyError, TypeError):
        raise Refused(
            "the record of the last restore is damaged",
            on=str(file),
            next_action="find out which of the folders beside it is the one that has to serve, put that into its "
            "place, and remove the record",
        ) from None


def write_journal(data: Path, journal: Journal | None) -> None:
    """It is on record, on the disk. None: there is nothing on record. *Idempotent:* yes."""
    file = beside(data) / JOURNAL
    with system_errors("what is about to be changed cannot be put on record", file):
        if journal is None:
            file.unlink(missing_ok=True)
            return
        file.parent.mkdir(exist_ok=True)
        with replacing(file) as opened:
            opened.write(json.dumps(_plain(journal), indent=1).encode())


def is_marked(data: Path, journal: Journal | None) -> bool:
    """Return whether what is in the data folder was put up by the run on record."""
    try:
        marked = json.loads((data / MARKER).read_text())
    except (OSError, ValueError):
        return False
    return journal is not None and isinstance(marked, dict) and marked.get("run") == journal.run_id


def mark(data: Path, run_id: str) -> None:
    """It can be seen in the data folder which run has put it up. *Idempotent:* yes."""
    user = find_user(USERS)
    with system_errors("the restored folder cannot be marked", data):
        file = data / MARKER
        file.write_text(json.dumps({"run": run_id}))
        if user is not None:
            shutil.chown(file, user.pw_uid, user.pw_gid)


def _plain(journal: Journal) -> dict[str, Any]:
    found = asdict(journal) | {"began_at": journal.began_at.isoformat()}
    if journal.former is not None:
        found["former"] = _plain(journal.former)
    return found


def _journal(found: dict[str, Any]) -> Journal:
    former = found.pop("former")
    return Journal(
        **{
            **found,
            "began_at": datetime.fromisoformat(found["began_at"]),
            "phase": Phase(found["phase"]),
            "former": _journal(former) if former else None,
        }
    )
