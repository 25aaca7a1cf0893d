"""Who works in a folder: a process that stands in it, or has a file of it open."""

import os
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path


def occupants(folder: Path) -> list[str]:
    """Return the processes that work in a folder: 'redis-server (4711)'.

    Only root sees those of other users. *Source:* proc(5), cwd and fd.
    """
    inside = os.path.realpath(folder)
    return [
        f"{_name(process)} ({process.name})"
        for process in sorted(Path("/proc").iterdir())
        if process.name.isdecimal() and any(_is_in(place, inside) for place in _places(process))
    ]


def _places(process: Path) -> Iterator[str]:
    """Yield what a process has open; it may end meanwhile, or be somebody else's."""
    with suppress(OSError):
        yield str((process / "cwd").readlink())
    with suppress(OSError):
        for descriptor in (process / "fd").iterdir():
            with suppress(OSError):
                yield str(descriptor.readlink())


def _is_in(place: str, folder: str) -> bool:
    return place == folder or place.startswith(f"{folder}/")


def _name(process: Path) -> str:
    try:
        return (process / "comm").read_text().strip()
    except OSError:
        return "a process"
