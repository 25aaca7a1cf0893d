"""References to secrets. The value itself is only ever resolved at use, by blocks.secrets."""

import re
from typing import Annotated

from pydantic import AfterValidator, WithJsonSchema

PATTERN = r"^(env:[A-Za-z_][A-Za-z0-9_]*|file:[^\s]+|prefect-secret:[a-z0-9][a-z0-9-]*|aws-secret:[^\s#]+#[^\s]+)$"


def check_reference(text: str) -> str:
    """Return the reference unchanged.

    Raises:
        ValueError: it names no known source. The text is not repeated: it may be the secret itself, pasted by mistake.
    """
    if not re.match(PATTERN, text):
        raise ValueError(
            "expected a reference to a secret: env:NAME, file:PATH, prefect-secret:NAME or aws-secret:NAME#KEY "
            "(what was found is not shown, as it may be the secret itself)"
        )
    return text


SecretRef = Annotated[
    str,
    AfterValidator(check_reference),
    WithJsonSchema({"type": "string", "pattern": PATTERN, "examples": ["env:DATABASE_URL", "file:/run/secrets/dsn"]}),
]
