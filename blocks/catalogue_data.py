"""What every catalogue does to data before it keeps it, and what it refuses, so that each of them returns the same."""

import difflib
import math
from collections.abc import Iterable
from dataclasses import replace

from blocks.ledger_data import kept_facts, kept_text, kept_time
from tasks.common.backups import Entry, Rung, StoredBackup, Verification, backup_id
from tasks.common.challenges import Challenge
from tasks.common.errors import Refused
from tasks.common.source_facts import SourceFacts

_NAMED = 3
_LARGEST = 2**63 - 1


def kept_entry(entry: Entry) -> Entry:
    """Return a backup that was just taken, as it is kept.

    Raises:
        Refused: its id is another one than its plan, repository and label make, a figure cannot be, a time is naive, or
            it comes with something that is only found later.
    """
    wanted = backup_id(entry.plan, entry.repository, entry.stored.label)
    if entry.id != wanted:
        raise _refused(entry.id, "a backup under an id of another one", f"add it as {wanted}")
    if entry.verified_at or entry.unsound_at or entry.held or entry.expired_at:
        raise _refused(entry.id, "a new backup of which something is known", "add it, then call note, hold or expired")
    stored = entry.stored
    if entry.repository < 1 or not all(0 <= size <= _LARGEST for size in (stored.size_bytes, stored.stored_bytes)):
        raise _refused(entry.id, "a size below zero, or a repository below 1", "report this, with the engine's version")
    return Entry(
        id=kept_text(entry.id),
        plan=kept_text(entry.plan),
        engine=kept_text(entry.engine),
        repository=entry.repository,
        stored=_kept_stored(stored),
        digest=kept_text(entry.digest),
        run_id=kept_text(entry.run_id),
    )


def _kept_stored(stored: StoredBackup) -> StoredBackup:
    return replace(
        stored,
        label=kept_text(stored.label),
        started_at=kept_time(stored.started_at, "started_at"),
        ended_at=kept_time(stored.ended_at, "ended_at"),
        needs=tuple(map(kept_text, stored.needs)),
        source_version=kept_text(stored.source_version),
        error=kept_text(stored.error),
    )


def kept_verification(verification: Verification) -> Verification:
    """Return the verification as it is kept, its facts copied; a figure that JSON does not have becomes None.

    Raises:
        Refused: a fact that is no JSON data, or a time is naive.
    """
    return Verification(
        entry_id=kept_text(verification.entry_id),
        run_id=kept_text(verification.run_id),
        began_at=kept_time(verification.began_at, "began_at"),
        ended_at=kept_time(verification.ended_at, "ended_at"),
        rungs=tuple(_kept_rung(rung) for rung in verification.rungs),
        rpo_s=_finite(verification.rpo_s),
        rto_s=_finite(verification.rto_s),
    )


def kept_source(source: SourceFacts) -> SourceFacts:
    """Return what a source was, as it is kept, copied.

    Raises:
        Refused: its time is naive.
    """
    facts = source.facts
    return replace(
        source,
        at=kept_time(source.at, "at"),
        facts=replace(
            facts,
            name=kept_text(facts.name),
            version=kept_text(facts.version),
            extensions={kept_text(name): kept_text(version) for name, version in facts.extensions.items()},
            objects={kept_text(name): kept_text(digest) for name, digest in facts.objects.items()},
            rows={kept_text(name): count for name, count in facts.rows.items()},
        ),
    )


def kept_challenge(challenge: Challenge) -> Challenge:
    """Return the challenge as it is kept.

    Raises:
        Refused: a time is naive.
    """
    return Challenge(
        plan=kept_text(challenge.plan),
        run_id=kept_text(challenge.run_id),
        backup_id=kept_text(challenge.backup_id),
        began_at=kept_time(challenge.began_at, "began_at"),
        ended_at=kept_time(challenge.ended_at, "ended_at"),
        controls=tuple(
            replace(each, name=kept_text(each.name), said=kept_text(each.said)) for each in challenge.controls
        ),
        trials=tuple(
            replace(
                each,
                fault=kept_text(each.fault),
                done=kept_text(each.done),
                expected=kept_text(each.expected),
                found_by=kept_text(each.found_by),
                said=kept_text(each.said),
            )
            for each in challenge.trials
        ),
    )


def _kept_rung(rung: Rung) -> Rung:
    took_s = _finite(rung.took_s)
    return Rung(
        kept_text(rung.name),
        rung.outcome,
        kept_text(rung.said),
        0.0 if took_s is None else took_s,
        kept_facts(rung.facts),
    )


def _finite(value: float | None) -> float | None:
    return float(value) if value is not None and math.isfinite(value) else None


def found(verification: Verification) -> str:
    """Return what a verification says about its backup: 'sound', 'unsound' or 'nothing'."""
    if verification.sound:
        return "sound"
    return "unsound" if verification.unsound else "nothing"


def same_backup(kept: Entry, added: Entry) -> None:
    """What is added under an id that is taken is the backup that has it.

    Who has found it, and what it takes where it lies, may differ: another run can add what a killed one has taken.

    Raises:
        Refused: it is another one.
    """
    before, now = kept.stored, added.stored
    if (kept.engine, kept.digest, before.kind, before.started_at, before.ended_at) != (
        added.engine,
        added.digest,
        now.kind,
        now.started_at,
        now.ended_at,
    ):
        raise Refused(
            "another backup has this id in the catalogue",
            on=kept.id,
            state=f"the one of {before.ended_at:%Y-%m-%d %H:%M:%S} UTC stands",
            next_action="find out who else writes to this repository: two plans must not share one, nor two labels",
        )


def no_such_backup(entry_id: str, ids: Iterable[str]) -> Refused:
    """Return the error for an id that no backup has; those of its plan that come near are named."""
    known = sorted(ids)
    near = difflib.get_close_matches(entry_id, known, n=_NAMED, cutoff=0.6)
    return Refused(
        "no such backup in the catalogue",
        on=entry_id or "(empty)",
        next_action="check the id: 'slipway backups --plan' shows them",
        facts={"near it": ", ".join(near)} if near else {},
    )


def is_gone(entry: Entry) -> Refused:
    """Return the error for a hold on a backup that is not there any more."""
    return Refused(
        "this backup was removed and cannot be held",
        on=entry.id,
        state=f"removed at {entry.expired_at:%Y-%m-%d %H:%M:%S} UTC",
        next_action="hold another one: 'slipway backups --plan' shows what is there",
    )


def _refused(on: str, what: str, next_action: str) -> Refused:
    return Refused(f"the catalogue does not take {what}", on=on or "(empty)", next_action=next_action)
