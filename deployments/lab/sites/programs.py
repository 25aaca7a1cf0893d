"""Programs beside each node's configuration, by which people, drills and restores start and stop its Patroni."""

import shlex
from collections.abc import Sequence
from pathlib import Path


def write(node: Path, data: Path, control: Sequence[str], name: str) -> None:
    """The node has `start`, `stop` and `take-over`. *Idempotent:* yes.

    `take-over` has Patroni take what was restored into the data folder: a restored server archives nothing and is
    nobody's standby, by the end of its postgresql.auto.conf, and this one takes the place of the lost one.

    Args:
        node: folder of its configuration.
        data: folder of its database.
        control: argument list that its supervisor is asked with.
        name: of the node.
    """
    start = f"exec {shlex.join([*control, 'start', name])}\n"
    ours = shlex.quote(str(data / "postgresql.auto.conf"))
    _script(node / "start", start)
    _script(node / "stop", f"exec {shlex.join([*control, 'stop', name])}\n")
    _script(node / "take-over", f"set -e\nsed -i '/^# Of the restore:/,$d' {ours}\n{start}")


def _script(path: Path, text: str) -> None:
    path.write_text(f"#!/bin/sh\n{text}")
    path.chmod(0o755)
