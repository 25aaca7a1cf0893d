"""How much of this machine is free: for runtimes whose instances are processes of it."""

import math
import shutil
import time
from pathlib import Path

from tasks.common.capacity import Capacity
from tasks.common.errors import Refused

_STAT, _MEMORY = Path("/proc/stat"), Path("/proc/meminfo")
_IDLE = (3, 4)
"""Columns of the processors' line that are idle time: idle, and waiting for disks. *Source:* proc(5)."""
_COUNTED = 8
"""Columns up to 'steal'; guests' time, which follows, is part of the users' already. *Source:* proc(5)."""


class ThisMachine:
    """Base of runtimes whose instances are processes of this machine; `_disk` is the folder that releases go to."""

    _disk: Path

    def capacity(self) -> Capacity:
        """Return what is free of this machine, its processors watched for a second.

        Raises:
            Refused: this system does not tell.
        """
        return machine_capacity(self._disk)


def machine_capacity(folder: Path, *, over_s: float = 1.0) -> Capacity:
    """Return what is free of this machine. Takes as long as the processors are watched.

    Args:
        folder: on the disk that counts; it need not exist yet.
        over_s: how long the processors are watched.

    Raises:
        Refused: this system does not tell.
    """
    try:
        before = _STAT.read_text(encoding="ascii")
        time.sleep(over_s)
        after, memory = _STAT.read_text(encoding="ascii"), _MEMORY.read_text(encoding="ascii")
        return Capacity(idle_percent(before, after), available_percent(memory), disk_free_percent(folder))
    except (OSError, ValueError, LookupError) as error:
        raise Refused(
            f"the free capacity of this machine cannot be measured: {error}",
            on="/proc",
            next_action="run the worker on Linux, beside the instances",
        ) from error


def idle_percent(before: str, after: str) -> float:
    """Return the processors' idle share between two contents of /proc/stat; NaN where no time has passed.

    Raises:
        ValueError: it is no such content.
    """
    spans = [late - early for early, late in zip(_times(before), _times(after), strict=True)]
    total = sum(spans)
    return 100 * sum(spans[column] for column in _IDLE) / total if total > 0 else math.nan


def _times(stat: str) -> list[int]:
    name, *times = stat.partition("\n")[0].split()
    if name != "cpu" or len(times) < _COUNTED:
        raise ValueError("no line of the processors' times")
    return [int(each) for each in times[:_COUNTED]]


def available_percent(meminfo: str) -> float:
    """Return the share of the memory that programs could have, by the content of /proc/meminfo.

    Raises:
        LookupError: it is no such content.
        ValueError: a figure in it is none.
    """
    figures = {
        name: rest.split()[0] for name, _, rest in (line.partition(":") for line in meminfo.splitlines()) if rest
    }
    return 100 * int(figures["MemAvailable"]) / int(figures["MemTotal"])


def disk_free_percent(folder: Path) -> float:
    """Return the share of the folder's file system that is free; of the nearest folder above that exists."""
    there = next(each for each in (folder, *folder.parents) if each.exists())
    usage = shutil.disk_usage(there)
    return 100 * usage.free / usage.total if usage.total else math.nan
