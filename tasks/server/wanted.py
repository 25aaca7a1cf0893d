"""What an estate wants on a Prefect server. Pure."""

import json
from collections.abc import Iterator, Mapping, Sequence

from tasks.common.errors import Refused
from tasks.common.estate import Estate
from tasks.common.model import near
from tasks.common.schedules import DEPLOYMENT, Schedule
from tasks.common.units import show_duration
from tasks.server.model import FlowSpec, Kind, Resource

MADE = "slipway-apply"
"""Tag of the automations that belong to no deployment."""
AUTOMATION_PREFIX = "slipway, "
"""How the name of each of our automations begins."""
SCHEDULED = "slipway-schedule"
"""Tag of the deployments of schedules, and so of their runs."""
ALARM = "slipway-alarm"
"""The block by which the Prefect server tells the receiver of an alarm."""
_GRACE_S = 300
_COLLISION = {"skip": "CANCEL_NEW", "queue": "ENQUEUE"}
_EVERY_RUN = {"prefect.resource.role": "tag", "prefect.resource.id": "prefect.tag.slipway"}


def wanted(flows: Sequence[FlowSpec], estate: Estate) -> tuple[Resource, ...]:
    """Return everything that is to be on the server.

    Args:
        flows: those that can be deployed.
        estate: says what starts when, and which alarms there are.

    Raises:
        Refused: the estate starts flows that there are not; all are listed.
    """
    _require_known(flows, estate)
    by_name = {flow.name: flow for flow in flows}
    found = [Resource(Kind.POOL, name, {"type": "process"}) for name in sorted({flow.pool for flow in flows})]
    # Without it Prefect sends a filled-in template as plain text.
    headers = {"Content-Type": "application/json"}
    address = f"{estate.receiver.rstrip('/')}/alarms"
    found.append(Resource(Kind.BLOCK, ALARM, {"method": "POST", "url": address, "headers": headers}))
    for flow in flows:
        found.append(_deployment(flow))
        found += [_trigger(flow, each) for each in flow.triggers]
    for name, schedule in estate.schedules.items():
        found.append(_scheduled(by_name[schedule.start], name, schedule))
    return (*found, *_alarms(estate))


def _require_known(flows: Sequence[FlowSpec], estate: Estate) -> None:
    known = [flow.name for flow in flows]
    starts = [(f"schedules.{name}.start", each.start) for name, each in estate.schedules.items()]
    for name, source in estate.webhooks.items():
        starts += [(f"webhooks.{name}.rules.{at}.start", rule.start) for at, rule in enumerate(source.rules)]
    unknown = [f"{place}: {flow!r}{near(flow, known)}" for place, flow in starts if flow not in known]
    if unknown:
        raise Refused(
            f"the estate {estate.estate} starts flows that there are not",
            on="\n".join(unknown),
            state="nothing was changed",
            next_action=f"use one of: {', '.join(sorted(known))}",
        )


def _deployment(flow: FlowSpec) -> Resource:
    return Resource(
        Kind.DEPLOYMENT, f"{flow.name}/{DEPLOYMENT}", _deployed(flow, flow.tags, flow.limit, flow.schedules)
    )


def _scheduled(flow: FlowSpec, name: str, schedule: Schedule) -> Resource:
    when: Mapping[str, object] = (
        {"interval": schedule.every_s}
        if schedule.every_s is not None
        else {"cron": schedule.cron, "timezone": schedule.time_zone}
    )
    limit = {"limit": 1, "collision_strategy": _COLLISION[schedule.overlap], "grace_period_seconds": _GRACE_S}
    parameters = {"request": dict(schedule.parameters)} if schedule.parameters else {}
    schedules = [{"slug": name, **when}] if schedule.enabled else []
    spec = _deployed(flow, (*flow.tags, SCHEDULED), limit, schedules) | {"parameters": parameters}
    return Resource(Kind.DEPLOYMENT, f"{flow.name}/{name}", spec)


def _deployed(
    flow: FlowSpec,
    tags: Sequence[str],
    limit: Mapping[str, object] | None,
    schedules: Sequence[Mapping[str, object]],
) -> dict[str, object]:
    return {
        "description": flow.description,
        "entrypoint": flow.entrypoint,
        "form": flow.form,
        "job_variables": dict(flow.job_variables),
        "limit": dict(limit) if limit is not None else None,
        "parameters": {},
        "pool": flow.pool,
        "schedules": {str(each["slug"]): {key: each[key] for key in each if key != "slug"} for each in schedules},
        "tags": sorted(tags),
    }


def _trigger(flow: FlowSpec, given: Mapping[str, object]) -> Resource:
    """Return an automation that starts the flow's deployment, and belongs to it as 'prefect deploy' has it."""
    own = {key: value for key, value in given.items() if key not in ("name", "description", "parameters")}
    # As they stand in the file: so 'prefect deploy' has the server keep them, which fills them in at the event.
    asked = {"parameters": given["parameters"]} if "parameters" in given else {}
    return Resource(
        Kind.AUTOMATION,
        str(given["name"]),
        {
            "actions": [{"run": f"{flow.name}/{DEPLOYMENT}", **asked}],
            "description": str(given.get("description", "")),
            "tags": [],
            "trigger": _event_trigger(own),
        },
    )


def _alarms(estate: Estate) -> Iterator[Resource]:
    yield _alarm(
        f"{AUTOMATION_PREFIX}tell that a run has died",
        "Tells people of a run that has crashed; 'reconcile' is started by an automation of its own.",
        {"alarm": "crashed", "run": "{{ event.resource.id }}"},
        {"expect": ["prefect.flow-run.Crashed"], "match_related": _EVERY_RUN},
    )
    if estate.schedules:
        yield _alarm(
            f"{AUTOMATION_PREFIX}tell that a scheduled run has failed",
            "Tells people of a run that was started by the clock and has failed.",
            {"alarm": "failed", "run": "{{ event.resource.id }}"},
            {
                "expect": ["prefect.flow-run.Failed"],
                "match_related": {**_EVERY_RUN, "prefect.resource.id": f"prefect.tag.{SCHEDULED}"},
            },
        )
    for name, schedule in estate.schedules.items():
        if schedule.success_within_s is not None and schedule.enabled:
            yield _overdue(name, schedule, schedule.success_within_s)
    for name, plan in estate.backups.items():
        yield _unprotected(estate.estate, name, "backup", "slipway.backup.taken", plan.backup_within_s)
        if plan.verification is not None:
            yield _unprotected(estate.estate, name, "verification", "slipway.backup.verified", plan.verified_within_s)


def _unprotected(estate: str, plan: str, what: str, event: str, within_s: float) -> Resource:
    """Return the alarm that goes out when a plan has no success in time, whatever should have started it."""
    return _alarm(
        f"{AUTOMATION_PREFIX}no {what} of {plan} for {show_duration(within_s)}",
        f"Tells people when no {what} of the plan {plan} succeeds in time, also where nothing is scheduled.",
        {"alarm": f"no-{what}", "plan": plan},
        {
            "posture": "Proactive",
            "expect": [event],
            "match": {"prefect.resource.id": f"slipway.backup.{estate}.{plan}"},
            "within": within_s,
        },
    )


def _overdue(name: str, schedule: Schedule, within_s: float) -> Resource:
    return _alarm(
        f"{AUTOMATION_PREFIX}{name} has not succeeded for {show_duration(within_s)}",
        f"Tells people when no run of {name} ({schedule.start}) succeeds in time, also when no worker lives.",
        {"alarm": "overdue", "schedule": name},
        {
            "posture": "Proactive",
            "expect": ["prefect.flow-run.Completed"],
            "match_related": {"prefect.resource.role": "deployment", "prefect.resource.name": name},
            "within": within_s,
        },
    )


def _alarm(name: str, description: str, payload: Mapping[str, str], trigger: Mapping[str, object]) -> Resource:
    return Resource(
        Kind.AUTOMATION,
        name,
        {
            "actions": [{"call": ALARM, "payload": json.dumps(payload)}],
            "description": description,
            "tags": [MADE],
            "trigger": _event_trigger(trigger),
        },
    )


def _event_trigger(given: Mapping[str, object]) -> dict[str, object]:
    """Return the trigger with everything said that Prefect would take for granted, its sets in order."""
    whole: dict[str, object] = {
        "after": [],
        "expect": [],
        "for_each": [],
        "match": {},
        "match_related": {},
        "posture": "Reactive",
        "threshold": 1,
        "type": "event",
        "within": 0.0,
    }
    whole |= given
    for key in ("after", "expect", "for_each"):
        found = whole[key]
        whole[key] = sorted(found) if isinstance(found, list) else found
    return whole
