"""A folder of migrations, read as text."""

from pathlib import Path

from blocks.files import system_errors
from tasks.common.errors import Refused

_LONGEST_BYTES = 2**20


def read_folder(folder: Path) -> dict[str, str]:
    """Return the texts of a folder of migrations by their paths within it, hidden files left out.

    Raises:
        Refused: there is no such folder, or a file is too long or no text.
    """
    if not folder.is_dir():
        raise Refused("there is no such folder of migrations", on=str(folder), next_action="check the path")
    found = {}
    with system_errors("the migrations cannot be read", folder):
        for path in sorted(folder.rglob("*")):
            name = path.relative_to(folder)
            if path.is_file() and not any(part.startswith(".") for part in name.parts):
                found[name.as_posix()] = _text(path)
    return found


def _text(path: Path) -> str:
    if path.stat().st_size > _LONGEST_BYTES:
        raise Refused("a file of a migration is too long", on=str(path), next_action="at most 1 MiB a file")
    try:
        return path.read_text(encoding="utf-8")
    except UnicodeDecodeError:
        raise Refused("a file of a migration is no text", on=str(path), next_action="save it as UTF-8") from None
