"""Disks that are small enough to fill."""

import contextlib
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

from deployments.lab.sites.disks import mount
from tasks.common.errors import Refused
from tests.support.needs import missing, need


@contextlib.contextmanager
def small_disk(folder: Path, size_kib: int) -> Iterator[Path]:
    """Yield the folder, with an empty file system of a limited size mounted on it."""
    if os.geteuid() != 0:
        missing("only root can mount a small disk")
    folder.mkdir()
    mounted = subprocess.run(
        [str(need("mount")), "-t", "tmpfs", "-o", f"size={size_kib}k", "tmpfs", str(folder)],
        capture_output=True,
        text=True,
    )
    if mounted.returncode != 0:
        missing(f"a small disk cannot be mounted here ({mounted.stderr.strip()})")
    try:
        yield folder
    finally:
        subprocess.run([str(need("umount")), str(folder)], check=True)


@contextlib.contextmanager
def loop_disk(folder: Path, size_mib: int) -> Iterator[Path]:
    """Yield the folder, with a file system on a device of its own mounted on it; tmpfs cannot be frozen."""
    if os.geteuid() != 0:
        missing("only root can mount a disk")
    image = folder.with_suffix(".img")
    try:
        mount(folder, image, size_mib)
    except Refused as refusal:
        missing(refusal.what)
    try:
        yield folder
    finally:
        subprocess.run([str(need("umount")), str(folder)], check=True)


def make_read_only(folder: Path) -> None:
    """Nothing can be written to the disk that is mounted on the folder."""
    subprocess.run([str(need("mount")), "-o", "remount,ro", str(folder)], check=True)
