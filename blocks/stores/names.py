"""What a stored artefact is called."""

import re

from tasks.common.errors import Refused

_DIGEST = re.compile(r"sha256:([0-9a-f]{64})")
_NAME = re.compile(r"[0-9a-f]{64}")


def name_of(digest: str) -> str:
    """Return the 64 hexadecimal digits that a digest is stored under.

    Raises:
        Refused: it is not 'sha256:' and 64 hexadecimal digits (nothing else may ever become a path).
    """
    match = _DIGEST.fullmatch(digest)
    if match is None:
        raise Refused(
            "not an artefact's digest",
            on=repr(digest),
            next_action="give sha256: and 64 hexadecimal digits, as 'slipway releases' shows them",
        )
    return match[1]


def digest_named(name: str) -> str | None:
    """Return the digest that is stored under a name, or None if the name is something else's."""
    return f"sha256:{name}" if _NAME.fullmatch(name) else None


def missing(digest: str, where: str) -> Refused:
    """Return the error for an artefact that is not there."""
    return Refused(
        "no such artefact",
        on=f"{digest} in {where}",
        next_action="build the commit again, or choose a release whose artefact is kept ('slipway releases')",
    )


def miswritten(wanted: str, found: str, where: str) -> Refused:
    """Return the error for a copy that was read back differently from what was written."""
    return Refused(
        "an artefact was read back differently from what was written",
        on=where,
        state="the bad copy was removed",
        next_action="check the disk or the network of the store, then run this again",
        facts={"expected": wanted, "found": found},
    )
