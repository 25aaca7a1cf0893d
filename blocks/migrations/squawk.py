"""squawk, asked about the SQL of migrations."""

import sys
import tempfile
from collections.abc import Callable, Iterable, Sequence
from itertools import groupby
from pathlib import Path

from blocks import shell
from tasks.common.errors import Refused
from tasks.migration.lint import Finding, Part
from tasks.migration.squawk import NoAnswer, bare, excluded, findings

_WITHIN_S = 120.0
_ENDS = (0, 1)
"""Found nothing; found something."""


def squawk(parts: Iterable[Part], redact: Callable[[str], str]) -> tuple[Finding, ...]:
    """Return what squawk has to say, in the order of the files. *Idempotent:* yes.

    It sees no settings of a repository and no comments: neither can tell it what to leave out.

    Args:
        parts: texts of SQL; they can be read.
        redact: takes secrets out of a text.

    Raises:
        Refused: it is not installed, or gave no answer that can be trusted.
    """
    numbered = enumerate(parts)
    found: list[Finding] = []
    for rules, texts in groupby(sorted(numbered, key=lambda each: excluded(each[1])), lambda each: excluded(each[1])):
        found += _asked({f"{number}.sql": part for number, part in texts}, rules, redact)
    return tuple(sorted(found, key=lambda each: (each.path, each.line)))


def _asked(texts: dict[str, Part], rules: Sequence[str], redact: Callable[[str], str]) -> tuple[Finding, ...]:
    with tempfile.TemporaryDirectory(prefix="slipway-lint-") as made:
        folder = Path(made)
        for name, part in texts.items():
            (folder / name).write_text(bare(part.text), encoding="utf-8")
        # Else it looks for settings in the folders above.
        (folder / "squawk.toml").touch()
        command = ["squawk", "--config=squawk.toml", "--reporter=json", "--assume-in-transaction"]
        command += [*(f"--exclude={each}" for each in rules), *texts]
        path = [str(Path(sys.executable).parent)]
        ended = shell.run(command, cwd=folder, timeout_s=_WITHIN_S, redact=redact, path=path, capture_stdout=True)
    if ended.exit_code not in _ENDS:
        raise _refused(f"exit code {ended.exit_code}", "\n".join(ended.tail))
    try:
        found = findings(ended.stdout, texts)
    except NoAnswer as error:
        raise _refused(str(error), "\n".join(ended.tail)) from None
    if bool(found) != bool(ended.exit_code):
        raise _refused(f"exit code {ended.exit_code} with {len(found)} findings", "\n".join(ended.tail))
    return found


def _refused(why: str, lines: str) -> Refused:
    return Refused(
        f"squawk gave no answer that can be trusted: {why}",
        on="squawk",
        state="nothing is known about the SQL; nothing was changed",
        next_action="run 'squawk --version': it is installed with Slipway, as requirements.lock has it",
        facts={"last lines": lines} if lines else {},
    )
