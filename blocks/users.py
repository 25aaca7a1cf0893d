"""The operating-system users that programs run as, which must not run as root."""

import os
import pwd
from collections.abc import Sequence
from pathlib import Path

from tasks.common.errors import Refused

_CAP_DAC_READ_SEARCH = 1 << 2


def find_user(names: Sequence[str]) -> pwd.struct_passwd | None:
    """Return the first user of these names that there is; None, for the one we are, unless we are root.

    Raises:
        Refused: we are root, and there is none of them.
    """
    if os.getuid() != 0:
        return None
    by_name = {entry.pw_name: entry for entry in pwd.getpwall()}
    found = next((by_name[name] for name in names if name in by_name), None)
    if found is None:
        raise Refused(
            f"there is no user named {' or '.join(names)}, and what has to run does not run as root",
            on="this machine",
            next_action=f"create a system user named {names[0]}",
        )
    return found


def as_user(user: pwd.struct_passwd | None) -> list[str]:
    """Return what stands in front of a command that another user is to run: nothing for None.

    That user may read and search, but not write, where only root may.

    *Source:* setpriv(1); capabilities(7), CAP_DAC_READ_SEARCH. Containers often lack that capability even for root;
    then the folders above the data must let the user through.
    """
    if user is None:
        return []
    prefix = ["setpriv", f"--reuid={user.pw_name}", f"--regid={user.pw_gid}", "--init-groups"]
    if _may_read_everything():
        prefix += ["--inh-caps=+dac_read_search", "--ambient-caps=+dac_read_search"]
    return prefix


def own(folder: Path, user: pwd.struct_passwd | None) -> None:
    """The folder exists, belongs to the user (None: to us) and is closed to others. *Idempotent:* yes."""
    folder.mkdir(parents=True, exist_ok=True)
    if user is not None:
        os.chown(folder, user.pw_uid, user.pw_gid)
    folder.chmod(0o700)


def _may_read_everything() -> bool:
    status = Path("/proc/self/status").read_text()
    effective = next(line.split()[1] for line in status.splitlines() if line.startswith("CapEff:"))
    return bool(int(effective, 16) & _CAP_DAC_READ_SEARCH)
