"""A small file system of its own for each node of site A, so that a drill may fill it, freeze it, or take it away."""

import os
from pathlib import Path

from blocks import shell
from tasks.common.errors import Refused

SIZE_MIB = 640
"""Room for a database, the WAL that is kept of it, and a drill's own rows."""
_TIMEOUT_S = 60.0


def mount(folder: Path, image: Path, size_mib: int = SIZE_MIB) -> None:
    """A file system of its own is mounted on the folder. *Idempotent:* yes.

    Args:
        folder: made if there is none.
        image: file that holds it.
        size_mib: its size; the file takes as much as is written.

    Raises:
        Refused: this machine does not let us, or a program is missing; says why.
    """
    if os.path.ismount(folder):
        return
    folder.mkdir(parents=True, exist_ok=True)
    with image.open("wb") as file:
        file.truncate(size_mib * 2**20)
    # Nothing of it outlives the lab: it need not be safe from a crash of the machine.
    _run(["mkfs.ext4", "-q", "-F", "-m", "0", "-O", "^has_journal", str(image)])
    _run(["mount", "-o", "loop,noatime", str(image), str(folder)])


def unmount_all(home: Path) -> None:
    """Nothing is mounted under the folder. *Idempotent:* yes."""
    mounts = [line.split()[1] for line in Path("/proc/mounts").read_text().splitlines()]
    for each in sorted(each for each in mounts if each.startswith(f"{home}/")):
        # Whoever still has a file open there keeps it, and nobody else sees it.
        _run(["umount", "--lazy", each])


def _run(argv: list[str]) -> None:
    done = shell.run(argv, cwd=Path("/"), timeout_s=_TIMEOUT_S, redact=str)
    if done.exit_code:
        raise Refused(
            f"{argv[0]} has failed: {(done.tail or ('it says nothing',))[-1]}",
            on=" ".join(argv),
            state="the nodes of site A have no file systems of their own",
            next_action="start the sites without disks of their own, or on a machine that has loop devices",
        )
