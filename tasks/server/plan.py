"""What must be done on a Prefect server so that it is as it is wanted. Pure."""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence

from tasks.server.model import ORDER, Change, Kind, Plan, Resource, Verb

REMOVED = (Kind.BLOCK, Kind.DEPLOYMENT, Kind.AUTOMATION)
"""A work pool stays: others may use it, and what waits in it would be lost."""
_SHOWN = 60


def plan(wanted: Sequence[Resource], found: Sequence[Resource]) -> Plan:
    """Return the changes from what was found to what is wanted, in an order in which nothing is missed meanwhile.

    What is stopped stays stopped: a person has pulled that brake, and only a person lets it go.
    """
    there = {(each.kind, each.name): each for each in found}
    times = Counter((each.kind, each.name) for each in found)
    named = {(each.kind, each.name) for each in wanted}
    changes = []
    for resource in sorted(wanted, key=_place):
        now = there.get((resource.kind, resource.name))
        if now is None:
            changes.append(Change(Verb.MAKE, resource))
            continue
        different = list(_unlike((), resource.spec, now.spec))
        if (count := times[resource.kind, resource.name]) > 1:
            different.append(f"it is there {count} times")
        if different:
            changes.append(Change(Verb.CHANGE, resource, tuple(different)))
    surplus = {(each.kind, each.name): each for each in found if (each.kind, each.name) not in named}
    changes += [
        Change(Verb.REMOVE, each) for each in sorted(surplus.values(), key=_place, reverse=True) if each.kind in REMOVED
    ]
    stopped = [each for each in found if each.stopped and (each.kind, each.name) in named]
    return Plan(tuple(changes), tuple(sorted(stopped, key=_place)))


def _place(resource: Resource) -> tuple[int, str]:
    return ORDER.index(Kind(resource.kind)), resource.name


def _unlike(place: tuple[str, ...], wanted: object, found: object) -> Iterator[str]:
    if isinstance(wanted, Mapping) and isinstance(found, Mapping):
        for key in sorted({*wanted, *found}):
            yield from _unlike((*place, str(key)), wanted.get(key), found.get(key))
    elif wanted != found:
        yield f"{'.'.join(place)}: {_shown(found)}, is to be {_shown(wanted)}"


def _shown(value: object) -> str:
    text = "nothing" if value is None else repr(value)
    return text if len(text) <= _SHOWN else f"{text[:_SHOWN]} ..."
