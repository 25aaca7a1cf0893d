"""Artefacts as archives, for hosts without containers."""

import shlex
from pathlib import Path

from blocks.builders.pack import pack
from blocks.context import Context
from blocks.shell import run
from tasks.common.errors import Refused
from tasks.common.model import StrictModel
from tasks.common.service import Build
from tasks.release.model import Artifact, Commit
from tasks.release.ports import OnLine


class ArchiveBuilder:
    """Runs the build command in the tree and packs the result into a reproducible tar.gz.

    Args:
        settings: none.
        context: folders for PATH, and what to redact.
    """

    class Settings(StrictModel):
        """The driver `archive` has no settings."""

    def __init__(self, settings: Settings, context: Context) -> None:
        del settings
        self._context = context

    def build(
        self, tree: Path, spec: Build, commit: Commit, out: Path, *, env: dict[str, str], on_line: OnLine
    ) -> Artifact:
        """`out` is the archive. The same commit gives the same digest if its build command does the same twice.

        The command sees SOURCE_DATE_EPOCH (the commit's time), PYTHONHASHSEED=0 and TZ=UTC.

        *Idempotent:* yes.

        Raises:
            Refused: the command failed, no file was included, or a link leads out of the tree.
            TimedOut: the command took too long.

        *Source:* https://reproducible-builds.org/specs/source-date-epoch/
        """
        if spec.command is not None:
            self._run(tree, spec.command, spec.timeout_s, commit, env, on_line)
        return pack(tree, spec, commit.committed_at, out)

    def _run(
        self,
        tree: Path,
        command: list[str],
        timeout_s: float,
        commit: Commit,
        env: dict[str, str],
        on_line: OnLine,
    ) -> None:
        epoch = str(int(commit.committed_at.timestamp()))
        completed = run(
            command,
            cwd=tree,
            timeout_s=timeout_s,
            redact=self._context.secrets.redact,
            env={**env, "SOURCE_DATE_EPOCH": epoch, "PYTHONHASHSEED": "0", "TZ": "UTC"},
            path=self._context.path,
            on_line=on_line,
            guest=self._context.guest,
        )
        if completed.exit_code != 0:
            raise Refused(
                f"the build command ended with exit code {completed.exit_code}",
                on=f"commit {commit.short}: {self._context.secrets.redact(shlex.join(command))}",
                state="no archive was made",
                next_action="read the last lines; run the command in a check-out of the commit",
                facts={"last lines": "\n".join(completed.tail) or "(it printed nothing)"},
            )
