"""What has come back where nothing is started: files, which are counted, and a Redis snapshot, which is read whole."""

import os
import re
import stat
from dataclasses import dataclass
from pathlib import Path

from blocks.backups.programs import Programs
from blocks.backups.redis_snapshot import SNAPSHOT
from blocks.context import Context
from blocks.files import system_errors
from tasks.common.backups import Form
from tasks.common.errors import Refused, Unsafe
from tasks.common.units import show_size

FORMS = frozenset({Form.FILES, Form.RDB})
"""What can be looked at here."""
_CHECK = "redis-check-rdb"
_INSTALL = "apt-get install redis-tools"
_READ_WITHIN_S = 4 * 3600.0
_VERSION = re.compile(r"redis-ver = '([^']*)'")
_KEYS = re.compile(r"\[info\] (\d+) keys read")


@dataclass(frozen=True)
class Contents:
    """What was seen.

    Args:
        said: '12 files, 3 MiB'.
        version: of what has written it; '' where nothing says so.
    """

    said: str
    version: str = ""


def require_reader(form: Form, context: Context) -> None:
    """What has to be read can be read on this machine.

    Raises:
        Refused: the form is of something else, or a program is missing.
    """
    if form not in FORMS:
        raise Refused(
            f"a backup of the form {form.value} is no files and no Redis snapshot",
            on="this folder",
            next_action="use the driver 'postgresql', which is for a server or a dump",
        )
    if form is Form.RDB:
        Programs(context).version([_CHECK, "--version"], _INSTALL)


def look_at(folder: Path, form: Form, context: Context) -> Contents:
    """Return what is in a folder that was restored into. A snapshot is read to its end, with its checksum.

    Raises:
        Unsafe: there is nothing, or the snapshot is not whole.
        Refused: the form is of something else, or a program is missing.
    """
    require_reader(form, context)
    return _snapshot(folder / SNAPSHOT, context) if form is Form.RDB else _files(folder)


def _files(folder: Path) -> Contents:
    count = size = 0
    with system_errors("what was restored cannot be read", folder):
        for above, _, names in os.walk(folder):
            for name in names:
                found = Path(above, name).lstat()
                count += 1
                size += found.st_size if stat.S_ISREG(found.st_mode) else 0
        if not count and not any(folder.iterdir()):
            raise _nothing(folder, "nothing has come back")
    return Contents(f"{count} file{'' if count == 1 else 's'}, {show_size(size)}")


def _snapshot(file: Path, context: Context) -> Contents:
    if not file.is_file():
        raise _nothing(file, f"no {SNAPSHOT} has come back")
    lines: list[str] = []
    done = Programs(context, _READ_WITHIN_S).run([_CHECK, str(file)], env={}, on_line=lines.append)
    text = "\n".join(lines)
    keys, version = _KEYS.search(text), _VERSION.search(text)
    if done.exit_code != 0 or keys is None:
        raise Unsafe(
            "the Redis snapshot that has come back is not whole",
            on=str(file),
            state="nothing was started on it",
            next_action="if it is of a newer Redis than this machine's redis-tools, install newer ones; else do not "
            "count on this backup: restore an older one, and take a new one now",
            facts={"redis-check-rdb says": "\n".join(done.tail[-5:])},
        )
    written_by = version[1] if version else ""
    return Contents(f"a snapshot of Redis {written_by}, {keys[1]} key{'' if keys[1] == '1' else 's'}", written_by)


def _nothing(on: Path, what: str) -> Unsafe:
    return Unsafe(
        what,
        on=str(on),
        state="the folder is empty",
        next_action="do not count on this backup: restore an older one, and take a new one now",
    )
