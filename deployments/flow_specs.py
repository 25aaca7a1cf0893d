"""The flows that can be deployed, as prefect.yaml and their own code say it."""

import json
from collections.abc import Mapping
from importlib import import_module
from typing import Any, get_type_hints

import yaml
from prefect import Flow
from prefect.utilities.callables import parameter_schema
from pydantic import TypeAdapter, ValidationError

from deployments.lab.lab import ROOT
from tasks.common.errors import Refused
from tasks.common.estate import Estate
from tasks.common.schedules import DEPLOYMENT
from tasks.common.webhooks import fill
from tasks.server.model import FlowSpec

_FILLED = {
    "actor": "ada",
    "base": "main",
    "branch": "main",
    "commit": "0" * 40,
    "pull_ref": "refs/pull/1/head",
    "pull_request": "1",
    "ref": "main",
    "repository": "acme/campus",
    "tag": "v1",
}
"""What an event may say: forms may want more of a text than to be one."""


def flow_specs() -> tuple[FlowSpec, ...]:
    """Return every flow of prefect.yaml, with the form that its code gives now."""
    return tuple(_spec(each) for each in _deployments())


def require_parameters(estate: Estate) -> None:
    """Every schedule and every rule of the estate asks its flow for something that the flow takes.

    Raises:
        Refused: some do not; all are listed.
    """
    forms = {each["flow_name"]: _form(_flow(each["entrypoint"])) for each in _deployments()}
    asked = [(f"schedules.{name}", each.start, each.parameters) for name, each in estate.schedules.items()]
    for name, source in estate.webhooks.items():
        for at, rule in enumerate(source.rules):
            parameters = {key: fill(text, _FILLED) for key, text in rule.parameters.items()}
            asked.append((f"webhooks.{name}.rules.{at}", rule.start, parameters))
    found = [
        f"{place}.parameters{mistake}"
        for place, flow, parameters in asked
        if flow in forms
        for mistake in _mistakes(forms[flow], parameters)
    ]
    if found:
        raise Refused(
            f"the estate {estate.estate} asks flows for what they do not take",
            on="\n".join(found),
            state="nothing was changed",
            next_action="the form of the flow in the Prefect UI, under Deployments, shows what it takes",
        )


def _deployments() -> list[dict[str, Any]]:
    file = yaml.safe_load((ROOT / "prefect.yaml").read_text(encoding="utf-8"))
    return [each for each in file["deployments"] if each["name"] == DEPLOYMENT]


def _spec(given: dict[str, Any]) -> FlowSpec:
    return FlowSpec(
        name=given["flow_name"],
        description=given["description"],
        entrypoint=given["entrypoint"],
        tags=tuple(given["tags"]),
        pool=given["work_pool"]["name"],
        # As JSON would bring it back, so that it compares.
        form=json.loads(parameter_schema(_flow(given["entrypoint"])).model_dump_json(exclude_unset=True)),
        job_variables=given["work_pool"].get("job_variables", {}),
        limit=given.get("concurrency_limit"),
        schedules=tuple(given.get("schedules", ())),
        triggers=tuple(given.get("triggers", ())),
    )


def _flow(entrypoint: str) -> Flow[..., Any]:
    module, _, name = entrypoint.rpartition(".")
    found: Flow[..., Any] = getattr(import_module(module), name)
    return found


def _form(flow: Flow[..., Any]) -> TypeAdapter[Any]:
    return TypeAdapter(get_type_hints(flow.fn)["request"])


def _mistakes(form: TypeAdapter[Any], parameters: Mapping[str, str]) -> list[str]:
    # Without any, the flow is started as its own deployment starts it.
    try:
        form.validate_python(dict(parameters) or None)
    except ValidationError as error:
        # A form that may be left out names itself on the way to what is wrong.
        return [f".{each['loc'][-1]}: {each['msg']}" if each["loc"] else f": {each['msg']}" for each in error.errors()]
    return []
