"""What PostgreSQL's own checking programs print, as findings. No line with the contents of a row is kept."""

import re
from collections.abc import Sequence

from tasks.verification.model import Checked

SHOWN = 20
"""So many problems are named; all are counted."""

_BAD_PAGE = re.compile(r'checksum verification failed in file "([^"]+)", block (\d+)')
_UNREADABLE_FILE = re.compile(r'could not (?:open|read|stat)[^"]*"([^"]+)"')
_FIGURE = re.compile(r"^(Files scanned|Blocks scanned|Bad checksums):\s+(\d+)")
_CONTENTS = re.compile(r"DETAIL:|CONTEXT:|\bCOPY\b|invalid input syntax|already exists with key", re.IGNORECASE)
_MATTERS = re.compile(r"error:|ERROR:|FATAL:|PANIC:|warning:|^(?:heap|btree) ")


def read_checksums(lines: Sequence[str], exit_code: int) -> Checked:
    """Return what pg_checksums has found.

    Args:
        lines: all that it has printed.
        exit_code: its own; what it does not explain is a problem of its own.
    """
    problems = [f"{found[1]}: block {found[2]}" for line in lines if (found := _BAD_PAGE.search(line))]
    problems += [f"{found[1]} cannot be read" for line in lines if (found := _UNREADABLE_FILE.search(line))]
    figures = {found[1].lower(): int(found[2]) for line in lines if (found := _FIGURE.search(line))}
    if exit_code != 0 and not problems:
        problems = [without_contents(lines) or f"pg_checksums ended with exit code {exit_code}"]
    if not problems and not figures.get("blocks scanned"):
        problems = ["pg_checksums has looked at nothing"]
    count = max(len(problems), figures.get("bad checksums", 0))
    return Checked(tuple(problems[:SHOWN]), count, figures)


def read_amcheck(lines: Sequence[str], exit_code: int) -> Checked:
    """Return what pg_amcheck has found.

    Args:
        lines: all that it has printed.
        exit_code: its own: 2 where something is damaged.
    """
    # The place and what is wrong with it stand in two lines.
    problems, place = [], ""
    for line in map(str.strip, lines):
        if line.startswith(("heap table ", "btree index ")):
            place = line.rstrip(":")
        elif place or "error:" in line:
            text = line.removeprefix("pg_amcheck: error:").strip()
            if not _CONTENTS.search(text):
                problems.append(f"{place}: {text}" if place else text)
            place = ""
    if exit_code != 0 and not problems:
        problems = [without_contents(lines) or f"pg_amcheck ended with exit code {exit_code}"]
    return Checked(tuple(problems[:SHOWN]), len(problems))


def without_contents(lines: Sequence[str], most: int = 5) -> str:
    """Return the first lines that say what is wrong, without those that may quote a row; '' if there are none."""
    told = [line.strip() for line in lines if _MATTERS.search(line) and not _CONTENTS.search(line)]
    return "; ".join(told[:most])
