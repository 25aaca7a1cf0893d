"""Commands of the system that faults are made with, and what their failures mean."""

from collections.abc import Sequence

from blocks import shell
from blocks.context import Context
from tasks.common.errors import Refused

_WITHIN_S = 20.0


def command(argv: Sequence[str], context: Context, on: str, within_s: float = _WITHIN_S) -> str:
    """The command has succeeded; returns what it printed.

    Raises:
        Refused: it is missing, or it has failed; what it said is in the error.
    """
    done = attempt(argv, context, within_s)
    if done.exit_code != 0:
        raise Refused(
            f"{argv[0]} has failed: {(done.tail or ('it says nothing',))[-1]}",
            on=on,
            next_action="check the setting, and that the run is root's; then practise again",
        )
    return done.stdout


def attempt(argv: Sequence[str], context: Context, within_s: float = _WITHIN_S) -> shell.Completed:
    """The command has ended, well or not; returns how.

    Raises:
        Refused: it is missing.
    """
    return shell.run(
        argv,
        cwd=context.base,
        timeout_s=within_s,
        redact=context.secrets.redact,
        path=context.path,
        capture_stdout=True,
    )
