"""How much of a machine is free."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Capacity:
    """What is free where instances run, in per cent of the whole; the disk is the one that holds releases."""

    cpu_free_percent: float
    memory_free_percent: float
    disk_free_percent: float
