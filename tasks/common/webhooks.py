"""Webhooks: who may start flows by sending a delivery, and which ones, as the estate file says it (TRG-1)."""

import re
from collections.abc import Collection, Mapping, Sequence
from enum import StrEnum
from typing import Annotated, Self

from pydantic import AfterValidator, Field, model_validator

from tasks.common.model import DriverSpec, Place, Problem, StrictModel, near, refuse
from tasks.common.secrets import SecretRef
from tasks.common.units import HEADER_PATTERN, POINTER_PATTERN, Name, PositiveDuration

FIELDS = ("actor", "base", "branch", "commit", "pull_ref", "pull_request", "ref", "repository", "tag")
"""What a parameter may take from an event: `{commit}`. `offers` says which ones an event has."""
CHECK = "check"
"""The only flow that a pull request may start: it builds, tests and scans, and deploys nothing (TRG-1)."""
_PLACEHOLDER = re.compile(r"\{([^{}]*)\}")


class Forge(StrEnum):
    """Who sends, and so how it proves itself and what its events look like."""

    GITHUB = "github"
    """`X-Hub-Signature-256`: HMAC-SHA256 over the body."""
    GITLAB = "gitlab"
    """`X-Gitlab-Token`: the secret itself, or Standard Webhooks where the hook has a signing token."""
    GENERIC = "generic"
    """Anybody who signs JSON: Standard Webhooks, or HMAC-SHA256 over the body in a header that the estate names."""
    CLOUDEVENTS = "cloudevents"
    """CloudEvents 1.0 over HTTP, signed as the generic ones, or with the secret as a bearer token."""


class Happening(StrEnum):
    """What has happened, as far as Slipway tells kinds of events apart."""

    PUSH = "push"
    """Commits on a branch."""
    TAG = "tag"
    """A tag was made."""
    PULL_REQUEST = "pull-request"
    """A pull or merge request was opened, opened again, or has new commits."""
    RELEASE = "release"
    """A release was published."""
    WORKFLOW = "workflow"
    """A workflow or pipeline has ended well, and was not about a pull request."""
    OTHER = "other"
    """What the sender has a name of its own for, which rules use: generic and cloudevents only."""


Pointer = Annotated[str, Field(pattern=POINTER_PATTERN, max_length=200)]
Header = Annotated[str, Field(pattern=HEADER_PATTERN), AfterValidator(str.lower)]


class Fields(StrictModel):
    """Where a sender says what has happened: JSON pointers (RFC 6901).

    For generic they lead into the body. For cloudevents they lead into the event as its JSON format writes it, also
    where it was sent in binary mode: /subject, /data/commit.
    """

    event: Pointer | None = Field(default=None, description="what rules call the event; cloudevents have /type for it")
    repository: Pointer | None = Field(default=None, description="the repository")
    ref: Pointer | None = Field(default=None, description="the branch, tag, or whatever else refs are to match")
    commit: Pointer | None = Field(default=None, description="the whole hash of the commit")
    actor: Pointer | None = Field(default=None, description="who did it")


class WebhookRule(StrictModel):
    """One kind of event, and the flow that it starts.

    A parameter's text may hold placeholders such as `{commit}`, which are taken from the event; each kind of event has
    its own. They are filled in once: what an event says is never read as a placeholder or as code.
    """

    event: str = Field(
        min_length=1,
        max_length=200,
        description="what has happened: push, tag, pull-request, release or workflow; for generic and cloudevents what "
        "the sender calls it",
        examples=["push"],
    )
    repository: str = Field(
        default="",
        min_length=1,
        max_length=200,
        description="the repository as the sender calls it: OWNER/NAME, exactly; only left out where fields has none",
    )
    refs: list[str] = Field(
        default_factory=list,
        min_length=1,
        description="branches or tags (of a pull request: the target), as patterns: * stands for any text without /, "
        "** for any text; only left out where fields has none",
    )
    paths: list[str] = Field(
        default_factory=list,
        description="patterns as in refs; a push counts only if it has changed such a file, or does not say which",
    )
    workflow: str = Field(
        default="", max_length=200, description="for workflow: its name, exactly; on GitLab it may be left out"
    )
    forks: bool = Field(default=False, description="for pull-request: those from forks count, too")
    start: Name = Field(description="flow whose deployment is started; for pull-request: check", examples=["release"])
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
    per_second: float = Field(
        default=100.0, gt=0, le=1000, description="deliveries a second that are looked at, on average"
    )
    burst: int = Field(default=1000, ge=1, le=10_000, description="deliveries that are looked at, at once")
    fields: Fields = Field(
        default=Fields(), description="generic, cloudevents: where the sender says what has happened"
    )
    signature_header: Header = Field(
        default="x-signature-256", description="generic, cloudevents: header with the HMAC-SHA256 over the body"
    )
    id_header: Header | None = Field(
        default=None,
        description="generic: header with the delivery's id; webhook-id or x-delivery-id if not given. What is signed "
        "by Standard Webhooks always has it in webhook-id",
    )
    bearer: bool = Field(
        default=False, description="cloudevents: who signs nothing may send the secret itself as a bearer token"
    )
    window_s: PositiveDuration = Field(
        default=300.0, alias="window", description="cloudevents: how far the event's time may be from now"
    )
    origins: list[str] = Field(
        default_factory=list,
        description="cloudevents: who is told that it may send here, when it asks (WebHook-Request-Origin)",
    )

    @model_validator(mode="after")
    def _fits(self) -> Self:
        model = type(self)
        given = [model.model_fields[name].alias or name for name in self.model_fields_set]
        rules = [(("rules", number), rule) for number, rule in enumerate(self.rules)]
        refuse("WebhookSource", source_problems(self.forge, given, self.fields, rules))
        return self


_OWN = (Forge.GENERIC, Forge.CLOUDEVENTS)
"""Forges whose events have names of their own, and say things where the estate file says."""
_ONLY_FOR = {
    "fields": _OWN,
    "signature_header": _OWN,
    "id_header": (Forge.GENERIC,),
    "bearer": (Forge.CLOUDEVENTS,),
    "window": (Forge.CLOUDEVENTS,),
    "origins": (Forge.CLOUDEVENTS,),
    "reports": (Forge.GITHUB, Forge.GITLAB),
}
_KNOWN = tuple(each for each in Happening if each is not Happening.OTHER)
_OFFERS = {
    Happening.PUSH: {"actor", "branch", "commit", "repository"},
    Happening.TAG: {"actor", "commit", "repository", "tag"},
    Happening.PULL_REQUEST: {"actor", "base", "commit", "pull_ref", "pull_request", "repository"},
    Happening.RELEASE: {"repository", "tag"},
    Happening.WORKFLOW: {"actor", "branch", "commit", "repository"},
}
# GitHub names no commit of a release, GitLab nobody who has made it.
_OFFERS_BESIDES = {
    (Forge.GITHUB, Happening.RELEASE): {"actor"},
    (Forge.GITLAB, Happening.RELEASE): {"commit"},
}


def offers(forge: Forge, event: str, fields: Fields) -> list[str]:
    """Return the placeholders that an event has, in order."""
    if forge in _OWN:
        return sorted(set(fields.model_dump(exclude={"event"}, exclude_none=True)))
    happening = Happening(event)
    return sorted(_OFFERS[happening] | _OFFERS_BESIDES.get((forge, happening), set()))


def source_problems(
    forge: Forge, given: Collection[str], fields: Fields, rules: Sequence[tuple[Place, WebhookRule]]
) -> list[Problem]:
    """Return what does not fit together in a source.

    Args:
        forge: who sends.
        given: the keys that the file has for the source.
        fields: where the sender says what has happened.
        rules: those that are sound by themselves, with their places.
    """
    found = [
        Problem((key,), f"a key that is not for {forge}", f"it only for {' or '.join(_ONLY_FOR[key])}")
        for key in given
        if key in _ONLY_FOR and forge not in _ONLY_FOR[key]
    ]
    if forge is Forge.GENERIC and fields.event is None:
        found.append(Problem(("fields", "event"), "nothing", "this key (where the sender says what has happened)"))
    if forge is Forge.CLOUDEVENTS and fields.event is not None:
        found.append(Problem(("fields", "event"), "a pointer", "no such key: rules are about the event's type"))
    for place, rule in rules:
        problems = _own_problems(fields, rule) if forge in _OWN else _known_problems(forge, rule)
        if forge in _OWN or rule.event in _KNOWN:
            problems += _offer_problems(rule, offers(forge, rule.event, fields))
        found += [Problem((*place, *each.place), each.found, each.expected) for each in problems]
    return found


def event_problems(forge: Forge, event: str) -> list[Problem]:
    """Return what is wrong with the name of a rule's event; for a rule that may have mistakes elsewhere."""
    if forge in _OWN or event in _KNOWN:
        return []
    known = " or ".join([", ".join(f"'{each}'" for each in _KNOWN[:-1]), f"'{_KNOWN[-1]}'"])
    return [Problem(("event",), f"the text {event!r}{near(event, _KNOWN)}", f"one of: {known}")]


def _own_problems(fields: Fields, rule: WebhookRule) -> list[Problem]:
    """Return what is wrong with a rule about events with names of their own."""
    found = []
    for key, pointer in (("repository", fields.repository), ("refs", fields.ref)):
        field = "ref" if key == "refs" else key
        if getattr(rule, key) and pointer is None:
            found.append(Problem((key,), "a key that nothing can fit", f"no such key, or fields.{field}"))
        if pointer is not None and not getattr(rule, key):
            found.append(Problem((key,), "nothing", f"this key, as the source has fields.{field}"))
    if rule.workflow:
        found.append(Problem(("workflow",), "a key that is not for such events", "no such key"))
    return found + _misplaced(rule, ("paths", "forks"))


def _known_problems(forge: Forge, rule: WebhookRule) -> list[Problem]:
    """Return what is wrong with a rule about the events of GitHub or GitLab."""
    if unknown := event_problems(forge, rule.event):
        return unknown
    found = [
        Problem((key,), "nothing", f"this key ({WebhookRule.model_fields[key].description})")
        for key in ("repository", "refs")
        if not getattr(rule, key)
    ]
    if rule.event == Happening.WORKFLOW and forge is Forge.GITHUB and not rule.workflow:
        found.append(Problem(("workflow",), "nothing", "the name of the workflow: another one may end well before it"))
    if rule.event == Happening.PULL_REQUEST and rule.start != CHECK:
        only = f"{CHECK}: a pull request starts nothing that deploys"
        found.append(Problem(("start",), f"the text {rule.start!r}", only))
    others = {"paths": Happening.PUSH, "forks": Happening.PULL_REQUEST, "workflow": Happening.WORKFLOW}
    return found + _misplaced(rule, [key for key, event in others.items() if rule.event != event])


def _misplaced(rule: WebhookRule, keys: Sequence[str]) -> list[Problem]:
    return [
        Problem((key,), f"a key that is not for {rule.event!r}", "no such key") for key in keys if getattr(rule, key)
    ]


def _offer_problems(rule: WebhookRule, offered: Sequence[str]) -> list[Problem]:
    """Return the placeholders that the rule's event will never have."""
    expected = f"one of: {', '.join(f'{{{each}}}' for each in offered)}" if offered else "text without placeholders"
    return [
        Problem(("parameters", name), f"{{{placeholder}}}, which {rule.event!r} does not have", expected)
        for name, text in rule.parameters.items()
        for placeholder in _PLACEHOLDER.findall(text)
        if placeholder not in offered
    ]


def fill(template: str, values: Mapping[str, str]) -> str:
    """Return the text with its placeholders filled in, once.

    Raises:
        KeyError: the event has no such value.
    """
    return _PLACEHOLDER.sub(lambda match: values[match[1]], template)


def placeholders(parameters: Mapping[str, str]) -> set[str]:
    """Return the names that a rule needs from its event."""
    return {name for text in parameters.values() for name in _PLACEHOLDER.findall(text)}


def matches(text: str, patterns: Sequence[str]) -> bool:
    """Return whether one of the patterns fits the whole text; `*` stops at a `/`, `**` does not."""
    return any(re.fullmatch(_regex(pattern), text, re.DOTALL) for pattern in patterns)


def _regex(pattern: str) -> str:
    parts = re.split(r"(\*\*|\*)", pattern)
    meaning = {"**": ".*", "*": "[^/]*"}
    return "".join(meaning.get(part) or re.escape(part) for part in parts)


def _placeholder_problems(parameters: Mapping[str, str]) -> list[Problem]:
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
