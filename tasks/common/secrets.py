"""References to secrets. The value itself is only ever resolved at use, by blocks.secrets."""

import re
from typing import Annotated

from pydantic import BeforeValidator, WithJsonSchema

from tasks.common.units import Expected

PATTERN = r"^(env:[A-Za-z_][A-Za-z0-9_]*|file:[^\s]+|prefect-secret:[a-z0-9][a-z0-9-]*|aws-secret:[^\s#]+#[^\s]+)$"
WORDS = "a reference to a secret: env:NAME, file:PATH, prefect-secret:NAME or aws-secret:NAME#KEY"


class NoReference(Expected):
    """What stands where a reference to a secret belongs may be the secret itself: it must not be shown."""


def check_reference(value: object) -> str:
    """Return the reference unchanged.

    Raises:
        NoReference: it names no known source. The value is not repeated: it may be the secret, pasted by mistake.
    """
    if not isinstance(value, str) or not re.fullmatch(PATTERN, value):
        raise NoReference(f"{WORDS} (what was found is not shown, as it may be the secret itself)")
    return value


SecretRef = Annotated[
    str,
    BeforeValidator(check_reference),
    WithJsonSchema({"type": "string", "pattern": PATTERN, "examples": ["env:DATABASE_URL", "file:/run/secrets/dsn"]}),
]
