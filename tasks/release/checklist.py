"""The checklists of a deployment (REL-14), filled in from what is on record and from nothing else.

What nothing was recorded about is open, never done: a list that ticks itself is worth less than none.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import StrEnum

from tasks.common.units import show_percent
from tasks.release.model import Evidence, Kind, ReleaseRecord

UNCHECKED = "not checked by Slipway"
_SIGNS = {"percent": " %", "seconds": " s"}
_APPROVED = "approve"


class State(StrEnum):
    """What is known of an item."""

    DONE = "done"
    FAILED = "failed"
    OPEN = "open"
    """Nothing says that it was done."""
    NOT_APPLICABLE = "not-applicable"


@dataclass(frozen=True)
class Item:
    """One line of a checklist, and the fact that its state was read from."""

    text: str
    state: State
    fact: str


@dataclass(frozen=True)
class Section:
    """One checklist."""

    name: str
    items: tuple[Item, ...]


_Judge = Callable[[str, ReleaseRecord, Sequence[Evidence]], Item]


def checklist(record: ReleaseRecord, evidence: Sequence[Evidence]) -> tuple[Section, ...]:
    """Return the checklists before, during and after the deployment, as far as the evidence fills them in."""
    return tuple(Section(name, tuple(judge(text, record, evidence) for text, judge in lines)) for name, lines in _LISTS)


def _unchecked(text: str, record: ReleaseRecord, evidence: Sequence[Evidence]) -> Item:
    del record, evidence
    return Item(text, State.OPEN, UNCHECKED)


def _approval(text: str, record: ReleaseRecord, evidence: Sequence[Evidence]) -> Item:
    del record
    answers = _last(evidence, "approval")
    if not answers:
        waits = any(item.kind == "approval-asked" for item in evidence)
        return Item(text, State.OPEN, "asked, and not answered" if waits else "nobody was asked")
    said = "; ".join(
        f"{each.facts.get('decision')} by {each.facts.get('by')} (not authenticated): {each.facts.get('reason')}"
        for each in answers
    )
    approved = all(str(each.facts.get("decision")).startswith(_APPROVED) for each in answers)
    return Item(text, State.DONE if approved else State.FAILED, said)


def _ran(*kinds: str, missing: str = "nothing is recorded") -> _Judge:
    """Return the judge of something that a release runs, and a rollback does not run again."""

    def judge(text: str, record: ReleaseRecord, evidence: Sequence[Evidence]) -> Item:
        if record.kind is Kind.ROLLBACK:
            return Item(text, State.NOT_APPLICABLE, "a rollback takes what was built and proven before")
        return _outcome(text, [each for kind in kinds for each in _last(evidence, kind)], _passed, missing)

    return judge


def _passed(item: Evidence) -> bool:
    """Return whether something ran to its end, found nothing that blocks, and covered what it had to."""
    covered, wanted = item.facts.get("covered_percent"), item.facts.get("at_least_percent")
    enough = not isinstance(covered, int | float) or (isinstance(wanted, int | float) and covered >= wanted)
    return "error" not in item.facts and not item.facts.get("blocking") and enough


def _checked(*words: str) -> _Judge:
    """Return the judge of the preflight checks whose names hold one of the words."""

    def judge(text: str, record: ReleaseRecord, evidence: Sequence[Evidence]) -> Item:
        del record
        return _outcome(text, _named(evidence, "preflight", words), lambda each: each.facts.get("ok") is True)

    return judge


def _backup(text: str, record: ReleaseRecord, evidence: Sequence[Evidence]) -> Item:
    del record
    return _outcome(text, _named(evidence, "gate", ("backup",)), lambda each: each.facts.get("open") is True)


def _way_back(text: str, record: ReleaseRecord, evidence: Sequence[Evidence]) -> Item:
    taken = [item for item in _last(evidence, "roll-back") if item.name == record.environment]
    if taken:
        return Item(text, State.DONE, f"used: back to {str(taken[-1].facts.get('to'))[:7]}")
    return _checked("roll back", "rollback", "roll-back")(text, record, evidence)


def _routing(text: str, record: ReleaseRecord, evidence: Sequence[Evidence]) -> Item:
    reached, back = None, None
    for item in evidence:
        if item.kind == "stage" and item.facts.get("environment") == record.environment:
            reached = item
        elif item.kind == "roll-back" and item.name == record.environment:
            back = item
    if back is not None:
        return Item(text, State.FAILED, f"traffic was returned to {str(back.facts.get('to'))[:7]}")
    if reached is None:
        return Item(text, State.OPEN, "nothing is recorded")
    share = reached.facts.get("weight_percent")
    weight = float(share) if isinstance(share, int | float) else 0.0
    return Item(text, State.DONE if weight == 100 else State.OPEN, f"{reached.name}: {show_percent(weight)} of traffic")


def _requests(*, of_users: bool) -> _Judge:
    """Return the judge of requests and answers: as users reach the environment, or of each instance by itself."""

    def judge(text: str, record: ReleaseRecord, evidence: Sequence[Evidence]) -> Item:
        here = [item for item in _last(evidence, "smoke") if item.name.startswith(f"{record.environment}: ")]
        as_users = ("through the router", "critical features")
        mine = [item for item in here if item.name.endswith(as_users) is of_users]
        sound = [item for item in mine if "error" not in item.facts]
        if mine and len(sound) == len(mine) and not any(item.facts.get("passed") for item in mine):
            return Item(text, State.NOT_APPLICABLE, "the service file names no requests")
        return _outcome(text, mine, lambda each: "error" not in each.facts)

    return judge


def _watched(text: str, record: ReleaseRecord, evidence: Sequence[Evidence]) -> Item:
    """Return whether there were figures to judge by; a watch without any saw nothing."""
    samples = [sample for verdict in _verdicts(record, evidence) for sample in _samples(verdict)]
    if not samples:
        return Item(text, State.OPEN, "nothing is recorded")
    blind = sorted({str(sample.get("metric")) for sample in samples if sample.get("candidate") is None})
    seen = sorted({str(sample.get("metric")) for sample in samples})
    return (
        Item(text, State.FAILED, f"no data: {', '.join(blind)}") if blind else Item(text, State.DONE, ", ".join(seen))
    )


def _figures(unit: str) -> _Judge:
    """Return the judge of the metrics of one unit: seconds tell of performance, percentages of rates."""

    def judge(text: str, record: ReleaseRecord, evidence: Sequence[Evidence]) -> Item:
        figures: dict[str, str] = {}
        broken, passed = [], True
        for verdict in _verdicts(record, evidence):
            mine = [sample for sample in _samples(verdict) if sample.get("unit") == unit]
            figures |= {str(sample.get("metric")): _figure(sample) for sample in mine}
            reasons = verdict.facts.get("reasons")
            if mine and verdict.facts.get("decision") == "roll-back":
                said = [str(reason) for reason in reasons] if isinstance(reasons, list) else []
                broken += [reason for reason in said if any(str(sample.get("metric")) in reason for sample in mine)]
            passed = passed and (not mine or verdict.facts.get("decision") == "pass")
        told = ", ".join(f"{name} {figure}" for name, figure in figures.items())
        if broken:
            return Item(text, State.FAILED, "; ".join(broken))
        return Item(text, State.DONE if figures and passed else State.OPEN, told or "nothing is recorded")

    return judge


def _figure(sample: dict[str, object]) -> str:
    value = sample.get("candidate")
    return f"{value:.4g}{_SIGNS[str(sample['unit'])]}" if isinstance(value, int | float) else "without data"


def _told(text: str, record: ReleaseRecord, evidence: Sequence[Evidence]) -> Item:
    del record
    return _outcome(text, _last(evidence, "notification"), lambda each: each.facts.get("sent") is True)


def _outcome(text: str, items: Sequence[Evidence], sound: Callable[[Evidence], bool], missing: str = UNCHECKED) -> Item:
    """Return an item that is done where every piece of its evidence is sound."""
    bad = [item for item in items if not sound(item)]
    if bad:
        return Item(text, State.FAILED, "; ".join(f"{item.name}{_problem(item)}" for item in bad))
    return Item(text, State.DONE if items else State.OPEN, ", ".join(item.name for item in items) or missing)


def _problem(item: Evidence) -> str:
    said = next((str(item.facts[key]) for key in ("problem", "why", "reason", "error") if item.facts.get(key)), "")
    if not said and item.facts.get("blocking"):
        said = f"{item.facts['blocking']} findings block"
    return f": {said.splitlines()[0]}" if said else ""


def _last(evidence: Sequence[Evidence], kind: str) -> list[Evidence]:
    """Return the last evidence of each name of a kind: what was done again counts as it was the last time."""
    return list({item.name: item for item in evidence if item.kind == kind}.values())


def _named(evidence: Sequence[Evidence], kind: str, words: Sequence[str]) -> list[Evidence]:
    return [item for item in _last(evidence, kind) if any(word in item.name.lower() for word in words)]


def _verdicts(record: ReleaseRecord, evidence: Sequence[Evidence]) -> list[Evidence]:
    here = [item for item in evidence if item.facts.get("environment") == record.environment]
    return _last(here, "verdict")


def _samples(verdict: Evidence) -> list[dict[str, object]]:
    samples = verdict.facts.get("samples")
    return [each for each in samples if isinstance(each, dict)] if isinstance(samples, list) else []


_LISTS: tuple[tuple[str, tuple[tuple[str, _Judge], ...]], ...] = (
    (
        "before",
        (
            ("code was reviewed", _unchecked),
            ("a person has said yes", _approval),
            ("tests pass", _ran("test", "coverage")),
            ("scans are clean", _ran("scan")),
            ("load test", _ran("load-test")),
            ("a backup was verified", _backup),
            ("rollback plan: there is a release to go back to", _way_back),
        ),
    ),
    (
        "during",
        (
            ("migrations", _ran("migration", missing=UNCHECKED)),
            ("configuration and secrets", _checked("secret", "configuration")),
            ("certificates", _checked("certificate")),
            ("routing: all traffic is where it belongs", _routing),
            ("health: each instance answers", _requests(of_users=False)),
            ("monitoring: there are figures", _watched),
        ),
    ),
    (
        "after",
        (
            ("smoke tests and critical features, as users reach them", _requests(of_users=True)),
            ("performance", _figures("seconds")),
            ("error rates", _figures("percent")),
            ("people were told", _told),
        ),
    ),
)
