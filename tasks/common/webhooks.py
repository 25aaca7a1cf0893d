"""Webhooks: who may start flows by sending a delivery, and which ones, as the estate file says it (TRG-1)."""

import re
from collections.abc import Sequence
from enum import StrEnum
from typing import Self

from pydantic import Field, model_validator

from tasks.common.model import DriverSpec, Place, Problem, StrictModel, near, refuse
from tasks.common.secrets import SecretRef
from tasks.common.units import Name

FIELDS = ("actor", "branch", "commit", "repository", "tag")
"""What a parameter may take from the event: `{commit}`."""
_PLACEHOLDER = re.compile(r"\{([^{}]*)\}")


class Forge(StrEnum):
    """Who sends, and so how it proves itself and what its events look like."""

    GITHUB = "github"
    """`X-Hub-Signature-256`: HMAC-SHA256 over the body."""
    GITLAB = "gitlab"
    """`X-Gitlab-Token`: the secret itself, or Standard Webhooks where the hook has a signing token."""


class Happening(StrEnum):
    """What a rule can be about."""

    PUSH = "push"
    """Commits on a branch."""
    TAG = "tag"
    """A tag was made."""


class WebhookRule(StrictModel):
    """One kind of event, and the flow that it starts.

    A parameter's text may hold `{commit}`, `{branch}`, `{tag}`, `{repository}` or `{actor}`, which are
    taken from the event. They are filled in once: what an event says is never read as a placeholder or as code.
    """

    event: Happening = Field(description="what has happened")
    repository: str = Field(
        min_length=1, max_length=200, description="the repository as the forge calls it: OWNER/NAME, exactly"
    )
    refs: list[str] = Field(
        min_length=1, description="branches or tags, as patterns: * stands for any text without /, ** for any text"
    )
    paths: list[str] = Field(
        default_factory=list,
        description="patterns as in refs; a push counts only if it has changed such a file, or does not say which",
    )
    start: Name = Field(description="flow whose deployment is started", examples=["release"])
    parameters: dict[str, str] = Field(
        min_length=1, description="what the flow is asked for, by name", examples=[{"commit": "{commit}"}]
    )

    @model_validator(mode="after")
    def _filled(self) -> Self:
        refuse("WebhookRule", _placeholder_problems(self.parameters))
        return self


class WebhookSource(StrictModel):
    """Somebody who may send deliveries to /webhooks/NAME."""

    forge: Forge = Field(description="who sends")
    secrets: list[SecretRef] = Field(
        min_length=1, max_length=2, description="references to the shared secret; two while it is being changed"
    )
    rules: list[WebhookRule] = Field(min_length=1, description="in order; the first that fits an event counts")
    reports: DriverSpec | None = Field(
        default=None, description="tells the forge how the runs went that its deliveries have started"
    )


def fill(template: str, values: dict[str, str]) -> str:
    """Return the text with its placeholders filled in, once.

    Raises:
        KeyError: the event has no such value.
    """
    return _PLACEHOLDER.sub(lambda match: values[match[1]], template)


def placeholders(parameters: dict[str, str]) -> set[str]:
    """Return the names that a rule needs from its event."""
    return {name for text in parameters.values() for name in _PLACEHOLDER.findall(text)}


def matches(text: str, patterns: Sequence[str]) -> bool:
    """Return whether one of the patterns fits the whole text; `*` stops at a `/`, `**` does not."""
    return any(re.fullmatch(_regex(pattern), text, re.DOTALL) for pattern in patterns)


def _regex(pattern: str) -> str:
    parts = re.split(r"(\*\*|\*)", pattern)
    meaning = {"**": ".*", "*": "[^/]*"}
    return "".join(meaning.get(part) or re.escape(part) for part in parts)


def _placeholder_problems(parameters: dict[str, str]) -> list[Problem]:
    found = []
    for name, text in parameters.items():
        place: Place = ("parameters", name)
        for placeholder in _PLACEHOLDER.findall(text):
            if placeholder not in FIELDS:
                unknown = f"the unknown placeholder {{{placeholder}}}{near(placeholder, FIELDS)}"
                found.append(Problem(place, unknown, f"one of: {', '.join(f'{{{each}}}' for each in FIELDS)}"))
        if re.search(r"[{}]", _PLACEHOLDER.sub("", text)):
            found.append(Problem(place, f"a brace without its other half in {text!r}", "placeholders such as {commit}"))
    return found
