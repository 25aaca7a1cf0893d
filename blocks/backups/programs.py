"""Programs of backup engines: their versions, and a way to run them that no killed run outlives."""

import logging
import re
import threading
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from pwd import struct_passwd

from blocks import shell
from blocks.context import Context
from blocks.users import as_user
from tasks.common.errors import Refused

_ROOT = Path("/")
_VERSION_TIMEOUT_S = 30.0
_SHORT_S = 120.0

_log = logging.getLogger(__name__)


class Programs:
    """Runs what an engine is made of.

    Args:
        context: folders for PATH, and what to redact.
        within_s: no command may take longer, where none is given with it.
        user: runs them; None for the user that we are.
    """

    def __init__(self, context: Context, within_s: float = _SHORT_S, user: struct_passwd | None = None) -> None:
        self._context = context
        self._within_s = within_s
        # A change of user takes back who ends with whom: it comes first.
        self._before = (*as_user(user), *shell.ENDS_WITH_US)

    def version(self, argv: Sequence[str], install: str) -> str:
        """Return the first number with dots that a program prints when it is asked for its version.

        Args:
            argv: program and arguments.
            install: how it is installed on Debian.

        Raises:
            Refused: it is not installed, or prints none.
        """
        try:
            done = self._run(argv, {}, _VERSION_TIMEOUT_S, None, capture=True)
        except shell.TimedOut:
            raise
        except Refused as error:
            raise _not_usable(argv[0], install, error.what) from error
        found = re.search(r"\d+(?:\.\d+)+", done.stdout)
        if done.exit_code != 0 or found is None:
            said = self.redact(done.stdout.strip()) or "\n".join(done.tail) or "nothing"
            raise _not_usable(argv[0], install, f"it answers with {said[:200]!r}")
        return found[0]

    def run(
        self,
        argv: Sequence[str],
        *,
        env: Mapping[str, str],
        on_line: Callable[[str], None] | None = None,
        stop: threading.Event | None = None,
    ) -> shell.Completed:
        """The command has ended; all that it prints went to the log, or line by line to `on_line`.

        It is killed when this thread's process dies. Raises and *Idempotent:* as `blocks.shell.run`.

        Args:
            argv: program and arguments, without secrets.
            env: its variables; secrets belong here, as nobody but its user and root can read them.
            on_line: receives each line, redacted, in place of the log.
            stop: the command is ended as soon as this is set.
        """
        # A dump that goes on would hold its snapshot of the database, and fill the repository's disk.
        return self._run([*self._before, *argv], env, self._within_s, on_line or _log.info, stop=stop)

    def ask(
        self, argv: Sequence[str], *, env: Mapping[str, str], on_line: Callable[[str], None] | None = None
    ) -> shell.Completed:
        """Return how the command ended, with all that it printed on stdout: data to parse, never to show."""
        return self._run([*self._before, *argv], env, self._within_s, on_line or _log.info, capture=True)

    def redact(self, text: str) -> str:
        """Return the text without secrets."""
        return self._context.secrets.redact(text)

    def _run(
        self,
        argv: Sequence[str],
        env: Mapping[str, str],
        timeout_s: float,
        on_line: Callable[[str], None] | None,
        *,
        stop: threading.Event | None = None,
        capture: bool = False,
    ) -> shell.Completed:
        return shell.run(
            argv,
            cwd=_ROOT,
            timeout_s=timeout_s,
            redact=self.redact,
            env=env,
            path=self._context.path,
            on_line=on_line,
            capture_stdout=capture,
            stop=stop,
        )


def _not_usable(program: str, install: str, why: str) -> Refused:
    return Refused(
        f"{program} cannot be used: {why}",
        on="this machine",
        next_action=f"install it (Debian: {install}), or add its folder to 'tools' in the estate file",
    )
