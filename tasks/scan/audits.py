"""Reads what dependency audits write: pip-audit and npm audit. The path of a finding is the package's name."""

from pathlib import PurePosixPath
from typing import Annotated, Literal

from pydantic import BaseModel, Field

from tasks.common.service import Severity
from tasks.scan.model import Finding
from tasks.scan.reading import MESSAGE_AT_MOST, RULE_AT_MOST, InvalidReport, validated

_SHOWN = 5
_Text = Annotated[str, Field(min_length=1)]
_NpmSeverity = Literal["critical", "high", "moderate", "low", "info"]
_BY_NPM: dict[_NpmSeverity, Severity] = {
    "critical": "critical",
    "high": "high",
    "moderate": "medium",
    "low": "low",
    "info": "low",
}


class _PipVulnerability(BaseModel):
    id: _Text
    fix_versions: list[str]
    aliases: list[str] = []


class _PipDependency(BaseModel):
    name: _Text
    skip_reason: str | None = None
    version: str | None = None
    vulns: list[_PipVulnerability] | None = None


class _PipAudit(BaseModel):
    # Empty: it looked at nothing, and reports that it found nothing.
    dependencies: Annotated[list[_PipDependency], Field(min_length=1)]


class _NpmAdvisory(BaseModel):
    source: int | str
    title: _Text
    url: str | None = None
    severity: _NpmSeverity
    range: str = ""


class _NpmVulnerability(BaseModel):
    severity: _NpmSeverity
    # Names: other packages of the report, which it depends on.
    via: Annotated[list[str | _NpmAdvisory], Field(min_length=1)]


class _NpmCounts(BaseModel):
    total: Annotated[int, Field(ge=0)]


class _NpmMetadata(BaseModel):
    vulnerabilities: _NpmCounts
    dependencies: _NpmCounts


class _NpmAudit(BaseModel):
    error: object = None
    auditReportVersion: Literal[2]  # noqa: N815 - npm's spelling
    vulnerabilities: dict[str, _NpmVulnerability]
    metadata: _NpmMetadata


def parse_pip_audit(document: object, tool: str, tree: PurePosixPath) -> tuple[Finding, ...]:
    """Return one high finding for each vulnerability of each package.

    pip-audit tells no severity, and neither do many of the advisories that it reads. An unknown severity counts as
    high: as anything less, a bound of critical and high would let the worst vulnerability through.

    Raises:
        InvalidReport: it audited nothing, or could not audit a package. pip-audit itself ends with 0 then, unless it
            is told to be strict.
    """
    del tree
    report = validated(_PipAudit, document, "JSON of pip-audit")
    _refuse_unaudited([each for each in report.dependencies if each.skip_reason is not None or each.vulns is None])
    return tuple(
        Finding(tool, found.id[:RULE_AT_MOST], "high", each.name, 0, _pip_message(each, found)[:MESSAGE_AT_MOST])
        for each in report.dependencies
        for found in each.vulns or ()
    )


def _refuse_unaudited(skipped: list[_PipDependency]) -> None:
    if skipped:
        names = ", ".join(each.name[:RULE_AT_MOST] for each in skipped[:_SHOWN])
        more = f" and {len(skipped) - _SHOWN} more" if len(skipped) > _SHOWN else ""
        raise InvalidReport(f"the report says that packages could not be audited: {names}{more}")


def _pip_message(package: _PipDependency, found: _PipVulnerability) -> str:
    mended = f"mended in {', '.join(found.fix_versions)}" if found.fix_versions else "no version mends it yet"
    also = f" (also {', '.join(found.aliases)})" if found.aliases else ""
    return f"{package.name} {package.version or 'of an unknown version'} is vulnerable{also}; {mended}"


def parse_npm_audit(document: object, tool: str, tree: PurePosixPath) -> tuple[Finding, ...]:
    """Return one finding for each advisory of each package; those who only depend on the package are not told again.

    Raises:
        InvalidReport: npm reports an error, audited nothing, or contradicts itself.
    """
    del tree
    if isinstance(document, dict) and document.get("error") is not None:
        raise InvalidReport("the report is npm's own error: it could not ask for advisories, or found no lock file")
    report = validated(_NpmAudit, document, "JSON of npm audit")
    if report.metadata.dependencies.total == 0:
        raise InvalidReport("the report is about no packages")
    if report.metadata.vulnerabilities.total != len(report.vulnerabilities):
        raise InvalidReport("the report counts other vulnerabilities than it names")
    for name in report.vulnerabilities:
        _require_advisory(name, report.vulnerabilities)
    return tuple(
        Finding(tool, _npm_rule(found), _BY_NPM[found.severity], name, 0, _npm_message(name, found))
        for name, package in report.vulnerabilities.items()
        for found in package.via
        if isinstance(found, _NpmAdvisory)
    )


def _require_advisory(name: str, packages: dict[str, _NpmVulnerability]) -> None:
    """The package is vulnerable by an advisory, its own or that of a package which it depends on.

    Raises:
        InvalidReport: no advisory is named, so that there would be no finding.
    """
    seen, left = set(), [name]
    while left:
        here = left.pop()
        if here not in packages:
            raise InvalidReport("the report blames a package that it does not name")
        seen.add(here)
        via = packages[here].via
        if any(isinstance(each, _NpmAdvisory) for each in via):
            return
        left += [each for each in via if isinstance(each, str) and each not in seen]
    raise InvalidReport("the report names a vulnerable package, and no advisory")


def _npm_rule(found: _NpmAdvisory) -> str:
    # The number is npm's own and may change; the address ends with the advisory's lasting id.
    last = (found.url or "").rstrip("/").rpartition("/")[2]
    return (last if last.startswith("GHSA-") else f"npm-{found.source}")[:RULE_AT_MOST]


def _npm_message(name: str, found: _NpmAdvisory) -> str:
    return f"{found.title} ({name} {found.range or 'in every version'})"[:MESSAGE_AT_MOST]
