"""A builder that starts no process, for tests and dry runs."""

from pathlib import Path

from blocks.builders.pack import pack
from blocks.context import Context
from tasks.common.model import StrictModel
from tasks.common.service import Build
from tasks.release.model import Artifact, Commit
from tasks.release.ports import OnLine


class MemoryBuilder:
    """Packs the tree as it is; a build command is shown, not run.

    Args:
        settings: none.
        context: not used.
    """

    class Settings(StrictModel):
        """The driver `memory` has no settings."""

    def __init__(self, settings: Settings, context: Context) -> None:
        del settings, context

    def build(
        self, tree: Path, spec: Build, commit: Commit, out: Path, *, env: dict[str, str], on_line: OnLine
    ) -> Artifact:
        """`out` is the archive of the tree without what a build would add. *Idempotent:* yes.

        Raises:
            Refused: no file was included, or a link leads out of the tree.
        """
        del env
        if spec.command is not None:
            on_line(f"not run: {' '.join(spec.command)}")
        return pack(tree, spec, commit.committed_at, out)
