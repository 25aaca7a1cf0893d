"""PostgreSQL's own programs, the user that its server runs as, and how clients notice that it is gone."""

import shutil
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType

from tasks.common.errors import Refused

DEBIAN = Path("/usr/lib/postgresql")
"""Where Debian keeps the programs of each version: <version>/bin."""
KEEPALIVE: Mapping[str, int] = MappingProxyType(
    {
        "keepalives": 1,
        "keepalives_idle": 15,
        "keepalives_interval": 5,
        "keepalives_count": 3,
        "tcp_user_timeout": 30_000,
    }
)
"""libpq's options for networks that swallow packets: the system's own limits are hours."""
USERS = ("postgres", "nobody")
"""Who runs the server where we are root: the first that there is."""


def find_binaries(version: str = "") -> Path:
    """Return the folder of PostgreSQL's programs: Debian's own folders first, then the PATH.

    Args:
        version: major version, '15'; '' for the newest.

    Raises:
        Refused: there is none, or none of this version.
    """
    found = [folder for folder in DEBIAN.glob("*/bin") if (folder / "initdb").exists()]
    numbered = [folder for folder in found if folder.parent.name.isdecimal() and version in ("", folder.parent.name)]
    if numbered:
        return max(numbered, key=lambda folder: int(folder.parent.name))
    on_path = shutil.which("initdb")
    if on_path is None or (version and found):
        package = f"postgresql-{version}" if version else "postgresql"
        raise Refused(
            f"PostgreSQL {version} is not installed".replace("  ", " "),
            on="this machine",
            next_action=f"install it, e.g. 'apt-get install {package}', or put its programs on the PATH",
            facts={"looked in": f"{DEBIAN}/*/bin and the PATH"},
        )
    return Path(on_path).resolve().parent
