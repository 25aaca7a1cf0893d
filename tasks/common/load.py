"""Reading the two files that people write: everything that is wrong is told at once, with its line, before any use."""

import itertools
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import PurePath
from types import MappingProxyType
from typing import Any

from pydantic import BaseModel

from tasks.common.document import Document, Mistake, read
from tasks.common.drills import Drills, Experiment, drill_problems
from tasks.common.errors import Refused
from tasks.common.estate import Environment, Estate, NotificationChannel, channel_problems, order_problems
from tasks.common.expectations import Suite, suites_problems
from tasks.common.failovers import FailoverPlan, RegionSpec, failover_problems
from tasks.common.gates import Gate, name_problems
from tasks.common.masking import Masking
from tasks.common.mistakes import M, mistakes, problem_mistakes, refused, show, validate
from tasks.common.model import Check, DriverSpec, Metric, Place, Problem, near
from tasks.common.preflight import early_problems
from tasks.common.schedules import schedule_problems
from tasks.common.service import (
    CHECK_PLACES,
    BlueGreen,
    Canary,
    FindingKey,
    Rolling,
    Scan,
    ServiceFile,
    accepted_problems,
    approval_problems,
    check_problems,
    scan_problems,
    shares,
    stage_problems,
    step_problems,
)
from tasks.common.units import Expected, parse_percent
from tasks.common.webhooks import Fields, Forge, WebhookRule, event_problems, source_problems

SettingsModels = Callable[[str, str], type[BaseModel] | None]
"""Port and driver's name to the model of its settings; None where there is no such driver."""

_NONE_KNOWN: Mapping[str, Collection[str]] = MappingProxyType({})
_STRATEGIES: dict[object, type[BlueGreen | Canary | Rolling]] = {
    "blue-green": BlueGreen,
    "canary": Canary,
    "rolling": Rolling,
}
_SUPPLIED = {"source": "repository"}
"""Settings that are not in a driver's own part of the file: a source's repository stands with each service."""
_PORTS = {"reports": "forge", "engine": "backup", "server": "target", "connection": "migrations"}
"""Ports of drivers whose keys have names of their own."""


def load_service(text: str, origin: str) -> ServiceFile:
    """Return the service file.

    Args:
        text: its content.
        origin: what the file is called in messages: its path, perhaps with the commit that it is from.

    Raises:
        Refused: it has mistakes; all are listed, each with its line, what was found and what is expected.
    """
    document = read(text)
    file, found = _validated(ServiceFile, document)
    if file is None and not document.broken:
        found += problem_mistakes(_service_problems(document), document)
    return _sound(file, found, origin, "docs/reference/service-file.md")


def load_estate(
    text: str, origin: str, settings_models: SettingsModels, known: Mapping[str, Collection[str]] = _NONE_KNOWN
) -> Estate:
    """Return the estate, the settings of its drivers checked by the drivers' own models.

    Args:
        text: the file's content.
        origin: what the file is called in messages: its path.
        settings_models: finds the model of a driver's settings.
        known: the drivers of each port, for the message about an unknown one.

    Raises:
        Refused: it has mistakes; all are listed, each with its line, what was found and what is expected.
    """
    document = read(text)
    file, found = _validated(Estate, document)
    if not document.broken:
        if file is None:
            found += problem_mistakes(order_problems(_predecessors(document)), document)
            found += problem_mistakes(_channel_problems(document), document)
            found += problem_mistakes(_schedule_problems(document), document)
            found += problem_mistakes(_check_problems(document), document)
            found += problem_mistakes(_webhook_problems(document), document)
            found += problem_mistakes(_drill_problems(document), document)
            found += problem_mistakes(_failover_problems(document), document)
        for place in _driver_places(document):
            found += _driver_mistakes(document, place, settings_models, known)
    return _sound(file, found, origin, "docs/reference/estate-file.md")


def load_suites(files: Mapping[str, str]) -> Mapping[str, Suite]:
    """Return the suites of a folder, by the files that they are from.

    Args:
        files: each file's content by its path.

    Raises:
        Refused: there is no file, or some have mistakes; those of all files are listed.
    """
    wrong, sound = [], {}
    for origin, text in files.items():
        try:
            sound[origin] = _sound(*_validated(Suite, read(text)), origin, "docs/reference/expectations-file.md")
        except Refused as refused:
            wrong.append(str(refused.facts["mistakes"]))
    wrong += suites_problems(sound)
    if wrong or not files:
        raise Refused(
            "the suites of expectations have mistakes" if files else "there is no suite of expectations",
            on=", ".join(sorted({str(PurePath(origin).parent) for origin in files})) or "the folder of suites",
            next_action="correct what is listed (docs/reference/expectations-file.md explains every key)"
            if files
            else "write one, or derive one: 'slipway expectations suggest'",
            facts={"mistakes": "\n".join(wrong)} if wrong else None,
        )
    return sound


def load_masking(text: str, origin: str) -> Masking:
    """Return the rules of an anonymised copy.

    Args:
        text: the file's content.
        origin: what the file is called in messages: its path.

    Raises:
        Refused: it has mistakes; all are listed, each with its line, what was found and what is expected.
    """
    return _sound(*_validated(Masking, read(text)), origin, "docs/reference/masking-file.md")


def load_experiment(
    text: str, origin: str, settings_models: SettingsModels, known: Mapping[str, Collection[str]] = _NONE_KNOWN
) -> Experiment:
    """Return the experiment of a drill, the settings of its faults checked by their drivers' own models.

    Args:
        text: the file's content.
        origin: what the file is called in messages: its path.
        settings_models: finds the model of a driver's settings.
        known: the drivers of each port, for the message about an unknown one.

    Raises:
        Refused: it has mistakes; all are listed, each with its line, what was found and what is expected.
    """
    document = read(text)
    file, found = _validated(Experiment, document)
    for place in () if document.broken else _matches(document.data, ("fault", "actions", "*")):
        found += _driver_mistakes(document, place, settings_models, known, "fault")
    return _sound(file, found, origin, "docs/reference/drill-file.md")


def _validated(model: type[M], document: Document) -> tuple[M | None, list[Mistake]]:
    found = list(document.mistakes)
    if document.broken:
        return None, found
    result = validate(model, document.data)
    return (None, found + mistakes(model, result, document)) if isinstance(result, list) else (result, found)


def _sound(file: M | None, found: list[Mistake], origin: str, reference: str) -> M:
    """Return the file if nothing was found."""
    if file is not None and not found:
        return file
    name = PurePath(origin).name or origin
    raise refused(f"{name} has", [(name, each) for each in found], origin, reference)


def _piece(document: Document, place: Place, model: type[M]) -> M | None:
    """Return one part of a file that has mistakes elsewhere; None if this part has mistakes, too."""
    result = validate(model, document.at(place))
    return None if isinstance(result, list) else result


def _service_problems(document: Document) -> Iterator[Problem]:
    """Find what is wrong between the sound parts of a service file that has mistakes in other parts."""
    metrics = document.at(("metrics",))
    if isinstance(metrics, dict):
        judged = {name: _piece(document, ("metrics", name), Metric) for name in metrics}
        places = itertools.chain.from_iterable(_matches(document.data, pattern) for pattern in CHECK_PLACES)
        checks = [(place, _piece(document, place, Check)) for place in places]
        yield from check_problems(judged, [(place, check) for place, check in checks if check is not None])
    for strategy, key, judge in (("canary", "stages", stage_problems), ("blue-green", "steps", step_problems)):
        if document.at(("promotion", "strategy")) == strategy:
            problems = judge(_weights(document, ("promotion", key)))
            yield from (replace(each, place=("promotion", *each.place)) for each in problems)
    known = _shares(document)
    if known is not None:
        asked = {place: _percent(document.at(place)) for place in _matches(document.data, ("approval", "before", "*"))}
        yield from approval_problems([share if share is not None else "" for share in asked.values()], known)
    scans = [(place, _piece(document, place, Scan)) for place in _matches(document.data, ("scan", "*"))]
    yield from scan_problems([(place, scan) for place, scan in scans if scan is not None])
    yield from name_problems(_names(document, ("gates", "*")))
    tools = {str(document.at((*place, "tool"))) for place, _ in scans}
    yield from accepted_problems(tools, _accepted(document))


def _check_problems(document: Document) -> Iterator[Problem]:
    """Find what is wrong with the gates and preflight checks of an estate that has mistakes in other parts."""
    for environment in _matches(document.data, ("environments", "*")):
        yield from name_problems(_names(document, (*environment, "gates", "*")))
        checks = (*environment, "preflight", "checks", "*")
        yield from name_problems(_names(document, checks))
        pieces = [(place, _piece(document, place, Gate)) for place in _matches(document.data, checks)]
        yield from early_problems([(place, check) for place, check in pieces if check is not None])


def _webhook_problems(document: Document) -> Iterator[Problem]:
    """Find what does not fit together in the sources of an estate that has mistakes in other parts."""
    for source in _matches(document.data, ("webhooks", "*")):
        forge, data = document.at((*source, "forge")), document.at(source)
        there = "fields" in data if isinstance(data, dict) else False
        fields = _piece(document, (*source, "fields"), Fields) if there else Fields()
        if forge not in list(Forge):
            continue
        places = list(_matches(document.data, (*source, "rules", "*")))
        for place in places:
            event = document.at((*place, "event"))
            problems = event_problems(Forge(forge), event) if isinstance(event, str) and event else []
            yield from (replace(each, place=(*place, *each.place)) for each in problems)
        rules = [(place[len(source) :], _piece(document, place, WebhookRule)) for place in places]
        sound = [(place, rule) for place, rule in rules if rule is not None]
        problems = source_problems(Forge(forge), list(data), fields, sound) if fields is not None else []
        yield from (replace(each, place=(*source, *each.place)) for each in problems)


def _failover_problems(document: Document) -> list[Problem]:
    """Find what does not fit between the sound failovers and regions of an estate that has mistakes elsewhere."""
    plans, regions = (
        {str(place[-1]): _piece(document, place, model) for place in _matches(document.data, (key, "*"))}
        for key, model in (("failovers", FailoverPlan), ("regions", RegionSpec))
    )
    sound = {name: plan for name, plan in plans.items() if isinstance(plan, FailoverPlan)}
    # A region, service or environment with mistakes is known by its name.
    known = {name: region for name, region in regions.items() if isinstance(region, RegionSpec)}
    wrong = {name for name in regions if name not in known}
    services, environments = (
        [str(place[-1]) for place in _matches(document.data, (key, "*"))] for key in ("services", "environments")
    )
    found = failover_problems(sound, known, services, environments)
    return [each for each in found if each.place[-1] not in wrong]


def _names(document: Document, pattern: Place) -> list[tuple[Place, str]]:
    named = [(place, document.at((*place, "name"))) for place in _matches(document.data, pattern)]
    return [(place, name) for place, name in named if isinstance(name, str)]


def _accepted(document: Document) -> Iterator[tuple[Place, FindingKey]]:
    for place in _matches(document.data, ("accepted_findings", "*")):
        tool, rule, path = (document.at((*place, key)) for key in ("tool", "rule", "path"))
        if isinstance(tool, str) and isinstance(rule, str):
            yield place, (tool, rule, path if isinstance(path, str) else None)


def _shares(document: Document) -> Sequence[float] | None:
    """Return the shares of the traffic that a promotion gives; None where its mistakes leave that open."""
    strategy = str(document.at(("promotion", "strategy")))
    model = _STRATEGIES.get(strategy)
    promotion = _piece(document, ("promotion",), model) if model is not None else None
    if promotion is not None:
        return shares(promotion)
    return _weights(document, ("promotion", "stages")) or None if strategy == "canary" else None


def _percent(value: object) -> float | None:
    try:
        return parse_percent(value)
    except Expected:
        return None


def _weights(document: Document, place: Place) -> list[float]:
    """Return the weights of a list of stages; none if one of them is wrong or missing."""
    found = [_percent(document.at((*item, "weight"))) for item in _matches(document.data, (*place, "*"))]
    return [each for each in found if each is not None] if None not in found else []


def _matches(data: Any, pattern: Place) -> Iterator[Place]:
    if not pattern:
        yield ()
        return
    step, rest = pattern[0], pattern[1:]
    if step == "*" and isinstance(data, list):
        for position, item in enumerate(data):
            yield from ((position, *place) for place in _matches(item, rest))
    elif isinstance(data, dict):
        for name in data if step == "*" else [step]:
            if name in data:
                yield from ((name, *place) for place in _matches(data[name], rest))


def _predecessors(document: Document) -> dict[str, str | None]:
    before = {}
    for place in _matches(document.data, ("environments", "*")):
        earlier = document.at((*place, "promotes_from"))
        before[str(place[-1])] = earlier if isinstance(earlier, str) else None
    return before


def _channel_problems(document: Document) -> list[Problem]:
    channels = []
    for place in _matches(document.data, ("notifications", "*")):
        name, only = document.at((*place, "name")), document.at((*place, "only"))
        names = [each if isinstance(each, str) else "" for each in only] if isinstance(only, list) else []
        channels.append((name if isinstance(name, str) else "", names))
    environments = document.at(("environments",))
    known = [name for name in environments if isinstance(name, str)] if isinstance(environments, dict) else []
    return channel_problems(channels, known) if known else []


def _schedule_problems(document: Document) -> list[Problem]:
    wanted: dict[str, list[str]] = {}
    for place in _matches(document.data, ("schedules", "*")):
        names = document.at((*place, "only_in"))
        wanted[str(place[-1])] = [str(name) for name in names] if isinstance(names, list) else []
    return schedule_problems(wanted, [str(place[-1]) for place in _matches(document.data, ("windows", "*"))])


def _drill_problems(document: Document) -> list[Problem]:
    drills = _piece(document, ("drills",), Drills)
    keys = ("backups", "windows", "services", "environments")
    plans, windows, services, environments = (
        [str(place[-1]) for place in _matches(document.data, (k, "*"))] for k in keys
    )
    return drill_problems(drills, plans, windows, services, environments)


def _driver_places(document: Document) -> Iterator[Place]:
    """Find every place that names a driver; the last key of each is the driver's port, or it is a channel's number."""
    yield from _matches(document.data, ("notifications", "*"))
    yield from _matches(document.data, ("webhooks", "*", "reports"))
    yield from _matches(document.data, ("backups", "*", "engine"))
    yield from _matches(document.data, ("backups", "*", "verification", "database"))
    yield from _matches(document.data, ("backups", "*", "verification", "scratch"))
    yield from _matches(document.data, ("backups", "*", "targets", "*", "server"))
    yield from _matches(document.data, ("environments", "*", "databases", "*", "connection"))
    yield from _matches(document.data, ("failovers", "*", "sites", "*", "cluster"))
    yield from _matches(document.data, ("failovers", "*", "sites", "*", "door"))
    yield from _matches(document.data, ("failovers", "*", "dns"))
    yield from _matches(document.data, ("failovers", "*", "visitor"))
    for name in _driver_fields(Estate):
        yield (name,)
    for place in _matches(document.data, ("environments", "*")):
        yield from ((*place, name) for name in _driver_fields(Environment))


def _driver_fields(model: type[BaseModel]) -> list[str]:
    return [name for name, field in model.model_fields.items() if field.annotation is DriverSpec]


def _driver_mistakes(
    document: Document,
    place: Place,
    settings_models: SettingsModels,
    known: Mapping[str, Collection[str]],
    port: str = "",
) -> list[Mistake]:
    data, channel = document.at(place), isinstance(place[-1], int) and not port
    port = port or ("notifier" if channel else _PORTS.get(str(place[-1]), str(place[-1])))
    spec = NotificationChannel if channel else DriverSpec
    if not isinstance(data, dict) or not isinstance(data.get("driver"), str):
        return []  # not there, or found wrong already
    model = settings_models(port, data["driver"])
    if model is None:
        names = sorted(known.get(port, ()))
        expected = f"one of: {', '.join(names)}" if names else f"a driver of the port {port}"
        found = show(data["driver"]) + near(data["driver"], names)
        return problem_mistakes([Problem(("driver",), found, expected)], document, place)
    settings = {name: value for name, value in data.items() if name not in spec.model_fields}
    supplied = _SUPPLIED.get(port)
    if supplied is not None and supplied in settings:
        problem = Problem((supplied,), "a key that does not belong here", f"it under services.NAME.{supplied}")
        return problem_mistakes([problem], document, place)
    result = validate(model, settings | ({supplied: supplied} if supplied else {}))
    return mistakes(model, result, document, place) if isinstance(result, list) else []
