"""Our own events, as a Prefect server has them."""

from collections.abc import Mapping
from typing import Any

import httpx

from tests.support.processes import wait_until

Headers = Mapping[str, str] | None
"""What a server that asks for an auth string is shown."""


def events_of(api: str, run: str, *, headers: Headers = None) -> list[dict[str, Any]]:
    """Return our events about a run, or about none for '', as the Prefect server has them, oldest first."""
    wanted = {"filter": {"event": {"prefix": ["slipway."]}, "order": "ASC"}, "limit": 50}
    answer = httpx.post(f"{api}/events/filter", json=wanted, headers=headers, timeout=30)
    answer.raise_for_status()
    page = answer.json()
    found = list(page["events"])
    while page["next_page"]:
        page = httpx.get(page["next_page"], headers=headers, timeout=30).raise_for_status().json()
        found += page["events"]
    return [each for each in found if each["payload"]["run"] == run]


def await_events(api: str, run: str, many: int = 1, *, headers: Headers = None) -> list[dict[str, Any]]:
    """Wait until there are so many events about a run, and return them."""
    wait_until(
        lambda: len(events_of(api, run, headers=headers)) >= many, what=f"{many} events about run {run}", every_s=0.2
    )
    return events_of(api, run, headers=headers)


def names_of(api: str, run: str, many: int = 1, *, headers: Headers = None) -> list[str]:
    """Wait until there are so many events about a run, and return their names."""
    return [each["event"] for each in await_events(api, run, many, headers=headers)]


def related_to(event: dict[str, Any], role: str) -> list[str]:
    """Return the ids of the resources with a role that the event is related to."""
    return [each["prefect.resource.id"] for each in event["related"] if each["prefect.resource.role"] == role]
