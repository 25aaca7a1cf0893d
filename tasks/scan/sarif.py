"""Reads SARIF 2.1.0, which most scanners write."""

import posixpath
import re
from pathlib import PurePosixPath
from typing import Annotated, Literal
from urllib.parse import unquote

from pydantic import BaseModel, ConfigDict, Field, model_validator
from pydantic.alias_generators import to_camel

from tasks.common.redaction import Redactor
from tasks.common.service import Severity
from tasks.scan.model import Finding
from tasks.scan.reading import MESSAGE_AT_MOST, RULE_AT_MOST, InvalidReport, relative, validated

_NOT_SHOWN = "the tool's own message is not shown, as it may quote the secret"
# Rules about secrets, by name, tags and weakness (CWE: credentials stored in the clear or in the code).
_ABOUT_SECRETS = re.compile(
    r"secret|passw|credential|token|leak|(?:api|private|access|encryption)[-_ ]?key"
    r"|cwe-(?:25[6-9]|260|312|321|522|798)\b",
    re.IGNORECASE,
)
_QUOTED = re.compile(r"\"([^\"\n]{4,})\"|'([^'\n]{4,})'|`([^`\n]{4,})`")
_BY_LEVEL: dict[str, Severity] = {"error": "high", "warning": "medium", "note": "low", "none": "low"}
_BY_WORD: dict[str, Severity] = {"critical": "critical", "high": "high", "medium": "medium", "low": "low"}

_Level = Literal["none", "note", "warning", "error"]


class _Part(BaseModel):
    model_config = ConfigDict(alias_generator=to_camel)

    @model_validator(mode="before")
    @classmethod
    def _null_is_absent(cls, data: object) -> object:
        # Writers in Go and .NET put null where SARIF leaves a property out.
        return {key: value for key, value in data.items() if value is not None} if isinstance(data, dict) else data


class _Text(_Part):
    text: str | None = None
    id: str | None = None


class _Region(_Part):
    start_line: Annotated[int, Field(ge=0)] = 0
    snippet: _Text | None = None


class _Place(_Part):
    uri: str = ""
    uri_base_id: str | None = None


class _PhysicalLocation(_Part):
    artifact_location: _Place = _Place()
    region: _Region = _Region()
    context_region: _Region = _Region()


class _Location(_Part):
    physical_location: _PhysicalLocation = _PhysicalLocation()


class _Properties(_Part):
    security_severity: float | None = Field(default=None, ge=0, le=10, alias="security-severity")
    issue_severity: str | None = Field(default=None, alias="issue_severity")
    tags: list[str] = []


class _Configuration(_Part):
    level: _Level | None = None


class _Rule(_Part):
    id: str = ""
    name: str = ""
    short_description: _Text = _Text()
    full_description: _Text = _Text()
    message_strings: dict[str, _Text] = {}
    default_configuration: _Configuration = _Configuration()
    properties: _Properties = _Properties()


class _RuleReference(_Part):
    id: str | None = None
    index: int = -1


class _Result(_Part):
    rule_id: str | None = None
    rule_index: int = -1
    rule: _RuleReference = _RuleReference()
    level: _Level | None = None
    kind: Literal["pass", "open", "informational", "notApplicable", "review", "fail"] = "fail"
    baseline_state: Literal["new", "unchanged", "updated", "absent"] | None = None
    message: _Text
    locations: list[_Location] = []
    properties: _Properties = _Properties()


class _Notification(_Part):
    level: _Level = "warning"


class _Invocation(_Part):
    execution_successful: bool
    tool_execution_notifications: list[_Notification] = []
    tool_configuration_notifications: list[_Notification] = []


class _Component(_Part):
    name: str
    rules: list[_Rule] = []


class _Tool(_Part):
    driver: _Component
    extensions: list[_Component] = []


class _Run(_Part):
    tool: _Tool
    invocations: list[_Invocation] = []
    # Absent or null: the tool did not look. An empty list: it looked, and found nothing.
    results: list[_Result]
    original_uri_base_ids: dict[str, _Place] = {}


class _Sarif(_Part):
    version: Literal["2.1.0"]
    runs: Annotated[list[_Run], Field(min_length=1)]


def parse_sarif(document: object, tool: str, tree: PurePosixPath) -> tuple[Finding, ...]:
    """Return the results of every run that are problems.

    Raises:
        InvalidReport: it is no SARIF, or a run did not see everything.
    """
    log = validated(_Sarif, document, "SARIF 2.1.0")
    for run in log.runs:
        _refuse_failed(run)
    return tuple(
        _finding(result, run, tool, tree)
        for run in log.runs
        for result in run.results
        if result.kind in ("fail", "open", "review") and result.baseline_state != "absent"
    )


def _refuse_failed(run: _Run) -> None:
    for invocation in run.invocations:
        if not invocation.execution_successful:
            raise InvalidReport("the report says that the tool did not run to its end (executionSuccessful is false)")
        # Also of the configuration: bandit reports files that it could not parse, or did not find, there.
        notifications = invocation.tool_execution_notifications + invocation.tool_configuration_notifications
        errors = sum(notification.level == "error" for notification in notifications)
        if errors:
            raise InvalidReport(f"the report says that the tool met {errors} errors, so that it did not see everything")


def _finding(result: _Result, run: _Run, tool: str, tree: PurePosixPath) -> Finding:
    rule = _rule(result, run.tool)
    where = result.locations[0].physical_location if result.locations else _PhysicalLocation()
    return Finding(
        tool=tool,
        rule=(result.rule_id or result.rule.id or rule.id or "unknown")[:RULE_AT_MOST],
        severity=_severity(result, rule, run.tool.driver.name),
        path=_path(where.artifact_location, run, tree),
        line=where.region.start_line,
        message=_message(result, rule, where, run.tool.driver.name),
    )


def _rule(result: _Result, tool: _Tool) -> _Rule:
    name = result.rule_id or result.rule.id
    if name is not None:
        # 'CA1000/1' is a part of rule CA1000 (SARIF 2.1.0, 3.27.5).
        known = {rule.id: rule for part in (tool.driver, *tool.extensions) for rule in part.rules}
        return known.get(name) or known.get(name.rpartition("/")[0]) or _Rule()
    index = max(result.rule_index, result.rule.index)
    return tool.driver.rules[index] if 0 <= index < len(tool.driver.rules) else _Rule()


def _severity(result: _Result, rule: _Rule, driver: str) -> Severity:
    """Return the first that is told: a CVSS-like score, the tool's own word, a level.

    A secret of which nothing is told is high, and no warning as SARIF has it: gitleaks tells nothing of any.

    *Source:* thresholds: GitHub code scanning's for security-severity; the default level: SARIF 2.1.0, 3.27.10.
    """
    score = result.properties.security_severity
    if score is None:
        score = rule.properties.security_severity
    if score is not None:
        return "critical" if score >= 9 else "high" if score >= 7 else "medium" if score >= 4 else "low"
    word = (result.properties.issue_severity or "").lower()
    level = result.level or rule.default_configuration.level
    unknown = "error" if _about_secrets(result, rule, driver) else "warning"
    return _BY_WORD.get(word) or _BY_LEVEL[level or unknown]


def _about_secrets(result: _Result, rule: _Rule, driver: str) -> bool:
    tags = " ".join([*rule.properties.tags, *result.properties.tags])
    return bool(_ABOUT_SECRETS.search(f"{driver} {result.rule_id} {rule.id} {rule.name} {_description(rule)} {tags}"))


def _description(rule: _Rule) -> str:
    return rule.short_description.text or rule.full_description.text or rule.name or rule.id


def _message(result: _Result, rule: _Rule, where: _PhysicalLocation, driver: str) -> str:
    description = _description(rule)
    if _about_secrets(result, rule, driver):
        return f"{description[:MESSAGE_AT_MOST]} ({_NOT_SHOWN})".lstrip()
    template = rule.message_strings.get(result.message.id or "", _Text()).text
    text = result.message.text or template or description
    # A literal of the source may be a secret whatever the rule is about.
    snippets = [part.snippet.text or "" for part in (where.region, where.context_region) if part.snippet]
    literals = [next(filter(None, groups)) for snippet in snippets for groups in _QUOTED.findall(snippet)]
    return Redactor(literals).redact(text)[:MESSAGE_AT_MOST]


def _path(place: _Place, run: _Run, tree: PurePosixPath) -> str:
    base = run.original_uri_base_ids.get(place.uri_base_id or "", _Place()).uri
    return relative(posixpath.join(_from_uri(base), _from_uri(place.uri)), tree)


def _from_uri(uri: str) -> str:
    """Return the path in a relative or file: URI; of any other URI the whole."""
    if "://" in uri and not uri.startswith("file:"):
        return uri
    return unquote(re.sub(r"^file:(//[^/]*)?", "", uri))
