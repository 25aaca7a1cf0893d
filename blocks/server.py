"""A Prefect server as `Server` needs it: what Slipway has made there, without ids, and changes to it."""

import json
from collections.abc import Callable, Mapping
from datetime import timedelta
from typing import Any
from uuid import UUID

from prefect.blocks.core import Block
from prefect.blocks.webhook import Webhook
from prefect.client.orchestration import SyncPrefectClient
from prefect.client.schemas.actions import DeploymentScheduleCreate, DeploymentUpdate, WorkPoolCreate
from prefect.client.schemas.filters import DeploymentFilter, DeploymentFilterTags
from prefect.client.schemas.objects import ConcurrencyOptions, DeploymentSchedule
from prefect.client.schemas.responses import DeploymentResponse
from prefect.client.schemas.schedules import CronSchedule, IntervalSchedule
from prefect.events.schemas.automations import Automation, AutomationCore
from prefect.exceptions import ObjectAlreadyExists, ObjectNotFound
from prefect.types import SecretDict

from blocks.orchestrator import asking
from tasks.common.errors import Refused
from tasks.common.schedules import DEPLOYMENT
from tasks.server.model import Kind, Resource
from tasks.server.wanted import ALARM, AUTOMATION_PREFIX, MADE, SCHEDULED

_PAGE = 200
_OWNER = "prefect.deployment."
_TAG = "slipway"


class PrefectServer:
    """Implements `Server` by the API of the server that PREFECT_API_URL names."""

    def observe(self) -> tuple[Resource, ...]:
        """Return what Slipway has made: its block, its pools, deployments by tag, automations by tag or owner."""
        with asking() as client:
            deployments = _deployments(client)
            names = {each.id: name for name, each in deployments.items()}
            pools = {each.work_pool_name for each in deployments.values() if each.work_pool_name}
            found = [*_pools(client, {*pools, _TAG}), *_blocks(client)]
            found += [_deployment(name, each) for name, each in deployments.items()]
            return (*found, *(_automation(each, names) for each in _all_automations(client) if _is_ours(each, names)))

    def make(self, resource: Resource) -> None:
        """The resource is there."""
        with asking() as client:
            _MAKERS[resource.kind](client, resource)

    def change(self, resource: Resource) -> None:
        """The resource is as it is said."""
        with asking() as client:
            _CHANGERS[resource.kind](client, resource)

    def remove(self, resource: Resource) -> None:
        """The resource is not there any more."""
        with asking() as client:
            try:
                _REMOVERS[resource.kind](client, resource)
            except ObjectNotFound:
                return


def _deployments(client: SyncPrefectClient) -> dict[str, DeploymentResponse]:
    """Return every deployment of ours by its name with its flow's."""
    ours = DeploymentFilter(tags=DeploymentFilterTags(all_=[_TAG]))
    flows, found = {}, {}
    offset = 0
    while page := client.read_deployments(deployment_filter=ours, limit=_PAGE, offset=offset):
        for each in page:
            if each.name != DEPLOYMENT and SCHEDULED not in each.tags:
                continue
            if each.flow_id not in flows:
                flows[each.flow_id] = client.read_flow(each.flow_id).name
            found[f"{flows[each.flow_id]}/{each.name}"] = each
        offset += len(page)
    return found


def _deployment(name: str, found: DeploymentResponse) -> Resource:
    limit = found.global_concurrency_limit
    options = found.concurrency_options
    slugged = [each for each in found.schedules if each.slug]
    spec = {
        "description": found.description,
        "entrypoint": found.entrypoint,
        "form": found.parameter_openapi_schema,
        "job_variables": found.job_variables,
        "limit": None if limit is None else {"limit": limit.limit, **(_options(options) if options else {})},
        "parameters": found.parameters,
        "pool": found.work_pool_name,
        "schedules": {str(each.slug): _schedule(each) for each in slugged},
        "tags": sorted(found.tags),
    }
    return Resource(Kind.DEPLOYMENT, name, spec, found.paused or not all(each.active for each in slugged))


def _options(options: ConcurrencyOptions) -> dict[str, object]:
    strategy = options.collision_strategy
    return {
        "collision_strategy": getattr(strategy, "value", strategy),
        "grace_period_seconds": options.grace_period_seconds,
    }


def _schedule(found: DeploymentSchedule) -> dict[str, object]:
    when = found.schedule
    if isinstance(when, IntervalSchedule):
        return {"interval": when.interval.total_seconds()}
    if isinstance(when, CronSchedule):
        return {"cron": when.cron, "timezone": when.timezone}
    return when.model_dump(mode="json")


def _pools(client: SyncPrefectClient, names: set[str]) -> list[Resource]:
    found = [each for each in client.read_work_pools() if each.name in names]
    return [Resource(Kind.POOL, each.name, {"type": each.type}, each.is_paused) for each in found]


def _blocks(client: SyncPrefectClient) -> list[Resource]:
    try:
        found = client.read_block_document_by_name(ALARM, Webhook.get_block_type_slug(), include_secrets=True)
    except ObjectNotFound:
        return []
    return [Resource(Kind.BLOCK, ALARM, {key: found.data.get(key) for key in ("method", "url", "headers")})]


def _all_automations(client: SyncPrefectClient) -> list[Automation]:
    found: list[Automation] = []
    while page := client.read_automations(limit=_PAGE, offset=len(found)):
        found += page
    return found


def _is_ours(found: Automation, names: Mapping[UUID, str]) -> bool:
    """Return whether Slipway, or 'prefect deploy' for it, has made the automation; who owns one is not told (3.8)."""
    starts = {getattr(action, "deployment_id", None) for action in found.actions}
    return found.name.startswith(AUTOMATION_PREFIX) and (MADE in found.tags or bool(starts & names.keys()))


def _automation(found: Automation, names: Mapping[UUID, str]) -> Resource:
    plain = json.loads(found.model_dump_json())
    trigger = plain["trigger"]
    for key in ("after", "expect", "for_each"):
        trigger[key] = sorted(trigger.get(key) or [])
    trigger.pop("id", None)
    spec = {
        "actions": [_action(each, {str(id_): name for id_, name in names.items()}) for each in plain["actions"]],
        "description": plain["description"],
        "tags": sorted(plain["tags"]),
        "trigger": trigger,
    }
    return Resource(Kind.AUTOMATION, found.name, spec, not found.enabled)


def _action(found: Mapping[str, Any], by_id: Mapping[str, str]) -> dict[str, object]:
    if found["type"] == "run-deployment" and not found["job_variables"]:
        asked = {"parameters": found["parameters"]} if found["parameters"] else {}
        return {"run": by_id.get(found["deployment_id"], "another deployment"), **asked}
    if found["type"] == "call-webhook":
        return {"call": ALARM, "payload": found["payload"]}
    return dict(found)


def _make_pool(client: SyncPrefectClient, resource: Resource) -> None:
    try:
        client.create_work_pool(WorkPoolCreate(name=resource.name, type=str(resource.spec["type"])))
    except ObjectAlreadyExists:
        return


def _write_block(client: SyncPrefectClient, resource: Resource) -> None:
    del client
    spec: Mapping[str, Any] = resource.spec
    block: Block = Webhook(method=spec["method"], url=spec["url"], headers=SecretDict(spec["headers"]))
    block.save(resource.name, overwrite=True, _sync=True)  # type: ignore[call-arg]


def _make_deployment(client: SyncPrefectClient, resource: Resource) -> None:
    flow, _, name = resource.name.partition("/")
    spec: Mapping[str, Any] = resource.spec
    if _is_there(client, resource.name):
        # Somebody has taken its tag away. To make it anew would take the schedules that were made by hand.
        _change_deployment(client, resource)
        return
    client.create_deployment(
        flow_id=client.create_flow_from_name(flow),
        name=name,
        schedules=[_new_schedule(slug, each) for slug, each in spec["schedules"].items()],
        pull_steps=[],
        enforce_parameter_schema=True,
        **_fields(spec),
    )


def _is_there(client: SyncPrefectClient, name: str) -> bool:
    try:
        client.read_deployment_by_name(name)
    except ObjectNotFound:
        return False
    return True


def _change_deployment(client: SyncPrefectClient, resource: Resource) -> None:
    spec: Mapping[str, Any] = resource.spec
    found = client.read_deployment_by_name(resource.name)
    # Nothing of its schedules here: that would take those that somebody has made by hand.
    client.update_deployment(found.id, DeploymentUpdate(**_fields(spec)))
    wanted: Mapping[str, Any] = spec["schedules"]
    for each in client.read_deployment_schedules(found.id):
        if each.slug and each.slug not in wanted:
            client.delete_deployment_schedule(found.id, each.id)
        elif each.slug and _schedule(each) != wanted[each.slug]:
            client.update_deployment_schedule(found.id, each.id, schedule=_when(wanted[each.slug]))
    there = {each.slug for each in found.schedules}
    new = [_new_schedule(slug, each) for slug, each in wanted.items() if slug not in there]
    if new:
        client.create_deployment_schedules(found.id, new)


def _fields(spec: Mapping[str, Any]) -> dict[str, Any]:
    limit = spec["limit"]
    options = {key: limit[key] for key in limit if key != "limit"} if limit else None
    return {
        "description": spec["description"],
        "entrypoint": spec["entrypoint"],
        "parameter_openapi_schema": spec["form"],
        "job_variables": spec["job_variables"],
        "concurrency_limit": limit["limit"] if limit else None,
        "concurrency_options": ConcurrencyOptions(**options) if options else None,
        "parameters": spec["parameters"],
        "work_pool_name": spec["pool"],
        "tags": spec["tags"],
    }


def _new_schedule(slug: str, spec: Mapping[str, Any]) -> DeploymentScheduleCreate:
    return DeploymentScheduleCreate(schedule=_when(spec), slug=slug)


def _when(spec: Mapping[str, Any]) -> CronSchedule | IntervalSchedule:
    if "cron" in spec:
        return CronSchedule(cron=spec["cron"], timezone=spec.get("timezone"))
    return IntervalSchedule(interval=timedelta(seconds=spec["interval"]))


def _make_automation(client: SyncPrefectClient, resource: Resource) -> None:
    client.create_automation(_core(client, resource, enabled=True))


def _change_automation(client: SyncPrefectClient, resource: Resource) -> None:
    """An owner cannot be given to an automation that is there: another one takes its place, and works before."""
    old = _automations(client, resource.name)
    client.create_automation(_core(client, resource, enabled=all(each.enabled for each in old)))
    for each in old:
        client.delete_automation(each.id)


def _core(client: SyncPrefectClient, resource: Resource, *, enabled: bool) -> AutomationCore:
    spec: Mapping[str, Any] = resource.spec
    actions = [_new_action(client, each) for each in spec["actions"]]
    # Owned by what it starts, it is replaced by 'prefect deploy', and goes with its deployment.
    starts = [each["deployment_id"] for each in actions if "deployment_id" in each]
    return AutomationCore.model_validate(
        {
            "name": resource.name,
            "description": spec["description"],
            "enabled": enabled,
            "tags": spec["tags"],
            "trigger": spec["trigger"],
            "actions": actions,
            "owner_resource": f"{_OWNER}{starts[0]}" if starts else None,
        }
    )


def _new_action(client: SyncPrefectClient, spec: Mapping[str, Any]) -> dict[str, Any]:
    if "run" in spec:
        deployment = client.read_deployment_by_name(spec["run"])
        asked = {"parameters": spec["parameters"]} if "parameters" in spec else {}
        return {"type": "run-deployment", "source": "selected", "deployment_id": deployment.id, **asked}
    block = client.read_block_document_by_name(spec["call"], Webhook.get_block_type_slug())
    return {"type": "call-webhook", "block_document_id": block.id, "payload": spec["payload"]}


def _remove_automation(client: SyncPrefectClient, resource: Resource) -> None:
    for each in _automations(client, resource.name):
        client.delete_automation(each.id)


def _automations(client: SyncPrefectClient, name: str) -> list[Automation]:
    """Return those of ours that have the name: somebody else's may have it, too."""
    names = {each.id: name for name, each in _deployments(client).items()}
    return [each for each in client.read_automations_by_name(name) if _is_ours(each, names)]


def _remove_block(client: SyncPrefectClient, resource: Resource) -> None:
    found = client.read_block_document_by_name(resource.name, Webhook.get_block_type_slug())
    client.delete_block_document(found.id)


def _refuse_pool(client: SyncPrefectClient, resource: Resource) -> None:
    found = client.read_work_pool(resource.name).type
    raise Refused(
        f"the work pool {resource.name} is of the type {found}, and a pool keeps its type",
        on=str(resource),
        next_action="delete it on the server when nothing runs on it, then run the same command again",
    )


_Act = Callable[[SyncPrefectClient, Resource], None]
_MAKERS: Mapping[Kind, _Act] = {
    Kind.BLOCK: _write_block,
    Kind.POOL: _make_pool,
    Kind.DEPLOYMENT: _make_deployment,
    Kind.AUTOMATION: _make_automation,
}
_CHANGERS: Mapping[Kind, _Act] = {
    **_MAKERS,
    Kind.POOL: _refuse_pool,
    Kind.DEPLOYMENT: _change_deployment,
    Kind.AUTOMATION: _change_automation,
}
_REMOVERS: Mapping[Kind, _Act] = {
    Kind.BLOCK: _remove_block,
    Kind.DEPLOYMENT: lambda client, resource: client.delete_deployment(
        client.read_deployment_by_name(resource.name).id
    ),
    Kind.AUTOMATION: _remove_automation,
}
