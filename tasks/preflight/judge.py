"""Whether what was observed is well enough for a release to begin. What is not known is not well."""

import math
from collections.abc import Iterable
from datetime import datetime, timedelta

from tasks.common.capacity import Capacity
from tasks.common.estate import Environment
from tasks.common.markdown import escape, table
from tasks.common.units import show_duration, show_percent
from tasks.preflight.model import Certificate, Finding
from tasks.preflight.ports import Routing

_OUTAGE = "this is an outage: 'slipway rollback' to a kept release, or mend the instances first"
_STRENGTH = "look at the instances that are not up: 'slipway status', their logs; start them again, then release"
_PERSISTED = (
    "release or roll back once more, or correct the state file: a restart of the router brings back other traffic"
)
_ROOM = {
    "processors": "wait until the load is over, or move work elsewhere; the bound is preflight.cpu_free_at_least",
    "memory": "end what takes it, or add some; the bound is preflight.memory_free_at_least",
    "disk": "remove what is not needed, or add some; the bound is preflight.disk_free_at_least",
}


def judge_free(name: str, what: str, free_percent: float, at_least: float) -> Finding:
    """Return whether enough of something is free.

    Args:
        name: of the finding.
        what: 'processors', 'memory' or 'disk'.
        free_percent: what is free; NaN where it is not known, which is not enough.
        at_least: what must be free, in per cent.
    """
    free = show_percent(free_percent) if math.isfinite(free_percent) else "an unknown share"
    if math.isfinite(free_percent) and free_percent >= at_least:
        return Finding(name, True, f"{free} free, {show_percent(at_least)} needed")
    return Finding(name, False, f"{free} of the {what} is free, less than {show_percent(at_least)}", _ROOM[what])


def judge_capacity(where: str, capacity: Capacity, environment: Environment) -> list[Finding]:
    """Return whether processors, memory and disk have room for a second set of instances (REL-3)."""
    wanted = environment.preflight
    return [
        judge_free(f"{where}: processors", "processors", capacity.cpu_free_percent, wanted.cpu_free_at_least),
        judge_free(f"{where}: memory", "memory", capacity.memory_free_percent, wanted.memory_free_at_least),
        judge_free(f"{where}: disk", "disk", capacity.disk_free_percent, wanted.disk_free_at_least),
    ]


def judge_routing(where: str, routing: Routing, environment: Environment) -> list[Finding]:
    """Return whether what has traffic is up, at full strength, and would come back after a restart of the router.

    Where both slots have traffic a rollout was left half-made. To carry on with it, only the floor must serve.
    """
    serving = {slot: weight for slot, weight in routing.weights.items() if weight > 0}
    shares = ", ".join(f"{slot} {show_percent(weight)}" for slot, weight in serving.items())
    up = sum(member.up and member.slot in serving for member in routing.members)
    stable = f"{where}: router answers, and stable is healthy"
    if serving and not up:
        return [Finding(stable, False, "nothing that has traffic is up", _OUTAGE)]
    share = environment.floor / 100 if len(serving) > 1 else 1.0
    wanted = math.ceil(environment.replicas * share) if serving else 0
    strength = f"{up} of {wanted} instances with traffic are up"
    kept = "kept" if routing.persisted else "a restart of the router would bring back other weights or members"
    return [
        Finding(stable, True, shares or "no release yet"),
        Finding(f"{where}: every instance serves", up >= wanted, strength, "" if up >= wanted else _STRENGTH),
        Finding(f"{where}: routing is kept", routing.persisted, kept, "" if routing.persisted else _PERSISTED),
    ]


def judge_certificate(name: str, certificate: Certificate, now: datetime, valid_for_s: float) -> Finding:
    """Return whether a certificate that is valid now stays so for long enough."""
    end = f"{certificate.not_after:%Y-%m-%d %H:%M} UTC"
    if certificate.not_after - now >= timedelta(seconds=valid_for_s):
        return Finding(name, True, f"valid until {end}")
    wanted = show_duration(valid_for_s)
    mend = "renew it and have the server load it; the bound is preflight.certificate_valid_for"
    return Finding(name, False, f"the certificate of {certificate.subject} ends {end}, within {wanted}", mend)


def told(findings: Iterable[Finding]) -> dict[str, str]:
    """Return what an operator is told of findings, by name; of several with one name, all."""
    texts: dict[str, list[str]] = {}
    for each in findings:
        texts.setdefault(each.name, []).append(f"{each.found} ({each.mend})")
    return {name: "\n".join(lines) for name, lines in texts.items()}


def finding_table(findings: list[Finding]) -> str:
    """Return the findings as a Markdown table, problems first."""
    rows = [
        (escape(each.name), "well" if each.well else "**problem**", escape(each.found), escape(each.mend))
        for each in sorted(findings, key=lambda finding: finding.well)
    ]
    return table(("looked at", "", "found", "what to do"), rows)
